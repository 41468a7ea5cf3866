"""A scene that moves: play it, freeze it while the camera flies around, export one moment."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

import lyra
from lyra.io.video_writer import VideoWriter
from lyra.scene.framing import first_view
from lyra.scene.trajectories import PRESETS, bullet_time

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "out")
out.mkdir(exist_ok=True)
scene = lyra.load(here / "walk.lyra4d")

middle = scene.duration / 2
start, depth = first_view(scene.at(0.0), fov_x_deg=70, width=384, height=216)
sweep = PRESETS["swing"].cameras(start, frames=12, depth=depth)
cameras = bullet_time(sweep, middle, scene.duration, fps=scene.fps)  # play, hold and sweep, play on

with VideoWriter(out / "bullet_time.mp4", scene.fps) as video:
    for i in range(len(cameras)):
        camera = cameras[i]
        video.write(lyra.render(scene.at(float(camera.times)), camera).rgb.clamp(0, 1))

lyra.save(scene.at(middle), out / "moment.ply")
slow = replace(scene, start=2 * scene.start, end=2 * scene.end, velocities=scene.velocities / 2,
               duration=2 * scene.duration, fps=scene.fps / 2)  # fmt: skip
lyra.save(slow, out / "slow.lyra4d")
print(f"{len(scene.static):,} still and {len(scene.moving):,} moving Gaussians; see {out}/bullet_time.mp4")
assert torch.equal(slow.at(2 * middle).means, scene.at(middle).means)

"""A scene that moves, made by hand: a ball rolls through a room. Play it, freeze it while the camera flies around."""

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
room = lyra.load(here / "room.spz")
start, depth = first_view(room, fov_x_deg=70, width=384, height=216)

turn = torch.arange(600) * 2.39996  # the golden angle spreads points evenly over a sphere
height = torch.linspace(-1, 1, 600)
ring = (1 - height.square()).sqrt()
sphere = torch.stack([ring * turn.cos(), height, ring * turn.sin()], -1)
colours = torch.where(
    (height * 6).floor()[:, None] % 2 == 0, torch.tensor([0.85, 0.2, 0.1]), torch.tensor([0.95, 0.9, 0.8])
)
quats, scales = torch.tensor([1.0, 0, 0, 0]).repeat(600, 1), torch.full((600, 3), 0.006 * depth)
frames = []
for t in torch.linspace(0, 1, 25):  # from the left to the right in front of the camera, with two bounces
    at = torch.stack([1.0 * t - 0.5, 0.25 - 0.3 * (3 * torch.pi * t).sin().abs(), 0.7 + 0 * t]) * depth
    roll = torch.tensor([[(8 * t).cos(), -(8 * t).sin(), 0], [(8 * t).sin(), (8 * t).cos(), 0], [0, 0, 1.0]])
    points = (0.08 * depth * sphere @ roll.T + at) @ start.c2w[:3, :3].T + start.c2w[:3, 3]
    frames.append(lyra.Gaussians.from_rgb(points, quats, scales, torch.full((600,), 0.9), colours))
scene = lyra.DynamicGaussians.from_frames(frames, 12.0, lyra.Gaussians.from_rgb(
    room.means, room.quats, room.scales, room.opacities, room.rgb))  # fmt: skip
lyra.save(scene, out / "ball.lyra4d")

middle = scene.duration / 2
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

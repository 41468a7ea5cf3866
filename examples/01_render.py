"""Load a scene, look at it along a preset path, write a video and its depth."""

import sys
from pathlib import Path

import lyra
from lyra.io.images import colour_depth
from lyra.io.video_writer import save_video
from lyra.scene.framing import first_view
from lyra.scene.trajectories import PRESETS

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "out")
out.mkdir(exist_ok=True)

scene = lyra.load(here / "room.spz")
start, depth = first_view(scene, fov_x_deg=70, width=384, height=216)
cameras = PRESETS["lemniscate"].cameras(start, frames=24, depth=depth)

picture = lyra.render(scene, cameras)  # rgb [24, 3, 216, 384], depth and alpha [24, 1, 216, 384]
save_video(picture.rgb, out / "room.mp4", fps=24)
save_video(colour_depth(picture.depth[:, 0]), out / "room_depth.mp4", fps=24)
print(f"{len(scene):,} Gaussians, median depth {float(picture.depth.median()):.2f}; see {out}/room.mp4")

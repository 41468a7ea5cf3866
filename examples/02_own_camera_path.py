"""Draw a camera path by hand: a few key cameras, a smooth spline through them, and files that other tools read."""

import sys
from pathlib import Path

import torch

import lyra
from lyra.io.cameras import save_cameras
from lyra.io.video_writer import save_video
from lyra.scene import rotations
from lyra.scene.keyframes import spline

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "out")
out.mkdir(exist_ok=True)
scene = lyra.load(here / "room.spz")

# The world of a Lyra scene: the first camera is at the origin and looks along +z; +x is right, +y is down.
eyes = torch.tensor([[0.0, 0.0, 0.0], [-0.25, -0.1, 0.2], [0.0, -0.15, 0.4], [0.25, 0.0, 0.1]])
target = torch.tensor([0.0, 0.0, 2.5])
poses = rotations.look_at(eyes, target.expand(4, 3), torch.tensor([0.0, 1.0, 0.0]))
keys = lyra.Cameras.from_fov(poses, fov_x_deg=70, width=384, height=216)
cameras = spline(keys, frames=24, loop=True, constant_speed=True)

save_video(lyra.render(scene, cameras).rgb, out / "own_path.mp4")
save_cameras(cameras, out / "own_path.json")  # lyra render scene.ply video.mp4 --path own_path.json
save_cameras(cameras, out / "transforms.json")  # nerfstudio
print(f"see {out}/own_path.mp4")

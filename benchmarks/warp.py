"""How fast the 3D cache is warped: all views in one call, against one view at a time.

    python -m benchmarks.warp [--record] [--tiny]

Demanded: on a CUDA device 25 views of 448 x 256 in 25 ms and 121 views of 1280 x 704 in 3 s; on 2 CPU cores 150 views
of 448 x 256 in 3 s. Exits with 1 when one is missed. On CUDA the picture is compared with that of the CPU first.
--tiny takes 6 views of 448 x 256 without a demand, to see that everything runs.
"""

import argparse
import sys
import time

import torch

from benchmarks.record import measurement, report
from benchmarks.render import best_seconds
from lyra.scene import Cameras
from lyra.scene.lyra_paths import lyra_set
from lyra.teacher.cache import Cache

MINI, FULL = (448, 256), (1280, 704)
AGREEMENT = 0.995  # least share of pixels that CUDA and CPU draw alike


def room(width: int, height: int) -> tuple[torch.Tensor, torch.Tensor, Cameras]:
    """Picture, depth and camera of a box-shaped room with a window and forty boxes in front of its walls."""
    camera = Cameras.from_fov(torch.eye(4)[None], 70.0, width, height)
    rays = camera.unproject(torch.ones(1, height, width))[0]
    half = torch.tensor([2.0, 1.4, 4.0])
    depth = (half / rays.abs().clamp_min(1e-6)).amin(-1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        left, top, wide, tall, near = torch.rand(5, generator=generator).tolist()
        x, y = int(left * width), int(top * height)
        box = (slice(y, y + 1 + int(tall * height / 4)), slice(x, x + 1 + int(wide * width / 6)))
        depth[box] = torch.minimum(depth[box], torch.tensor(1 + 2 * near))
    depth[: height // 4, : width // 4] = torch.inf
    picture = torch.stack([torch.sin(9 * rays[..., 0]), torch.cos(7 * rays[..., 1]), torch.sin(depth)])
    return torch.nan_to_num(picture[None], posinf=0.0, neginf=0.0), depth[None], camera


def six_paths(camera: Cameras, frames: int) -> Cameras:
    """The paper's six paths from this camera around a point 2 units away, one after the other."""
    poses = torch.cat([path.poses(frames, 2.0).float() for path in lyra_set()])
    return Cameras(poses, camera.K.expand(len(poses), 3, 3), camera.width, camera.height)


def measure(size: tuple[int, int], views: int, device: str, limit: float) -> tuple[list[dict], bool]:
    """Seconds of one call for `views` cameras of the six paths, and how many times longer it takes view by view."""
    image, depth, camera = room(*size)
    frames = 25 if size == MINI else 121
    cameras = six_paths(camera, frames)[:views].to(device)
    cache = Cache.from_depth(image.to(device), depth.to(device), camera.to(device))
    triangles = len(cache.edge_mesh()[0])
    config = {"size": list(size), "views": views, "device": device, "triangles": triangles}
    lines, same = [], True
    if device == "cuda":
        agreeing = agreement(cache, cameras[views - 2 :])
        lines, same = [measurement("warp as on the CPU", agreeing, "share of pixels", config)], agreeing > AGREEMENT
    else:
        config["threads"] = torch.get_num_threads()
    with torch.no_grad():
        together = best_seconds(lambda: cache.warp(cameras), 5 if size == MINI else 2)
        few = min(views, 5)
        single = best_seconds(lambda: [cache.warp(cameras[i : i + 1]) for i in range(few)], 2) * views / few
        processor = best_seconds(lambda: cache.warp(cameras), 1, time.process_time)
    lines += [
        measurement("warp", together, "s", config),
        measurement("warp over one view at a time", single / together, "x", config),
        measurement("warp processor time", processor, "s over all threads", config),
    ]
    return lines, same and together <= limit


def agreement(cache: Cache, cameras: Cameras) -> float:
    """Share of the pixels that the CPU draws alike; others come from points that round to another pixel."""
    here = Cache(*(each.cpu() for each in (cache.points, cache.image, cache.edge)), cache.options)
    ours, theirs = cache.warp(cameras), here.warp(cameras.to("cpu"))
    same = (ours.mask.cpu() == theirs.mask) & ((ours.image.cpu() - theirs.image).abs() < 1e-2).all(1)
    return float(same.float().mean())


def main() -> int:
    """Measure, report, and say by the exit code whether the demands are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="append the results to benchmarks/results/warp.jsonl")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    wanted = [(MINI, 150, "cpu", 3.0)]
    if torch.cuda.is_available():
        wanted = [(MINI, 25, "cuda", 0.025), (MINI, 150, "cuda", 0.15), (FULL, 121, "cuda", 3.0)]
    if arguments.tiny:
        wanted = [(MINI, 6, wanted[0][2], float("inf"))]
    met = True
    for each in wanted:
        lines, good = measure(*each)
        report("warp", lines, record=arguments.record and not arguments.tiny)
        met = met and good
        if not good:
            print(f"missed: {each[1]} views of {each[0]} on {each[2]} within {each[3]} s", file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""How fast Gaussians are drawn: frames a second on the CPU against plain torch, and milliseconds of gsplat on CUDA.

    python -m benchmarks.render [--record]

Demanded of the CPU at 448 x 256 with 250,000 Gaussians on 2 cores: 10 frames a second, and 20 times the vectorised
torch version (`torch_tiles`) in the same run. Both times are the best of several frames, so that other work on the
machine counts as little as possible. Exits with 1 when either is missed.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch

from benchmarks import splat_scenes, torch_tiles
from benchmarks.record import measurement, report
from lyra.render import backends, render
from lyra.render.rules import View
from lyra.scene import Cameras, Gaussians

COUNT, WIDTH, HEIGHT = 250_000, 448, 256
MIN_FRAMES, MIN_RATIO = 10, 20


def best_seconds(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of `repeats` runs after one that is not counted; wall time by default."""
    times = []
    for _ in range(repeats + 1):
        start = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[1:])


def with_backward(scene: Gaussians, cameras: Cameras) -> Callable[[], object]:
    """One training step's worth of drawing: all gradients of the sum of the colours and depths."""
    leaves = [t.clone().requires_grad_() for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.sh)]

    def work() -> None:
        picture = render(Gaussians(*leaves), cameras)
        (picture.rgb.sum() + picture.depth.sum()).backward()

    return work


def cpu_results(kind: str, scene: Gaussians) -> tuple[list[dict], bool]:
    """Speed of the CPU backend and of plain torch on one scene, and whether the demands are met."""
    camera = splat_scenes.cameras(1, WIDTH, HEIGHT)[0]
    config = {"scene": kind, "gaussians": len(scene), "size": [WIDTH, HEIGHT], "threads": torch.get_num_threads()}
    view = View(camera.w2c, camera.K, WIDTH, HEIGHT, 0.01, 1e10)
    with torch.no_grad():
        difference = (torch_tiles.rasterize(scene, view)[:3] - render(scene, camera).rgb).abs().mean()
        assert difference < 1e-4, f"the yardstick draws something else: mean difference {difference}"
        ours = best_seconds(lambda: render(scene, camera), 20)
        processor = best_seconds(lambda: render(scene, camera), 20, time.process_time)
        plain = best_seconds(lambda: torch_tiles.rasterize(scene, view), 1)
    step = best_seconds(with_backward(scene, camera), 5)
    results = [
        measurement("render/cpu", 1 / ours, "frames/s", config),
        measurement("render/cpu processor time", processor * 1e3, "ms over all threads", config),
        measurement("render/cpu over plain torch", plain / ours, "x", config),
        measurement("render/plain torch", plain * 1e3, "ms", config),
        measurement("render/cpu with backward", step * 1e3, "ms", config),
    ]
    return results, 1 / ours >= MIN_FRAMES and plain / ours >= MIN_RATIO


def cuda_results(kind: str, scene: Gaussians, width: int, height: int) -> list[dict]:
    """Milliseconds of the CUDA backend on one scene."""
    scene, camera = scene.to("cuda"), splat_scenes.cameras(1, width, height)[0].to("cuda")
    config = {"scene": kind, "gaussians": len(scene), "size": [width, height]}
    with torch.no_grad():
        forward = best_seconds(lambda: render(scene, camera), 20)
    step = best_seconds(with_backward(scene, camera), 10)
    return [
        measurement("render/cuda", forward * 1e3, "ms", config),
        measurement("render/cuda with backward", step * 1e3, "ms", config),
    ]


def main() -> int:
    """Measure, report, and say by the exit code whether the demands are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="append the results to benchmarks/results/render.jsonl")
    arguments = parser.parse_args()
    results, met = [], True
    for kind in (splat_scenes.pixel_aligned, splat_scenes.blobs):
        lines, good = cpu_results(kind.__name__, kind(COUNT, WIDTH, HEIGHT))
        results, met = results + lines, met and good
        if backends()["cuda"] is None:
            for count, width, height in ((COUNT, WIDTH, HEIGHT), (1_000_000, 1280, 704)):
                results += cuda_results(kind.__name__, kind(count, width, height), width, height)
    report("render", results, record=arguments.record)
    if not met:
        print(f"missed: at least {MIN_FRAMES} frames/s and {MIN_RATIO} x plain torch", file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

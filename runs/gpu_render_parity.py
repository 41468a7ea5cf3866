"""The three renderers against each other on one CUDA machine: values, gradients and times. Exits with 1 on failure.

    PYTHONPATH=. python3 runs/gpu_render_parity.py --out DIR [--no-cuda]

Needs torch, numba, numpy, jaxtyping and (without --no-cuda) gsplat 1.5.3. Writes DIR/render_parity.json with one row a
check. Small scenes: cpu and cuda against the reference in float64 (cuda also without numba: `pytest -m gpu
tests/unit/test_render_cuda.py`). Large ones: cuda against cpu. --no-cuda is the dry run of everything else.
"""

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import splat_scenes
from benchmarks.record import commit, machine
from lyra.render import Rendering, backends, render
from lyra.scene import Cameras, Gaussians

SMALL = ((splat_scenes.pixel_aligned, 3000), (splat_scenes.blobs, 3000), (splat_scenes.hostile, 2000))
LARGE = ((splat_scenes.pixel_aligned, 1_000_000, 1280, 704), (splat_scenes.blobs, 250_000, 448, 256))
FIELDS = ("means", "quats", "scales", "opacities", "sh")
# pixels where an alpha falls on the other side of 1/255, or a pixel ends one Gaussian earlier, may differ by one weight
INTERIOR, MAX_FLIPPED, MAX_FLIP, MAX_GRADIENT, MAX_MEAN = 1e-4, 1e-3, 1.2e-2, 1e-3, 1e-4


def drawn(scene: Gaussians, cameras: Cameras, backend: str) -> tuple[Rendering, list[Tensor]]:
    """Pictures, and the gradients of a seeded random weighting of colour, accumulated depth and alpha."""
    leaves = [getattr(scene, name).detach().clone().requires_grad_() for name in FIELDS]
    picture = render(Gaussians(*leaves), cameras, torch.tensor([0.2, 0.5, 0.9]), backend=backend)
    generator = torch.Generator().manual_seed(1)
    parts = (picture.rgb, picture.depth * picture.alpha, picture.alpha)
    sum((torch.randn(p.shape, generator=generator).to(p) * p).sum() for p in parts).backward()
    pictures = Rendering(*(p.detach().cpu().double() for p in picture))
    return pictures, [leaf.grad.cpu().double() for leaf in leaves]


def compare(name: str, a: tuple[Rendering, list[Tensor]], b: tuple[Rendering, list[Tensor]]) -> dict:
    """How far `a` is from `b`."""
    (picture, gradients), (exact, exact_gradients) = a, b
    error = torch.cat([picture.rgb - exact.rgb, picture.alpha - exact.alpha], -3).abs().amax(-3)
    depth = (picture.depth * picture.alpha - exact.depth * exact.alpha).abs()
    relative = {
        field: float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))
        for field, ours, theirs in zip(FIELDS, gradients, exact_gradients, strict=True)
    }
    return {
        "check": name,
        "mean": float(error.mean()),
        "max": float(error.max()),
        "flipped": float((error > INTERIOR).double().mean()),
        "interior_max": float(error[error <= INTERIOR].max()),
        "accumulated_depth_mean": float(depth.mean()),
        "gradients": relative,
        "finite": all(bool(g.isfinite().all()) for g in gradients),
    }


def against_reference(kind: Callable[..., Gaussians], count: int, fast: Sequence[str]) -> list[dict]:
    """Fast backends against the float64 reference, two views, colour of degree 1."""
    scene, cameras = kind(count, 96, 64), splat_scenes.cameras(2, 96, 64)
    more = 0.2 * torch.randn(len(scene), 3, 3, generator=torch.Generator().manual_seed(2))
    scene = Gaussians(scene.means, scene.quats, scene.scales, scene.opacities, torch.cat([scene.sh, more], 1))
    exact, rows = drawn(scene.to(torch.float64), cameras, "reference"), []
    for backend in fast:
        ours = drawn(scene.to(backend), cameras.to(backend), backend)
        row = compare(f"{backend} against reference, {kind.__name__}", ours, exact)
        row["passed"] = (
            row["finite"]
            and row["flipped"] < MAX_FLIPPED
            and row["max"] < MAX_FLIP
            and max(row["gradients"].values()) < MAX_GRADIENT
        )
        rows.append(row)
    return rows


def large_checks() -> list[dict]:
    """cuda against cpu on scenes of real size. One flipped pixel weighs on a gradient: only the means are bounded."""
    rows = []
    for kind, count, width, height in LARGE:
        scene, camera = kind(count, width, height), splat_scenes.cameras(1, width, height)[0]
        name = f"cuda against cpu, {kind.__name__}, {len(scene)} at {width}x{height}"
        row = compare(name, drawn(scene.to("cuda"), camera, "cuda"), drawn(scene, camera, "cpu"))
        row["passed"] = row["finite"] and row["mean"] < MAX_MEAN and row["flipped"] < MAX_FLIPPED
        rows.append(row)
    return rows


def milliseconds(work: Callable[[], object], repeats: int, cuda: bool) -> float:
    """Best of `repeats` after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[2:]) * 1e3


def timings(cuda: bool) -> list[dict]:
    """Forward, and forward with backward, of each fast backend on the large scenes."""
    rows = []
    for kind, count, width, height in LARGE:
        scene, camera = kind(count, width, height), splat_scenes.cameras(1, width, height)[0]
        for backend in ("cpu", "cuda") if cuda else ("cpu",):
            held, repeats = scene.to(backend), 20 if backend == "cuda" else 3
            leaves = [getattr(held, field).clone().requires_grad_() for field in FIELDS]

            def forward(held: Gaussians = held, camera: Cameras = camera) -> None:
                with torch.no_grad():
                    render(held, camera)

            def step(leaves: list[Tensor] = leaves, camera: Cameras = camera) -> None:
                render(Gaussians(*leaves), camera).rgb.sum().backward()

            rows.append({
                "backend": backend, "scene": kind.__name__, "gaussians": len(scene), "size": [width, height],
                "threads": torch.get_num_threads(), "forward_ms": milliseconds(forward, repeats, backend == "cuda"),
                "with_backward_ms": milliseconds(step, repeats, backend == "cuda"),
            })  # fmt: skip
    return rows


def main() -> int:
    """Run all checks, write the file, and say by the exit code whether they passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for render_parity.json")
    parser.add_argument("--no-cuda", action="store_true", help="leave the cuda backend out")
    arguments = parser.parse_args()
    cuda = not arguments.no_cuda
    if cuda and (missing := backends()["cuda"]):
        print(missing, file=sys.stderr)
        return 1
    fast = ("cpu", "cuda") if cuda else ("cpu",)
    checks = [row for kind, count in SMALL for row in against_reference(kind, count, fast)]
    checks += large_checks() if cuda else []
    passed = all(row["passed"] for row in checks)
    result = {
        "passed": passed, "checks": checks, "timings": timings(cuda), "machine": machine(), "torch": torch.__version__,
        "numba": version("numba"), "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (arguments.out / "render_parity.json").write_text(text)
    print(text)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

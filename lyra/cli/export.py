"""`lyra export`: any scene format to any other, or to one offline HTML file."""

import time
from pathlib import Path
from typing import Literal

from lyra.cli.report import AsJson, Out, SceneIn, file_size, finish, reading_seconds, size_on_disk, waiting

_SECONDS = {".spz": (1.0, 2.6), ".sog": (1.6, 4.0), ".lyra4d": (2.4, 4.3), ".html": (3.0, 5.0), ".ply": (0.2, 0.4)}


def export(
    scene: SceneIn,
    out: Out,
    *,
    cameras: Path | None = None,
    at: float | None = None,
    min_opacity: float = 0.0,
    max_splats: int | None = None,
    ply_layout: Literal["standard", "full"] = "standard",
    json: AsJson = False,
) -> None:
    """Convert a scene; the suffix of OUT chooses the format (docs/formats.md lists them).

    Args:
        scene: Any scene that `lyra` reads.
        out: .ply .spz .splat .sog .glb .usdc .usda .usdz .lyra4d .html, or a folder name for one .ply a frame.
        cameras: For .html: a camera file; the page starts at its first camera and can step along its path.
        at: Take one moment of a moving scene, seconds.
        min_opacity: Drop Gaussians fainter than this (0.005 cannot be seen).
        max_splats: Keep at most so many, the most opaque ones (over all times, if it moves).
        ply_layout: For .ply: "standard", or "full" for importers that expect exactly 62 floats a Gaussian.
        json: Print one JSON object instead of text.
    """
    from lyra.io import load, save
    from lyra.scene import require

    began = time.perf_counter()
    with waiting(f"reading {scene}", reading_seconds(scene)):
        kept = _thin(load(scene), at, min_opacity, max_splats)
    require(len(kept) > 0, f"{scene}: no Gaussian is left to export; lower --min-opacity or raise --max-splats")
    with waiting(f"writing {out}", _writing_seconds(kept, out.suffix.lower())):
        if out.suffix.lower() in (".html", ".htm"):
            from lyra.io.cameras import load_cameras
            from lyra.view.page import save_html

            save_html(kept, out, None if cameras is None else load_cameras(cameras))
        else:
            require(cameras is None, f"--cameras goes with .html, not with {out.name}")
            save(kept, out, **({"layout": ply_layout} if out.suffix.lower() == ".ply" else {}))
    size = size_on_disk(out)
    seconds = time.perf_counter() - began
    facts = {"out": str(out), "gaussians": len(kept), "bytes": size, "seconds": round(seconds, 2)}
    finish(facts, f"wrote {out}: {len(kept):,} Gaussians, {file_size(size)}, {seconds:.1f} s", json)


def _writing_seconds(scene, suffix: str) -> float:
    """About how long writing takes, from seconds a million Gaussians without and with SH of degree 3 (benchmarks)."""
    from lyra.scene import DynamicGaussians

    plain, rich = _SECONDS.get(suffix, (0.5, 1.5))
    gaussians = scene.gaussians if isinstance(scene, DynamicGaussians) else scene
    return len(gaussians) / 1e6 * (plain + (rich - plain) * (gaussians.sh.shape[1] - 1) / 15)


def _thin(scene, at: float | None, min_opacity: float, max_splats: int | None):
    """The scene at one moment if asked, without what is too faint or too much."""
    from lyra.scene import DynamicGaussians, require

    require(0 <= min_opacity <= 1, f"--min-opacity must lie between 0 and 1, got {min_opacity}")
    require(max_splats is None or max_splats >= 1, f"--max-splats must be at least 1, got {max_splats}")
    require(at is None or isinstance(scene, DynamicGaussians), "--at goes with a scene that moves, this one does not")
    return (scene if at is None else scene.at(at)).prune(min_opacity=min_opacity, max_count=max_splats)

"""`lyra info`: what is in a scene file."""

from lyra.cli.report import AsJson, SceneIn, file_size, finish, reading_seconds, size_on_disk, waiting

_PERCENTILES = (1, 50, 99)


def info(scene: SceneIn, *, json: AsJson = False) -> None:
    """Count, extent, sizes, opacities, colour degree, provenance and motion of a scene file.

    Args:
        scene: Any scene that `lyra` reads (.ply, .spz, .splat, .sog, .glb, .usdc, .lyra4d, a sequence folder).
        json: Print one JSON object instead of text.
    """
    from lyra.io import load

    with waiting(f"reading {scene}", reading_seconds(scene)):
        loaded = load(scene)
    facts = _facts(loaded) | {"file": str(scene), "bytes": size_on_disk(scene)}
    finish(facts, "", True) if json else _print(facts)


def _facts(scene) -> dict:
    from lyra.scene import DynamicGaussians

    moving = isinstance(scene, DynamicGaussians)
    gaussians = scene.gaussians if moving else scene
    facts = {"gaussians": len(gaussians), "sh_degree": gaussians.sh_degree}
    if len(gaussians):
        facts |= {
            "center": [round(float(x), 4) for x in gaussians.means.median(0).values],
            "low": [round(float(x), 4) for x in gaussians.means.amin(0)],
            "high": [round(float(x), 4) for x in gaussians.means.amax(0)],
            "scale_percentiles": _percentiles(gaussians.scales.flatten()),
            "opacity_percentiles": _percentiles(gaussians.opacities),
            "fainter_than_0.005": float((gaussians.opacities < 0.005).float().mean()),
        }
    if gaussians.seen is not None and len(gaussians):
        facts["imagined_share"] = round(1 - float(gaussians.seen.float().mean()), 4)
    if moving:
        facts |= {
            "duration_s": scene.duration,
            "fps": scene.fps,
            "static_gaussians": len(scene.static),
            "moving_gaussians": len(scene.moving),
        }
    return facts


def _percentiles(values) -> dict[str, float]:
    import numpy as np

    return {
        f"p{p}": float(f"{x:.4g}")
        for p, x in zip(_PERCENTILES, np.percentile(values.numpy(), _PERCENTILES), strict=True)
    }


def _print(facts: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in facts.items():
        if key == "bytes":
            value = file_size(value)
        elif isinstance(value, dict):
            value = "  ".join(f"{k} {v:g}" for k, v in value.items())
        elif isinstance(value, list):
            value = "  ".join(f"{v:g}" for v in value)
        elif isinstance(value, int):
            value = f"{value:,}"
        elif isinstance(value, float):
            value = f"{value:g}"
        table.add_row(key.replace("_", " "), str(value))
    Console().print(table)

"""`lyra evaluate`: a scene against photographs whose cameras are known."""

from pathlib import Path
from typing import Annotated

import tyro

from lyra.cli.report import AsJson, SceneIn, finish, progress, reading_seconds, waiting

Truth = Annotated[Path, tyro.conf.arg(metavar="FOLDER|CAMERAS")]


def evaluate(
    scene: SceneIn,
    *,
    truth: Truth,
    lpips: Path | None = None,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    json: AsJson = False,
) -> None:
    """PSNR, SSIM and LPIPS of a scene, still or moving, against true pictures.

    Args:
        scene: Any scene that `lyra` reads.
        truth: A folder with cameras.json and the images that it names, or another camera file beside its images.
        lpips: Weights written by `python -m lyra.metrics.lpips_weights`; without them LPIPS is left out.
        background: Colour behind the scene, red green blue in [0, 1].
        json: Print one JSON object with the numbers of every picture instead of text.
    """
    from lyra.io import load
    from lyra.io.cameras import load_named_cameras

    file = truth / "cameras.json" if (truth / "cameras.json").is_file() else truth
    cameras, names = load_named_cameras(file)
    network = _network(lpips)
    with waiting(f"reading {scene}", reading_seconds(scene)):
        loaded = load(scene)
    folder = truth if truth.is_dir() else truth.parent
    rows = [
        {"image": names[i]} | _scores(loaded, cameras[i], folder / names[i], background, network)
        for i in progress(range(len(cameras)), "comparing", len(cameras))
    ]
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0] if key != "image"}
    text = ", ".join(f"{key.upper()} {value:.4g}" for key, value in means.items())
    finish({"pictures": len(rows), **means, "images": rows}, f"{len(rows)} pictures: {text}", json)


def _network(path: Path | None):
    """The LPIPS network of a weight file; its name says which one."""
    from lyra.metrics import LPIPS

    return None if path is None else LPIPS.load(path, "alex" if "alex" in path.name else "vgg")


def _scores(scene, camera, path: Path, background: tuple[float, float, float], network) -> dict[str, float]:
    """The numbers of one picture."""
    import torch

    from lyra.io.images import load_image
    from lyra.metrics import psnr, ssim
    from lyra.render import render
    from lyra.scene import DynamicGaussians, require

    true = load_image(path)
    require(
        tuple(true.shape[1:]) == (camera.height, camera.width),
        f"{path}: has {true.shape[2]}x{true.shape[1]} pixels, but its camera has {camera.width}x{camera.height}",
    )
    moment = 0.0 if camera.times is None else float(camera.times)
    gaussians = scene.at(moment) if isinstance(scene, DynamicGaussians) else scene
    with torch.no_grad():
        drawn = render(gaussians, camera, torch.tensor(background)).rgb.clamp(0, 1)
        found = {"psnr": psnr(drawn, true), "ssim": ssim(drawn, true)}
        if network is not None:
            found["lpips"] = network(drawn, true)
    return {key: float(value) for key, value in found.items()}

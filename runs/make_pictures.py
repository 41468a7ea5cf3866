"""Makes the picture of the README, docs/images/generate.webp: photographs, and two views of the scene of each."""

from pathlib import Path

import torch

import lyra
from lyra.io.images import save_image

ROOT = Path(__file__).parents[1]


def main() -> None:
    """A row a photograph."""
    rows = []
    for name in ("pagoda", "mountains", "coffee"):
        scene = lyra.generate(ROOT / f"examples/photos/{name}.jpg")
        views = scene.orbit(8)[torch.tensor([1, 6])]
        rows.append(torch.cat([scene.image, *lyra.render(scene.gaussians, views).rgb], -1))
    save_image(torch.cat(rows, -2).clamp(0, 1), ROOT / "docs/images/generate.webp", quality=72)


if __name__ == "__main__":
    main()

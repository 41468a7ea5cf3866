"""Makes the pictures of the README: docs/images/room.jpg and walk.jpg from the example scenes, generate.jpg anew."""

from pathlib import Path

import torch

import lyra
from lyra.io.images import colour_depth, save_image
from lyra.scene.framing import first_view
from lyra.scene.trajectories import PRESETS

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, FOV = 480, 270, 80.0


def main() -> None:
    """Three views along a path and the depth of the first; four moments of the moving scene, the camera swinging."""
    (ROOT / "docs/images").mkdir(exist_ok=True)
    room = lyra.load(ROOT / "examples/room.spz")
    start, depth = first_view(room, FOV, WIDTH, HEIGHT)
    views = PRESETS["swing"].cameras(start, 8, depth)[torch.tensor([0, 2, 6])]
    drawn = lyra.render(room, views)
    tiles = [*drawn.rgb, colour_depth(drawn.depth[0, 0])]
    save_image(_two_by_two(tiles), ROOT / "docs/images/room.jpg", quality=88)

    walk = lyra.load(ROOT / "examples/walk.lyra4d")
    start, depth = first_view(walk.at(0.0), FOV, WIDTH, HEIGHT)
    views = PRESETS["swing"].cameras(start, 8, depth, 0.7)[torch.tensor([0, 2, 0, 6])]
    times = torch.linspace(0, walk.duration, 5)[:4]
    tiles = [
        lyra.render(walk.at(float(t)), view).rgb for t, view in zip(times, (views[i] for i in range(4)), strict=True)
    ]
    save_image(_two_by_two(tiles), ROOT / "docs/images/walk.jpg", quality=88)

    rows = []
    for name in ("coffee", "pagoda"):
        scene = lyra.generate(ROOT / f"examples/photos/{name}.jpg")
        views = scene.orbit(8)[torch.tensor([1, 6])]
        rows.append(torch.cat([scene.image, *lyra.render(scene.gaussians, views).rgb], -1))
    save_image(torch.cat(rows, -2).clamp(0, 1), ROOT / "docs/images/generate.jpg", quality=88)


def _two_by_two(tiles) -> torch.Tensor:
    rows = [torch.cat(tiles[i : i + 2], -1) for i in (0, 2)]
    return torch.cat(rows, -2).clamp(0, 1)


if __name__ == "__main__":
    main()

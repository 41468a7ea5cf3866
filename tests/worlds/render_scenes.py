"""Small worlds with known answers for the renderer's tests."""

import numpy as np

from worlds.rooms.shapes import box, merge, quads
from worlds.scene import Instance, Lamp, Material, Mover, Sky, Sun, Texture, World

SIZE = (64, 96)
GREY = Material((0.6, 0.6, 0.6))
OFF_CENTRE = np.array([[70.0, 0.0, 41.3], [0.0, 66.0, 35.8], [0.0, 0.0, 1.0]])


def flat_sky(level: float = 0.5) -> Sky:
    return Sky(np.full((1, 1, 3), level, np.float32), 1.0, (level, level, level))


def world(instances: list[Instance], movers: tuple[Mover, ...] = (), **rest: object) -> World:
    return World("test", "room", tuple(instances), movers, **({"sky": flat_sky()} | rest))


def placed(mesh, at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Instance:
    transform = np.eye(4)
    transform[:3, 3] = at
    return Instance(mesh, transform)


def square(centre, side: float, material: Material, right=(1.0, 0.0, 0.0), up=(0.0, 1.0, 0.0)):
    """A square with uv (0, 0) at its upper left corner."""
    c, r, u = (np.asarray(v, float) for v in (centre, right, up))
    corners = [c + side / 2 * (x * r + y * u) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return quads(np.asarray([corners]), np.asarray([[(0, 1), (1, 1), (1, 0), (0, 0)]], float), material)


def checkerboard(squares: int, alpha: bool = False) -> Texture:
    """Black and white squares; with `alpha` white all over and the black squares transparent."""
    size = 256
    white = (np.indices((size, size)) // (size // squares)).sum(axis=0) % 2 == 0
    rgba = np.full((size, size, 4), 255, np.uint8)
    rgba[..., 3 if alpha else slice(0, 3)] = (white * 255).astype(np.uint8)[..., *([] if alpha else [None])]
    return Texture(f"checker-{squares}-{alpha}", rgba)


def forward_camera(eye=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Looking along +z with the image's x to world -x, y to world -y (OpenCV axes, world +y up)."""
    c2w = np.diag([-1.0, -1.0, 1.0, 1.0])
    c2w[:3, 3] = eye
    return c2w


def rays(c2w: np.ndarray, K: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """World directions f64 [h, w, 3] of the pixel centres, of camera depth 1."""
    y, x = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5, indexing="ij")
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(K).T @ c2w[:3, :3].T


def sliding_box(velocity, start=(0.0, 0.0, 4.0), seconds: float = 2.0) -> Mover:
    transforms = np.repeat(np.eye(4)[None], 2, axis=0)
    transforms[:, :3, 3] = np.asarray(start) + np.asarray([[0.0], [seconds]]) * np.asarray(velocity)
    return Mover(Instance(box((0, 0, 0), (1, 1, 1), GREY), np.eye(4)), np.asarray([0.0, seconds]), transforms)


def furnished() -> World:
    """A room of 4 x 2.6 x 4 m with a window, a red wall, a table, soft textures, a sun, a lamp."""
    smooth = np.kron(np.random.default_rng(3).integers(90, 220, (16, 16, 3)), np.ones((16, 16, 1)))
    smooth = sum(np.roll(smooth, (i, j), (0, 1)) for i in range(-8, 9, 4) for j in range(-8, 9, 4)) / 25
    floor = Texture("soft", np.dstack([smooth, np.full(smooth.shape[:2], 255.0)]).astype(np.uint8))
    wall, red = Material((0.75, 0.74, 0.7)), Material((0.7, 0.1, 0.08))
    walls = [
        box((0, -0.1, 0), (4.4, 0.2, 4.4), Material((1, 1, 1), floor)),
        box((0, 2.7, 0), (4.4, 0.2, 4.4), wall),
        box((-2.1, 1.3, 0), (0.2, 2.6, 4.4), red),
        box((2.1, 1.3, 0), (0.2, 2.6, 4.4), wall),
        box((0, 1.3, 2.1), (4, 2.6, 0.2), wall),
        box((-1.3, 1.3, -2.1), (1.4, 2.6, 0.2), wall),
        box((1.3, 1.3, -2.1), (1.4, 2.6, 0.2), wall),
        box((0, 0.4, -2.1), (1.2, 0.8, 0.2), wall),
        box((0, 2.4, -2.1), (1.2, 0.4, 0.2), wall),
    ]
    legs = [box((x, 0.35, z), (0.08, 0.7, 0.08), GREY) for x in (-0.5, 0.5) for z in (0.1, 0.7)]
    table = merge([box((0, 0.73, 0.4), (1.2, 0.06, 0.8), Material((0.8, 0.6, 0.4), floor)), *legs])
    cupboard = box((1.6, 0.9, 1.4), (0.6, 1.8, 0.9), Material((0.3, 0.4, 0.6), floor))
    return world(
        [placed(mesh) for mesh in (*walls, table, cupboard)],
        sun=Sun((0.3, -0.6, 0.74), (6.0, 5.5, 4.8)),
        lamps=(Lamp((0.5, 2.3, 0.0), (1.0, 0.9, 0.7)),),
        sky=flat_sky(1.2),
        spawns=np.asarray([[0.0, 1.5, -1.0]]),
    )

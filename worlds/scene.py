"""The nouns of the world engine: meshes, materials, lights, movers and the world that holds them.

World frame: right-handed, metres, **+y up** (gravity is -y), as most game assets are made.
Cameras are camera-to-world matrices with OpenCV axes (+x right, +y down, +z forward); pixel centres at +0.5.
Everything here is numpy and frozen: parsers and room builders produce it, the renderer consumes it.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class Texture:
    """One image of a pack. `rgba` is uint8 [h, w, 4], sRGB; `key` names it in the pack and in the credits."""

    key: str
    rgba: np.ndarray


@dataclass(frozen=True, eq=False)
class Material:
    """How a face looks: `colour` (linear RGB in [0, 1]) times the texture, if there is one.

    `alpha` "mask" discards texels with alpha < 0.5 (leaves, fences); `emission` is radiance added in multiples of
    the surface colour (lamps, screens, windows); `specular` is unused by the view-independent shading.
    """

    colour: tuple[float, float, float] = (0.8, 0.8, 0.8)
    texture: Texture | None = None
    alpha: Literal["opaque", "mask"] = "opaque"
    emission: float = 0.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in object space.

    positions f32 [v, 3] (metres, +y up), normals f32 [v, 3] (unit), uvs f32 [v, 2] (v axis points down, repeat wraps),
    triangles i32 [f, 3], face_materials i32 [f] into `materials`. `lightmap` (baked levels only) is a Texture
    addressed by lightmap_uvs f32 [v, 2]; its light replaces sun, lamps and bounce.
    """

    positions: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    triangles: np.ndarray
    face_materials: np.ndarray
    materials: tuple[Material, ...]
    lightmap: Texture | None = None
    lightmap_uvs: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Instance:
    """A mesh placed in the world by `transform` (f64 [4, 4] object-to-world); `label` are caption words ("sofa", "pale
    blue wall"), `room` is what the room it belongs to is called ("bedroom")."""

    mesh: Mesh
    transform: np.ndarray
    label: str = ""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    room: str = ""


@dataclass(frozen=True, eq=False)
class Mover:
    """An instance that moves. Rigid: `transforms` f64 [k, 4, 4] at `times` s (sorted; interpolated, clamped outside).

    Vertex-animated (walking people): `poses` f32 [p, v, 3] replaces mesh.positions, looping at `poses_fps`.
    """

    instance: Instance
    times: np.ndarray
    transforms: np.ndarray
    poses: np.ndarray | None = None
    poses_fps: float = 0.0


@dataclass(frozen=True)
class Sun:
    """`direction` points from the sun into the world (unit); `radiance` linear RGB."""

    direction: tuple[float, float, float]
    radiance: tuple[float, float, float]


@dataclass(frozen=True)
class Lamp:
    """A point light at `position` (m) with linear RGB `intensity` (radiance at 1 m), no light beyond `reach` m."""

    position: tuple[float, float, float]
    intensity: tuple[float, float, float]
    reach: float = 12.0


@dataclass(frozen=True, eq=False)
class Sky:
    """Equirectangular linear HDR panorama f32 [h, w, 3] (row 0 = up, column 0 = -z turning to +x), or a flat colour
    as a [1, 1, 3] array; `gain` scales it; `ambient` linear RGB is its mean light on an up-facing surface."""

    panorama: np.ndarray
    gain: float = 1.0
    ambient: tuple[float, float, float] = (0.3, 0.3, 0.3)


@dataclass(frozen=True, eq=False)
class World:
    """A complete scene, ready for the renderer and for camera planning.

    `spawns` f64 [s, 3] are points known to be inside the navigable space (eye height), the seeds of camera paths.
    `near_scale` is the typical distance to things in metres (about 2 for rooms, 8 for levels); paths scale with it.
    `caption` is made from the scene graph, `light` are its words for the light of a room. `assets` are the pack keys
    used (splits and credits are made of them).
    """

    name: str
    kind: Literal["room", "level"]
    instances: tuple[Instance, ...]
    movers: tuple[Mover, ...] = ()
    sun: Sun | None = None
    lamps: tuple[Lamp, ...] = ()
    sky: Sky = field(default_factory=lambda: Sky(np.full((1, 1, 3), 0.5, np.float32)))
    spawns: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    near_scale: float = 2.0
    caption: str = ""
    light: str = ""
    assets: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Frames:
    """What the renderer returns for t cameras at height h, width w.

    rgb uint8 [t, h, w, 3] sRGB; depth f32 [t, h, w] metres along the camera z axis, sampled exactly at pixel centres
    (sky = inf); ids i32 [t, h, w] (0 = sky, 1..n static instances, then movers); c2w f64 [t, 4, 4]; K f64 [t, 3, 3];
    times f64 [t] s. normals f32 [t, h, w, 3] (world) and motion f32 [t, h, w, 3] (world-space velocity of the
    surface point, m/s) are None unless asked for.
    """

    rgb: np.ndarray
    depth: np.ndarray
    ids: np.ndarray
    c2w: np.ndarray
    K: np.ndarray
    times: np.ndarray
    normals: np.ndarray | None = None
    motion: np.ndarray | None = None

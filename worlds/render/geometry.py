"""A world's triangles as flat arrays for the GPU: static faces first, opaque before masked, movers at the tail.

Vertices (8 words): position f32 x 3, octahedral normal, uv f32 x 2, lightmap uv f32 x 2.
Faces (4 words): three vertices, object id << 16 | material. Materials (8 words): colour, emission, layers.
"""

from dataclasses import dataclass

import numpy as np

from worlds.errors import WorldsError
from worlds.render.textures import TextureStore, resized
from worlds.scene import Instance, Texture, World


@dataclass(frozen=True)
class Geometry:
    """`ranges` (first face, count) of static opaque, mover opaque, static masked, mover masked (contiguous in
    this order); `mover_starts` i64 [m + 1] splits the vertices from `static_vertices` on; `low`, `high` bound the
    static vertices. `lightmaps` uint8 [n, h, w, 4]."""

    vertices: np.ndarray
    faces: np.ndarray
    materials: np.ndarray
    lightmaps: np.ndarray
    ranges: tuple[tuple[int, int], ...]
    static_vertices: int
    static_faces: np.ndarray
    mover_starts: np.ndarray
    low: np.ndarray
    high: np.ndarray


def octahedral(normals: np.ndarray) -> np.ndarray:
    """Unit normals f32 [n, 3] as uint32 [n]: two signed 16-bit octahedral coordinates (Cigolle et al. 2014)."""
    n = normals / np.maximum(np.abs(normals).sum(axis=1, keepdims=True), 1e-20)
    e = n[:, :2]
    fold = (1 - np.abs(e[:, ::-1])) * np.where(e >= 0, 1, -1)
    e = np.where(n[:, 2:] >= 0, e, fold)
    q = np.rint(np.clip(e, -1, 1) * 32767).astype(np.int16).view(np.uint16).astype(np.uint32)
    return q[:, 0] | q[:, 1] << 16


def _vertex_words(instance: Instance, transform: np.ndarray) -> np.ndarray:
    mesh = instance.mesh
    linear = transform[:3, :3]
    out = np.zeros((len(mesh.positions), 8), np.float32)
    out[:, :3] = mesh.positions @ linear.T + transform[:3, 3]
    normals = mesh.normals @ np.linalg.inv(linear)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    out.view(np.uint32)[:, 3] = octahedral(normals)
    out[:, 4:6] = mesh.uvs
    if mesh.lightmap_uvs is not None:
        out[:, 6:8] = mesh.lightmap_uvs
    return out.view(np.uint32)


class _Materials:
    """The material table of a scene under construction."""

    def __init__(self, store: TextureStore) -> None:
        self.store, self.rows, self.masked, self.lightmaps = store, [], [], {}

    def add(self, instance: Instance) -> int:
        """Appends an instance's materials; returns the index of the first."""
        first, mesh = len(self.rows), instance.mesh
        baked = -1 if mesh.lightmap is None else self._lightmap(mesh.lightmap)
        for m in mesh.materials:
            row = np.zeros(8, np.float32)
            row[:3] = np.asarray(m.colour) * np.asarray(instance.tint)
            row[3] = m.emission
            layer = -1 if m.texture is None else self.store.layer(m.texture)
            row.view(np.int32)[4:7] = layer, baked, m.alpha == "mask"
            self.rows.append(row)
            self.masked.append(m.alpha == "mask" and layer >= 0)
        return first

    def _lightmap(self, texture: Texture) -> int:
        return self.lightmaps.setdefault(texture.key, (len(self.lightmaps), texture))[0]

    def lightmap_array(self) -> np.ndarray:
        images = [texture.rgba for _, texture in self.lightmaps.values()] or [np.zeros((1, 1, 4), np.uint8)]
        height, width = (max(image.shape[k] for image in images) for k in (0, 1))
        return np.stack([resized(image, width, height) for image in images])


def flatten(world: World, store: TextureStore) -> Geometry:
    """All triangles of a world; textures go to the store. Raises WorldsError for a world without triangles or one
    that has more than 65535 objects or materials."""
    items = [(i, i.transform) for i in world.instances] + [(m.instance, m.transforms[0]) for m in world.movers]
    table = _Materials(store)
    vertices, faces, masked, starts = [], [], [], [0]
    for number, (instance, transform) in enumerate(items, start=1):
        first_material = table.add(instance)
        mesh = instance.mesh
        rows = np.empty((len(mesh.triangles), 4), np.uint32)
        rows[:, :3] = mesh.triangles + starts[-1]
        material = mesh.face_materials.astype(np.uint32) + first_material
        rows[:, 3] = material | np.uint32(number << 16)
        vertices.append(_vertex_words(instance, np.asarray(transform)))
        faces.append(rows)
        masked.append(np.asarray(table.masked, bool)[material])
        starts.append(starts[-1] + len(mesh.positions))
    if not items or starts[-1] == 0 or len(items) > 65535 or len(table.rows) > 65535:
        raise WorldsError(
            f"a world needs triangles and at most 65535 objects and materials: {world.name} has {starts[-1]} vertices, "
            f"{len(items)} objects and {len(table.rows)} materials"
        )
    count = len(world.instances)
    static = np.repeat(np.arange(len(items)) < count, [len(f) for f in faces])
    words, faces, masked = np.concatenate(vertices), np.concatenate(faces), np.concatenate(masked)
    parts = [np.flatnonzero(pick) for pick in (static & ~masked, ~static & ~masked, static & masked, ~static & masked)]
    firsts = np.cumsum([0] + [len(part) for part in parts])
    bounded = words[: starts[count], :3].view(np.float32) if starts[count] else words[:, :3].view(np.float32)
    return Geometry(
        vertices=words,
        faces=faces[np.concatenate(parts)],
        materials=np.stack(table.rows),
        lightmaps=table.lightmap_array(),
        ranges=tuple((int(f), len(p)) for f, p in zip(firsts, parts, strict=False)),
        static_vertices=starts[count],
        static_faces=np.concatenate([np.arange(firsts[k], firsts[k + 1]) for k in (0, 2)]),
        mover_starts=np.asarray(starts[count:]),
        low=bounded.min(axis=0).astype(np.float64),
        high=bounded.max(axis=0).astype(np.float64),
    )

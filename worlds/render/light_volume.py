"""Baked indirect light: surfaces are splatted into a voxel volume, cones gather it at the cells next to surfaces.

Voxel cone tracing (Crassin et al. 2011) in an anisotropic volume, gathered once a scene into ambient cubes (McTaggart
2004) instead of once a pixel, and repeated for further bounces. All on the device; only sample counts are numpy.
"""

from dataclasses import dataclass

import moderngl
import numpy as np

from worlds.render.context import assign, compute_program
from worlds.render.geometry import Geometry

SAMPLES_PER_CELL_FACE = 6.0
MOST_SAMPLES = 2_000_000
RECORD_BYTES = 28 * 4
LATTICE = 4


@dataclass(frozen=True)
class Grid:
    """`cells` along x, y, z (multiples of 2^(levels - 1)), cubes of `voxel` m from `origin`."""

    cells: tuple[int, int, int]
    voxel: float
    origin: np.ndarray
    levels: int

    @staticmethod
    def around(low: np.ndarray, high: np.ndarray, detail: int, most: tuple[int, int, int], levels: int) -> "Grid":
        """A grid of about `detail` cells, at most `most` along x, y, z, over a box; a cell is at least 4 cm."""
        multiple = 2 ** (levels - 1)
        voxel = max(0.04, float(np.prod(np.maximum(high - low, 0.5)) / detail) ** (1 / 3))
        while True:
            cells = np.ceil((high - low + 4 * voxel) / voxel / multiple).astype(int) * multiple
            if np.prod(cells) <= 1.25 * detail and (cells <= most).all():
                break
            voxel *= 1.05
        return Grid(tuple(int(c) for c in cells), voxel, (low + high - cells * voxel) / 2, levels)


def surface_samples(geometry: Geometry, voxel: float) -> np.ndarray:
    """Faces to sample, each in proportion to its area: uint32 [n, 2] of face and the sample's area (f32 bits)."""
    faces = geometry.static_faces
    corners = geometry.vertices[geometry.faces[faces, :3], :3].view(np.float32)
    edges = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / voxel**2
    density = min(SAMPLES_PER_CELL_FACE, MOST_SAMPLES / max(float(area.sum()), 1.0))
    counts = np.ceil(np.minimum(area * density, MOST_SAMPLES)).astype(np.int64)
    out = np.empty((int(counts.sum()), 2), np.uint32)
    out[:, 0] = np.repeat(faces, counts)
    out[:, 1] = np.repeat((area / np.maximum(counts, 1)).astype(np.float32).view(np.uint32), counts)
    return out


class LightBaker:
    """The bake's programs, its work buffer and its volumes, shared by the scenes of a renderer.

    A volume's mip levels take the driver a third of a second to make, so volumes are large enough for every scene
    and used again: `give_back` one when its scene is released.
    """

    def __init__(self, ctx: moderngl.Context, thorough: bool, defines: dict[str, object]) -> None:
        self.ctx, self.spare = ctx, []
        if thorough:
            self.detail, self.most, self.levels, self.bounces, cones, tangent = (
                1_200_000,
                (192, 96, 192),
                5,
                5,
                24,
                0.29,
            )
        else:
            self.detail, self.most, self.levels, self.bounces, cones, tangent = 60_000, (96, 48, 96), 4, 3, 8, 0.52
        defines = defines | {"MOVERS": 0}
        self.clear = compute_program(ctx, "clear.comp")
        self.inject = compute_program(ctx, "inject.comp", **defines)
        self.resolve = compute_program(ctx, "resolve.comp")
        self.mark = compute_program(ctx, "mark.comp")
        self.gather = compute_program(ctx, "gather.comp", CONES=cones, CONE_TANGENT=tangent, **defines)
        self.smooth = compute_program(ctx, "smooth.comp")
        self.reduce = compute_program(ctx, "reduce.comp")
        most_cells = int(1.25 * self.detail)
        self.accumulated = ctx.buffer(reserve=most_cells * RECORD_BYTES)
        self.items = ctx.buffer(reserve=4 * (6 * most_cells + 1))
        self.radiance = self._volume()

    def bake(
        self,
        geometry: Geometry,
        box: tuple[np.ndarray, np.ndarray],
        light: dict[str, object],
        moving: bool,
        sky_height: int,
    ) -> tuple[moderngl.Texture3D, dict[str, object]]:
        """The irradiance volume of `box` (low, high) and the uniforms that address it.

        The scene's buffers and shadow maps must be bound; `light` holds their uniforms; `sky_height` is the
        panorama's in px. `moving` also bakes a coarse lattice of free space, for what moves through it.
        """
        grid = Grid.around(*box, self.detail, self.most, self.levels)
        address = {
            "volume_origin": grid.origin,
            "volume_cells": tuple(float(c) for c in grid.cells),
            "cells": grid.cells,
            "voxel": grid.voxel,
            "volume_levels": grid.levels,
        }
        for program in (self.inject, self.resolve, self.mark, self.gather, self.smooth):
            assign(program, **light, **address)
        radiance, irradiance = self.radiance, self.spare.pop() if self.spare else self._volume()
        self._inject(geometry, grid)
        count = self._mark(grid, irradiance, moving)
        assign(self.gather, count=count, sky_cone_lod=float(max(0.0, np.log2(max(sky_height / 5, 1)))))
        radiance.use(10)
        irradiance.use(7)
        for bounce in range(self.bounces):
            assign(self.resolve, bounce=bounce)
            radiance.bind_to_image(0, read=False, write=True)
            self.resolve.run(*(c // 4 for c in grid.cells))
            self._reduce(grid, radiance, opaque=True)
            irradiance.bind_to_image(0, read=False, write=True)
            groups = -(-count // 64)
            self.gather.run(min(groups, 32768), -(-groups // 32768), 1)
            self.ctx.memory_barrier()
        self.radiance, irradiance = irradiance, radiance
        irradiance.bind_to_image(0, read=False, write=True)
        self.smooth.run(*(c // 4 for c in grid.cells))
        self._reduce(grid, irradiance, opaque=False)
        return irradiance, address

    def give_back(self, volume: moderngl.Texture3D) -> None:
        """Takes a volume that `bake` returned for the next scene."""
        self.spare.append(volume)

    def _volume(self) -> moderngl.Texture3D:
        x, y, z = self.most
        volume = self.ctx.texture3d((x, y, 6 * z), 4, dtype="f2")
        volume.build_mipmaps(max_level=self.levels - 1)
        volume.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        volume.repeat_x = volume.repeat_y = volume.repeat_z = False
        return volume

    def _inject(self, geometry: Geometry, grid: Grid) -> None:
        words = int(np.prod(grid.cells)) * RECORD_BYTES // 16
        self.accumulated.bind_to_storage_buffer(14)
        assign(self.clear, count=words)
        groups = -(-words // 64)
        self.clear.run(min(groups, 32768), -(-groups // 32768), 1)
        samples = surface_samples(geometry, grid.voxel)
        if not len(samples):
            return
        buffer = self.ctx.buffer(samples)
        buffer.bind_to_storage_buffer(13)
        assign(self.inject, count=len(samples))
        self.ctx.memory_barrier()
        self.inject.run(-(-len(samples) // 64), 1, 1)
        self.ctx.memory_barrier()
        buffer.release()

    def _mark(self, grid: Grid, irradiance: moderngl.Texture3D, moving: bool) -> int:
        self.items.write(b"\0\0\0\0")
        self.items.bind_to_storage_buffer(15)
        irradiance.bind_to_image(0, read=False, write=True)
        assign(self.mark, lattice=LATTICE if moving else 0)
        self.mark.run(*(c // 4 for c in grid.cells))
        self.ctx.memory_barrier()
        return int(np.frombuffer(self.items.read(size=4), np.uint32)[0])

    def _reduce(self, grid: Grid, volume: moderngl.Texture3D, opaque: bool) -> None:
        x, y, z = grid.cells
        assign(self.reduce, opaque=int(opaque))
        for level in range(1, grid.levels):
            self.ctx.memory_barrier()
            volume.bind_to_image(0, read=True, write=False, level=level - 1)
            volume.bind_to_image(1, read=False, write=True, level=level)
            size = (x >> level, y >> level, 6 * (z >> level))
            assign(self.reduce, size=size)
            self.reduce.run(*(-(-s // 4) for s in size))
        self.ctx.memory_barrier()

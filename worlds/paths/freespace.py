"""Free space of a world: occupied voxels, their distance field, clearance and ray casts. No mesh queries needed."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from worlds.motion import pose_at, vertices_at
from worlds.scene import Instance, Mover, World

# Last words of the labels of what is flat on or in a room's walls: a view of these alone is dull.
SHELL = frozenset({"wall", "floor", "ceiling", "window", "trim", "door", "curtain", "picture", "radiator"})
SAMPLING = 0.6  # spacing of surface samples, in voxels
# A surface lies at most half a voxel diagonal from the centre of the voxel that holds it.
HALF_DIAGONAL = 0.5 * np.sqrt(3.0)


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """A box of voxels: `origin` f64 [3] is the corner (m), `occupied` bool [nx, ny, nz],
    `distance` f32 [nx, ny, nz] metres from a voxel's centre to the next occupied centre.
    `far` is a coarser and larger grid in which rays go on after leaving this one. `content` bool [nx, ny, nz] marks
    what furnishes a room (everything but SHELL), None for levels."""

    origin: np.ndarray
    voxel: float
    occupied: np.ndarray
    distance: np.ndarray
    far: "FreeSpace | None" = None
    content: np.ndarray | None = None

    def index(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Voxel indices i64 [..., 3], clamped to the grid, and which points are inside, bool [...]."""
        cell = np.floor((points - self.origin) / self.voxel).astype(np.int64)
        limit = np.asarray(self.occupied.shape) - 1
        inside = np.all((cell >= 0) & (cell <= limit), axis=-1)
        return np.clip(cell, 0, limit), inside

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """A lower bound, f64 [...], of the distance (m) from points [..., 3] to the next surface; 0 outside the grid.

        The field is sampled in the voxel's centre: the point may be half a diagonal off, the surface another half.
        """
        cell, inside = self.index(points)
        field = self.distance[cell[..., 0], cell[..., 1], cell[..., 2]]
        centre = self.origin + (cell + 0.5) * self.voxel
        off = np.linalg.norm(points - centre, axis=-1)
        return np.where(inside, np.maximum(field - off - HALF_DIAGONAL * self.voxel, 0.0), 0.0)

    def cast(self, origins: np.ndarray, directions: np.ndarray, steps: int = 96) -> np.ndarray:
        """Distance f64 [n] (m) along unit directions [n, 3] to the first occupied voxel, inf where nothing is hit.

        Sphere tracing through the distance field; accurate to about one voxel. Fewer than one ray in a hundred slips
        through a surface where it only cuts the corner of a voxel.
        """
        travelled = np.zeros(len(origins))
        result = np.full(len(origins), np.inf)
        active = np.arange(len(origins))
        left = []
        flat, shape = self.distance.ravel(), self.occupied.shape
        for _ in range(steps):
            if active.size == 0:
                break
            where = origins[active] + travelled[active, None] * directions[active]
            cell, inside = self.index(where)
            left.append(active[~inside])
            gap = flat[(cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]]
            hit = inside & (gap < 0.5 * self.voxel)
            result[active[hit]] = travelled[active[hit]]
            going = inside & ~hit
            travelled[active[going]] += np.maximum(gap[going] - HALF_DIAGONAL * self.voxel, 0.3 * self.voxel)
            active = active[going]
        result[active] = travelled[active]  # grazing rays that ran out of steps are next to a surface
        outside = np.concatenate(left) if left else active
        if self.far is not None and outside.size:
            start = origins[outside] + travelled[outside, None] * directions[outside]
            result[outside] = travelled[outside] + self.far.cast(start, directions[outside], steps)
        return result

    def above_ground(self) -> np.ndarray:
        """Height f32 [nx, ny, nz] (m) of a voxel's centre over the surface under it; inf where there is none."""
        row = np.arange(self.occupied.shape[1])[None, :, None]
        below = np.maximum.accumulate(np.where(self.occupied, row, -1), axis=1)
        return np.where(below >= 0, (row - below) * self.voxel, np.inf).astype(np.float32)

    def covered(self) -> np.ndarray:
        """bool [nx, ny, nz]: something is above the voxel (a ceiling)."""
        return np.flip(np.maximum.accumulate(np.flip(self.occupied, axis=1), axis=1), axis=1)


def triangles_of(world: World) -> np.ndarray:
    """All static triangles in world space, f32 [n, 3, 3], instance by instance."""
    parts = [_placed(instance) for instance in world.instances]
    return np.concatenate(parts) if parts else np.zeros((0, 3, 3), np.float32)


def _placed(instance: Instance) -> np.ndarray:
    mesh, matrix = instance.mesh, instance.transform.astype(np.float32)
    return (mesh.positions @ matrix[:3, :3].T + matrix[:3, 3])[mesh.triangles]


def touching(triangles: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which triangles [n, 3, 3] have a bounding box that touches the box [low, high], bool [n]."""
    found = np.ones(len(triangles), bool)
    for axis in range(3):
        a, b, c = (triangles[:, corner, axis] for corner in range(3))
        found &= (np.maximum(np.maximum(a, b), c) >= low[axis]) & (np.minimum(np.minimum(a, b), c) <= high[axis])
    return found


def surface_points(triangles: np.ndarray, spacing: float) -> np.ndarray:
    """Points f32 [m, 3] that cover triangles [n, 3, 3] no farther apart than about `spacing` metres."""
    edges = triangles[:, [1, 2, 0]] - triangles
    longest = np.argmax(np.einsum("nij,nij->ni", edges, edges), axis=1)
    corner = (longest + 2) % 3  # the corner opposite to the longest edge
    rows = np.arange(len(triangles))
    apex = triangles[rows, corner]
    sides = np.stack([triangles[rows, (corner + 1) % 3] - apex, triangles[rows, (corner + 2) % 3] - apex], axis=1)
    counts = np.ceil(np.linalg.norm(sides, axis=-1) / spacing).astype(np.int64)
    small = np.all(counts <= 1, axis=1)
    parts = [triangles[small].reshape(-1, 3)]
    apex, sides, counts = apex[~small], sides[~small], np.maximum(counts[~small], 1)
    per = (counts[:, 0] + 1) * (counts[:, 1] + 1)
    # In blocks, so that a huge ground plane does not take gigabytes at once.
    blocks = np.searchsorted(np.cumsum(per), np.arange(0, per.sum(), 2_000_000), side="left")
    for low, high in itertools.pairwise([*blocks, len(per)]):
        if high <= low:
            continue
        size = per[low:high]
        owner = np.repeat(np.arange(low, high), size)
        local = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        s = (local // (counts[owner, 1] + 1)) / counts[owner, 0]
        t = (local % (counts[owner, 1] + 1)) / counts[owner, 1]
        # Rows that overshoot the longest edge are put on it, which keeps that edge covered.
        over = np.maximum(s + t, 1.0)
        reach = np.stack([s / over, t / over], axis=-1).astype(np.float32)
        parts.append(apex[owner] + np.einsum("nk,nkj->nj", reach, sides[owner]))
    return np.concatenate(parts)


def voxelise(triangles: np.ndarray, low: np.ndarray, high: np.ndarray, voxel: float) -> FreeSpace:
    """FreeSpace of the box [low, high] (m) at a voxel size; triangles f32 [n, 3, 3]."""
    occupied = np.zeros(_shape(low, high, voxel), bool)
    inside = triangles[touching(triangles, low, high)]
    _fill(occupied, surface_points(inside, SAMPLING * voxel), low, voxel)
    return FreeSpace(np.asarray(low, np.float64), voxel, occupied, _distances(occupied, voxel))


def _shape(low: np.ndarray, high: np.ndarray, voxel: float) -> tuple[int, ...]:
    return tuple(int(n) for n in np.maximum(np.ceil((high - low) / voxel), 1))


def _fill(occupied: np.ndarray, points: np.ndarray, low: np.ndarray, voxel: float) -> None:
    x, y, z = (np.floor((points[:, k] - low[k]) * np.float32(1.0 / voxel)).astype(np.int32) for k in range(3))
    nx, ny, nz = occupied.shape
    inside = (x >= 0) & (y >= 0) & (z >= 0) & (x < nx) & (y < ny) & (z < nz)
    occupied.reshape(-1)[((x * ny + y) * nz + z)[inside]] = True


def _distances(occupied: np.ndarray, voxel: float) -> np.ndarray:
    if not occupied.any():
        return np.full(occupied.shape, 1e3, np.float32)
    return (ndimage.distance_transform_edt(~occupied) * voxel).astype(np.float32)


def room_space(world: World, triangles: np.ndarray) -> FreeSpace:
    """FreeSpace of a furnished room or flat with triangles f32 [n, 3, 3]: one grid around everything."""
    voxel = 0.035 * world.near_scale
    low, high = triangles.min(axis=(0, 1)) - 0.1, triangles.max(axis=(0, 1)) + 0.1
    owners = np.repeat(
        [instance.label.rsplit(" ", 1)[-1] not in SHELL for instance in world.instances],
        [len(instance.mesh.triangles) for instance in world.instances],
    )
    content, shell = (np.zeros(_shape(low, high, voxel), bool) for _ in range(2))
    _fill(content, surface_points(triangles[owners], SAMPLING * voxel), low, voxel)
    _fill(shell, surface_points(triangles[~owners], SAMPLING * voxel), low, voxel)
    occupied = content | shell
    return FreeSpace(low.astype(np.float64), voxel, occupied, _distances(occupied, voxel), content=content)


def level_space(world: World, triangles: np.ndarray, centre: np.ndarray) -> FreeSpace:
    """FreeSpace around `centre` [3] of a level: a fine grid within a coarse one (rays see 5 times as far)."""
    scale = world.near_scale
    half = np.array([2.2, 0.9, 2.2]) * scale
    fine = voxelise(triangles, centre - half, centre + half, 0.04 * scale)
    coarse = voxelise(triangles, centre - 5.0 * half, centre + 5.0 * half, 0.2 * scale)
    return replace(fine, far=coarse)


def with_movers(space: FreeSpace, movers: tuple[Mover, ...], times: np.ndarray) -> FreeSpace:
    """The same space with everything that the movers sweep at `times` [t] (s) occupied."""
    occupied = space.occupied.copy()
    high = space.origin + np.array(occupied.shape) * space.voxel
    for mover in movers:
        for time in times:
            matrix = pose_at(mover, time)
            points = vertices_at(mover, time) @ matrix[:3, :3].T + matrix[:3, 3]
            if (points.max(axis=0) < space.origin).any() or (points.min(axis=0) > high).any():
                continue
            faces = points[mover.instance.mesh.triangles]
            near = touching(faces, space.origin, high)
            _fill(occupied, surface_points(faces[near], space.voxel), space.origin, space.voxel)
    return replace(space, occupied=occupied, distance=_distances(occupied, space.voxel))

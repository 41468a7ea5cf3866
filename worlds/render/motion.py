"""Where movers are at a time: interpolated transforms and poses, packed for the skinning shader."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from worlds.render.geometry import octahedral
from worlds.scene import Mover

STEP = 0.01  # s, half of the interval of the finite difference that gives velocities


@dataclass(frozen=True)
class Track:
    """A mover's transforms split into translation, rotation (slerp) and stretch (linear), after polar decomposition."""

    times: np.ndarray
    translations: np.ndarray
    rotations: Slerp | None
    stretches: np.ndarray
    fixed: np.ndarray

    @staticmethod
    def of(mover: Mover) -> "Track":
        m = np.asarray(mover.transforms, np.float64)
        u, _, vt = np.linalg.svd(m[:, :3, :3])
        sign = np.linalg.det(u @ vt)
        u[:, :, 2] *= sign[:, None]
        rotation = u @ vt
        times = np.asarray(mover.times, np.float64)
        slerp = Slerp(times, Rotation.from_matrix(rotation)) if len(times) > 1 else None
        return Track(times, m[:, :3, 3], slerp, rotation.transpose(0, 2, 1) @ m[:, :3, :3], m[0])

    def at(self, t: np.ndarray) -> np.ndarray:
        """Transforms f64 [n, 4, 4] at times [n], clamped outside the keys."""
        if self.rotations is None:
            return np.broadcast_to(self.fixed, (len(t), 4, 4))
        t = np.clip(t, self.times[0], self.times[-1])
        k = np.clip(np.searchsorted(self.times, t, side="right") - 1, 0, len(self.times) - 2)
        w = (t - self.times[k]) / (self.times[k + 1] - self.times[k])
        out = np.zeros((len(t), 4, 4))
        out[:, :3, 3] = self.translations[k] * (1 - w)[:, None] + self.translations[k + 1] * w[:, None]
        stretch = self.stretches[k] * (1 - w)[:, None, None] + self.stretches[k + 1] * w[:, None, None]
        out[:, :3, :3] = self.rotations(t).as_matrix() @ stretch
        out[:, 3, 3] = 1
        return out

    def interval(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The two times around each t whose difference gives the velocity: one-sided at the first and last key."""
        inside = (t >= self.times[0]) & (t <= self.times[-1]) & (self.rotations is not None)
        before = np.where(inside, np.maximum(t - STEP, self.times[0]), t - STEP)
        return before, np.where(inside, np.minimum(t + STEP, self.times[-1]), t + STEP)


def pose_normals(poses: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Smooth normals f32 [p, v, 3] of poses [p, v, 3]; vertices at one place in the first pose share a normal."""
    _, shared = np.unique(poses[0], axis=0, return_inverse=True)
    shared = shared.ravel()
    corners = poses[:, triangles]
    face = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    out = np.zeros((len(poses), shared.max() + 1, 3), np.float64)
    for k in range(3):
        np.add.at(out, (slice(None), shared[triangles[:, k]]), face)
    out = out[:, shared]
    return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-20)


def rest_words(mover: Mover) -> np.ndarray:
    """Position and packed normal of every vertex of every pose: uint32 [p * v, 4]."""
    mesh = mover.instance.mesh
    if mover.poses is None:
        positions, normals = mesh.positions[None], mesh.normals[None]
    else:
        positions, normals = mover.poses, pose_normals(mover.poses, mesh.triangles)
    out = np.empty((positions.shape[0] * positions.shape[1], 4), np.float32)
    out[:, :3] = positions.reshape(-1, 3)
    out.view(np.uint32)[:, 3] = octahedral(normals.reshape(-1, 3))
    return out.view(np.uint32)


@dataclass(frozen=True)
class Movers:
    """The movers of a scene: `rest` words, `owner` u32 [v] (mover of a vertex), `radii` of their bounding spheres."""

    movers: tuple[Mover, ...]
    tracks: tuple[Track, ...]
    rest: np.ndarray
    owner: np.ndarray
    rest_starts: np.ndarray
    starts: np.ndarray
    centres: np.ndarray
    radii: np.ndarray

    @staticmethod
    def of(movers: tuple[Mover, ...], starts: np.ndarray) -> "Movers":
        rest = [rest_words(m) for m in movers]
        spots = [(m.instance.mesh.positions if m.poses is None else m.poses).reshape(-1, 3) for m in movers]
        centres = np.asarray([(p.min(axis=0) + p.max(axis=0)) / 2 for p in spots])
        return Movers(
            movers=movers,
            tracks=tuple(Track.of(m) for m in movers),
            rest=np.concatenate(rest),
            owner=np.repeat(np.arange(len(movers), dtype=np.uint32), np.diff(starts)),
            rest_starts=np.cumsum([0] + [len(r) for r in rest]),
            starts=starts - starts[0],
            centres=centres,
            radii=np.asarray([np.linalg.norm(p - c, axis=1).max() for p, c in zip(spots, centres, strict=True)]),
        )

    def tables(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The skinning shader's rows for each time, f32 [t, m, 56], and bounding spheres f64 [t, m, 4]."""
        rows = np.zeros((len(times), len(self.movers), 56), np.float32)
        spheres = np.zeros((len(times), len(self.movers), 4))
        for k, (mover, track) in enumerate(zip(self.movers, self.tracks, strict=True)):
            before, after = track.interval(times)
            now = track.at(times)
            for slot, matrices in enumerate((now, track.at(before), track.at(after))):
                rows[:, k, slot * 16 : slot * 16 + 16] = matrices.transpose(0, 2, 1).reshape(-1, 16)
            poses = 1 if mover.poses is None else len(mover.poses)
            numbers = (self.rest_starts[k], self.starts[k + 1] - self.starts[k], poses, self.starts[k])
            rows.view(np.int32)[:, k, 48:52] = numbers
            if mover.poses is not None:
                for slot, t in enumerate((times, before, after)):
                    rows[:, k, 52 + slot] = np.mod(t * mover.poses_fps, poses)
            rows[:, k, 55] = after - before
            scale = np.linalg.norm(now[:, :3, :3], axis=1).max(axis=1)
            spheres[:, k, :3] = now[:, :3, :3] @ self.centres[k] + now[:, :3, 3]
            spheres[:, k, 3] = self.radii[k] * scale
        return rows, spheres

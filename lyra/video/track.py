"""The camera of a video from its pictures and their depth: features, then poses against known points (PnP, RANSAC).

Depth of a key frame turns its features into points of the world; every later frame is placed by the points that it
finds again. What moves by itself disagrees with the majority and is left out by RANSAC. A new key frame begins when too
few points are found again; its depth is first brought to the scale of the world by the points that it shares. At last
all poses, points and the lens are adjusted together (bundle adjustment), which does not trust depth any more.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import Cameras
from lyra.video.adjust import Observations, adjust
from lyra.video.features import Features, detect_all, match, match_all, opencv

_PIXELS = 1.5 / 448  # largest error of an inlier, as a share of the picture's width
_STILL, _STILL_SHARE = 0.75 / 448, 0.2  # a matched point that moved less stands still; so many must, in every frame
_FEWEST, _AGAIN = 12, 0.6  # points that place a frame; a share of the first frame's below which a key frame is made
ALIKE = 0.08  # colours (largest channel) that differ less are one thing
_EDGE = 1.08  # farthest to nearest depth around a feature, above which its depth is not trusted


@dataclass(frozen=True, eq=False)
class Anchors:
    """m places (x, y) of one frame in pixels and the depth along z that the world has there."""

    places: Float[Tensor, "m 2"]
    depth: Float[Tensor, " m"]

    def __len__(self) -> int:
        return len(self.depth)


@dataclass(frozen=True, eq=False)
class Track:
    """Cameras [t] in the unit of the first frame's depth, the first at the origin; anchors of every frame.

    `still` says that the camera never moved; `lost` lists frames that fit nowhere and took the pose before.
    """

    cameras: Cameras
    anchors: list[Anchors]
    still: bool
    lost: list[int]


@dataclass
class _Key:
    """A key frame: its features, the numbers of their world points (-1: none)."""

    features: Features
    ids: np.ndarray


@dataclass
class _World:
    """Points of the world and who saw them where."""

    points: list[np.ndarray] = field(default_factory=list)
    seen: list[tuple[int, int, float, float]] = field(default_factory=list)  # frame, point, x, y

    def __len__(self) -> int:
        return sum(map(len, self.points))

    def at(self, ids: np.ndarray) -> np.ndarray:
        """Places of these points."""
        return np.concatenate(self.points)[ids]


def solve(frames: Float[Tensor, "t 3 h w"], depth: Float[Tensor, "t h w"], K: Float[Tensor, "3 3"]) -> Track:
    """Cameras of all frames; `depth` (not finite: unknown) may have another scale in each.

    The frames share one lens: K, or what the motion says clearly of it. Then the world grows as its focal length, so
    that depth which follows the focal length, as a network's does, still has the world's unit. Frames and depth may be
    on any device; the track is on the CPU. Raises InputError if OpenCV or pycolmap is missing.
    """
    features = detect_all(frames)
    pairs = match_all(features[0], features)
    if is_still(features, pairs, frames.shape[-1]):
        cameras = _cameras(np.tile(np.eye(4), (len(frames), 1, 1)), K, frames)
        nothing = Anchors(torch.zeros(0, 2), torch.zeros(0))
        return Track(cameras, [nothing] * len(frames), True, _strangers(pairs, frames))
    return _Solver(features, pairs, depth.cpu(), K, frames).run()


def _strangers(pairs: list[np.ndarray], frames: Float[Tensor, "t 3 h w"]) -> list[int]:
    """Frames that share with the first one neither features nor the colour of half of the pixels: another shot."""
    other = ((frames - frames[0]).abs().amax(1) > ALIKE).float().mean((1, 2)) > 0.5
    return [i for i in other.nonzero()[:, 0].tolist() if len(pairs[i]) < _FEWEST]


def is_still(features: list[Features], pairs: list[np.ndarray], width: int) -> bool:
    """Whether a fifth of the matches stands where it was in the first frame: if the camera moves, next to none do.

    The rest may belong to something large that moves. Pictures without features count as still. `pairs` are the matches
    of the first frame with each.
    """
    moved = 0
    for later, found in zip(features[1:], pairs[1:], strict=True):
        shift = np.linalg.norm(features[0].places[found[:, 0]] - later.places[found[:, 1]], axis=1)
        moved += len(found) >= _FEWEST and (shift < _STILL * width).mean() < _STILL_SHARE
    return bool(moved <= 0.1 * len(features))


def trusted(depth: Float[Tensor, "h w"], places: np.ndarray) -> np.ndarray:
    """Depth at places [m, 2]; NaN where there is none or where it jumps."""
    values = torch.where(depth.isfinite() & (depth > 0), depth, torch.nan)[None, None]
    filled = values.nan_to_num(1e6)
    high = torch.nn.functional.max_pool2d(filled, 5, 1, 2)
    low = -torch.nn.functional.max_pool2d(-filled, 5, 1, 2)
    good = torch.where(high <= _EDGE * low, values, torch.nan)[0, 0].numpy()
    column, row = np.floor(places).astype(int).T
    return good[row.clip(0, depth.shape[0] - 1), column.clip(0, depth.shape[1] - 1)].astype(np.float64)


class _Solver:
    """One run over the frames in their order."""

    def __init__(
        self, features: list[Features], pairs: list[np.ndarray], depth: Tensor, K: Tensor, frames: Tensor
    ) -> None:
        self.features, self.first, self.depth, self.frames = features, pairs, depth, frames
        self.K, self.lens = K.double().numpy(), K
        self.world, self.keys, self.lost = _World(), [], []
        self.poses = [np.eye(4)]  # world to camera

    def run(self) -> Track:
        self._key(0, np.full(len(self.features[0]), -1), 1.0)
        most = 0
        for index in range(1, len(self.features)):
            ids, inlier = self._place(index)
            found = int(inlier.sum())
            most = max(most, found)
            if found >= _FEWEST and found < _AGAIN * most:
                kept = np.where(inlier, ids, -1)
                self._key(index, kept, self._scale(index, kept))
                most = 0
        return self._adjusted()

    def _key(self, index: int, ids: np.ndarray, scale: float) -> None:
        """Make a key frame: features without a point in the world become one, at their depth."""
        features = self.features[index]
        z = scale * trusted(self.depth[index], features.places)
        new = (ids < 0) & np.isfinite(z)
        pixels = np.concatenate([features.places[new], np.ones((new.sum(), 1))], 1)
        camera = pixels @ np.linalg.inv(self.K).T * z[new, None]
        pose = np.linalg.inv(self.poses[index])
        ids = ids.copy()
        ids[new] = len(self.world) + np.arange(new.sum())
        self.world.points.append(camera @ pose[:3, :3].T + pose[:3, 3])
        self.world.seen += [(index, i, *features.places[j]) for j, i in enumerate(ids) if new[j]]
        self.keys.append(_Key(features, ids))

    def _place(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the pose of a frame; the point of each of its features (-1: none), and which agree with the pose."""
        features = self.features[index]
        ids = np.full(len(features), -1)
        for number, key in enumerate(self.keys):
            if 0 < number < len(self.keys) - 2:
                continue  # the first one and the last two are enough
            pairs = match(key.features, features) if number else self.first[index]
            known = key.ids[pairs[:, 0]] >= 0
            ids[pairs[known, 1]] = key.ids[pairs[known, 0]]
        rows = np.flatnonzero(ids >= 0)
        inlier = np.zeros(len(features), bool)
        if len(rows) >= _FEWEST:
            chosen = self._ransac(self.world.at(ids[rows]), features.places[rows], index)
            inlier[rows[chosen]] = True
        if inlier.sum() < _FEWEST:
            self.lost.append(index)
            self.poses.append(self.poses[-1])
            return ids, np.zeros(len(features), bool)
        # All that was found again: where depth is wrong, right matches disagree until it is adjusted.
        self.world.seen += [(index, ids[j], *features.places[j]) for j in rows]
        return ids, inlier

    def _ransac(self, points: np.ndarray, places: np.ndarray, index: int) -> np.ndarray:
        """Indices of the inliers; their pose is appended if there are enough."""
        cv2 = opencv()
        cv2.setRNGSeed(index)
        limit = _PIXELS * self.frames.shape[-1]
        good, turn, shift, chosen = cv2.solvePnPRansac(
            points, places, self.K, None, iterationsCount=500, reprojectionError=limit, confidence=0.9999,
            flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
        if not good or chosen is None or len(chosen) < _FEWEST:
            return np.zeros(0, int)
        chosen = chosen[:, 0]
        turn, shift = cv2.solvePnPRefineLM(points[chosen], places[chosen], self.K, None, turn, shift)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
        self.poses.append(pose)
        return chosen

    def _scale(self, index: int, ids: np.ndarray) -> float:
        """The factor that brings a frame's depth to the world's."""
        rows = np.flatnonzero(ids >= 0)
        pose = self.poses[index]
        z = self.world.at(ids[rows]) @ pose[2, :3] + pose[2, 3]
        ratio = z / trusted(self.depth[index], self.features[index].places[rows])
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        return float(np.median(ratio)) if len(ratio) >= _FEWEST else 1.0

    def _adjusted(self) -> Track:
        frame, point, x, y = (np.array(column) for column in zip(*self.world.seen, strict=True))
        seen = Observations(torch.from_numpy(frame), torch.from_numpy(point), torch.from_numpy(np.stack([x, y], 1)))
        points = torch.from_numpy(np.concatenate(self.world.points))
        found = adjust(torch.from_numpy(np.stack(self.poses)), points, seen, self.lens, self.frames.shape[-2:])
        for index in self.lost:
            found.poses[index] = found.poses[index - 1]
        anchors = []
        for index, pose in enumerate(found.poses):
            rows = (seen.frame == index) & found.agrees
            z = found.points[seen.point[rows]] @ pose[2, :3] + pose[2, 3]
            anchors.append(Anchors(seen.place[rows][z > 0].float(), z[z > 0].float()))
        cameras = _cameras(np.linalg.inv(found.poses.numpy()), found.K, self.frames)
        return Track(cameras, anchors, False, self.lost)


def _cameras(c2w: np.ndarray, K: Tensor, frames: Tensor) -> Cameras:
    c2w = torch.from_numpy(c2w)
    height, width = frames.shape[-2:]
    return Cameras(c2w.float(), K.float().expand(len(c2w), 3, 3), width, height)

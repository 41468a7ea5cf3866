"""Anchors of a video whose cameras are given: matched features, placed where their rays meet."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import Cameras
from lyra.video.features import Features, detect_all, match
from lyra.video.track import Anchors

_PARALLAX = np.cos(np.radians(0.6))  # rays that meet at a smaller angle say nothing about depth
_PIXELS = 2.0 / 448  # largest error in either picture, as a share of its width
_APART = (4, 8, 12)  # frames between the two pictures of a pair


def anchors_of(frames: Float[Tensor, "t 3 h w"], cameras: Cameras) -> list[Anchors]:
    """For every frame the places, and their depth, that it shares with frames some way apart; few if nothing moves."""
    features = detect_all(frames)
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in features]
    for first in range(len(features)):
        for second in (first + gap for gap in _APART if first + gap < len(features)):
            places, depth = _pair(features[first], features[second], cameras[[first, second]])
            for index, side in ((first, 0), (second, 1)):
                found[index].append((places[:, side], depth[:, side]))
    return [_joined(parts) for parts in found]


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> Anchors:
    if not parts:
        return Anchors(torch.zeros(0, 2), torch.zeros(0))
    places, depth = (np.concatenate(side) for side in zip(*parts, strict=True))
    return Anchors(torch.from_numpy(places).float(), torch.from_numpy(depth).float())


def _pair(a: Features, b: Features, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Places [m, 2, 2] in both pictures, and depths [m, 2]."""
    pairs = match(a, b)
    places = np.stack([a.places[pairs[:, 0]], b.places[pairs[:, 1]]], 1)
    c2w, K = cameras.c2w.double().numpy(), cameras.K.double().numpy()
    pixels = np.concatenate([places, np.ones((*places.shape[:2], 1))], -1)
    rays = np.einsum("vij,nvj->nvi", c2w[:, :3, :3] @ np.linalg.inv(K), pixels)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    base = c2w[1, :3, 3] - c2w[0, :3, 3]
    cosine = (rays[:, 0] * rays[:, 1]).sum(-1)
    u, v = rays[:, 0] @ base, rays[:, 1] @ base
    rest = np.maximum(1 - cosine**2, 1e-12)
    near, far = (u - cosine * v) / rest, (cosine * u - v) / rest  # along both rays to where they are closest
    points = 0.5 * (c2w[0, :3, 3] + near[:, None] * rays[:, 0] + c2w[1, :3, 3] + far[:, None] * rays[:, 1])
    seen, z = _projected(c2w, K, points)
    good = (cosine < _PARALLAX) & (z > 0).all(1)
    good &= (np.linalg.norm(seen - places, axis=-1) < _PIXELS * cameras.width).all(1)
    return places[good], z[good]


def _projected(c2w: np.ndarray, K: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [m, 2, 2] and depths [m, 2] of points in two cameras."""
    camera = np.einsum("vji,nvj->nvi", c2w[:, :3, :3], points[:, None] - c2w[None, :, :3, 3])
    z = camera[..., 2]
    pixels = np.einsum("vij,nvj->nvi", K, camera)
    return pixels[..., :2] / np.where(np.abs(z) < 1e-9, 1e-9, z)[..., None], z

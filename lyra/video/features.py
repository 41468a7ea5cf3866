"""Points of a picture that can be found again in another one: SIFT, matched both ways."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lyra.scene import InputError

_MOST, _RATIO = 2000, 0.8  # features a picture; best to second best distance of a match (Lowe 2004)


def opencv() -> ModuleType:
    """OpenCV; InputError if it is not installed."""
    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise InputError(
            "the camera of a video is found with OpenCV, which is not installed; pip install 'lyra-3d[video]', "
            "or give the cameras with --cameras"
        ) from None


@dataclass(frozen=True, eq=False)
class Features:
    """n places (x, y) in pixels, centres of pixels at +0.5, and their descriptors."""

    places: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.places)


def detect_all(frames: Float[Tensor, "t 3 h w"]) -> list[Features]:
    """The features of every frame, several frames at a time: OpenCV holds no interpreter lock."""
    opencv()  # what it says if it is missing is for this thread
    with ThreadPoolExecutor() as pool:
        return list(pool.map(detect, frames.cpu()))


def detect(frame: Float[Tensor, "3 h w"]) -> Features:
    """SIFT features of a picture in [0, 1], which lies on the CPU."""
    cv2 = opencv()
    grey = (255 * frame.mean(0)).round().clamp(0, 255).byte().numpy()
    points, descriptors = cv2.SIFT_create(_MOST, contrastThreshold=0.015, enable_precise_upscale=True).detectAndCompute(
        grey, None
    )
    if descriptors is None:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6))  # Hellinger distance
    return Features(np.array([point.pt for point in points], np.float64) + 0.5, root)


def match(a: Features, b: Features) -> np.ndarray:
    """Pairs [m, 2] of indices that are each other's best match, and clearly so."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.int64)
    similar = a.descriptors @ b.descriptors.T  # unit vectors
    best = similar.argmax(1)
    first = np.take_along_axis(similar, best[:, None], 1)[:, 0]
    np.put_along_axis(similar, best[:, None], -1.0, 1)
    second = similar.max(1)
    np.put_along_axis(similar, best[:, None], first[:, None], 1)
    mutual = similar.argmax(0)[best] == np.arange(len(a))
    clear = 2 - 2 * first < _RATIO**2 * (2 - 2 * second)
    rows = np.flatnonzero(mutual & clear)
    return np.stack([rows, best[rows]], 1)


def match_all(a: Features, others: list[Features]) -> list[np.ndarray]:
    """`match` with each of the others, several at a time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda b: match(a, b), others))

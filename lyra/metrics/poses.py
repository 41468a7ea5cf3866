"""Where a picture was taken from, measured from its pixels: did a generated frame obey the camera that was asked for?

SIFT features (Lowe 2004) of the first frame get 3D points from its known depth; their matches in another frame give its
pose by perspective-n-point with RANSAC. So translations have the depth's unit. Needs OpenCV (`pip install
"lyra-3d[eval]"`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import InputError

_RATIO = 0.8  # a match must be this much nearer than the second best (Lowe 2004, Sec. 7.1)
_THRESHOLD = 2.0  # pixels within which a match agrees with a pose
_FEWEST = 12  # agreeing matches that make a pose trustworthy
_CONTRAST = 0.02  # half of OpenCV's default: more features on smooth walls


@dataclass(frozen=True)
class PoseError:
    """One camera against the asked one: angles in degrees, distance error as a share of the asked distance.

    `direction` and `distance` are NaN where the asked camera has not moved.
    """

    rotation: float
    direction: float
    distance: float


class FirstFrame:
    """Features of a first frame with their 3D points in its camera axes."""

    def __init__(self, image: Float[Tensor, "3 h w"], depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"]) -> None:
        """image in [0, 1]; depth along z, not finite where unknown; K in pixels, shared by all frames."""
        self.cv = _opencv()
        self.K = K.double().cpu().numpy().copy()
        self.K[:2, 2] -= 0.5  # OpenCV puts the centre of the first pixel at 0
        points, self.descriptors = self._features(image)
        z = depth.double().cpu().numpy()
        row, column = (np.rint(points[:, i]).astype(int).clip(0, z.shape[1 - i] - 1) for i in (1, 0))
        z = z[row, column]
        rays = np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(self.K).T
        self.points = rays * np.where(np.isfinite(z), z, 0)[:, None]

    def locate(self, image: Float[Tensor, "3 h w"]) -> Float[Tensor, "4 4"] | None:
        """The camera-to-world pose of another frame, the first camera being the world; None if it cannot be told."""
        points, descriptors = self._features(image)
        if len(points) < _FEWEST or len(self.points) < _FEWEST:
            return None
        pairs = self.cv.BFMatcher().knnMatch(self.descriptors, descriptors, k=2)
        good = [best for best, second in pairs if best.distance < _RATIO * second.distance]
        good = [match for match in good if self.points[match.queryIdx, 2] > 0]
        if len(good) < _FEWEST:
            return None
        known = self.points[[match.queryIdx for match in good]]
        found = points[[match.trainIdx for match in good]]
        ok, turn, shift, inliers = self.cv.solvePnPRansac(
            known, found, self.K, None, iterationsCount=2000, reprojectionError=_THRESHOLD, confidence=0.9999,
            flags=self.cv.SOLVEPNP_AP3P,
        )  # fmt: skip
        if not ok or inliers is None or len(inliers) < _FEWEST:
            return None
        keep = inliers[:, 0]
        turn, shift = self.cv.solvePnPRefineLM(known[keep], found[keep], self.K, None, turn, shift)
        c2w = np.eye(4)
        c2w[:3, :3] = self.cv.Rodrigues(turn)[0].T
        c2w[:3, 3] = -c2w[:3, :3] @ shift[:, 0]
        return torch.from_numpy(c2w)

    def _features(self, image: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n, 2] in OpenCV's pixels and descriptors [n, 128]."""
        picture = (image.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
        grey = self.cv.cvtColor(np.ascontiguousarray(picture), self.cv.COLOR_RGB2GRAY)
        keypoints, descriptors = self.cv.SIFT_create(contrastThreshold=_CONTRAST).detectAndCompute(grey, None)
        points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64).reshape(-1, 2)
        return points, np.zeros((0, 128), np.float32) if descriptors is None else descriptors


def pose_error(found: Float[Tensor, "4 4"], asked: Float[Tensor, "4 4"], still: float) -> PoseError:
    """Compare camera-to-world poses; movements shorter than `still` (in their unit) have no direction."""
    found, asked = found.double().cpu(), asked.double().cpu()
    relative = found[:3, :3].T @ asked[:3, :3]
    rotation = _angle((relative.trace() - 1) / 2)
    distance = float(asked[:3, 3].norm())
    if distance < still:
        return PoseError(rotation, float("nan"), float("nan"))
    direction = _angle(torch.cosine_similarity(found[:3, 3], asked[:3, 3], 0))
    return PoseError(rotation, direction, float((found[:3, 3] - asked[:3, 3]).norm()) / distance)


@dataclass(frozen=True)
class TrajectoryError:
    """A path against the true one: mean angle in degrees, mean displacement as a share of the true path's length, and
    the factor that had brought the path to the true scale."""

    rotation: float
    displacement: float
    scale: float


def trajectory_error(found: Float[Tensor, "t 4 4"], true: Float[Tensor, "t 4 4"]) -> TrajectoryError:
    """Compare camera-to-world paths of t >= 2 frames: their first cameras are one, one scale is fitted (least squares).

    The means leave the first frame out. The displacement is NaN if the true camera stays where it is.
    """
    found, true = (torch.linalg.inv(path[0].double()) @ path.double() for path in (found.cpu(), true.cpu()))
    turned = (found[1:, :3, :3].mT @ true[1:, :3, :3]).double()
    sine = torch.stack([turned[:, i, j] - turned[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1).norm(dim=-1)
    angle = torch.atan2(sine, turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    centers, asked = found[1:, :3, 3], true[1:, :3, 3]
    scale = (centers * asked).sum() / centers.square().sum().clamp_min(1e-24)
    way = true[:, :3, 3].diff(dim=0).norm(dim=-1).sum()
    away = (scale * centers - asked).norm(dim=-1).mean()
    displacement = float(away / way) if float(way) > 1e-9 else float("nan")
    return TrajectoryError(float(angle.mean().rad2deg()), displacement, float(scale))


def _angle(cosine: Tensor) -> float:
    return float(cosine.clamp(-1, 1).acos().rad2deg())


def _opencv():
    """OpenCV, or the sentence that says what is missing."""
    try:
        import cv2
    except ImportError as error:
        raise InputError('camera poses need OpenCV; install it with `pip install "lyra-3d[eval]"`') from error
    return cv2

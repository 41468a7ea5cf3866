"""Bundle adjustment by COLMAP: poses, points and lens together, so that points appear where they were seen.

Points begin where a network's depth had put them, so sightings that disagree at first may be right: all that are near
take part, errors count as in Cauchy's distribution, and what still disagrees is left out before the lens is freed. The
solver stops where errors hardly change any more, so that a lens of which the motion says little stays as guessed.
"""

import importlib
import math
import signal
import threading
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lyra.scene import InputError

_CAUCHY = 0.25 / 448  # error at which a sighting begins to count less, as a share of the picture's width, as all here
_NEAR, _AGREES = 20 / 448, 1 / 448  # largest error of a sighting that takes part at first; in the end
_COARSE, _FINE = 1e-4, 1e-5  # relative change of the cost at which the solver stops; at first and in the end
_STEPS = 100
_GAIN = 4.0  # fall of the cost for which another lens is believed, in units of _CAUCHY squared
_PARALLAX = 0.6  # degrees; rays that meet at a smaller angle say nothing about depth
_FEWEST = 12  # points seen twice, below which nothing is adjusted


def colmap() -> ModuleType:
    """pycolmap, which says nothing but errors; InputError if it is not installed."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        library = importlib.import_module("pycolmap")
    except (ImportError, RuntimeError):  # the latter if a library that it needs is missing
        raise InputError(
            "a camera that moves is found with pycolmap, which is not installed; pip install 'lyra-3d[video]', "
            "or give the cameras with --cameras"
        ) from None
    if threading.current_thread() is threading.main_thread() and kept is not None:
        signal.signal(signal.SIGTERM, kept)  # its import takes SIGTERM from whoever had it, and prints a stack
    library.logging.minloglevel = library.logging.ERROR.value
    return library


@dataclass(frozen=True, eq=False)
class Observations:
    """m sightings: in which frame, of which point, at which place (x, y) in pixels."""

    frame: Int64[Tensor, " m"]
    point: Int64[Tensor, " m"]
    place: Float[Tensor, "m 2"]


@dataclass(frozen=True, eq=False)
class Adjusted:
    """World-to-camera poses and points (float64), the lens, and which of the m sightings agree with them."""

    poses: Float[Tensor, "t 4 4"]
    points: Float[Tensor, "n 3"]
    K: Float[Tensor, "3 3"]
    agrees: Bool[Tensor, " m"]


def adjust(
    poses: Float[Tensor, "t 4 4"],
    points: Float[Tensor, "n 3"],
    seen: Observations,
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
) -> Adjusted:
    """Less error in pictures of `size` (height, width), all taken through the lens K, whose pixels are square.

    The first pose stays. So does the scale: the median depth of the points in the first camera changes as the focal
    length does, as the depth of a network would. If too few points are seen twice, or the solver fails, all stays as it
    was. InputError if pycolmap is not installed.
    """
    unchanged = Adjusted(poses, points, K, torch.ones_like(seen.frame, dtype=torch.bool))
    scene = _Scene(poses.numpy(), points.numpy(), seen, K.double().numpy(), size)
    if not scene.enough():
        return unchanged
    scene.solve(_COARSE, lens=False)
    scene.leave_out(_AGREES)
    if not scene.enough():
        return unchanged
    cost = scene.solve(_FINE, lens=False)
    found = scene.result()
    if cost - scene.solve(_FINE, lens=True) > _GAIN * (_CAUCHY * size[1]) ** 2:
        found = scene.result()
    return _placed(found, poses, points, seen, K) or unchanged


class _Scene:
    """The problem in COLMAP's terms; frame i is image i + 1, point i is point i + 1."""

    def __init__(
        self, poses: np.ndarray, points: np.ndarray, seen: Observations, K: np.ndarray, size: tuple[int, int]
    ) -> None:
        self.library, self.width, self.K, self.poses, self.points = colmap(), size[1], K, poses, points
        self.count = len(seen.frame)
        self.model = self.library.Reconstruction()
        lens = {"model": "SIMPLE_PINHOLE", "height": size[0], "width": size[1], "camera_id": 1}
        self.model.add_camera_with_trivial_rig(self.library.Camera(**lens, params=[K[0, 0], K[0, 2], K[1, 2]]))
        frame, place = seen.frame.numpy(), seen.place.double().numpy()
        self.rows, tracks = [np.flatnonzero(frame == index) for index in range(len(poses))], {}
        for index, rows in enumerate(self.rows):
            image = self.library.Image(name=str(index), keypoints=place[rows], camera_id=1, image_id=index + 1)
            self.model.add_image_with_trivial_frame(image, self.library.Rigid3d(poses[index, :3]))
            for number, point in enumerate(seen.point.numpy()[rows].tolist()):
                # One point has one place in a picture: the first that was found.
                tracks.setdefault(point, {}).setdefault(index, number)
        for point, places in sorted(tracks.items()):
            track = self.library.Track([self.library.TrackElement(i + 1, number) for i, number in places.items()])
            self.model.add_point3D_with_id(point + 1, self.library.Point3D(xyz=points[point], track=track))
            for index, number in places.items():
                self.model.image(index + 1).set_point3D_for_point2D(number, point + 1)
        self.leave_out(_NEAR)

    def leave_out(self, error: float) -> None:
        """Leave out sightings with a larger error, or from behind, and points that are then seen less than twice."""
        self.library.ObservationManager(self.model).filter_all_points3D(error * self.width, 0.0)

    def enough(self) -> bool:
        """Whether so much is seen that it can be adjusted."""
        return self.model.num_points3D() >= _FEWEST

    def solve(self, tolerance: float, lens: bool) -> float:
        """Adjust, with the lens or without; the cost that is left, in square pixels."""
        library = self.library
        what, how = library.BundleAdjustmentConfig(), library.BundleAdjustmentOptions()
        for index in range(len(self.poses)):
            what.add_image(index + 1)
        what.fix_gauge(library.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        if not lens:
            what.set_constant_cam_intrinsics(1)
        how.print_summary = False
        how.ceres.loss_function_type = library.LossFunctionType.CAUCHY
        how.ceres.loss_function_scale = _CAUCHY * self.width
        solver = how.ceres.solver_options
        solver.max_num_iterations, solver.function_tolerance = _STEPS, tolerance
        solver.num_threads = 1  # sums in one order: the same bytes at every run
        return library.create_default_bundle_adjuster(how, what, self.model).solve().ceres_summary.final_cost

    def result(self) -> Adjusted:
        """What COLMAP has now; points that it left out stay where they were."""
        poses, points, K = self.poses.copy(), self.points.copy(), self.K.copy()
        agrees = np.zeros(self.count, bool)
        K[0, 0] = K[1, 1] = self.model.camera(1).params[0]
        for index, rows in enumerate(self.rows):
            image = self.model.image(index + 1)
            poses[index, :3] = image.cam_from_world().matrix()
            agrees[rows] = [place.has_point3D() for place in image.points2D]
        for number, point in self.model.points3D.items():
            points[number - 1] = point.xyz
        return Adjusted(*(torch.from_numpy(each) for each in (poses, points, K, agrees)))


def _placed(
    found: Adjusted, poses: Float[Tensor, "t 4 4"], points: Float[Tensor, "n 3"], seen: Observations, K: Tensor
) -> Adjusted | None:
    """The first camera where it was at the start, and the world about it at the start's scale; None if it has none.

    Points of which the motion tells no depth go back to where they began.
    """
    if not bool(found.poses.isfinite().all() & found.points.isfinite().all()):
        return None
    first, origin, grown = found.poses[0], torch.linalg.inv(poses[0]), found.K[0, 0] / K[0, 0]
    start = points @ poses[0, :3, :3].T + poses[0, :3, 3]  # in the axes of the first camera, as all here
    now = found.points @ first[:3, :3].T + first[:3, 3]
    met, firm = _met(found, seen)
    ratio = start[:, 2] / now[:, 2]
    ratio = ratio[(firm if int(firm.sum()) >= _FEWEST else met) & (ratio > 0)]
    if not len(ratio):
        return None
    factor = ratio.median() * grown
    relative = found.poses @ torch.linalg.inv(first)
    relative[:, :3, 3] *= factor
    places = torch.where(firm[:, None], factor * now, grown * start)
    return Adjusted(
        torch.cat([poses[:1], relative[1:] @ poses[0]]),
        places @ origin[:3, :3].T + origin[:3, 3],
        found.K,
        found.agrees,
    )


def _met(found: Adjusted, seen: Observations) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    """Points with sightings that agree, and those of them whose rays meet at an angle that tells depth."""
    frame, point = seen.frame[found.agrees], seen.point[found.agrees]
    centers = torch.linalg.inv(found.poses)[:, :3, 3]
    rays = torch.nn.functional.normalize(found.points[point] - centers[frame], dim=-1)
    count = len(found.points)
    one = torch.full((count,), len(point)).scatter_reduce_(0, point, torch.arange(len(point)), "amin")  # of its rays
    apart = torch.linalg.cross(rays, rays[one[point]]).norm(dim=-1)
    widest = rays.new_zeros(count).scatter_reduce_(0, point, apart, "amax")
    met = torch.zeros(count, dtype=torch.bool).index_fill_(0, point, True)
    return met, met & (widest > math.sin(math.radians(_PARALLAX)))

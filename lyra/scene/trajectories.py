"""Camera paths: how a camera travels through a scene, as pure functions.

Every path is a smooth function of a phase u in [0, 1] and lives in the axes of the camera it starts from (OpenCV: +x
right, +y down, +z forward), so it begins at that camera, u = 0 being the identity. Distances are shares of `depth`, the
distance along the line of sight to what the camera looks at. A path that loops returns exactly at u = 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import lyra_paths, rotations
from lyra.scene.cameras import Cameras
from lyra.scene.errors import require

Phase = Float[Tensor, " t"]
Poses = Float[Tensor, "t 4 4"]


def phases(frames: int, loops: bool) -> Phase:
    """The phase of each frame in float64: a loop leaves out u = 1, which is its first frame again."""
    require(frames >= 1, f"a camera path needs at least 1 frame, got {frames}")
    return torch.arange(frames, dtype=torch.float64) / (frames if loops else max(frames - 1, 1))


def move(u: Phase, offset: tuple[float, float, float]) -> Poses:
    """A straight line to `offset` (x, y, z) at constant speed, without turning."""
    line = u[:, None] * torch.tensor(offset, dtype=u.dtype)
    return rotations.compose(torch.eye(3, dtype=u.dtype).expand(len(u), 3, 3), line)


def turn(u: Phase, yaw_deg: float, pitch_deg: float) -> Poses:
    """Turning on the spot, to the right by `yaw_deg` and up by `pitch_deg` degrees in the end."""
    yaw, pitch = u * math.radians(yaw_deg), u * math.radians(pitch_deg)
    rotation = _about_y(yaw) @ _about_x(pitch)
    return rotations.compose(rotation, torch.zeros(len(u), 3, dtype=u.dtype))


def orbit(u: Phase, depth: float, degrees: float = 360.0) -> Poses:
    """A turntable: the camera circles the point `depth` ahead about the vertical image axis, always facing it.

    A multiple of 360 degrees goes round; any other angle is swept from side to side by half of it each way and back,
    so that every orbit loops. Positive angles move to the right first.
    """
    whole = degrees != 0 and degrees % 360 == 0
    angle = u * math.radians(degrees) if whole else 0.5 * math.radians(degrees) * torch.sin(2 * math.pi * u)
    rotation = _about_y(-angle)
    target = torch.tensor([0.0, 0.0, depth], dtype=u.dtype)
    return rotations.compose(rotation, target - rotation @ target)


def spiral(u: Phase, depth: float, radius: tuple[float, float, float], turns: int = 2) -> Poses:
    """`turns` rounds of an ellipse (radii x, y in shares of depth) breathing along z, facing the point ahead. Loops."""
    angle = 2 * math.pi * turns * u
    rx, ry, rz = (depth * r for r in radius)
    eye = torch.stack([rx * (torch.cos(angle) - 1), ry * torch.sin(angle), rz * torch.sin(2 * math.pi * u)], -1)
    return _facing(eye, depth)


def lemniscate(u: Phase, depth: float, radius: tuple[float, float]) -> Poses:
    """A figure of eight (Gerono) lying on its side, radii x and y in shares of depth, facing the point ahead. Loops."""
    angle = 2 * math.pi * u
    eye = torch.stack([radius[0] * torch.sin(angle), radius[1] * torch.sin(2 * angle), torch.zeros_like(u)], -1)
    return _facing(depth * eye, depth)


def follow(start: Cameras, poses: Poses, fps: float = 24.0) -> Cameras:
    """The camera `start` ([] or one for each pose, for a path about a moving camera) carried along `poses`.

    Lens and size are those of `start`. Times are kept from a moving `start` that has them, else frame i is at i / fps
    seconds.
    """
    frames = poses.shape[0]
    require(
        start.shape in ((), (1,), (frames,)),
        f"a path of {frames} frames needs one start camera or {frames} of them, got {list(start.shape)}",
    )
    require(0 < fps < math.inf, f"the frame rate must be positive, got {fps}")
    c2w = (start.c2w.double() @ poses.double().to(start.c2w.device)).to(start.c2w.dtype)
    times = start.times
    if times is None or start.shape != (frames,):
        times = torch.arange(frames, dtype=c2w.dtype, device=c2w.device) / fps
    return replace(start, c2w=c2w, K=start.K.expand(frames, 3, 3), times=times)


def bullet_time(sweep: Cameras, moment: float, duration: float, fps: float = 24.0, *, loops: bool = True) -> Cameras:
    """Freeze a moving scene at `moment` seconds while the camera makes `sweep`, then let it play on to `duration`.

    Before and after, the camera rests at the first pose of the sweep (or at the last one afterwards, if the sweep does
    not loop). Times never run backwards and are within [0, duration].
    """
    require(0 < fps < math.inf, f"the frame rate must be positive, got {fps}")
    require(
        0 <= moment <= duration < math.inf,
        f"the moment to hold must lie within the scene's 0 to {duration} seconds, got {moment}",
    )
    require(len(sweep.shape) == 1 and len(sweep) > 0, f"the sweep must be a list of cameras, got {list(sweep.shape)}")
    before, after = math.ceil(moment * fps), math.floor((duration - moment) * fps)
    rest = torch.cat(
        [torch.arange(before) / fps, torch.full((len(sweep),), moment), moment + torch.arange(1, after + 1) / fps]
    )
    order = [0] * before + list(range(len(sweep))) + [0 if loops else len(sweep) - 1] * after
    return replace(sweep[torch.tensor(order)], times=rest.clamp(max=duration).to(sweep.c2w))


@dataclass(frozen=True)
class Trajectory:
    """A named camera path with its usual size. `poses(frames, depth, amount)` gives the poses from the start camera."""

    name: str
    help: str
    loops: bool
    poses: Callable[[int, float, float], Tensor]

    def cameras(
        self, start: Cameras, frames: int, depth: float = 1.0, amount: float = 1.0, fps: float = 24.0
    ) -> Cameras:
        """The cameras [frames] of this path from `start`, see `follow`.

        `depth` > 0 in world units is how far away the camera looks; `amount` scales the path (1 = as the preset says,
        0 = stand still, negative = the other way). Raises InputError on impossible numbers.
        """
        require(frames >= 1, f"a camera path needs at least 1 frame, got {frames}")
        require(0 < depth < math.inf, f"the depth to look at must be a positive distance, got {depth}")
        require(math.isfinite(amount), f"the amount of camera motion must be a finite number, got {amount}")
        return follow(start, self.poses(frames, depth, amount), fps)


def _about_y(angle: Phase) -> Float[Tensor, "t 3 3"]:
    """Turning to the right by `angle` radians."""
    half = angle / 2
    zero = torch.zeros_like(half)
    return rotations.quat_to_matrix(torch.stack([half.cos(), zero, half.sin(), zero], -1))


def _about_x(angle: Phase) -> Float[Tensor, "t 3 3"]:
    """Turning up by `angle` radians."""
    half = angle / 2
    zero = torch.zeros_like(half)
    return rotations.quat_to_matrix(torch.stack([half.cos(), half.sin(), zero, zero], -1))


def _facing(eye: Float[Tensor, "t 3"], depth: float) -> Poses:
    target, down = torch.tensor([[0.0, 0.0, depth], [0.0, 1.0, 0.0]], dtype=eye.dtype)
    return rotations.look_at(eye, target.expand_as(eye), down)


def _line(x: float, y: float, z: float) -> Callable[[int, float, float], Tensor]:
    return lambda n, d, a: move(phases(n, False), (x * d * a, y * d * a, z * d * a))


def _lyra(kind: str) -> Callable[[int, float, float], Tensor]:
    return lambda n, d, a: lyra_paths.usual_poses(kind, n, d, a)


_TABLE = (
    Trajectory("still", "stand still (to watch a scene that moves)", True, _line(0.0, 0.0, 0.0)),
    Trajectory("orbit", "a full turn around what the camera looks at", True,
               lambda n, d, a: orbit(phases(n, True), d, 360 * a)),
    Trajectory("swing", "15 degrees to either side around what the camera looks at, and back", True,
               lambda n, d, a: orbit(phases(n, True), d, 30 * a)),
    Trajectory("dolly", "forward by 30 % of the depth", False, _line(0.0, 0.0, 0.3)),
    Trajectory("truck", "to the right by 25 % of the depth, without turning", False, _line(0.25, 0.0, 0.0)),
    Trajectory("pedestal", "up by 15 % of the depth, without turning", False, _line(0.0, -0.15, 0.0)),
    Trajectory("pan", "turn 20 degrees to the right on the spot", False,
               lambda n, d, a: turn(phases(n, False), 20 * a, 0.0)),
    Trajectory("tilt", "turn 10 degrees up on the spot", False, lambda n, d, a: turn(phases(n, False), 0.0, 10 * a)),
    Trajectory("spiral", "two rounds of an ellipse, breathing in and out, facing the centre", True,
               lambda n, d, a: spiral(phases(n, True), d, (0.08 * a, 0.05 * a, 0.08 * a))),
    Trajectory("lemniscate", "a lying figure of eight, facing the centre", True,
               lambda n, d, a: lemniscate(phases(n, True), d, (0.15 * a, 0.05 * a))),
    Trajectory("left", "Lyra's path to the left, facing the centre", False, _lyra("left")),
    Trajectory("right", "Lyra's path to the right, facing the centre", False, _lyra("right")),
    Trajectory("up", "Lyra's path upwards, facing the centre", False, _lyra("up")),
    Trajectory("down", "Lyra's path downwards, facing the centre", False, _lyra("down")),
    Trajectory("zoom_in", "Lyra's path forward", False, _lyra("zoom_in")),
    Trajectory("zoom_out", "Lyra's path backward", False, _lyra("zoom_out")),
    Trajectory("clockwise", "Lyra's two rounds of a small ellipse, facing the centre", True, _lyra("clockwise")),
    Trajectory("counterclockwise", "the same ellipse the other way round", True, _lyra("counterclockwise")),
    Trajectory("lyra", "Lyra's six paths one after the other, sharing the frames", False,
               lambda n, d, a: lyra_paths.tour(n, d, a)),
)  # fmt: skip
PRESETS: dict[str, Trajectory] = {trajectory.name: trajectory for trajectory in _TABLE}

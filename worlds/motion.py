"""Moving content: poses of movers over time, and builders of people, vehicles, balls, fans, doors and flying things."""

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from worlds.scene import Instance, Mesh, Mover

KEY_RATE = 24.0  # keyframes a second: between them every interpolation is nearly linear


def pose_at(mover: Mover, time: float) -> np.ndarray:
    """Object-to-world f64 [4, 4] of a mover at `time` s; clamped outside its keyframes."""
    times = np.asarray(mover.times, np.float64)
    after = int(np.searchsorted(times, time, side="right"))
    if after == 0 or after == len(times):
        return mover.transforms[min(after, len(times) - 1)]
    low, high = mover.transforms[after - 1], mover.transforms[after]
    share = (time - times[after - 1]) / (times[after] - times[after - 1])
    matrix = np.eye(4)
    sizes = np.linalg.norm(low[:3, :3], axis=0)
    turns = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([low[:3, :3] / sizes, high[:3, :3] / sizes])))
    matrix[:3, :3] = turns(share).as_matrix() * sizes
    matrix[:3, 3] = (1.0 - share) * low[:3, 3] + share * high[:3, 3]
    return matrix


def vertices_at(mover: Mover, time: float) -> np.ndarray:
    """Vertices f32 [v, 3] in object space at `time` s (the nearest earlier pose of a looping clip)."""
    if mover.poses is None:
        return mover.instance.mesh.positions
    return mover.poses[int(np.floor(time * mover.poses_fps)) % len(mover.poses)]


def _turn(axis: str, angles: np.ndarray) -> np.ndarray:
    matrices = np.tile(np.eye(4), (len(angles), 1, 1))
    matrices[:, :3, :3] = Rotation.from_euler(axis, angles[:, None]).as_matrix()
    return matrices


def _shift(points: np.ndarray) -> np.ndarray:
    matrices = np.tile(np.eye(4), (len(points), 1, 1))
    matrices[:, :3, 3] = points
    return matrices


def key_times(duration: float) -> np.ndarray:
    """Keyframe times f64 [k] s that cover [0, duration]."""
    return np.linspace(0.0, duration, max(2, int(np.ceil(duration * KEY_RATE)) + 1))


def along(path: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points f64 [m, 3] and unit directions [m, 3] at arc lengths `distance` of a polyline f64 [k, 3].

    Past its end the path is walked back (ping-pong), directions turned with it.
    """
    legs = np.linalg.norm(np.diff(path, axis=0), axis=1)
    stops = np.concatenate([[0.0], np.cumsum(legs)])
    phase = np.mod(distance, 2.0 * stops[-1])
    back = phase > stops[-1]
    phase = np.where(back, 2.0 * stops[-1] - phase, phase)
    points = np.stack([np.interp(phase, stops, path[:, k]) for k in range(3)], axis=-1)
    leg = np.clip(np.searchsorted(stops, phase, side="right") - 1, 0, len(legs) - 1)
    heading = np.diff(path, axis=0)[leg] / np.maximum(legs[leg], 1e-9)[:, None]
    return points, np.where(back[:, None], -heading, heading)


def walker(
    instance: Instance, poses: np.ndarray | None, fps: float, path: np.ndarray, speed: float, duration: float
) -> Mover:
    """A person, animal or vehicle that follows a ground path f64 [k, 3] at `speed` m/s, front (+z) ahead.

    Corners are rounded by smoothing the heading over about 0.4 s. instance.transform scales or lifts the model.
    """
    times = key_times(duration)
    points, heading = along(path, times * speed)
    window = max(1, int(0.4 * KEY_RATE))
    padded = np.concatenate([np.repeat(heading[:1], window, 0), heading, np.repeat(heading[-1:], window, 0)])
    kernel = np.ones(2 * window + 1) / (2 * window + 1)
    smooth = np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in range(3)], axis=-1)
    yaw = np.unwrap(np.arctan2(smooth[:, 0], smooth[:, 2]))
    return Mover(instance, times, _shift(points) @ _turn("y", yaw) @ instance.transform, poses, fps)


def roller(instance: Instance, start: np.ndarray, direction: np.ndarray, radius: float, speed: float, duration: float):
    """A ball that rolls from `start` (its lowest point, m) without slipping, slowing down to a third of its speed."""
    times = key_times(duration)
    way = speed * (times - times**2 / (3.0 * duration))
    side = np.cross((0.0, 1.0, 0.0), direction)
    turns = np.tile(np.eye(4), (len(times), 1, 1))
    turns[:, :3, :3] = Rotation.from_rotvec(np.outer(way / radius, side)).as_matrix()
    lift = np.array([0.0, radius, 0.0])
    centre = start + lift + np.outer(way, direction)
    return Mover(instance, times, _shift(centre) @ turns @ _shift(-lift[None]) @ instance.transform)


def spinner(instance: Instance, turns_per_second: float, duration: float, phase: float = 0.0) -> Mover:
    """Something that turns in place around its vertical axis: a ceiling fan, a turntable."""
    times = key_times(duration)
    angles = phase + 2.0 * np.pi * turns_per_second * times
    return Mover(instance, times, instance.transform @ _turn("y", angles))


def flyer(
    instance: Instance, centre: np.ndarray, radius: float, turns_per_second: float, duration: float, phase: float
) -> Mover:
    """Something that flies a level circle of `radius` m around `centre`, nose ahead, banking and bobbing a little."""
    times = key_times(duration)
    angle = phase + 2.0 * np.pi * turns_per_second * times
    ring = np.stack([radius * np.sin(angle), 0.08 * np.sin(2.3 * angle), radius * np.cos(angle)], axis=-1)
    yaw = angle + np.sign(turns_per_second) * 0.5 * np.pi
    bank = np.full_like(angle, -0.25 * np.sign(turns_per_second))
    return Mover(instance, times, _shift(centre + ring) @ _turn("y", yaw) @ _turn("z", bank) @ instance.transform)


def bouncer(instance: Instance, start: np.ndarray, height: float, drift: np.ndarray, duration: float) -> Mover:
    """A ball that bounces on the floor: `height` m at first, 0.8 of it after each bounce; `drift` m/s sideways."""
    times = key_times(duration)
    rise = np.zeros_like(times)
    clock, top = -np.sqrt(2.0 * height / 9.81), height  # begins at the top of the first arc
    while clock < duration:
        flight = 2.0 * np.sqrt(2.0 * top / 9.81)
        local = times - clock
        arc = (local >= 0.0) & (local < flight)
        rise[arc] = 0.5 * 9.81 * local[arc] * (flight - local[arc])
        clock, top = clock + flight, max(0.8 * top, 0.02)
    points = start + np.outer(times, drift) + rise[:, None] * np.array([0.0, 1.0, 0.0])
    spin = _turn("x", 3.0 * times)
    return Mover(instance, times, _shift(points) @ spin @ instance.transform)


def swinging_door(mesh: Mesh, hinge: tuple[float, float], closed: float, opened: float, duration: float) -> Mover:
    """A door leaf that opens or closes around its hinge at floor point (x, z), from angle `closed` to `opened` rad."""
    times = key_times(duration)
    way = np.clip((times / duration - 0.1) / 0.75, 0.0, 1.0)
    angle = closed + (opened - closed) * way * way * (3.0 - 2.0 * way)
    base = np.array([[hinge[0], 0.0, hinge[1]]])
    return Mover(Instance(mesh, np.eye(4), "door"), times, _shift(base) @ _turn("y", angle))

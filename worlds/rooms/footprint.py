"""Oriented boxes on the floor with a height interval: the collision test of furniture."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Footprint:
    """A box: centre (x, z), half extents along its own axes, angle around y (rad), from y0 to y1; metres."""

    x: float
    z: float
    half_width: float
    half_depth: float
    angle: float
    y0: float
    y1: float

    def corners(self) -> np.ndarray:
        """The four corners on the floor, f64 [4, 2] as (x, z)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        right, front = np.array([cos, -sin]), np.array([sin, cos])
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        middle = np.array([self.x, self.z])
        return np.stack([middle + a * self.half_width * right + b * self.half_depth * front for a, b in signs])

    def inside(self, x0: float, z0: float, x1: float, z1: float) -> bool:
        """True if the whole box stands within the rectangle."""
        corners = self.corners()
        low, high = corners.min(axis=0), corners.max(axis=0)
        return bool(low[0] >= x0 and low[1] >= z0 and high[0] <= x1 and high[1] <= z1)

    def overlaps(self, other: "Footprint", slack: float = 0.0) -> bool:
        """True if the boxes overlap by more than `slack` m (separating axes on the floor, intervals in height)."""
        if self.y0 >= other.y1 - slack or other.y0 >= self.y1 - slack:
            return False
        reach = np.hypot(self.half_width, self.half_depth) + np.hypot(other.half_width, other.half_depth)
        if np.hypot(self.x - other.x, self.z - other.z) >= reach - slack:
            return False
        a, b = self.corners(), other.corners()
        for angle in (self.angle, other.angle):
            cos, sin = np.cos(angle), np.sin(angle)
            for axis in ((cos, -sin), (sin, cos)):
                one, two = a @ np.asarray(axis), b @ np.asarray(axis)
                if one.max() <= two.min() + slack or two.max() <= one.min() + slack:
                    return False
        return True

"""What moves: a person, an animal, a kart or a loose object, with its looping poses if it has any."""

from dataclasses import dataclass

import numpy as np

from worlds.licences import Credit
from worlds.scene import Mesh


@dataclass(frozen=True)
class ActorInfo:
    """An actor without its triangles.

    key: name in the pack ("ufoai/civilian/..."). kind: "person", "animal", "vehicle" or "object". label: caption words
    ("man in a coat", "kart"). size: (width x, height y, length z) m at rest. clips: name -> (first, count) ranges of
    poses ("walk", "run", "stand"); empty for rigid actors. fps: poses per second. speed: natural speed m/s of the first
    clip, so that feet do not slide (0 for rigid actors).
    """

    key: str
    kind: str
    label: str
    size: tuple[float, float, float]
    clips: dict[str, tuple[int, int]]
    fps: float
    speed: float
    credit: Credit


@dataclass(frozen=True, eq=False)
class Actor:
    """An actor ready to place: `mesh` in metres, feet (lowest point of the first clip) at y = 0, origin between the
    feet, facing +z. `poses` f32 [p, v, 3] are vertex positions that replace mesh.positions (None if rigid): pass
    `clip(name)` to `Mover.poses` and info.fps to `poses_fps`. Normals of the mesh belong to the first pose.
    """

    info: ActorInfo
    mesh: Mesh
    poses: np.ndarray | None = None

    def clip(self, name: str) -> np.ndarray:
        """The poses f32 [n, v, 3] of the clip `name` ("walk"), a view into `poses`. KeyError names unknown clips."""
        first, count = self.info.clips[name]
        return self.poses[first : first + count]

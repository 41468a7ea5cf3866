"""What a piece of furniture is: a mesh that a room builder can place by its size, function and supporting surface."""

from dataclasses import dataclass

from worlds.licences import Credit
from worlds.scene import Mesh


@dataclass(frozen=True)
class LightSource:
    """A light inside a model: `position` m in model space, linear `colour` in [0, 1], `diameter` m."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    diameter: float


@dataclass(frozen=True)
class FurnitureInfo:
    """Everything about a model except its triangles, so that a room is planned without loading any.

    key: name in the pack ("sh3d/scopia/sofa1"). name: the catalogue's English name ("Corner sofa"). label: one plain
    caption word or two ("sofa"). category: catalogue category in lower case ("living room"). size: (width x, height y,
    depth z) m of the upright bounding box. elevation: usual height m of its underside above the floor (wall cupboards,
    pictures, ceiling lamps). drop_on_top: height m above its underside where small things may stand, None if nothing
    can. door_or_window: fills an opening of a wall. movable: stands loose in a room. lights: where it shines.
    """

    key: str
    name: str
    label: str
    category: str
    size: tuple[float, float, float]
    elevation: float
    drop_on_top: float | None
    door_or_window: bool
    movable: bool
    lights: tuple[LightSource, ...]
    triangles: int
    credit: Credit


@dataclass(frozen=True, eq=False)
class FurnitureModel:
    """A model ready to place: `mesh` in metres, origin at the floor centre of its bounding box (x and z centred,
    lowest point at y = 0), front towards +z, up +y. Winding is not reliable: shade both sides."""

    info: FurnitureInfo
    mesh: Mesh

"""SuperTuxKart's scene.xml as a list of placed models: library nodes, levels of detail, conditions, animation curves.

Transforms stay left-handed (y up, z ahead) while they are composed and are mirrored at the end, when an item is handed
out: M' = S M S with S = diag(1, 1, -1, 1).
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from worlds.errors import WorldsError

FRAMES_A_SECOND = 25.0  # of the animation curves
_LONGEST_S = 30.0
_STEP_S = 0.1
_HIDDEN = {"physics-only", "physicsonly", "reset", "none"}
_MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])
_CHANNELS = ("LocX", "LocY", "LocZ", "RotX", "RotY", "RotZ", "ScaleX", "ScaleY", "ScaleZ")


@dataclass(frozen=True, eq=False)
class Item:
    """A placed model: its file, label, right-handed object-to-world matrix and, if it moves, the same over time
    (times f64 [k] s, transforms f64 [k, 4, 4])."""

    model: Path
    label: str
    transform: np.ndarray
    times: np.ndarray | None = None
    transforms: np.ndarray | None = None


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file. WorldsError if it is missing or malformed."""
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise WorldsError(f"{path} cannot be read ({error}); fetch supertuxkart-data again") from error


def items(scene: ElementTree.Element, folder: Path, library: Path) -> Iterator[Item]:
    """Everything visible of a scene whose models lie in `folder`; library nodes come from `library`."""
    track = scene.find("track")
    if track is not None:
        yield Item(folder / track.get("model"), "", np.eye(4))
    yield from _walk(scene, folder, library, np.eye(4), "")


def _walk(scene: ElementTree.Element, folder: Path, library: Path, parent: np.ndarray, label: str) -> Iterator[Item]:
    groups = _finest(scene)
    placed = [*scene, *(scene.find("track") if scene.find("track") is not None else [])]
    for element in placed:
        if element.tag not in ("object", "static-object", "library") or not _shown(element):
            continue
        pose = np.array([_numbers(element, name, default) for name, default in (("xyz", 0), ("hpr", 0), ("scale", 1))])
        here = parent @ matrix(pose)
        if element.tag == "library":
            node = library / element.get("name") / "node.xml"
            if node.exists():
                yield from _walk(read_xml(node), node.parent, library, here, label or words(element.get("name")))
            continue
        model = groups.get(element.get("lod_group", ""), element.get("model"))
        if not model or element.get("type", "animation") not in ("animation", "movable", "static"):
            continue
        times, moved = _sampled(element, pose)
        yield Item(
            folder / model,
            label,
            _MIRROR @ here @ _MIRROR,
            times,
            None if times is None else _MIRROR @ parent @ moved @ _MIRROR,
        )


def _finest(scene: ElementTree.Element) -> dict[str, str]:
    """The model shown from nearby of every level-of-detail group."""
    best: dict[str, tuple[float, str]] = {}
    for element in scene.iterfind("lod/group/static-object"):
        found = (float(element.get("lod_distance", "inf")), element.get("model"))
        group = element.get("lod_group")
        best[group] = min(best.get(group, found), found)
    return {group: model for group, (_, model) in best.items()}


def _shown(element: ElementTree.Element) -> bool:
    condition = element.get("if", "isNot")
    visible = condition in ("isNotReverse", "isTrackNotReverse", "isNotCTF", "isNotNetworking", "isNot")
    return visible and element.get("interaction") not in _HIDDEN


def _numbers(element: ElementTree.Element, name: str, default: float) -> list[float]:
    text = element.get(name)
    return [float(v) for v in text.split()] if text else [default] * 3


def matrix(pose: np.ndarray) -> np.ndarray:
    """Left-handed matrices f64 [..., 4, 4] of poses [..., 3, 3]: rows are position, degrees about x, y, z (turned in
    that order) and scale."""
    x, y, z = np.moveaxis(np.radians(pose[..., 1, :]), -1, 0)
    zero, one = np.zeros_like(x), np.ones_like(x)
    turns = [
        [[one, zero, zero], [zero, np.cos(x), -np.sin(x)], [zero, np.sin(x), np.cos(x)]],
        [[np.cos(y), zero, np.sin(y)], [zero, one, zero], [-np.sin(y), zero, np.cos(y)]],
        [[np.cos(z), -np.sin(z), zero], [np.sin(z), np.cos(z), zero], [zero, zero, one]],
    ]
    rx, ry, rz = (np.moveaxis(np.array(turn), (0, 1), (-2, -1)) for turn in turns)
    out = np.zeros((*pose.shape[:-2], 4, 4))
    out[..., :3, :3] = rz @ ry @ rx * pose[..., 2, None, :]
    out[..., :3, 3] = pose[..., 0, :]
    out[..., 3, 3] = 1.0
    return out


def _sampled(element: ElementTree.Element, pose: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Times and local matrices over one cycle of an element's curves, or None if nothing moves."""
    curves = {c.get("channel"): _curve(c) for c in element.findall("curve") if c.get("channel") in _CHANNELS}
    curves = {name: keys for name, keys in curves.items() if len(keys[0]) > 1 and np.ptp(keys[1]) > 1e-3}
    if not curves:
        return None, None
    start = min(keys[0][0] for keys in curves.values())
    end = max(keys[0][-1] for keys in curves.values())
    seconds = min((end - start) / FRAMES_A_SECOND, _LONGEST_S)
    times = np.arange(0.0, seconds + 1e-6, _STEP_S)
    poses = np.tile(pose.reshape(9), (len(times), 1))
    for channel, (frames, values) in curves.items():
        poses[:, _CHANNELS.index(channel)] = np.interp(start + times * FRAMES_A_SECOND, frames, values)
    return times, matrix(poses.reshape(-1, 3, 3))


def _curve(curve: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    """A curve as a polyline (frames, values); Bezier pieces are cut into eight."""
    points = [np.array([[float(v) for v in p.get(k, p.get("c")).split()] for k in ("c", "h1", "h2")]) for p in curve]
    if not points:
        return np.zeros(0), np.zeros(0)
    line = [points[0][0]]
    for a, b in pairwise(points):
        if curve.get("interpolation") == "bezier":
            s = np.linspace(0, 1, 9)[1:, None]
            line.extend((1 - s) ** 3 * a[0] + 3 * s * (1 - s) ** 2 * a[2] + 3 * s**2 * (1 - s) * b[1] + s**3 * b[0])
        else:
            line.append(b[0])
    frames, values = np.array(line).T
    return np.maximum.accumulate(frames), values


def words(name: str) -> str:
    """Caption words of a library node or model: "stklib_palmTree_a" -> "palm tree"."""
    parts = [part for part in name.split("_") if part not in ("stklib", "stk", "gfx", "hd", "meta") and len(part) > 1]
    spaced = "".join(" " + c.lower() if c.isupper() else c for c in " ".join(parts))
    return " ".join(spaced.split())

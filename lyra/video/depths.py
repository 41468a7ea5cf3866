"""The depth of a video in one world: every frame's depth brought to that of what stands still in it.

A depth network sees one picture at a time, so its scale wanders from frame to frame. Log depth of each frame is fitted
to the known depth of its anchors by a robust line; for a still camera all pixels that do not change are anchors, and
their depth is the median over time, so that what stands still does not flicker.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras
from lyra.video.track import Anchors

_ROUNDS, _TIE = 10, 20.0  # of reweighting; anchors that a slope of 1 is worth
_FEWEST = 12  # anchors that set a scale
_ALIKE = 0.08  # colours (largest channel) that differ less are one thing
_NEAR = 0.08  # relative depth within which two views see one surface
_OTHERS = 8  # frames that each frame is compared with


def align(depth: Float[Tensor, "t h w"], anchors: list[Anchors]) -> Float[Tensor, "t h w"]:
    """Depth (not finite: unknown) of t frames as their anchors have it; frames with few anchors take after others.

    log z = a + b log depth, with b held near 1; a is smoothed over three frames where anchors are few.
    """
    lines = torch.full((len(depth), 2), torch.nan)
    for index, found in enumerate(anchors):
        known = _at(depth[index], found.places)
        good = known.isfinite() & (found.depth > 0)
        if int(good.sum()) >= _FEWEST:
            lines[index] = _line(known[good].log(), found.depth[good].log())
    if not bool(lines[:, 0].isfinite().any()):
        return depth
    lines = _filled(lines)
    return torch.exp(lines[:, 0, None, None] + lines[:, 1, None, None] * depth.log())


def _at(depth: Float[Tensor, "h w"], places: Float[Tensor, "m 2"]) -> Float[Tensor, " m"]:
    column, row = places.floor().long().unbind(-1)
    return depth[row.clamp(0, depth.shape[0] - 1), column.clamp(0, depth.shape[1] - 1)]


def _line(x: Float[Tensor, " m"], y: Float[Tensor, " m"]) -> Float[Tensor, "2"]:
    """Intercept and slope of y over x, by least absolute errors (reweighted), slope near 1."""
    weight, middle = torch.ones_like(x), x.median()
    slope, offset = x.new_tensor(1.0), (y - x).median()
    for _ in range(_ROUNDS):
        u, v = x - middle, y - middle
        total = weight.sum().clamp_min(1e-9)
        mu, mv = (weight * u).sum() / total, (weight * v).sum() / total
        spread = x.var(unbiased=False).clamp_min(1e-6)
        tie = _TIE * spread
        slope = ((weight * (u - mu) * (v - mv)).sum() + tie) / ((weight * (u - mu) ** 2).sum() + tie)
        offset = mv - slope * mu + middle - slope * middle
        weight = 1 / (y - offset - slope * x).abs().clamp_min(0.01)
        weight = weight / weight.max()
    return torch.stack([offset, slope])


def _filled(lines: Float[Tensor, "t 2"]) -> Float[Tensor, "t 2"]:
    """Frames without a line take it from the frames around, evenly between them."""
    known = lines[:, 0].isfinite().nonzero()[:, 0]
    place = torch.arange(len(lines))
    after = torch.searchsorted(known, place).clamp(max=len(known) - 1)
    before = (after - (known[after] > place).long()).clamp_min(0)
    low, high = known[before], known[after]
    share = ((place - low) / (high - low).clamp_min(1)).clamp(0, 1)[:, None]
    return torch.lerp(lines[low], lines[high], share)


def of_still(
    frames: Float[Tensor, "t 3 h w"], depth: Float[Tensor, "t h w"]
) -> tuple[Float[Tensor, "t h w"], Bool[Tensor, "t h w"]]:
    """Depth of a video whose camera stands still, and where something moves."""
    usual = frames.median(0).values
    moving = tidy((frames - usual).abs().amax(1) > _ALIKE)
    log = depth.log()
    known = log.isfinite() & ~moving
    shift = torch.stack([(log[i] - log[0])[known[i] & known[0]].median() for i in range(len(log))])
    steady = torch.where(known, log - shift.nan_to_num()[:, None, None], torch.nan).nanmedian(0).values
    often = known.sum(0) > 0.5 * (~moving).sum(0)  # else it is sky, or unknown
    steady = torch.where(often, steady, torch.nan)
    places = Cameras(torch.eye(4), torch.eye(3), depth.shape[2], depth.shape[1]).pixel_grid()
    anchors = []
    for index in range(len(depth)):
        use = known[index] & steady.isfinite()
        step = max(1, int(use.sum()) // 4000)
        anchors.append(Anchors(places[use][::step], steady[use][::step].exp()))
    moved = align(depth, anchors)
    kept = ~moving & steady.isfinite()
    return torch.where(kept, steady.exp(), moved), moving


def moving_parts(
    frames: Float[Tensor, "t 3 h w"], depth: Float[Tensor, "t h w"], cameras: Cameras
) -> Bool[Tensor, "t h w"]:
    """Pixels whose surface is not found where it should be in most of the frames that could see it.

    Each frame is looked up, at half size, in up to eight others spread over the video. A place hidden there says
    nothing; another colour where the place itself or something behind it is seen speaks for motion.
    """
    size = tuple(frames.shape[-2:])
    half = tuple(max(1, side // 2) for side in size)
    far = torch.where(depth.isfinite(), depth, 1e3).log()
    maps = torch.cat([frames, far[:, None]], 1)
    maps = functional.interpolate(maps, half, mode="bilinear", antialias=True)
    small = cameras.resize(*half)
    others = torch.linspace(0, len(frames) - 1, _OTHERS + 1).round().long().unique().tolist()
    found = [
        _is_moving(index, [other for other in others if other != index], maps, small) for index in range(len(maps))
    ]
    return tidy(functional.interpolate(torch.stack(found)[:, None].float(), size, mode="nearest")[:, 0] > 0)


def _is_moving(index: int, others: list[int], maps: Float[Tensor, "t 4 h w"], cameras: Cameras) -> Bool[Tensor, "h w"]:
    """The vote of some frames (colours and log depth) on the pixels of one."""
    height, width = maps.shape[-2:]
    points = cameras[index].unproject(maps[index, 3].exp()).reshape(-1, 3)
    colour = maps[index, :3].flatten(1)
    against, heard = (torch.zeros(height * width) for _ in range(2))
    for other in others:
        where, z = cameras[other].project(points)
        grid = 2 * where / torch.tensor([width, height]) - 1
        seen = functional.grid_sample(
            maps[other : other + 1], grid.clamp(-2, 2)[None, None], padding_mode="border", align_corners=False
        )[0, :, 0]
        speaks = (z > 0) & (grid.abs() < 1).all(-1) & (seen[3].exp() >= (1 - _NEAR) * z)
        heard += speaks
        against += speaks & ((seen[:3] - colour).abs().amax(0) > 1.5 * _ALIKE)
    return ((heard > 0) & (against > 0.6 * heard)).view(height, width)


def tidy(mask: Bool[Tensor, "t h w"]) -> Bool[Tensor, "t h w"]:
    """Without specks (a majority of 5x5 pixels is asked), and wider by two pixels."""
    share = functional.avg_pool2d(mask[:, None].float(), 5, 1, 2)
    return functional.max_pool2d((share > 0.5).float(), 5, 1, 2)[:, 0] > 0

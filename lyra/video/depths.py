"""The depth of a video in one world: every frame's depth brought to that of what stands still in it.

A depth network sees one picture at a time, so its scale wanders from frame to frame. Log depth of each frame is fitted
to the known depth of its anchors by a robust line; for a still camera all pixels that do not change are anchors, and
their depth is the median over time, so that what stands still does not flicker.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras
from lyra.video.track import ALIKE, Anchors

_ROUNDS, _TIE = 10, 20.0  # of reweighting; anchors that a slope of 1 is worth
_FEWEST = 12  # anchors that set a scale
_NEAR = 0.08  # relative depth within which two views see one surface
_THROUGH = 1.2  # a view whose surfaces about a pixel are all so many times as far sees through the place
_OTHERS = 8  # frames that each frame is compared with
_NEAREST, _BEFORE = 0.25, 0.1  # quantiles of log depth: of a moving thing itself; of what is behind it
_RELIEF, _COARSE = 0.025, 4  # half of the log depth that a moving thing spans: no edge within it; pixels
_SOLID = 0.5  # share of a neighbourhood that must speak for motion
_VOTE = 0.5  # share of the frames that could see a place which must speak for motion


def align(depth: Float[Tensor, "t h w"], anchors: list[Anchors]) -> Float[Tensor, "t h w"]:
    """Depth (not finite: unknown) of t frames as their anchors have it; frames with few anchors take after others.

    log z = a + b log depth, with b held near 1; a is smoothed over three frames where anchors are few.
    """
    lines = torch.full((len(depth), 2), torch.nan)
    for index, found in enumerate(anchors):
        known = _at(depth[index], found.places.to(depth.device)).cpu()
        good = known.isfinite() & (found.depth > 0)
        if int(good.sum()) >= _FEWEST:
            lines[index] = _line(known[good].log(), found.depth[good].log())
    if not bool(lines[:, 0].isfinite().any()):
        return depth
    lines = _filled(lines).to(depth)
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
    """Depth of a video whose camera stands still, and where something moves: what differs from the usual colour.

    Usual is the median of the half of the frames in which a pixel is farthest, so that something that dwells there for
    most of the video, but not all of it, still counts as before the rest.
    """
    log = depth.log()
    level = log.flatten(1).median(1).values.nan_to_num(posinf=0.0)[:, None, None]
    far = log - level >= (log - level).median(0).values
    usual = torch.where(far[:, None], frames, torch.nan).nanmedian(0).values
    moving = tidy((frames - usual).abs().amax(1) > ALIKE)
    known = log.isfinite() & ~moving
    shift = torch.stack([(log[i] - log[0])[known[i] & known[0]].median() for i in range(len(log))])
    steady = torch.where(known, log - shift.nan_to_num()[:, None, None], torch.nan).nanmedian(0).values
    often = known.sum(0) > 0.5 * (~moving).sum(0)  # else it is sky, or unknown
    steady = torch.where(often, steady, torch.nan)
    places = Cameras(torch.eye(4), torch.eye(3), depth.shape[2], depth.shape[1]).pixel_grid().to(depth.device)
    anchors = []
    for index in range(len(depth)):
        use = known[index] & steady.isfinite()
        step = max(1, int(use.sum()) // 4000)
        anchors.append(Anchors(places[use][::step].cpu(), steady[use][::step].exp().cpu()))
    moved = align(depth, anchors)
    kept = ~moving & steady.isfinite()
    return torch.where(kept, steady.exp(), moved), moving


def moving_parts(
    frames: Float[Tensor, "t 3 h w"], depth: Float[Tensor, "t h w"], cameras: Cameras
) -> Bool[Tensor, "t h w"]:
    """Pixels whose surface is not found where it should be in most of the frames that could see it.

    Each frame is looked up, at half size, in up to eight others spread over the video. A place hidden there says
    nothing; a colour that is not found within a pixel of where the place should be speaks for motion, and so does a
    view that sees through the place (what comes nearer along the line of sight keeps its colour).
    """
    size = tuple(frames.shape[-2:])
    half = tuple(max(1, side // 2) for side in size)
    far = torch.where(depth.isfinite(), depth, 1e3).log()
    maps = functional.interpolate(torch.cat([frames, far[:, None]], 1), half, mode="bilinear", antialias=True)
    high = functional.max_pool2d(maps[:, :3], 3, 1, 1)
    low = -functional.max_pool2d(-maps[:, :3], 3, 1, 1)
    near = -functional.max_pool2d(-maps[:, 3:], 5, 1, 2)
    sought = torch.cat([maps[:, 3:], low, high, near], 1)
    small, others = (
        cameras.to(frames.device).resize(*half),
        torch.linspace(0, len(frames) - 1, _OTHERS + 1).round().long().unique(),
    )
    found = [_is_moving(index, others[others != index], maps[index], sought, small) for index in range(len(maps))]
    solid = functional.avg_pool2d(torch.stack(found)[:, None].float(), 5, 1, 2) > _SOLID  # pictures never fit exactly
    return tidy(functional.interpolate(solid.float(), size, mode="nearest")[:, 0] > 0)


def _is_moving(
    index: int,
    others: Int64[Tensor, " o"],
    own: Float[Tensor, "4 h w"],
    sought: Float[Tensor, "t 8 h w"],
    cameras: Cameras,
) -> Bool[Tensor, "h w"]:
    """The vote of some frames (log depth, lowest and highest colours, nearest log depth) on the pixels of one."""
    height, width = own.shape[-2:]
    points = cameras[index].unproject(own[3].exp()).reshape(1, -1, 3).expand(len(others), -1, -1)
    where, z = cameras[others].project(points)
    grid = 2 * where / where.new_tensor([width, height]) - 1
    seen = functional.grid_sample(
        sought[others], grid.clamp(-2, 2)[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )[:, :, 0]
    speaks = (z > 0) & (grid.abs() < 1).all(-1) & (seen[:, 0].exp() >= (1 - _NEAR) * z)
    colour = own[:3].flatten(1)
    differs = ((colour < seen[:, 1:4] - ALIKE) | (colour > seen[:, 4:7] + ALIKE)).any(1)
    through = seen[:, 7].exp() > _THROUGH * z
    heard, against = speaks.sum(0), (speaks & (differs | through)).sum(0)
    return ((heard > 0) & (against > _VOTE * heard)).view(height, width)


def upright(
    depth: Float[Tensor, "t h w"], moving: Bool[Tensor, "t h w"], still: bool = False
) -> Float[Tensor, "t h w"]:
    """Depth in which what moves stands upright: each moving thing is nearly flat, at one distance in each frame.

    A network blends a small moving thing into what is behind it: a person's feet are near, the head lies on the wall.
    The nearest quarter of its pixels, often those that touch the ground, tell where it is; the distance is smoothed
    over five frames, and what differs from it by much is drawn to within 2.5 %. What a thing is, is told at a quarter
    of the size: pixels that move and touch in space and time. Before a camera that stands `still` a thing is also put
    before what its pixels show at other times.
    """
    known = moving & depth.isfinite()
    names = _things(moving)
    behind = torch.where(moving, torch.inf, depth).amin(0).log()  # infinite: sky, or never free of what moves
    log, made = depth.log(), depth.clone()
    for name in names[known].unique().tolist():
        own = known & (names == name)
        place = log.new_full((len(log),), torch.nan)
        shown = own.flatten(1).any(1).nonzero()[:, 0]
        for i in shown.tolist():
            place[i] = log[i][own[i]].quantile(_NEAREST)
            if still:
                rest = behind[own[i]].quantile(_BEFORE, interpolation="lower")  # "linear" between infinities is NaN
                place[i] = torch.minimum(place[i], rest - _RELIEF)
        padded = functional.pad(place[None, None], (2, 2), value=torch.nan)[0, 0]
        place = padded.unfold(0, 5, 1).nanmean(-1)[shown, None, None]
        flat = place + _RELIEF * ((log[shown] - place) / _RELIEF).tanh()
        made[shown] = torch.where(own[shown], flat.exp(), made[shown])
    return made


def _things(moving: Bool[Tensor, "t h w"]) -> Int64[Tensor, "t h w"]:
    """A number above 0 for every connected moving thing, 0 elsewhere."""
    size = tuple(moving.shape[-2:])
    small = functional.max_pool2d(moving[:, None].float(), _COARSE, _COARSE, ceil_mode=True)[:, 0]
    names = torch.arange(1, small.numel() + 1, dtype=torch.float64, device=small.device).view(small.shape) * small
    while True:
        grown = functional.max_pool3d(names[None, None], 3, 1, 1)[0, 0] * small
        if torch.equal(grown, names):
            break
        names = grown
    large = names.repeat_interleave(_COARSE, -2).repeat_interleave(_COARSE, -1)
    return large[:, : size[0], : size[1]].long()


def tidy(mask: Bool[Tensor, "t h w"]) -> Bool[Tensor, "t h w"]:
    """Without specks (a majority of 5x5 pixels is asked), gaps of up to six pixels closed, wider by two pixels."""
    share = functional.avg_pool2d(mask[:, None].float(), 5, 1, 2)
    wide = functional.max_pool2d((share > 0.5).float(), 11, 1, 5)
    return -functional.max_pool2d(-wide, 7, 1, 3)[:, 0] > 0

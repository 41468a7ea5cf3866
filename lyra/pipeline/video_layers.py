"""The scene that moves, from two sources: the video's own pixels, and what the decoder imagined.

What stands still is stored once: pixels of the first frame, then of further frames where they show what no frame before
has shown (the wall behind a person who walks on). What moves is stored frame by frame. Of the decoder's Gaussians those
are kept that the video does not contradict: none where pixels are already, none in space that a frame looks through.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.pipeline.video_decoding import Imagined
from lyra.pipeline.views import SKY
from lyra.scene import Cameras, DynamicGaussians, Gaussians
from lyra.teacher.cache import CacheOptions, depth_edges
from lyra.video.survey import Survey

_SOURCES = 5  # frames whose pixels may become part of what stands still
_SIZE, _OPACITY = 0.6, 0.99  # standard deviation in pixels
_NEAR, _FREE = 0.1, 0.15  # relative depths: one surface; clearly before it
_FRONT = 1.05  # a moving pixel at a depth edge is kept if it is on the near side, so much behind the nearest
_THICK = 1.4  # what is imagined behind something that moves belongs to it, up to this many times its depth


def assemble(frames: Float[Tensor, "t 3 h w"], found: Survey, imagined: Imagined, fps: float) -> DynamicGaussians:
    """All layers as one scene; lifetimes in seconds at `fps` frames a second. On the device of what is imagined."""
    device = imagined.gaussians.means.device
    frames, found = frames.to(device), found.to(device)
    depth = torch.where(found.depth.isfinite(), found.depth, SKY * found.unit).clamp(
        1e-3 * found.unit, SKY * found.unit
    )
    edge = depth_edges(depth, CacheOptions.for_width(depth.shape[2]))
    layers = [(_background(frames, depth, edge, found), None)]
    nearest = -functional.max_pool2d(-depth[:, None], 5, 1, 2)[:, 0]
    for index in range(len(frames)):
        mask = found.moving[index] & (~edge[index] | (depth[index] <= _FRONT * nearest[index]))
        layers.append((pixels(found.cameras[index], frames[index], depth[index], mask), (index, index + 1)))
    return _timed([*layers, *_imagined(imagined, depth, edge, found)], len(frames), fps)


def pixels(
    camera: Cameras, image: Float[Tensor, "3 h w"], depth: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]
) -> Gaussians:
    """Round, nearly opaque Gaussians of the pixels in the mask."""
    points = camera.unproject(depth)[mask]
    sizes = (_SIZE * depth[mask] / camera.K[0, 0])[:, None].expand(-1, 3)
    quats = points.new_tensor([1.0, 0, 0, 0]).expand(len(points), 4)
    opacities = points.new_full((len(points),), _OPACITY)
    made = Gaussians.from_rgb(points, quats, sizes, opacities, image.permute(1, 2, 0)[mask])
    return replace(made, seen=torch.ones_like(opacities, dtype=torch.bool))


def _background(frames: Tensor, depth: Tensor, edge: Tensor, found: Survey) -> Gaussians:
    """Everything that stands still, each place from the first frame that shows it."""
    solid = ~edge & ~found.moving
    spread = torch.linspace(0, len(frames) - 1, _SOURCES).round().long().unique().tolist()
    parts, used = [], []
    for index in sorted(spread, key=lambda i: (i != 0, i != len(frames) - 1, i)):
        new = solid[index].flatten()
        points = found.cameras[index].unproject(depth[index]).reshape(-1, 3)
        for other in used:
            seen, at, z = places(points, found.cameras[other])
            near = z / depth[other][at]
            there = seen & (near >= 1 / (1 + _NEAR)) & (near <= 1 + _NEAR)
            new = new & ~(there & solid[other][at])
        parts.append(pixels(found.cameras[index], frames[index], depth[index], new.view(depth.shape[1:])))
        used.append(index)
    return Gaussians.concat(parts)


def places(points: Float[Tensor, "n 3"], camera: Cameras) -> tuple[Bool[Tensor, " n"], tuple[Tensor, Tensor], Tensor]:
    """Whether points are in a camera's picture, their pixels (row, column; the nearest if outside), and their depth."""
    where, z = camera.project(points)
    column, row = where.nan_to_num(-1.0).clamp(-1, 1e6).floor().long().unbind(-1)
    inside = (z > 0) & (row >= 0) & (row < camera.height) & (column >= 0) & (column < camera.width)
    return inside, (row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)), z


def _imagined(imagined: Imagined, depth: Tensor, edge: Tensor, found: Survey) -> list:
    """The decoder's Gaussians that stay, as layers with their frames."""
    scene = imagined.gaussians
    lives = _on_moving(imagined, depth, found) if imagined.lives is None else imagined.lives
    replaced = torch.zeros_like(scene.opacities, dtype=torch.bool)
    moments = imagined.frame.unique().tolist()
    for moment in moments:
        seen, at, z = places(scene.means, found.cameras[moment])
        solid = ~edge[moment][at]
        still = solid & ~found.moving[moment][at]
        known = z / depth[moment][at] <= 1 + _NEAR
        replaced |= seen & known & still & ~lives
        replaced |= seen & known & solid & lives & (imagined.frame == moment)
    scene = replace(scene, seen=torch.zeros_like(replaced))
    layers = [(scene[~replaced & ~lives], None)]
    half = imagined.every / 2
    for place, moment in enumerate(moments):
        begin = moment - half if place else 0
        chosen = ~replaced & lives & (imagined.frame == moment)
        layers.append((scene[chosen], (begin, moment + half)))
    return layers


def _on_moving(imagined: Imagined, depth: Tensor, found: Survey) -> Bool[Tensor, " n"]:
    """Which Gaussians belong to something that moves at their moment: on it, or close behind it."""
    means = imagined.gaussians.means
    lives = torch.zeros_like(imagined.gaussians.opacities, dtype=torch.bool)
    for moment in imagined.frame.unique().tolist():
        seen, at, z = places(means, found.cameras[moment])
        near = z / depth[moment][at]
        on = seen & found.moving[moment][at] & (near > 1 - _FREE) & (near < _THICK)
        lives |= on & (imagined.frame == moment)
    return lives


def _timed(layers: list, count: int, fps: float) -> DynamicGaussians:
    """Layers with (first frame, frame after the last), None for what is always there; the last ones stay to the end."""
    layers = [(part, span) for part, span in layers if len(part)]
    parts = [part for part, _ in layers] or [Gaussians.empty()]
    whole = Gaussians.concat(parts)
    sizes = torch.tensor([len(part) for part in parts])
    spans = [(-torch.inf, torch.inf) if span is None else span for _, span in layers] or [(-torch.inf, torch.inf)]
    starts = torch.tensor([float(begin) / fps for begin, _ in spans])
    ends = torch.tensor([torch.inf if end >= count else float(end) / fps for _, end in spans])
    start, end = (each.repeat_interleave(sizes).to(whole.means) for each in (starts, ends))
    scene = DynamicGaussians(whole, start, end, torch.zeros_like(whole.means), count / fps, fps)
    return scene.prune()

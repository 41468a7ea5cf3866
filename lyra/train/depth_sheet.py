"""A picture to look at: image | predicted depth | true depth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lyra.depth import DepthMap
from lyra.io.images import to_uint8
from lyra.train.depth_eval import Truth

# Near is warm, far is cold; sky is black.
_ANCHORS = np.array(
    [[122, 4, 3], [228, 83, 18], [250, 186, 57], [164, 252, 60], [27, 208, 213], [66, 91, 222], [48, 18, 59]]
)
HEIGHT = 224


def colours(depth: Tensor, valid: Tensor, span: tuple[float, float]) -> Tensor:
    """Log depth between span[0] and span[1] metres as uint8 [3, h, w]."""
    low, high = np.log(span[0]), np.log(span[1])
    log = torch.where(valid, depth, 1.0).log().cpu().numpy()
    place = np.clip((log - low) / max(high - low, 1e-3), 0, 1) * (len(_ANCHORS) - 1)
    rgb = np.stack([np.interp(place, np.arange(len(_ANCHORS)), _ANCHORS[:, k]) for k in range(3)])
    return torch.from_numpy(rgb * valid.cpu().numpy()).to(torch.uint8)


def span_of(depth: Tensor, valid: Tensor) -> tuple[float, float]:
    """The depths below which 2 % and 98 % of the valid pixels lie."""
    values = depth[valid].flatten().float().cpu().numpy()
    return tuple(np.percentile(values, (2, 98))) if len(values) else (1.0, 10.0)


def row(image: Tensor, found: DepthMap, truth: Truth | None = None) -> Tensor:
    """One row uint8 [3, HEIGHT, w]; prediction and truth have the same colours, those of the truth's range."""
    seen = truth.known & truth.depth.isfinite() if truth else found.valid
    span = span_of(truth.depth if truth else found.depth, seen)
    parts = [to_uint8(image).cpu(), colours(found.depth, found.valid, span)]
    if truth:
        parts.append(colours(truth.depth, seen, span))
    width = round(HEIGHT * image.shape[2] / image.shape[1])
    scaled = [
        functional.interpolate(part[None].float(), (HEIGHT, width), mode="bilinear", antialias=True) for part in parts
    ]
    return to_uint8(torch.cat(scaled, -1)[0] / 255)


def write_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """The rows below each other in two columns, padded with black."""
    half = (len(rows) + 1) // 2
    columns = []
    for part in (rows[:half], rows[half:]):
        width = max((r.shape[2] for r in part), default=0)
        padded = [functional.pad(r, (0, width - r.shape[2], 0, 4)) for r in part]
        columns.append(torch.cat(padded, 1) if padded else torch.zeros(3, 0, 0, dtype=torch.uint8))
    height = max(c.shape[1] for c in columns)
    columns = [functional.pad(c, (0, 8, 0, height - c.shape[1])) for c in columns if c.shape[2]]
    Image.fromarray(torch.cat(columns, 2).permute(1, 2, 0).numpy()).save(path)

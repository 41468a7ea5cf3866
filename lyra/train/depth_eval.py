"""Judge a depth model on frames with true depth: errors raw and scale-aligned, field of view, sky, depth edges."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.depth import DepthMap
from lyra.depth.depth_map import centred_K
from lyra.train.depth_augment import crop, photographed
from lyra.train.depth_data import FramePool, Frames, decode_log_depth

EDGE = 0.15  # log depth: a step of at least 16 %
REACH = 4  # pixels on each side of an edge


@dataclass(frozen=True, eq=False)
class Truth:
    """One image with what is known of it; depth is infinite at the sky, `known` is False where nothing is known."""

    image: Float[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"]
    known: Bool[Tensor, "h w"]
    K: Float[Tensor, "3 3"]


Predictor = Callable[[Truth], DepthMap]


def held_out(frames: Frames, seed: int = 0) -> dict[str, list[Truth]]:
    """Evaluation sets: the frames themselves, the same with the look of random cameras, and random crops (other fields
    of view) with such a look."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.Generator(frames.rgb.device).manual_seed(seed)
    height, width = (side // 32 * 32 for side in frames.rgb.shape[1:3])
    sets: dict[str, list[Truth]] = {"worlds": [], "worlds_look": [], "worlds_zoom": []}
    for start in range(0, len(frames), 16):
        part = frames[slice(start, start + 16)]
        whole, zoomed = crop(part, height, width, None), crop(part, height, height * 5 // 4 // 32 * 32, generator)
        sets["worlds"] += _truths(whole.image, whole)
        sets["worlds_look"] += _truths(photographed(whole.image, generator, noise), whole)
        sets["worlds_zoom"] += _truths(photographed(zoomed.image, generator, noise), zoomed)
    return sets


def _truths(images: Tensor, batch) -> list[Truth]:
    h, w = images.shape[2:]
    depth = (batch.log_depth + batch.log_focal[:, None, None]).exp()
    depth = torch.where(batch.sky, torch.inf, depth)
    focal = batch.log_focal.exp() * math.sqrt(h * w)
    return [
        Truth(image, z, known, centred_K(f, h, w))
        for image, z, known, f in zip(images, depth, batch.known, focal, strict=True)
    ]


def motorcycle(path: Path, device: torch.device) -> Truth:
    """The photograph with true depth that runs/fetch_backbone.py stores."""
    with np.load(path) as arrays:
        image, depth, K = (torch.from_numpy(arrays[name]) for name in ("image", "depth", "K"))
    image = (image.permute(2, 0, 1).float() / 255).to(device)
    return Truth(image, depth.to(device), depth.isfinite().to(device), K)


def score(found: DepthMap, truth: Truth) -> dict[str, float]:
    """Errors of one image over the pixels with true depth; "aligned" means after the one factor that makes the median
    log error 0. Where the model says sky the depth it gives is 100 m."""
    seen = truth.known & truth.depth.isfinite()
    sky = truth.known & ~truth.depth.isfinite()
    wrong_sky = truth.known & ~found.valid
    result = {"sky_both": float((sky & wrong_sky).sum()), "sky_either": float((sky | wrong_sky).sum())}
    result["fov_error_deg"] = abs(_fov(found.K, truth) - _fov(truth.K, truth))
    if int(seen.sum()) < 100:
        return result
    log_found = torch.where(found.valid, found.depth, 100.0).log()
    log_true = torch.where(seen, truth.depth, 1.0).log()
    error = (log_found - log_true)[seen]
    for name, e in (("raw", error), ("aligned", error - error.median())):
        result[f"abs_rel_{name}"] = float((e.exp() - 1).abs().mean())
        result[f"rmse_log_{name}"] = float(e.square().mean().sqrt())
        result[f"delta_1.25_{name}"] = float((e.abs() < math.log(1.25)).float().mean())
    return {**result, **edges(log_found, log_true, seen)}


def _fov(K: Tensor, truth: Truth) -> float:
    return math.degrees(2 * math.atan(truth.image.shape[2] / 2 / float(K[0, 0])))


def edges(
    log_found: Float[Tensor, "h w"], log_true: Float[Tensor, "h w"], seen: Bool[Tensor, "h w"]
) -> dict[str, float]:
    """How a map shows the true depth steps between horizontal neighbours (>= EDGE).

    Over a window of REACH pixels on each side: `edge_found`, the share of true steps of which the map has at least half
    the height, in the right direction, from one end of the window to the other; and `edge_step`, for those, the largest
    single-pixel step as a share of the whole rise (1: a clean cut, 1 / (2 REACH + 1): an even ramp).
    """
    span = 2 * REACH + 2
    if log_true.shape[1] < span:
        return {}
    true, found = log_true.unfold(1, span, 1), log_found.unfold(1, span, 1)
    whole = seen.unfold(1, span, 1).all(-1)
    middle = true[..., REACH + 1] - true[..., REACH]
    rise = true[..., -1] - true[..., 0]
    # Only clean steps: one jump that makes up most of what happens in the window.
    at = whole & (middle.abs() >= EDGE) & ((rise / middle - 1).abs() < 0.25)
    if int(at.sum()) < 20:
        return {}
    sign = middle[at].sign()
    high = (found[at][:, -1] - found[at][:, 0]) * sign
    steps = found[at].diff(dim=1) * sign[:, None]
    ok = high >= 0.5 * middle[at].abs()
    result = {"edge_found": float(ok.float().mean())}
    if bool(ok.any()):
        result["edge_step"] = float((steps.amax(1)[ok] / high[ok]).clamp(max=1).mean())
    return result


@torch.no_grad()
def evaluate(predict: Predictor, truths: Sequence[Truth]) -> dict[str, float | int]:
    """Means over images; sky IoU over all pixels together (absent if there is no sky in truth and prediction)."""
    rows = [score(predict(truth), truth) for truth in truths]
    names = dict.fromkeys(name for row in rows for name in row)
    result: dict[str, float | int] = {"images": len(rows)}
    for name in names:
        values = [row[name] for row in rows if name in row]
        result[name] = sum(values) / len(values)
    both, either = (sum(row[name] for row in rows) for name in ("sky_both", "sky_either"))
    del result["sky_both"], result["sky_either"]
    if either:
        result["sky_iou"] = both / either
    return {name: round(value, 4) for name, value in result.items()}


def baselines(pool: FramePool, seed: int = 0, count: int = 256) -> dict[str, Predictor]:
    """What needs no network, fitted on training frames: the median depth everywhere, and log depth as a line over the
    image's rows (the median of the frames' own slopes); both with the median field of view and no sky."""
    indices = torch.randint(pool.count, (count,), generator=torch.Generator().manual_seed(seed))
    frames = pool.draw(indices)
    log_z, sky = decode_log_depth(frames.code)
    rows, columns = log_z.shape[1:]
    fov = float(torch.atan(columns / 2 / frames.focal).median())
    seen = (~sky).float()
    total = seen.sum((1, 2)).clamp_min(1)
    down = ((torch.arange(rows, device=log_z.device) + 0.5) / rows)[None, :, None] * seen
    down = (down - (down.sum((1, 2)) / total)[:, None, None]) * seen
    slope = float(((down * log_z).sum((1, 2)) / down.square().sum((1, 2)).clamp_min(1e-6)).median())
    middle = float(log_z[~sky][:: max(1, int(total.sum()) // 10**6)].median())

    def line(tilt: float) -> Predictor:
        def predict(truth: Truth) -> DepthMap:
            h, w = truth.depth.shape
            across = (torch.arange(h, device=truth.depth.device) + 0.5) / h - 0.5
            depth = (middle + tilt * across).exp()[:, None].expand(h, w)
            return DepthMap(depth, centred_K(w / 2 / math.tan(fov), h, w), torch.ones_like(truth.known), "metric")

        return predict

    return {"constant": line(0.0), "row_ramp": line(slope)}

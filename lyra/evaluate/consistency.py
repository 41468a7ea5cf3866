"""Do frames show one world? Frames carried into each other by true depth and compared where both cameras see it.

"temporal": neighbouring scored frames of one path. "across_paths": the middles of two paths. True frames give the
ceiling (resampling, shading that depends on the view). The part that the first frame does not show is scored alone,
since there nothing but the model's own memory keeps frames together.
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.evaluate.scores import SMALLEST
from lyra.evaluate.true_scenes import TrueScene
from lyra.evaluate.visibility import rewarp
from lyra.metrics import masked_psnr


def pairs(part: TrueScene) -> dict[str, list[tuple[int, int]]]:
    """Indices (from, to) of the pictures to compare."""
    paths = [
        sorted((part.places[:, 0] == path).nonzero()[:, 0].tolist(), key=lambda index: int(part.places[index, 1]))
        for path in part.places[:, 0].unique().tolist()
    ]
    middles = [path[(len(path) - 1) // 2] for path in paths]
    across = [*pairwise(middles), (middles[-1], middles[0])] if len(middles) > 1 else []
    return {"temporal": [pair for path in paths for pair in pairwise(path)], "across_paths": across}


def consistency(
    images: Float[Tensor, "n 3 h w"], part: TrueScene, hidden: Bool[Tensor, "n h w"], device: torch.device
) -> dict[str, dict[str, Float[Tensor, " k"]]]:
    """PSNR in dB of each pair: set -> {"psnr": ...}; NaN where the two share less than 1 % of the picture.

    `hidden` marks what the first frame does not show, from `regions`.
    """
    depth, cameras = part.depth.to(device), part.cameras.to(device)
    table = {}
    for kind, chosen in pairs(part).items():
        whole, invented = [], []
        for source, target in chosen:
            carried, both = rewarp(images[source], depth[source], cameras[source], depth[target], cameras[target])
            for rows, mask in ((whole, both), (invented, both & hidden[target])):
                score = masked_psnr(carried, images[target], mask)
                rows.append(score if mask.float().mean() >= SMALLEST else torch.full_like(score, torch.nan))
        if chosen:
            table[kind] = {"psnr": torch.stack(whole)}
            table[f"{kind}, disoccluded"] = {"psnr": torch.stack(invented)}
    return table

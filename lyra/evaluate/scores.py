"""Scores within regions of pictures, gathered over scenes, and their table."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lyra.metrics import masked_mean, masked_psnr
from lyra.metrics.images import SSIM_BORDER, ssim_windows

SMALLEST = 0.01  # share of a picture below which a region is not scored: too few pixels mean nothing
_BATCH = 8  # pictures a time through the LPIPS network


def region_scores(
    images: Float[Tensor, "n 3 h w"],
    truth: Float[Tensor, "n 3 h w"],
    masks: Mapping[str, Bool[Tensor, "n h w"]],
    lpips: nn.Module | None,
) -> dict[str, dict[str, Float[Tensor, " n"]]]:
    """PSNR, SSIM and LPIPS of every picture within each region; NaN where the region is smaller than 1 %."""
    distance = None
    if lpips is not None:
        pairs = zip(images.split(_BATCH), truth.split(_BATCH), strict=True)
        distance = torch.cat([lpips.spatial(*pair) for pair in pairs])
    windows, inner = ssim_windows(images, truth), slice(SSIM_BORDER, -SSIM_BORDER)
    table = {}
    for region, mask in masks.items():
        scores = {"psnr": masked_psnr(images, truth, mask), "ssim": masked_mean(windows, mask[:, inner, inner])}
        if distance is not None:
            scores["lpips"] = masked_mean(distance, mask)
        large = mask.float().mean((-2, -1)) >= SMALLEST
        table[region] = {name: torch.where(large, value, torch.nan).float().cpu() for name, value in scores.items()}
    return table


class Scores:
    """Numbers by method, set and measure, one for each picture, in the order in which they came."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], list[Tensor]] = {}

    def add(self, method: str, what: str, scores: Mapping[str, Tensor]) -> None:
        """Add the scores of some pictures."""
        for name, value in scores.items():
            self.values.setdefault((method, what, name), []).append(value.reshape(-1).float().cpu())

    def all(self, method: str, what: str, name: str) -> Float[Tensor, " n"]:
        """Every number, NaN where it was not scored; empty if there is none."""
        parts = self.values.get((method, what, name), [])
        return torch.cat(parts) if parts else torch.zeros(0)

    def means(self) -> dict[str, dict[str, dict[str, float | int]]]:
        """set -> method -> measure -> mean over pictures, with `pictures` the number of those that were scored."""
        table: dict[str, dict[str, dict[str, float | int]]] = {}
        for method, what, name in self.values:
            values = self.all(method, what, name)
            values = values[values.isfinite()]
            if len(values):
                row = table.setdefault(what, {}).setdefault(method, {})
                row[name] = round(float(values.mean()), 4)
                row["pictures"] = len(values)
        return table

    def wins(self, method: str, other: str, what: str, name: str) -> float | None:
        """Share of pictures in which `method` has a smaller number than `other`; None if they share no picture."""
        mine, theirs = self.all(method, what, name), self.all(other, what, name)
        if len(mine) != len(theirs) or len(mine) == 0:
            return None
        both = mine.isfinite() & theirs.isfinite()
        return round(float((mine < theirs)[both].float().mean()), 3) if both.any() else None


def markdown(table: Mapping[str, Mapping[str, Mapping[str, float | int]]], measures: tuple[str, ...]) -> str:
    """A Markdown table with a row for every set and method; measures that are missing are dashes."""
    lines = [f"| set | method | {' | '.join(measures)} |", "|---|---" + "|---:" * len(measures) + "|"]
    for what, methods in table.items():
        for method, row in methods.items():
            cells = [f"{row[name]:.4g}" if name in row else "-" for name in measures]
            lines.append(f"| {what} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"

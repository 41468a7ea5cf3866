"""Which depth model a name means."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lyra import weights
from lyra.depth.depth_map import DepthMap
from lyra.depth.mini import MiniDepth


@runtime_checkable
class DepthModel(Protocol):
    """Anything that tells the depth of an image [3, h, w] in [0, 1]; a given K replaces the estimated one."""

    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        """Depth at the image's size."""


def load(name: str | Path = "mini", device: str | torch.device = "cpu") -> DepthModel:
    """A depth model.

    "mini" is the embedded network, and a folder with config.json and model.safetensors that `MiniDepth.save` wrote is
    such a network of one's own. "transformers:REPO" is a depth-estimation model of the transformers package (Depth
    Anything V2, Depth Pro, ZoeDepth), "moge:REPO" and "moge2:REPO" are versions 1 and 2 of MoGe; REPO is a name on the
    hub or something local. Raises InputError if the package or the weights are missing.
    """
    kind, _, rest = str(name).partition(":")
    if rest and kind == "transformers":
        from lyra.depth.hub import load_hub

        return load_hub(rest, device)
    if rest and kind in ("moge", "moge2"):
        from lyra.depth.moge import MogeDepth

        return MogeDepth.load(rest, 2 if kind == "moge2" else 1, device)
    folder = Path(name)
    return MiniDepth.load(folder if folder.is_dir() else weights.folder(str(name), "depth"), device)

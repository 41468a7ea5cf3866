"""The embedded depth model: image -> metric-ish depth, field of view and sky, small enough for two CPU cores."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lyra.depth.depth_map import DepthMap, centred_K, check_image, check_K
from lyra.depth.network import MULTIPLE, DepthConfig, DepthNetwork
from lyra.depth.upsample import upsample_guided
from lyra.scene import require
from lyra.weights.storage import load_folder, save_folder

KIND = "lyra-depth-mini"


class MiniDepth:
    """The network with its weights; call it with an image [3, h, w] in [0, 1] of any size and aspect ratio."""

    def __init__(self, network: DepthNetwork) -> None:
        self.network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "MiniDepth":
        """From a folder written by `save`. InputError if it is missing, damaged or holds another model."""
        config, tensors = load_folder(Path(folder))
        require(config.get("kind") == KIND, f"{folder} holds a model of kind {config.get('kind')!r}, not {KIND!r}")
        network = DepthNetwork(DepthConfig(tuple(config["widths"]), config["pixels"]))
        _load_strict(network, tensors, folder)
        return cls(network.to(device))

    def save(self, folder: str | Path, precision: str = "float16") -> None:
        """Write config.json and model.safetensors."""
        tensors = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_folder(Path(folder), tensors, {"kind": KIND, **asdict(self.network.config)}, precision)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        """Depth at the image's size. A given K replaces the predicted focal length, and depth follows it."""
        check_image(image)
        device = next(self.network.parameters()).device
        full = image.to(device, torch.float32).clamp(0, 1)
        height, width = full.shape[1:]
        size = network_size(height, width, self.network.config.pixels)
        small = functional.interpolate(full[None], size, mode="bilinear", antialias=True)
        prediction = self.network(small.contiguous(memory_format=torch.channels_last))
        side = math.sqrt(height * width)
        if K is None:
            focal = float(prediction.log_focal.exp()) * side
            K = centred_K(focal, height, width)
        else:
            check_K(K)
            focal = math.sqrt(float(K[0, 0] * K[1, 1]))
        log_depth = prediction.log_depth + math.log(focal / side)
        both = upsample_guided(torch.cat([log_depth, prediction.sky]), small[0], full)
        return DepthMap.of(both[0].exp(), K.to(device, torch.float32), both[1] < 0, "metric")


def network_size(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Sides (multiples of 32) of about `pixels` in all with the image's aspect ratio, as far as 1:4 goes."""
    aspect = min(4.0, max(0.25, width / height))
    rows = max(1, round(math.sqrt(pixels / aspect) / MULTIPLE))
    columns = max(1, round(aspect * rows))
    return rows * MULTIPLE, columns * MULTIPLE


def _load_strict(network: DepthNetwork, tensors: Mapping[str, Tensor], folder: str | Path) -> None:
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        require(False, f"{folder} does not fit the depth network ({first}); fetch or train the weights again")

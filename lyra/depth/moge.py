"""MoGe (Wang et al., arXiv 2410.19115 and 2507.02546) through its own package, for users who have installed it.

Version 1 gives depth up to scale ("relative", median 1), version 2 metres; both give the camera and a mask.
"""

import importlib
import math

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.depth.depth_map import DepthMap, check_image, check_K
from lyra.scene import InputError

_INSTALL = "pip install git+https://github.com/microsoft/MoGe.git"


class MogeDepth:
    """A MoGe model; `version` is 1 or 2."""

    def __init__(self, model, version: int) -> None:
        self.model, self.version = model.eval(), version

    @classmethod
    def load(cls, name: str, version: int, device: str | torch.device = "cpu") -> "MogeDepth":
        """From a repository name of the hub or a local file. InputError if the package or the weights are missing."""
        try:
            module = importlib.import_module(f"moge.model.v{version}")
        except ImportError:
            raise InputError(f"MoGe depth needs its package with version {version}; run: {_INSTALL}") from None
        try:
            model = module.MoGeModel.from_pretrained(name)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"the MoGe weights {name} cannot be loaded ({first})") from error
        return cls(model.to(device), version)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        """Depth at the image's size; a given K fixes the field of view that the model works with."""
        check_image(image)
        height, width = image.shape[1:]
        fov = None
        if K is not None:
            check_K(K)
            fov = math.degrees(2 * math.atan(width / 2 / float(K[0, 0])))
        device = next(self.model.parameters()).device
        colours = image.to(device, torch.float32).clamp(0, 1)
        output = self.model.infer(colours, fov_x=fov, use_fp16=device.type == "cuda")
        pixels = torch.tensor([[width], [height], [1.0]], device=device)
        found = output["intrinsics"].float() * pixels  # theirs are shares of the image's sides
        K = found if K is None else K.to(found)
        scale = "metric" if self.version == 2 else "relative"
        return DepthMap.of(output["depth"].float(), K, output["mask"].bool(), scale)

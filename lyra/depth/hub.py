"""Depth models of the transformers package (Depth Anything V2, ZoeDepth, DPT, Depth Pro), fetched from the hub.

Metric models give metres. Relative ones (Depth Anything's plain checkpoints, DPT) give inverse depth up to an unknown
scale and offset: it is mapped so that the 2nd and 98th percentiles lie at 20 : 1 in depth, and the depth map says
"relative". Where a model tells no field of view, that of a phone's main camera is assumed unless K is given.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lyra.depth.depth_map import DepthMap, Scale, centred_K, check_image, check_K
from lyra.io.images import to_uint8
from lyra.scene import InputError, require

TYPICAL_FOCAL = 0.885  # over the geometric mean of the sides: 26 mm on a 36 x 24 mm frame
FAR_TO_NEAR = 20.0
_SATURATED = 0.99  # of a model's largest depth; beyond it sky and "far" are the same
_FARTHEST = 1e4  # metres, of Depth Pro


def load_hub(name: str, device: str | torch.device = "cpu") -> "HubDepth | DepthPro":
    """A model by its repository name on the hub or from a local folder.

    Raises InputError if the package or the weights are missing, or if it is no depth model known here.
    """
    try:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation
    except ImportError:
        raise InputError(f'the depth model "transformers:{name}" needs a package: pip install transformers') from None
    try:
        model = AutoModelForDepthEstimation.from_pretrained(name).to(device).eval()
        if model.config.model_type == "depth_pro":
            return DepthPro(model)
        return HubDepth(model, AutoImageProcessor.from_pretrained(name))
    except InputError:
        raise
    except (OSError, ValueError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the depth model {name} cannot be loaded from the hub or a folder ({first})") from error


class HubDepth:
    """Depth Anything, ZoeDepth or DPT with its image processor: depth without a field of view."""

    def __init__(self, model, processor) -> None:
        self.model, self.processor = model, processor
        kind = model.config.model_type
        known = {"zoedepth": "metric", "dpt": "relative"}
        scale = known.get(kind) or getattr(model.config, "depth_estimation_type", None)
        require(scale is not None, f"{kind} is not a known depth model; use Depth Anything V2, ZoeDepth or Depth Pro")
        self.scale: Scale = scale

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        """Depth at the image's size; a given K is taken over and leaves depth as it is."""
        check_image(image)
        height, width = image.shape[1:]
        picture = to_uint8(image).permute(1, 2, 0).cpu().numpy()
        inputs = self.processor(images=picture, return_tensors="pt")
        outputs = self.model(**{name: value.to(self.model.device) for name, value in inputs.items()})
        down, across = (self._border(side) for side in (height, width))
        size = (height + 2 * down, width + 2 * across)
        depth = functional.interpolate(outputs.predicted_depth[:1, None].float(), size, mode="bilinear")[0, 0]
        depth = depth[down : down + height, across : across + width].contiguous()
        valid = self._seen(depth)
        if self.scale == "relative":
            depth = from_inverse(depth)
        return DepthMap.of(depth, _lens(K, TYPICAL_FOCAL * math.sqrt(height * width), depth), valid, self.scale)

    def _border(self, side: int) -> int:
        """Pixels that ZoeDepth's processor adds on each side (its own code cuts them off with torchvision only)."""
        padded = self.model.config.model_type == "zoedepth" and self.processor.do_pad
        return int(math.sqrt(side / 2) * 3) if padded else 0

    def _seen(self, depth: Tensor) -> Tensor:
        """Where the depth is not at the model's upper end."""
        largest = getattr(self.model.config, "max_depth", None)
        if self.scale == "relative" or not largest:
            return torch.ones_like(depth, dtype=torch.bool)
        return depth < _SATURATED * largest


class DepthPro:
    """Depth Pro (Bochkovskii et al., arXiv 2410.02073): metric depth and the field of view."""

    def __init__(self, model) -> None:
        self.model = model
        config = model.config
        self.side = round(config.patch_size / config.scaled_images_ratios[0])

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        """Depth at the image's size. A given K replaces the estimated focal length, and depth follows it."""
        check_image(image)
        height, width = image.shape[1:]
        signed = 2 * image[None].to(self.model.device, torch.float32) - 1
        outputs = self.model(functional.interpolate(signed, (self.side, self.side), mode="bilinear"))
        inverse = outputs.predicted_depth[:1, None].float()
        inverse = functional.interpolate(inverse, (height, width), mode="bilinear")[0, 0]
        focal = TYPICAL_FOCAL * math.sqrt(height * width)
        if outputs.field_of_view is not None:
            focal = 0.5 * width / math.tan(0.5 * math.radians(float(outputs.field_of_view.flatten()[0])))
        K = _lens(K, focal, inverse)
        # The network gives the inverse depth that a lens as long as the image is wide would see (its eq. 2).
        depth = K[0, 0] / width / inverse.clamp_min(1e-8)
        return DepthMap.of(depth, K, depth < _SATURATED * _FARTHEST, "metric")


def _lens(K: Tensor | None, focal: float, like: Float[Tensor, "h w"]) -> Float[Tensor, "3 3"]:
    """The given K, checked, or a centred one."""
    if K is None:
        return centred_K(focal, *like.shape).to(like)
    check_K(K)
    return K.to(like)


def from_inverse(inverse: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Depth from inverse depth of unknown scale and offset: its 98th percentile becomes 1, its 2nd FAR_TO_NEAR."""
    sample = inverse.flatten()[:: max(1, inverse.numel() // 2**20)]
    low, high = torch.quantile(sample, torch.tensor([0.02, 0.98], device=inverse.device))
    share = ((inverse - low) / (high - low).clamp_min(1e-12)).clamp(-0.02, 4)
    return 1 / (1 / FAR_TO_NEAR + (1 - 1 / FAR_TO_NEAR) * share)

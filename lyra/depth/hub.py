"""Depth models of the transformers package (Depth Anything V2, Depth Pro, ZoeDepth, GLPN, DPT), fetched from the hub.

Metric models give metres. Relative ones (Depth Anything's plain checkpoints, DPT) give inverse depth up to an unknown
scale and offset: it is mapped so that the 2nd and 98th percentiles lie at 20 : 1 in depth, and the depth map says
"relative". Where a model tells no field of view, that of a phone's main camera is assumed unless K is given.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lyra.depth.depth_map import DepthMap, centred_K, check_image, check_K
from lyra.io.images import to_uint8
from lyra.scene import InputError, require

TYPICAL_FOCAL = 0.885  # over the geometric mean of the sides: 26 mm on a 36 x 24 mm frame
FAR_TO_NEAR = 20.0
_METRIC = ("depth_pro", "zoedepth", "glpn")
_SATURATED = 0.99  # of a model's largest depth; beyond it sky and "far" are the same


class HubDepth:
    """A depth-estimation model of transformers with its image processor."""

    def __init__(self, model, processor) -> None:
        self.model, self.processor = model.eval(), processor
        kind = model.config.model_type
        declared = getattr(model.config, "depth_estimation_type", "relative" if kind == "dpt" else None)
        self.scale = "metric" if kind in _METRIC else declared
        require(
            self.scale in ("metric", "relative"),
            f"{kind} is not a known kind of depth model; use Depth Anything V2, Depth Pro, ZoeDepth, GLPN or DPT",
        )

    @classmethod
    def load(cls, name: str, device: str | torch.device = "cpu") -> "HubDepth":
        """From a repository name of the hub or a local folder. InputError if the package or the weights are missing."""
        try:
            from transformers import AutoImageProcessor, AutoModelForDepthEstimation
        except ImportError:
            raise InputError(
                f'the depth model "transformers:{name}" needs a package; run: pip install transformers'
            ) from None
        try:
            processor = AutoImageProcessor.from_pretrained(name)
            model = AutoModelForDepthEstimation.from_pretrained(name)
        except (OSError, ValueError, ImportError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"the depth model {name} cannot be loaded from the hub or a folder ({first})") from error
        return cls(model.to(device), processor)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        """Depth at the image's size. A given K replaces the estimated one; depth that came with an estimated focal
        length is scaled along with it."""
        check_image(image)
        height, width = image.shape[1:]
        outputs = self.model(**self._inputs(image))
        size = {"source_sizes": [(height, width)]} if self.model.config.model_type == "zoedepth" else {}
        post = self.processor.post_process_depth_estimation(outputs, target_sizes=[(height, width)], **size)[0]
        depth = post["predicted_depth"].float()
        if depth.shape != image.shape[1:]:
            depth = functional.interpolate(depth[None, None], (height, width), mode="bilinear")[0, 0]
        found = post.get("focal_length")
        focal = TYPICAL_FOCAL * math.sqrt(height * width) if found is None else float(found)
        if K is not None:
            check_K(K)
            depth = depth if found is None else depth * (math.sqrt(float(K[0, 0] * K[1, 1])) / focal)
        else:
            K = centred_K(focal, height, width)
        valid = self._seen(depth)
        if self.scale == "relative":
            depth = from_inverse(depth)
        return DepthMap.of(depth, K.to(depth), valid, self.scale)

    def _inputs(self, image: Tensor) -> dict[str, Tensor]:
        picture = to_uint8(image).permute(1, 2, 0).cpu().numpy()
        inputs = self.processor(images=picture, return_tensors="pt")
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    def _seen(self, depth: Tensor) -> Tensor:
        """Where the depth is not at the model's upper end."""
        largest = getattr(self.model.config, "max_depth", None)
        if self.scale == "relative" or not largest:
            return torch.ones_like(depth, dtype=torch.bool)
        return depth < _SATURATED * largest


def from_inverse(inverse: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Depth from inverse depth of unknown scale and offset: its 98th percentile becomes 1, its 2nd FAR_TO_NEAR."""
    sample = inverse.flatten()[:: max(1, inverse.numel() // 2**20)]
    low, high = torch.quantile(sample, torch.tensor([0.02, 0.98], device=inverse.device))
    share = ((inverse - low) / (high - low).clamp_min(1e-12)).clamp(-0.02, 4)
    return 1 / (1 / FAR_TO_NEAR + (1 - 1 / FAR_TO_NEAR) * share)

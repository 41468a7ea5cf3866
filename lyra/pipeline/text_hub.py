"""Text-to-image models of others, through diffusers' automatic pipeline (downloads if it is given a Hub name)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lyra.pipeline.job import Job
from lyra.pipeline.order import Order
from lyra.pipeline.photo import cover
from lyra.scene import InputError

_LONG_SIDE, _MULTIPLE = 1024, 32  # pixels at which such models work, and of which their sides are multiples


class HubPainter:
    """A text-to-image pipeline, loaded at once: `name` is a folder or a name on the Hugging Face Hub."""

    def __init__(self, name: str, device: torch.device) -> None:
        try:
            from diffusers import AutoPipelineForText2Image  # slow to import
        except ImportError as error:
            raise InputError('--text-model needs the package diffusers: pip install "lyra[teacher]"') from error
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            self.pipeline = AutoPipelineForText2Image.from_pretrained(name, torch_dtype=dtype).to(device)
        except (OSError, ValueError, ImportError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{name}: no text-to-image model of diffusers could be loaded from there ({reason}); give a folder "
                "with its files, or a name on the Hugging Face Hub and a connection"
            ) from error

    def __call__(self, prompt: str, candidates: int, order: Order, job: Job) -> Float[Tensor, "n 3 h w"]:
        """One picture a seed, made at the size such models like and brought to the order's."""
        form, images = order.format, []
        scale = _LONG_SIDE / max(form.width, form.height)
        height, width = (max(1, round(scale * s / _MULTIPLE)) * _MULTIPLE for s in (form.height, form.width))
        with job.stage("picture", candidates) as tell:
            for index in range(candidates):
                generator = torch.Generator().manual_seed(order.seed + index)
                made = self.pipeline(prompt=prompt, height=height, width=width, generator=generator).images[0]
                picture = torch.from_numpy(np.array(made.convert("RGB"))).permute(2, 0, 1).float() / 255
                images.append(cover(picture, form.width, form.height)[0])
                tell(index + 1)
        return torch.stack(images)

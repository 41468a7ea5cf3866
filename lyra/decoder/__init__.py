"""The splat decoder: latents of several camera paths to one set of Gaussians."""

from lyra.decoder.checkpoint import from_checkpoint
from lyra.decoder.config import MINI, RELEASED, DecoderConfig
from lyra.decoder.maps import Times
from lyra.decoder.model import SplatDecoder

__all__ = ["MINI", "RELEASED", "DecoderConfig", "SplatDecoder", "Times", "from_checkpoint"]

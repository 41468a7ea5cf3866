"""The four parts of a model, loaded one by one and only when their stage comes."""

import torch

from lyra import weights
from lyra.decoder import SplatDecoder
from lyra.depth.load import DepthModel
from lyra.depth.load import load as load_depth
from lyra.pipeline.machine import network_dtype
from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher


def hashes(model: str, parts: tuple[str, ...]) -> dict[str, str]:
    """Fingerprints of the parts that an order needs; InputError, naming all that are missing."""
    missing = [part for part in parts if not weights.has(model, part)]
    if missing:
        first = weights_error(model, missing[0])
        raise InputError(first if len(missing) == 1 else f"{first} (also missing: {', '.join(missing[1:])})")
    return {part: weights.fingerprint(weights.folder(model, part)) for part in parts}


def weights_error(model: str, part: str) -> str:
    """What is said of weights that are not there."""
    try:
        weights.folder(model, part)
    except InputError as error:
        hint = "; --quality draft needs no denoiser" if part == "denoiser" else ""
        return f"{error}{hint}"
    return ""


def depth_model(model: str, device: torch.device) -> DepthModel:
    """The depth network."""
    return load_depth(weights.folder(model, "depth"), device)


def codec(model: str, device: torch.device) -> VideoCodec:
    """The video codec."""
    return VideoCodec.load(weights.folder(model, "codec")).to(device)


def teacher(model: str, device: torch.device) -> CosmosTeacher:
    """Codec and denoiser; the denoiser computes in bfloat16 where that is fast."""
    made = CosmosTeacher.load(weights.folder(model, "denoiser"), codec(model, device))
    for name, layer in made.network.to(device).named_children():
        if name != "learnable_pos_embed":  # computed in float32 by design
            layer.to(network_dtype(device))
    return made


def decoder(model: str, device: torch.device) -> SplatDecoder:
    """The splat decoder; one that reads rays through the codec gets the codec."""
    made = SplatDecoder.load(weights.folder(model, "decoder"))
    if made.config.rays == "vae":
        made.maps.encode = codec(model, device).encode_raw
    return made.to(device).eval()

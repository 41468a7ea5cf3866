"""The four parts of a model, loaded one by one and only when their stage comes.

A model is a folder of our own layout (`lyra.weights`), or one with the published files: GEN3C and its tokenizer
(`lyra.teacher.gen3c`), and the decoder as lyra_static.pt. The published teacher brings no depth network; mini's is used
unless the folder holds depth/.
"""

from pathlib import Path

import torch

from lyra import weights
from lyra.decoder import SplatDecoder
from lyra.decoder.checkpoint import from_checkpoint
from lyra.depth.load import DepthModel
from lyra.depth.load import load as load_depth
from lyra.pipeline.job import key_of
from lyra.pipeline.machine import network_dtype
from lyra.scene import InputError
from lyra.teacher import adapter, gen3c
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher

DECODER_FILE = "lyra_static.pt"


def hashes(model: str, parts: tuple[str, ...]) -> dict[str, str]:
    """Fingerprints of these parts; InputError, naming all that are missing."""
    found, missing = {}, []
    for part in parts:
        files = _published(model, part)
        if files is not None:
            found[part] = key_of([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])[:16]
            continue
        try:
            found[part] = weights.fingerprint(_folder(model, part))
        except InputError as error:
            hint = "; --quality draft needs no denoiser" if part == "denoiser" else ""
            missing.append((part, f"{error}{hint}"))
    if missing:
        others = ", ".join(part for part, _ in missing[1:])
        raise InputError(missing[0][1] + (f" (also missing: {others})" if others else ""))
    return found


def depth_model(model: str, device: torch.device) -> DepthModel:
    """The depth network."""
    return load_depth(_folder(model, "depth"), device)


def codec(model: str, device: torch.device) -> VideoCodec:
    """The video codec."""
    if _published(model, "codec") is not None:
        return gen3c.load(weights.place(model), device=device).codec
    return VideoCodec.load(weights.folder(model, "codec")).to(device)


def teacher(model: str, device: torch.device) -> CosmosTeacher:
    """Codec and denoiser."""
    if _published(model, "denoiser") is not None:
        return gen3c.load(weights.place(model), device=device)
    return _ready(CosmosTeacher.load(weights.folder(model, "denoiser"), codec(model, device)), device)


def painter(model: str, device: torch.device) -> CosmosTeacher:
    """The teacher with its adapter for first frames from text."""
    parts = (weights.folder(model, part) for part in ("first_frame", "denoiser"))
    return _ready(adapter.load(*parts, codec(model, device)), device)


def _ready(teacher: CosmosTeacher, device: torch.device) -> CosmosTeacher:
    """On the device, computing in bfloat16 where that is fast."""
    for name, layer in teacher.network.to(device).named_children():
        if name != "learnable_pos_embed":  # computed in float32 by design
            layer.to(network_dtype(device))
    return teacher


def decoder(model: str, device: torch.device) -> SplatDecoder:
    """The splat decoder; one that reads rays through the codec gets the codec."""
    files = _published(model, "decoder")
    made = SplatDecoder.load(weights.folder(model, "decoder")) if files is None else from_checkpoint(files[0])
    if made.config.rays == "vae":
        made.maps.encode = codec(model, device).encode_raw
    return made.to(device).eval()


def _published(model: str, part: str) -> list[Path] | None:
    """The published files of a part, if this is how the model has it."""
    place = weights.place(model)
    if not gen3c.is_gen3c(place) or weights.has(model, part):
        return None
    if part == "decoder":
        return [place / DECODER_FILE] if (place / DECODER_FILE).is_file() else None
    if part == "depth":
        return None
    return sorted(path for path in place.rglob("*") if path.suffix in (".pt", ".jit", ".safetensors"))


def _folder(model: str, part: str) -> Path:
    """The folder of a part in our own layout; the depth network of mini stands in for a missing one."""
    lent = part == "depth" and gen3c.is_gen3c(weights.place(model)) and not weights.has(model, part)
    return weights.folder("mini" if lent else model, part)

"""The published teacher, GEN3C-Cosmos-7B with the tokenizer Cosmos-Tokenize1-CV8x8x8-720p, from the files users have.

Two layouts are read: the folder of the release,

    Gen3C-Cosmos-7B/model.pt
    Cosmos-Tokenize1-CV8x8x8-720p/{encoder.jit and decoder.jit, or autoencoder.jit, or model.pt}, mean_std.pt

and a folder of diffusers with transformer/ and vae/, which `convert` writes once from the former: safetensors in
pieces, which load faster and hold nothing that could run.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lyra.io.atomic import replacing_folder
from lyra.scene import InputError, require
from lyra.teacher.codec import VideoCodec
from lyra.teacher.convert import gen3c_state, load_strict, read_checkpoint, read_plain, tokenizer_state
from lyra.teacher.cosmos import CosmosConfig, CosmosTeacher, build
from lyra.teacher.offload import place
from lyra.vae.causal_vae import VaeConfig

NETWORK_FOLDERS = ("Gen3C-Cosmos-7B", "GEN3C-Cosmos-7B")
TOKENIZER_FOLDER = "Cosmos-Tokenize1-CV8x8x8-720p"
_TOKENIZER_FILES = (("encoder.jit", "decoder.jit"), ("autoencoder.jit",), ("model.pt",))  # the first that is there
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_VAE_NAMES = {
    "encoder_block_out_channels": "encoder_channels",
    "decode_block_out_channels": "decoder_channels",
    "latent_channels": "latent_channels",
    "num_layers": "layers",
    "attention_resolutions": "attention_resolutions",
    "patch_size": "patch",
    "spatial_compression_ratio": "space",
    "temporal_compression_ratio": "time",
}
_NETWORK_NAMES = {
    "num_attention_heads": "heads",
    "attention_head_dim": "head_dim",
    "num_layers": "blocks",
    "mlp_ratio": "mlp_ratio",
    "text_embed_dim": "text_channels",
    "adaln_lora_dim": "adaln_rank",
    "max_size": "max_size",
    "rope_scale": "rope_scale",
    "out_channels": "latent_channels",
}


@dataclass(frozen=True)
class Gen3cSizes:
    """Sizes of the two networks in the released files, which do not say them; the defaults are the release."""

    network: CosmosConfig = field(default_factory=CosmosConfig)
    codec: VaeConfig = field(default_factory=VaeConfig)


def is_gen3c(folder: str | os.PathLike) -> bool:
    """Whether a folder has one of the two layouts."""
    folder = Path(folder)
    return _is_diffusers(folder) or any((folder / name / "model.pt").is_file() for name in NETWORK_FOLDERS)


def load(
    folder: str | os.PathLike,
    *,
    device: torch.device | str = "cpu",
    memory: str = "full",
    dtype: torch.dtype = torch.bfloat16,
    sizes: Gen3cSizes | None = None,
) -> CosmosTeacher:
    """The teacher, ready to work on `device`; `memory` is explained at `offload.place`.

    Load it once: any number of paths can be conditioned and sampled with it, each with its own seed. Raises InputError
    if files are missing, hold anything but tensors, or do not fit.
    """
    folder = Path(folder)
    if _is_diffusers(folder):
        network, config = _diffusers_network(folder / "transformer", dtype)
        codec = _diffusers_codec(folder / "vae")
    else:
        sizes = sizes or Gen3cSizes()
        network, config = _released_network(folder, sizes.network, dtype), sizes.network
        codec = _released_codec(folder / TOKENIZER_FOLDER, sizes.codec)
    require(
        codec.spec.channels == config.latent_channels,
        f"{folder}: the network works on {config.latent_channels} latent channels, the codec on {codec.spec.channels}",
    )
    for part in codec.vae.children():
        part.to(dtype)
    teacher = CosmosTeacher(codec.eval().requires_grad_(False), network.eval().requires_grad_(False), config)
    place(teacher, torch.device(device), memory)
    return teacher


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    dtype: torch.dtype = torch.bfloat16,
    piece: str = "4GB",
    sizes: Gen3cSizes | None = None,
) -> None:
    """Write the release as a diffusers folder: transformer/ in pieces of at most `piece`, vae/ with its statistics.

    The folder appears whole or not at all; the stock diffusers classes read it too.
    """
    teacher = load(source, dtype=dtype, sizes=sizes)
    mean, std = teacher.codec.mean, teacher.codec.std
    teacher.codec.vae.register_to_config(latents_mean=mean.flatten().tolist(), latents_std=std.flatten().tolist())
    with replacing_folder(target, "transformer/config.json") as temporary:
        teacher.network.save_pretrained(temporary / "transformer", max_shard_size=piece)
        teacher.codec.vae.save_pretrained(temporary / "vae", max_shard_size=piece)


def _is_diffusers(folder: Path) -> bool:
    return all((folder / part / "config.json").is_file() for part in ("transformer", "vae"))


def _network(config: CosmosConfig, state: Mapping[str, Tensor], dtype: torch.dtype, what: str) -> nn.Module:
    """The transformer around these tensors, without memory for a random start."""
    with torch.device("meta"):
        network = build(config)
    load_strict(network, {key: value.to(dtype) for key, value in state.items()}, what, assign=True)
    return network


def _released_network(folder: Path, config: CosmosConfig, dtype: torch.dtype) -> nn.Module:
    paths = [folder / name / "model.pt" for name in NETWORK_FOLDERS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(
            f"{folder}: holds neither {NETWORK_FOLDERS[0]}/model.pt nor transformer/ and vae/; give the folder with "
            f"the released files {NETWORK_FOLDERS[0]}/ and {TOKENIZER_FOLDER}/"
        )
    return _network(config, gen3c_state(read_checkpoint(path)), dtype, str(path))


def _released_codec(folder: Path, config: VaeConfig) -> VideoCodec:
    found = next((files for files in _TOKENIZER_FILES if all((folder / file).is_file() for file in files)), None)
    require(found is not None, f"{folder}: holds no tokenizer (encoder.jit and decoder.jit, or autoencoder.jit)")
    table = folder / "mean_std.pt"
    require(table.is_file(), f"{folder}: mean_std.pt, the statistics of the latents, is missing")
    values = read_plain(table)
    pair = isinstance(values, list | tuple) and len(values) == 2 and all(isinstance(v, Tensor) for v in values)
    require(
        pair and all(v.numel() % config.latent_channels == 0 for v in values),
        f"{table}: must hold mean and std with {config.latent_channels} channels",
    )
    state = {}
    for file in found:
        state |= read_checkpoint(folder / file)
    codec = VideoCodec(config, *(v.float().reshape(config.latent_channels, -1) for v in values))
    load_strict(codec.vae, tokenizer_state(state), str(folder))
    return codec


def _diffusers_network(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, CosmosConfig]:
    values = _config(folder, "CosmosTransformer3DModel")
    config = CosmosConfig(**_renamed(values, _NETWORK_NAMES, folder))
    channels = values["in_channels"] + (1 if values.get("concat_padding_mask", True) else 0)
    buffers, rest = divmod(channels - config.latent_channels - 2, 2 * config.latent_channels)
    require(
        rest == 0 and buffers >= 1,
        f"{folder}: a network with {values['in_channels']} input channels has no place for warped caches",
    )
    config = replace(config, buffers=buffers)
    return _network(config, _pieces(folder), dtype, str(folder)), config


def _diffusers_codec(folder: Path) -> VideoCodec:
    values = _config(folder, "AutoencoderKLCosmos")
    config = VaeConfig(**_renamed(values, _VAE_NAMES, folder))
    tables = [values.get(name) for name in ("latents_mean", "latents_std")]
    require(all(tables), f"{folder}: config.json has no latents_mean and latents_std")
    codec = VideoCodec(config, *(torch.tensor(table).reshape(config.latent_channels, -1) for table in tables))
    load_strict(codec.vae, _pieces(folder), str(folder))
    return codec


def _config(folder: Path, wanted: str) -> dict:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'}: cannot be read ({error})") from error
    found = values.get("_class_name") if isinstance(values, dict) else None
    require(found == wanted, f"{folder / 'config.json'}: describes {found}, not {wanted}")
    return values


def _renamed(values: dict, names: dict[str, str], folder: Path) -> dict:
    missing = sorted(names.keys() - values.keys())
    require(not missing, f"{folder / 'config.json'}: lacks {', '.join(missing)}")
    return {ours: tuple(v) if isinstance(v := values[theirs], list) else v for theirs, ours in names.items()}


def _pieces(folder: Path) -> dict[str, Tensor]:
    """The tensors of a diffusers folder, which may be cut into several files."""
    index = folder / f"{_WEIGHTS}.index.json"
    if not index.is_file():
        return read_checkpoint(folder / _WEIGHTS)
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    require(all(Path(name).name == name for name in names), f"{index}: names files outside of its folder")
    state = {}
    for name in names:
        state |= read_checkpoint(folder / name)
    return state

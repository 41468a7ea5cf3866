"""Names of the published checkpoints, mapped to those of the diffusers classes.

Cosmos-Tokenize1-CV8x8x8 (`encoder.jit`, `decoder.jit`, `model.pt`) and Gen3C-Cosmos-7B (`model.pt`). Every tensor must
find its place: unknown or missing names are an InputError, so that a changed checkpoint cannot load half.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lyra.scene import InputError, require
from lyra.teacher.torchscript import read_torchscript

Rules = Sequence[tuple[str, str]]

_TOKENIZER_DROP = (r"\.wavelets$", r"\._arange$", r"\.patch_size_buffer$")
_TOKENIZER_RULES: Rules = (
    (r"\.conv3d\.", "."),
    (r"\.(conv_in|conv_out|conv1|conv2)\.0\.(weight|bias)$", r".\1.conv_s.\2"),
    (r"\.(conv_in|conv_out|conv1|conv2)\.1\.(weight|bias)$", r".\1.conv_t.\2"),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.down\.(\d+)\.block\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.(\d+)\.", r".up_blocks.\1.resnets.\2."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.0\.", ".mid_block.attentions.0."),
    (r"\.mid\.attn_1\.1\.", ".mid_block.temp_attentions.0."),
    (r"\.(q|k|v)\.(weight|bias)$", r".to_\1.\2"),
    (r"\.proj_out\.", ".to_out.0."),
)

_GEN3C_DROP = (r"^logvar\.", r"^pos_embedder\.", r"_extra_state$", r"^accum_", r"^augment_sigma_embedder\.")
_GEN3C_RULES: Rules = (
    (r"^x_embedder\.proj\.1\.", "patch_embed.proj."),
    (r"^extra_pos_embedder\.", "learnable_pos_embed."),
    (r"^t_embedder\.1\.", "time_embed.t_embedder."),
    (r"^affline_norm\.", "time_embed.norm."),
    (r"^final_layer\.linear\.", "proj_out."),
    (r"^final_layer\.adaLN_modulation\.(\d)\.", r"norm_out.linear_\1."),
    (r"^blocks\.block(\d+)\.blocks\.", r"transformer_blocks.\1."),
    (r"^(transformer_blocks\.\d+\.)2\.block\.layer1\.", r"\1ff.net.0.proj."),
    (r"^(transformer_blocks\.\d+\.)2\.block\.layer2\.", r"\1ff.net.2."),
    (r"^(transformer_blocks\.\d+\.)0\.block\.attn\.", r"\1attn1."),
    (r"^(transformer_blocks\.\d+\.)1\.block\.attn\.", r"\1attn2."),
    (r"\.to_(q|k)\.1\.", r".norm_\1."),
    (r"\.to_(q|k|v)\.0\.", r".to_\1."),
    (r"^(transformer_blocks\.\d+\.)0\.adaLN_modulation\.(\d)\.", r"\1norm1.linear_\2."),
    (r"^(transformer_blocks\.\d+\.)1\.adaLN_modulation\.(\d)\.", r"\1norm2.linear_\2."),
    (r"^(transformer_blocks\.\d+\.)2\.adaLN_modulation\.(\d)\.", r"\1norm3.linear_\2."),
)


def tokenizer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cosmos tokenizer names to `AutoencoderKLCosmos` names (up blocks are counted from the other end there)."""
    renamed = _rename(state, _TOKENIZER_DROP, _TOKENIZER_RULES)
    ups = [int(match[1]) for key in renamed if (match := re.search(r"\.up_blocks\.(\d+)\.", key))]
    last = max(ups, default=0)
    return {
        re.sub(r"\.up_blocks\.(\d+)\.", lambda match: f".up_blocks.{last - int(match[1])}.", key): value
        for key, value in renamed.items()
    }


def gen3c_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GEN3C names, with or without the prefix `net.`, to `CosmosTransformer3DModel` names."""
    bare = {key.removeprefix("net."): value for key, value in state.items()}
    return _rename(bare, _GEN3C_DROP, _GEN3C_RULES)


def _rename(state: Mapping[str, Tensor], drop: Sequence[str], rules: Rules) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        if any(re.search(pattern, key) for pattern in drop):
            continue
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def load_strict(module: nn.Module, state: Mapping[str, Tensor], what: str, *, assign: bool = False) -> None:
    """Copy `state` into `module`; unknown names, missing names and other shapes are an InputError.

    With `assign` the tensors themselves become the parameters: for modules on the meta device.
    """
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    require(
        not missing and not unknown,
        f"{what}: the checkpoint does not fit this network; missing {missing[:4]} ({len(missing)}), "
        f"unknown {unknown[:4]} ({len(unknown)})",
    )
    shapes = [f"{key} {list(state[key].shape)} for {list(own[key].shape)}" for key in own]
    wrong = [text for key, text in zip(own, shapes, strict=True) if state[key].shape != own[key].shape]
    require(not wrong, f"{what}: {len(wrong)} tensors have other shapes than the network, first {wrong[:1]}")
    module.load_state_dict(state, assign=assign)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .pt/.pth, .safetensors or TorchScript .jit file; nothing but tensors is unpickled, no code runs.

    Tensors of .pt and .safetensors files stay in the file until they are used, so that 14 GB need no 14 GB of memory.
    """
    path = Path(path)
    require(path.is_file(), f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path}: damaged or cut short ({error}); fetch it again") from error
    if path.suffix == ".jit":
        return read_torchscript(path)
    content = read_plain(path)
    for wrapper in ("model", "module", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    require(isinstance(content, Mapping), f"{path} holds no table of tensors")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def read_plain(path: str | Path) -> object:
    """What torch.save wrote, if it consists of tensors and plain values; else an InputError."""
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: holds more than tensors, or is damaged ({reason})") from error

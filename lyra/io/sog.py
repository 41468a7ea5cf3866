"""PlayCanvas `.sog` version 2: a zip of lossless WebP images, one pixel a Gaussian, and a `meta.json`.

Positions are 16 bits of sign(v) ln(1 + |v|); scales and colours index codebooks of 256 values; SH of degree 1 to 3
index a palette of up to 65,536 entries. Axes are ours (OpenCV), unchanged.
"""

import io
import json
import math
import os
import zipfile

import numpy as np
from PIL import Image

from lyra.io import storage
from lyra.io.atomic import replacing_file
from lyra.io.palette import codebook, palette
from lyra.scene import Gaussians, InputError, require

_MAX_META = 1 << 20
_BANDS = {1: 3, 2: 8, 3: 15}  # SH coefficients beyond the first


def save(scene: Gaussians, path: str | os.PathLike) -> None:
    """Write `scene`, in spatial order; provenance is lost.

    View-dependent colour is exact to its codebook for up to 65,536 Gaussians and shared between similar ones above.
    """
    scene = storage.to_write(scene, path)
    n, order = len(scene), storage.morton_order(scene.means.numpy())
    low, high = _fold(scene.means.amin(0).numpy()), _fold(scene.means.amax(0).numpy())
    scale_book, scale_codes = codebook(storage.log_scale(scene.scales.numpy()))
    colour_book, colour_codes = codebook(scene.sh[:, 0].numpy())
    octets = storage.gathered(n, (_octets(scene, order[rows], low, high) for rows in storage.blocks(n)))
    images = {
        "means_l.webp": _image(octets["low"]),
        "means_u.webp": _image(octets["high"]),
        "quats.webp": _image(octets["turn"]),
        "scales.webp": _image(scale_codes[order]),
        "sh0.webp": _image(np.concatenate([colour_codes[order], octets["opacity"]], 1)),
    }
    meta = {
        "version": 2, "asset": {"generator": "Lyra"}, "count": n,
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_book.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": colour_book.tolist(), "files": ["sh0.webp"]},
    }  # fmt: skip
    if scene.sh_degree > 0:
        meta["shN"], more = _pack_sh(scene.sh.flatten(1)[:, 3:].numpy(), order)
        images |= more
    with replacing_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, image in images.items():
            archive.writestr(zipfile.ZipInfo(name), image)
        archive.writestr(zipfile.ZipInfo("meta.json"), json.dumps(meta))


def _fold(means: np.ndarray) -> np.ndarray:
    """sign(v) ln(1 + |v|) in float64: fine steps near the origin, coarse ones far away."""
    means = means.astype(np.float64)
    return np.sign(means) * np.log1p(np.abs(means))


def _octets(scene: Gaussians, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
    """Position, rotation and opacity of some Gaussians, as uint8."""
    folded = _fold(scene.means.numpy()[rows])
    fixed = np.rint((folded - low) / np.where(high > low, high - low, 1) * 65535).astype(np.uint16)
    largest, others = storage.smallest_three(scene.quats.numpy()[rows])
    turn = np.concatenate([np.rint(others * 127.5 + 127.5), 252 + largest[:, None]], 1)
    opacity = np.rint(scene.opacities.numpy()[rows, None] * 255)
    columns = {"low": fixed & 255, "high": fixed >> 8, "turn": turn, "opacity": opacity}
    return {name: column.astype(np.uint8) for name, column in columns.items()}


def _pack_sh(rest: np.ndarray, order: np.ndarray) -> tuple[dict, dict[str, bytes]]:
    """The shN entry of meta.json and its two images, of coefficients [n, 3 (k - 1)] in file order `order`."""
    degree = math.isqrt(rest.shape[1] // 3)
    entries, labels = palette(rest, order=order)
    book, codes = codebook(entries)
    count = len(entries)
    grid = np.zeros((math.ceil(count / 64) * 64, codes.shape[1]), np.uint8)
    grid[:count] = codes
    centroids = grid.reshape(-1, 64 * _BANDS[degree], 3)
    names = ["shN_centroids.webp", "shN_labels.webp"]
    images = {
        names[0]: _encode(np.dstack([centroids, np.full(centroids.shape[:2], 255, np.uint8)])),
        names[1]: _image(np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], 1)),
    }
    return {"count": count, "bands": degree, "codebook": book.tolist(), "files": names}, images


def _image(values: np.ndarray) -> bytes:
    """One pixel a Gaussian, row by row in a nearly square image; opaque unless four values are given."""
    n, channels = values.shape
    width = math.ceil(math.sqrt(n) / 4) * 4
    pixels = np.zeros((math.ceil(n / width) * width, 4), np.uint8)
    pixels[:, 3] = 255
    pixels[:n, :channels] = values
    return _encode(pixels.reshape(-1, width, 4))


def _encode(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    # exact: colours under zero opacity count; method 0 is ten times faster than the default and 2 % larger
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exact=True, method=0, quality=20)
    return out.getvalue()


def load(path: str | os.PathLike) -> Gaussians:
    """Read a `.sog` archive of version 2; InputError if it is damaged or of another kind."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: is not a whole .sog archive ({error})") from error
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its meta.json is not what a .sog archive needs ({error})") from error


def _read(archive: zipfile.ZipFile, path: str | os.PathLike) -> Gaussians:
    meta = json.loads(_member(archive, "meta.json", _MAX_META, path))
    require(isinstance(meta, dict) and meta.get("version") == 2, f"{path}: is not a .sog archive of version 2")
    n = meta["count"]
    require(type(n) is int and n > 0, f"{path}: holds no Gaussians (its meta.json promises {n!r})")

    def pixels(entry: dict, which: int = 0) -> np.ndarray:
        image = _decode_image(archive, entry["files"][which], path).reshape(-1, 4)
        require(len(image) >= n, f"{path}: {entry['files'][which]} has {len(image)} pixels for {n} Gaussians")
        return image[:n]

    def book(entry: dict) -> np.ndarray:
        values = np.asarray(entry["codebook"], np.float32)
        require(values.shape == (256,), f"{path}: has a codebook of {values.size} values instead of 256")
        return values

    low, high = (np.asarray(meta["means"][name], np.float64) for name in ("mins", "maxs"))
    require(low.shape == high.shape == (3,), f"{path}: its meta.json gives no range of positions")
    lower, upper, turn = pixels(meta["means"]), pixels(meta["means"], 1), pixels(meta["quats"])
    require(bool((turn[:, 3] >= 252).all()), f"{path}: its rotations are damaged")
    scales, sh0 = pixels(meta["scales"]), pixels(meta["sh0"])
    scale_book, colour_book = book(meta["scales"]), book(meta["sh0"])
    if "shN" in meta:
        labels, rest_book = pixels(meta["shN"], 1), book(meta["shN"])
        which = labels[:, 0] | labels[:, 1].astype(np.uint16) << 8
        table = _sh_table(archive, meta["shN"], int(which.max()) + 1, path)

    def decoded(rows: slice) -> dict[str, np.ndarray]:
        fixed = lower[rows, :3].astype(np.uint16) | upper[rows, :3].astype(np.uint16) << 8
        folded = low + (high - low) * (fixed / 65535)
        largest, others = turn[rows, 3].astype(np.intp) - 252, turn[rows, :3].astype(np.float32) / 127.5 - 1
        coefficients = [colour_book[sh0[rows, :3]][:, None]]
        if "shN" in meta:
            coefficients.append(rest_book[table[which[rows]]])
        return {
            "means": (np.sign(folded) * np.expm1(np.abs(folded))).astype(np.float32),
            "quats": storage.from_smallest_three(largest, others),
            "scales": np.exp(scale_book[scales[rows, :3]]),
            "opacities": sh0[rows, 3].astype(np.float32) / 255,
            "sh": np.concatenate(coefficients, 1),
        }

    with np.errstate(over="ignore", invalid="ignore"):
        return storage.to_scene(path, **storage.gathered(n, (decoded(rows) for rows in storage.blocks(n))))[0]


def _sh_table(archive: zipfile.ZipFile, entry: dict, needed: int, path: str | os.PathLike) -> np.ndarray:
    """The SH palette [entries, k - 1, 3] as indices into its codebook; it must have the entries that are `needed`."""
    bands = _BANDS[entry["bands"]]
    centroids = _decode_image(archive, entry["files"][0], path)
    require(centroids.shape[1] == 64 * bands, f"{path}: its SH palette is {centroids.shape[1]} pixels wide")
    table = centroids[:, :, :3].reshape(-1, bands, 3)
    require(needed <= len(table), f"{path}: refers to SH palette entries that are not there")
    return table


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: str | os.PathLike) -> bytes:
    """A file of the archive, of at most `limit` bytes."""
    require(name in archive.namelist(), f"{path}: lacks {name}")
    info = archive.getinfo(name)
    require(info.file_size <= limit, f"{path}: {name} claims {info.file_size} bytes; at most {limit} make sense")
    storage.check_inflation(path, info.compress_size, info.file_size)
    return archive.read(info)


def _decode_image(archive: zipfile.ZipFile, name: str, path: str | os.PathLike) -> np.ndarray:
    """Pixels [h, w, 4] of an image in the archive."""
    data = _member(archive, name, 1 << 30, path)
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]) as image:
            # a lossless image of one colour takes a few bytes, so the limit has to be absolute
            require(image.width * image.height <= 1 << 27, f"{path}: {name} claims {image.size} pixels; too many")
            return np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: {name} is not a whole image ({error})") from error

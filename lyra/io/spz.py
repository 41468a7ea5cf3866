"""Niantic `.spz`: versions 1 to 3 are one gzip stream, version 4 one zstd stream an attribute (extra `zstd`).

Positions are 24-bit fixed point, everything else 8 bits or the smallest three of a quaternion (x, y, z, w). Axes are
those of PLY (OpenCV, ours), unchanged, as most tools write them, or "rub" (x right, y up, z back), as Niantic's
documents say: the file itself does not tell (docs/formats.md).
"""

import itertools
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from lyra.io import storage
from lyra.io.atomic import replacing_file
from lyra.scene import Gaussians, InputError, require

MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")  # magic, version, count, SH degree, fractional bits, flags, reserved or streams
_LIMIT = 2**23 - 1
_COLOUR = np.float32(0.15 * 255)


def save(
    scene: Gaussians,
    path: str | os.PathLike,
    *,
    version: int = 3,
    sh_bits: tuple[int, int] = (8, 8),
    axes: str = "ply",
) -> None:
    """Write `scene`; provenance is lost.

    `version` 3 is what every reader knows; 4 needs the extra `zstd`. `sh_bits` (each 1 to 8) are kept of degree 1 and
    of degrees 2 and 3: (8, 8) is the most faithful, Niantic's (5, 4) smaller. The position step is 2^-16 units, finer
    for finer scenes, coarser where the scene reaches beyond +-128 units. Raises InputError
    for scenes that are empty, not finite or reach beyond +-8.3 million units.
    """
    require(version in (3, 4), f"{path}: SPZ can be written as version 3 or 4, got {version!r}")
    require(all(1 <= b <= 8 for b in sh_bits), f"{path}: sh_bits must be two numbers from 1 to 8, got {sh_bits!r}")
    scene = _turned(storage.to_write(scene, path), axes, path)
    fraction = _fraction_bits(scene, path)
    _warn_if_clipped(scene, path)
    blocks = (scene[rows] for rows in storage.blocks(len(scene)))
    streams = list(zip(*(_encode(block, fraction, sh_bits) for block in blocks), strict=True))
    fields = [MAGIC, version, len(scene), scene.sh_degree, fraction, 0]
    with replacing_file(path) as temporary, open(temporary, "wb") as file:
        if version == 3:
            packer = zlib.compressobj(6, wbits=31)
            file.write(packer.compress(_HEADER.pack(*fields, 0)))
            for part in itertools.chain.from_iterable(streams):
                file.write(packer.compress(part))
            file.write(packer.flush())
        else:
            raw = [b"".join(stream) for stream in streams]
            packed = [_zstd(path).ZstdCompressor(level=12).compress(stream) for stream in raw]
            file.write(_HEADER.pack(*fields, len(packed)) + struct.pack("<I12x", 32))
            file.write(b"".join(struct.pack("<QQ", len(p), len(r)) for p, r in zip(packed, raw, strict=True)))
            file.write(b"".join(packed))


def _turned(scene: Gaussians, axes: str, path: str | os.PathLike) -> Gaussians:
    """From our axes to those named, or back: the same half turn about x."""
    require(axes in ("ply", "rub"), f"{path}: the axes of SPZ must be 'ply' or 'rub', got {axes!r}")
    return scene if axes == "ply" else scene.transform(torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])))


def _fraction_bits(scene: Gaussians, path: str | os.PathLike) -> int:
    """16, more where a twentieth of the median scale asks for it, fewer where 24 bits would not reach.

    Other writers take 12; steps of 0.24 mm swap Gaussians at almost the same depth, which can be seen (41 dB).
    """
    reach = max(float(scene.means.abs().max()), 1e-30)
    require(reach <= _LIMIT, f"{path}: positions reach {reach:.3g} units, but SPZ holds only +-{_LIMIT}; scale it down")
    wanted = int(np.ceil(-np.log2(max(0.05 * float(scene.scales.median()), 1e-9))))
    possible = int(np.floor(np.log2(_LIMIT / reach)))
    if possible < 12:
        storage.log.warning(
            "%s: positions reach %.4g units, so SPZ stores them in steps of %.3g units; .ply or .lyra4d are exact",
            path, reach, 2.0**-possible,
        )  # fmt: skip
    return max(0, min(max(16, wanted), possible, 24))


def _warn_if_clipped(scene: Gaussians, path: str | os.PathLike) -> None:
    outside = int(((scene.scales < 4.4e-5) | (scene.scales > 390)).any(1).sum())
    if outside:
        storage.log.warning("%s: %d Gaussians are smaller than 4.5e-5 or larger than 380 units; clipped", path, outside)


def _encode(scene: Gaussians, fraction: int, sh_bits: tuple[int, int]) -> list[bytes]:
    """The attribute streams of some Gaussians in file order (SH only if there is any)."""
    fixed = np.rint(scene.means.numpy().astype(np.float64) * 2.0**fraction).astype("<i4")
    largest, others = storage.smallest_three(scene.quats.numpy()[:, [1, 2, 3, 0]])
    magnitude = np.floor(np.abs(others) * 511 + 0.5).clip(max=511).astype(np.uint32)
    signed = magnitude | ((others < 0).astype(np.uint32) << np.uint32(9))
    turn = largest.astype("<u4")
    for i in range(3):
        turn = (turn << np.uint32(10)) | signed[:, i]
    streams = [
        fixed.view(np.uint8).reshape(-1, 4)[:, :3],
        np.rint(scene.opacities.numpy() * 255).astype(np.uint8),
        np.rint(scene.sh[:, 0].numpy() * _COLOUR + 127.5).clip(0, 255).astype(np.uint8),
        np.rint((storage.log_scale(scene.scales.numpy()) + 10) * 16).clip(0, 255).astype(np.uint8),
        turn.astype("<u4"),
    ]
    if scene.sh_degree > 0:
        streams.append(_encode_sh(scene.sh[:, 1:].numpy(), sh_bits))
    return [stream.tobytes() for stream in streams]


def _encode_sh(rest: np.ndarray, sh_bits: tuple[int, int]) -> np.ndarray:
    """Coefficients [n, k - 1, 3] in steps of 1/128 around 128, rounded to bucket centres of fewer bits."""
    octets = np.rint(rest * 128).astype(np.int16) + 128
    for band, bits in ((slice(0, 3), sh_bits[0]), (slice(3, None), sh_bits[1])):
        bucket = 1 << (8 - bits)
        octets[:, band] = (octets[:, band] + bucket // 2) // bucket * bucket
    return octets.clip(0, 255).astype(np.uint8)


def load(path: str | os.PathLike, *, axes: str = "ply") -> Gaussians:
    """Read SPZ of version 1 to 4 with SH degree 0 to 3, whose axes are those named.

    Raises InputError if the file is damaged or of another kind.
    """
    data = Path(path).read_bytes()
    read = _load_streams if data[:4] == MAGIC else _load_gzip
    return _turned(read(data, path), axes, path)


def _load_gzip(data: bytes, path: str | os.PathLike) -> Gaussians:
    """Versions 1 to 3: header and streams in one gzip stream."""
    require(data[:2] == b"\x1f\x8b", f"{path}: is not an SPZ file (neither gzip nor a version 4 header)")
    try:
        head = zlib.decompressobj(wbits=31).decompress(data, _HEADER.size)
    except zlib.error as error:
        raise InputError(f"{path}: its compressed data is damaged ({error})") from error
    require(len(head) == _HEADER.size and head[:4] == MAGIC, f"{path}: is gzip, but no SPZ file is inside")
    _, version, count, degree, fraction, _, _ = _HEADER.unpack(head)
    require(1 <= version <= 3, f"{path}: is SPZ version {version} in gzip; versions 1 to 3 are known")
    sizes = _sizes(version, count, degree, fraction, path)
    raw = np.frombuffer(storage.inflate(path, data, _HEADER.size + sum(sizes)), np.uint8)[_HEADER.size :]
    streams = np.split(raw, np.cumsum(sizes)[:-1])
    return _decode(streams, version, degree, fraction, path)


def _sizes(version: int, count: int, degree: int, fraction: int, path: str | os.PathLike) -> list[int]:
    """Bytes of each attribute stream."""
    require(count > 0, f"{path}: holds no Gaussians")
    require(degree <= 3, f"{path}: has SH degree {degree}; degrees 0 to 3 can be read")
    require(fraction <= 30, f"{path}: claims {fraction} fractional bits for its 24-bit positions; it is damaged")
    per = [6 if version == 1 else 9, 1, 3, 3, 3 if version < 3 else 4, 3 * ((degree + 1) ** 2 - 1)]
    return [count * size for size in per]


def _decode(streams: list[np.ndarray], version: int, degree: int, fraction: int, path: str | os.PathLike) -> Gaussians:
    n = len(streams[1])
    records = [stream.reshape(n, -1) for stream in streams]
    parts = (_decode_block([part[rows] for part in records], version, degree, fraction) for rows in storage.blocks(n))
    return storage.to_scene(path, **storage.gathered(n, parts))[0]


def _decode_block(records: list[np.ndarray], version: int, degree: int, fraction: int) -> dict[str, np.ndarray]:
    """The columns of some Gaussians, of the bytes [n, ...] that each attribute stream holds of them."""
    positions, alphas, colours, scales, turns, rest = records
    n = len(alphas)
    if version == 1:
        means = positions.view("<f2").astype(np.float32)
    else:
        wide = np.zeros((3 * n, 4), np.uint8)
        wide[:, 1:] = positions.reshape(-1, 3)  # into the upper bytes, so that the shift below extends the sign
        means = ((wide.view("<i4") >> 8).reshape(n, 3) * 2.0**-fraction).astype(np.float32)
    if version < 3:
        xyz = turns.astype(np.float32) / 127.5 - 1
        w = np.sqrt(np.maximum(0, 1 - np.einsum("ni,ni->n", xyz, xyz)))
        quats = np.concatenate([w[:, None], xyz], 1)
    else:
        turn = np.ascontiguousarray(turns).view("<u4")[:, 0]
        parts = np.stack([turn >> 20, turn >> 10, turn], 1)
        others = (parts & 511).astype(np.float32) / 511 * np.where(parts & 512, np.float32(-1), np.float32(1))
        quats = storage.from_smallest_three((turn >> 30).astype(np.intp), others)[:, [3, 0, 1, 2]]
    sh = np.empty((n, (degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (colours - np.float32(127.5)) / _COLOUR
    sh[:, 1:] = rest.reshape(n, -1, 3)
    sh[:, 1:] -= 128
    sh[:, 1:] /= 128
    linear = np.exp(scales.astype(np.float32) / 16 - 10)
    opacities = alphas[:, 0].astype(np.float32) / 255
    return {"means": means, "quats": quats, "scales": linear, "opacities": opacities, "sh": sh}


def _load_streams(data: bytes, path: str | os.PathLike) -> Gaussians:
    """Version 4: header of 32 bytes, a table of stream sizes, the streams."""
    require(len(data) >= 32, f"{path}: is cut short in its header of 32 bytes")
    _, version, count, degree, fraction, _, number = _HEADER.unpack_from(data)
    (table,) = struct.unpack_from("<I", data, 16)
    require(version == 4, f"{path}: is SPZ version {version}; versions 1 to 4 are known")
    sizes = _sizes(version, count, degree, fraction, path)
    wanted = [size for size in sizes if size > 0]
    at = table + 16 * number
    require(number == len(wanted) and table >= 32 and at <= len(data), f"{path}: its table of streams is damaged")
    streams = []
    for i, size in enumerate(wanted):
        packed, unpacked = struct.unpack_from("<QQ", data, table + 16 * i)
        fits = unpacked == size and at + packed <= len(data)
        require(fits, f"{path}: stream {i} does not have the promised size; the file is cut short or damaged")
        storage.check_inflation(path, packed, size)
        zstandard = _zstd(path)
        try:
            raw = zstandard.ZstdDecompressor().decompress(data[at : at + packed], max_output_size=size)
        except zstandard.ZstdError as error:
            raise InputError(f"{path}: its compressed data is damaged ({error})") from error
        require(len(raw) == size, f"{path}: stream {i} unpacks to {len(raw)} bytes instead of {size}")
        streams.append(np.frombuffer(raw, np.uint8))
        at += packed
    if len(streams) == 5:
        streams.append(np.zeros(0, np.uint8))
    return _decode(streams, version, degree, fraction, path)


def _zstd(path: str | os.PathLike):
    """The optional module zstandard."""
    try:
        import zstandard
    except ImportError as error:
        raise InputError(f"{path}: SPZ version 4 needs zstandard; pip install 'lyra-3d[zstd]'") from error
    return zstandard

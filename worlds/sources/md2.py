"""MD2, Quake 2's vertex-animated models, as UFO:AI uses them for props (one frame is kept).

    17 i32: "IDP2", 8, skin width, skin height, frame size, skins, vertices, uvs, triangles, commands, frames,
    then the offsets of skins (char[64]), uvs (i16[2] texels), triangles (u16[3] vertices, u16[3] uvs), frames
    frame: f32[3] scale, f32[3] offset, char[16] name, of each vertex u8[3] position and u8 normal number

z is up and x ahead, as in the maps.
"""

import struct

import numpy as np

from worlds.errors import WorldsError


def read_md2(data: bytes, name: str, frame: int = 0) -> tuple[np.ndarray, np.ndarray, str]:
    """Corner positions f64 [f, 3, 3] (game units), uvs f64 [f, 3, 2] and the first skin's name ("" if none).
    WorldsError if the file is foreign or damaged."""
    if data[:4] != b"IDP2":
        raise WorldsError(f"{name} is not an MD2 model")
    try:
        head = struct.unpack_from("<17i", data)
        width, height, size, skins, count, uv_count, faces = head[2:9]
        frames, at_skins, at_uvs, at_faces, at_frames = head[10:15]
        uvs = np.frombuffer(data, "<i2", 2 * uv_count, at_uvs).reshape(-1, 2) / (width, height)
        table = np.frombuffer(data, "<u2", 6 * faces, at_faces).reshape(-1, 6).astype(np.int64)
        at = at_frames + size * min(frame, frames - 1)
        scale, offset = np.frombuffer(data, "<f4", 6, at).astype(float).reshape(2, 3)
        packed = np.frombuffer(data, "u1", 4 * count, at + 40).reshape(-1, 4)
        skin = data[at_skins : at_skins + 64].split(b"\0")[0].decode("latin-1") if skins else ""
        return (packed[:, :3] * scale + offset)[table[:, :3]], uvs[table[:, 3:]], skin
    except (struct.error, ValueError, IndexError) as error:
        raise WorldsError(f"{name} is a damaged MD2 model ({error}); fetch its package again") from error

"""Packs: many assets in one compact file, written once, read lazily with numpy and Pillow alone.

A file is

    8 bytes   b"LYRAPAK1"
    u32 u32   size of the index, its CRC-32 (little-endian)
    index     LZMA-compressed JSON: {"name", "entries": [[key, kind, info, credit, offset, size, crc], ...]}
    payloads  one after the other; `offset` counts from the first

and the payload of an entry depends on its kind:

    texture    a WebP image (sRGB, alpha only if needed)
    panorama   u16 height, width; LZMA of log2-coded radiance, 12 bits a channel (worlds.imagecode)
    furniture, actor, world
               u32 size of the head; the head (LZMA-compressed JSON); the integer streams (LZMA), see worlds.meshcode

LZMA is the raw filter of worlds.streams. The same input gives the same bytes.
A material's textures are entries of the same pack, so every pack stands alone.
"""

import json
import lzma
import mmap
import os
import struct
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from worlds.errors import WorldsError
from worlds.imagecode import ambient, decode_panorama, encode_panorama, encode_texture
from worlds.licences import Credit
from worlds.meshcode import decode_mesh, encode_mesh
from worlds.scene import Instance, Lamp, Material, Mesh, Mover, Sky, Sun, Texture, World
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.furniture import FurnitureInfo, FurnitureModel, LightSource
from worlds.streams import StreamReader, StreamWriter, compress, decompress

MAGIC = b"LYRAPAK1"


def _to_json(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Entry:
    """One asset of a pack: `kind` is "texture", "panorama", "furniture", "actor" or "world".

    `info` holds what is known without reading the payload. Textures: "role" ("wall", "floor", "ceiling", "rug",
    "picture", "surface" for the skin of a model, "lightmap" for baked light), "metres" (size of one repeat, or of a
    picture's longer side), "words" (caption). Panoramas: "words". Worlds: "words", "triangles", "near_scale".
    """

    key: str
    kind: str
    info: dict
    credit: Credit
    offset: int
    size: int
    crc: int


class Pack:
    """An open pack. Everything is read when asked for; textures stay decoded (the 512 used last)."""

    def __init__(self, path: Path, name: str, entries: dict[str, Entry], data: mmap.mmap, start: int) -> None:
        self.path = path
        self.name = name
        self.entries = entries
        self._data = data
        self._start = start
        self.texture = lru_cache(maxsize=512)(self._texture)

    def keys(self, kind: str) -> tuple[str, ...]:
        """The keys of all entries of `kind`, sorted."""
        return tuple(sorted(key for key, entry in self.entries.items() if entry.kind == kind))

    def textures(self, role: str) -> tuple[Entry, ...]:
        """The texture entries for `role`, sorted by key."""
        found = (self.entries[key] for key in self.keys("texture"))
        return tuple(entry for entry in found if entry.info.get("role") == role)

    def catalogue(self) -> tuple[FurnitureInfo, ...]:
        """What furniture there is, sorted by key, without reading any mesh."""
        return tuple(_furniture_info(self.entries[key]) for key in self.keys("furniture"))

    def cast(self) -> tuple[ActorInfo, ...]:
        """What actors there are, sorted by key, without reading any mesh."""
        return tuple(_actor_info(self.entries[key]) for key in self.keys("actor"))

    def furniture(self, key: str) -> FurnitureModel:
        """The model `key` with its mesh and textures."""
        head, reader = self._document(key, "furniture")
        mesh, _ = self._mesh(key, head, reader)
        return FurnitureModel(_furniture_info(self.entries[key]), mesh)

    def actor(self, key: str) -> Actor:
        """The actor `key` with its mesh, textures and poses."""
        head, reader = self._document(key, "actor")
        mesh, poses = self._mesh(key, head, reader)
        return Actor(_actor_info(self.entries[key]), mesh, poses)

    def panorama(self, key: str) -> Sky:
        """The sky `key` at gain 1; `ambient` is the cosine-weighted mean of the upper half."""
        payload = self._payload(key, "panorama")
        with _sentence(self.path, key):
            image = decode_panorama(payload)
        return Sky(image, 1.0, ambient(image))

    def world(self, key: str) -> World:
        """The level `key`, ready to render."""
        head, reader = self._document(key, "world")
        with _sentence(self.path, key):
            meshes = [decode_mesh(h, reader, self._material, self.texture)[0] for h in head["meshes"]]
            return _decode_world(head, meshes, reader, self.panorama)

    def _texture(self, key: str) -> Texture:
        """The texture `key`, RGBA uint8 at the size it was packed in."""
        payload = self._payload(key, "texture")
        with _sentence(self.path, key), Image.open(BytesIO(payload)) as image:
            return Texture(key, np.asarray(image.convert("RGBA")))

    def _material(self, record: list) -> Material:
        colour, texture, alpha, emission = record
        return Material(tuple(colour), self.texture(texture) if texture else None, alpha, emission)

    def _mesh(self, key: str, head: dict, reader: StreamReader) -> tuple[Mesh, np.ndarray | None]:
        with _sentence(self.path, key):
            return decode_mesh(head["mesh"], reader, self._material, self.texture)

    def _payload(self, key: str, kind: str) -> bytes:
        entry = self.entries.get(key)
        if entry is None or entry.kind != kind:
            raise WorldsError(f"{self.path} holds no {kind} named {key!r}; list them with keys({kind!r})")
        at = self._start + entry.offset
        payload = self._data[at : at + entry.size]
        if len(payload) != entry.size or zlib.crc32(payload) != entry.crc:
            raise WorldsError(f"{self.path} is damaged at {key!r} (checksum); write or copy the pack again")
        return payload

    def _document(self, key: str, kind: str) -> tuple[dict, StreamReader]:
        payload = self._payload(key, kind)
        with _sentence(self.path, key):
            (size,) = struct.unpack_from("<I", payload)
            return json.loads(decompress(payload[4 : 4 + size])), StreamReader(decompress(payload[4 + size :]))


class _sentence:
    """Turns whatever a malformed payload raises into one WorldsError."""

    def __init__(self, path: Path, key: str) -> None:
        self._where = f"{path} at {key!r}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        malformed = (ValueError, KeyError, TypeError, IndexError, OSError, struct.error, lzma.LZMAError)
        if isinstance(error, malformed) and not isinstance(error, WorldsError):
            raise WorldsError(f"{self._where} cannot be read ({error}); write the pack again") from error


def open_pack(path: str | Path) -> Pack:
    """Open a pack for reading. WorldsError if the file is missing, foreign or damaged."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise WorldsError(
            f"{path} cannot be opened as a pack ({error}); write it with `python -m worlds pack`"
        ) from error
    start = len(MAGIC) + 8
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        raise WorldsError(f"{path} is not a pack (it does not begin with {MAGIC!r})")
    size, crc = struct.unpack_from("<II", data, len(MAGIC))
    index = data[start : start + size]
    if zlib.crc32(index) != crc:
        raise WorldsError(f"{path} is damaged (checksum of its index); write or copy the pack again")
    with _sentence(path, "index"):
        document = json.loads(decompress(index))
        entries = {e[0]: Entry(e[0], e[1], e[2], Credit(**e[3]), *e[4:]) for e in document["entries"]}
    return Pack(path, document["name"], entries, data, start + size)


class PackWriter:
    """Builds a pack in memory; `save` writes it. Textures longer than `texture_size` are scaled down."""

    def __init__(self, name: str, texture_size: int = 256, quality: int = 80) -> None:
        self.name = name
        self._texture_size = texture_size
        self._quality = quality
        self._assets: dict[str, tuple[str, dict, Credit, bytes]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._assets

    def credits(self) -> list[dict[str, object]]:
        """The credit line of every entry, sorted by key."""
        return [credit.record(key) for key, (_, _, credit, _) in sorted(self._assets.items())]

    def add_texture(self, texture: Texture, credit: Credit, role: str, **info) -> None:
        """Add an image; `role` and `info` as in `Entry`. A key already added is left as it is."""
        if texture.key not in self:
            longest, quality = (2048, 92) if role == "lightmap" else (self._texture_size, self._quality)
            payload = encode_texture(texture.rgba, longest, quality)
            self._add(texture.key, "texture", {"role": role, **info}, credit, payload)

    def add_panorama(self, key: str, radiance: np.ndarray, credit: Credit, words: str) -> None:
        """Add a linear equirectangular panorama f32 [h, w, 3]."""
        self._add(key, "panorama", {"words": words}, credit, encode_panorama(radiance))

    def add_furniture(self, model: FurnitureModel) -> None:
        """Add a model and its textures; positions are kept to 1/16384 of its longest side."""
        self._add_textures((model.mesh,), model.info.credit)
        writer = StreamWriter()
        head = {"mesh": encode_mesh(model.mesh, _step(model.mesh, 8192), writer)}
        info = asdict(model.info)
        del info["key"], info["credit"]
        self._add(model.info.key, "furniture", info, model.info.credit, _document(head, writer))

    def add_actor(self, actor: Actor) -> None:
        """Add an actor, its textures and poses; positions are kept to 1/8192 of its longest side."""
        self._add_textures((actor.mesh,), actor.info.credit)
        writer = StreamWriter()
        head = {"mesh": encode_mesh(actor.mesh, _step(actor.mesh, 4096), writer, actor.poses)}
        info = asdict(actor.info)
        del info["key"], info["credit"]
        self._add(actor.info.key, "actor", info, actor.info.credit, _document(head, writer))

    def add_world(self, key: str, world: World, credit: Credit, step: float, sky: str | None = None) -> None:
        """Add a level under `key`, positions kept to step / 2 m in object space.

        A sky with a panorama is stored as the panorama entry `sky`, which must have been added before; its ambient
        light is then that of the panorama.
        """
        meshes = {id(i.mesh): i.mesh for i in (*world.instances, *(m.instance for m in world.movers))}
        self._add_textures(meshes.values(), credit)
        writer = StreamWriter()
        heads = [encode_mesh(mesh, step, writer) for mesh in meshes.values()]
        numbers = {name: number for number, name in enumerate(meshes)}
        head = {"meshes": heads, **_encode_world(world, numbers, writer, sky)}
        triangles = sum(len(i.mesh.triangles) for i in world.instances)
        info = {"words": world.caption, "triangles": triangles, "near_scale": world.near_scale}
        self._add(key, "world", info, credit, _document(head, writer))

    def save(self, path: str | Path) -> int:
        """Write the pack (through a temporary file in the same folder) and return its size in bytes."""
        path = Path(path)
        entries, payloads, offset = [], [], 0
        for key, (kind, info, credit, payload) in sorted(self._assets.items()):
            entries.append([key, kind, info, asdict(credit), offset, len(payload), zlib.crc32(payload)])
            payloads.append(payload)
            offset += len(payload)
        index = compress(_to_json({"name": self.name, "entries": entries}))
        data = MAGIC + struct.pack("<II", len(index), zlib.crc32(index)) + index + b"".join(payloads)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        os.replace(partial, path)
        return len(data)

    def _add(self, key: str, kind: str, info: dict, credit: Credit, payload: bytes) -> None:
        if key in self:
            raise WorldsError(f"two assets of the pack {self.name!r} are named {key!r}")
        self._assets[key] = (kind, info, credit, payload)

    def _add_textures(self, meshes, credit: Credit) -> None:
        for mesh in meshes:
            for material in mesh.materials:
                if material.texture is not None:
                    self.add_texture(material.texture, credit, "surface")
            if mesh.lightmap is not None:
                self.add_texture(mesh.lightmap, credit, "lightmap")


def _document(head: dict, writer: StreamWriter) -> bytes:
    packed = compress(_to_json(head))
    return struct.pack("<I", len(packed)) + packed + compress(writer.data)


def _step(mesh: Mesh, parts: int) -> float:
    """A quantisation step that divides the mesh's longest side into `parts`."""
    extent = float(np.ptp(mesh.positions, axis=0).max()) if len(mesh.positions) else 1.0
    return max(extent, 1e-3) / parts


def _furniture_info(entry: Entry) -> FurnitureInfo:
    info = dict(entry.info)
    lights = tuple(LightSource(tuple(s["position"]), tuple(s["colour"]), s["diameter"]) for s in info.pop("lights"))
    return FurnitureInfo(key=entry.key, credit=entry.credit, lights=lights, size=tuple(info.pop("size")), **info)


def _actor_info(entry: Entry) -> ActorInfo:
    info = dict(entry.info)
    clips = {name: tuple(span) for name, span in info.pop("clips").items()}
    return ActorInfo(key=entry.key, credit=entry.credit, clips=clips, size=tuple(info.pop("size")), **info)


def _encode_world(world: World, numbers: dict[int, int], writer: StreamWriter, sky: str | None) -> dict:
    """The head of a level; transforms follow the meshes as bit patterns of f32 [n, 12] (the rows above 0 0 0 1)."""
    placed = [*world.instances, *(mover.instance for mover in world.movers)]
    tracks = [mover.transforms for mover in world.movers]
    matrices = np.concatenate([np.array([i.transform for i in placed]).reshape(-1, 4, 4), *tracks])
    return {
        "name": world.name,
        "kind": world.kind,
        "caption": world.caption,
        "near_scale": world.near_scale,
        "sun": world.sun and asdict(world.sun),
        "lamps": [asdict(lamp) for lamp in world.lamps],
        "sky": sky or [[float(c) for c in world.sky.panorama[0, 0]], list(world.sky.ambient)],
        "sky_gain": world.sky.gain,
        "spawns": [[round(float(c), 3) for c in spawn] for spawn in world.spawns],
        "placed": [[numbers[id(i.mesh)], i.label, list(i.tint)] for i in placed],
        "times": [[round(float(t), 4) for t in mover.times] for mover in world.movers],
        "transforms": writer.unsigned(matrices[:, :3].reshape(-1, 12).astype(np.float32).view(np.uint32)),
    }


def _decode_world(head: dict, meshes: list[Mesh], reader: StreamReader, panorama) -> World:
    rows = np.ascontiguousarray(reader.unsigned(head["transforms"])).astype(np.uint32).view(np.float32)
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices[:, :3] = rows.reshape(-1, 3, 4)
    placed = [
        Instance(meshes[number], matrix, label, tuple(tint))
        for (number, label, tint), matrix in zip(head["placed"], matrices, strict=False)
    ]
    still = len(placed) - len(head["times"])
    movers, at = [], len(placed)
    for instance, times in zip(placed[still:], head["times"], strict=True):
        movers.append(Mover(instance, np.array(times), matrices[at : at + len(times)]))
        at += len(times)
    if isinstance(head["sky"], str):
        sky = panorama(head["sky"])
    else:
        sky = Sky(np.array([[head["sky"][0]]], np.float32), 1.0, tuple(head["sky"][1]))
    return World(
        name=head["name"],
        kind=head["kind"],
        instances=tuple(placed[:still]),
        movers=tuple(movers),
        sun=Sun(tuple(head["sun"]["direction"]), tuple(head["sun"]["radiance"])) if head["sun"] else None,
        lamps=tuple(Lamp(tuple(p["position"]), tuple(p["intensity"]), p["reach"]) for p in head["lamps"]),
        sky=Sky(sky.panorama, head["sky_gain"], sky.ambient),
        spawns=np.array(head["spawns"], float).reshape(-1, 3),
        near_scale=head["near_scale"],
        caption=head["caption"],
        assets=frozenset({head["name"]}),
    )

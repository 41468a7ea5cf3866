"""0 A.D. (`0ad-data`, CC-BY-SA 3.0): people and animals with skeletal walks, baked to vertex poses.

An actor file names variants in groups; of each group one variant counts, which may name a mesh, textures, animations
and props (a head at the prop point "head"). Vertices are skinned frame by frame, heads ride on their bone.
"""

import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image

from worlds.errors import WorldsError
from worlds.fetch import Package
from worlds.licences import Credit
from worlds.scene import Material, Mesh, Texture
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.pmd import posed, read_pmd, read_psa
from worlds.sources.textures import debian_copyright

PACKAGE = "0ad-data"
_METRES = 0.41  # a woman of the game is 4.3 units tall with her hair
_WORN = ("head", "helmet", "hair", "antler")
_CLIPS = (("walk", 16), ("idle", 12))  # animation, poses kept
_CLOTH = np.array([(150, 60, 50), (60, 85, 130), (90, 110, 60), (165, 140, 85), (110, 70, 110)], np.float32)

PEOPLE = {
    "units/athenians/female_citizen": "woman in a long dress",
    "units/romans/female_citizen": "woman in a stola",
    "units/carthaginians/female_citizen": "woman in a plain dress",
    "units/ptolemies/female_citizen": "woman in a linen dress",
    "units/spartans/female_citizen": "woman in a short dress",
    "units/persians/female_citizen": "woman in an embroidered dress",
    "units/iberians/female_citizen": "woman in a cloak",
    "units/han/female_citizen": "woman in a silk robe",
    "units/athenians/infantry_spearman_b": "man in a tunic",
    "units/romans/infantry_swordsman_b": "roman soldier",
    "units/gauls/infantry_swordsman_b": "man in checkered trousers",
    "units/iberians/infantry_slinger_b": "man in a short tunic",
    "units/han/infantry_spearman_b": "man in a long jacket",
    "units/persians/infantry_archer_b": "man in a long coat",
    "units/carthaginians/infantry_spearman_b": "man in a linen tunic",
    "units/macedonians/infantry_archer_b": "man with a cap",
    "units/athenians/healer": "priest in a robe",
    "units/romans/healer": "priest in a toga",
    "units/persians/healer": "bearded priest",
    "units/han/healer": "scholar in a robe",
    "units/mauryas/healer": "monk",
}
ANIMALS = {
    "fauna/deer": "deer",
    "fauna/horse": "horse",
    "fauna/cow": "cow",
    "fauna/goat": "goat",
    "fauna/sheep1": "sheep",
    "fauna/pig1": "pig",
    "fauna/chicken": "chicken",
    "fauna/donkey": "donkey",
    "fauna/camel": "camel",
    "fauna/elephant_african_bush": "elephant",
    "fauna/giraffe_adult": "giraffe",
    "fauna/zebra": "zebra",
    "fauna/lion": "lion",
    "fauna/tiger": "tiger",
    "fauna/bear_brown": "brown bear",
    "fauna/wolf": "wolf",
    "fauna/fox_red": "fox",
    "fauna/gazelle": "gazelle",
    "fauna/boar": "boar",
}


@dataclass
class _Look:
    """What an actor file comes to: mesh, base texture, material name, animations and worn props by attachment."""

    mesh: str = ""
    texture: str = ""
    material: str = ""
    animations: dict[str, str] = field(default_factory=dict)
    props: dict[str, str] = field(default_factory=dict)


class Library:
    """The game's archive, open for reading."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._archive = zipfile.ZipFile(package.path("usr/share/games/0ad/mods/public/public.zip"))
        self._names = set(self._archive.namelist())
        self._author, self._licence = debian_copyright(package).look_up("binaries/data/mods/public/art")

    def actors(self) -> Iterator[Actor]:
        """All people and animals of the tables whose files this version has, in table order."""
        for kind, table in (("person", PEOPLE), ("animal", ANIMALS)):
            for number, (name, label) in enumerate(table.items()):
                if f"art/actors/{name}.xml" in self._names:
                    yield self._actor(name, kind, label, number)

    def _look(self, file: str) -> _Look:
        look = _Look()
        root = ElementTree.fromstring(self._archive.read(f"art/actors/{file}"))
        look.material = root.findtext("material", "")
        for group in root.iter("group"):
            variants = group.findall("variant")
            if variants:
                self._apply(look, max(variants, key=lambda v: float(v.get("frequency", 0))))
        return look

    def _apply(self, look: _Look, variant: ElementTree.Element) -> None:
        parent = f"art/variants/{variant.get('file')}"
        if variant.get("file") and parent in self._names:
            self._apply(look, ElementTree.fromstring(self._archive.read(parent)))
        look.mesh = variant.findtext("mesh", look.mesh)
        for texture in variant.iterfind("textures/texture[@name='baseTex']"):
            look.texture = texture.get("file")
        for animation in variant.iterfind("animations/animation"):
            name = animation.get("name").lower()
            if animation.get("file"):
                look.animations.setdefault(name, animation.get("file"))
        for prop in variant.iterfind("props/prop"):
            look.props[prop.get("attachpoint")] = prop.get("actor")

    def _actor(self, name: str, kind: str, label: str, number: int) -> Actor:
        look = self._look(f"{name}.xml")
        skin = read_pmd(self._read(f"art/meshes/{look.mesh}.cached.pmd"), look.mesh)
        clips, frames = {}, []
        for clip, limit in _CLIPS:
            if clip in look.animations:
                file = look.animations[clip]
                bones = read_psa(self._read(f"art/animation/{file}.cached.psa"), file)
                if bones.shape[1] >= len(skin.bind) and len(bones) > 1:
                    chosen = np.linspace(0, len(bones), min(limit, len(bones)), endpoint=False).astype(int)
                    clips["stand" if clip == "idle" else clip] = (sum(map(len, frames)), len(chosen))
                    frames.append(bones[chosen])
        if not frames or "walk" not in clips:
            raise WorldsError(f"the actor {name} has no walk; expected a skeletal animation")
        matrices = np.concatenate(frames)
        pieces = [(posed(skin, matrices), skin, self._material(look, number))]
        for point, worn in sorted(look.props.items()):
            if worn and point in skin.points and point.startswith(_WORN):
                pieces += self._worn(worn, skin.points[point], matrices, number)
        return self._assembled(name, kind, label, pieces, clips)

    def _worn(self, file: str, point: tuple[int, np.ndarray], frames: np.ndarray, number: int) -> list:
        look = self._look(file)
        path = f"art/meshes/{look.mesh}.cached.pmd"
        if not look.mesh or path not in self._names:
            return []
        skin = read_pmd(self._read(path), look.mesh)
        bone, offset = point
        carriers = frames[:, bone] @ offset if bone < frames.shape[1] else np.tile(offset, (len(frames), 1, 1))
        moved = np.einsum("fij,vj->fvi", carriers[:, :3, :3], skin.positions) + carriers[:, None, :3, 3]
        return [(moved, skin, self._material(look, number))]

    def _assembled(self, name: str, kind: str, label: str, pieces: list, clips: dict) -> Actor:
        """One mesh with poses, mirrored to right-handed, standing on the ground and facing +z."""
        poses = np.concatenate([poses for poses, _, _ in pieces], axis=1) * (_METRES, _METRES, -_METRES)
        first, count = clips["walk"]
        walk = poses[first : first + count]
        poses -= (0.0, walk[..., 1].min(axis=1).mean(), 0.0)
        starts = np.cumsum([0] + [len(skin.positions) for _, skin, _ in pieces])
        triangles = np.concatenate(
            [skin.triangles[:, ::-1] + start for (_, skin, _), start in zip(pieces, starts, strict=False)]
        )
        mesh = Mesh(
            positions=poses[0].astype(np.float32),
            normals=vertex_normals(poses[0], triangles),
            uvs=np.concatenate([skin.uvs * (1, -1) + (0, 1) for _, skin, _ in pieces]).astype(np.float32),
            triangles=triangles.astype(np.int32),
            face_materials=np.repeat(np.arange(len(pieces)), [len(s.triangles) for _, s, _ in pieces]).astype(np.int32),
            materials=tuple(material for _, _, material in pieces),
        )
        size = np.ptp(poses[0], axis=0)
        seconds = 1.05 * float(np.sqrt(size[1] / 1.7))  # of a stride: legs swing like pendulums
        info = ActorInfo(
            key=f"0ad/{name}",
            kind=kind,
            label=label,
            size=tuple(round(float(v), 3) for v in size),
            clips=clips,
            fps=round(count / seconds, 3),
            speed=round(ground_speed(walk, seconds), 3),
            credit=Credit(PACKAGE, self._package.version, f"art/actors/{name}.xml", self._author, self._licence),
        )
        return Actor(info, mesh, poses.astype(np.float32))

    def _material(self, look: _Look, number: int) -> Material:
        """The skin of a look; where player colours show through, a cloth colour is put in their place."""
        with Image.open(BytesIO(self._read(f"art/textures/skins/{look.texture}.cached.dds"))) as image:
            rgba = np.array(image.convert("RGBA"))
        masked = "trans" in look.material and "player" not in look.material
        if "player" in look.material:
            share = rgba[..., 3:].astype(np.float32) / 255
            cloth = _CLOTH[number % len(_CLOTH)]
            rgba[..., :3] = np.rint(rgba[..., :3] * (share + (1 - share) * cloth / 255))
        if not masked:
            rgba[..., 3] = 255
        key = f"0ad/{look.texture.rsplit('.', 1)[0]}" + (
            f"@{number % len(_CLOTH)}" if "player" in look.material else ""
        )
        return Material((1.0, 1.0, 1.0), Texture(key.lower(), rgba), "mask" if masked else "opaque")

    def _read(self, name: str) -> bytes:
        if name not in self._names:
            raise WorldsError(f"{name} is missing from {PACKAGE} {self._package.version}; fetch it again")
        return self._archive.read(name)


def vertex_normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals f32 [v, 3] of an indexed mesh."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros((len(positions), 3))
    for k in range(3):
        np.add.at(normals, triangles[:, k], faces)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def ground_speed(walk: np.ndarray, seconds: float) -> float:
    """How fast (m/s) the ground slides under a looped walk f64 [p, v, 3] that takes `seconds`: the mean backward speed
    of what touches the ground."""
    after = np.roll(walk, -1, axis=0)
    height = np.ptp(walk[..., 1])
    touching = np.maximum(walk[..., 1], after[..., 1]) < walk[..., 1].min() + 0.05 * height
    back = (walk - after)[..., 2][touching] / (seconds / len(walk))
    return max(float(back.mean()), 0.0) if back.size else 0.0

"""How good the teacher is on scenes with known truth: what it invents, what it keeps, whether it obeys the camera.

Every scene starts from its true first frame with true depth, so that only the teacher is judged. Baselines see the same
warped views: their holes filled by the nearest colour, and by OpenCV's inpainting. "teacher" are its frames as decoded,
"teacher + photo" those that `lyra imagine` writes, with what the photograph shows put in. The true pictures through
the codec are the ceiling of the former: what is lost there, no teacher on this codec can win back.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from lyra.evaluate.consistency import consistency
from lyra.evaluate.filling import fill_nearest, fill_telea
from lyra.evaluate.scores import Scores, region_scores
from lyra.evaluate.true_scenes import TrueScene
from lyra.evaluate.visibility import regions
from lyra.metrics import frechet_distance
from lyra.metrics.poses import FirstFrame, pose_error
from lyra.scene import Cameras
from lyra.teacher.cache import Cache
from lyra.teacher.known import with_known
from lyra.train.student_scenes import FirstView
from lyra.train.synthesis import SynthesisOptions

STILL = 0.02  # camera movements shorter than this share of the median depth have no direction
BASELINES = ("nearest", "telea")
TEACHERS = ("teacher", "teacher + photo")
POSE_MEASURES = ("rotation_deg", "direction_deg", "distance_share")


@dataclass(frozen=True, eq=False)
class Picture:
    """What a sheet shows of one view: the truth, the warp, and each method's answer, all [3, h, w] in [0, 1]."""

    scene: str
    hidden: float
    images: dict[str, Float[Tensor, "3 h w"]]


class TeacherEvaluation:
    """Numbers of one teacher gathered over scenes.

    `every`: score every so many frames. `i3d`: the network of FVD, which also needs whole scenes; `encoder`: an
    EfficientNet-lite0 trained on ImageNet, whose pooled features stand in for Inception's in a distance like FID. What
    is None is left out; without OpenCV so are camera poses and the inpainting baseline.
    """

    def __init__(
        self,
        lpips: nn.Module | None,
        i3d: nn.Module | None,
        device: torch.device,
        every: int = 4,
        encoder: nn.Module | None = None,
    ) -> None:
        self.lpips, self.i3d, self.encoder, self.device, self.every = lpips, i3d, encoder, device, every
        self.opencv = importlib.util.find_spec("cv2") is not None
        self.scores, self.poses, self.consistency = Scores(), Scores(), Scores()
        self.clip_features: dict[str, list[Tensor]] = {}
        self.image_features: dict[str, list[Tensor]] = {}
        self.pictures: list[Picture] = []
        self.scenes: list[str] = []

    @torch.no_grad()
    def add(
        self, scene: TrueScene, videos: UInt8[Tensor, "v t 3 h w"], rebuilt: UInt8[Tensor, "n 3 h w"] | None = None
    ) -> None:
        """Judge the videos generated for one scene; `rebuilt` are its true pictures through the codec."""
        part = scene.thinned(self.every)
        warp, mask = warped_views(scene.view, in_units(part.cameras, scene.view.unit), self.device)
        frames = at_places(videos, part).to(self.device)
        found = {**_teachers(frames, warp, mask), **self._baselines(warp, mask)}
        if rebuilt is not None:
            found["codec"] = replace(scene, images=rebuilt).thinned(self.every).images.float() / 255
        found = {name: images.to(self.device) for name, images in found.items()}
        truth = part.images.to(self.device).float() / 255
        depth, cameras = part.depth.to(self.device), part.cameras.to(self.device)
        first = first_camera(scene.view).to(self.device)
        areas = regions(depth, cameras, scene.view.depth.to(self.device), first)
        masks = {"all": torch.ones_like(areas.seen), "seen": areas.seen, "disoccluded": areas.hidden}
        for name, images in found.items():
            for region, scores in region_scores(images, truth, masks, self.lpips).items():
                self.scores.add(name, region, scores)
        everything = {"truth": truth, **found}
        for name, images in everything.items():
            for what, scores in consistency(images, part, areas.hidden, self.device).items():
                self.consistency.add(name, what, scores)
            if self.encoder is not None:
                features = [self.encoder(image[None])[1].mean((-2, -1))[0].cpu() for image in images]
                self.image_features.setdefault(name, []).extend(features)
        if self.opencv:
            self._locate(scene, part, everything, STILL * scene.view.unit)
        if self.i3d is not None and scene.whole:
            self._describe(scene, videos, rebuilt)
        self._picture(part, {"truth": truth, "warp": warp, **found}, areas.hidden)
        self.scenes.append(scene.name)

    def _baselines(self, warp: Tensor, mask: Tensor) -> dict[str, Tensor]:
        fills = {"nearest": fill_nearest} | ({"telea": fill_telea} if self.opencv else {})
        return {name: fill(warp, mask) for name, fill in fills.items()}

    def _locate(self, scene: TrueScene, part: TrueScene, found: Mapping[str, Tensor], still: float) -> None:
        """Camera poses measured in the pictures against those asked for."""
        first = FirstFrame(scene.view.image, scene.view.depth, scene.view.K)
        for name, images in found.items():
            rows = []
            for index, image in enumerate(images):
                pose = first.locate(image)
                nothing = (torch.nan,) * 3
                error = None if pose is None else pose_error(pose, part.cameras.c2w[index], still)
                rows.append(nothing if error is None else (error.rotation, error.direction, error.distance))
            columns = torch.tensor(rows).T
            self.poses.add(name, "poses", dict(zip(POSE_MEASURES, columns, strict=True)))

    def _describe(
        self, scene: TrueScene, videos: UInt8[Tensor, "v t 3 h w"], rebuilt: UInt8[Tensor, "n 3 h w"] | None
    ) -> None:
        """Features of whole clips: truth, teacher, baselines, and the truth through the codec."""
        v, t = videos.shape[:2]
        warp, mask = warped_views(scene.view, in_units(scene.cameras, scene.view.unit), self.device)
        frames = videos.flatten(0, 1).to(self.device).float() / 255
        clips = {"truth": scene.images, **_teachers(frames, warp, mask), **self._baselines(warp, mask)}
        clips |= {} if rebuilt is None else {"codec": rebuilt}
        for name, frames in clips.items():
            for clip in frames.unflatten(0, (v, t)):
                pictures = clip.to(self.device).float() / (255 if clip.dtype == torch.uint8 else 1)
                self.clip_features.setdefault(name, []).append(self.i3d(pictures[None])[0].cpu())

    def _picture(self, part: TrueScene, images: Mapping[str, Tensor], hidden: Bool[Tensor, "n h w"]) -> None:
        """Keep the two views of different paths in which most is disoccluded."""
        shares = hidden.float().mean((-2, -1)).cpu()
        chosen: dict[int, int] = {}
        for index in shares.argsort(descending=True).tolist():
            chosen.setdefault(int(part.places[index, 0]), index)
        for index in list(chosen.values())[:2]:
            kept = {name: value[index].cpu() for name, value in images.items()}
            self.pictures.append(Picture(part.name, float(shares[index]), kept))

    def results(self) -> dict:
        """All numbers; every mean is over pictures (or pairs of pictures, clips), with how many there were."""
        wins = {
            f"{teacher}, {region} against {other}": self.scores.wins(teacher, other, region, "lpips")
            for teacher in TEACHERS
            for other in BASELINES
            for region in ("seen", "disoccluded")
        }
        return {
            "scenes": self.scenes,
            "frames_scored_every": self.every,
            "regions": self.scores.means(),
            "teacher_wins_lpips": {key: value for key, value in wins.items() if value is not None},
            "consistency": self.consistency.means(),
            "poses": self._pose_summary(),
            "fvd": _distances(self.clip_features),
            "frechet_efficientnet": _distances(self.image_features),
            "left_out": [] if self.opencv else ["telea", "poses"],
        }

    def _pose_summary(self) -> dict[str, dict[str, float | int]]:
        table = {}
        for method in dict.fromkeys(key[0] for key in self.poses.values):
            rotation = self.poses.all(method, "poses", "rotation_deg")
            row = {"pictures": len(rotation), "recovered": round(float(rotation.isfinite().float().mean()), 3)}
            for name in POSE_MEASURES:
                values = self.poses.all(method, "poses", name)
                values = values[values.isfinite()]
                if len(values):
                    row |= {f"median_{name}": round(float(values.median()), 4)}
            table[method] = row
        return table


def _teachers(
    frames: Float[Tensor, "n 3 h w"], warp: Float[Tensor, "n 3 h w"], mask: Bool[Tensor, "n h w"]
) -> dict[str, Tensor]:
    return dict(zip(TEACHERS, (frames, with_known(frames, warp, mask)), strict=True))


def _distances(features: Mapping[str, list[Tensor]]) -> dict[str, float | int]:
    """Frechet distance of every method to the truth, and the number of members."""
    if len(features.get("truth", [])) < 2:
        return {}
    sets = {name: torch.stack(members) for name, members in features.items()}
    truth = sets.pop("truth")
    distances = {name: round(frechet_distance(members, truth), 5) for name, members in sets.items()}
    return {"members": len(truth), **distances}


def warped_views(
    view: FirstView, cameras: Cameras, device: torch.device
) -> tuple[Float[Tensor, "n 3 h w"], Bool[Tensor, "n h w"]]:
    """What the 3D cache of the first frame shows at some cameras, in [0, 1], black in holes, and where it shows it.

    Cameras have lengths in units of the view's median depth.
    """
    cache = Cache.from_depth(
        2 * view.image[None].to(device) - 1,
        (view.depth / view.unit)[None].to(device),
        first_camera(view).to(device)[None],
        SynthesisOptions().cache,
    )
    warped = cache.warp(cameras.to(device))
    return 0.5 + 0.5 * warped.image, warped.mask


def in_units(cameras: Cameras, unit: float) -> Cameras:
    """Cameras with lengths in units of `unit`."""
    c2w = cameras.c2w.clone()
    c2w[..., :3, 3] /= unit
    return replace(cameras, c2w=c2w)


def at_places(videos: UInt8[Tensor, "v t 3 h w"], part: TrueScene) -> Float[Tensor, "n 3 h w"]:
    """The frames of videos that belong to some true pictures, in [0, 1]."""
    path, frame = part.places.to(videos.device).unbind(1)
    return videos[path, frame].float() / 255


def first_camera(view: FirstView) -> Cameras:
    """The camera of a first view: the world itself."""
    return Cameras(torch.eye(4), view.K, view.image.shape[2], view.image.shape[1])

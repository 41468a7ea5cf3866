"""How good scenes of videos are: against true pictures at cameras and times that the video does not show.

Beside the scene of the whole video, from the same cameras and depth: the scene of its first frame, which stands still;
a scene of each frame by itself; and the bare pixels of each frame at their depth.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from lyra.evaluate.scores import Scores, region_scores
from lyra.evaluate.true_scenes import enlarged
from lyra.pipeline import machine
from lyra.pipeline.job import Job
from lyra.pipeline.order import Order
from lyra.pipeline.video import scene_of
from lyra.pipeline.video_layers import pixels, places
from lyra.pipeline.video_source import Filmed
from lyra.render import render
from lyra.scene import Cameras, Gaussians, InputError, require
from lyra.scene.trajectories import PRESETS
from lyra.teacher.cache import CacheOptions, depth_edges
from lyra.train.student_cases import stored_depth, stored_picture
from lyra.video.footage import Footage

Moment = Callable[[float], Gaussians]
"""What exists at a time in seconds."""

Draw = Callable[[Gaussians, Cameras], Float[Tensor, "3 h w"]]
"""What a camera sees, on the CPU."""

_ASIDE = 0.6  # of the preset's way: where the camera stands that looks for flicker


@dataclass(frozen=True, eq=False)
class MovingTruth:
    """A video with its cameras [t], and n true pictures at other cameras [n] and times, with depth (sky infinite)."""

    footage: Footage
    source: Cameras
    views: Cameras
    images: UInt8[Tensor, "n 3 h w"]
    depth: Float[Tensor, "n h w"]
    first_depth: Float[Tensor, "h w"]

    def in_world_of(self, filmed: Filmed) -> "MovingTruth":
        """With the scale of a survey: nothing in a video tells it if the camera stands still."""
        if not filmed.survey.still:
            return self
        found = filmed.survey.depth[0]
        both = found.isfinite() & self.first_depth.isfinite()
        scale = float((found / self.first_depth)[both].median())
        c2w = self.views.c2w.clone()
        c2w[:, :3, 3] *= scale
        return replace(
            self, views=replace(self.views, c2w=c2w), depth=scale * self.depth, first_depth=scale * self.first_depth
        )


def moving_truths(folder: Path, most: int | None = None, skip: int = 0) -> Iterator[MovingTruth]:
    """The moving scenes of the public evaluation set, in their order: `most` of them after the first `skip`.

    Raises InputError if there are none.
    """
    found = [path.parent for path in sorted(folder.glob("*/cameras.json")) if '"dynamic": true' in path.read_text()]
    require(
        len(found) > skip,
        f"{folder} holds {len(found)} moving scenes, and {skip} are to be left out; give the public evaluation set",
    )
    for place in found[skip : None if most is None else skip + most]:
        try:
            yield _read(place)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{place} is not a moving scene of the evaluation set ({error})") from error


def _read(folder: Path) -> MovingTruth:
    record = json.loads((folder / "cameras.json").read_text())
    frames = torch.stack([stored_picture(folder / entry["image"]) for entry in record["source"]])
    depth = torch.stack([stored_depth(folder / entry["depth"], record["depth_scale"]) for entry in record["views"]])
    first = stored_depth(folder / "first_depth.png", record["depth_scale"])
    size = (record["width"], record["height"])
    footage = Footage(frames.float() / 255, torch.arange(len(frames)), record["fps"], folder.name, size)
    return MovingTruth(
        footage,
        _cameras(record, "source"),
        _cameras(record, "views"),
        torch.stack([stored_picture(folder / entry["image"]) for entry in record["views"]]),
        enlarged(depth, size[0] // depth.shape[2]),
        first,
    )


def _cameras(record: dict, which: str) -> Cameras:
    c2w = torch.tensor([entry["c2w"] for entry in record[which]])
    times = torch.tensor([float(entry["time"]) for entry in record[which]])
    return Cameras(c2w, torch.tensor(record["K"]).repeat(len(c2w), 1, 1), record["width"], record["height"], times)


def frozen(filmed: Filmed, frame: int) -> Filmed:
    """A video of one frame that stands still, as long as the whole, in that frame's own camera."""
    count, footage, found = len(filmed.footage), filmed.footage, filmed.survey
    own = found.cameras[[frame] * count].relative_to_first()
    return Filmed(
        replace(footage, frames=footage.frames[[frame] * count]),
        replace(
            found, cameras=own, depth=found.depth[[frame] * count], moving=torch.zeros_like(found.moving), still=True
        ),
    )


class VideoEvaluation:
    """Numbers gathered over scenes; `order` says how every method imagines."""

    def __init__(self, order: Order, job: Job, lpips: nn.Module | None) -> None:
        self.order, self.job, self.lpips = order, job, lpips
        self.scores = Scores()
        self.facts: dict[str, list[tuple[float, int, float]]] = {}
        self.rows: list[list[Tensor]] = []
        self.columns: list[str] = []
        self.scenes: list[str] = []

    @torch.no_grad()
    def add(self, truth: MovingTruth, filmed: Filmed, wait: Callable[[str], None] = lambda _: None) -> None:
        """Make the scenes of a video in all ways and judge them; `wait` hears of every finished method."""
        truth = truth.in_world_of(filmed)
        frames = {moment: _frame(filmed, moment) for moment in sorted(set(truth.views.times.tolist()))}
        behind = filmed.footage.frames[0].mean((1, 2))  # kinder to holes than black, and the same for all
        ends = (0, len(truth.views) - 1)
        rows = [[truth.images[i].float() / 255] for i in ends]
        self.rows, self.columns = [*self.rows, *rows], ["truth"]
        self.scenes.append(filmed.footage.name)
        still = 255 * float(filmed.footage.frames.diff(dim=0).abs().mean())
        self.facts.setdefault("the video itself", []).append((0.0, 0, still))
        for name, make in self._methods(filmed, sorted(set(frames.values()))).items():
            began = time.perf_counter()
            at, share, count = make()
            seconds = (time.perf_counter() - began) * share
            drawn = torch.stack([self._draw(at(float(view.times)), view, behind) for view in truth.views])
            self._score(name, drawn, truth, filmed, frames)
            shaking = flicker(at, filmed, self._draw) if name in ("video", "unprojected") else float("nan")
            self.facts.setdefault(name, []).append((seconds, count, shaking))
            self.columns.append(name)
            for row, index in zip(rows, ends, strict=True):
                row.append(drawn[index])
            wait(name)

    def _methods(self, filmed: Filmed, frames: list[int]) -> dict[str, Callable[[], tuple[Moment, float, int]]]:
        """name -> what makes a moment, the whole work over the work that is done here, and the number of Gaussians."""
        count = len(filmed.footage)

        def whole() -> tuple[Moment, float, int]:
            scene, _ = scene_of(filmed, self.order, self.job, "")
            return scene.at, 1.0, len(scene)

        def bare() -> tuple[Moment, float, int]:
            made = [unprojected(filmed, frame) for frame in range(count)]
            return lambda moment: made[_frame(filmed, moment)], 1.0, sum(map(len, made))

        def first() -> tuple[Moment, float, int]:
            made = self._of_frame(filmed, 0)
            return lambda _: made, 1.0, len(made)

        def each() -> tuple[Moment, float, int]:  # only the frames that are looked at
            made = {frame: self._of_frame(filmed, frame) for frame in frames}
            size = round(sum(map(len, made.values())) / len(made) * count)
            return lambda moment: made[_frame(filmed, moment)], count / len(made), size

        return {"video": whole, "unprojected": bare, "first frame": first, "each frame": each}

    def _of_frame(self, filmed: Filmed, frame: int) -> Gaussians:
        scene, _ = scene_of(frozen(filmed, frame), self.order, self.job, "")
        return scene.at(0.0).transform(filmed.survey.cameras[frame].c2w)

    def _score(self, name: str, drawn: Tensor, truth: MovingTruth, filmed: Filmed, frames: dict[float, int]) -> None:
        moving = torch.stack(
            [shows_motion(view, depth, filmed, frames[float(view.times)])
             for view, depth in zip(truth.views, truth.depth, strict=True)]
        )  # fmt: skip
        masks = {"whole picture": torch.ones_like(moving), "where something moves": moving}
        for region, scores in region_scores(drawn, truth.images.float() / 255, masks, self.lpips).items():
            self.scores.add(name, region, scores)

    def _draw(
        self, gaussians: Gaussians, camera: Cameras, behind: Float[Tensor, "3"] | None = None
    ) -> Float[Tensor, "3 h w"]:
        device = machine.drawing(self.job.device)
        behind = None if behind is None else behind.to(device)
        return render(gaussians.to(device), camera.to(device), behind).rgb.clamp(0, 1).cpu()

    def results(self) -> dict:
        """All numbers: means over pictures; of seconds, Gaussians and flicker means over scenes."""
        facts = {}
        for name, values in self.facts.items():
            seconds, counts, shaking = torch.tensor(values, dtype=torch.float64).mean(0).tolist()
            facts[name] = {"seconds": round(seconds, 2), "gaussians": round(counts)}
            if shaking == shaking:
                facts[name]["flicker"] = round(shaking, 3)
        return {"scenes": self.scenes, "sets": self.scores.means(), "methods": facts}


def _frame(filmed: Filmed, moment: float) -> int:
    """The frame that the video shows at a time."""
    return min(round(moment * filmed.footage.fps), len(filmed.footage) - 1)


def unprojected(filmed: Filmed, frame: int) -> Gaussians:
    """The pixels of one frame at their depth, without those that depth smears between near and far."""
    depth = filmed.survey.depth[frame]
    known = depth.isfinite()
    edge = depth_edges(torch.where(known, depth, 1e3)[None], CacheOptions.for_width(depth.shape[1]))[0]
    return pixels(filmed.survey.cameras[frame], filmed.footage.frames[frame], depth, known & ~edge)


def flicker(at: Moment, filmed: Filmed, draw: Draw, frames: int | None = None) -> float:
    """Mean change of a pixel from frame to frame, of 255, before a camera that stands aside of the first one."""
    start, depth = filmed.survey.cameras[0], filmed.survey.unit
    camera = PRESETS["swing"].cameras(start, 5, depth, _ASIDE)[1]
    count, rate = frames or len(filmed.footage), filmed.footage.fps
    pictures = torch.stack([draw(at(frame / rate), camera) for frame in range(count)])
    return 255 * float(pictures.diff(dim=0).abs().mean())


def shows_motion(view: Cameras, depth: Float[Tensor, "h w"], filmed: Filmed, frame: int) -> Bool[Tensor, "h w"]:
    """Pixels of a view whose places the video shows as moving at a frame, or that are hidden behind something there."""
    points = view.unproject(depth.clamp(max=1e3 * filmed.survey.unit)).reshape(-1, 3)
    inside, at, _ = places(points, filmed.survey.cameras[frame])
    return (inside & filmed.survey.moving[frame][at]).view(depth.shape)

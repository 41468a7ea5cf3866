"""How good a student of scenes that move is at early, middle and late moments, from near and from far (Lyra, Sec. 3.3).

Every moment is asked for from the cameras of the six paths (near the source's camera when it is early, far when it is
late) and of the reversed ones (far when it is early). Beside the student: the same weights asked without times, so
that they make a still scene, and the pixels of the moment's own source frame at their true depth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn
from torch.nn import functional

from lyra.decoder.maps import Times
from lyra.evaluate.samples import Samples
from lyra.evaluate.scores import Scores, region_scores
from lyra.evaluate.sheets import write_sheet
from lyra.render import render
from lyra.scene import Gaussians, require
from lyra.train.moving_lessons import MovingEntry, entry_of, moving_entry
from lyra.train.moving_scenes import Recording, is_moving, read_both, read_recording, synthesize_moving
from lyra.train.student_eval import reconstruct, unprojected
from lyra.train.student_scenes import FirstView
from lyra.train.synthesis import LatentSource

MOMENTS = {"early": (0, 1 / 6), "middle": (5 / 12, 7 / 12), "late": (5 / 6, 1)}
"""Shares of the video's length at which is measured."""

PATHS, REVERSED = "paths", "reversed paths"
WITHOUT_TIMES, UNPROJECTED = "without times", "unprojected"
MEASURES = ("alpha", "opacity", "psnr", "ssim", "lpips")
_THROUGH = 1.05  # relative depth from which a frame looks through a place


@dataclass(frozen=True, eq=False)
class MovingCase:
    """A held-out scene as recorded, the teacher's entry of both directions, and the truth at its cameras (2 v, t)."""

    source: Recording
    entry: MovingEntry
    truth: UInt8[Tensor, "v2 t 3 h w"]

    def points(self, moment: int) -> Gaussians:
        """The unprojected pixels of a source frame, row by row, in the unit and world of the entry."""
        source, unit = self.source, self.source.unit
        image = source.source[moment].float() / 255
        view = FirstView(source.name, image, source.depth[moment], source.cameras.K[moment])
        c2w = source.cameras.c2w[moment].clone()
        c2w[:3, :3] *= view.unit / unit  # from median depths of this frame to those of the first one
        c2w[:3, 3] /= unit
        return unprojected(view).transform(c2w)

    def moved(self, moment: int) -> Bool[Tensor, "h w"]:
        """Pixels of a source frame whose places the frame at the farther end of time looks through."""
        source, last = self.source, len(self.source.source) - 1
        other = last if 2 * moment < last else 0
        at, depth = source.cameras[other], source.depth[other]
        near = -functional.max_pool2d(-depth[None, None], 3, 1, 1)[0, 0]  # no false alarms along edges
        known = source.depth[moment].isfinite()
        points = source.cameras[moment].unproject(torch.where(known, source.depth[moment], 1.0))
        place, z = at.project(points.reshape(-1, 3))
        x, y = place.floor().long().unbind(-1)
        inside = (z > 0) & (x >= 0) & (x < at.width) & (y >= 0) & (y < at.height)
        beyond = near[y.clamp(0, at.height - 1), x.clamp(0, at.width - 1)] > _THROUGH * z
        return (inside & beyond).view_as(known) & known


def moving_folders(root: Path) -> list[Path]:
    """The rendered scenes that move, by name. Raises InputError if there is none."""
    found = [path.parent for path in sorted(root.glob("*/scene.json")) if is_moving(path.parent)]
    require(bool(found), f"{root} holds no rendered scene that moves; make some: python -m worlds render --dynamic 1")
    return found


def moving_case(forward: Recording, backward: Recording, entry: MovingEntry) -> MovingCase:
    """The truth of a rendered scene beside what a teacher made of it."""
    truth = torch.cat([forward.frames, backward.frames.flip(1)])
    require(
        truth.shape == entry.frames.shape,
        f"{forward.name}: true frames are {list(truth.shape)}, the teacher's {list(entry.frames.shape)}",
    )
    return MovingCase(forward, entry, truth)


def imagined_cases(
    folders: Sequence[Path], source: LatentSource, device: torch.device, seed: int = 1
) -> Iterator[MovingCase]:
    """Cases of rendered scenes, imagined now."""
    for folder in folders:
        both = read_both(folder)
        yield moving_case(*both, moving_entry(*both, source, seed, device))


def stored_entry(folder: Path, samples: Samples) -> MovingEntry:
    """The entry of a rendered scene from samples kept on disk; what is missing there is imagined and kept."""
    made = []
    for way, name in ((False, "forwards"), (True, "backwards")):

        def imagine(way: bool = way):
            return synthesize_moving(read_recording(folder, way), samples.source, samples.seed, samples.device)

        made.append(samples.kept(f"{folder.name}_{name}", imagine))
    return entry_of(samples.source.codec, *made)


class MotionEvaluation:
    """Numbers gathered over held-out scenes, and rows of pictures: the farthest cameras at both ends of time.

    Sets are "teacher" or "true", the cameras, the third of time, and "moving" for the parts of pictures that show what
    moves. alpha is how much of a picture is covered, opacity the mean over the Gaussians of a moment. `keep` is the
    share of Gaussians that the decoder keeps.
    """

    def __init__(self, lpips: nn.Module | None, device: torch.device, keep: float | None) -> None:
        self.lpips, self.device, self.keep = lpips, device, keep
        self.scores = Scores()
        self.rows: list[list[Tensor]] = []
        self.scenes: list[str] = []
        self.columns: list[str] = []

    @torch.no_grad()
    def add(self, case: MovingCase, decoder: nn.Module, name: str = "student") -> None:
        """Judge a decoder with times on one scene, and what the module's text names beside it."""
        sample, count = case.entry.sample, case.entry.frames.shape[1]
        source, still = torch.arange(count).float(), reconstruct(decoder, sample, self.keep)
        for third, shares in MOMENTS.items():
            for moment in (round(share * (count - 1)) for share in shares):
                points = case.points(moment).to(self.device)
                made = {
                    name: reconstruct(decoder, sample, self.keep, Times(source, float(moment))),
                    WITHOUT_TIMES: still,
                    UNPROJECTED: points,
                }
                moving = self._moving(case, points, moment)
                drawn = {method: self._judge(case, method, made[method], moment, third, moving) for method in made}
                if moment in (0, count - 1):
                    self._picture(case, moment, drawn)
        self.scenes.append(case.source.name)

    def _moving(self, case: MovingCase, points: Gaussians, moment: int) -> Bool[Tensor, "v2 h w"]:
        """Where each camera of a moment sees pixels of its source frame that have moved."""
        marks = case.moved(moment).to(self.device).float().reshape(-1, 1).expand(-1, 3)
        marked = Gaussians.from_rgb(points.means, points.quats, points.scales, points.opacities, marks)
        return render(marked, case.entry.cameras[:, moment].to(self.device)).rgb[:, 0] > 0.5

    def _judge(
        self, case: MovingCase, name: str, scene: Gaussians, moment: int, third: str, moving: Bool[Tensor, "v2 h w"]
    ) -> Tensor:
        """Scores of a moment from all cameras; returns the pictures."""
        cameras, entry = case.entry.cameras[:, moment], case.entry
        behind = case.source.source[0].float().mean((1, 2)).to(self.device) / 255  # kinder to holes than black
        drawn = render(scene, cameras.to(self.device), behind)
        pictures, half = drawn.rgb.clamp(0, 1), len(entry.sample.latents)
        for what, part in ((PATHS, slice(half)), (REVERSED, slice(half, None))):
            for judge, frames in (("teacher", entry.frames), ("true", case.truth)):
                target, where = frames[part, moment].to(self.device).float() / 255, f"{judge}, {what}, {third}"
                masks = {where: torch.ones_like(moving[part])}
                if judge == "true":
                    masks[f"{where}, moving"] = moving[part]
                for region, scores in region_scores(pictures[part], target, masks, self.lpips).items():
                    self.scores.add(name, region, scores)
            alpha, opacity = drawn.alpha[part].mean((1, 2, 3)), scene.opacities.mean().expand(half)
            self.scores.add(name, f"true, {what}, {third}", {"alpha": alpha, "opacity": opacity})
        return pictures

    def _picture(self, case: MovingCase, moment: int, drawn: Mapping[str, Tensor]) -> None:
        """Truth, teacher and every method from the first path's camera that is far away at this end of time."""
        half = len(case.entry.sample.latents)
        camera = half if moment == 0 else 0
        self.columns = ["truth", "teacher", *drawn]
        known = [frames[camera, moment].float().cpu() / 255 for frames in (case.truth, case.entry.frames)]
        self.rows.append([*known, *(pictures[camera].cpu() for pictures in drawn.values())])

    def write_sheet(self, path: Path, most: int = 12) -> None:
        """The first rows of pictures."""
        write_sheet(self.rows[:most], self.columns, path)

    def results(self) -> dict:
        """Means over pictures by set and method."""
        return {"scenes": self.scenes, "sets": self.scores.means()}

"""How good the student's scenes are: against its teacher's frames, and against true pictures at unseen cameras.

Beside it, on the same frames: Gaussians optimised for the scene, the first view's pixels unprojected, draft mode, and
the student's scene with the first view's own pixels in front ("student + photo"), and both after a short fit to the
teacher's frames ("refined"; of the second one these are what `lyra generate` makes, but for its larger photo layer).
Lengths are in units of the first view's median depth.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lyra.depth import DepthMap
from lyra.evaluate.optimise import OptimiseOptions, optimise
from lyra.evaluate.samples import synchronise
from lyra.evaluate.scores import Scores, region_scores
from lyra.evaluate.teacher import first_camera, in_units
from lyra.evaluate.true_scenes import TrueScene
from lyra.evaluate.visibility import regions
from lyra.pipeline.refine import chosen, fit
from lyra.pipeline.surface import seen_by, with_photo
from lyra.pipeline.views import FirstView as Photo
from lyra.render import Rendering, render
from lyra.scene import Cameras, Gaussians
from lyra.train.student_eval import reconstruct, unprojected
from lyra.train.student_scenes import FirstView
from lyra.train.synthesis import TeacherSample


@dataclass(frozen=True, eq=False)
class Attempt:
    """One method's scene and the seconds it took, teacher not counted."""

    name: str
    gaussians: Gaussians
    seconds: float


class StudentEvaluation:
    """Numbers gathered over scenes; depth_error is the median relative error of a picture's depth.

    `keep` is the share of Gaussians that the decoder keeps; `every`: score every so many frames; with `refine_steps`
    there are refined scenes too.
    """

    def __init__(
        self,
        decoder: nn.Module,
        lpips: nn.Module | None,
        device: torch.device,
        keep: float,
        every: int = 4,
        refine_steps: int = 0,
    ) -> None:
        self.decoder, self.lpips, self.device, self.keep, self.every = decoder, lpips, device, keep, every
        self.refine_steps = refine_steps
        self.scores = Scores()
        self.facts: dict[str, list[tuple[float, int]]] = {}
        self.rows: list[list[Tensor]] = []
        self.columns: list[str] = []
        self.scenes: list[str] = []

    def attempts(
        self,
        scene: TrueScene,
        sample: TeacherSample,
        draft: TeacherSample,
        frames: UInt8[Tensor, "v t 3 h w"],
        options: OptimiseOptions | None,
    ) -> list[Attempt]:
        """Every method's scene; the optimisation begins with the unprojected pixels and sees all teacher frames.

        Without `options` there is no optimisation.
        """
        background = self._background(scene)
        with torch.no_grad():
            if self.device.type == "cuda":
                reconstruct(self.decoder, sample, self.keep)  # the first call also loads kernels
            student = self._timed("student", lambda: reconstruct(self.decoder, sample, self.keep))
            both = self._timed("student + photo", lambda: with_own_pixels(scene.view, student.gaussians))
            made = [
                student,
                replace(both, seconds=student.seconds + both.seconds),
                self._timed("draft", lambda: reconstruct(self.decoder, draft, self.keep)),
                self._timed("unprojected", lambda: unprojected(scene.view).to(self.device)),
            ]
        if self.refine_steps:
            made += self._refined(scene.view, sample.cameras, frames, made[:2])
        if options is None:
            return made
        cameras, pictures, points = sample.cameras.flatten(), frames.flatten(0, 1), made[3].gaussians
        made.append(self._timed("optimised", lambda: optimise(points, cameras, pictures, background, options)))
        return made

    def _refined(
        self, view: FirstView, cameras: Cameras, frames: UInt8[Tensor, "v t 3 h w"], made: list[Attempt]
    ) -> list[Attempt]:
        """Scenes fitted to the teacher's frames, the view's own pixels left as they are."""
        paths, late = chosen(
            _photo(view).cache(self.device).warp(cameras.flatten()).mask.cpu().unflatten(0, cameras.shape)
        )
        targets = frames[paths][:, late].flatten(0, 1)
        seen = cameras[torch.tensor(paths), late].flatten()
        refined = []
        for before in made:
            refine = partial(fit, before.gaussians, seen, targets, self.refine_steps, fixed=before.gaussians.seen)
            after = self._timed(f"{before.name}, refined", refine)
            refined.append(replace(after, seconds=before.seconds + after.seconds))
        return refined

    @torch.no_grad()
    def add(self, scene: TrueScene, made: list[Attempt], frames: UInt8[Tensor, "v t 3 h w"]) -> None:
        """Judge the scenes of one first view."""
        part, off = scene.thinned(self.every), scene.off_path()
        path, frame = part.places.unbind(1)
        teacher = frames[path, frame].float().to(self.device) / 255
        unit, background = scene.view.unit, self._background(scene)
        for attempt in made:
            self.facts.setdefault(attempt.name, []).append((attempt.seconds, len(attempt.gaussians)))
            drawn = render(attempt.gaussians, in_units(part.cameras, unit).to(self.device), background)
            whole = {"teacher frames": torch.ones_like(drawn.depth[:, 0], dtype=torch.bool)}
            for what, scores in region_scores(drawn.rgb.clamp(0, 1), teacher, whole, self.lpips).items():
                self.scores.add(attempt.name, what, scores)
            self._against_truth(attempt.name, "true, on paths", drawn, scene, part)
            if len(off.places):
                drawn = render(attempt.gaussians, in_units(off.cameras, unit).to(self.device), background)
                self._against_truth(attempt.name, "true, off paths", drawn, scene, off)
        self._picture(scene, made, part, teacher, background)
        self.scenes.append(scene.name)

    def _against_truth(self, name: str, what: str, drawn: Rendering, scene: TrueScene, part: TrueScene) -> None:
        depth, first = part.depth.to(self.device), first_camera(scene.view).to(self.device)
        areas = regions(depth, part.cameras.to(self.device), scene.view.depth.to(self.device), first)
        masks = {what: torch.ones_like(areas.seen), f"{what}, disoccluded": areas.hidden}
        truth = part.images.to(self.device).float() / 255
        for region, scores in region_scores(drawn.rgb.clamp(0, 1), truth, masks, self.lpips).items():
            self.scores.add(name, region, scores)
        error = torch.where(depth.isfinite(), (drawn.depth[:, 0] * scene.view.unit - depth).abs() / depth, torch.nan)
        self.scores.add(name, what, {"depth_error": error.flatten(1).nanmedian(1).values})

    def _timed(self, name: str, make: Callable[[], Gaussians]) -> Attempt:
        synchronise(str(self.device))
        began = time.perf_counter()
        gaussians = make()
        synchronise(str(self.device))
        return Attempt(name, gaussians, time.perf_counter() - began)

    def _background(self, scene: TrueScene) -> Float[Tensor, "3"]:
        """The first view's mean colour behind everything: kinder to holes than black, and the same for all methods."""
        return scene.view.image.mean((1, 2)).to(self.device)

    def _picture(
        self, scene: TrueScene, made: list[Attempt], part: TrueScene, teacher: Tensor, background: Tensor
    ) -> None:
        """Truth, teacher and every method at the last scored frames of two paths and at one camera off the paths."""
        off = scene.off_path()
        last = [int((part.places[:, 0] == path).nonzero()[-1]) for path in (0, 3)]
        shown: list[tuple[Tensor, Tensor, Cameras]] = [
            (part.images[i].float() / 255, teacher[i].cpu(), part.cameras[i]) for i in last
        ]
        if len(off.places):
            shown.append(
                (off.images[0].float() / 255, torch.ones_like(off.images[0], dtype=torch.float32), off.cameras[0])
            )
        for truth, frame, camera in shown:
            view = in_units(camera, scene.view.unit).to(self.device)
            drawn = [render(attempt.gaussians, view, background).rgb.clamp(0, 1).cpu() for attempt in made]
            self.rows.append([truth, frame, *drawn])
        self.columns = ["truth", "teacher", *(attempt.name for attempt in made)]

    def results(self) -> dict:
        """All numbers: means over pictures, median seconds and mean numbers of Gaussians."""
        facts = {}
        for name, values in self.facts.items():
            seconds, counts = torch.tensor(values, dtype=torch.float64).T
            facts[name] = {"seconds": round(float(seconds.median()), 4), "gaussians": round(float(counts.mean()))}
        return {"scenes": self.scenes, "sets": self.scores.means(), "methods": facts, "keep": self.keep}


def with_own_pixels(view: FirstView, scene: Gaussians) -> Gaussians:
    """The student's scene of a view (in median depths) behind the view's own pixels, as `lyra generate` makes it."""
    photo, here = _photo(view), scene.to("cpu")
    return with_photo(photo, view.image, replace(here, seen=seen_by(photo, here.means))).to(scene.means.device)


def _photo(view: FirstView) -> Photo:
    """The view as the pipeline sees it, in median depths."""
    known = view.depth.isfinite() & (view.depth > 0)
    return Photo(view.image, DepthMap(torch.where(known, view.depth / view.unit, torch.inf), view.K, known, "relative"))

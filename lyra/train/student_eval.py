"""How good the student is: against its teacher's frames, against true pictures, and beside unprojected depth."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from lyra.decoder.maps import Times
from lyra.metrics import psnr, ssim
from lyra.render import Rendering, render
from lyra.scene import Cameras, Gaussians
from lyra.scene.lyra_paths import STUDENT_ORDER
from lyra.train.student import read
from lyra.train.student_cases import Case, TrueViews
from lyra.train.student_scenes import FirstView
from lyra.train.synthesis import SKY, LatentSource, SynthesisOptions, TeacherSample, decode_frames, synthesize

POINT_SIZE = 0.7  # standard deviation of an unprojected pixel, in pixels


def unprojected(view: FirstView) -> Gaussians:
    """The first view's pixels as round, nearly opaque Gaussians of their own size, in units of the median depth."""
    height, width = view.image.shape[1:]
    camera = Cameras(torch.eye(4), view.K, width, height)
    depth = torch.nan_to_num(view.depth / view.unit, nan=SKY, posinf=SKY, neginf=SKY).clamp(1e-3, SKY)
    means = camera.unproject(depth).reshape(-1, 3)
    sizes = (POINT_SIZE * depth / (0.5 * (view.K[0, 0] + view.K[1, 1]))).reshape(-1, 1).expand(-1, 3)
    quats = means.new_tensor([1.0, 0, 0, 0]).expand(len(means), 4)
    colours = view.image.reshape(3, -1).T
    return Gaussians.from_rgb(means, quats, sizes, means.new_full((len(means),), 0.99), colours)


def reconstruct(decoder: nn.Module, sample: TeacherSample, keep: float | None, times: Times | None = None) -> Gaussians:
    """The student's scene from all paths of a sample; of a scene that moves with `times` that of one moment."""
    order = [index for index in STUDENT_ORDER if index < len(sample.latents)]
    latents, cameras, depth = sample.latents[order].float(), sample.cameras[order], sample.depth[order].float()
    return read(decoder, latents, cameras, depth, keep, times)


def compare(
    rendering: Rendering, truth: UInt8[Tensor, "n 3 h w"], lpips: nn.Module | None
) -> dict[str, Float[Tensor, " n"]]:
    """PSNR, SSIM and LPIPS of every view."""
    drawn, target = rendering.rgb.clamp(0, 1), truth.float() / 255
    scores = {"psnr": psnr(drawn, target), "ssim": ssim(drawn, target)}
    if lpips is not None:
        pairs = zip(drawn.split(4), target.split(4), strict=True)
        scores["lpips"] = torch.cat([lpips(*pair) for pair in pairs])
    return {name: value.float().cpu() for name, value in scores.items()}


def depth_error(rendering: Rendering, truth: TrueViews, unit: float) -> Float[Tensor, ""]:
    """Mean relative error of depth where the true depth is finite."""
    step = rendering.depth.shape[-1] // truth.depth.shape[-1]
    drawn, true = unit * rendering.depth[:, 0, ::step, ::step], truth.depth.to(rendering.depth)
    known = true.isfinite()
    return ((drawn - true).abs()[known] / true[known]).mean().cpu()


class Evaluation:
    """Scores gathered over cases, and rows for the contact sheet."""

    def __init__(self, lpips: nn.Module | None, device: torch.device) -> None:
        self.lpips, self.device = lpips, device
        self.scores: dict[str, list[Tensor]] = {}
        self.rows: list[Tensor] = []

    def _add(self, what: str, scores: dict[str, Tensor]) -> None:
        for name, value in scores.items():
            self.scores.setdefault(f"{what}/{name}", []).append(value.reshape(-1))

    @torch.no_grad()
    def case(
        self,
        decoder: nn.Module,
        sources: dict[str, LatentSource],
        case: Case,
        options: SynthesisOptions,
        keep: float | None,
        seed: int = 1,
    ) -> None:
        """Measure one held-out scene; `sources` by name, of which the first one is pictured."""
        view = case.view.resized(options.height, options.width)
        background = view.image.mean((1, 2)).to(self.device)  # kinder to holes than black
        points = unprojected(view).to(self.device)
        for place, (name, source) in enumerate(sources.items()):
            sample = synthesize(view, source, options, seed, self.device)
            frames = decode_frames(source.codec, sample.latents)
            scene = reconstruct(decoder, sample, keep)
            late = [sample.cameras.shape[1] // 2, sample.cameras.shape[1] - 1]
            cameras, images = sample.cameras[:, late].flatten(), frames[:, late].flatten(0, 1)
            self._add(f"teacher_frames/student_{name}", compare(render(scene, cameras, background), images, self.lpips))
            for kind, truth in case.truth.items():
                self._true_views(f"true_{kind}/student_{name}", scene, truth, view, background)
                if place == 0:
                    self._true_views(f"true_{kind}/unprojected", points, truth, view, background)
            if place == 0:
                self._add(
                    "teacher_frames/unprojected", compare(render(points, cameras, background), images, self.lpips)
                )
                self._picture(scene, points, sample, frames)

    def _true_views(self, what: str, scene: Gaussians, truth: TrueViews, view: FirstView, background: Tensor) -> None:
        """Against true pictures at cameras in world units."""
        c2w = truth.cameras.c2w.clone()
        c2w[:, :3, 3] /= view.unit
        rendering = render(scene, replace(truth.cameras, c2w=c2w).to(self.device), background)
        self._add(what, compare(rendering, truth.images.to(self.device), self.lpips))
        if truth.depth is not None:
            self._add(what, {"depth_abs_rel": depth_error(rendering, truth, view.unit)})

    def _picture(self, scene: Gaussians, points: Gaussians, sample: TeacherSample, frames: Tensor) -> None:
        """Teacher | student | unprojected | the student's depth, at the end of three paths."""
        last = sample.cameras.shape[1] - 1
        for path in range(0, len(sample.latents), 2):
            drawn, flat = (render(what, sample.cameras[path, last]) for what in (scene, points))
            near = (1 / drawn.depth.clamp_min(0.2)) * (drawn.alpha > 0.5)
            parts = [frames[path, last].float() / 255, drawn.rgb, flat.rgb, (near / near.max()).expand(3, -1, -1)]
            self.rows.append((torch.cat(parts, -1).clamp(0, 1) * 255).to(torch.uint8).cpu())

    def results(self) -> dict[str, dict[str, float]]:
        """Means by set and method."""
        table: dict[str, dict[str, float]] = {}
        for key, values in self.scores.items():
            what, name = key.rsplit("/", 1)
            table.setdefault(what, {})[name] = round(float(torch.cat(values).mean()), 4)
        return table

    def write_sheet(self, path: Path, most: int = 12) -> None:
        """The pictures, at half size."""
        sheet = torch.cat(self.rows[:most], 1).permute(1, 2, 0).numpy()
        size = (sheet.shape[1] // 2, sheet.shape[0] // 2)
        Image.fromarray(sheet).resize(size, Image.Resampling.BOX).save(path)

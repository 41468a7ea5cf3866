"""The student's ablation (Lyra, Table 2, at small scale): variants as data, trained and judged on the same samples.

All variants take the same number of steps with the same draws from the same stored teacher samples, so they differ in
what their entry in VARIANTS says and in nothing else.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lyra.decoder import MINI, DecoderConfig, SplatDecoder
from lyra.decoder.maps import Maps
from lyra.evaluate.samples import synchronise
from lyra.evaluate.student import Attempt, StudentEvaluation
from lyra.evaluate.true_scenes import TrueScene
from lyra.scene import require
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer
from lyra.train.student_data import Entry, TeacherPool
from lyra.train.student_eval import reconstruct
from lyra.train.student_fit import Clock, Journal, fit
from lyra.train.student_recipe import StudentTraining
from lyra.train.synthesis import RawCodec, TeacherSample

BASE = {
    "mini": replace(MINI, guide=True),
    "tiny": replace(MINI, guide=True, width=32, blocks=2, attention_every=2, d_state=16, head_dim=32, heads=2),
}


@dataclass(frozen=True)
class Variant:
    """What differs from the full method, in words and as changed settings of the decoder and of every stage's loss.

    trunk: the codec's RGB decoder, with its trained weights, is the network. prune: whether the last stage keeps only
    the most opaque. fused: whether all paths form one sequence. true: inputs
    and targets are true pictures, which breaks the rule of self-distillation. `paper` is the published (PSNR, SSIM,
    LPIPS) of its counterpart. Compare it with the variant `beside`.
    """

    about: str
    decoder: Mapping[str, object] = field(default_factory=dict)
    loss: Mapping[str, float] = field(default_factory=dict)
    trunk: bool = False
    prune: bool = True
    fused: bool = True
    true: bool = False
    paper: tuple[float, float, float] | None = None
    beside: str = "full"

    def config(self, base: DecoderConfig) -> DecoderConfig:
        """The decoder."""
        return replace(base, **self.decoder)

    def recipe(self, base: StudentTraining) -> StudentTraining:
        """The training, as long as `base`; all samples stay in the pool."""
        loss = dict(self.loss) if self.prune else {**self.loss, "opacity": 0.0}
        stages = [
            replace(stage, keep=stage.keep if self.prune else None, loss=replace(stage.loss, **loss))
            for stage in base.stages
        ]
        return replace(base, stages=tuple(stages), renew_every=0)


_LINEAR = {"guide": False, "depth": "linear", "near": 0.1, "far": 500.0}
VARIANTS: dict[str, Variant] = {
    "full": Variant("all of ours", paper=(24.77, 0.837, 0.224)),
    "no_fusion": Variant("every path decoded alone, Gaussians concatenated", fused=False, paper=(17.73, 0.632, 0.446)),
    "no_depth_loss": Variant("no depth loss", loss={"depth": 0.0, "log_depth": 0.0}, paper=(24.31, 0.811, 0.247)),
    "no_lpips": Variant("no perceptual loss", loss={"lpips": 0.0}, paper=(23.74, 0.766, 0.370)),
    "no_pruning": Variant("no pruning, no opacity loss", prune=False, paper=(24.55, 0.820, 0.237)),
    "no_guide": Variant("the cache's depth is not given", decoder={"guide": False}),
    "linear_depth": Variant("the published depth head, no guide", decoder=_LINEAR, beside="no_guide"),
    "codec_trunk": Variant("the codec's RGB decoder instead of the token network (FLAT)", trunk=True),
    "offsets": Variant("Gaussians up to two footprints off their rays", decoder={"offsets": 2.0}),
    "absolute_scales": Variant("the published scale head", decoder={"scales": "absolute"}),
    "encoded_rays": Variant("rays through the codec, as published", decoder={"rays": "vae"}),
    "published_depth_loss": Variant("no L1 of log depth", loss={"log_depth": 0.0}),
    "half_density": Variant("Gaussians for every 8th frame of a path instead of every 4th", decoder={"time_stride": 8}),
    "double_density": Variant("Gaussians for every 2nd frame of a path", decoder={"time_stride": 2}),
    "all_attention": Variant("no Mamba-2 blocks", decoder={"attention_every": 1}, paper=(24.58, 0.818, 0.241)),
    "published": Variant(
        "all published choices: linear depth, absolute scales, encoded rays, stride 8, every frame",
        decoder={**_LINEAR, "scales": "absolute", "rays": "vae", "stride": 8, "time_stride": 1},
        loss={"log_depth": 0.0},
        beside="no_guide",
    ),
    "true_renders": Variant(
        "outside the rule: true videos in, true pictures as targets", true=True, paper=(19.08, 0.659, 0.413)
    ),
}  # fmt: skip


def separate(decoder: SplatDecoder) -> None:
    """Let this decoder read every path as a sequence of its own: no fusion of views."""
    fused = decoder.network

    def network(latents: Float[Tensor, "b v c lt lh lw"], maps: Sequence[Maps]) -> Float[Tensor, "b v ch t h w"]:
        views = latents.shape[1]
        alone = [
            Maps(m.rays[i : i + 1], guide=None if m.guide is None else m.guide[i : i + 1])
            for m in maps
            for i in range(views)
        ]
        return fused(latents.flatten(0, 1)[:, None], alone)[:, 0].unflatten(0, (-1, views))

    decoder.network = network


@torch.no_grad()
def true_entry(sample: TeacherSample, frames: UInt8[Tensor, "v t 3 h w"], codec: RawCodec) -> Entry:
    """A sample whose inputs are true videos through the codec, and whose targets are their frames."""
    size = (*sample.cameras.shape, 3, sample.cameras.height, sample.cameras.width)
    require(tuple(frames.shape) == size, f"{sample.name}: true frames must be {list(size)}, got {list(frames.shape)}")
    frames = frames.to(sample.latents.device)
    latents = [codec.encode_raw(clip[None].transpose(1, 2).float() / 127.5 - 1) for clip in frames]
    return Entry(replace(sample, latents=torch.cat(latents).to(sample.latents)), frames)


def train(
    variant: Variant,
    base: tuple[DecoderConfig, StudentTraining],
    pool: TeacherPool,
    codec: RawCodec,
    lpips: nn.Module | None,
    device: torch.device,
    log: Path | None = None,
) -> StudentTrainer:
    """The trained student of a variant; its loss goes to `log`. One seed for all: equal draws."""
    config = replace(variant.config(base[0]), trunk=codec.config if variant.trunk else None)
    trainer = StudentTrainer(variant.recipe(base[1]), config, Processes(0, 1, device), 0, codec.encode_raw)
    if variant.trunk:
        trainer.adopt(codec.vae)
    if not variant.fused:
        separate(trainer.decoder)
        separate(trainer.average)
    journal = None if log is None else Journal(log, echo=lambda line: None)
    fit(trainer, pool, codec, lpips, Clock(), lambda: None, journal)
    return trainer


@torch.no_grad()
def judge(
    name: str,
    trainer: StudentTrainer,
    scenes: Iterable[tuple[TrueScene, TeacherSample, UInt8[Tensor, "v t 3 h w"]]],
    lpips: nn.Module | None,
) -> StudentEvaluation:
    """Scores of the averaged student on held-out scenes, each with its teacher sample and the teacher's frames."""
    device, keep = trainer.processes.device, trainer.recipe.stages[-1].keep
    evaluation = StudentEvaluation(trainer.average, lpips, device, keep)
    for scene, sample, frames in scenes:
        synchronise(str(device))
        began = time.perf_counter()
        gaussians = reconstruct(trainer.average, sample, keep)
        synchronise(str(device))
        evaluation.add(scene, [Attempt(name, gaussians, time.perf_counter() - began)], frames)
    return evaluation


_SCORES = ("psnr", "ssim", "lpips")


def table(results: Mapping[str, Mapping]) -> str:
    """Markdown: a row for every finished variant, in the order of VARIANTS, with what sets it apart and its scores.

    "change" is the PSNR against the teacher's frames minus that of the variant it is compared with.
    """
    failed = [f"{key} failed: {result['failed']}" for key, result in results.items() if "failed" in result]
    results = {key: results[key] for key in VARIANTS if "failed" not in results.get(key, {"failed": ""})}
    sets = list(dict.fromkeys(name for result in results.values() for name in result["sets"]))
    head, lines = ["variant", "what differs", "steps", "s", "Gaussians"], []
    for name in sets:
        head += [f"{name}: teacher PSNR / SSIM / LPIPS", "change", "true, on paths", "true, off paths", "depth error"]
    head.append("paper")
    for key, result in results.items():
        variant = VARIANTS[key]
        cells = [key, variant.about, result["steps"], round(result["seconds"]), result["gaussians"]]
        for name in sets:
            cells += _cells(results, key, name)
        cells.append("-" if variant.paper is None else " / ".join(map(str, variant.paper)))
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    rule = "|---|---|" + "---:|" * (len(head) - 2)
    return "\n".join(["| " + " | ".join(head) + " |", rule, *lines, *([""] if failed else []), *failed]) + "\n"


def _cells(results: Mapping[str, Mapping], key: str, name: str) -> list[str]:
    """One variant's scores on one set of scenes."""
    scores, other = results[key]["sets"].get(name, {}), VARIANTS[key].beside

    def numbers(what: str) -> str:
        row = scores.get(what, {})
        return " / ".join(f"{row[score]:.4g}" if score in row else "-" for score in _SCORES)

    def psnr(of: str) -> float | None:
        return results.get(of, {}).get("sets", {}).get(name, {}).get("teacher frames", {}).get("psnr")

    mine, theirs = psnr(key), psnr(other)
    change = "-" if other == key or mine is None or theirs is None else f"{mine - theirs:+.2f} ({other})"
    error = scores.get("true, on paths", {}).get("depth_error")
    depth = "-" if error is None else f"{error:.4f}"
    return [numbers("teacher frames"), change, numbers("true, on paths"), numbers("true, off paths"), depth]

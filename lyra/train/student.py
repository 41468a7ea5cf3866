"""Train the splat decoder on its teacher's own samples (Lyra, Sec. 3.2): one step, averaged weights, exact resume."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyra.decoder import DecoderConfig, SplatDecoder
from lyra.decoder.maps import Encode, Times
from lyra.render import Rendering
from lyra.scene import Cameras, Gaussians, require
from lyra.train import checkpoint
from lyra.train.deferred import backward_through_views
from lyra.train.losses import opacity_loss
from lyra.train.processes import Processes
from lyra.train.student_data import Lesson
from lyra.train.student_loss import view_loss
from lyra.train.student_recipe import Stage, StudentTraining
from lyra.train.synthesis import DEPTH_STEP
from lyra.weights import save_folder


class StudentTrainer:
    """The decoder, its running average, optimiser, and how far the run has come.

    A step is a function of the weights, the step's number and its lessons: all draws come from generators seeded with
    (seed, step, place in the batch), so a resumed run repeats an uninterrupted one and n processes repeat one.

    With `sharded` no process holds all of a weight, its average or its moments; the batch must then divide evenly.
    Saving and restoring is for all processes together; the first one writes.
    """

    def __init__(
        self,
        recipe: StudentTraining,
        config: DecoderConfig,
        processes: Processes,
        seed: int = 0,
        encode: Encode | None = None,
        sharded: bool = False,
    ) -> None:
        torch.manual_seed(seed)  # the same start on all processes
        self.recipe, self.processes, self.seed, self.sharded = recipe, processes, seed, sharded
        self.decoder = SplatDecoder(config, encode).to(processes.device).train()
        self.average = SplatDecoder(config, encode).to(processes.device).requires_grad_(False).eval()
        self.average.load_state_dict(self.decoder.state_dict())
        self.decoder.bf16 = processes.bf16
        if sharded:
            self._shard()
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=0.0, betas=recipe.betas, fused=processes.device.type == "cuda"
        )
        self.step, self.elapsed = 0, 0.0

    def _shard(self) -> None:
        from lyra.train.sharding import shard

        require(self.processes.count > 1, "shards are for several processes; start with torchrun or accelerate launch")
        require(
            self.recipe.batch % self.processes.count == 0,
            f"with shards every process must have as many samples a step, but the batch of {self.recipe.batch} does "
            f"not divide evenly among {self.processes.count} processes",
        )
        shard([self.decoder, self.average], self.processes)
        self.decoder.recompute = True  # without the memory for weights there is none for activations

    def _groups(self) -> list[dict]:
        """Matrices with weight decay; biases, norms and the scan's own numbers without. Embeddings of times, if there
        are any, faster: they begin at zero."""
        groups = []
        for times in (False, True):
            chosen = [p for name, p in self.decoder.named_parameters() if name.startswith("patch_time_embed") == times]
            faster = self.recipe.time_rate if times else 1.0
            for weight_decay, part in (
                (self.recipe.weight_decay, [p for p in chosen if p.ndim >= 2]),
                (0.0, [p for p in chosen if p.ndim < 2]),
            ):
                if part:
                    groups.append({"params": part, "weight_decay": weight_decay, "faster": faster})
        return groups

    def begin_with(self, decoder: SplatDecoder) -> None:
        """Start from given weights of the same configuration, but for times, which weights of still scenes may lack."""
        if self.decoder.config.times and not decoder.config.times:
            decoder = _with_times(decoder)
        require(
            decoder.config == self.decoder.config,
            f"the weights to start from have another configuration: {decoder.config} instead of {self.decoder.config}",
        )
        for name in ("decoder", "average"):
            self._parts()[name].load_state_dict(decoder.state_dict())

    def adopt(self, vae: nn.Module) -> None:
        """Start the trunk from the trained codec's decoder (`VideoCodec.vae`)."""
        for decoder in (self.decoder, self.average):
            decoder.trunk.adopt(vae)

    @property
    def places(self) -> range:
        """The places in the batch that this process fills."""
        return range(self.processes.rank, self.recipe.batch, self.processes.count)

    def generator(self, place: int) -> torch.Generator:
        """The draws of one place in the batch of the present step."""
        mixed = (self.seed * 1_000_003 + self.step) * 4099 + place
        return torch.Generator().manual_seed(mixed % 2**63)

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the whole schedule."""
        r = self.recipe
        return checkpoint.falling(self.step, r.warmup_steps, progress, r.learning_rate, r.final_rate)

    def train_step(
        self, lessons: Sequence[Lesson], lpips: nn.Module | None, stage: Stage, rate: float
    ) -> dict[str, Tensor]:
        """One update from this process's share of the batch; returns the means of the loss terms over its views."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("faster", 1.0)  # earlier checkpoints do not say
        terms: dict[str, Tensor] = {}
        for place, lesson in zip(self.places, lessons, strict=True):
            for name, value in self._learn(lesson, lpips, stage, self.generator(place + self.recipe.batch)).items():
                terms[name] = terms.get(name, 0) + value / len(lessons)
        parameters = list(self.decoder.parameters())
        for parameter in parameters:  # still scenes leave the embeddings of times without; all processes average all
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = [parameter.grad for parameter in parameters]
        torch._foreach_mul_(grads, self.processes.count / self.recipe.batch)
        if not self.sharded:  # else every backward pass has done it
            self.processes.average(grads)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)
        terms["grad_norm"] = norm.full_tensor() if self.sharded else norm
        for grad in grads:  # a step that overflowed becomes an empty one, without a sync
            grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        checkpoint.follow(self.average, self.decoder, self.recipe.ema, self.step)
        return terms

    def _learn(self, lesson: Lesson, lpips: nn.Module | None, stage: Stage, generator: torch.Generator) -> dict:
        """Add one lesson's gradients to the decoder; the background is drawn, so that holes never pay."""
        count, terms = len(lesson.images), {}
        background = torch.rand(3, generator=generator).to(lesson.images)
        gaussians = read(self.decoder, lesson.latents, lesson.cameras, lesson.guide, stage.keep, lesson.times)

        def loss(rendering: Rendering, views: Tensor) -> Tensor:
            part = len(views) / count
            views = views.to(lesson.images.device)
            total, found = view_loss(rendering, lesson.images[views], lesson.depth[views], lpips, stage.loss)
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + part * value
            return part * total

        def faint(scene: Gaussians) -> Tensor:
            return stage.loss.opacity * opacity_loss(scene.opacities)

        backward_through_views(
            gaussians, lesson.target_cameras, loss, background, self.recipe.chunk, faint if stage.loss.opacity else None
        )
        terms["opacity"] = gaussians.opacities.detach().mean()
        return terms

    def _parts(self) -> dict:
        parts = {"decoder": self.decoder, "average": self.average, "optimizer": self.optimizer}
        if not self.sharded:
            return parts
        from lyra.train.sharding import Whole

        whole = {name: Whole(parts[name]) for name in ("decoder", "average")}
        return whole | {"optimizer": Whole(self.decoder, self.optimizer)}

    def save(self, path: Path, pool: tuple[int, int] = (0, 0)) -> None:
        """Everything needed to go on; `pool` is (samples held, samples drawn)."""
        facts = {"step": self.step, "elapsed": self.elapsed, "seed": self.seed, "pool": list(pool)}
        if self.processes.first:
            checkpoint.save(path, self._parts(), **facts)
        elif self.sharded:
            for part in self._parts().values():  # the first process gathers from all
                part.state_dict()

    def save_average(self, folder: Path) -> None:
        """The averaged weights, for `SplatDecoder.load`."""
        if self.sharded or self.processes.first:
            state = self._parts()["average"].state_dict()
            if self.processes.first:
                save_folder(folder, state, self.average.config.as_dict())

    def restore(self, path: Path) -> tuple[int, int]:
        """Go on from `save`; returns what it was told about the pool."""
        state = checkpoint.read(path, torch.device("cpu") if self.sharded else self.processes.device)
        checkpoint.put(state, self._parts())
        self.step, self.elapsed, self.seed = state["step"], state["elapsed"], state["seed"]
        return tuple(state["pool"])


def _with_times(decoder: SplatDecoder) -> SplatDecoder:
    """The same with embeddings of times, which add nothing yet; their projections are drawn from torch's generator."""
    moving = SplatDecoder(replace(decoder.config, times=True), decoder.maps.encode)
    moving.load_state_dict({**moving.state_dict(), **decoder.state_dict()})
    return moving


def read(
    decoder: SplatDecoder,
    latents: Float[Tensor, "v c lt lh lw"],
    cameras: Cameras,
    depth: Float[Tensor, "v t h4 w4"],
    keep: float | None,
    times: Times | None = None,
) -> Gaussians:
    """The student's Gaussians; the cache's depth (as in `TeacherSample`) is given to models that take it."""
    config = decoder.config
    require(
        not config.guide or config.stride == DEPTH_STEP,
        f"guidance is stored at every {DEPTH_STEP}-th pixel, but this decoder has the stride {config.stride}",
    )
    return decoder(latents, cameras, times, keep, guide=depth[:, :: config.time_stride] if config.guide else None)

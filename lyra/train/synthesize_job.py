"""Teacher samples of a folder of images: one process a GPU, or tasks of a Ray cluster, all with the same function."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lyra import weights
from lyra.scene import require
from lyra.train.shards import Outcome, produce
from lyra.train.student_scenes import image_files, photograph, share
from lyra.train.student_series import seed_of
from lyra.train.synthesis import SynthesisOptions, TeacherSample, load_source, synthesize


@dataclass(frozen=True)
class SynthesisJob:
    """What to make: samples of `images` by `model` (see `lyra.weights`) as shards in `out`.

    quality: "draft" (no diffusion), "standard" (the sampler saved with the weights), "full" (35 steps).
    """

    images: Path
    out: Path
    model: str = "mini"
    quality: str = "standard"
    seed: int = 0
    shard_size: int = 8
    device: str | None = None
    options: SynthesisOptions = field(default_factory=SynthesisOptions)

    def __post_init__(self) -> None:
        choices = ("draft", "standard", "full")
        require(self.quality in choices, f"quality must be one of {', '.join(choices)}, got {self.quality!r}")

    def parts(self) -> tuple[Path, Path | None, Path]:
        """Weight folders of the codec, the denoiser (None for drafts) and the depth network."""
        denoiser = None if self.quality == "draft" else weights.folder(self.model, "denoiser")
        return weights.folder(self.model, "codec"), denoiser, weights.folder(self.model, "depth")


def run(job: SynthesisJob, rank: int = 0, count: int = 1) -> Outcome:
    """Make the share of process `rank` of `count`; what is already there is left alone, so a killed run goes on."""
    files = share(image_files(job.images), rank, count)
    return produce(files, job.out, _maker(job, rank), job.shard_size)


def _maker(job: SynthesisJob, rank: int) -> Callable[[Path], TeacherSample]:
    from lyra.depth import load

    kind = job.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device("cuda", rank % torch.cuda.device_count()) if kind == "cuda" else torch.device("cpu")
    codec, denoiser, depth = job.parts()
    source = load_source(codec, denoiser, device, 35 if job.quality == "full" else None)
    depth_model = load(depth, device)

    def make(path: Path) -> TeacherSample:
        view = photograph(path, depth_model, job.options.height, job.options.width)
        return synthesize(view, source, job.options, seed_of(path.stem, job.seed), device)

    return make


def run_everywhere(job: SynthesisJob, ray: str | None = None) -> Outcome:
    """On all GPUs of this machine (or its CPU), or on those of the Ray cluster at the address `ray`."""
    image_files(job.images)
    job.parts()  # what is missing is said here, once
    if ray is not None:
        return _on_ray(job, ray)
    if "WORLD_SIZE" in os.environ:  # started by torchrun or a scheduler
        return run(job, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    count = torch.cuda.device_count() if job.device in (None, "cuda") else 1
    if count <= 1:
        return run(job)
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        return _sum(pool.starmap(run, [(job, rank, count) for rank in range(count)], chunksize=1))


def _on_ray(job: SynthesisJob, address: str) -> Outcome:
    """One task a GPU of the cluster (or a CPU core without any); images and shards must lie on shared storage."""
    try:
        import ray
    except ImportError as error:
        require(False, f"fanning out needs Ray ({error}): pip install 'lyra-3d[ray]'")
    ray.init(address=address, ignore_reinit_error=True)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    count = gpus or int(ray.cluster_resources()["CPU"])
    task = ray.remote(run).options(num_gpus=1 if gpus else 0, num_cpus=1, max_retries=2)
    return _sum(ray.get([task.remote(job, rank, count) for rank in range(count)]))


def _sum(outcomes: list[Outcome]) -> Outcome:
    return Outcome(*(sum(part) for part in zip(*((o.written, o.found, o.failed) for o in outcomes), strict=True)))

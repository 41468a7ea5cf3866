"""Seconds and memory of the published sizes on one CUDA GPU, with random weights: they do not depend on the values.

    python -m benchmarks.full_scale [gen3c] [maps] [decoder] [step] [--record]

gen3c: one forward pass of the 7.2 B transformer (121 frames of 1280x704, bfloat16). maps: the ray maps of six paths
through the Cosmos tokenizer, which are the same for every scene and are kept. decoder: the released structure (32.8 M)
on six latents, to 10.2 M Gaussians of which 20 % are kept. step: one training step of the last stage (prune), six paths
of nine views, LPIPS left out where no weights are given (--lpips).
"""

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.record import measurement, report
from lyra.decoder import RELEASED, SplatDecoder
from lyra.metrics import LPIPS
from lyra.scene import Cameras
from lyra.scene.lyra_paths import lyra_set
from lyra.teacher import cosmos
from lyra.teacher.codec import COSMOS_CV8X8X8, VideoCodec
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer
from lyra.train.student_data import Lesson
from lyra.train.student_recipe import PUBLISHED

FRAMES, HEIGHT, WIDTH = 121, 704, 1280
LATENT = (16, 16, 88, 160)
CONFIG = {"frames": FRAMES, "size": [WIDTH, HEIGHT], "trajectories": 6, "weights": "random"}


def timed(what: str, work: Callable[[], object], repeats: int, config: dict) -> list[dict]:
    """Best seconds of some runs, and the peak of allocated memory in GiB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 2**30
    return [
        measurement(what, best, "s", CONFIG | config | {"repeats": repeats}),
        measurement(f"{what}: peak memory", peak, "GiB", CONFIG | config),
    ]


def six_cameras() -> Cameras:
    """The paper's six paths, 121 frames each."""
    poses = torch.stack([path.poses(FRAMES).float() for path in lyra_set()])
    first = Cameras.from_fov(torch.eye(4), 70.0, WIDTH, HEIGHT)
    return Cameras(poses, first.K.expand(6, FRAMES, 3, 3), WIDTH, HEIGHT)


@torch.no_grad()
def gen3c() -> list[dict]:
    """One pass of the transformer."""
    config = cosmos.CosmosConfig()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        network = cosmos.build(config).eval()
    torch.set_default_dtype(torch.float32)
    count = sum(p.numel() for p in network.parameters())
    options = {"device": "cuda", "dtype": torch.bfloat16}
    latent = torch.randn(1, *LATENT, **options)
    known, buffers = torch.zeros_like(latent[:, :1]), torch.zeros(1, config.buffer_channels, *LATENT[1:], **options)
    text = torch.zeros(1, config.text_tokens, config.text_channels, **options)

    def work() -> None:
        cosmos.forward(network, latent, known, buffers, text, 1.0, config.fps)

    work()
    return timed("GEN3C forward", work, 2, {"parameters": count, "trajectories": 1, "dtype": "bfloat16"})


def released() -> tuple[SplatDecoder, VideoCodec, torch.Tensor, Cameras]:
    """The decoder, the tokenizer that encodes its rays, six latents and their cameras."""
    torch.manual_seed(0)
    codec = VideoCodec(COSMOS_CV8X8X8).requires_grad_(False).eval()
    codec.vae.to("cuda", torch.bfloat16)
    codec.cuda()
    decoder = SplatDecoder(replace(RELEASED, times=False), codec.encode_raw).cuda().eval()
    return decoder, codec, torch.randn(6, *LATENT, device="cuda"), six_cameras().to("cuda")


@torch.no_grad()
def decode(parts: list[str]) -> list[dict]:
    """Ray maps, then everything else."""
    decoder, _, latents, cameras = released()
    count = {"parameters": sum(p.numel() for p in decoder.parameters())}
    results = timed("ray maps of six paths", lambda: decoder.maps(cameras.relative_to_first(), None), 1, {})
    if "decoder" in parts:
        decoder(latents, cameras, keep=0.2)
        results += timed("decoder, maps kept", lambda: decoder(latents, cameras, keep=0.2), 2, count)
    return results


def step(lpips: Path | None) -> list[dict]:
    """One training step of the last published stage, with blocks computed again in the backward pass."""
    decoder, codec, latents, cameras = released()
    del decoder
    stage = PUBLISHED.stages[-1]
    trainer = StudentTrainer(
        replace(PUBLISHED, batch=1), replace(RELEASED, times=False), Processes.start("cuda"), 0, codec.encode_raw
    )
    trainer.decoder.recompute = True
    places = torch.randint(1, FRAMES, (6 * stage.views,))
    paths = torch.arange(6).repeat_interleave(stage.views)
    lesson = Lesson(
        latents,
        cameras,
        torch.zeros(6, FRAMES, HEIGHT // 4, WIDTH // 4, device="cuda"),
        cameras.to("cpu")[paths, places],
        torch.rand(len(places), 3, HEIGHT, WIDTH, device="cuda"),
        torch.rand(len(places), HEIGHT // 4, WIDTH // 4, device="cuda") + 1,
    )
    network = None if lpips is None else LPIPS.load(lpips, "vgg").cuda()

    def work() -> None:
        trainer.train_step([lesson], network, stage, 1e-4)

    work()
    config = {"views": len(places), "lpips": lpips is not None, "recompute": True, "batch": 1}
    return timed("training step, last stage", work, 1, config)


def main() -> None:
    """Run the parts that are asked for, each in turn, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["gen3c", "maps", "decoder", "step"])
    parser.add_argument("--lpips", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    runs = {"gen3c": gen3c, "decoder": lambda: decode(options.parts), "step": lambda: step(options.lpips)}
    for name, run in runs.items():
        if name in options.parts or (name == "decoder" and "maps" in options.parts):
            report("full_scale", run(), record=options.record)
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()

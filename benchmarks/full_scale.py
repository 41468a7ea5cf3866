"""Seconds and memory of the published sizes on one CUDA GPU, with random weights: they do not depend on the values.

    python -m benchmarks.full_scale [gen3c] [maps] [decoder] [step] [--record]

gen3c: one forward pass of the 7.2 B transformer (121 frames of 1280x704, bfloat16). maps: the ray maps of six paths
through the Cosmos tokenizer, which are the same for every scene and are kept. decoder: the released structure (32.8 M)
on six latents, to 10.2 M Gaussians of which 20 % are kept. step: one training step of the last stage (prune), six paths
of nine views, with LPIPS (VGG).

A part that fails does not stop the others; the exit code is then 1. --tiny runs everything at a size that a CPU does in
seconds, to find errors before a GPU is at hand; such numbers are not recorded.
"""

import argparse
import gc
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks.record import measurement, report
from lyra.decoder import RELEASED, DecoderConfig, SplatDecoder
from lyra.evaluate.samples import synchronise
from lyra.metrics import LPIPS
from lyra.scene import Cameras
from lyra.scene.lyra_paths import lyra_set
from lyra.teacher import cosmos
from lyra.teacher.codec import COSMOS_CV8X8X8, VideoCodec
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer
from lyra.train.student_data import Lesson
from lyra.train.student_recipe import PUBLISHED
from lyra.vae.causal_vae import VaeConfig

PARTS = ("gen3c", "maps", "decoder", "step")


@dataclass(frozen=True)
class Scale:
    """Frames and pixels of a path, the sizes of the networks, and target views of a path in a training step."""

    frames: int
    height: int
    width: int
    codec: VaeConfig
    decoder: DecoderConfig
    teacher: cosmos.CosmosConfig
    views: int
    device: str

    @property
    def latent(self) -> tuple[int, int, int, int]:
        """Shape of a path's latents."""
        return self.codec.latent_channels, (self.frames - 1) // 8 + 1, self.height // 8, self.width // 8

    @property
    def config(self) -> dict:
        """What a measurement says of it."""
        return {"frames": self.frames, "size": [self.width, self.height], "trajectories": 6, "weights": "random"}


FULL = Scale(
    121, 704, 1280, COSMOS_CV8X8X8, replace(RELEASED, times=False), cosmos.CosmosConfig(), 9, "cuda"
)  # fmt: skip
TINY = Scale(
    9, 32, 64,
    VaeConfig(encoder_channels=(8, 8, 8, 8), decoder_channels=(8, 8, 8, 8), latent_channels=16, layers=1),
    replace(RELEASED, times=False, width=32, heads=2, blocks=2, attention_every=2, head_dim=16, d_state=8),
    cosmos.CosmosConfig(heads=2, head_dim=16, blocks=1, text_channels=8, text_tokens=4, adaln_rank=8),
    2, "cpu",
)  # fmt: skip


def timed(what: str, work: Callable[[], object], repeats: int, scale: Scale, config: dict) -> list[dict]:
    """Best seconds of some runs, and on a GPU the peak of allocated memory in GiB."""
    synchronise(scale.device)
    if scale.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        synchronise(scale.device)
        best = min(best, time.perf_counter() - began)
    results = [measurement(what, best, "s", scale.config | config | {"repeats": repeats})]
    if scale.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        results.append(measurement(f"{what}: peak memory", peak, "GiB", scale.config | config))
    return results


def six_cameras(scale: Scale) -> Cameras:
    """The paper's six paths."""
    poses = torch.stack([path.poses(scale.frames).float() for path in lyra_set()])
    first = Cameras.from_fov(torch.eye(4), 70.0, scale.width, scale.height)
    return Cameras(poses, first.K.expand(6, scale.frames, 3, 3), scale.width, scale.height)


@torch.no_grad()
def gen3c(scale: Scale) -> list[dict]:
    """One pass of the transformer."""
    config = scale.teacher
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(scale.device):
            network = cosmos.build(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    count = sum(p.numel() for p in network.parameters())
    options = {"device": scale.device, "dtype": torch.bfloat16}
    latent = torch.randn(1, *scale.latent, **options)
    known = torch.zeros_like(latent[:, :1])
    buffers = torch.zeros(1, config.buffer_channels, *scale.latent[1:], **options)
    text = torch.zeros(1, config.text_tokens, config.text_channels, **options)

    def work() -> None:
        cosmos.forward(network, latent, known, buffers, text, 1.0, config.fps)

    work()
    return timed("GEN3C forward", work, 2, scale, {"parameters": count, "trajectories": 1, "dtype": "bfloat16"})


def released(scale: Scale) -> tuple[VideoCodec, torch.Tensor, Cameras]:
    """The tokenizer that encodes the decoder's rays (bfloat16), six latents and their cameras."""
    torch.manual_seed(0)
    codec = VideoCodec(scale.codec).requires_grad_(False).eval()
    for part in codec.vae.children():
        part.to(torch.bfloat16)
    return (
        codec.to(scale.device),
        torch.randn(6, *scale.latent, device=scale.device),
        six_cameras(scale).to(scale.device),
    )


@torch.no_grad()
def decode(scale: Scale, parts: list[str]) -> list[dict]:
    """Ray maps, then everything else."""
    codec, latents, cameras = released(scale)
    decoder = SplatDecoder(scale.decoder, codec.encode_raw).to(scale.device).eval()
    count = {"parameters": sum(p.numel() for p in decoder.parameters())}
    codec.encode_raw(torch.zeros(1, 3, scale.frames, scale.height, scale.width, device=scale.device))  # loads kernels
    results = timed("ray maps of six paths", lambda: decoder.maps(cameras.relative_to_first(), None), 1, scale, {})
    if "decoder" in parts:
        decoder(latents, cameras, keep=0.2)
        results += timed("decoder, maps kept", lambda: decoder(latents, cameras, keep=0.2), 2, scale, count)
    return results


def step(scale: Scale) -> list[dict]:
    """One training step of the last published stage, with blocks computed again in the backward pass."""
    codec, latents, cameras = released(scale)
    stage = replace(PUBLISHED.stages[-1], views=scale.views)
    trainer = StudentTrainer(
        replace(PUBLISHED, batch=1), scale.decoder, Processes.start(scale.device), 0, codec.encode_raw
    )
    trainer.decoder.recompute = True
    places = torch.randint(1, scale.frames, (6 * stage.views,))
    paths = torch.arange(6).repeat_interleave(stage.views)
    size = (scale.height // 4, scale.width // 4)
    lesson = Lesson(
        latents,
        cameras,
        torch.zeros(6, scale.frames, *size, device=scale.device),
        cameras.to("cpu")[paths, places],
        torch.rand(len(places), 3, scale.height, scale.width, device=scale.device),
        torch.rand(len(places), *size, device=scale.device) + 1,
    )
    network = LPIPS("vgg").to(scale.device)

    def work() -> None:
        trainer.train_step([lesson], network, stage, 1e-4)

    work()
    config = {"views": len(places), "lpips": network.net, "recompute": True, "batch": 1}
    return timed("training step, last stage", work, 1, scale, config)


def main() -> int:
    """Run the parts that are asked for, each in turn, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="all by default")
    parser.add_argument(
        "--record", action="store_true", help="append the results to benchmarks/results/full_scale.jsonl"
    )
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there are the parts {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    scale, failed = TINY if options.tiny else FULL, False
    parts = options.parts
    runs: dict[str, Callable[[], list[dict]]] = {}
    if "gen3c" in parts:
        runs["gen3c"] = lambda: gen3c(scale)
    if "maps" in parts or "decoder" in parts:
        runs["decoder"] = lambda: decode(scale, parts)
    if "step" in parts:
        runs["step"] = lambda: step(scale)
    for name, run in runs.items():
        try:
            report("full_scale", run(), record=options.record and not options.tiny)
        except Exception as error:  # out of memory, a kernel that does not compile
            traceback.print_exception(error)
            print(f"failed: {name}", file=sys.stderr, flush=True)
            failed = True
        gc.collect()
        if scale.device == "cuda":
            torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

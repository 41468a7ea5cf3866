"""`lyra synthesize`: training data of the student, imagined by the teacher."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.report import AsJson, finish


@dataclass(frozen=True)
class Options:
    """What to imagine, and where."""

    model: str = "mini"
    """A model's name or folder."""
    frames: int = 25
    """Length of each video, 1 + 8 n."""
    size: tuple[int, int] = (448, 256)
    """Width and height in pixels, multiples of 16."""
    motion: float = 1.0
    """Factor on the distances that the camera travels."""
    seed: int = 0
    """Another seed, other paths and other content."""
    shard_size: int = 8
    """Images a shard; at most so many are lost by a kill."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPUs if there are any."""
    ray: str | None = None
    """Address of a Ray cluster ("auto": the running one) whose GPUs share the work; folders must be shared."""


DEFAULT = Options()


def synthesize(
    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    quality: Literal["draft", "standard", "full"] = "standard",
    options: Annotated[Options, tyro.conf.arg(name="")] = DEFAULT,
    json: AsJson = False,
) -> None:
    """Let the teacher imagine six videos of every image and keep their latents, cameras and depth as shards.

    What is already in the folder is left alone, so the same command goes on after a kill. Images that fail are written
    to failures.jsonl and tried again next time. One process runs on each GPU.

    Args:
        images: A folder of images (jpg, png, webp), also in folders below it.
        out: The folder for shard-*.tar.
        quality: "draft" encodes what the image shows and imagines nothing; "full" takes 35 steps.
        options: What to imagine, and where.
        json: Print one JSON object instead of text.
    """
    from lyra.train.synthesize_job import SynthesisJob, run_everywhere

    began = time.perf_counter()
    device = None if options.device == "auto" else options.device
    kept = (options.model, quality, options.seed, options.shard_size, device)
    done = run_everywhere(SynthesisJob(images, out, *kept, _format(options)), options.ray)
    seconds = time.perf_counter() - began
    facts = {"out": str(out), "written": done.written, "found": done.found, "failed": done.failed}
    failed = f", {done.failed} failed (see {out / 'failures.jsonl'})" if done.failed else ""
    sentence = f"{out}: {done.written} samples written, {done.found} were there{failed}, {seconds:.0f} s"
    finish(facts | {"seconds": round(seconds, 2)}, sentence, json)


def _format(options: Options):
    """The checked `SynthesisOptions`."""
    from lyra.scene import require
    from lyra.train.synthesis import SynthesisOptions

    frames, (width, height), motion = options.frames, options.size, options.motion
    require(frames > 1 and frames % 8 == 1, f"--frames must be 9, 17, 25, ... (1 + 8 n), got {frames}")
    fits = width >= 32 and height >= 32 and width % 16 == 0 and height % 16 == 0
    require(fits, f"--size must be multiples of 16 pixels, at least 32, got {width} {height}")
    require(0 < motion <= 4, f"--motion must lie above 0 and not above 4, got {motion}")
    return SynthesisOptions(frames, height, width, motion)

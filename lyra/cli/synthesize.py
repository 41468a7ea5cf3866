"""`lyra synthesize`: training data of the student, imagined by the teacher."""

import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.report import AsJson, finish


def synthesize(
    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    model: str = "mini",
    quality: Literal["draft", "standard", "full"] = "standard",
    frames: int = 25,
    size: tuple[int, int] = (448, 256),
    motion: float = 1.0,
    seed: int = 0,
    shard_size: int = 8,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    ray: str | None = None,
    json: AsJson = False,
) -> None:
    """Let the teacher imagine six videos of every image and keep their latents, cameras and depth as shards.

    What is already in the folder is left alone, so the same command goes on after a kill. Images that fail are written
    to failures.jsonl and tried again next time. One process runs on each GPU.

    Args:
        images: A folder of images (jpg, png, webp), also in folders below it.
        out: The folder for shard-*.tar.
        model: A model's name or folder.
        quality: "draft" encodes what the image shows and imagines nothing; "full" takes 35 steps.
        frames: Length of each video, 1 + 8 n.
        size: Width and height in pixels, multiples of 16.
        motion: Factor on the distances that the camera travels.
        seed: Another seed, other paths and other content.
        shard_size: Images a shard; at most so many are lost by a kill.
        device: Where to compute; auto takes the GPUs if there are any.
        ray: Address of a Ray cluster ("auto": the running one) whose GPUs share the work; folders must be shared.
        json: Print one JSON object instead of text.
    """
    from lyra.scene import require
    from lyra.train.synthesis import SynthesisOptions
    from lyra.train.synthesize_job import SynthesisJob, run_everywhere

    began = time.perf_counter()
    width, height = size
    require(frames > 1 and frames % 8 == 1, f"--frames must be 9, 17, 25, ... (1 + 8 n), got {frames}")
    fits = width >= 32 and height >= 32 and width % 16 == 0 and height % 16 == 0
    require(fits, f"--size must be multiples of 16 pixels, at least 32, got {width} {height}")
    require(0 < motion <= 4, f"--motion must lie above 0 and not above 4, got {motion}")
    options = SynthesisOptions(frames, height, width, motion)
    device_name = None if device == "auto" else device
    done = run_everywhere(SynthesisJob(images, out, model, quality, seed, shard_size, device_name, options), ray)
    seconds = time.perf_counter() - began
    facts = {"out": str(out), "written": done.written, "found": done.found, "failed": done.failed}
    failed = f", {done.failed} failed (see {out / 'failures.jsonl'})" if done.failed else ""
    sentence = f"{out}: {done.written} samples written, {done.found} were there{failed}, {seconds:.0f} s"
    finish(facts | {"seconds": round(seconds, 2)}, sentence, json)

"""`lyra imagine`: a photograph to the videos that the teacher imagines around it, with depth and warps."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.report import AsJson, finish, stages

PhotoIn = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
Into = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to imagine.

    Args:
        trajectories: How many of the six camera paths to make.
        motion: How far the camera travels: 0.5 is half as far as usual.
        seed: Another seed, another imagination; the same seed, the same bytes on the CPU.
        model: mini, or a folder with codec/, denoiser/, depth/ and decoder/, or with the published GEN3C and Lyra
            files (gen3c stands for the folder of that name in $LYRA_MODELS or ~/.lyra/models).
        size: Pixels of the videos, like 256x448 (multiples of 16); 448x256 is what mini was trained on.
        device: auto takes an NVIDIA GPU if there is one.
    """

    trajectories: int = 6
    motion: float = 1.0
    seed: int = 0
    model: str = "mini"
    size: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


DEFAULT = Options()


def imagine(
    photo: PhotoIn,
    *,
    out: Into,
    quality: Literal["standard", "full"] = "standard",
    options: Annotated[Options, tyro.conf.arg(name="")] = DEFAULT,
    json: AsJson = False,
) -> None:
    """Imagine what cameras see that leave the place of a photograph: six videos, depth, warps, a sheet with all of it.

    Args:
        photo: Any image file that Pillow reads.
        out: The folder to fill. A run that was cut off goes on there.
        quality: Few or many steps of the diffusion model.
        options: How to imagine.
        json: Print one JSON object instead of text.
    """
    from lyra import pipeline

    began = time.perf_counter()
    with stages() as watch:
        job = start(out, options, watch)
        made = pipeline.imagine(photo, quality, **asked(options), job=job)
        files = made.save(out, job)
    say(made.report, json)
    seconds = time.perf_counter() - began
    facts = {"out": [str(file) for file in files], "seconds": round(seconds, 2)}
    finish(
        facts, f"wrote {len(made.kinds)} videos, their warps, depth and {out / 'sheet.png'} in {seconds:.0f} s", json
    )


def start(out: Path, options: Options, watch):
    """The job of a verb that fills the folder `out`."""
    from lyra.pipeline import Job
    from lyra.pipeline.folder import PARTIAL
    from lyra.pipeline.machine import use_all_cores
    from lyra.scene import require

    require(not out.exists() or out.is_dir(), f"{out}: is a file; --out names the folder to fill")
    use_all_cores()
    return Job(options.device, out / PARTIAL, watch)


def asked(options: Options) -> dict:
    """The options as the pipeline takes them."""
    from lyra.scene import InputError

    size = None
    if options.size is not None:
        try:
            width, height = (int(side) for side in options.size.lower().split("x"))
        except ValueError:
            raise InputError(f"--size is width x height in pixels, like 448x256, not {options.size!r}") from None
        size = (width, height)
    return {
        "trajectories": options.trajectories,
        "motion": options.motion,
        "seed": options.seed,
        "model": options.model,
        "size": size,
    }


def say(report: dict, as_json: bool) -> None:
    """Tell a person what they should know of their photograph."""
    import sys

    if not as_json:
        for note in report["photo"]["notes"]:
            print(f"lyra: {report['photo']['name']}: {note}", file=sys.stderr)

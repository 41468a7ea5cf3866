"""`lyra generate`: a photograph to a scene."""

import time
from typing import Annotated, Literal

import tyro

from lyra.cli.imagine import DEFAULT, Into, Options, PhotoIn, asked, say, start
from lyra.cli.report import AsJson, finish, stages


def generate(
    photo: PhotoIn,
    *,
    out: Into,
    quality: Literal["draft", "standard", "full"] = "standard",
    surface: Literal["photo", "student"] = "photo",
    options: Annotated[Options, tyro.conf.arg(name="")] = DEFAULT,
    json: AsJson = False,
) -> None:
    """Turn a photograph into a scene that you can walk around in.

    The folder gets scene.ply, scene.spz, viewer.html (open it), orbit.mp4, preview.png, cameras.json and report.json.

    Args:
        photo: Any image file that Pillow reads.
        out: The folder to fill. A run that was cut off goes on there.
        quality: draft shows only what the photo knows, standard imagines the rest, full takes more steps for it.
        surface: photo keeps the photo's own pixels where it shows something; student takes everything from the
            splat decoder, which is softer.
        options: How to imagine.
        json: Print one JSON object instead of text.
    """
    from lyra import pipeline

    began = time.perf_counter()
    with stages() as watch:
        job = start(out, options, watch)
        scene = pipeline.generate(photo, quality, **asked(options), surface=surface, job=job)
        files = scene.save(out, job)
    say(scene.report, json)
    seconds = time.perf_counter() - began
    count, imagined = len(scene.gaussians), scene.report["imagined_share"]
    facts = {
        "out": [str(file) for file in files],
        "gaussians": count,
        "imagined_share": imagined,
        "seconds": round(seconds, 2),
    }
    sentence = f"wrote {out}: {count:,} Gaussians, {imagined:.0%} of them imagined, in {seconds:.0f} s"
    finish(facts, f"{sentence}; open {out / 'viewer.html'}", json)

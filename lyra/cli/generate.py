"""`lyra generate`: a photograph, or words, to a scene; a video to a scene that moves."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.imagine import DEFAULT, Into, Options, asked, say, start
from lyra.cli.report import AsJson, finish, stages
from lyra.cli.text import NO_WORDS, Words, picture, with_words
from lyra.cli.video import VIDEO, VideoOptions, generate_video, is_video


@dataclass(frozen=True)
class Ending:
    """What the scene of a photograph is made of in the end."""

    surface: Literal["photo", "student"] = "photo"
    """photo keeps the photo's own pixels where it shows something; student takes everything from the splat decoder,
    which is softer."""
    refine: int | None = None
    """Steps of fitting the scene to the imagined videos; None: 16 for standard on a GPU, 160 for full,
    else 0."""


ENDING = Ending()


def generate(
    photo: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")] = None,
    *,
    out: Into,
    words: Annotated[Words, tyro.conf.arg(name="")] = NO_WORDS,
    quality: Literal["draft", "standard", "full"] = "standard",
    ending: Annotated[Ending, tyro.conf.arg(name="")] = ENDING,
    options: Annotated[Options, tyro.conf.arg(name="")] = DEFAULT,
    video: Annotated[VideoOptions, tyro.conf.arg(name="")] = VIDEO,
    json: AsJson = False,
) -> None:
    """Turn a photograph, or words (--text), into a scene that you can walk around in.

    The folder gets scene.ply, scene.spz, viewer.html (open it), orbit.mp4, preview.png, cameras.json and report.json;
    from words also picture.png, where the scene begins, and candidates.png, from which it was chosen.
    A video, an animation or a folder of numbered images becomes a scene that moves: scene.lyra4d, viewer.html,
    fixed-camera.mp4, bullet-time.mp4, preview.png, cameras.json and report.json.

    Args:
        photo: Any image file that Pillow reads, or a video.
        out: The folder to fill. A run that was cut off goes on there.
        words: Words instead of a photograph.
        quality: draft shows only what the photo knows, standard imagines the rest, full takes more steps for it.
        ending: What the scene of a photograph is made of.
        options: How to imagine.
        video: Of videos.
        json: Print one JSON object instead of text.
    """
    from lyra import pipeline
    from lyra.scene import require

    require((photo is None) != (words.text is None), "give either a photograph or --text with words, and not both")
    video.check(photo)
    if photo is not None and is_video(photo):
        return generate_video(photo, out, quality, options, video, json)
    began = time.perf_counter()
    with stages() as watch:
        job = start(out, options, watch)
        painted = None if words.text is None else picture(words, out, options, job, json)
        image = photo if painted is None else painted.image
        scene = pipeline.generate(image, quality, **asked(options), **asdict(ending), job=job)
        if painted is not None:
            scene = replace(scene, report=with_words(scene.report, painted))
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

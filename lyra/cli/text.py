"""The first picture of `lyra generate --text`: made from words, shown beside its rivals."""

import sys
from dataclasses import dataclass
from pathlib import Path

from lyra.cli.imagine import Options, asked


@dataclass(frozen=True, kw_only=True)
class Words:
    """Words instead of a photograph.

    Args:
        text: What the scene should show, like "a kitchen with green cupboards and a wooden table".
        candidates: How many first pictures to make; the best by agreement with the text and sharpness is taken.
        text_model: A text-to-image model of diffusers for the first picture instead of mini: a folder or a name on the
            Hugging Face Hub.
    """

    text: str | None = None
    candidates: int = 4
    text_model: str | None = None


NO_WORDS = Words()


def picture(words: Words, out: Path, options: Options, job, as_json: bool):
    """Make the candidates, save them in `out`, and say what the author of the text should know."""
    from lyra.pipeline.text import paint_candidates

    order = asked(options)
    painted = paint_candidates(
        words.text, words.candidates, order["seed"], order["model"], order["size"], words.text_model, job
    )
    painted.save(out)
    if not as_json:
        for note in painted.report["notes"]:
            print(f"lyra: {note}", file=sys.stderr)
    return painted


def with_words(report: dict, painted) -> dict:
    """The report of a scene that began with words; what a viewer shows as its name are their first ones."""
    name = painted.report["prompt"][:60]
    return report | {"text": painted.report, "photo": report["photo"] | {"name": name}}

"""From words to a first picture: what a prompt must be, several candidates, and which of them is taken.

Mini makes pictures with the network that makes videos (lyra/teacher/first_frame.py) and knows what it was trained on:
rooms, furniture, colours, materials and light. A prompt that names nothing of that is refused; words it does not know
are told. Other text-to-image models come through diffusers.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lyra import weights
from lyra.io.images import save_image
from lyra.pipeline import machine, models
from lyra.pipeline.job import Job, key_of, release
from lyra.pipeline.order import Order
from lyra.pipeline.text_hub import HubPainter
from lyra.scene import require
from lyra.teacher.first_frame import TextSampling, agreement, first_frame, paint
from lyra.teacher.gen3c import is_gen3c
from lyra.text import Encoder, Reading, read

LONGEST, MOST = 1000, 16  # characters of a prompt, candidates
KNOWS = "rooms (kitchen, bedroom, office ...), furniture, colours, materials and light"
EARLY = (
    "mini makes sketches: beds, chairs, walls and light follow the text, other things in part or hardly yet; it learnt "
    "from texts like 'A bedroom with a bed, a window and white curtains. Pale blue walls, wooden floor, daylight.'"
)


@dataclass(frozen=True, eq=False)
class Painted:
    """Candidates [n, 3, h, w] in [0, 1] for one prompt; `best` is chosen. `report` holds prompt, scores and notes."""

    images: Float[Tensor, "n 3 h w"]
    best: int
    report: dict

    @property
    def image(self) -> Float[Tensor, "3 h w"]:
        """The chosen picture."""
        return self.images[self.best]

    def sheet(self, columns: int = 4) -> Float[Tensor, "3 h2 w2"]:
        """All candidates at half size, row by row; the chosen one has a green frame."""
        small = functional.interpolate(self.images, scale_factor=0.5, mode="bilinear", antialias=True)
        colour = torch.tensor([0.1, 0.7, 0.3])
        tiles = []
        for index, picture in enumerate(small):
            edge = colour if index == self.best else torch.ones(3)
            framed = edge[:, None, None].expand(3, picture.shape[1] + 8, picture.shape[2] + 8).clone()
            framed[:, 4:-4, 4:-4] = picture
            tiles.append(framed)
        columns = min(columns, len(tiles))
        tiles += [torch.ones_like(tiles[0])] * (-len(tiles) % columns)
        return torch.cat([torch.cat(tiles[i : i + columns], 2) for i in range(0, len(tiles), columns)], 1)

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Write picture.png (the chosen one) and candidates.png (the sheet) into a folder, which is made if need be."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        files = {"picture.png": self.image, "candidates.png": self.sheet()}
        for name, picture in files.items():
            save_image(picture, place / name)
        return [place / name for name in files]


def paint_candidates(
    prompt: str,
    candidates: int = 4,
    seed: int = 0,
    model: str = "mini",
    size: tuple[int, int] | None = None,
    hub: str | None = None,
    job: Job | None = None,
) -> Painted:
    """Pictures of a prompt, one for each seed from `seed` on, and the choice among them.

    With mini by agreement with the text and sharpness; with `hub`, a text-to-image model of diffusers (a name on the
    Hugging Face Hub or a folder), by sharpness alone. Raises InputError for a prompt that cannot be followed, and if
    the model has no adapter for pictures from text.
    """
    require(1 <= candidates <= MOST, f"between 1 and {MOST} candidates can be made, not {candidates}")
    order, job, began = Order(seed=seed, model=str(model), size=size), job or Job(), time.perf_counter()
    if hub is None:
        require_text_weights(order.model)
        reading, notes = checked(prompt)
        notes += (EARLY,) if order.model == "mini" else ()
        images, agreements = _mini(reading, candidates, order, job)
    else:
        prompt, notes = sized(prompt), ()
        images, agreements = HubPainter(hub, job.device)(prompt, candidates, order, job), None
    sharp = sharpness(images)
    rows = [
        {"seed": seed + index, "sharpness": round(float(sharp[index]), 5)}
        | ({} if agreements is None else {"agreement": round(float(agreements[index]), 5)})
        for index in range(candidates)
    ]
    best = choose(agreements, sharp)
    facts = {"prompt": prompt.strip(), "model": hub or order.model, "notes": list(notes), "candidates": rows}
    return Painted(images, best, facts | {"chosen": best, "seconds": round(time.perf_counter() - began, 3)})


def require_text_weights(model: str) -> None:
    """InputError if a model has no adapter for first frames from text."""
    hint = "; give a text-to-image model of diffusers with --text-model, or a photograph"
    require(not is_gen3c(weights.place(model)), f"{model}: this teacher makes no pictures from text{hint}")
    weights.folder(model, "denoiser")
    there = weights.has(model, "first_frame")
    require(there, f"{model} makes no pictures from text, because it has no part first_frame (docs/text.md){hint}")


def sized(prompt: str) -> str:
    """The prompt without control characters; InputError if it is empty or too long."""
    text = "".join(c if c.isprintable() else " " for c in prompt).strip()
    require(text != "", "the text is empty; say what the picture should show, like 'a kitchen with green cupboards'")
    require(len(text) <= LONGEST, f"the text has {len(text):,} characters, but at most {LONGEST:,} can be read")
    return text


def checked(prompt: str) -> tuple[Reading, tuple[str, ...]]:
    """What mini understands of a prompt and what its author should know; InputError if that is next to nothing."""
    reading = read(sized(prompt))
    unknown = _listed(reading.unknown)
    named = [mention for mention in reading.mentions if mention.concept is not None and mention.concept.kind != "light"]
    require(len(named) > 0, f"the text names nothing that mini knows: {KNOWS}, in English")
    require(
        len(reading.unknown) <= 2 * len(reading.mentions),
        f"most of the text is unknown to mini ({unknown}); it knows {KNOWS}, in English",
    )
    notes = []
    if reading.unknown:
        notes.append(f"mini does not know {unknown}, so the picture will not show it; it knows {KNOWS}")
    if reading.left_out:
        notes.append(f"mini cannot be told to leave things out ({_listed(reading.left_out)})")
    return reading, tuple(notes)


def choose(agreements: Float[Tensor, " n"] | None, sharp: Float[Tensor, " n"]) -> int:
    """The candidate with the best sum of agreement and sharpness, both in standard deviations over the candidates.

    By agreement alone, plain and blurred pictures would be taken (docs/log.md).
    """
    score = _standard(sharp) if agreements is None else _standard(agreements) + _standard(sharp)
    return int(score.argmax())


def sharpness(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """Mean size of the Laplacian of brightness: 0 for a plain picture."""
    grey = images.mean(1, keepdim=True)
    kernel = grey.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return functional.conv2d(grey, kernel).abs().mean((1, 2, 3))


@torch.no_grad()
def _mini(reading: Reading, candidates: int, order: Order, job: Job) -> tuple[Tensor, Tensor]:
    """Pictures, made together, and their agreement with the text."""
    tokens = Encoder.load().tokens(reading)[None]
    hashes = models.hashes(order.model, ("codec", "denoiser", "first_frame"))
    form, sampling = order.format, TextSampling()
    seeds = list(range(order.seed, order.seed + candidates))
    with job.stage("picture", sampling.steps) as tell:

        def make() -> dict[str, Tensor]:
            teacher = job.network("painter", order.model, models.painter)
            guide = job.network("teacher", order.model, models.teacher).network
            cond = first_frame(teacher, tokens.expand(candidates, -1, -1), form.height, form.width, job.device)
            latents = paint(teacher, guide, cond, seeds, sampling, lambda step: tell(step.index + 1))
            images = [0.5 + 0.5 * teacher.codec.decode(latent[None])[:, :, 0].float() for latent in latents]
            agreements = agreement(teacher, latents, tokens.to(job.device))
            return {"images": torch.cat(images).clamp(0, 1), "agreements": agreements}

        key = key_of(machine.versions(job.device), hashes, tokens.tolist(), seeds, vars(sampling), vars(form))
        made = job.kept("pictures", key, make)
    release()
    return made["images"].cpu(), made["agreements"].cpu()


def _standard(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Distance from the mean in standard deviations; zeros if all are equal."""
    return (values - values.mean()) / values.std(correction=0).clamp_min(1e-9)


def _listed(words: tuple[str, ...], most: int = 6) -> str:
    """Some words of a prompt in quotes; each cut short."""
    shown = ", ".join(f"'{word[:20]}'" for word in words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown

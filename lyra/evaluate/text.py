"""Do pictures show what was asked for? Attributes of captions, judged by classifiers that only know true renders.

Features are those of an ImageNet classifier with a coarse picture of the colours beside them; on them one regularised
logistic regression an attribute is fitted to true renders of training scenes. The judge has thus never seen a made
picture, and shares nothing with the network that makes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from lyra.text import Reading, read

ROOMS = ("living room", "bedroom", "office", "kitchen", "dining room", "bathroom", "studio flat")
WOOD = frozenset(("wooden", "oak", "walnut", "planks", "parquet"))
SIGNS = ("white walls", "wooden floor", "sofa", "bed", "chair", "lamp light")
"""What is judged besides the kind of room: two colours, three pieces of furniture, the light."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What captions ask for: the kind of room (index into ROOMS, -1 if none of them), and whether each of SIGNS."""

    room: Int64[Tensor, " n"]
    signs: Int64[Tensor, "n k"]

    def __getitem__(self, index: Tensor) -> "Asked":
        """Some of them."""
        return Asked(self.room[index], self.signs[index])


def asked(captions: Sequence[str]) -> Asked:
    """The attributes of captions."""
    readings = [read(caption) for caption in captions]
    rooms = [next((n for n in _names(reading) if n in ROOMS), None) for reading in readings]
    signs = [[int(sign) for sign in _signs(reading)] for reading in readings]
    return Asked(torch.tensor([ROOMS.index(r) if r else -1 for r in rooms]), torch.tensor(signs))


def _names(reading: Reading) -> list[str]:
    return [mention.concept.name for mention in reading.mentions if mention.concept is not None]


def _signs(reading: Reading) -> tuple[bool, ...]:
    names = _names(reading)
    words = {m.concept.name: set(m.words) for m in reversed(reading.mentions) if m.concept is not None}
    white, wood = "white" in words.get("wall", ()), bool(WOOD & words.get("floor", set()))
    return (white, wood, "sofa" in names, "bed" in names, "chair" in names, "lamp light" in names)


@torch.no_grad()
def features(images: Float[Tensor, "n 3 h w"], encoder: nn.Module, batch: int = 32) -> Float[Tensor, "n d"]:
    """Features of pictures in [0, 1], on the CPU: 1280 of the classifier, then the colours of 4 x 7 parts."""
    device, rows = next(encoder.parameters()).device, []
    for part in images.split(batch):
        part = part.to(device)
        deep = encoder(part)[1].mean((-2, -1))
        rows.append(torch.cat([deep, functional.adaptive_avg_pool2d(part, (4, 7)).flatten(1)], 1).float().cpu())
    return torch.cat(rows)


class Judge:
    """Classifiers of the attributes, fitted to features of true renders and what their captions say."""

    def __init__(self, known: Float[Tensor, "n d"], truth: Asked, decay: float = 0.02) -> None:
        self.mean, self.std = known.mean(0), known.std(0).clamp_min(1e-4)
        x, has_room = self._standard(known), truth.room >= 0
        self.rooms = _fit(x[has_room], functional.one_hot(truth.room[has_room], len(ROOMS)).float(), decay, many=True)
        self.signs = _fit(x, truth.signs.float(), decay, many=False)

    def _standard(self, found: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return (found - self.mean) / self.std / found.shape[1] ** 0.5

    def scores(self, found: Float[Tensor, "n d"], wanted: Asked) -> dict[str, float]:
        """Accuracy for the kind of room, area under the ROC curve for each sign, and the mean of the signs.

        A sign that all or none of the pictures should show is left out.
        """
        x = self._standard(found)
        has_room = wanted.room >= 0
        results = {}
        if bool(has_room.any()):
            guess = _apply(self.rooms, x[has_room]).argmax(1)
            results["room"] = float((guess == wanted.room[has_room]).float().mean())
        out, areas = _apply(self.signs, x), {}
        for index, name in enumerate(SIGNS):
            good, bad = (out[wanted.signs[:, index] == value, index] for value in (1, 0))
            if len(good) and len(bad):
                areas[name] = float(
                    (good[:, None] > bad).double().mean() + 0.5 * (good[:, None] == bad).double().mean()
                )
        results |= areas
        return results | ({"signs": sum(areas.values()) / len(areas)} if areas else {})

    def by_chance(self, found: Float[Tensor, "n d"], wanted: Asked, draws: int = 20) -> dict[str, float]:
        """The same scores for pictures that belong to other captions: what agreement is worth nothing."""
        generator = torch.Generator().manual_seed(0)
        every = [self.scores(found, wanted[torch.randperm(len(found), generator=generator)]) for _ in range(draws)]
        return {name: sum(scores[name] for scores in every) / draws for name in every[0]}


def diversity(found: Float[Tensor, "n s d"]) -> float:
    """Mean distance of standardised features between pictures of one caption made from different seeds."""
    count = found.shape[1]
    distances = torch.cdist(found.double(), found.double())
    return float(distances.sum((1, 2)).mean() / max(1, count * (count - 1)))


def _fit(x: Float[Tensor, "n d"], y: Float[Tensor, "n k"], decay: float, *, many: bool) -> Float[Tensor, "e k"]:
    """Weights and biases of logistic regressions (`many`: one of k is true), by L-BFGS from zero."""
    weights = torch.zeros(x.shape[1] + 1, y.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        out = _apply(weights, x)
        fit = functional.cross_entropy(out, y) if many else functional.binary_cross_entropy_with_logits(out, y)
        loss = fit + decay * weights[:-1].square().sum() / x.shape[1]
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def _apply(weights: Float[Tensor, "e k"], x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    return x @ weights[:-1] + weights[-1]

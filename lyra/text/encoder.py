"""Text as the denoiser reads it: 16 tokens of 64 channels, one for each thing that a text names, made offline.

Token 0 is the mean of the others. A token is: which thing (36 channels), how it is described (21, the sum over its
descriptions), kind of thing (4: place, thing, surface, light), number (1), present (1), is-the-mean (1). The codes of
names and descriptions are sentence embeddings of all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020),
decorrelated (`codes`), so that what means nearly the same lies near; they are stored with the weights, and MiniLM
itself is needed only to make them (runs/train_text.py).
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import require
from lyra.text.reading import Mention, Reading, concepts, read
from lyra.weights import load_folder, place, save_folder

TOKENS, CHANNELS = 16, 64
NAME, WORD = 36, 21  # channels of names and of descriptions
_KINDS = ("place", "thing", "surface", "light")
_FIRST_KEPT = ("place", "surface", "light", "thing")  # of texts that name more than fits


class Encoder:
    """The codes of all concepts: `names` of places, things, surfaces and lights, `words` of descriptions."""

    def __init__(self, names: Float[Tensor, "n 36"], words: Float[Tensor, "m 21"]) -> None:
        self.names, self.words = names, words
        self._name_rows = {c.name: i for i, c in enumerate(c for c in concepts() if c.kind != "word")}
        self._word_rows = {c.name: i for i, c in enumerate(c for c in concepts() if c.kind == "word")}
        counts = (len(self._name_rows), len(self._word_rows))
        require(
            (len(names), len(words)) == counts,
            f"the text codes are for {len(names)} names and {len(words)} descriptions, but this version knows "
            f"{counts[0]} and {counts[1]}; make them anew with runs/train_text.py",
        )

    @classmethod
    def load(cls, folder: str | os.PathLike | None = None) -> "Encoder":
        """Read what `save` wrote, by default what the package ships. InputError if it is of another vocabulary."""
        folder = place("mini") / "text" if folder is None else folder
        config, tensors = load_folder(Path(folder))
        require(
            config.get("concepts") == _listed() and {"names", "words"} <= tensors.keys(),
            f"{folder}: these text codes belong to another vocabulary; make them anew with runs/train_text.py",
        )
        return cls(tensors["names"], tensors["words"])

    def save(self, folder: str | os.PathLike) -> None:
        """Write codes and vocabulary to a folder."""
        save_folder(folder, {"names": self.names, "words": self.words}, {"concepts": _listed()}, "float16")

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n 16 64"]:
        """The tokens of texts, zeros after the last thing; a text that names nothing is all zeros, which is no text."""
        return torch.stack([self.tokens(read(text)) for text in texts])

    def tokens(self, reading: Reading) -> Float[Tensor, "16 64"]:
        """The tokens of one reading."""
        rows = [self._token(mention) for mention in _kept(reading.mentions)]
        made = torch.zeros(TOKENS, CHANNELS)
        if rows:
            made[1 : 1 + len(rows)] = torch.stack(rows)
            made[0] = made[1 : 1 + len(rows)].mean(0)
            made[0, -2:] = torch.tensor([0.0, 1.0])
        return made

    def _token(self, mention: Mention) -> Float[Tensor, " 64"]:
        row = torch.zeros(CHANNELS)
        if mention.concept is not None:
            row[:NAME] = self.names[self._name_rows[mention.concept.name]]
            row[NAME + WORD + _KINDS.index(mention.concept.kind)] = 1
        for word in mention.words:
            row[NAME : NAME + WORD] += self.words[self._word_rows[word]]
        row[-3], row[-2] = math.log2(mention.count), 1
        return row


def codes(embeddings: Float[Tensor, "n d"], channels: int) -> Float[Tensor, "n k"]:
    """The first principal components of embeddings, each of unit variance, signs fixed by their largest entry."""
    centred = (embeddings - embeddings.mean(0)).double()
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    left = left[:, :channels]
    peak = left.gather(0, left.abs().argmax(0, keepdim=True))
    return (left * peak.sign() * len(embeddings) ** 0.5).float()


def _kept(mentions: Sequence[Mention]) -> list[Mention]:
    """As many as have room, in their order: of too many, things go first."""
    room = TOKENS - 1
    ranks = [len(_FIRST_KEPT) if m.concept is None else _FIRST_KEPT.index(m.concept.kind) for m in mentions]
    chosen = sorted(range(len(mentions)), key=lambda index: (ranks[index], index))[:room]
    return [mentions[index] for index in sorted(chosen)]


def _listed() -> list[list[str]]:
    return [[concept.kind, concept.name] for concept in concepts()]

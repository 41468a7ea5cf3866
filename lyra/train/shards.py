"""Teacher samples on disk: tar files as WebDataset reads them, KEY.safetensors with KEY.json, whole or not there.

A shard is a unit of work. Its name follows from its samples, so a run that was killed goes on where it stopped, and
several processes or machines write into one folder. What failed is a line in failures.jsonl, tried again next time.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor

from lyra.io.atomic import replacing_file
from lyra.scene import Cameras, InputError, require
from lyra.train.synthesis import TeacherSample

PATTERN = "shard-*.tar"


@dataclass(frozen=True)
class Outcome:
    """What a run did: samples written, found from earlier runs, and failed."""

    written: int
    found: int
    failed: int


def write_shard(folder: Path, samples: Sequence[TeacherSample]) -> Path:
    """One tar with the samples, under a name made of theirs."""
    names = "\n".join(sample.name for sample in samples)
    path = folder / f"shard-{hashlib.sha256(names.encode()).hexdigest()[:16]}.tar"
    with replacing_file(path) as temporary, tarfile.open(temporary, "w") as tar:
        for sample in samples:
            cameras = sample.cameras
            tensors = {"latents": sample.latents, "depth": sample.depth, "c2w": cameras.c2w, "K": cameras.K}
            facts = {"unit": sample.unit, "width": cameras.width, "height": cameras.height}
            packed = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            _add(tar, f"{sample.name}.json", json.dumps(facts).encode())
            _add(tar, f"{sample.name}.safetensors", safetensors.torch.save(packed))
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


class ShardReader:
    """Random access to the samples of a folder of shards: `reader(i)` is sample i modulo their number.

    Of n processes the one of this rank reads every n-th sample. Raises InputError if there are none or one is damaged.
    """

    def __init__(self, folder: Path, rank: int = 0, count: int = 1) -> None:
        places = [place for path in sorted(folder.glob(PATTERN)) for place in _places(path)]
        require(len(places) > 0, f"{folder} holds no samples ({PATTERN}); make some with `lyra synthesize`")
        require(len(places) >= count, f"{folder} holds {len(places)} samples, too few for {count} processes")
        self._places = places[rank::count]

    def __len__(self) -> int:
        return len(self._places)

    def __call__(self, index: int) -> TeacherSample:
        """Sample `index`; the series starts again at its end."""
        path, name, facts, (offset, size) = self._places[index % len(self._places)]
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        try:
            tensors: dict[str, Tensor] = safetensors.torch.load(content)
            cameras = Cameras(tensors["c2w"], tensors["K"], facts["width"], facts["height"])
            return TeacherSample(name, tensors["latents"], cameras, tensors["depth"], facts["unit"])
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{path}: the sample {name} is damaged ({error}); delete the shard and go on") from error


def _places(path: Path) -> list[tuple[Path, str, dict, tuple[int, int]]]:
    """Where the samples of a shard lie."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = {member.name: member for member in tar.getmembers()}
            found = []
            for name in sorted(key.removesuffix(".json") for key in members if key.endswith(".json")):
                facts = json.loads(tar.extractfile(members[f"{name}.json"]).read())
                data = members[f"{name}.safetensors"]
                found.append((path, name, facts, (data.offset_data, data.size)))
            return found
    except (tarfile.TarError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: is not a shard of samples ({error}); delete it and go on") from error


def stored_names(folder: Path) -> set[str]:
    """Names of all samples in a folder of shards."""
    return {name for path in folder.glob(PATTERN) for _, name, *_ in _places(path)}


def produce(files: Iterable[Path], folder: Path, make: Callable[[Path], TeacherSample], shard_size: int = 8) -> Outcome:
    """Make the samples that are not in `folder` yet, `shard_size` to a shard.

    A file that cannot be used (InputError), or on which the device gives up (RuntimeError, such as no memory left), is
    recorded in failures.jsonl and left out; any other error is a bug and ends the run.
    """
    require(shard_size >= 1, f"a shard holds at least 1 sample, got {shard_size}")
    folder.mkdir(parents=True, exist_ok=True)
    known, files = stored_names(folder), list(files)
    todo = [path for path in files if path.stem not in known]
    written = failed = 0
    for start in range(0, len(todo), shard_size):
        samples = []
        for path in todo[start : start + shard_size]:
            try:
                samples.append(make(path).to("cpu"))
            except (InputError, RuntimeError) as error:
                failed += 1
                line = json.dumps({"image": str(path), "error": str(error).splitlines()[0]})
                with (folder / "failures.jsonl").open("a") as log:
                    log.write(line + "\n")
        if samples:
            write_shard(folder, samples)
            written += len(samples)
    return Outcome(written, len(files) - len(todo), failed)

"""A run of the pipeline: its device, its clock, who watches, and where finished stages are kept.

A stage is kept under a key: the SHA-256 of everything it depends on. A second run with the same key reads it instead of
computing it, so a killed run goes on where it was, and other options start anew.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lyra.io.atomic import replacing_file
from lyra.pipeline import machine
from lyra.scene import InputError

Watch = Callable[[str, int, int], None]
"""Called with a stage, how many of its steps are done, and how many there are."""


class Job:
    """`folder` keeps finished stages (None: nothing is kept); `watch` is told of every step.

    With `keep_networks` they stay loaded, for several photographs one after the other; else each leaves memory when its
    stage is over.
    """

    def __init__(
        self,
        device: str = "auto",
        folder: str | os.PathLike | None = None,
        watch: Watch | None = None,
        keep_networks: bool = False,
    ) -> None:
        self.device = machine.device(device)
        self.keep_networks = keep_networks
        self.folder = None if folder is None else Path(folder)
        self.seconds: dict[str, float] = {}
        self.resumed: list[str] = []
        self._watch = watch
        self._networks: dict[tuple[str, str], Any] = {}

    def begin(self) -> None:
        """Start the clock for another photograph."""
        self.seconds, self.resumed = {}, []

    def network(self, part: str, model: str, load: Callable[[str, torch.device], Any]) -> Any:
        """What `load(model, device)` gives, from memory if networks are kept."""
        known = self._networks.get((part, model))
        made = load(model, self.device) if known is None else known
        if self.keep_networks:
            self._networks[part, model] = made
        return made

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[Callable[[int], None]]:
        """Time a stage; yields what to call with the number of finished steps."""
        began = time.perf_counter()

        def tell(done: int) -> None:
            if self._watch is not None:
                self._watch(name, done, steps)

        tell(0)
        yield tell
        tell(steps)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def kept(self, name: str, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors that an earlier run kept under this name and key, else those of `make`, which are then kept."""
        if self.folder is None:
            return make()
        try:  # before the work, so that a folder that cannot be written to is found out in time
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror or error})") from error
        path = self.folder / f"{name}.safetensors"
        found = _read(path, key)
        if found is not None:
            self.resumed.append(name)
            return {label: value.to(self.device) for label, value in found.items()}
        made = make()
        with replacing_file(path) as temporary:
            try:
                save_file({k: v.detach().cpu().contiguous() for k, v in made.items()}, temporary, {"key": key})
            except SafetensorError as error:
                raise InputError(f"{path}: cannot be written ({error})") from error
        return made


def key_of(*parts) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """What is kept there, if it is whole and has this key."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, RuntimeError):
        return None


def release() -> None:
    """Give cached GPU memory back between stages."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

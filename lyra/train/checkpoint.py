"""What all trainers share: checkpoints from which runs go on exactly, averaged weights, the learning rate's course."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save(path: Path, parts: Mapping[str, Any], generators: Sequence[torch.Generator] = (), **facts: Any) -> None:
    """Write the states of `parts` (networks, optimisers) and of the generators, and plain facts; never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"generators": [generator.get_state() for generator in generators], **facts}
    torch.save(state, f"{path}.part")
    os.replace(f"{path}.part", path)


def read(path: Path, device: torch.device) -> dict[str, Any]:
    """What `save` wrote, for `put`; the facts are in it by name."""
    return torch.load(path, map_location=device, weights_only=True)


def put(state: Mapping[str, Any], parts: Mapping[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Give parts and generators the states that `read` has found."""
    for name, part in parts.items():
        part.load_state_dict(state[name])
    for generator, saved in zip(generators, state["generators"], strict=True):
        generator.set_state(saved.cpu())


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, ema: float, step: int) -> None:
    """Move averaged weights on after step number `step` (from 1); early ones are averaged over fewer steps."""
    decay = min(ema, (1 + step) / (10 + step))
    pairs: tuple[list[Tensor], list[Tensor]] = (list(average.parameters()), list(network.parameters()))
    torch._foreach_lerp_(*pairs, 1 - decay)


def falling(step: int, warmup_steps: int, progress: float, high: float, low: float) -> float:
    """Learning rate: linear warm-up in steps, then half a cosine from `high` to `low` as progress goes from 0 to 1."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return min(1.0, (step + 1) / warmup_steps) * (low + (high - low) * cosine)


class Resumable:
    """A trainer: what `save` writes is its `parts`, two generators, and how far it has come."""

    recipe: Any  # with warmup_steps, learning_rate and final_rate
    device: torch.device
    generator: torch.Generator
    noise: torch.Generator
    step: int
    elapsed: float

    def parts(self) -> dict[str, Any]:
        """Networks and optimisers by the names they have in a checkpoint."""
        raise NotImplementedError

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the whole schedule."""
        r = self.recipe
        return falling(self.step, r.warmup_steps, progress, r.learning_rate, r.final_rate)

    def save(self, path: Path) -> None:
        """Everything needed to go on."""
        save(path, self.parts(), (self.generator, self.noise), step=self.step, elapsed=self.elapsed)

    def restore(self, path: Path) -> None:
        """Go on from `save`."""
        state = read(path, self.device)
        put(state, self.parts(), (self.generator, self.noise))
        self.step, self.elapsed = state["step"], state["elapsed"]

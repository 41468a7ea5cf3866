"""One training process among several: torchrun (or `accelerate launch`) starts them, gradients are averaged here.

Averaging once a step, after all of a process's backward passes, suits deferred back-propagation and gradient
accumulation, where wrapping the network (DDP) would need to know which pass is the last.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from lyra.scene import require


@dataclass(frozen=True)
class Processes:
    """This process's number and device, and how many there are."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    def start(cls, device: str | None = None) -> "Processes":
        """Join the group that torchrun's environment describes, or be alone. `device` "cpu" forces gloo."""
        count, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
        kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        require(kind in ("cpu", "cuda"), f"training runs on cpu or cuda, not on {kind!r}")
        require(kind == "cpu" or torch.cuda.is_available(), "training on cuda needs an NVIDIA GPU and a CUDA build")
        place = torch.device("cuda", local) if kind == "cuda" else torch.device("cpu")
        if kind == "cuda":
            torch.cuda.set_device(place)
        if count > 1 and not distributed.is_initialized():
            # Making the first samples may take minutes on one process and not on another.
            distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(minutes=30))
        return cls(distributed.get_rank() if count > 1 else 0, count, place)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in one message."""
        tensors = list(tensors)
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = (flat / self.count).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    def agree(self, value: float | int) -> float:
        """The first process's value on all of them (a decision that must fall the same everywhere)."""
        if self.count == 1:
            return float(value)
        flag = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(flag, 0)
        return float(flag)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def stop(self) -> None:
        """Leave the group."""
        if self.count > 1:
            distributed.destroy_process_group()

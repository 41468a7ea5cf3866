"""One training process among several: torchrun or `accelerate launch` starts them, Accelerate joins them.

Gradients are averaged once a step, after all of a process's backward passes. That suits deferred back-propagation and
gradient accumulation, where a wrapped network (DDP) would need to know which pass is the last. Networks too large for
one device are cut into shards instead, see lyra/train/sharding.py. A process that is alone needs no Accelerate.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

from lyra.scene import InputError, require


@dataclass(frozen=True)
class Processes:
    """This process's number and device, how many there are, and whether blocks that may compute in bfloat16 are to
    (None: as the network likes)."""

    rank: int
    count: int
    device: torch.device
    bf16: bool | None = None

    @classmethod
    def start(cls, device: str | None = None) -> "Processes":
        """Join the group that the environment describes, or be alone. `device` "cpu" forces gloo.

        Raises InputError for a device that is not there, a precision that is not offered, or several processes
        without Accelerate.
        """
        kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        require(kind in ("cpu", "cuda"), f"training runs on cpu or cuda, not on {kind!r}")
        require(kind == "cpu" or torch.cuda.is_available(), "training on cuda needs an NVIDIA GPU and a CUDA build")
        bf16 = _bf16()
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return cls(0, 1, torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu"), bf16)
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise InputError(
                'training on several processes needs the package accelerate: pip install "lyra-3d[train]"'
            ) from error
        # Making the first samples may take minutes on one process and not on another.
        state = PartialState(cpu=kind == "cpu", timeout=timedelta(minutes=30))
        place = state.device if kind == "cuda" else torch.device("cpu")  # theirs is cpu:0, which torch.load refuses
        return cls(state.process_index, state.num_processes, place, bf16)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in one message."""
        tensors = list(tensors)
        if self.count == 1 or not tensors:
            return
        from accelerate.utils import reduce

        means = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "mean")
        parts = means.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    def agree(self, value: float | int) -> float:
        """The first process's value on all of them (a decision that must fall the same everywhere)."""
        if self.count == 1:
            return float(value)
        from accelerate.utils import broadcast

        return float(broadcast(torch.tensor([value], dtype=torch.float64, device=self.device)))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def stop(self) -> None:
        """Leave the group."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


def _bf16() -> bool | None:
    """What `accelerate launch --mixed_precision` asks for; its "no" is also what it says when nothing was asked."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    require(asked in ("no", "bf16"), f"training computes in float32 or bfloat16, so --mixed_precision is not {asked}")
    return True if asked == "bf16" else None

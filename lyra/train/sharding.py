"""Training a network too large for one device: FSDP2 cuts each weight into one shard a process.

Weights are gathered block by block while they are used; gradients, averaged over the processes by every backward
pass, running averages and the optimiser exist as shards only (Zhao et al. 2023, PyTorch FSDP; here its second
version, `torch.distributed.fsdp.fully_shard`). Accelerate's own plugin for it cannot run on CPUs, so it could not be
tested against one process; this can.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from lyra.decoder import SplatDecoder
from lyra.train.processes import Processes


def shard(decoders: list[SplatDecoder], processes: Processes) -> None:
    """Cut the weights of decoders, the same on all processes, in place; before the optimiser is made."""
    # Outputs are views; the warning is about changing them in place, which deferred back-propagation does not do.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for decoder in decoders:
        for block in decoder.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(decoder, mesh=mesh, reshard_after_forward=False)  # embeddings and head are small


class Whole:
    """A sharded network or its optimiser, seen as if it were not: states have whole tensors, on the CPU.

    All processes must ask together. So checkpoints are the same files with and without shards, for any number of
    processes.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        self._network, self._optimizer = network, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Of the optimiser, if one was given, else of the network."""
        return tree_map(whole, (self._optimizer or self._network).state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave, or the state of a network or optimiser without shards."""
        if self._optimizer is None:
            own = self._network.state_dict()
            self._network.load_state_dict({name: _like(value, own[name]) for name, value in state.items()})
            return
        order = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        moments = {
            index: {name: _like(value, order[index]) if value.ndim else value for name, value in found.items()}
            for index, found in state["state"].items()
        }
        self._optimizer.load_state_dict({**state, "state": moments})


def whole(value: Any) -> Any:
    """A sharded tensor put together, on the CPU; anything else as it is."""
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _like(value: Tensor, shards: DTensor) -> DTensor:
    """This process's part of a whole tensor that all of them have."""
    return distribute_tensor(value.to(shards.device), shards.device_mesh, shards.placements)

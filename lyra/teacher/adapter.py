"""Low-rank changes of a network's weights (LoRA: Hu et al. 2021, Eq. 3), by which a denoiser learns a second task.

The weights of the first task stay as they are to the last bit, and the second one costs a fraction of their size. In
use the change is added to a copy of the weights, so that it takes no time.
"""

from copy import deepcopy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lyra.scene import require
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher
from lyra.weights import fingerprint, load_folder, save_folder

_READ = ("patch_embed", "attn1", "attn2", "ff", "proj_out")  # layers of tokens; those of the noise level stay


class LowRank(nn.Module):
    """A linear layer with a trainable change of its weight, up^T @ down; without effect at first."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.down = nn.Parameter(torch.randn(rank, layer.in_features, **like) / layer.in_features**0.5)
        # [rank, out], because weights are stored with one scale a row
        self.up = nn.Parameter(torch.zeros(rank, layer.out_features, **like))

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """The changed weight."""
        return self.layer.weight + self.up.T @ self.down

    def forward(self, x: Float[Tensor, "*b in"]) -> Float[Tensor, "*b out"]:
        return functional.linear(x, self.weight, self.layer.bias)


def attach(network: nn.Module, rank: int) -> nn.Module:
    """A copy of a Cosmos transformer in which the layers of tokens can change by matrices of this rank, and nothing
    else; its parameters that are learnt are the factors that `merged` takes.

    A network that never read text (attn2.to_out all zero, as training on videos leaves it) can still learn to, as long
    as attn2.to_v is not zero too: a product of two zero layers has no gradient by either.
    """
    changed = deepcopy(network).requires_grad_(False)
    for name in _layers(changed):
        parent, _, last = name.rpartition(".")
        setattr(changed.get_submodule(parent), last, LowRank(changed.get_submodule(name), rank))
    return changed


@torch.no_grad()
def merged(network: nn.Module, factors: dict[str, Tensor]) -> nn.Module:
    """A copy of the network with the changes NAME.up^T [out, rank] @ NAME.down [rank, in] added to the weights.

    Raises InputError if they are not those of such a network.
    """
    changed = deepcopy(network)
    names = _layers(changed)
    expected = {f"{name}.{part}" for name in names for part in ("up", "down")}
    require(
        factors.keys() == expected, f"the adapter belongs to another network: it changes {len(factors) // 2} layers"
    )
    for name in names:
        weight, up, down = changed.get_submodule(name).weight, factors[f"{name}.up"], factors[f"{name}.down"]
        fits = up.shape[1:] + down.shape[1:] == weight.shape and len(up) == len(down)
        require(fits, f"the adapter belongs to another network: {name} is {list(weight.shape)}")
        weight += up.to(weight).T @ down.to(weight)
    return changed


def save(folder: str | Path, factors: dict[str, Tensor], base: str | Path, precision: str = "int7") -> None:
    """Write the factors to a folder, with the fingerprint of the denoiser's folder `base` that they belong to."""
    save_folder(folder, factors, {"denoiser": fingerprint(base)}, precision)


def read(folder: str | Path, base: str | Path) -> dict[str, Tensor]:
    """The factors that `save` wrote; InputError if they belong to another denoiser than that in the folder `base`."""
    values, factors = load_folder(folder)
    same = values.get("denoiser") == fingerprint(base)
    require(same, f"{folder} was trained on another denoiser than the one in {base}")
    return factors


def load(folder: str | Path, base: str | Path, codec: VideoCodec) -> CosmosTeacher:
    """The denoiser in the folder `base` with the changes that `save` wrote; InputError if it is another one."""
    factors = read(folder, base)
    teacher = CosmosTeacher.load(base, codec)
    return CosmosTeacher(codec, merged(teacher.network, factors), teacher.config, teacher.sampling)


def _layers(network: nn.Module) -> list[str]:
    """The names of the layers that an adapter changes."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and any(part in name.split(".") for part in _READ)
    ]

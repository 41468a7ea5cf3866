"""Muon for the matrices of a network, AdamW for the rest, in one optimiser.

Muon (Jordan et al. 2024) replaces the momentum of a weight matrix by the nearest orthogonal one, found by five
Newton-Schulz steps; the factor 0.2 sqrt(max(rows, columns)) gives its update the size of AdamW's (Liu et al. 2025, Sec.
2.2), so both share one learning rate. Convolution kernels count as matrices [out, in x taps]. Matrices of one shape
are treated together, which keeps the number of kernels small.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315  # the quintic whose iteration drives singular values to about 1


class Muon(torch.optim.Optimizer):
    """Learning rate `lr` for everything; parameters with two or more dimensions of at least `smallest` use Muon."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        smallest: int = 16,
    ) -> None:
        matrices, others = [], []
        for parameter in parameters:
            is_matrix = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= smallest
            (matrices if is_matrix else others).append(parameter)
        shared = {"momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        groups = [{"params": matrices, "muon": True}, {"params": others, "muon": False}]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, **shared})

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients; parameters without a gradient are left alone."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["weight_decay"] and parameters:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            (self._muon if group["muon"] else self._adam)(parameters, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict) -> None:
        shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
        for (rows, columns), alike in shapes.items():
            grads = [p.grad.float() for p in alike]
            buffers = [self._buffer(p, "momentum") for p in alike]
            torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
            look_ahead = torch._foreach_lerp(grads, buffers, group["momentum"])  # Nesterov
            updates = orthogonal(torch.stack([u.reshape(rows, columns) for u in look_ahead]))
            size = group["lr"] * 0.2 * max(rows, columns) ** 0.5
            for parameter, update in zip(alike, updates, strict=True):
                parameter.sub_((size * update).reshape(parameter.shape).to(parameter.dtype))

    def _adam(self, parameters: list[nn.Parameter], group: dict) -> None:
        first, second = group["betas"]
        for parameter in parameters:
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
            mean = self._buffer(parameter, "mean").lerp_(parameter.grad.float(), 1 - first)
            square = self._buffer(parameter, "square").lerp_(parameter.grad.float().square(), 1 - second)
            scale = (square / (1 - second ** state["step"])).sqrt().add_(1e-8)
            parameter.sub_((group["lr"] / (1 - first ** state["step"]) * mean / scale).to(parameter.dtype))

    def _buffer(self, parameter: nn.Parameter, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, dtype=torch.float32, memory_format=torch.contiguous_format)
        return state[name]


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Matrices [n, rows, columns] with their singular values driven to about 1 (0.7 to 1.2), in bfloat16."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x

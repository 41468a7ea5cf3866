"""Deferred back-propagation: the memory of a step does not grow with the number of views (ARF, Zhang et al. 2022, 3.3).

The Gaussians are cut off from the network; a few views at a time are drawn, compared and differentiated, their
gradients add up on the Gaussians, and one backward pass then goes through the network. The result is the gradient of
the sum of all views' losses. The published code draws all views twice for the same purpose.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lyra.render import Rendering, render
from lyra.scene import Cameras, Gaussians

_FIELDS = ("means", "quats", "scales", "opacities", "sh")


def backward_through_views(
    gaussians: Gaussians,
    cameras: Cameras,
    loss: Callable[[Rendering, Int64[Tensor, " k"]], Float[Tensor, ""]],
    background: Float[Tensor, "3"] | None = None,
    chunk: int = 4,
    extra: Callable[[Gaussians], Float[Tensor, ""]] | None = None,
) -> None:
    """Add the gradient of sum(loss of each chunk) + extra(gaussians) to whatever `gaussians` were computed from.

    `cameras` have the shape (n,). `loss` gets the rendering of up to `chunk` views and their indices into the n; it
    must weigh itself (for a mean over views: by the share of views in the chunk).
    """
    leaves = {name: getattr(gaussians, name).detach().requires_grad_() for name in _FIELDS}
    scene = replace(gaussians, **leaves)
    for indices in torch.arange(len(cameras)).split(chunk):
        loss(render(scene, cameras[indices.to(cameras.c2w.device)], background), indices).backward()
    if extra is not None:
        extra(scene).backward()
    pairs = [(getattr(gaussians, name), leaf.grad) for name, leaf in leaves.items() if leaf.grad is not None]
    pairs = [(output, grad) for output, grad in pairs if output.requires_grad]
    torch.autograd.backward(*(list(side) for side in zip(*pairs, strict=True)))

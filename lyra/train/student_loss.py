"""What a rendered view is compared with: the teacher's frame and the depth of the warped cache."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from lyra.render import Rendering
from lyra.train.losses import colour_loss, depth_loss


@dataclass(frozen=True)
class StudentLoss:
    """Weights of the terms; 0 leaves a term out. Published: mse 1, lpips 0.5, depth 0.05, opacity 0.1 while pruning.

    `log_depth` is ours: L1 of log depth where the cache shows something. The cache has the cameras' unit, so there is
    no scale or shift to be free of, and a short training finds the geometry sooner.
    """

    mse: float = 1.0
    lpips: float = 0.5
    depth: float = 0.05
    log_depth: float = 0.0
    opacity: float = 0.0


def view_loss(
    rendering: Rendering,
    images: Float[Tensor, "n 3 h w"],
    depth: Float[Tensor, "n h4 w4"],
    lpips: nn.Module | None,
    weights: StudentLoss,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The weighted sum over the terms, each a mean over views, and the detached terms. Images in [0, 1].

    `depth` is along z at every k-th pixel from k / 2 on (k = h / h4), 0 where unknown: there no depth is asked for.
    """
    step = rendering.depth.shape[-1] // depth.shape[-1]
    drawn = rendering.depth[:, 0, step // 2 :: step, step // 2 :: step]
    terms = {"mse": colour_loss(rendering.rgb, images)}
    if weights.lpips and lpips is not None:
        terms["lpips"] = lpips(rendering.rgb.clamp(0, 1), images).mean()
    if weights.depth:
        terms["depth"] = depth_loss(drawn[:, None], depth[:, None])
    if weights.log_depth:
        valid = (depth > 0) & (drawn > 0)
        error = (drawn.clamp_min(1e-4).log() - depth.clamp_min(1e-4).log()).abs()
        terms["log_depth"] = (error * valid).sum() / valid.sum().clamp_min(1)
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return total, {name: value.detach() for name, value in terms.items()}

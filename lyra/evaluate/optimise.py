"""The peer of the student: Gaussians optimised for one scene on the same frames, as a user would do it today.

3D Gaussian splatting (Kerbl et al. 2023) with the relocation and growth of 3DGS-MCMC (Kheradmand et al. 2024), colours
without view dependence like the student's. Learning rates and weights are gsplat's defaults for that strategy.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.metrics import ssim
from lyra.pipeline.refine import Parameters
from lyra.render import render
from lyra.scene import Cameras, Gaussians, require
from lyra.scene.rotations import quat_to_matrix

_RATES = {"means": 1.6e-4, "quats": 1e-3, "log_scales": 5e-3, "logits": 5e-2, "sh": 2.5e-3}


@dataclass(frozen=True)
class OptimiseOptions:
    """Steps of one view each; relocation and growth by 5 % every `refine_every` steps between two shares of the run.

    `most` bounds the number of Gaussians; regularisers push opacities and scales down, noise explores.
    """

    steps: int = 3000
    ssim: float = 0.2
    refine_every: int = 100
    refine_from: float = 0.05
    refine_until: float = 0.8
    growth: float = 1.05
    most: int = 300_000
    dead: float = 0.005
    opacity_cost: float = 0.01
    scale_cost: float = 0.01
    noise: float = 5e5
    seed: int = 0


def optimise(
    start: Gaussians,
    cameras: Cameras,
    frames: UInt8[Tensor, "n 3 h w"],
    background: Float[Tensor, "3"],
    options: OptimiseOptions | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Gaussians:
    """Fit Gaussians to n frames, beginning with `start`, whose scenes have a size of about 1; `on_step` sees the loss.

    Raises InputError if frames and cameras do not belong together.
    """
    options = options or OptimiseOptions()
    size = (len(frames), cameras.height, cameras.width)
    require(
        cameras.shape == (len(frames),) and tuple(frames.shape[2:]) == size[1:],
        f"optimisation needs a camera of the same size for each frame, got {list(frames.shape)} and {cameras.shape}",
    )
    state = _Splats(start)
    generator = torch.Generator().manual_seed(options.seed)
    shaking = torch.Generator(start.means.device).manual_seed(options.seed)  # on the device: it is the speed of a peer
    decay = 0.01 ** (1 / options.steps)
    order = torch.zeros(0, dtype=torch.long)
    first, last = (round(options.steps * share) for share in (options.refine_from, options.refine_until))
    for step in range(options.steps):
        if len(order) == 0:
            order = torch.randperm(len(frames), generator=generator)
        index, order = int(order[0]), order[1:]
        loss = _loss(state, cameras[index], frames[index].to(start.means) / 255, background, options)
        loss.backward()
        state.step(_RATES | {"means": _RATES["means"] * decay**step})
        if first <= step < last and step % options.refine_every == 0:
            state.relocate(options, generator)
            state.grow(options, generator)
        state.explore(options, decay**step, shaking)
        if on_step is not None:
            on_step(step, float(loss.detach()))
    return state.gaussians().detach()


def _loss(state: "_Splats", camera: Cameras, target: Tensor, background: Tensor, options: OptimiseOptions) -> Tensor:
    """L1 and SSIM against one frame, and the regularisers."""
    scene = state.gaussians()
    drawn = render(scene, camera, background).rgb
    error = (1 - options.ssim) * functional.l1_loss(drawn, target) + options.ssim * (1 - ssim(drawn, target))
    return error + options.opacity_cost * scene.opacities.mean() + options.scale_cost * scene.scales.mean()


class _Splats(Parameters):
    """Parameters whose number changes."""

    def __init__(self, start: Gaussians) -> None:
        super().__init__(start, (0.01, 0.5), (0.9, 0.999))

    @torch.no_grad()
    def relocate(self, options: OptimiseOptions, generator: torch.Generator) -> None:
        """Move Gaussians that have faded onto visible ones, which share their opacity with them (Sec. 3.3)."""
        opacities = self.values["logits"].sigmoid()
        dead = (opacities <= options.dead).nonzero()[:, 0]
        if 0 < len(dead) < len(opacities):
            weights = torch.where(opacities > options.dead, opacities, 0)
            sources = self._split(weights, len(dead), generator)
            for value in self.values.values():
                value[dead] = value[sources]
            self._forget(dead)

    @torch.no_grad()
    def grow(self, options: OptimiseOptions, generator: torch.Generator) -> None:
        """Add copies of visible Gaussians."""
        now = len(self.values["means"])
        more = min(options.most, int(options.growth * now)) - now
        if more > 0:
            sources = self._split(self.values["logits"].sigmoid(), more, generator)
            for name, value in self.values.items():
                self.values[name] = torch.cat([value, value[sources]]).requires_grad_()
                self.moments[name] = [torch.cat([m, torch.zeros_like(m[sources])]) for m in self.moments[name]]

    def _split(self, weights: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` Gaussians to be copied, and make each as faint and small as its copies will be."""
        sources = torch.multinomial(weights.cpu().double(), count, True, generator=generator).to(weights.device)
        copies = 1 + torch.bincount(sources, minlength=len(weights))
        chosen = sources.unique()
        opacity, shrink = shared(self.values["logits"][chosen].sigmoid(), copies[chosen])
        self.values["logits"][chosen] = opacity.clamp(0.005, 1 - 1e-6).logit()
        self.values["log_scales"][chosen] += shrink.log()[:, None]
        self._forget(chosen)
        return sources

    def _forget(self, index: Tensor) -> None:
        for moments in self.moments.values():
            for moment in moments:
                moment[index] = 0

    @torch.no_grad()
    def explore(self, options: OptimiseOptions, decay: float, generator: torch.Generator) -> None:
        """Shake the means of faint Gaussians within their own shape (Eq. 6 and 7)."""
        scene = self.gaussians()
        faint = torch.sigmoid(-100 * (scene.opacities - options.dead))
        draw = torch.randn(scene.means.shape, generator=generator, device=faint.device) * faint[:, None]
        rotation = quat_to_matrix(scene.quats)
        local = (rotation.transpose(1, 2) @ draw[..., None])[..., 0] * scene.scales.square()
        moved = (rotation @ local[..., None])[..., 0]
        self.values["means"].add_(moved, alpha=options.noise * _RATES["means"] * decay)


def shared(opacity: Float[Tensor, " n"], copies: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Opacity of each of N copies and the factor on their scales so that they look like the one (Eq. 9)."""
    copies = copies.clamp(max=51)
    each = 1 - (1 - opacity.double()) ** (1 / copies)
    total = torch.zeros_like(each)
    for i in range(1, int(copies.max()) + 1):
        k = torch.arange(i, dtype=torch.float64, device=each.device)
        binomial = (torch.lgamma(torch.tensor(float(i))) - torch.lgamma(k + 1) - torch.lgamma(i - k)).exp()
        terms = binomial * (-1.0) ** k / (k + 1).sqrt() * each[:, None] ** (k + 1)
        total += torch.where(copies >= i, terms.sum(1), 0)
    return each.to(opacity), (opacity.double() / total).to(opacity)

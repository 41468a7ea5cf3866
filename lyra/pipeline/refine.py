"""A short fit of a finished scene to the teacher's own frames: what the feed-forward decoder leaves blurred, sharpened.

The decoder predicts all Gaussians in one pass and never sees its own picture. Here they take a few steps of gradient
descent against the frames that the teacher imagined: the paper's self-distillation (Section 3.2), of one scene instead
of the decoder, so no picture but the photograph takes part. docs/log.md has the numbers with and without.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.metrics import ssim
from lyra.render import render
from lyra.scene import Cameras, Gaussians, require
from lyra.scene.rotations import normalize

NAMES = ("means", "quats", "log_scales", "logits", "sh")
RATES = {"means": 1e-3, "quats": 3e-3, "log_scales": 1e-2, "logits": 5e-2, "sh": 1e-2}
"""Of Adam, where the scene's unit is its median depth; they fall to zero along a line."""

STANDARD_STEPS, FULL_STEPS, MOST_STEPS = 16, 160, 10_000
"""One frame each."""

PATHS = 4

_SSIM, _OPAQUE = 0.2, 0.995
_MOMENTS = (0.9, 0.99)  # the second is short: a run has few steps


class Parameters:
    """Gaussians before their activations, as leaves of autograd, with Adam's moments beside them."""

    def __init__(self, start: Gaussians, opacities: tuple[float, float], moments: tuple[float, float]) -> None:
        logits = start.opacities.clamp(*opacities).logit()
        values = (start.means, start.quats, start.scales.log(), logits, start.sh)
        self.values = {n: v.detach().clone().requires_grad_() for n, v in zip(NAMES, values, strict=True)}
        self.moments = {n: [torch.zeros_like(v), torch.zeros_like(v)] for n, v in self.values.items()}
        self.decays = moments
        self.count = 0

    def gaussians(self) -> Gaussians:
        """The scene as it is drawn."""
        v = self.values
        return Gaussians(v["means"], normalize(v["quats"]), v["log_scales"].exp(), v["logits"].sigmoid(), v["sh"])

    @torch.no_grad()
    def step(self, rates: dict[str, float]) -> None:
        """One step of Adam (Kingma and Ba 2015). Gradients are used up."""
        self.count += 1
        slow, fast = self.decays
        for name, value in self.values.items():
            first, second = self.moments[name]
            first.lerp_(value.grad, 1 - slow)
            second.lerp_(value.grad.square(), 1 - fast)
            unbiased = (second / (1 - fast**self.count)).sqrt_().add_(1e-15)
            value.addcdiv_(first, unbiased, value=-rates[name] / (1 - slow**self.count))
            value.grad = None


def fit(
    scene: Gaussians,
    cameras: Cameras,
    targets: UInt8[Tensor, "n 3 h w"],
    steps: int,
    unit: float = 1.0,
    seed: int = 0,
    fixed: Bool[Tensor, " n2"] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Gaussians:
    """Fit the scene to n frames for some steps of one frame each; number and marks of the Gaussians stay.

    `unit` is the median depth in the scene's unit. Gaussians that are `fixed` are drawn and stay as they are: pixels of
    a photograph would move one by one, each as its own few gradients say, and crumble. Each step has a background of
    another colour, so that nothing is left transparent because it happens to fit. Same seed, same result. Raises
    InputError if cameras and frames do not belong together.
    """
    fits = cameras.shape == (len(targets),) and tuple(targets.shape[2:]) == (cameras.height, cameras.width)
    require(fits, f"refining needs a camera for each frame, got {cameras.shape} and {list(targets.shape)}")
    if steps == 0 or len(scene) == 0 or (fixed is not None and bool(fixed.all())):
        return scene
    fixed = torch.zeros(len(scene), dtype=torch.bool) if fixed is None else fixed
    fixed = fixed.to(scene.means.device)
    still, back = scene[fixed], torch.cat([fixed.nonzero(), (~fixed).nonzero()])[:, 0].argsort()
    state = Parameters(scene[~fixed], (1 - _OPAQUE, _OPAQUE), _MOMENTS)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for step in range(steps):
        order = order or torch.randperm(len(targets), generator=generator).tolist()
        index = order.pop()
        background = torch.rand(3, generator=generator).to(scene.means)
        drawn = render(Gaussians.concat([still, state.gaussians()]), cameras[index], background).rgb
        target = targets[index].to(scene.means) / 255
        loss = (1 - _SSIM) * functional.l1_loss(drawn, target) + _SSIM * (1 - ssim(drawn, target))
        loss.backward()
        left = 1 - step / steps
        state.step({name: left * rate * (unit if name == "means" else 1) for name, rate in RATES.items()})
        if on_step is not None:
            on_step(step + 1)
    made = Gaussians.concat([still, state.gaussians().detach()])[back]
    return Gaussians(made.means, made.quats, made.scales, made.opacities, made.sh, scene.seen)


def default_steps(quality: str, device: torch.device) -> int:
    """Steps of a quality. The standard one has none on a CPU, where they took 15 seconds."""
    if quality == "standard":
        return STANDARD_STEPS if device.type == "cuda" else 0
    return FULL_STEPS if quality == "full" else 0


def chosen(known: Bool[Tensor, "v t h w"]) -> tuple[list[int], slice]:
    """The paths and frames that are worth fitting to, from where the photograph's pixels are known along all paths.

    PATHS paths that show most of what the photo does not, and of these what comes after the first third: elsewhere
    there is less to mend, and decoding frames costs as much as fitting.
    """
    paths = known.float().mean((1, 2, 3)).argsort(stable=True)[:PATHS]
    return paths.tolist(), slice(known.shape[1] // 3, None)

"""What is asked of the pipeline: quality, paths, seed, model and size, checked once."""

from dataclasses import dataclass
from itertools import pairwise

from lyra import weights
from lyra.scene import require
from lyra.scene.lyra_paths import LYRA_SET, STUDENT_ORDER
from lyra.teacher.gen3c import is_gen3c
from lyra.teacher.sampler import Levels

QUALITIES = ("draft", "standard", "full")
"""draft: no diffusion, what the photo shows from the new places, holes included; standard: the steps that the weights
were made for; full: FINER times as many."""

FINER = 4


@dataclass(frozen=True)
class Format:
    """Size and length of the videos a model makes."""

    width: int
    height: int
    frames: int


MINI_FORMAT = Format(448, 256, 25)
PUBLISHED_FORMAT = Format(1280, 704, 121)
_SIDES = (64, 4096)


@dataclass(frozen=True)
class Order:
    """The options of `generate` and `imagine`.

    trajectories: the first so many of the method's six paths in the decoder's order. motion: factor on how far the
    camera travels. size: (width, height) in pixels, multiples of 16; None is the model's own. Raises InputError.
    """

    quality: str = "standard"
    trajectories: int = len(LYRA_SET)
    motion: float = 1.0
    seed: int = 0
    model: str = "mini"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        require(self.quality in QUALITIES, f"the quality is one of {', '.join(QUALITIES)}, not {self.quality!r}")
        require(
            1 <= self.trajectories <= len(LYRA_SET),
            f"between 1 and {len(LYRA_SET)} trajectories can be made, not {self.trajectories}",
        )
        require(0 < self.motion <= 4, f"the motion must lie above 0 and not above 4, got {self.motion}")
        require(0 <= self.seed < 2**32, f"the seed must be a whole number from 0 to 2^32 - 1, got {self.seed}")
        width, height = self.format.width, self.format.height
        low, high = _SIDES
        good = all(low <= side <= high and side % 16 == 0 for side in (width, height))
        require(
            good, f"the size must be multiples of 16 from {low} to {high} pixels, like 448x256, got {width}x{height}"
        )

    @property
    def format(self) -> Format:
        """Size and length of the videos."""
        own = PUBLISHED_FORMAT if is_gen3c(weights.place(self.model)) else MINI_FORMAT
        return own if self.size is None else Format(*self.size, own.frames)

    @property
    def folders(self) -> tuple[int, ...]:
        """Indices into LYRA_SET of the paths to make, in the order in which the decoder receives them."""
        return STUDENT_ORDER[: self.trajectories]


def finer(sigmas: list[float]) -> Levels:
    """FINER times as many noise levels as `sigmas` (falling, the last one 0) on the same way from noise to nothing.

    Between two levels they fall by equal factors, towards the final 0 by halves.
    """
    levels = []
    for high, low in pairwise(sigmas):
        factor = 0.5 if low == 0 else (low / high) ** (1 / FINER)
        levels += [high * factor**step for step in range(FINER)]
    return Levels(tuple(levels))

"""The student's schedule as data: stages of inputs, targets, losses and pruning."""

import json
from dataclasses import asdict, dataclass, field, replace

from lyra.scene import require
from lyra.train.student_loss import StudentLoss


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    steps: how long, absolutely or (against the clock) as a share of the sum. trajectories: fewest and most paths that
    the student reads, drawn for each sample. views: target frames drawn a path, later ones preferred by
    exp(far x position); the shared first frame is always among the targets. keep: share of Gaussians kept by opacity.
    inputs: frames that are read, None for the stored latents; else so many frames, the first, the last and random ones
    between them, are shrunk to `size` and encoded anew.
    """

    name: str
    steps: int
    trajectories: tuple[int, int] = (1, 6)
    views: int = 2
    far: float = 3.0
    keep: float | None = None
    loss: StudentLoss = field(default_factory=StudentLoss)
    inputs: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        low, high = self.trajectories
        require(1 <= low <= high, f"stage {self.name}: needs 1 <= fewest <= most trajectories, got {low} to {high}")
        require(self.steps >= 1 and self.views >= 1, f"stage {self.name}: needs at least 1 step and 1 view")
        require(
            (self.inputs is None) == (self.size is None),
            f"stage {self.name}: inputs and size go together (both None: stored latents)",
        )


@dataclass(frozen=True)
class StudentTraining:
    """The recipe: stages, optimiser (AdamW), and what a step is made of.

    batch: samples a step over all processes. chunk: views drawn at a time. pool: samples held with decoded frames by a
    process; after each `renew_every` steps one of them is replaced (0: never). The learning rate warms up over
    `warmup_steps`, then falls to `final_rate` along half a cosine (equal rates: constant). time_rate: that of the
    embeddings of times over that of all other weights.
    """

    stages: tuple[Stage, ...]
    learning_rate: float = 1e-4
    final_rate: float = 1e-4
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    time_rate: float = 1.0
    ema: float = 0.999
    batch: int = 1
    chunk: int = 4
    pool: int = 256
    renew_every: int = 4
    save_every: float = 60.0

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage(self, progress: float) -> Stage:
        """The stage at `progress` in [0, 1] of all steps."""
        before = 0
        for stage in self.stages:
            before += stage.steps
            if progress * self.steps < before:
                return stage
        return self.stages[-1]

    def text(self) -> str:
        """The resolved recipe as JSON, saved with each run."""
        return json.dumps(asdict(self), indent=1) + "\n"


_PLAIN, _PRUNE = StudentLoss(), StudentLoss(opacity=0.1)
_CLIP = Stage("clip", 1, trajectories=(1, 1), views=49, far=0.0)

# The published schedule of the static model (Lyra's configs 1 to 7); its batch was 8 processes of 4, 4, 2 or 1 clips.
# Published targets are the teacher's H.264 files, ours are its decoded latents.
PUBLISHED = StudentTraining(
    stages=(
        replace(_CLIP, name="176p 17", steps=10_000, views=17, inputs=17, size=(176, 320)),
        replace(_CLIP, name="176p 49", steps=2_500, inputs=49, size=(176, 320)),
        replace(_CLIP, name="352p 49", steps=2_500, inputs=49, size=(352, 640)),
        replace(_CLIP, name="704p 49", steps=2_500, inputs=49, size=(704, 1280)),
        replace(_CLIP, name="704p 121", steps=57_500, views=9),
        Stage("six paths", 7_000, views=9),
        Stage("prune", 1_000, views=9, keep=0.2, loss=_PRUNE),
    ),
    ema=0.0,
    batch=8,
    chunk=1,
    pool=8,
    renew_every=1,
)

_FAST = StudentLoss(lpips=0.0, log_depth=0.2)
_FULL = StudentLoss(log_depth=0.1)
# One run of minutes on an H100: geometry and colour first, then perception, then pruning.
MINI = StudentTraining(
    stages=(
        Stage("geometry", 30, trajectories=(2, 6), far=0.0, loss=_FAST),
        Stage("detail", 55, trajectories=(6, 6), far=0.0, loss=_FULL),
        Stage("prune", 15, trajectories=(6, 6), far=0.0, keep=0.5, loss=replace(_FULL, opacity=0.02)),
    ),
    learning_rate=1e-3,
    final_rate=2e-5,
    warmup_steps=50,
    betas=(0.9, 0.99),
    ema=0.998,
    time_rate=30.0,
    renew_every=16,
)

# A further run from weights of the first (--start), as when the teacher has changed.
MINI_ON = replace(MINI, stages=MINI.stages[1:], learning_rate=6e-4)

TINY = StudentTraining(
    stages=(
        Stage("detail", 30, trajectories=(1, 2), loss=replace(_FULL, lpips=0.1)),
        Stage("prune", 10, trajectories=(1, 2), keep=0.5, loss=replace(_FULL, lpips=0.1, opacity=0.02)),
    ),
    learning_rate=2e-3,
    final_rate=1e-4,
    warmup_steps=5,
    ema=0.9,
    pool=2,
    renew_every=20,
    save_every=5.0,
)

PRESETS = {"published": PUBLISHED, "mini": MINI, "mini-on": MINI_ON, "tiny": TINY}

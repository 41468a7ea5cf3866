"""Teacher samples as training data: a first view in, six imagined videos as latents with their cameras out (Lyra, 3.2).

No true image but the first one takes part. Lengths are in units of the first view's median depth, so that the student
always sees scenes of one size.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from lyra.scene import Cameras, require
from lyra.scene.limits import limit
from lyra.scene.lyra_paths import LyraPath, lyra_set
from lyra.scene.trajectories import follow
from lyra.teacher.cache import Cache, CacheOptions
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CameraRequest, CosmosTeacher
from lyra.teacher.sampler import KarrasSchedule
from lyra.train.student_scenes import FirstView

SKY = 100.0  # median depths at which the cache puts pixels without depth
TRAJECTORIES = 6
CLEARANCE, COVERAGE = 0.1, 0.4  # of a drawn path: median depths kept from surfaces; least share of a frame known
DEPTH_STEP = 4  # pixels between the depths that are kept


@dataclass(frozen=True)
class SynthesisOptions:
    """Frames of each path, size in pixels, factor on the distances, whether recorded paths replace drawn ones."""

    frames: int = 25
    height: int = 256
    width: int = 448
    motion: float = 1.0
    recorded_paths: bool = False
    cache: CacheOptions = field(default_factory=lambda: CacheOptions(max_depth=SKY))


@runtime_checkable
class RawCodec(Protocol):
    """What training needs of a video codec (`VideoCodec`): clips in [-1, 1] to raw latents and back."""

    def encode_raw(self, video: Tensor) -> Tensor:
        """Raw latents [b, c, lt, lh, lw] of clips [b, 3, t, h, w]."""
        ...

    def decode_raw(self, raw: Tensor) -> Tensor:
        """Clips of raw latents."""
        ...


@runtime_checkable
class LatentSource(Protocol):
    """What turns warped views into latents: a teacher, or the codec alone."""

    codec: RawCodec

    def raw_latents(self, request: CameraRequest, seed: int) -> Float[Tensor, "b c lt lh lw"]:
        """Raw latents of a batch of requests."""
        ...


@dataclass(frozen=True, eq=False)
class Imagine:
    """The teacher. Without a schedule or guidance those saved with its weights hold (few steps, for small models)."""

    teacher: CosmosTeacher
    schedule: KarrasSchedule | None = None
    guidance: float | None = None

    @property
    def codec(self) -> VideoCodec:
        """Its codec."""
        return self.teacher.codec

    def raw_latents(self, request: CameraRequest, seed: int) -> Float[Tensor, "b c lt lh lw"]:
        """Sampled latents; item i of the batch starts from the noise of `seed` + i."""
        cond = self.teacher.condition(request)
        noise = self.teacher.noise(cond, [seed + index for index in range(request.image.shape[0])])
        return self.codec.to_raw(self.teacher.sample(cond, noise, schedule=self.schedule, guidance=self.guidance))


@dataclass(frozen=True, eq=False)
class Draft:
    """No diffusion: the warped views themselves as latents, holes included (`--quality draft`)."""

    codec: RawCodec

    @torch.no_grad()
    def raw_latents(self, request: CameraRequest, seed: int) -> Float[Tensor, "b c lt lh lw"]:
        """Encoded warps whose first frame is the image itself; nothing is drawn from `seed`."""
        video = request.warp[:, :, 0].clone()
        video[:, 0] = request.image
        return self.codec.encode_raw(rearrange(video, "b t c h w -> b c t h w"))


@dataclass(frozen=True, eq=False)
class TeacherSample:
    """One imagined scene: v videos that share their first camera, lengths in units of `unit` (world units).

    latents are raw; depth [v, t, h / 4, w / 4] is that of the warped cache along z at pixels (4 i + 2, 4 j + 2),
    0 where it shows nothing, about SKY where it shows sky. Paths are in the order of `lyra.scene.lyra_paths.LYRA_SET`.
    """

    name: str
    latents: Float[Tensor, "v c lt lh lw"]
    cameras: Cameras
    depth: Float[Tensor, "v t h4 w4"]
    unit: float

    def to(self, device: torch.device | str) -> "TeacherSample":
        """On another device."""
        return replace(
            self,
            latents=self.latents.to(device),
            cameras=self.cameras.to(device),
            depth=self.depth.to(device),
        )


def load_source(
    codec: Path, denoiser: Path | None, device: torch.device | str, steps: int | None = None
) -> LatentSource:
    """The teacher of two weight folders, in bfloat16 on CUDA; the codec alone without a denoiser.

    `steps` replaces the sampler saved with the weights by so many Euler steps on the published noise levels.
    """
    dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
    autoencoder = VideoCodec.load(codec, dtype).to(device)
    if denoiser is None:
        return Draft(autoencoder)
    teacher = CosmosTeacher.load(denoiser, autoencoder)
    for name, layer in teacher.network.to(device).named_children():
        if name != "learnable_pos_embed":  # computed in float32
            layer.to(dtype)
    return Imagine(teacher, None if steps is None else KarrasSchedule(steps=steps))


def path_cameras(view: FirstView, options: SynthesisOptions, generator: torch.Generator) -> Cameras:
    """The six paths [6, t] in units of the median depth: recorded ones if asked for, else the published draw.

    Drawn paths are shortened where they would run into a surface or lose sight of what the first view shows.
    """
    if options.recorded_paths and view.paths is not None:
        require(
            view.paths.shape == (TRAJECTORIES, options.frames),
            f"{view.name}: recorded paths are {list(view.paths.shape)}, needed are {[TRAJECTORIES, options.frames]}",
        )
        c2w = view.paths.c2w.clone()
        c2w[..., :3, 3] /= view.unit
        return replace(view.paths, c2w=c2w, times=None)
    start = Cameras(torch.eye(4), view.K, options.width, options.height)
    depth = view.depth / view.unit
    paths = []
    for path in lyra_set(torch.rand(TRAJECTORIES, generator=generator), options.motion):

        def travel(amount: float, path: LyraPath = path) -> Cameras:
            return follow(start, replace(path, distance=path.distance * amount).poses(options.frames))

        paths.append(limit(travel, start, depth, clearance=CLEARANCE, coverage=COVERAGE)[0].c2w)
    c2w = torch.stack(paths)
    return Cameras(c2w, view.K.expand(*c2w.shape[:2], 3, 3), options.width, options.height)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a sample is made from: the first view at its size, the six paths in its unit, and the seed of the noise."""

    view: FirstView
    cameras: Cameras
    cache: CacheOptions
    seed: int


def plan(view: FirstView, options: SynthesisOptions, seed: int) -> Plan:
    """Choose the paths, on the CPU: about a second where they are drawn, so it is worth doing ahead."""
    generator = torch.Generator().manual_seed(seed)
    view = view.resized(options.height, options.width)
    cameras = path_cameras(view, options, generator)
    return Plan(view, cameras, options.cache, int(torch.randint(2**31, (), generator=generator)))


def synthesize(
    view: FirstView, source: LatentSource, options: SynthesisOptions, seed: int, device: torch.device | str = "cpu"
) -> TeacherSample:
    """Warp the first view along six paths and let `source` turn the warps into latents. One seed, one result."""
    return carry_out(plan(view, options, seed), source, device)


@torch.no_grad()
def carry_out(plan: Plan, source: LatentSource, device: torch.device | str = "cpu") -> TeacherSample:
    """The second part of `synthesize`."""
    view, cameras = plan.view, plan.cameras.to(device)
    image = 2 * view.image.to(device) - 1
    cache = Cache.from_depth(image[None], (view.depth / view.unit)[None].to(device), cameras[0, :1], plan.cache)
    warped = cache.warp(cameras.flatten())
    warp, mask, depth = (x.unflatten(0, (TRAJECTORIES, -1)) for x in (warped.image, warped.mask, warped.depth))
    request = CameraRequest(
        image=repeat(image, "c h w -> b c h w", b=TRAJECTORIES),
        warp=warp[:, :, None],
        warp_mask=mask[:, :, None, None].to(image),
    )
    raw = source.raw_latents(request, plan.seed)
    depth = torch.where(mask, depth, 0)[:, :, DEPTH_STEP // 2 :: DEPTH_STEP, DEPTH_STEP // 2 :: DEPTH_STEP]
    return TeacherSample(view.name, raw.half(), cameras, depth.half(), view.unit)


@torch.no_grad()
def decode_frames(
    codec: RawCodec, latents: Float[Tensor, "v c lt lh lw"], batch: int = 6
) -> UInt8[Tensor, "v t 3 h w"]:
    """What the teacher's own RGB decoder makes of raw latents: the student's targets."""
    videos = torch.cat([codec.decode_raw(part.float()) for part in latents.split(batch)])
    return ((0.5 + 0.5 * videos).clamp(0, 1) * 255).round().to(torch.uint8).transpose(1, 2)

"""Clips the denoiser learns from, as pixels: true frames, and what the 3D cache of the first one shows of them.

From rendered scenes the cache is built with the true depth, or with depth that errs as a small network's does, so that
the model learns to mend both. From photographs there is no second view; but a camera that only turns and zooms maps one
picture to another exactly (a homography), so those clips are true as well, with holes of random shape in their warps.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras
from lyra.scene.rotations import compose, invert_rigid, quat_to_matrix
from lyra.teacher.cache import Cache, CacheOptions
from lyra.train.clip_data import to_signed


@dataclass(frozen=True, eq=False)
class Clip:
    """True frames in [-1, 1], the warp of the first (-1 in holes), and where it shows something."""

    frames: Float[Tensor, "3 t h w"]
    warp: Float[Tensor, "3 t h w"]
    mask: Bool[Tensor, "t h w"]


@dataclass(frozen=True, eq=False)
class Views:
    """A rendered static scene: k paths of t frames from one first frame, metric depth of the path ends only.

    `depth` [k, 2, h, w] is that of the first and the last frame of each path, infinite at the sky; c2w in float64.
    """

    rgb: UInt8[Tensor, "k t h w 3"]
    depth: Float[Tensor, "k 2 h w"]
    c2w: Float[Tensor, "k t 4 4"]
    K: Float[Tensor, "3 3"]

    def to(self, device: torch.device) -> "Views":
        """The scene on another device."""
        return replace(self, rgb=self.rgb.to(device), depth=self.depth.to(device))


@dataclass(frozen=True)
class Errors:
    """How wrong the depth of a clip is: each number is the largest size of one kind of error, drawn evenly below it.

    `exact` is the share of clips with true depth. `broad` and `fine` are amplitudes of smooth noise on log depth,
    `bleed` the factor by which depth is shrunk and enlarged again (edges become ramps), `focal` and `scale` relative
    errors of the lens and of the whole depth.
    """

    exact: float = 0.35
    broad: float = 0.05
    fine: float = 0.015
    bleed: float = 6.0
    focal: float = 0.02
    scale: float = 0.02
    keep_edges: float = 0.2


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _below(generator: torch.Generator, n: int) -> int:
    return int(torch.randint(n, (), generator=generator))


def smooth_noise(
    size: tuple[int, int], cells: tuple[int, int], device: torch.device, generator: torch.Generator
) -> Float[Tensor, "h w"]:
    """Unit normal numbers on a coarse grid, enlarged smoothly."""
    coarse = torch.randn(1, 1, *cells, generator=generator).to(device)
    return functional.interpolate(coarse, size, mode="bicubic", align_corners=True)[0, 0]


def mistaken(
    depth: Float[Tensor, "h w"], errors: Errors, generator: torch.Generator, farthest: float = 100.0
) -> Float[Tensor, "h w"]:
    """Depth as a small network might see it; always positive, the sky at `farthest`."""
    size, device = tuple(depth.shape), depth.device
    log = depth.clamp(1e-3, farthest).log()
    factor = _uniform(generator, 1.0, errors.bleed)
    small = [max(2, round(side / factor)) for side in size]
    shrunk = functional.interpolate(log[None, None], small, mode="bilinear", antialias=True)
    log = functional.interpolate(shrunk, size, mode="bilinear")[0, 0]
    log = log + _uniform(generator, 0.0, errors.broad) * smooth_noise(size, (3, 5), device, generator)
    log = log + _uniform(generator, 0.0, errors.fine) * smooth_noise(size, (12, 21), device, generator)
    return (log + _uniform(generator, -errors.scale, errors.scale)).exp()


def plain_order(path: int, frames: int) -> Int64[Tensor, "t 2"]:
    """The views of one path as it was filmed, as (path, frame)."""
    along = torch.arange(frames)
    return torch.stack([torch.full_like(along, path), along], -1)


def order(paths: int, frames: int, generator: torch.Generator) -> Int64[Tensor, "t 2"]:
    """Which views make a clip: a path, one backwards, or one back and on along another at double speed."""
    first, kind = _below(generator, paths), float(torch.rand((), generator=generator))
    forth = plain_order(first, frames)
    if kind < 0.55:
        return forth
    if kind < 0.75 or paths == 1:
        return forth.flip(0)
    second = (first + 1 + _below(generator, paths - 1)) % paths
    return torch.cat([forth.flip(0)[::2], plain_order(second, frames)[2::2]])  # clips have an odd number of frames


def scene_clip(views: Views, chosen: Int64[Tensor, "t 2"], errors: Errors | None, generator: torch.Generator) -> Clip:
    """One clip of a scene. With `errors` it is also mirrored and recoloured at random; without, depth is exact."""
    path, frame = chosen.unbind(-1)
    frames = to_signed(views.rgb[path, frame]).permute(0, 3, 1, 2)
    depth = views.depth[path[0], int(frame[0] != 0)]
    c2w = views.c2w[path, frame]
    c2w = (invert_rigid(c2w[:1]) @ c2w).float()
    K, options = views.K.float(), CacheOptions.for_width(frames.shape[-1])
    if errors is not None:
        frames = _recoloured(frames, generator)
        if float(torch.rand((), generator=generator)) >= errors.exact:
            depth = mistaken(depth, errors, generator)
            lens = torch.ones(3, 3)
            lens[0, 0] = lens[1, 1] = 1 + _uniform(generator, -errors.focal, errors.focal)
            K = K * lens
            options = replace(options, drop_edges=_uniform(generator, 0.0, 1.0) >= errors.keep_edges)
    height, width = frames.shape[-2:]
    # Checked on the CPU: each check would wait for the GPU.
    cameras = Cameras(c2w, K.expand(len(c2w), 3, 3), width, height).to(frames.device)
    warped = Cache.from_depth(frames[:1], depth[None], cameras[:1], options).warp(cameras)
    clip = Clip(frames.transpose(0, 1), warped.image.transpose(0, 1), warped.mask)
    return _mirrored(clip) if errors is not None and _below(generator, 2) else clip


def _mirrored(clip: Clip) -> Clip:
    """The clip of the mirrored scene, seen by the mirrored camera."""
    return Clip(clip.frames.flip(-1), clip.warp.flip(-1), clip.mask.flip(-1))


def _recoloured(frames: Float[Tensor, "t 3 h w"], generator: torch.Generator) -> Float[Tensor, "t 3 h w"]:
    """Half of the time another exposure and white balance."""
    gain = torch.empty(3, 1, 1).uniform_(0.85, 1.15, generator=generator) * _uniform(generator, 0.7, 1.2)
    return ((frames + 1) * gain.to(frames) - 1).clamp(-1, 1) if _below(generator, 2) else frames


def photo_clip(
    photo: UInt8[Tensor, "3 rows columns"], frames: int, size: tuple[int, int], generator: torch.Generator
) -> Clip:
    """A camera that turns and zooms inside a photograph, and the warp of its first frame with growing random holes."""
    picture, lens = _photo_lens(photo, size, generator)
    cameras = _turning(picture.shape[-2:], lens, frames, size, generator)
    device = photo.device
    rays = cameras.to(device).rays()[1]
    points = rays @ lens.to(device).T
    place = points[..., :2] / points[..., 2:]
    extent = torch.tensor([picture.shape[-1], picture.shape[-2]], device=device)
    grid = 2 * place / extent - 1
    true = functional.grid_sample(
        picture[None].expand(frames, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
    bumps = (2.0 + 0.2 * smooth_noise(size, (4, 7), device, generator)).clamp_min(0.5)  # no parallax: any depth is true
    cameras = cameras.to(device)
    warped = Cache.from_depth(true[:1], bumps[None], cameras[:1]).warp(cameras)
    mask = warped.mask & ~_holes(cameras, size, generator)
    image = torch.where(mask[:, None], warped.image, -1)
    clip = Clip(true.transpose(0, 1).clamp(-1, 1), image.transpose(0, 1), mask)
    return _mirrored(clip) if _below(generator, 2) else clip


def _photo_lens(
    photo: Tensor, size: tuple[int, int], generator: torch.Generator
) -> tuple[Float[Tensor, "3 rows columns"], Float[Tensor, "3 3"]]:
    """The photograph at a random scale (at least 1.25 times the clip's size) and the lens it is taken to have."""
    rows, columns = photo.shape[1:]
    smallest = 1.25 * max(size[0] / rows, size[1] / columns)
    scale = smallest * max(1.0, 1.0 / smallest) ** _uniform(generator, 0.0, 1.0)
    picture = functional.interpolate(to_signed(photo)[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    focal = 0.5 * max(picture.shape[1:]) / math.tan(math.radians(_uniform(generator, 55.0, 85.0)) / 2)
    lens = torch.tensor([[focal, 0, picture.shape[2] / 2], [0, focal, picture.shape[1] / 2], [0, 0, 1.0]])
    return picture, lens


def _turning(
    extent: tuple[int, int], lens: Tensor, frames: int, size: tuple[int, int], generator: torch.Generator
) -> Cameras:
    """Cameras at the origin that look from one place of the picture to another, some of them zooming."""
    height, width = size
    window, room = torch.tensor([width, height]), torch.tensor([extent[1] - width, extent[0] - height])
    start = 0.5 * window + torch.rand(2, generator=generator) * room
    reach = _uniform(generator, 0.0, 0.5) if _below(generator, 4) else 0.0
    end = start + reach * (2 * torch.rand(2, generator=generator) - 1) * window
    ends = torch.stack([start, (0.5 * window).maximum(end).minimum(0.5 * window + room)])
    start, end = torch.atan((ends - lens[:2, 2]) / lens[0, 0])
    s = torch.linspace(0, 1, frames)[:, None]
    yaw, pitch = (start + s * (end - start)).unbind(-1)
    zero = torch.zeros_like(yaw)
    sideways = quat_to_matrix(torch.stack([(yaw / 2).cos(), zero, (yaw / 2).sin(), zero], -1))
    upwards = quat_to_matrix(torch.stack([(pitch / 2).cos(), -(pitch / 2).sin(), zero, zero], -1))
    zoom = 1 + s[:, 0] * (_uniform(generator, 0.85, 1.2) - 1 if _below(generator, 2) else 0.0)
    K = torch.zeros(frames, 3, 3)
    K[:, 0, 0] = K[:, 1, 1] = lens[0, 0] * zoom
    K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = width / 2, height / 2, 1
    return Cameras(compose(sideways @ upwards, torch.zeros(frames, 3)), K, width, height)


def _holes(cameras: Cameras, size: tuple[int, int], generator: torch.Generator) -> Bool[Tensor, "t h w"]:
    """Blobs that hang at places of the scene and grow from nothing at the first frame, as disocclusions do."""
    device = cameras.K.device
    pattern = smooth_noise(size, (6 + _below(generator, 10), 10 + _below(generator, 16)), device, generator)
    seen_first = cameras.rays()[1] @ cameras.c2w[0, :3, :3] @ cameras.K[0].T
    grid = 2 * seen_first[..., :2] / seen_first[..., 2:] / torch.tensor([size[1], size[0]], device=device) - 1
    values = functional.grid_sample(
        pattern[None, None].expand(len(cameras), -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )[:, 0]
    last = _uniform(generator, -3.0, -0.7)  # standard deviations: up to a quarter of the picture
    level = -4.0 + (last + 4.0) * torch.linspace(0, 1, len(cameras), device=device) ** 0.5
    holes = values < level[:, None, None]
    holes[0] = False
    return holes

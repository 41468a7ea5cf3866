"""The splat decoder on videos that move: Gaussians with the frame that they show.

Weights with time conditioning are asked for one set of Gaussians a moment; those that hardly change from moment to
moment are kept once. Weights without it read all frames as if the scene stood still; but each Gaussian comes from a
pixel of a frame, so it shows the world at that frame's time. Those on something that moves live only then, the rest for
ever. That is no substitute for training on moving scenes: a moving thing is as good as its own frames.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lyra.decoder import SplatDecoder
from lyra.decoder.maps import Times
from lyra.pipeline import models
from lyra.pipeline.job import Job, key_of, release
from lyra.pipeline.video_source import Filmed
from lyra.pipeline.views import CameraPath
from lyra.scene import Cameras, Gaussians

KEEP = 0.5  # share of Gaussians kept, the most opaque ones, as in the last stage of training
EVERY = 4  # frames between the moments that are asked for
_STEADY = 0.02  # a Gaussian that moves less (share of its depth) and changes its colour and opacity less stands still


@dataclass(frozen=True, eq=False)
class Imagined:
    """Gaussians of the decoder in the world; `frame` [n] is the moment each shows.

    `lives` [n] says which exist only around that moment; None leaves it to what the video shows there. `every` is the
    number of frames between moments. All tensors are on one device.
    """

    gaussians: Gaussians
    frame: Int64[Tensor, " n"]
    lives: Bool[Tensor, " n"] | None
    every: int


def decoded(
    filmed: Filmed, paths: list[CameraPath], latents: Float[Tensor, "v c lt lh lw"], model: str, job: Job, key: str
) -> Imagined:
    """What the decoder makes of the latents of all paths."""

    def make() -> dict[str, Tensor]:
        decoder = job.network("decoder", model, models.decoder)
        with torch.no_grad():
            made = _decode(filmed, paths, latents.to(job.device), decoder, job)
        names = ("means", "quats", "scales", "opacities", "sh")
        kept = {name: getattr(made.gaussians, name) for name in names}
        lives = torch.zeros(0, dtype=torch.bool) if made.lives is None else made.lives
        return kept | {"frame": made.frame, "lives": lives, "every": torch.tensor(made.every)}

    kept = {k: v.to(job.device) for k, v in job.kept("gaussians", key_of(key, KEEP, EVERY), make).items()}
    release()
    frame, lives, every = kept.pop("frame"), kept.pop("lives"), int(kept.pop("every"))
    return Imagined(Gaussians(**kept), frame, lives if len(lives) else None, every)


def _decode(filmed: Filmed, paths: list[CameraPath], latents: Tensor, decoder: SplatDecoder, job: Job) -> Imagined:
    unit, config = filmed.survey.unit, decoder.config
    cameras = _in_world(paths, unit).to(job.device)
    scale = unit if config.depth == "log" else 1.0  # the published decoder sees metres
    guide = guide_depth(filmed, paths, decoder, job.device) if config.guide else None
    if config.times:
        source = torch.arange(cameras.shape[1]).float()
        moments = range(0, cameras.shape[1], EVERY)
        sets = [decoder(latents, cameras, Times(source, float(m)), None, scale, guide) for m in moments]
        return split_sets(sets, list(moments), scale)
    made = decoder(latents, cameras, keep=None, scale=scale, guide=guide)
    views, step = latents.shape[0], config.time_stride
    moments = torch.arange(0, cameras.shape[1], step, device=made.means.device)
    frame = moments[None, :, None].expand(views, -1, len(made) // (views * len(moments))).reshape(-1)
    kept = _most_opaque(made)
    return Imagined(made[kept], frame[kept], None, step)


def split_sets(sets: list[Gaussians], moments: list[int], unit: float) -> Imagined:
    """Sets of one grid at several moments: what stays the same once, from the first set, everything else by moment."""
    first, device = sets[0], sets[0].means.device
    changed = torch.zeros(len(first), dtype=torch.bool, device=device)
    for later in sets[1:]:
        shift = (later.means - first.means).norm(dim=-1) / first.means.norm(dim=-1).clamp_min(0.05 * unit)
        colour = (later.rgb - first.rgb).abs().amax(-1)
        changed |= (shift > _STEADY) | (colour > 4 * _STEADY) | ((later.opacities - first.opacities).abs() > 0.1)
    parts = [first[~changed], *(each[changed] for each in sets)]
    sizes = torch.tensor([len(part) for part in parts], device=device)
    frame = torch.tensor([moments[0], *moments], device=device).repeat_interleave(sizes)
    alive = torch.arange(len(frame), device=device) >= sizes[0]
    whole = Gaussians.concat(parts)
    kept = _most_opaque(whole)
    every = moments[1] - moments[0] if len(moments) > 1 else 1
    return Imagined(whole[kept], frame[kept], alive[kept], every)


def _most_opaque(gaussians: Gaussians) -> Bool[Tensor, " n"]:
    return gaussians.survivors(max_count=max(1, round(KEEP * len(gaussians))))


def _in_world(paths: list[CameraPath], unit: float) -> Cameras:
    """Cameras (v, t) of all paths in world units."""
    c2w, K = (torch.stack([getattr(path.cameras, name) for path in paths]) for name in ("c2w", "K"))
    first = Cameras(c2w, K, paths[0].cameras.width, paths[0].cameras.height)
    c2w = c2w.clone()
    c2w[..., :3, 3] *= unit
    return replace(first, c2w=c2w)


def guide_depth(
    filmed: Filmed, paths: list[CameraPath], decoder: SplatDecoder, device: torch.device
) -> Float[Tensor, "v t h w"]:
    """Depth of each frame's own cache along the paths, on the decoder's grid, in world units, 0 in holes."""
    every, step = decoder.config.time_stride, decoder.config.stride
    cache, depths = filmed.cache(device, every), []
    for path in paths:
        warped = cache.warp(path.cameras[::every].to(device), per_frame=True)
        depth = torch.where(warped.mask, warped.depth, 0)
        depths.append(depth[:, step // 2 :: step, step // 2 :: step])
    return filmed.survey.unit * torch.stack(depths)

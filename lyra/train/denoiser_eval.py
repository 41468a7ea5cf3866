"""Judge a denoiser on held-out scenes: generated against true frames, on seen and on disoccluded pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn

from lyra.teacher.codec import VideoCodec, to_uint8
from lyra.teacher.cosmos import CosmosConfig, CosmosDenoiser
from lyra.teacher.sampler import KarrasSchedule, Levels, euler
from lyra.train.clip_data import load_photos
from lyra.train.denoiser import conditioning
from lyra.train.denoiser_clips import Clip, photo_clip
from lyra.train.latents import encode


@dataclass(frozen=True)
class Way:
    """One way to sample: a network, a schedule, and whether it starts from the noised warp."""

    network: nn.Module
    schedule: KarrasSchedule | Levels
    from_warp: bool = False


class Judge:
    """Held-out clips with their latents, and the measures; `lpips` is left out if None."""

    def __init__(
        self, clips: Sequence[Clip], codec: VideoCodec, config: CosmosConfig, lpips: nn.Module | None = None
    ) -> None:
        self.clips, self.codec, self.config, self.lpips = clips, codec, config, lpips
        self.latents = [encode([clip], codec, config).float() for clip in clips]

    @torch.no_grad()
    def sample(self, way: Way, batch: int = 8) -> list[Tensor]:
        """Normalised latents for every clip; the noise depends on the clip's number only."""
        outputs = []
        for start in range(0, len(self.clips), batch):
            parts = self.latents[start : start + batch]
            given = parts[0].concat(parts)
            cond = conditioning(given)
            noise = torch.stack([_noise(start + i, given.target.shape[1:]) for i in range(len(parts))])
            augment = torch.stack([_noise(10_000 + start + i, given.target.shape[1:]) for i in range(len(parts))])
            device = given.target.device
            denoiser = CosmosDenoiser(way.network, self.config.fps, cond, 0.0, augment.to(device))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                first = given.warp if way.from_warp else None
                outputs += euler(denoiser, noise.to(device), way.schedule, start=first).split(1)
        return outputs

    @torch.no_grad()
    def measure(self, latents: Sequence[Tensor] | None = None, videos: Sequence[Tensor] | None = None) -> dict:
        """Scores of latents (decoded here) or of videos [3, t, h, w] in [-1, 1], without the given first frame."""
        sums: dict[str, list[float]] = {}
        for index, clip in enumerate(self.clips):
            video = videos[index] if videos is not None else self.codec.decode(latents[index])[0]
            error = (video.clamp(-1, 1) - clip.frames)[:, 1:].square().mean(0) / 4
            seen = clip.mask[1:]
            for name, where in (("all", torch.ones_like(seen)), ("seen", seen), ("unseen", ~seen)):
                sums.setdefault(name, []).append(torch.stack([error[where].sum(), where.sum().float()]))
            if self.lpips is not None:
                sums.setdefault("lpips", []).append(self._lpips(video, clip.frames))
                mixed = torch.where(clip.mask, clip.frames, video)
                sums.setdefault("lpips_unseen", []).append(self._lpips(mixed, clip.frames))
            if latents is not None:
                difference = (latents[index] - self.latents[index].target)[:, :, 1:]
                sums.setdefault("latent_mse", []).append(difference.square().mean())
        scores = {}
        for name, values in sums.items():
            total = torch.stack(values).double()
            if name in ("all", "seen", "unseen"):
                scores[f"psnr_{name}"] = round(float(-10 * (total[:, 0].sum() / total[:, 1].sum()).log10()), 3)
            else:
                scores[name] = round(float(total.mean()), 5)
        return scores

    def _lpips(self, video: Tensor, true: Tensor) -> Tensor:
        """Mean distance over three late frames."""
        frames = [i for i in (8, 16, 24) if i < true.shape[1]]
        return self.lpips(*(0.5 + 0.5 * v[:, frames].transpose(0, 1).clamp(-1, 1) for v in (video, true))).mean()

    @torch.no_grad()
    def reference(self) -> dict[str, dict]:
        """What any result stands between: the codec's own reconstruction, and the warp filled by the nearest colour."""
        filled = [fill_nearest(clip.warp, clip.mask) for clip in self.clips]
        return {
            "codec": self.measure(latents=[each.target for each in self.latents]),
            "fill": self.measure(None, filled),
        }

    def unseen_share(self) -> float:
        """Mean share of pixels that the first frame does not show."""
        return float(torch.stack([(~clip.mask[1:]).float().mean() for clip in self.clips]).mean())

    @torch.no_grad()
    def write_sheet(self, samples: Sequence[Sequence[Tensor]], path: Path, rows: int = 12) -> None:
        """Rows of warp | samples of each way | true, for the middle and the last frame, at half size."""
        strips = []
        step = max(1, len(self.clips) // rows)
        for index in range(0, len(self.clips), step):
            clip = self.clips[index]
            videos = [clip.warp, *(self.codec.decode(each[index])[0] for each in samples), clip.frames]
            middle = clip.frames.shape[1] // 2
            row = [to_uint8(video[:, frame]).cpu() for frame in (middle, -1) for video in videos]
            strips.append(torch.cat(row, -1))
        sheet = rearrange(torch.stack(strips), "r c h w -> (r h) w c")
        small = (sheet.shape[1] // 2, sheet.shape[0] // 2)
        Image.fromarray(sheet.numpy()).resize(small, Image.Resampling.BOX).save(path)


def held_out_pans(pack: Path, frames: int, size: tuple[int, int], device: torch.device) -> list[Clip]:
    """Two turns of a camera in each held-out photograph of a pack (runs/fetch_photos.py), the same at every call."""
    photos = load_photos(pack, "test", device)
    seeds = [(photo, 10 * index + turn) for index, photo in enumerate(photos) for turn in (0, 1)]
    return [photo_clip(photo, frames, size, torch.Generator().manual_seed(seed)) for photo, seed in seeds]


def _noise(seed: int, shape: torch.Size) -> Tensor:
    """Unit normal numbers that are the same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill_nearest(video: Float[Tensor, "3 t h w"], mask: Bool[Tensor, "t h w"]) -> Float[Tensor, "3 t h w"]:
    """Holes take the colour of the nearest seen pixel of their frame (jump flooding, Rong and Tan 2006)."""
    height, width = mask.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here = torch.stack([rows, columns]).to(mask.device).float()
    far = torch.full_like(here, 1e6)
    nearest = torch.where(mask[:, None], here, far)
    jump = 1 << (max(height, width) - 1).bit_length()
    while jump >= 1:
        for down in (-jump, 0, jump):
            for right in (-jump, 0, jump):
                other = torch.full_like(nearest, 1e6)
                to_rows, from_rows = _overlap(down, height)
                to_columns, from_columns = _overlap(right, width)
                other[:, :, to_rows, to_columns] = nearest[:, :, from_rows, from_columns]
                closer = (other - here).square().sum(1) < (nearest - here).square().sum(1)
                nearest = torch.where(closer[:, None], other, nearest)
        jump //= 2
    index = (nearest[:, 0].clamp(0, height - 1) * width + nearest[:, 1].clamp(0, width - 1)).long()
    return torch.take_along_dim(video.flatten(2), index.flatten(1)[None], 2).reshape(video.shape)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where a shifted axis lands, and where that comes from; empty if it is shifted out."""
    if abs(shift) >= size:
        return slice(0, 0), slice(0, 0)
    return slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size - max(0, -shift))

"""Judge a codec on held-out clips and photographs: latent statistics, PSNR, SSIM, LPIPS, and a sheet to look at."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lyra.metrics import psnr, ssim
from lyra.teacher.codec import VideoCodec, to_uint8
from lyra.train.clip_data import photo_clip, to_signed


def fit_photo(photo: UInt8[Tensor, "3 rows columns"], height: int, width: int) -> Float[Tensor, "3 1 h w"]:
    """The largest centred crop of this aspect, resized to height x width, in [-1, 1]."""
    scale = max(height / photo.shape[1], width / photo.shape[2])
    size = [max(height, round(photo.shape[1] * scale)), max(width, round(photo.shape[2] * scale))]
    resized = functional.interpolate(to_signed(photo)[None], size=size, mode="bilinear", antialias=True)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return resized[:, None, top : top + height, left : left + width].clamp(-1, 1)


def held_out(
    clips: UInt8[Tensor, "n length rows columns 3"] | None,
    photos: Sequence[Tensor],
    frames: int,
    height: int,
    width: int,
) -> dict[str, Float[Tensor, "b 3 t h w"]]:
    """The evaluation sets: rendered clips, photographs as single frames, and pans over the photographs."""
    sets = {}
    if clips is not None:
        sets["worlds"] = to_signed(clips[:, :frames, :height, :width]).permute(0, 4, 1, 2, 3)
    if photos:
        sets["photos"] = torch.stack([fit_photo(photo, height, width) for photo in photos])
        generator = torch.Generator().manual_seed(0)
        sets["photo_pans"] = torch.stack([photo_clip(photo, frames, height, width, generator) for photo in photos])
    return sets


@torch.no_grad()
def measure_statistics(codec: VideoCodec, batches: Iterator[Tensor]) -> None:
    """Set the codec's mean and std per channel and latent frame from clips in [-1, 1]."""
    count, first, second = 0, 0.0, 0.0
    for video in batches:
        raw = codec.encode_raw(video).double()
        count += raw.shape[0] * raw.shape[3] * raw.shape[4]
        first = first + raw.sum((0, 3, 4))
        second = second + raw.square().sum((0, 3, 4))
    mean = first / count
    codec.mean = mean.float()
    codec.std = (second / count - mean.square()).clamp_min(1e-8).sqrt().float()


@torch.no_grad()
def evaluate(
    codec: VideoCodec, sets: dict[str, Tensor], lpips: nn.Module
) -> tuple[dict[str, dict[str, float | int]], dict[str, Tensor]]:
    """Mean PSNR, SSIM and LPIPS over all frames of each set (and PSNR of the first frames), and the reconstructions."""
    results, outputs = {}, {}
    for name, videos in sets.items():
        rows, output = [], []
        for video in videos.split(1):
            decoded = codec.decode(codec.encode(video)).clamp(-1, 1)
            frames = [0.5 + 0.5 * rearrange(v, "1 c t h w -> t c h w") for v in (decoded, video)]
            scores = [psnr(*frames), ssim(*frames), torch.cat([lpips(a, b) for a, b in _pairs(frames)])]
            rows.append(torch.stack([score.cpu() for score in scores]))
            output.append(to_uint8(decoded).cpu())
        scores = torch.stack(rows)
        results[name] = {
            "clips": len(videos),
            "frames": videos.shape[2],
            "psnr": float(scores[:, 0].mean()),
            "psnr_worst_clip": float(scores[:, 0].mean(1).min()),
            "psnr_first_frame": float(scores[:, 0, 0].mean()),
            "ssim": float(scores[:, 1].mean()),
            "lpips_vgg": float(scores[:, 2].mean()),
        }
        outputs[name] = torch.cat(output)
    return results, outputs


def _pairs(frames: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Both videos in slices of eight frames, to bound the memory of the VGG network."""
    return zip(*(video.split(8) for video in frames), strict=True)


def write_sheet(sets: dict[str, Tensor], outputs: dict[str, Tensor], path: Path, rows: int = 5) -> None:
    """A picture with input | reconstruction: for each set up to `rows` clips, their first, middle and last frames."""
    strips = []
    for name, videos in sets.items():
        frames = sorted({0, videos.shape[2] // 2, videos.shape[2] - 1})
        for index in range(min(rows, len(videos))):
            for frame in frames:
                left = to_uint8(videos[index, :, frame]).cpu()
                strips.append(torch.cat([left, outputs[name][index, :, frame]], -1))
    columns = 3
    strips += [torch.zeros_like(strips[0])] * (-len(strips) % columns)
    sheet = rearrange(torch.stack(strips), "(r k) c h w -> (r h) (k w) c", k=columns)
    Image.fromarray(sheet.numpy()).resize((sheet.shape[1] // 2, sheet.shape[0] // 2), Image.Resampling.BOX).save(path)

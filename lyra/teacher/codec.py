"""The video codec: clips in [-1, 1] to normalised latents and back.

A causal autoencoder (8x in space, 8x in time, the first frame alone) with statistics per channel and latent frame:
latent = 0.5 (z - mean) / std, the space in which the diffusion model works (GEN3C, sigma_data = 0.5).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lyra.scene import require
from lyra.vae.causal_vae import VaeConfig, build
from lyra.weights.storage import load_folder, save_folder

SIGMA_DATA = 0.5

MINI = VaeConfig(encoder_channels=(32, 64, 96, 96), decoder_channels=(96, 112, 112, 112), latent_channels=32)
COSMOS_CV8X8X8 = VaeConfig()


@dataclass(frozen=True)
class LatentSpec:
    """What the splat decoder must know of a latent space: channels and strides in time and space."""

    channels: int
    time: int
    space: int

    def frames(self, latent_frames: int) -> int:
        """Video frames of so many latent frames: the first one stands alone."""
        return (latent_frames - 1) * self.time + 1

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip of 1 + time * n frames; any other length is an InputError."""
        require(
            frames >= 1 and (frames - 1) % self.time == 0,
            f"a clip must have 1 + {self.time} n frames (1, {1 + self.time}, {1 + 2 * self.time}, ...), got {frames}",
        )
        return (frames - 1) // self.time + 1


class VideoCodec(nn.Module):
    """Encoder, decoder and latent statistics.

    mean and std are [channels, latent frames]; without them latents are the raw ones times 0.5. Computation runs in the
    dtype of the weights, inputs are converted, results are float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: VaeConfig, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.vae = build(config)
        columns = torch.zeros(config.latent_channels, 16)
        self.register_buffer("mean", columns if mean is None else mean.float())
        self.register_buffer("std", columns + 1 if std is None else std.float())
        for name, table in (("mean", self.mean), ("std", self.std)):
            require(
                table.ndim == 2 and table.shape[0] == config.latent_channels,
                f"codec: {name} must be [{config.latent_channels}, latent frames], got {list(table.shape)}",
            )

    @property
    def spec(self) -> LatentSpec:
        """Channels and strides of the latents."""
        return LatentSpec(self.config.latent_channels, self.config.time, self.config.space)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the networks compute."""
        return self.vae.quant_conv.weight.dtype

    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c lt lh lw"]:
        """Latents of clips in [-1, 1] with 1 + 8 n frames and sides divisible by 8."""
        return self._normalise(self.encode_raw(video))

    def encode_raw(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c lt lh lw"]:
        """As `encode`, without the statistics."""
        _, _, frames, height, width = video.shape
        self.spec.latent_frames(frames)
        require(
            height % self.spec.space == 0 and width % self.spec.space == 0,
            f"clip sides must be multiples of {self.spec.space} pixels, got {width}x{height}; resize or crop first",
        )
        return self.vae.encode(video.to(self.dtype)).latent_dist.mode().float()

    def decode(self, latents: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b 3 t h w"]:
        """Clips of normalised latents, about [-1, 1], not clamped."""
        return self.decode_raw(self.to_raw(latents))

    def decode_raw(self, raw: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b 3 t h w"]:
        """As `decode`, from latents without the statistics."""
        raw = raw.to(self.dtype, memory_format=torch.channels_last_3d)
        return self.vae.decode(raw).sample.float()

    def to_raw(self, latents: Float[Tensor, "b c lt lh lw"]) -> Float[Tensor, "b c lt lh lw"]:
        """Undo the normalisation; raw latents are what the splat decoder reads."""
        mean, std = self._statistics(latents.shape[2])
        return latents.float() / SIGMA_DATA * std + mean

    def _normalise(self, raw: Tensor) -> Tensor:
        mean, std = self._statistics(raw.shape[2])
        return SIGMA_DATA * (raw - mean) / std

    def _statistics(self, latent_frames: int) -> tuple[Tensor, Tensor]:
        require(
            latent_frames <= self.mean.shape[1],
            f"this codec has statistics for {self.mean.shape[1]} latent frames ({self.spec.frames(self.mean.shape[1])} "
            f"video frames), got {latent_frames}; work in shorter chunks",
        )
        return self.mean[None, :, :latent_frames, None, None], self.std[None, :, :latent_frames, None, None]

    def save(self, folder: str | Path, precision: str = "float16") -> None:
        """Write config.json and model.safetensors; statistics are kept in float32."""
        save_folder(folder, self.state_dict(), self.config.as_dict(), precision)

    @classmethod
    def load(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> "VideoCodec":
        """Read what `save` wrote, strictly; computes in `dtype`."""
        config, tensors = load_folder(folder)
        require("encoder_channels" in config and "mean" in tensors, f"{folder} holds no video codec")
        codec = cls(VaeConfig.from_dict(config), tensors["mean"], tensors["std"])
        codec.load_state_dict(tensors)
        for part in codec.vae.children():  # one by one: diffusers warns of casting its models whole
            part.to(dtype)
        return codec.eval()


def to_uint8(video: Float[Tensor, "*b"]) -> UInt8[Tensor, "*b"]:
    """Values in [-1, 1] to 0..255, clamped and truncated as the published pipeline does."""
    return ((1 + video).clamp(0, 2) / 2 * 255).to(torch.uint8)

"""Sizes and choices of the splat decoder, and its presets."""

from dataclasses import asdict, dataclass
from typing import Literal

from lyra.scene import require
from lyra.vae.causal_vae import VaeConfig

BASE_CHANNELS = 12  # distance 1, colour 3, scale 3, rotation 4, opacity 1


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder; the defaults are those of the released Lyra models (32.8 M parameters).

    Latents: `latent_channels`, and the strides of the codec in time and space. Network: `width`, `blocks` of which
    every `attention_every`-th is attention with `heads` heads and the others are bidirectional Mamba-2 (`expand`,
    `head_dim`, `d_state`, `conv_width`); tokens are `patch` x `patch` latent cells.

    rays: "vae" = Pluecker maps encoded by the video codec (published), "direct" = Pluecker rays of every frame at
    latent resolution, stacked per latent frame (no codec). times: whether the modules of time conditioning exist.

    depth: "linear" or "log" between `near` and `far`, in units of the scene's scale; "log" starts at the scale itself.
    scales: "absolute" = exp, capped at 0.3 (published), "pixel" = in footprints of an output pixel at that depth.
    offsets: largest xyz offset from the ray in such footprints, 0 = none. stride and time_stride: one Gaussian every so
    many pixels and frames. opacity_shift: added before the sigmoid. guide: the depth of the teacher's warped cache is
    given too, and the depth of a Gaussian is a correction of it (lyra/decoder/guide.py); needs depth "log".

    trunk: sizes of the video codec whose RGB decoder, but for its last layer, takes the place of the token network
    (FLAT; lyra/decoder/trunk.py). What is said under "Network" has then no meaning, every path is read alone, and times
    cannot be given.
    """

    latent_channels: int = 16
    codec_time: int = 8
    codec_space: int = 8
    width: int = 512
    blocks: int = 16
    attention_every: int = 8
    heads: int = 8
    mlp_ratio: int = 4
    expand: int = 2
    head_dim: int = 64
    d_state: int = 256
    conv_width: int = 4
    patch: int = 2
    rays: Literal["vae", "direct"] = "vae"
    times: bool = True
    depth: Literal["linear", "log"] = "linear"
    near: float = 0.1
    far: float = 500.0
    scales: Literal["absolute", "pixel"] = "absolute"
    offsets: float = 0.0
    stride: int = 8
    time_stride: int = 1
    opacity_shift: float = -2.0
    guide: bool = False
    trunk: VaeConfig | None = None

    def __post_init__(self) -> None:
        cell = self.patch * self.codec_space
        for name, choices in {
            "rays": ("vae", "direct"),
            "depth": ("linear", "log"),
            "scales": ("absolute", "pixel"),
        }.items():
            value = getattr(self, name)
            require(value in choices, f"decoder: {name} must be one of {', '.join(choices)}, got {value!r}")
        require(
            self.stride >= 1 and cell % self.stride == 0,
            f"decoder: stride must divide the {cell} pixels of a token, got {self.stride}",
        )
        require(
            self.time_stride >= 1 and self.codec_time % self.time_stride == 0,
            f"decoder: time_stride must divide the {self.codec_time} frames of a latent, got {self.time_stride}",
        )
        require(self.width % self.heads == 0, f"decoder: {self.heads} heads do not divide a width of {self.width}")
        require(
            self.inner % self.head_dim == 0, f"decoder: head_dim {self.head_dim} does not divide {self.inner} channels"
        )
        require(0 < self.near < self.far, f"decoder: 0 < near < far is needed, got {self.near} and {self.far}")
        require(
            self.depth == "linear" or self.near < 1 < self.far,
            f"decoder: a log depth range must hold the scene's scale 1, got {self.near} to {self.far}",
        )
        require(
            not self.guide or (self.depth == "log" and self.codec_space % self.stride == 0),
            'decoder: guidance needs depth "log" and a stride that divides a latent cell',
        )
        require(self.trunk is None or not self.times, "decoder: a codec as trunk takes no times; set times to False")
        require(
            self.trunk is None or self._fits(self.trunk),
            "decoder: a codec as trunk needs the codec's latents and one Gaussian for each of its last cells (stride "
            f"and time_stride equal to its patch), got {self.trunk}",
        )
        require(self.offsets >= 0, f"decoder: offsets must be >= 0 footprints, got {self.offsets}")

    def _fits(self, trunk: VaeConfig) -> bool:
        ours = (self.latent_channels, self.codec_time, self.codec_space, self.stride, self.time_stride)
        return ours == (trunk.latent_channels, trunk.time, trunk.space, trunk.patch, trunk.patch)

    @property
    def inner(self) -> int:
        """Channels of a Mamba-2 scan."""
        return self.expand * self.width

    @property
    def ray_channels(self) -> int:
        """Channels of the ray maps: two latents, or 6 Pluecker numbers for every frame of a latent frame."""
        return 2 * self.latent_channels if self.rays == "vae" else 6 * self.codec_time

    @property
    def time_channels(self) -> int:
        """Channels of the time maps: a latent, or 3 features for every frame of a latent frame."""
        return self.latent_channels if self.rays == "vae" else 3 * self.codec_time

    @property
    def guide_channels(self) -> int:
        """Channels of the guiding depth and its mask on the latent grid."""
        return 2 * self.codec_time // self.time_stride * (self.codec_space // self.stride) ** 2

    @property
    def out_channels(self) -> int:
        """Numbers that the head gives for one Gaussian."""
        return BASE_CHANNELS + (3 if self.offsets else 0)

    def is_attention(self, block: int) -> bool:
        """Whether block number `block` is attention: 7, 15, ... of the released models."""
        return (block + 1) % self.attention_every == 0

    def frames(self, latent_frames: int) -> int:
        """Video frames of so many latent frames: the first one stands alone."""
        return (latent_frames - 1) * self.codec_time + 1

    def as_dict(self) -> dict:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "DecoderConfig":
        """The inverse of `as_dict`; unknown names are an InputError."""
        unknown = sorted(values.keys() - cls.__dataclass_fields__.keys())
        require(not unknown, f"decoder: unknown settings {', '.join(unknown)}; this file is of another version")
        trunk = values.get("trunk")
        return cls(**{**values, "trunk": trunk and VaeConfig.from_dict(trunk)})


RELEASED = DecoderConfig()
MINI = DecoderConfig(
    width=256,
    blocks=8,
    heads=4,
    d_state=64,
    rays="direct",
    times=False,
    depth="log",
    near=0.05,
    far=100.0,
    scales="pixel",
    stride=4,
    time_stride=4,
)

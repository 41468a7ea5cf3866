"""The video codec's RGB decoder as the body of the splat decoder (FLAT, 2026; ours: what its colours begin with).

The codec's decoder ends on a grid of cells (4 frames x 4 x 4 pixels of the Cosmos tokenizer), and its last layer gives
the Haar bands of a cell. Here that layer gives one Gaussian a cell instead. Rays and guiding depth enter through a
convolution that begins at zero, so that a trunk which took over a trained codec begins with what the codec knows.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lyra.decoder.config import DecoderConfig
from lyra.decoder.maps import Maps
from lyra.vae.causal_vae import build

_COLOUR, _OPACITY = slice(1, 4), 11  # of the head's numbers
_GAIN = 1.2  # 0.5 tanh(1.2 x) + 0.5 is within 0.08 of 0.5 x + 0.5 for colours x of a codec, which are in [-1, 1]
_BODY = ("post_quant_conv", "conv_in", "mid_block", "up_blocks", "norm_out")


class CodecTrunk(nn.Module):
    """Raw latents of every path to the head's numbers, each path by itself; the parameters have the codec's names."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        vae = build(config.trunk)
        self.post_quant_conv = vae.post_quant_conv
        for name in _BODY[1:]:
            setattr(self, name, getattr(vae.decoder, name))
        self.norm_out.silu = True
        self.conv_s, last = vae.decoder.conv_out.conv_s, vae.decoder.conv_out.conv_t
        self.conv_t = last
        bands, width = last.weight.shape[0], self.conv_in.conv_s.weight.shape[0]
        last.weight = nn.Parameter(torch.randn(config.out_channels, bands, 3, 1, 1) * 0.1 / bands**0.5)
        last.bias = nn.Parameter(torch.zeros(config.out_channels))
        channels = config.ray_channels + (config.guide_channels if config.guide else 0)
        # A convolution gives all cells of a flat wall one opacity, and pruning by opacity would tear holes into it.
        self.phase = nn.Parameter(torch.zeros(config.out_channels, 2, 2, 2))
        self.maps = nn.Conv3d(channels, width, (1, 3, 3), padding=(0, 1, 1))
        with torch.no_grad():
            last.bias[7] = 1.0  # w of the quaternion
            t, y, x = torch.meshgrid(*3 * [torch.arange(2)], indexing="ij")
            self.phase[_OPACITY] = 1.0 - 2.0 * ((t + y + x) % 2)
            for parameter in self.maps.parameters():
                parameter.zero_()

    @torch.no_grad()
    def adopt(self, vae: nn.Module) -> None:
        """Begin with a trained codec's weights (`VideoCodec.vae`): the colour of a Gaussian is then what the codec
        shows in the cell's last frame, on average over its pixels."""
        decoder = vae.decoder
        self.post_quant_conv.load_state_dict(vae.post_quant_conv.state_dict())
        for name in _BODY[1:]:
            getattr(self, name).load_state_dict(getattr(decoder, name).state_dict())
        self.conv_s.load_state_dict(decoder.conv_out.conv_s.state_dict())
        haar, old = decoder.unpatch_embed, decoder.conv_out.conv_t
        pixels = haar.patch**3 * haar.matrix.unflatten(1, (haar.patch, haar.patch, haar.patch, haar.colours))
        colour = _GAIN * pixels[:, -1].float().mean((1, 2)).T  # [3, bands]
        self.conv_t.weight[_COLOUR] = torch.einsum("cb,bikhw->cikhw", colour, old.weight.float())
        self.conv_t.bias[_COLOUR] = colour @ old.bias.float()

    def forward(
        self,
        latents: Float[Tensor, "b v c lt lh lw"],
        maps: Sequence[Maps],
        precision: AbstractContextManager,
        recompute: bool,
    ) -> Float[Tensor, "b v ch t h w"]:
        """The head's numbers. The blocks compute within `precision`, maps and last layer in that of the weights."""
        order, dtype = {"memory_format": torch.channels_last_3d}, self.maps.weight.dtype
        with torch.autocast(latents.device.type, enabled=False):
            x = self.post_quant_conv(latents.flatten(0, 1).to(dtype, **order))
            x = self.conv_in(x) + self.maps(torch.cat([_stacked(m) for m in maps]).to(dtype, **order))
        with precision:
            for block in (self.mid_block, *self.up_blocks):
                x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        with torch.autocast(latents.device.type, enabled=False):
            x = self.conv_t(self.conv_s(self.norm_out(x.to(dtype))))
            x = x + _tiled(self.phase, x.shape[2:])
        return x.unflatten(0, latents.shape[:2])


def _tiled(phase: Float[Tensor, "ch 2 2 2"], size: Sequence[int]) -> Float[Tensor, "ch t h w"]:
    """The pattern repeated over a grid of this size."""
    whole = phase.repeat(1, *((side + 1) // 2 for side in size))
    return whole[:, : size[0], : size[1], : size[2]]


def _stacked(maps: Maps) -> Float[Tensor, "v m lt lh lw"]:
    """Rays and guiding depth of a scene, channel on channel."""
    return maps.rays if maps.guide is None else torch.cat([maps.rays, maps.guide.to(maps.rays)], 1)

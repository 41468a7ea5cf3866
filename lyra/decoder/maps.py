"""What tells a token where and when it is: Pluecker rays and times as maps on the latent grid.

Two forms: encoded by the video codec as if they were clips (as published), or stacked directly, all frames of a latent
frame in its channels. Frame 0 fills a latent frame alone; stacked, it is repeated.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.decoder.config import DecoderConfig
from lyra.scene import Cameras, require

Encode = Callable[[Tensor], Tensor]  # raw latents [b, c, lt, lh, lw] of clips [b, 3, t, h, w]: `VideoCodec.encode_raw`


class Times(NamedTuple):
    """When the frames were taken, [t], and for which moment the Gaussians are wanted; in any one unit."""

    source: Float[Tensor, " t"]
    target: float


class Maps(NamedTuple):
    """Maps of one scene: rays of every trajectory, times (source, target) if the scene moves, guiding depth if used."""

    rays: Float[Tensor, "v m lt lh lw"]
    source: Float[Tensor, "k lt lh lw"] | None = None
    target: Float[Tensor, "k 1 lh lw"] | None = None
    guide: Float[Tensor, "v g lt lh lw"] | None = None


def time_features(times: Times) -> tuple[Float[Tensor, "t 3"], Float[Tensor, "1 3"]]:
    """(t, cos t, sin t) of the source frames and the target; t runs from 0 to 1 over the source frames."""
    start, end = times.source.min(), times.source.max()
    every = torch.cat([times.source, times.source.new_tensor([times.target])])
    t = (every - start) / torch.where(end > start, end - start, torch.ones_like(end))
    features = torch.stack([t, t.cos(), t.sin()], -1)
    return features[:-1], features[-1:]


class MapMaker:
    """Makes the maps of a scene; encoded ones are remembered for the last few camera sets, as they cost the most."""

    def __init__(self, config: DecoderConfig, encode: Encode | None, remembered: int = 8) -> None:
        self.config, self.encode, self.remembered = config, encode, remembered
        self._known: OrderedDict[tuple, Tensor] = OrderedDict()

    def __deepcopy__(self, memo: dict) -> "MapMaker":
        """A copied decoder (an average of weights, say) shares the codec, which is not trained here."""
        return MapMaker(self.config, self.encode, self.remembered)

    def __call__(self, cameras: Cameras, times: Times | None) -> Maps:
        """Maps for cameras (v, t) whose first one is the frame of reference, in units of the scene's scale."""
        rays = self._rays(cameras)
        if times is None:
            return Maps(rays)
        frames = cameras.shape[1]
        require(self.config.times, "decoder: this model has no time conditioning; leave times out")
        require(
            tuple(times.source.shape) == (frames,), f"decoder: times of {frames} frames, got {list(times.source.shape)}"
        )
        source, target = (self._times(f.to(cameras.c2w), cameras) for f in time_features(times))
        return Maps(rays, source, target)

    def _rays(self, cameras: Cameras) -> Float[Tensor, "v m lt lh lw"]:
        if self.config.rays == "direct":
            cell = self.config.codec_space
            small = cameras.resize(cameras.height // cell, cameras.width // cell)
            return self._stack(small.plucker())
        key = (cameras.c2w, cameras.K, torch.tensor([cameras.height, cameras.width]))
        return self._remember(key, lambda: torch.stack([self._encode_rays(path) for path in cameras]))

    def _encode_rays(self, cameras: Cameras) -> Float[Tensor, "m lt lh lw"]:
        """The moments and the directions of one trajectory as two colour videos."""
        maps = cameras.plucker().transpose(0, 1)
        return torch.cat([self._encoded(half[None])[0] for half in maps.split(3)])

    def _times(self, features: Float[Tensor, "t 3"], cameras: Cameras) -> Float[Tensor, "k lt lh lw"]:
        if self.config.rays == "direct":
            cell = self.config.codec_space
            size = (cameras.height // cell, cameras.width // cell)
            return self._stack(2 * features[None, :, :, None, None] - 1)[0].expand(-1, -1, *size)
        size = (cameras.height, cameras.width)
        clip = (2 * features.T - 1)[None, :, :, None, None].expand(-1, -1, -1, *size)
        return self._remember((features, torch.tensor(size)), lambda: self._encoded(clip)[0])

    def _encoded(self, clip: Float[Tensor, "1 3 t h w"]) -> Float[Tensor, "1 c lt lh lw"]:
        require(self.encode is not None, "decoder: its ray maps are made by the codec; give it one (encode=...)")
        with torch.no_grad():
            return self.encode(clip).to(clip)

    def _stack(self, maps: Float[Tensor, "v t c h w"]) -> Float[Tensor, "v m lt h w"]:
        first = maps[:, :1].expand(-1, self.config.codec_time - 1, -1, -1, -1)
        blocks = torch.cat([first, maps], 1).unflatten(1, (-1, self.config.codec_time))
        return blocks.flatten(2, 3).transpose(1, 2)

    def _remember(self, key: tuple[Tensor, ...], make: Callable[[], Tensor]) -> Tensor:
        """`make()`, or what it gave for the same numbers on the same device."""
        values = tuple(t.detach().cpu().contiguous().numpy().tobytes() for t in key)
        known = (*values, *(tuple(t.shape) for t in key), str(key[0].device), key[0].dtype)
        if known not in self._known:
            self._known[known] = make()
        self._known.move_to_end(known)
        while len(self._known) > self.remembered:
            self._known.popitem(last=False)
        return self._known[known]

"""The supply of training latents of one process: it makes new ones from scenes and photographs between steps."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from lyra.teacher.codec import VideoCodec
from lyra.train.denoiser import DenoiserTraining
from lyra.train.denoiser_clips import Clip, Views, order, photo_clip, scene_clip
from lyra.train.first_frames import A_SCENE, encode_frames, some_frames
from lyra.train.latents import Bank, Latents, SceneFeed, Texts, encode

TOGETHER = 6  # clips made in one round


class Supply:
    """Banks of scenes, of photographs and of single frames with captions, and what fills them.

    `capacity` clips of scenes have room; `size` is (height, width) of the clips. `seconds` and `rounds` tell what
    filling has cost.
    """

    def __init__(
        self,
        codec: VideoCodec,
        recipe: DenoiserTraining,
        feed: SceneFeed,
        texts: Texts,
        photos: Sequence[Tensor],
        capacity: int,
        size: tuple[int, int],
    ) -> None:
        self.codec, self.recipe, self.feed, self.texts, self.photos = codec, recipe, feed, texts, photos
        self.size, self.device = size, codec.mean.device
        self.scenes = Bank(capacity)
        self.pans = Bank(max(1, round(capacity * recipe.photos))) if photos and recipe.photos > 0 else None
        self.frames = Bank(2 * capacity) if recipe.first_frames > 0 else None
        self.generator = torch.Generator().manual_seed(1 + feed.source.rank)
        self.seconds, self.rounds = 0.0, 0

    def replenish(self, wait: float = 0.0) -> int:
        """Six clips of one scene, or six pans over photographs, into the banks; how many came.

        0 if no scene is there within `wait` seconds.
        """
        pans_due = self.pans is not None and self.pans.written < self.recipe.photos * self.scenes.written
        views = None if pans_due else self.feed.next(wait)
        self._settle()
        started = time.monotonic()
        clips = self._pans() if pans_due else self._films(views)
        if not clips:
            return 0
        latents = encode(clips, self.codec, self.recipe.network, [self.texts.row(clip.caption) for clip in clips])
        (self.pans if pans_due else self.scenes).add(latents)
        self._settle()
        self.seconds += time.monotonic() - started
        self.rounds += 1
        return len(clips)

    def _settle(self) -> None:
        """Let the device finish what it was given, so that times are those of this work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _films(self, views: Views | None) -> list[Clip]:
        if views is None or tuple(views.rgb.shape[2:4]) != self.size:
            return []
        views = views.to(self.device)
        paths, frames = views.rgb.shape[:2]
        if self.frames is not None:
            images, row = some_frames(views, A_SCENE, self.generator), self.texts.row(views.caption)
            self.frames.add(encode_frames(images, self.codec, [row] * A_SCENE))
        orders = [order(paths, frames, self.generator) for _ in range(TOGETHER)]
        return [scene_clip(views, chosen, self.recipe.errors, self.generator) for chosen in orders]

    def _pans(self) -> list[Clip]:
        frames = self.feed.source.frames
        chosen = torch.randint(len(self.photos), (TOGETHER,), generator=self.generator).tolist()
        return [photo_clip(self.photos[index], frames, self.size, self.generator) for index in chosen]

    def draw(self, generator: torch.Generator) -> Latents:
        """A batch with its share of photographs."""
        pans = round(self.recipe.batch * self.recipe.photos) if self.pans is not None and len(self.pans) > 0 else 0
        parts = [self.scenes.draw(self.recipe.batch - pans, generator)]
        return Latents.concat([*parts, self.pans.draw(pans, generator)]) if pans else parts[0]

    def draw_frames(self, generator: torch.Generator) -> Latents | None:
        """A batch of single frames with captions; None if the recipe has none."""
        count = round(self.recipe.batch * self.recipe.first_frames)
        return self.frames.draw(max(1, count), generator) if self.frames is not None else None

"""The supply of training latents of one process: a thread makes new ones from scenes and photographs all the time.

On CUDA the thread works in a stream of its own and waits for nothing but that stream, so neither its many small
kernels nor its waits for the GPU hold up the training loop. Banks belong to the loop alone: the thread only hands over
what is finished.
"""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lyra.teacher.codec import VideoCodec
from lyra.train.denoiser import DenoiserTraining
from lyra.train.denoiser_clips import Clip, Views, order, photo_clip, scene_clip
from lyra.train.latents import Bank, Latents, SceneFeed, encode
from lyra.train.moving_scenes import Recording, moving_clips

OF_A_SCENE = 3  # clips made each time a scene is read: half of its paths, so that more scenes are seen
TOGETHER = 6  # clips encoded at a time


@dataclass(frozen=True, eq=False)
class Made:
    """A round of new latents, of scenes or of photographs (`pans`)."""

    clips: Latents
    pans: bool = False


class Maker:
    """Turns scenes and photographs into latents, a round at a time; `size` is (height, width) of the clips.

    `seconds` tells where the time went: waiting for scenes, copying and warping, encoding. Clips of photographs are
    made whenever their share is not reached.
    """

    def __init__(
        self, codec: VideoCodec, recipe: DenoiserTraining, feed: SceneFeed, photos: Sequence[Tensor],
        size: tuple[int, int],
    ) -> None:  # fmt: skip
        self.codec, self.recipe, self.feed, self.photos, self.size = codec, recipe, feed, photos, size
        self.device = codec.mean.device
        self.generator = torch.Generator().manual_seed(1 + feed.source.rank)
        self.films, self.pans = 0, 0
        self.seconds = {"waiting": 0.0, "warping": 0.0, "encoding": 0.0}

    def make(self, wait: float = 0.0) -> Made | None:
        """Six clips of two scenes, or six pans over photographs; None if no scene is there within `wait` seconds."""
        pans_due = bool(self.photos) and self.pans < self.recipe.photos * self.films
        clock = _Stopwatch(self.seconds, self.device)
        scenes = [] if pans_due else self._scenes(wait)
        clock.lap("waiting")
        if not scenes and not pans_due:
            return None
        clips = self._pans() if pans_due else [clip for views in scenes for clip in self._films(views)]
        clock.lap("warping")
        latents = encode(clips, self.codec, self.recipe.network)
        clock.lap("encoding")
        self.pans, self.films = self.pans + pans_due * len(clips), self.films + (not pans_due) * len(clips)
        return Made(latents, pans_due)

    def _scenes(self, wait: float) -> list[Views | Recording]:
        """Up to two scenes of the right size, still ones on the device."""
        scenes = []
        for _ in range(TOGETHER // OF_A_SCENE):
            scene = self.feed.next(wait)
            if isinstance(scene, Recording) and tuple(scene.source.shape[2:]) == self.size:
                scenes.append(scene)
            elif isinstance(scene, Views) and tuple(scene.rgb.shape[2:4]) == self.size:
                scenes.append(scene.to(self.device))
        return scenes

    def _films(self, views: Views | Recording) -> list[Clip]:
        if isinstance(views, Recording):
            chosen = torch.randperm(len(views.frames), generator=self.generator)[:OF_A_SCENE]
            part = replace(views, frames=views.frames[chosen], paths=views.paths[chosen])
            return moving_clips(part, self.device)
        orders = [order(*views.rgb.shape[:2], self.generator) for _ in range(OF_A_SCENE)]
        return [scene_clip(views, chosen, self.recipe.errors, self.generator) for chosen in orders]

    def _pans(self) -> list[Clip]:
        frames = self.feed.source.frames
        chosen = torch.randint(len(self.photos), (TOGETHER,), generator=self.generator).tolist()
        return [photo_clip(self.photos[index], frames, self.size, self.generator) for index in chosen]


class Supply:
    """Banks of scenes and of photographs, filled by a thread that works the maker.

    `capacity` clips of scenes have room. The thread makes at most `pace` clips a second; call `stop` at the end.
    """

    def __init__(self, maker: Maker, capacity: int, pace: float = float("inf")) -> None:
        self.maker, self.recipe, self.pace = maker, maker.recipe, pace
        pans = bool(maker.photos) and self.recipe.photos > 0
        self.scenes = Bank(capacity)
        self.pans = Bank(max(1, round(capacity * self.recipe.photos))) if pans else None
        self._ready: queue.Queue[Made | BaseException] = queue.Queue(maxsize=4)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with _own_stream(self.maker.device):
                while not self._over.is_set():
                    started = time.monotonic()
                    made = self.maker.make(wait=0.5)
                    if made is not None:
                        self._hand_over(made)
                        self._over.wait(max(0.0, started + len(made.clips) / self.pace - time.monotonic()))
        except BaseException as error:  # raised again where it is noticed, in the training loop
            self._hand_over(error)

    def _hand_over(self, made: Made | BaseException) -> None:
        while not self._over.is_set():
            try:
                self._ready.put(made, timeout=0.5)
                return
            except queue.Full:
                continue

    def stop(self) -> None:
        """Make no more; returns when the thread has ended."""
        self._over.set()
        self._thread.join()

    def take(self, wait: float = 0.0) -> int:
        """Put what has been made into the banks; how many clips came. Waits up to `wait` seconds for the first."""
        count = 0
        while True:
            try:
                made = self._ready.get(timeout=wait) if wait > 0 and count == 0 else self._ready.get_nowait()
            except queue.Empty:
                return count
            if isinstance(made, BaseException):
                raise made
            if made.clips.target.is_cuda:  # its memory must not be used again before this stream has read it
                for tensor in vars(made.clips).values():
                    tensor.record_stream(torch.cuda.current_stream())
            (self.pans if made.pans else self.scenes).add(made.clips)
            count += len(made.clips)

    def draw(self, generator: torch.Generator) -> Latents:
        """A batch with its share of photographs."""
        pans = round(self.recipe.batch * self.recipe.photos) if self.pans is not None and len(self.pans) > 0 else 0
        parts = [self.scenes.draw(self.recipe.batch - pans, generator)]
        return Latents.concat([*parts, self.pans.draw(pans, generator)]) if pans else parts[0]


class _Stopwatch:
    """Adds the time of each lap to a table, once this thread's stream is done with it."""

    def __init__(self, seconds: dict[str, float], device: torch.device) -> None:
        self._seconds, self._device, self._since = seconds, device, time.monotonic()

    def lap(self, name: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        now = time.monotonic()
        self._seconds[name] += now - self._since
        self._since = now


def _own_stream(device: torch.device) -> AbstractContextManager:
    """A CUDA stream of this thread's own; nothing on the CPU."""
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()

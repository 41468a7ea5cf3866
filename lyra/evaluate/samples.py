"""A teacher's samples for evaluation, kept on disk so that another machine can score them without generating."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lyra import weights
from lyra.evaluate.true_scenes import TrueScene
from lyra.io.atomic import replacing_file
from lyra.scene import Cameras
from lyra.train.student_scenes import FirstView
from lyra.train.synthesis import (
    DEPTH_STEP,
    SynthesisOptions,
    TeacherSample,
    decode_frames,
    load_source,
    synthesize,
)

OPTIONS = SynthesisOptions(recorded_paths=True)


class Samples:
    """Samples of one model along recorded paths (of photographs: along drawn ones).

    Latents lie in `folder` and are reused if model, seed and steps are the same. A model without a denoiser gives the
    codec's latents of the warped views. `seconds` tells how long each new sample took.
    """

    def __init__(
        self, model: str, folder: Path, device: str, seed: int, steps: int | None = None, draft: bool = False
    ) -> None:
        codec = weights.folder(model, "codec")
        denoiser = weights.folder(model, "denoiser") if weights.has(model, "denoiser") and not draft else None
        self.source = load_source(codec, denoiser, device, steps)
        self.mark = {
            "codec": weights.fingerprint(codec),
            "denoiser": "none" if denoiser is None else weights.fingerprint(denoiser),
            "steps": "as saved" if steps is None else str(steps),
            "seed": str(seed),
        }
        self.folder, self.seed, self.device = folder, seed, device
        self.seconds: list[float] = []
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, view: FirstView) -> TeacherSample:
        """The sample of a first view."""
        return self.kept(view.name, lambda: synthesize(view, self.source, OPTIONS, self.seed, self.device))

    def kept(self, name: str, make: Callable[[], TeacherSample]) -> TeacherSample:
        """The sample of this name on disk, or else what `make` gives, which is then kept."""
        path = self.folder / f"{name}.safetensors"
        sample = self._kept(path)
        if sample is None:
            synchronise(self.device)
            began = time.perf_counter()
            sample = make()
            synchronise(self.device)
            self.seconds.append(time.perf_counter() - began)
            tensors = {
                "latents": sample.latents, "depth": sample.depth, "c2w": sample.cameras.c2w, "K": sample.cameras.K,
                "unit": torch.tensor(sample.unit, dtype=torch.float64),
            }  # fmt: skip
            with replacing_file(path) as temporary:
                save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary, self.mark)
        return sample.to(self.device)

    def _kept(self, path: Path) -> TeacherSample | None:
        if not path.is_file():
            return None
        with safe_open(path, "pt") as file:
            if file.metadata() != self.mark:
                return None
            latents, depth, c2w, K, unit = (file.get_tensor(n) for n in ("latents", "depth", "c2w", "K", "unit"))
        height, width = (DEPTH_STEP * count for count in depth.shape[2:])
        cameras = Cameras(c2w, K, width, height)
        return TeacherSample(path.stem, latents, cameras, depth, float(unit))

    def frames(self, sample: TeacherSample) -> UInt8[Tensor, "v t 3 h w"]:
        """What the teacher's RGB decoder makes of a sample."""
        return decode_frames(self.source.codec, sample.latents)

    @torch.no_grad()
    def rebuilt(self, scene: TrueScene) -> UInt8[Tensor, "n 3 h w"]:
        """The true pictures through the codec, the best that any teacher on it can do.

        As whole videos where every frame is known, else each picture alone, which the codec finds easier.
        """
        length = scene.view.paths.shape[1] if scene.whole else 1
        videos = rearrange(scene.images, "(v t) c h w -> v c t h w", t=length).to(self.device)
        latents = [self.source.codec.encode_raw(video.float()[None] / 127.5 - 1) for video in videos]
        return decode_frames(self.source.codec, torch.cat(latents)).flatten(0, 1)


def synchronise(device: str) -> None:
    """Wait for the GPU, so that clocks tell the truth."""
    if str(device).startswith("cuda"):
        torch.cuda.synchronize()

"""A video in, a scene that moves out: cameras and depth, a cache a frame, six imagined videos, Gaussians over time."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.pipeline import machine, models
from lyra.pipeline.imagine import draft, finished, noise_seed, sample
from lyra.pipeline.job import Job, key_of, release
from lyra.pipeline.order import Order
from lyra.pipeline.video_decoding import decoded
from lyra.pipeline.video_layers import assemble
from lyra.pipeline.video_result import MovingScene
from lyra.pipeline.video_source import Filmed, plan
from lyra.pipeline.views import CameraPath, request
from lyra.scene import Cameras, DynamicGaussians, require
from lyra.video.footage import Footage, read_footage
from lyra.video.given import Given, read_given
from lyra.video.survey import Survey, survey

FLAT = (
    "the mini model's decoder knows no time: what moves is taken from the video frame by frame, as a flat figure at "
    "one distance, and what is imagined beside it may smear"
)


@dataclass(frozen=True)
class Clip:
    """Which part of a video is taken, and what is known of its cameras.

    start and seconds choose the stretch (None: all, up to 8 s), fps is the rate of folders of images, cameras a camera
    file or a result of ViPE, VGGT or Depth Anything 3 (`lyra.video.given`).
    """

    start: float = 0.0
    seconds: float | None = None
    fps: float = 24.0
    cameras: str | None = None


def generate_video(
    video: str | os.PathLike, order: Order | None = None, clip: Clip | None = None, job: Job | None = None
) -> MovingScene:
    """Turn a video into a scene that moves. The world: the first frame's camera at the origin looking along +z.

    Same inputs, same machine, same result. Raises InputError for what is no usable video, and if weights are missing.
    """
    order, clip, job = order or Order(), clip or Clip(), job or Job()
    needed = ("codec", "depth", "decoder", *(() if order.quality == "draft" else ("denoiser",)))
    hashes = models.hashes(order.model, needed)
    job.begin()
    form = order.format
    with job.stage("reading"):
        footage = read_footage(video, form.width, form.height, form.frames, clip.start, clip.seconds, clip.fps)
    given = None if clip.cameras is None else read_given(clip.cameras)
    base = (machine.versions(job.device), footage.digest, None if given is None else given.digest, hashes["depth"])
    filmed = Filmed(footage, surveyed(footage, given, order, job, key_of(base)))
    key = key_of(base, hashes, asdict(order) | {"trajectories": None, "model": None})
    scene, paths = scene_of(filmed, order, job, key)
    facts = _facts(order, clip, filmed, paths, hashes) | _counts(scene)
    return MovingScene(scene, filmed.survey, footage.frames, facts | finished(job))


def scene_of(filmed: Filmed, order: Order, job: Job, key: str) -> tuple[DynamicGaussians, list[CameraPath]]:
    """The scene of a surveyed video, and the paths along which it was imagined; stages are kept under `key`."""
    with job.stage("paths"):
        paths = plan(filmed, order)
    latents = _latents(filmed, paths, order, job, key)
    with job.stage("decoding"):
        imagined = decoded(filmed, paths, latents, order.model, job, key_of(key, order.trajectories))
    with job.stage("assembling"):
        return assemble(filmed.footage.frames, filmed.survey, imagined, filmed.footage.fps).to("cpu"), paths


def surveyed(footage: Footage, given: Given | None, order: Order, job: Job, key: str) -> Survey:
    """Cameras and depth of a video, kept under `key`. Raises InputError if the camera cannot be followed."""
    with job.stage("cameras and depth", len(footage)) as tell:

        def make() -> dict[str, Tensor]:
            network = job.network("depth", order.model, models.depth_model)
            found = survey(replace(footage, frames=footage.frames.to(job.device)), network, given, tell)
            cameras = found.cameras
            facts = torch.tensor([found.scale == "metric", found.still, found.lost])
            return {"c2w": cameras.c2w, "K": cameras.K, "depth": found.depth, "moving": found.moving, "facts": facts}

        kept = {name: value.cpu() for name, value in job.kept("survey", key, make).items()}
        release()
    metric, still, lost = (int(fact) for fact in kept["facts"])
    height, width = footage.frames.shape[-2:]
    cameras = Cameras(kept["c2w"], kept["K"].contiguous(), width, height)
    scale = "metric" if metric else "relative"
    return Survey(cameras, kept["depth"], kept["moving"].bool(), scale, bool(still), lost)


def _latents(
    filmed: Filmed, paths: list[CameraPath], order: Order, job: Job, key: str
) -> Float[Tensor, "v c lt lh lw"]:
    """Raw latents of all paths, one after the other, each kept as soon as it is made."""
    is_draft = order.quality == "draft"
    part, load = ("codec", models.codec) if is_draft else ("teacher", models.teacher)
    made, network = [], None
    with job.stage("imagining", 100 * len(paths)) as tell:
        cache = filmed.cache(job.device)
        for index, path in enumerate(paths):

            def make(index: int = index, path: CameraPath = path) -> dict[str, Tensor]:
                nonlocal network  # loaded once, and only if a path needs it
                network = network or job.network(part, order.model, load)
                warped = cache.warp(path.cameras.to(job.device), per_frame=True)
                asked = request(filmed.footage.frames[0], warped, job.device)
                if is_draft:
                    return {"raw": draft(network, asked)}
                said: Callable[[float], None] = lambda share: tell(int(100 * (index + share)))  # noqa: E731
                return {"raw": sample(network, asked, order, noise_seed(order, index), said)}

            made.append(job.kept(f"latents_{path.kind}", key, make)["raw"])
            tell(100 * (index + 1))
    del network
    release()
    return torch.cat(made)


def _counts(scene: DynamicGaussians) -> dict:
    require(len(scene) > 0, "nothing of this video could be turned into a scene")
    still = len(scene.static)
    return {"gaussians": len(scene), "static_gaussians": still, "moving_gaussians": len(scene) - still}


def _facts(order: Order, clip: Clip, filmed: Filmed, paths: list[CameraPath], hashes: dict) -> dict:
    """The report up to here."""
    footage, found = filmed.footage, filmed.survey
    travelled = (found.cameras.centers - found.cameras.centers[0]).norm(dim=-1).max()
    notes = [*footage.notes, *found.notes]
    if order.model == "mini":
        notes.append(FLAT)
    return {
        "order": asdict(order) | {"model": os.fspath(order.model)},
        "clip": asdict(clip),
        "video": {"name": footage.name, "size": list(footage.full_size), "fps": round(footage.fps, 4), "notes": notes},
        "format": asdict(order.format),
        "weights": hashes,
        "camera": {
            "still": found.still,
            "travelled": round(float(travelled), 4),
            "lost_frames": found.lost,
            "fov_x_deg": round(float(found.cameras.fov_x_deg[0]), 2),
        },
        "depth": {"scale": found.scale, "median": round(found.unit, 4)},
        "moving_share": round(float(found.moving.float().mean()), 4),
        "paths": [
            {"kind": path.kind, "distance": round(path.distance * path.share, 4), "share": round(path.share, 4)}
            for path in paths
        ],
    }

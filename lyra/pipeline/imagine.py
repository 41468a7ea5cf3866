"""From a photograph to what the teacher imagines along six camera paths: depth, cache, warps, latents, videos."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from lyra.depth.depth_map import DepthMap
from lyra.io.images import to_uint8
from lyra.pipeline import machine, models
from lyra.pipeline.imagination import Imagination
from lyra.pipeline.job import Job, key_of, release
from lyra.pipeline.order import Order, finer
from lyra.pipeline.photo import Photo, read_photo
from lyra.pipeline.views import CameraPath, FirstView, plan_paths, request
from lyra.scene import Cameras, require
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CameraRequest, CosmosTeacher
from lyra.teacher.known import with_known
from lyra.teacher.sampler import KarrasSchedule
from lyra.teacher.warp import Warped

Source = str | os.PathLike | bytes | Tensor
"""A photograph: a file, its bytes, or a tensor [3, h, w] in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Imagined:
    """Latents of the paths [v], raw (not normalised), with everything they were made from; lengths in median depths."""

    order: Order
    photo: Photo
    view: FirstView
    paths: list[CameraPath]
    latents: Float[Tensor, "v c lt lh lw"]
    key: str
    facts: dict

    @property
    def cameras(self) -> Cameras:
        """All cameras (v, t)."""
        first = self.paths[0].cameras
        c2w, K = (torch.stack([getattr(path.cameras, name) for path in self.paths]) for name in ("c2w", "K"))
        return Cameras(c2w, K, first.width, first.height)

    def warps(self, device: torch.device) -> Iterator[Warped]:
        """What the photograph shows along each path."""
        cache = self.view.cache(device)
        for path in self.paths:
            yield cache.warp(path.cameras.to(device))


def imagine(
    image: Source,
    quality: str = "standard",
    trajectories: int = 6,
    motion: float = 1.0,
    seed: int = 0,
    model: str = "mini",
    size: tuple[int, int] | None = None,
    job: Job | None = None,
) -> Imagination:
    """Imagine what cameras see that leave the place of a photograph along the paths of the method.

    See `Order` for the options and `Job` for device, progress and resuming. Raises InputError for what is no usable
    photograph, and if weights are missing.
    """
    order, job = Order(quality, trajectories, motion, seed, str(model), size), job or Job()
    imagined = imagine_latents(image, order, job, parts=())
    videos, warps = decode_videos(imagined, job, range(len(imagined.paths)), imagined.warps(job.device))
    kinds = tuple(path.kind for path in imagined.paths)
    cameras = in_world(imagined.cameras, imagined.view.unit)
    report = imagined.facts | finished(job)
    return Imagination(imagined.photo.image, imagined.view.depth, cameras, kinds, videos, warps, report)


def imagine_latents(image: Source, order: Order, job: Job, parts: tuple[str, ...]) -> Imagined:
    """Everything up to the latents; `parts` are further parts of the model whose weights must be there."""
    needed = ("codec", "depth", *(() if order.quality == "draft" else ("denoiser",)))
    hashes = models.hashes(order.model, (*needed, *parts))
    form = order.format
    job.begin()
    with job.stage("reading"):
        photo = read_photo(image, form.width, form.height)
    base = (machine.versions(job.device), photo.digest)
    view = _first_view(photo, order, job, key_of(base, hashes["depth"]))
    with job.stage("paths"):
        paths = plan_paths(view, order.folders, form.frames, order.motion, order.seed)
    key = key_of(base, [hashes[part] for part in needed], asdict(order) | {"trajectories": None, "model": None})
    latents = _latents(view, paths, order, job, key)
    facts = _facts(order, photo, view, paths, hashes, job)
    return Imagined(order, photo, view, paths, latents, key_of(key, order.trajectories), facts)


def _first_view(photo: Photo, order: Order, job: Job, key: str) -> FirstView:
    def make() -> dict[str, Tensor]:
        network = job.network("depth", order.model, models.depth_model)
        found = network(photo.image.to(job.device))
        metric = torch.tensor(found.scale == "metric")
        return {"depth": found.depth.cpu(), "K": found.K.cpu(), "valid": found.valid.cpu(), "metric": metric}

    with job.stage("depth"):
        kept = {name: value.cpu() for name, value in job.kept("depth", key, make).items()}
        release()
    scale = "metric" if kept["metric"] else "relative"
    return FirstView(photo.image, DepthMap(kept["depth"], kept["K"], kept["valid"], scale))


def _latents(view: FirstView, paths: list[CameraPath], order: Order, job: Job, key: str) -> Tensor:
    """Raw latents of all paths, one path after the other, each kept as soon as it is made."""
    is_draft = order.quality == "draft"
    part, load = ("codec", models.codec) if is_draft else ("teacher", models.teacher)
    made, network = [], None
    with job.stage("imagining", 100 * len(paths)) as tell:
        cache = view.cache(job.device)
        for index, path in enumerate(paths):

            def make(index: int = index, path: CameraPath = path) -> dict[str, Tensor]:
                nonlocal network  # loaded once, and only if a path needs it
                network = network or job.network(part, order.model, load)
                asked = request(view.image, cache.warp(path.cameras.to(job.device)), job.device)
                if is_draft:
                    return {"raw": draft(network, asked)}
                seed = noise_seed(order, index)
                return {"raw": sample(network, asked, order, seed, lambda share: tell(int(100 * (index + share))))}

            made.append(job.kept(f"latents_{path.kind}", key, make)["raw"])
            tell(100 * (index + 1))
    del network
    release()
    return torch.cat(made)


def noise_seed(order: Order, index: int) -> int:
    """The seed of the start noise of one path; that of a path does not depend on how many are made."""
    return order.seed * 8 + order.folders[index]


def sample(
    teacher: CosmosTeacher, asked: CameraRequest, order: Order, seed: int, tell: Callable[[float], None]
) -> Float[Tensor, "b c lt lh lw"]:
    """Raw latents that the teacher imagines; `tell` hears the finished share."""
    own = KarrasSchedule() if teacher.sampling is None else teacher.sampling.schedule
    schedule = finer(own.sigmas().tolist()) if order.quality == "full" else own
    steps = len(schedule.sigmas()) - 1
    rows, columns = (side // teacher.codec.spec.space for side in asked.image.shape[-2:])
    _, most_rows, most_columns = teacher.config.max_size
    require(
        rows <= most_rows and columns <= most_columns,
        f"this model makes videos of at most {most_columns * teacher.codec.spec.space}x"
        f"{most_rows * teacher.codec.spec.space} pixels; choose a smaller --size",
    )
    cond = teacher.condition(asked)
    noise = teacher.noise(cond, [seed])
    latents = teacher.sample(cond, noise, schedule=schedule, on_step=lambda step: tell((step.index + 1) / steps))
    return teacher.codec.to_raw(latents)


@torch.no_grad()
def draft(codec: VideoCodec, asked: CameraRequest) -> Float[Tensor, "b c lt lh lw"]:
    """Raw latents of the warps themselves, holes included; the first frame is the photograph."""
    video = asked.warp[:, :, 0].clone()
    video[:, 0] = asked.image
    return codec.encode_raw(rearrange(video, "b t c h w -> b c t h w"))


@torch.no_grad()
def decode_videos(
    imagined: Imagined, job: Job, paths: Sequence[int], warps: Iterable[Warped]
) -> tuple[UInt8[Tensor, "v t 3 h w"], UInt8[Tensor, "v t 3 h w"]]:
    """RGB frames of these paths with what the photo shows put back in, and the warps (one for each path) alone."""
    codec = job.network("codec", imagined.order.model, models.codec)
    videos, bare = [], []
    with job.stage("frames", len(paths)) as tell:
        for count, (index, shown) in enumerate(zip(paths, warps, strict=True)):
            video = codec.decode_raw(imagined.latents[index, None].to(job.device))[0].transpose(0, 1)
            warp = 0.5 + 0.5 * shown.image
            videos.append(to_uint8(with_known(0.5 + 0.5 * video.float(), warp, shown.mask)).cpu())
            bare.append(to_uint8(warp).cpu())
            tell(count + 1)
    release()
    return torch.stack(videos), torch.stack(bare)


def in_world(cameras: Cameras, unit: float) -> Cameras:
    """Cameras in median depths as cameras in world units."""
    c2w = cameras.c2w.clone()
    c2w[..., :3, 3] *= unit
    return Cameras(c2w, cameras.K, cameras.width, cameras.height)


def finished(job: Job) -> dict:
    """What a job can say when it is over."""
    seconds = {name: round(value, 3) for name, value in job.seconds.items()}
    total = round(sum(job.seconds.values()), 3)
    return {
        "seconds": seconds | {"total": total},
        "resumed": job.resumed,
        "peak_memory_bytes": machine.peak_memory(job.device),
        "versions": machine.versions(job.device),
    }


def _facts(order: Order, photo: Photo, view: FirstView, paths: list[CameraPath], hashes: dict, job: Job) -> dict:
    """The report up to here."""
    depth, form = view.depth, order.format
    return {
        "order": asdict(order) | {"model": os.fspath(order.model)},
        "photo": {"name": photo.name, "size": list(photo.full_size), "notes": list(photo.notes)},
        "format": asdict(form),
        "weights": hashes,
        "depth": {
            "scale": depth.scale,
            "median": round(view.unit, 4),
            "sky_share": round(1 - float(depth.valid.float().mean()), 4),
            "fov_x_deg": round(float(view.camera.fov_x_deg), 2),
        },
        "paths": [
            {
                "kind": path.kind,
                "distance": round(path.distance * path.share, 4),
                "share": round(path.share, 4),
                "noise_seed": noise_seed(order, index),
            }
            for index, path in enumerate(paths)
        ],
    }

"""The main job: one photograph in, a scene of Gaussians out."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.decoder import DecoderConfig
from lyra.pipeline import models
from lyra.pipeline.imagine import Imagined, Source, finished, imagine_latents, in_world
from lyra.pipeline.job import Job, key_of, release
from lyra.pipeline.order import Order
from lyra.pipeline.result import Scene
from lyra.pipeline.views import FirstView
from lyra.scene import Gaussians

KEEP, KEEP_PUBLISHED = 0.5, 0.2  # share of Gaussians kept, the most opaque ones, as in the last stage of training
_BEHIND = 0.1  # so far behind the photo's surface, as a share of its depth, counts as unseen


def generate(
    image: Source,
    quality: str = "standard",
    trajectories: int = 6,
    motion: float = 1.0,
    seed: int = 0,
    model: str = "mini",
    size: tuple[int, int] | None = None,
    job: Job | None = None,
) -> Scene:
    """Turn a photograph into a scene: depth, 3D cache, six imagined videos (as latents), one set of Gaussians.

    `quality` draft leaves the diffusion out, standard takes few steps, full many. See `Order` for the other options and
    `Job` for device, progress and resuming. The world: the photo's camera at the origin looking along +z (OpenCV axes),
    in metres if the depth is metric. Same inputs, same machine, same result. Raises InputError for what is no usable
    photograph, and if weights are missing.
    """
    order, job = Order(quality, trajectories, motion, seed, str(model), size), job or Job()
    imagined = imagine_latents(image, order, job, parts=("decoder",))
    scene = _decoded(imagined, job)
    facts = imagined.facts | {
        "gaussians": len(scene),
        "imagined_share": round(1 - float(scene.seen.float().mean()), 4) if len(scene) else 0.0,
    }
    return Scene(
        scene,
        in_world(imagined.cameras, imagined.view.unit),
        imagined.view.depth,
        imagined.photo.image,
        facts | finished(job),
    )


def _decoded(imagined: Imagined, job: Job) -> Gaussians:
    """The Gaussians in the world, on the CPU, marked by whether the photo showed their place."""
    unit = imagined.view.unit

    def make() -> dict[str, Tensor]:
        decoder = job.network("decoder", imagined.order.model, models.decoder)
        ours = decoder.config.depth == "log"  # sees lengths in median depths; the published one sees metres
        cameras = in_world(imagined.cameras, unit).to(job.device)
        keep, scale = (KEEP, unit) if ours else (KEEP_PUBLISHED, 1.0)
        guide = cache_depth(imagined, decoder.config, job.device) if decoder.config.guide else None
        with torch.no_grad():
            made = decoder(imagined.latents.to(job.device), cameras, keep=keep, scale=scale, guide=guide)
        made = made.to("cpu").prune()
        return {name: getattr(made, name) for name in ("means", "quats", "scales", "opacities", "sh")}

    with job.stage("decoding"):
        key = key_of(imagined.key, imagined.facts["weights"]["decoder"], KEEP)
        kept = {name: value.cpu() for name, value in job.kept("gaussians", key, make).items()}
        release()
        gaussians = Gaussians(**kept)
        return replace(gaussians, seen=seen_by(imagined.view, gaussians.means / unit))


def cache_depth(imagined: Imagined, config: DecoderConfig, device: torch.device) -> Float[Tensor, "v t h w"]:
    """The depth of the warped cache on the decoder's grid of Gaussians, in world units, 0 in holes."""
    cache, step = imagined.view.cache(device), config.stride
    depths = []
    for path in imagined.paths:
        warped = cache.warp(path.cameras[:: config.time_stride].to(device))
        depth = torch.where(warped.mask, warped.depth, 0)
        depths.append(depth[:, step // 2 :: step, step // 2 :: step])
    return imagined.view.unit * torch.stack(depths)


def seen_by(view: FirstView, means: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Which places the photograph shows: in its frame, and not behind what it sees there (in median depths)."""
    camera, depth = view.camera, view.relative_depth
    pixels, z = camera.project(means)
    column, row = pixels.nan_to_num(-1.0).clamp(-1, 1e6).floor().long().unbind(-1)
    inside = (z > 0) & (row >= 0) & (row < camera.height) & (column >= 0) & (column < camera.width)
    surface = depth[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
    return inside & (z <= (1 + _BEHIND) * surface)

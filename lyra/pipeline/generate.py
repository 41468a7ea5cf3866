"""The main job: one photograph in, a scene of Gaussians out."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.decoder import DecoderConfig
from lyra.pipeline import machine, models
from lyra.pipeline.imagine import Imagined, Source, decode_videos, finished, imagine_latents, in_world
from lyra.pipeline.job import Job, key_of, release
from lyra.pipeline.order import Order
from lyra.pipeline.photo import read_photo
from lyra.pipeline.refine import MOST_STEPS, chosen, default_steps, fit
from lyra.pipeline.result import Scene
from lyra.pipeline.sky import sky_of
from lyra.pipeline.surface import DETAIL, SURFACES, seen_by, with_photo
from lyra.scene import Gaussians, require

FIELDS = ("means", "quats", "scales", "opacities", "sh")
KEEP, KEEP_PUBLISHED = 0.5, 0.2  # share of Gaussians kept, the most opaque ones, as in the last stage of training


def generate(
    image: Source,
    quality: str = "standard",
    trajectories: int = 6,
    motion: float = 1.0,
    seed: int = 0,
    model: str = "mini",
    size: tuple[int, int] | None = None,
    surface: str = "photo",
    refine: int | None = None,
    job: Job | None = None,
) -> Scene:
    """Turn a photograph into a scene: depth, 3D cache, six imagined videos (as latents), one set of Gaussians.

    `surface` photo: what the photo shows is made of its own pixels, the decoder's Gaussians are the rest, and sky goes
    on behind them (lyra/pipeline/surface.py, sky.py); student: all are the decoder's.
    `refine`: steps of fitting the result to the imagined videos (lyra/pipeline/refine.py); None: see there.
    `quality` draft leaves the diffusion out, standard takes few steps, full many. See `Order` for the other options and
    `Job` for device, progress and resuming. The world: the photo's camera at the origin looking along +z (OpenCV axes),
    in metres if the depth is metric. Same inputs, same machine, same result. Raises InputError for what is no usable
    photograph, and if weights are missing.
    """
    require(surface in SURFACES, f"the surface is one of {', '.join(SURFACES)}, not {surface!r}")
    order, job = Order(quality, trajectories, motion, seed, str(model), size), job or Job()
    steps = default_steps(quality, job.device) if refine is None else refine
    require(0 <= steps <= MOST_STEPS, f"refining takes between 0 and {MOST_STEPS} steps, not {steps}")
    imagined = imagine_latents(image, order, job, parts=("decoder",))
    scene = _decoded(imagined, job)
    if surface == "photo":
        width, height = (round(DETAIL * side) for side in (order.format.width, order.format.height))
        scene = with_photo(imagined.view, read_photo(image, width, height).image, scene)
        scene = Gaussians.concat([scene, sky_of(imagined.view)])
    if steps:
        scene = _refined(imagined, scene, surface, steps, job)
    facts = imagined.facts | {
        "surface": surface,
        "refine_steps": steps,
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
        return {name: getattr(made, name) for name in FIELDS}

    with job.stage("decoding"):
        key = key_of(imagined.key, imagined.facts["weights"]["decoder"], KEEP)
        kept = {name: value.cpu() for name, value in job.kept("gaussians", key, make).items()}
        release()
        gaussians = Gaussians(**kept)
        return replace(gaussians, seen=seen_by(imagined.view, gaussians.means / unit))


def _refined(imagined: Imagined, scene: Gaussians, surface: str, steps: int, job: Job) -> Gaussians:
    """The scene fitted to the teacher's frames, the photo's own pixels left as they are."""
    unit, device = imagined.view.unit, machine.drawing(job.device)

    def make() -> dict[str, Tensor]:
        warps = list(imagined.warps(job.device))
        paths, late = chosen(torch.stack([warped.mask.cpu() for warped in warps]))
        targets = decode_videos(imagined, job, paths, [warps[path] for path in paths])[0][:, late].flatten(0, 1)
        del warps  # a quarter of a gigabyte
        cameras = in_world(imagined.cameras[torch.tensor(paths), late].flatten(), unit).to(device)
        with job.stage("refining", steps) as tell:
            fixed = scene.seen if surface == "photo" else None
            made = fit(scene.to(device), cameras, targets, steps, unit, imagined.order.seed, fixed, tell)
        return {name: getattr(made, name) for name in FIELDS}

    key = key_of(imagined.key, imagined.facts["weights"]["decoder"], KEEP, surface, steps)
    kept = job.kept("refined", key, make)
    release()
    return replace(Gaussians(**{name: value.cpu() for name, value in kept.items()}), seen=scene.seen)


def cache_depth(imagined: Imagined, config: DecoderConfig, device: torch.device) -> Float[Tensor, "v t h w"]:
    """The depth of the warped cache on the decoder's grid of Gaussians, in world units, 0 in holes."""
    cache, step = imagined.view.cache(device), config.stride
    depths = []
    for path in imagined.paths:
        warped = cache.warp(path.cameras[:: config.time_stride].to(device))
        depth = torch.where(warped.mask, warped.depth, 0)
        depths.append(depth[:, step // 2 :: step, step // 2 :: step])
    return imagined.view.unit * torch.stack(depths)

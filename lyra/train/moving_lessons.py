"""What a student of moving scenes sees in a step: all frames of some paths, and one moment from all twelve cameras."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from lyra.decoder.maps import Times
from lyra.scene import Cameras, require
from lyra.train.moving_scenes import Recording, synthesize_moving
from lyra.train.student_data import Lesson, draw_paths
from lyra.train.student_recipe import Stage
from lyra.train.synthesis import SKY, LatentSource, TeacherSample, decode_frames


@dataclass(frozen=True, eq=False)
class MovingEntry:
    """A teacher's videos of one source, and as targets the frames of both directions, numbered by source time.

    `frames`, `depth` and `cameras` hold the forward paths, then the reversed ones (2 v).
    """

    sample: TeacherSample
    frames: UInt8[Tensor, "v2 t 3 h w"]
    depth: Tensor
    cameras: Cameras


def moving_entry(
    forward: Recording, backward: Recording | None, source: LatentSource, seed: int, device: torch.device | str = "cpu"
) -> MovingEntry:
    """Imagine both directions (`backward` None: without motion-reversed supervision)."""
    require(
        not forward.backwards and (backward is None or backward.backwards),
        "an entry needs a recording forwards and, if any, one backwards",
    )
    sample = synthesize_moving(forward, source, seed, device)
    frames, depth, poses = [decode_frames(source.codec, sample.latents)], [sample.depth], [sample.cameras.c2w]
    if backward is not None:
        other = synthesize_moving(backward, source, seed + len(sample.latents), device)
        frames.append(decode_frames(source.codec, other.latents).flip(1))
        depth.append(other.depth.flip(1))
        poses.append(other.cameras.c2w.flip(1))
    c2w = torch.cat(poses)
    K = sample.cameras.K[:1, :1].expand(*c2w.shape[:2], 3, 3)
    cameras = Cameras(c2w, K, sample.cameras.width, sample.cameras.height)
    return MovingEntry(sample, torch.cat(frames), torch.cat(depth), cameras)


def draw_moving_lesson(entry: MovingEntry, stage: Stage, generator: torch.Generator) -> Lesson:
    """Inputs: some forward paths. Targets: one moment, drawn evenly, from every camera of both directions."""
    sample = entry.sample
    require(stage.size is None, f"stage {stage.name}: moving scenes are learnt at their own size")
    chosen = torch.tensor(draw_paths(stage, len(sample.latents), generator), device=sample.latents.device)
    count = sample.cameras.shape[1]
    moment = int(torch.randint(count, (), generator=generator))
    depth = entry.depth[:, moment].float()
    return Lesson(
        latents=sample.latents[chosen].float(),
        cameras=sample.cameras[chosen],
        guide=sample.depth[chosen].float(),
        target_cameras=entry.cameras[:, moment].to("cpu"),
        images=entry.frames[:, moment].float() / 255,
        depth=torch.where(depth < 0.9 * SKY, depth, 0),
        times=Times(torch.arange(count).float(), float(moment)),
    )

"""Train the mini denoiser: `python runs/train_denoiser.py --worlds DIR --codec DIR --out DIR`, or through torchrun.

Scenes may still be appearing below --worlds while this runs. --seconds bounds the whole call, waiting, training and
evaluation included. A second call with the same --state goes on where the first one stopped (latents are made anew);
give both the same --schedule-seconds (training time planned over all calls), from which learning rate and the switch to
few steps follow; without it the schedule ends with this call. --init starts from weights that were trained before.
Several processes (torchrun) share the scenes and average their gradients; the batch of the recipe is that of each
process. First frames from text are learnt afterwards, by an adapter of the weights made here
(runs/train_first_frame.py).

Written to --out: config.json and model.safetensors (int8 by rows, averaged few-step weights with their sampling; if the
ones from before do better with the same noise levels on the held-out scenes, those), base/ (the ones from before),
metrics.json, log.jsonl, recipe.json, samples.png (warp | base, 35 steps | few steps | true; middle and last frame).
"""

import argparse
import json
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lyra.io.atomic import write_json
from lyra.metrics import LPIPS
from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher
from lyra.teacher.sampler import KarrasSchedule, MiniSampling
from lyra.train.clip_data import load_photos
from lyra.train.denoiser import DenoiserTrainer, DenoiserTraining
from lyra.train.denoiser_clips import plain_order, scene_clip
from lyra.train.denoiser_eval import Judge, Way, held_out_pans
from lyra.train.denoiser_fit import Clock, fill, fit
from lyra.train.denoiser_supply import Maker, Supply
from lyra.train.latents import SceneFeed, Source, clip_bytes, is_held_out, read_views, static_scenes
from lyra.train.processes import Processes
from worlds.clips import decode_depth

STARTED = time.monotonic()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, required=True, help="folder of rendered scenes; it may grow meanwhile")
    parser.add_argument("--worlds-val", type=Path, help="held-out scenes (default: some of --worlds, by name)")
    parser.add_argument("--codec", type=Path, required=True, help="folder of the trained codec")
    parser.add_argument("--photos", type=Path, help="pack written by runs/fetch_photos.py")
    parser.add_argument("--init", type=Path, help="folder of a denoiser of this recipe's structure to start from")
    parser.add_argument("--lpips", type=Path, help="lpips_vgg weights, to evaluate and to choose the weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, default=Path("cache/denoiser_state"), help="checkpoints, for resuming")
    parser.add_argument("--seconds", type=float, default=560, help="time for this whole call")
    parser.add_argument("--schedule-seconds", type=float, help="training time over all calls")
    parser.add_argument("--reserve", type=float, default=75, help="seconds of the call kept for the evaluation")
    parser.add_argument("--min-clips", type=int, default=480, help="clips each process waits for before it trains")
    parser.add_argument("--max-gib", type=float, default=30, help="memory for latents on each device")
    parser.add_argument("--pace", type=float, default=30, help="new clips a second while training, at most, a process")
    parser.add_argument("--keep", type=int, help="scene folders kept by each process; older ones are deleted")
    parser.add_argument("--batch", type=int, help="clips in the batch of each process (default: the recipe's)")
    parser.add_argument("--sigmas", type=float, nargs="+", help="noise levels of the few steps (default: the recipe's)")
    parser.add_argument("--few-share", type=float, help="share of the training for few steps (default: the recipe's)")
    parser.add_argument("--adversarial", type=float, default=0.0, help="weight of a critic while few steps are learnt")
    parser.add_argument("--size", type=int, nargs=3, default=(25, 256, 448), metavar=("FRAMES", "HEIGHT", "WIDTH"))
    parser.add_argument("--tiny", action="store_true", help="a tiny network, to try the script on a CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    parser.add_argument("--val-scenes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def recipe_of(args: argparse.Namespace, codec: VideoCodec) -> DenoiserTraining:
    """The recipe for this codec, with what the command line changes."""
    recipe = DenoiserTraining()
    network = replace(recipe.network, latent_channels=codec.spec.channels)
    if args.tiny:
        network = replace(network, heads=2, head_dim=32, blocks=2, adaln_rank=8)
        recipe = replace(recipe, batch=4, warmup_steps=10, ema=0.98)
    recipe = replace(recipe, network=network, batch=args.batch or recipe.batch, adversarial=args.adversarial)
    if args.sigmas:
        recipe = replace(recipe, sampling=MiniSampling(tuple(args.sigmas)))
    return recipe if args.few_share is None else replace(recipe, few_share=args.few_share)


def held_out_clips(args: argparse.Namespace, share: float, depth: np.ndarray, device: torch.device) -> list:
    """Plain clips with true depth of the first held-out scenes."""
    root = args.worlds_val or args.worlds
    folders = [f for f in static_scenes(root) if args.worlds_val or is_held_out(f.name, share)]
    clips = []
    for folder in folders:
        views = read_views(folder, depth, args.size[0])
        if views is None or tuple(views.rgb.shape[2:4]) != tuple(args.size[1:]):
            continue
        views, generator = views.to(device), torch.Generator()
        clips += [scene_clip(views, plain_order(path, args.size[0]), None, generator) for path in range(len(views.rgb))]
        if len(clips) >= 6 * args.val_scenes:
            break
    return clips


def finish(trainer: DenoiserTrainer, args: argparse.Namespace, codec: VideoCodec, clips: list, facts: dict) -> None:
    """Weights, metrics and samples; the weights are written before anything can go wrong."""
    recipe, results = trainer.recipe, {"training": facts}
    teacher = store(trainer, args.out, codec)
    if not clips:
        print("no held-out scene was there to evaluate on", flush=True)
        write_json(args.out / "metrics.json", results)
        return
    lpips = LPIPS.load(args.lpips, "vgg").to(trainer.device) if args.lpips else None
    judge = Judge(clips, codec, recipe.network, lpips)
    results |= {"clips": len(clips), "unseen_share": round(judge.unseen_share(), 4)} | judge.reference()
    base, few, levels = trainer.frozen or trainer.average, trainer.average, recipe.sampling.schedule
    top = levels.sigma_max
    stored = deepcopy(few)
    stored.load_state_dict(CosmosTeacher.load(args.out, codec).network.state_dict())
    ways = {f"base_{n}": Way(base, KarrasSchedule(n, 0.02, top)) for n in (1, 2, 4, 8)}
    ways |= {
        "base_levels": Way(base, levels),
        "base_8_near": Way(base, KarrasSchedule(8, 0.02, 3.0)),
        "base_8_near_warp": Way(base, KarrasSchedule(8, 0.02, 3.0), from_warp=True),
        "base_35": Way(base, KarrasSchedule(35, 0.002, 80.0)),
        "few": Way(few, levels),
        "few_warp": Way(few, levels, from_warp=True),
        "few_stored": Way(stored, levels),
    }
    samples = {}
    for name, way in ways.items():
        latents = judge.sample(way)
        results[name] = judge.measure(latents)
        if name in ("base_35", "few"):
            samples[name] = latents
        print(name, json.dumps(results[name]), flush=True)
    measure = "latent_mse" if lpips is None else "lpips"
    best = min(("few", "few_warp", "base_levels"), key=lambda name: results[name][measure])
    if best != "few":
        sampling = replace(recipe.sampling, start="warp" if ways[best].from_warp else "noise")
        teacher = CosmosTeacher(codec, ways[best].network, recipe.network, sampling)
        teacher.save(args.out)
    results |= {"kept": best, "sampling": teacher.sampling.as_dict()}
    if args.photos:  # rendered scenes do not show it if photographs get worse
        pans = Judge(
            held_out_pans(args.photos, args.size[0], tuple(args.size[1:]), trainer.device), codec, recipe.network
        )
        results["photographs"] = pans.measure(pans.sample(ways[best]))
        print("photographs", json.dumps(results["photographs"]), flush=True)
    write_json(args.out / "metrics.json", results)
    judge.write_sheet([samples["base_35"], samples["few"]], args.out / "samples.png")


def store(trainer: DenoiserTrainer, out: Path, codec: VideoCodec) -> CosmosTeacher:
    """Save the averaged weights, and those before few steps were learnt if that is over."""
    config = trainer.recipe.network
    if trainer.few:
        CosmosTeacher(codec, trainer.frozen, config).save(out / "base")
    teacher = CosmosTeacher(codec, trainer.average, config, trainer.recipe.sampling)
    teacher.save(out)
    return teacher


def facts_of(trainer: DenoiserTrainer, supply: Supply) -> dict:
    """What the run was, for metrics.json."""
    return {
        "steps": trainer.step,
        "seconds": round(trainer.elapsed, 1),
        "parameters": sum(p.numel() for p in trainer.average.parameters()),
        "processes": trainer.processes.count,
        "batch": trainer.recipe.batch * trainer.processes.count,
        "scenes_of_first_process": len(supply.maker.feed.seen),
        "clips_of_first_process": supply.scenes.written,
        "pans_of_first_process": supply.pans.written if supply.pans is not None else 0,
        "device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }


def main() -> None:
    """Wait for scenes, train until the time is up, evaluate."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    processes = Processes.start(args.device)
    on_gpu = processes.device.type == "cuda"
    codec = VideoCodec.load(args.codec, torch.bfloat16 if on_gpu else torch.float32).to(processes.device)
    codec.requires_grad_(False)
    recipe, depth = recipe_of(args, codec), decode_depth(np.arange(65536))
    frames, height, width = args.size
    share = 0.0 if args.worlds_val else 0.04
    source = Source(args.worlds, frames, processes.rank, processes.count, held_out=share, keep=args.keep)
    photos = load_photos(args.photos, "train", processes.device) if args.photos else []
    latent = (codec.spec.latent_frames(frames), height // codec.spec.space, width // codec.spec.space)
    capacity = int(args.max_gib * 2**30 / (1 + recipe.photos) / clip_bytes(recipe.network, latent))
    feed = SceneFeed(source, depth, args.seed + processes.rank)
    supply = Supply(Maker(codec, recipe, feed, photos, (height, width)), capacity)
    trainer = DenoiserTrainer(recipe, processes, args.seed, args.compile)
    if args.init:
        trainer.start_from(CosmosTeacher.load(args.init, codec).network.state_dict())
    checkpoint = args.state / f"checkpoint{processes.rank}.pt"
    if checkpoint.is_file():
        trainer.restore(checkpoint)
        print(f"going on from step {trainer.step} ({trainer.elapsed:.0f} s)", flush=True)
    if processes.first:
        write_json(args.out / "recipe.json", recipe.as_dict())

    def save() -> None:
        trainer.save(checkpoint)
        if processes.first:
            store(trainer, args.out, codec)

    clock = Clock(STARTED + args.seconds - args.reserve, args.schedule_seconds)
    fill(trainer, supply, args.min_clips, clock.deadline)
    print(f"{len(supply.scenes)} clips after {time.monotonic() - STARTED:.0f} s", flush=True)
    supply.pace = args.pace
    fit(trainer, supply, clock, save, args.out / "log.jsonl")
    supply.stop()
    if processes.first:
        clips = held_out_clips(args, share, depth, processes.device)
        finish(trainer, args, codec, clips, facts_of(trainer, supply))
    processes.stop()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"train_denoiser: {error}") from error

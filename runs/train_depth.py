"""Train the depth network: `python runs/train_depth.py --worlds DIR --backbone FILE --out DIR`.

--seconds bounds the whole call, loading and evaluation included. A second call with the same --state folder goes on
where the first one stopped; give both the same --schedule-seconds (the training time planned over all calls), from
which the learning rate falls. Scenes that appear below --worlds while it runs are read too. Written to --out:
config.json and model.safetensors (float16, averaged weights, saved every minute), card.md, metrics.json, log.jsonl,
recipe.json, samples.png (image | predicted | true depth; photographs: image | predicted).
"""

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from lyra.depth.mini import MiniDepth
from lyra.io.atomic import write_json
from lyra.train import depth_eval, depth_sheet
from lyra.train.clip_data import load_photos
from lyra.train.depth import PRESETS, Clock, DepthTrainer, fit, recipe_text
from lyra.train.depth_card import card
from lyra.train.depth_data import FramePool, Frames, complete_scenes, read_frames

STARTED = time.monotonic()
RESCAN = 5.0  # seconds between looks for new scenes


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--worlds", type=Path, required=True, help="folder of rendered scenes for training")
    add("--worlds-val", type=Path, help="folder of held-out scenes (default: hold out some of --worlds)")
    add("--photos", type=Path, help="pack written by runs/fetch_photos.py, for samples.png")
    add("--backbone", type=Path, help="encoder weights written by runs/fetch_backbone.py (default: random)")
    add("--init", type=Path, help="folder of weights to start from, in place of --backbone")
    add("--motorcycle", type=Path, help="photograph with true depth, written by runs/fetch_backbone.py")
    add("--out", type=Path, required=True)
    add("--state", type=Path, default=Path("cache/depth_state"), help="checkpoint folder, for resuming")
    add("--preset", choices=sorted(PRESETS), default="h100")
    add("--seconds", type=float, default=300, help="time for this whole call")
    add("--schedule-seconds", type=float, help="training time over all calls (default: this call's)")
    add("--reserve", type=float, default=35, help="seconds of the call kept for the evaluation")
    add("--max-gib", type=float, default=24, help="memory for rendered frames")
    add("--every", type=int, default=3, help="every n-th frame of a path is used")
    add(
        "--wait-scenes", type=int, default=40, help="training scenes to wait for (a quarter of the time) and read first"
    )
    add("--val-frames", type=int, default=64)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def held_out_scenes(args: argparse.Namespace) -> list[Path]:
    """Scenes that are not trained on: those of --worlds-val, or the first one of every 25 there are at the start."""
    if args.worlds_val is not None:
        return complete_scenes(args.worlds_val)
    scenes = complete_scenes(args.worlds)
    return scenes[:: min(25, max(2, len(scenes) // 2))]


def val_frames(scenes: list[Path], count: int, device: torch.device) -> Frames:
    """Frames spread evenly over the scenes (at most 60), their paths and moments."""
    scenes = scenes[:: max(1, len(scenes) // 60)][:60]
    parts = [read_frames(scene, 7) for scene in scenes]
    parts = [part[torch.arange(0, len(part), max(1, len(part) * len(scenes) // count))] for part in parts]
    size = parts[0].rgb.shape[1:]
    parts = [part for part in parts if part.rgb.shape[1:] == size]
    joined = (torch.cat([getattr(part, name) for part in parts])[:count] for name in ("rgb", "code", "focal"))
    return Frames(*(part.to(device) for part in joined))


def fill(args: argparse.Namespace, held_out: list[Path], device: torch.device) -> FramePool:
    """A pool with the first scenes; a thread reads the others, and those that appear, as long as the call lasts."""
    pool = FramePool(args.worlds, device, int(args.max_gib * 2**30), args.every)
    pool.scan(held_out, args.wait_scenes)
    while pool.scenes < args.wait_scenes and not pool.full:
        if time.monotonic() - STARTED > args.seconds / 4:
            if pool.scenes:
                break  # a folder with fewer scenes is trained on as it is
            raise SystemExit(f"{args.worlds}: no rendered scenes have appeared")
        time.sleep(1)
        pool.scan(held_out, args.wait_scenes)

    def look() -> None:
        while not pool.full:
            pool.scan(held_out)
            time.sleep(RESCAN)

    threading.Thread(target=look, daemon=True).start()
    return pool


def finish(trainer: DepthTrainer, pool: FramePool, frames: Frames, args: argparse.Namespace) -> None:
    """Metrics and samples of the weights as they were stored."""
    model = MiniDepth.load(args.out, trainer.device)
    sets = depth_eval.held_out(frames)
    if args.motorcycle:
        sets["motorcycle"] = [depth_eval.motorcycle(args.motorcycle, trainer.device)]
    predictors = {"mini": lambda truth: model(truth.image), "mini_given_K": lambda truth: model(truth.image, truth.K)}
    predictors |= depth_eval.baselines(pool)
    results = {
        name: {who: depth_eval.evaluate(predict, truths) for who, predict in predictors.items()}
        for name, truths in sets.items()
    }
    photos = load_photos(args.photos, "test", trainer.device) if args.photos else []
    rows = []
    for truths in sets.values():
        rows += [depth_sheet.row(t.image, model(t.image), t) for t in truths[:: max(1, len(truths) // 5)][:5]]
    results["photos"] = []
    for photo in photos:
        image = photo.float() / 255
        found = model(image)
        rows.append(depth_sheet.row(image, found))
        fov = 2 * torch.rad2deg(torch.atan(photo.shape[2] / 2 / found.K[0, 0]))
        depth = found.depth[found.valid]
        results["photos"].append(
            {"fov_x_deg": float(fov), "median_depth_m": float(depth.median()) if len(depth) else None}
        )
    results["training"] = {
        "steps": trainer.step,
        "seconds": round(trainer.elapsed, 1),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "train_frames": pool.count,
        "train_scenes": pool.scenes,
        "device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    write_json(args.out / "metrics.json", results)
    (args.out / "card.md").write_text(card(results))
    print(json.dumps(results, indent=1), flush=True)
    depth_sheet.write_sheet(rows, args.out / "samples.png")


def main() -> None:
    """Load, train until the time is up, evaluate."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was learnt is saved
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = False  # the search took 39 s a batch shape (depthwise kernels, H100)
    recipe = PRESETS[args.preset]
    (args.out / "recipe.json").write_text(recipe_text(recipe) + "\n")
    while not (held_out := held_out_scenes(args)):
        if time.monotonic() - STARTED > args.seconds / 2:
            raise SystemExit("no held-out scenes")
        time.sleep(1)
    pool = fill(args, held_out, device)
    frames = val_frames(held_out, args.val_frames, device)
    trainer = DepthTrainer(recipe, device, args.seed, None if args.init else args.backbone)
    if args.init:
        trainer.begin_with(MiniDepth.load(args.init, device))
    checkpoint = args.state / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.restore(checkpoint)
        print(f"going on from step {trainer.step} ({trainer.elapsed:.0f} s)", flush=True)

    def save() -> None:
        MiniDepth(trainer.average).save(args.out)
        trainer.save(checkpoint)

    deadline = STARTED + args.seconds - args.reserve
    planned = args.schedule_seconds or trainer.elapsed + deadline - time.monotonic()
    print(
        f"ready after {time.monotonic() - STARTED:.0f} s: {pool.count} frames of {pool.scenes} scenes, "
        f"{len(frames)} held-out frames; {planned:.0f} s of training planned",
        flush=True,
    )
    fit(trainer, pool, Clock(deadline, planned), save, args.out / "log.jsonl")
    finish(trainer, pool, frames, args)


if __name__ == "__main__":
    main()

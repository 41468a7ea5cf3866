"""Train the video codec: `python runs/train_codec.py --worlds DIR --photos cache/photos.zip --lpips FILE --out DIR`.

--seconds bounds the whole call, loading and evaluation included. A second call with the same --state folder goes on
where the first one stopped; give both the same --schedule-seconds (the training time planned over all calls), from
which the learning rate falls. Written to --out: config.json and model.safetensors (float16, averaged weights with
latent statistics, saved every minute), metrics.json, log.jsonl, recipe.json, samples.png (input | reconstruction).
"""

import argparse
import json
import time
from pathlib import Path

import torch

from lyra.metrics import LPIPS
from lyra.train import clip_data, codec_eval
from lyra.train.codec import PRESETS, Clock, CodecTrainer, fit, recipe_text

STARTED = time.monotonic()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, help="folder of rendered scenes for training")
    parser.add_argument(
        "--worlds-val", type=Path, help="folder of held-out scenes (default: hold out some of --worlds)"
    )
    parser.add_argument("--photos", type=Path, help="pack written by runs/fetch_photos.py")
    parser.add_argument("--lpips", type=Path, required=True, help="lpips_vgg weights from lyra.metrics.lpips_weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, default=Path("cache/codec_state"), help="checkpoint folder, for resuming")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="h100")
    parser.add_argument("--seconds", type=float, default=560, help="time for this whole call")
    parser.add_argument("--schedule-seconds", type=float, help="training time over all calls (default: this call's)")
    parser.add_argument("--reserve", type=float, default=60, help="seconds of the call kept for the evaluation")
    parser.add_argument("--max-gib", type=float, default=40, help="memory for rendered clips")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    parser.add_argument("--val-clips", type=int, default=24)
    parser.add_argument("--val-size", type=int, nargs=3, default=(25, 256, 448), metavar=("FRAMES", "HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def split_scenes(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Training scenes and held-out scenes (one in 25 of the training folder if there is no other)."""
    if args.worlds is None:
        return [], []
    scenes = clip_data.scene_folders(args.worlds)
    if args.worlds_val is not None:
        return scenes, clip_data.scene_folders(args.worlds_val)
    every = min(25, max(2, len(scenes) // 2))
    return [s for i, s in enumerate(scenes) if i % every], scenes[::every]


def load_data(args: argparse.Namespace, device: torch.device):
    """Training clips and photographs on the device, and the evaluation sets."""
    train_scenes, val_scenes = split_scenes(args)
    clips = val = None
    if train_scenes:
        clips = clip_data.load_scenes(train_scenes, device, int(args.max_gib * 2**30))
        frame_bytes = clips[0].numel()
        val = clip_data.load_scenes(val_scenes, device, 8 * args.val_clips * frame_bytes)
        val = val[:: max(1, len(val) // args.val_clips)][: args.val_clips]
    photos = clip_data.load_photos(args.photos, "train", device) if args.photos else []
    test_photos = clip_data.load_photos(args.photos, "test", device) if args.photos else []
    return clips, photos, codec_eval.held_out(val, test_photos, *args.val_size)


def finish(trainer: CodecTrainer, args: argparse.Namespace, data, lpips: LPIPS) -> None:
    """Statistics, final weights, metrics and samples; the weights are written before anything can go wrong."""
    clips, photos, sets = data
    codec = trainer.average
    frames, height, width = args.val_size
    shape = clip_data.ClipShape(4, frames, height, width, 0.25)
    generator = torch.Generator().manual_seed(1)
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.device.type == "cuda"):
        draws = (clip_data.draw(shape, clips, photos, generator) for _ in range(2 if args.preset == "tiny" else 50))
        codec_eval.measure_statistics(codec, draws)
    codec.save(args.out)
    results, outputs = codec_eval.evaluate(codec, sets, lpips)
    results["training"] = {
        "steps": trainer.step,
        "seconds": round(trainer.elapsed, 1),
        "parameters": sum(p.numel() for p in codec.vae.parameters()),
        "device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "train_clips": 0 if clips is None else len(clips),
        "train_photos": len(photos),
    }
    (args.out / "metrics.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1), flush=True)
    codec_eval.write_sheet(sets, outputs, args.out / "samples.png")


def main() -> None:
    """Load, train until the time is up, evaluate."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    recipe = PRESETS[args.preset]
    (args.out / "recipe.json").write_text(recipe_text(recipe) + "\n")
    data = load_data(args, device)
    lpips = LPIPS.load(args.lpips, "vgg").to(device, memory_format=torch.channels_last)
    trainer = CodecTrainer(recipe, device, args.seed)
    checkpoint = args.state / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.restore(checkpoint)
        print(f"going on from step {trainer.step} ({trainer.elapsed:.0f} s)", flush=True)
    if args.compile:
        trainer.compile_blocks()

    def save() -> None:
        trainer.average.save(args.out)
        trainer.save(checkpoint)

    deadline = STARTED + args.seconds - args.reserve
    planned = args.schedule_seconds or trainer.elapsed + deadline - time.monotonic()
    print(f"ready after {time.monotonic() - STARTED:.0f} s; {planned:.0f} s of training planned", flush=True)
    clips, photos, _ = data
    fit(trainer, clips, photos, lpips, Clock(deadline, planned), save, args.out / "log.jsonl")
    finish(trainer, args, data, lpips)


if __name__ == "__main__":
    main()

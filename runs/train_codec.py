"""Train the video codec: `python runs/train_codec.py --worlds DIR --photos cache/photos.zip --lpips FILE --out DIR`.

Also under torchrun with one process a GPU. Scenes may still be appearing in --worlds. --seconds bounds the whole call,
loading and evaluation included. A second call with the same --state folder goes on where the first one stopped; give
both the same --schedule-seconds (the training time planned over all calls), from which the learning
rate falls. Written to --out: config.json and model.safetensors (float16, averaged weights with latent statistics, saved
every minute), metrics.json, log.jsonl, recipe.json, samples.png (input | reconstruction).
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from lyra.io.atomic import write_json
from lyra.metrics import LPIPS
from lyra.teacher.codec import VideoCodec
from lyra.train import clip_data, codec_eval
from lyra.train.codec import PRESETS, Clock, CodecTrainer, fit, recipe_text

STARTED = time.monotonic()
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, help="folder of rendered scenes for training")
    parser.add_argument("--worlds-val", type=Path, help="folder of held-out scenes")
    parser.add_argument("--photos", type=Path, help="pack written by runs/fetch_photos.py")
    parser.add_argument("--lpips", type=Path, required=True, help="lpips_vgg weights from lyra.metrics.lpips_weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, default=Path("cache/codec_state"), help="checkpoint folder, for resuming")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="h100")
    parser.add_argument("--seconds", type=float, default=560, help="time for this whole call")
    parser.add_argument("--schedule-seconds", type=float, help="training time over all calls (default: this call's)")
    parser.add_argument("--reserve", type=float, default=60, help="seconds of the call kept for the evaluation")
    parser.add_argument("--max-gib", type=float, default=40, help="memory for rendered clips")
    parser.add_argument("--first-scenes", type=int, default=100, help="wait for so many clips a process at the start")
    parser.add_argument("--rate", type=float, help="learning rate, in place of the preset's")
    parser.add_argument("--init", type=Path, help="folder of weights to start from")
    parser.add_argument(
        "--decoder-only", action="store_true", help="with --init: the encoder stays as it is, and so do all latents"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--val-clips", type=int, default=24)
    parser.add_argument("--val-size", type=int, nargs=3, default=(25, 256, 448), metavar=("FRAMES", "HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Data:
    """Training clips that still grow, pans over photographs, and (in the first process) the evaluation sets."""

    def __init__(self, args: argparse.Namespace, shape: clip_data.ClipShape, pans: int, device: torch.device) -> None:
        self.shape, self.pool, self.pans, self.sets = shape, None, None, {}
        size = (shape.frames, shape.height, shape.width)
        val, test_photos = None, []
        if args.worlds:
            self.pool = clip_data.ClipPool(args.worlds, device, int(args.max_gib * 2**30), RANK, WORLD)
            while self.pool.count < args.first_scenes:
                self.pool.poll()
                time.sleep(0.2)
            self.pool.watch()
        if args.worlds_val and RANK == 0:
            folders = clip_data.scene_folders(args.worlds_val)
            val = clip_data.load_scenes(folders, device, 2**33)
            val = val[:: max(1, len(val) // args.val_clips)][: args.val_clips]
        if args.photos:
            photos = clip_data.load_photos(args.photos, "train", device)
            generator = torch.Generator().manual_seed(RANK)
            self.pans = clip_data.photo_clips(photos, pans, *size, generator)
            test_photos = clip_data.load_photos(args.photos, "test", device)
        if RANK == 0:
            self.sets = codec_eval.held_out(val, test_photos, *args.val_size)

    @property
    def clips(self) -> torch.Tensor | None:
        """The rendered clips so far."""
        return None if self.pool is None else self.pool.clips

    def draw(self, generator: torch.Generator, batch: int | None = None) -> torch.Tensor:
        """A batch of the training shape."""
        shape = self.shape if batch is None else replace(self.shape, batch=batch)
        return clip_data.draw(shape, self.clips, self.pans, generator)


def finish(trainer: CodecTrainer, args: argparse.Namespace, data: Data, lpips: LPIPS) -> None:
    """Statistics, final weights, metrics and samples; the weights are written before anything can go wrong."""
    codec = trainer.average
    generator = torch.Generator().manual_seed(1)
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.device.type == "cuda"):
        draws = (data.draw(generator, 4) for _ in range(2 if args.preset == "tiny" else 50))
        if not args.decoder_only:  # else those of the weights it started from hold
            codec_eval.measure_statistics(codec, draws)
    codec.save(args.out)
    results, outputs = codec_eval.evaluate(codec, data.sets, lpips)
    results["training"] = {
        "steps": trainer.step,
        "seconds": round(trainer.elapsed, 1),
        "parameters": sum(p.numel() for p in codec.vae.parameters()),
        "device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else "cpu",
        "processes": WORLD,
        "torch": torch.__version__,
        "clips_a_process": 0 if data.clips is None else len(data.clips),
    }
    write_json(args.out / "metrics.json", results)
    print(json.dumps(results, indent=1), flush=True)
    codec_eval.write_sheet(data.sets, outputs, args.out / "samples.png")


def main() -> None:
    """Load, train until the time is up, evaluate."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device, int(os.environ.get("LOCAL_RANK", 0)) if args.device == "cuda" else None)
    if WORLD > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    recipe = PRESETS[args.preset]
    if args.rate:
        recipe = replace(recipe, learning_rate=args.rate)
    (args.out / "recipe.json").write_text(recipe_text(recipe) + "\n")
    data = Data(args, recipe.shape, recipe.pans, device)
    lpips = LPIPS.load(args.lpips, "vgg").to(device, memory_format=torch.channels_last)
    trainer = CodecTrainer(recipe, device, args.seed, RANK, WORLD)
    if args.init:
        trainer.begin_with(VideoCodec.load(args.init), args.decoder_only)
    checkpoint = args.state / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.restore(checkpoint)
        print(f"going on from step {trainer.step} ({trainer.elapsed:.0f} s)", flush=True)
    for _ in range(2):  # libraries choose their kernels before the clock of the schedule starts
        trainer.gradients(data.draw(trainer.generator), lpips)
        trainer.optimizer.zero_grad(set_to_none=True)

    def save() -> None:
        if RANK == 0:
            trainer.average.save(args.out)
            trainer.save(checkpoint)

    deadline = STARTED + args.seconds - args.reserve
    planned = args.schedule_seconds or trainer.elapsed + deadline - time.monotonic()
    print(f"ready after {time.monotonic() - STARTED:.0f} s; {planned:.0f} s of training planned", flush=True)
    log = args.out / "log.jsonl" if RANK == 0 else None
    fit(trainer, lambda: data.draw(trainer.generator), lpips, Clock(deadline, planned), save, log)
    if RANK == 0:
        finish(trainer, args, data, lpips)
    if WORLD > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

"""Train the adapter that makes first frames from text: `python runs/train_first_frame.py --worlds DIR --out DIR`.

Scenes may still be appearing below --worlds while this runs (`python -m worlds render --rooms 1 --frames 3`); with
--delete each is removed once it was read. Several processes (torchrun) share the scenes and average their gradients.
--seconds bounds the whole call, waiting and evaluation included; a second call with the same --state goes on (frames
are read anew), and both are then given the same --schedule-seconds.

Written to --out: config.json and model.safetensors (int7 by rows, averaged), metrics.json, log.jsonl, recipe.json,
first_frames.png (held-out captions: true frame | three made from the text).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lyra.io.atomic import write_json
from lyra.io.images import save_image
from lyra.scene import InputError, require
from lyra.teacher import adapter
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher
from lyra.teacher.first_frame import agreement, first_frame, paint
from lyra.text import Encoder
from lyra.train.clip_data import to_signed
from lyra.train.first_frames import (
    FrameFeed,
    FrameSupply,
    FrameTrainer,
    FrameTraining,
    encode_frames,
    some_frames,
    text_gain,
)
from lyra.train.latents import Latents, Source, static_scenes
from lyra.train.processes import Processes
from lyra.weights import folder

STARTED = time.monotonic()
ASK_EVERY = 10  # steps between agreements of the processes
TAKEN = 4  # new scenes between two steps at most
JUDGED = 8  # frames of each held-out scene


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, nargs="+", required=True, help="folders of rendered scenes")
    parser.add_argument("--worlds-val", type=Path, required=True, help="held-out scenes")
    parser.add_argument("--codec", type=Path, default=folder("mini", "codec"))
    parser.add_argument("--denoiser", type=Path, default=folder("mini", "denoiser"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, default=Path("cache/first_frame_state"), help="checkpoints, for resuming")
    parser.add_argument("--seconds", type=float, default=560, help="time for this whole call")
    parser.add_argument("--schedule-seconds", type=float, help="training time over all calls")
    parser.add_argument("--reserve", type=float, default=30, help="seconds of the call kept for the evaluation")
    parser.add_argument("--min-scenes", type=int, default=200, help="scenes each process waits for before it trains")
    parser.add_argument("--max-gib", type=float, default=40, help="memory for frames on each device")
    parser.add_argument("--delete", action="store_true", help="remove the scenes that were read")
    parser.add_argument("--init", type=Path, help="folder of an adapter of this rank to start from")
    parser.add_argument("--rank", type=int, help="of the adapter (default: the recipe's)")
    parser.add_argument("--batch", type=int, help="frames in the batch of each process (default: the recipe's)")
    parser.add_argument("--rate", type=float, help="highest learning rate (default: the recipe's)")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 448), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def recipe_of(args: argparse.Namespace) -> FrameTraining:
    """The recipe with what the command line changes."""
    asked = {"rank": args.rank, "batch": args.batch, "learning_rate": args.rate}
    return replace(FrameTraining(), **{name: value for name, value in asked.items() if value is not None})


class HeldOut:
    """Frames of held-out scenes: latents, the tokens of their captions, and one frame of each scene to be shown."""

    def __init__(self, root: Path, size: Sequence[int], codec: VideoCodec) -> None:
        device, generator = codec.mean.device, torch.Generator().manual_seed(0)
        scenes = [some_frames(scene, tuple(size), JUDGED, generator) for scene in static_scenes(root)]
        images, captions = [[each[part] for each in scenes if each is not None] for part in (0, 1)]
        require(len(images) > 1, f"{root}: fewer than two held-out scenes have frames of {size[1]}x{size[0]}")
        signed = to_signed(torch.from_numpy(np.concatenate(images)).to(device)).permute(0, 3, 1, 2)
        self.latents: Latents = encode_frames(signed, codec, range(len(signed))).float()
        self.texts = Encoder.load().embed([caption for each in captions for caption in each]).to(device)
        self._shown = np.cumsum([0, *map(len, images[:-1])])  # one frame of each scene
        self._images = 0.5 + 0.5 * signed.cpu()

    def gain(self, teacher: CosmosTeacher) -> dict[str, float]:
        """What text does for the loss."""
        config = teacher.config
        return text_gain(teacher.network, self.latents, self.texts, config.buffer_channels, config.fps)

    def sheet(
        self, teacher: CosmosTeacher, guide: nn.Module, out: Path, shown: int = 12, seeds: int = 3
    ) -> dict[str, float]:
        """True frames above frames made from their captions, as a picture; how well these agree with them.

        `guide` is the teacher's network without the adapter.
        """
        chosen, codec = self._shown[:shown], teacher.codec
        tokens, images = self.texts[chosen], self._images[chosen]
        cond = first_frame(teacher, tokens, *images.shape[-2:], tokens.device)
        rows, found = [images], {}
        for seed in range(seeds):
            latents = paint(teacher, guide, cond, [100 * seed + index for index in range(len(tokens))])
            rows.append(0.5 + 0.5 * codec.decode(latents)[:, :, 0].float().cpu())
            found[f"agreement_{seed}"] = round(float(agreement(teacher, latents, tokens).mean()), 5)
        whole = torch.cat([torch.cat(list(row), -2) for row in rows], -1)
        save_image(functional.interpolate(whole[None], scale_factor=0.5)[0].clamp(0, 1), out)
        return found


class Run:
    """One call: what it trains, from what, and until when."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.processes, self.recipe = args, Processes.start(args.device), recipe_of(args)
        device = self.processes.device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.codec = VideoCodec.load(args.codec, dtype).to(device).requires_grad_(False)
        self.base = CosmosTeacher.load(args.denoiser, self.codec)
        self.base.network.to(device).requires_grad_(False)
        config, spec, size = self.base.config, self.codec.spec, tuple(args.size)
        rank, count = self.processes.rank, self.processes.count
        feed = FrameFeed(
            [Source(root, 1, rank, count) for root in args.worlds],
            size,
            Encoder.load().embed,
            args.seed + 10 * rank,
            delete=args.delete,
        )
        latent = spec.channels * (size[0] // spec.space) * (size[1] // spec.space)
        one = 2 * latent + config.text_tokens * config.text_channels  # bytes of a frame and half a text
        self.supply = FrameSupply(feed, self.codec, config, int(args.max_gib * 2**30 / one))
        self.trainer = FrameTrainer(
            self.recipe, self.base.network, config, self.processes, args.seed, compiled=args.compile
        )
        if args.init:
            self.trainer.start_from(adapter.read(args.init, args.denoiser))
        self.held = HeldOut(args.worlds_val, size, self.codec) if self.processes.first else None
        self.deadline = STARTED + args.seconds - args.reserve

    def teacher(self) -> CosmosTeacher:
        """The denoiser with the averaged adapter."""
        network = adapter.merged(self.base.network, self.trainer.factors())
        return CosmosTeacher(self.codec, network, self.base.config, self.base.sampling)

    def fit(self, checkpoint: Path) -> None:
        """Train until the time is up; frames of new scenes join in between steps."""
        trainer, processes, args = self.trainer, self.processes, self.args
        while self.supply.feed.scenes < args.min_scenes and time.monotonic() < self.deadline:
            self.supply.take(1, wait=1.0)
        require(self.supply.feed.scenes > 0, f"no usable scene appeared below {args.worlds[0]} in time")
        processes.wait()
        before, began = trainer.elapsed, time.monotonic()
        total = args.schedule_seconds or before + max(1.0, self.deadline - began)
        logged = saved = began
        losses: list[dict] = []
        while True:
            if trainer.step % ASK_EVERY == 0:
                now = time.monotonic()
                trainer.elapsed = before + now - began
                over = now >= self.deadline or trainer.elapsed >= total
                progress = processes.agree(-1.0 if over else trainer.elapsed / total)
                if progress < 0:
                    break
                if losses and now - logged >= 5:
                    self.note(losses, progress, now - logged)
                    logged, losses = now, []
                if processes.agree(float(now - saved >= 60)):
                    self.save(checkpoint)
                    saved = now
            batch = self.supply.bank.draw(self.recipe.batch, trainer.generator)
            terms = trainer.train_step(batch, self.supply.texts, trainer.rate(progress))
            if processes.first:  # the others write no log
                losses.append(terms)
            self.supply.take(TAKEN)
        if losses:
            self.note(losses, trainer.elapsed / total, time.monotonic() - logged)
        self.save(checkpoint)

    def note(self, losses: list[dict], progress: float, seconds: float) -> None:
        """One line of the log, and on the screen."""
        trainer, supply = self.trainer, self.supply
        line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "progress": round(progress, 4)}
        line |= {name: round(float(torch.stack([x[name] for x in losses]).mean()), 5) for name in losses[0]}
        made = len(losses) * self.recipe.batch * self.processes.count
        line |= {"frames_per_second": round(made / seconds), "rate": round(trainer.rate(progress), 7)}
        line |= {"scenes_of_first_process": supply.feed.scenes, "frames_of_first_process": supply.bank.written}
        with (self.args.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)

    def save(self, checkpoint: Path) -> None:
        """Weights, a checkpoint, and what text does for held-out frames."""
        self.trainer.save(checkpoint)
        if self.held is not None:
            adapter.save(self.args.out, self.trainer.factors(), self.args.denoiser)
            print("held out", json.dumps(self.held.gain(self.teacher())), flush=True)

    def finish(self) -> None:
        """Metrics and samples of the weights as they were stored."""
        teacher, trainer = adapter.load(self.args.out, self.args.denoiser, self.codec), self.trainer
        teacher.network.to(trainer.device)
        facts = {"steps": trainer.step, "seconds": round(trainer.elapsed, 1), "processes": self.processes.count}
        facts |= {"parameters": sum(p.numel() for p in trainer.learnt)}
        facts |= {"frames_seen": trainer.step * self.recipe.batch * self.processes.count}
        facts |= {"scenes_of_first_process": self.supply.feed.scenes}
        facts |= {"frames_of_first_process": self.supply.bank.written, "torch": torch.__version__}
        facts |= {"device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else "cpu"}
        results = {"training": facts, "before": self.held.gain(self.base), "after": self.held.gain(teacher)}
        results |= self.held.sheet(teacher, self.base.network, self.args.out / "first_frames.png")
        write_json(self.args.out / "metrics.json", results)
        print(json.dumps(results), flush=True)


def main() -> None:
    """Train until the time is up, evaluate."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    run = Run(args)
    checkpoint = args.state / f"checkpoint{run.processes.rank}.pt"
    if checkpoint.is_file():
        run.trainer.restore(checkpoint)
        print(f"going on from step {run.trainer.step} ({run.trainer.elapsed:.0f} s)", flush=True)
    if run.processes.first:
        write_json(args.out / "recipe.json", run.recipe.as_dict())
    run.fit(checkpoint)
    if run.processes.first:
        run.finish()
    run.processes.stop()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"train_first_frame: {error}") from error

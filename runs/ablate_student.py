"""The student's ablation: `python runs/ablate_student.py --worlds DIR --worlds-val DIR --out DIR --steps 400`.

Every variant (lyra/evaluate/ablation.py) is trained for the same number of STEPS on the same stored teacher samples of
still rendered scenes, then judged on held-out rendered scenes and on the public evaluation set: against the teacher's
frames, and against true pictures and depth on and off the paths. One process for every visible GPU takes variants from
one queue.

Samples lie in OUT/samples and finished variants in OUT/variants; both are kept, so that the same call goes on where an
earlier one ended. With --seconds no variant is started that would, by the longest so far, not be finished in time.
Written after every variant: OUT/ablation.json, ablation.md (the table), ablation.png (pictures of all variants).
"""

import argparse
import json
import queue
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.record import commit
from lyra.evaluate import ablation
from lyra.evaluate.ablation import BASE, VARIANTS, Variant
from lyra.evaluate.samples import Samples
from lyra.evaluate.sheets import write_sheet
from lyra.evaluate.true_scenes import TrueScene, still_scenes
from lyra.io.atomic import replacing_file, write_json
from lyra.io.images import to_uint8
from lyra.metrics import LPIPS
from lyra.scene import require
from lyra.train.student_data import TeacherPool
from lyra.train.student_job import StudentJob
from lyra.train.student_scenes import rendered_view, share, true_frames
from lyra.train.synthesis import TeacherSample

STARTED = time.monotonic()
PICTURES = 6  # rows of the contact sheet: three of each of the first two public scenes


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, required=True, help="rendered scenes to learn from")
    parser.add_argument("--worlds-val", type=Path, required=True, help="held-out rendered scenes")
    parser.add_argument("--eval-worlds", type=Path, default=Path("tests/assets/eval_worlds"))
    parser.add_argument("--model", default="mini", help="name or folder of the teacher: codec/, denoiser/")
    parser.add_argument("--draft", action="store_true", help="the codec alone as teacher")
    parser.add_argument("--lpips", type=Path, default=Path("cache/lpips/lpips_vgg_fp16.safetensors"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--preset", choices=sorted(BASE), default="mini", help="sizes and recipe")
    parser.add_argument("--steps", type=int, default=400, help="training steps of every variant")
    parser.add_argument("--samples", type=int, default=128, help="teacher samples to learn from, held on each GPU")
    parser.add_argument("--scenes", type=int, default=8, help="held-out scenes of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time for this whole call")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def still_folders(root: Path, most: int) -> list[Path]:
    """The first still rendered scenes by name."""
    found = [path.parent for path in sorted(root.glob("*/scene.json")) if '"dynamic": false' in path.read_text()]
    require(bool(found), f"{root} holds no still rendered scene")
    return found[:most]


@dataclass(frozen=True)
class Place:
    """A process's number among `count`, and its device."""

    rank: int
    count: int
    device: torch.device


class Bench:
    """What all variants share in one process: the teacher's samples, held-out scenes, codec and LPIPS network."""

    def __init__(self, args: argparse.Namespace, place: Place, ready: "threading.Barrier | None") -> None:
        self.args, self.device = args, place.device
        self.teacher = Samples(args.model, args.out / "samples", str(place.device), 0, draft=args.draft)
        self.codec = self.teacher.source.codec
        self.folders = still_folders(args.worlds, args.samples)
        kinds = {"held-out": args.worlds_val, "eval_worlds": args.eval_worlds}
        self.held_out = {name: list(still_scenes(folder, args.scenes)) for name, folder in kinds.items()}
        self._make_samples(place, ready)
        self.pool = TeacherPool(self._sample, self.codec, place.device)
        self.pool.fill(len(self.folders))
        self.lpips = LPIPS.load(args.lpips, "alex" if "alex" in args.lpips.name else "vgg").to(place.device)
        base = BASE[args.preset]
        recipe = StudentJob(args.worlds, args.out, args.preset, steps=args.steps).recipe(1)
        self.base = (replace(base, latent_channels=self.codec.spec.channels), recipe)

    def _sample(self, index: int) -> TeacherSample:
        """Training sample number `index`."""
        return self.teacher.of(rendered_view(self.folders[index]))

    def _make_samples(self, place: Place, ready: "threading.Barrier | None") -> None:
        """This process's share of those that are missing; then wait for the others'."""
        views = [scene.view for scenes in self.held_out.values() for scene in scenes]
        for index in share(range(len(self.folders)), place.rank, place.count):
            self._sample(index)
        for view in share(views, place.rank, place.count):
            self.teacher.of(view)
        if ready is not None:
            try:
                ready.wait(600)
            except threading.BrokenBarrierError:
                print("another process is gone; its samples are made here", flush=True)

    def run(self, name: str, folder: Path) -> None:
        """Train and judge a variant; its numbers and pictures go into `folder`, the numbers last."""
        variant, began = VARIANTS[name], time.monotonic()
        log = folder / f"{name}.jsonl"
        log.unlink(missing_ok=True)
        trainer = ablation.train(variant, self.base, self._pool(variant), self.codec, self.lpips, self.device, log)
        result = {
            "about": variant.about,
            "outside_the_rule": variant.true,
            "steps": trainer.step,
            "seconds": round(trainer.elapsed, 1),
            "parameters": sum(parameter.numel() for parameter in trainer.decoder.parameters()),
            "samples": len(self.pool),
            "sets": {},
        }
        for kind, scenes in self.held_out.items():
            evaluation = ablation.judge(name, trainer, self._judged(scenes), self.lpips)
            found = evaluation.results()
            result["sets"][kind] = {what: methods[name] for what, methods in found["sets"].items()}
            result["gaussians"] = found["methods"][name]["gaussians"]
            if kind == "eval_worlds":
                self._keep_pictures(evaluation.rows[:PICTURES], name, folder)
        result |= self._facts() | {"whole_seconds": round(time.monotonic() - began, 1)}
        write_json(folder / f"{name}.json", result)

    def _judged(self, scenes: list[TrueScene]) -> Iterator[tuple[TrueScene, TeacherSample, torch.Tensor]]:
        """Scenes with their teacher samples and frames."""
        for scene in scenes:
            sample = self.teacher.of(scene.view)
            yield scene, sample, self.teacher.frames(sample)

    def _pool(self, variant: Variant) -> TeacherPool:
        """What a variant learns from."""
        if not variant.true:
            return self.pool
        pool = TeacherPool(self._sample, self.codec, self.device)
        pairs = zip(self.pool.entries, self.folders, strict=True)
        pool.entries = [ablation.true_entry(entry.sample, true_frames(folder), self.codec) for entry, folder in pairs]
        return pool

    def _facts(self) -> dict:
        cuda = self.device.type == "cuda"
        return {
            "teacher": self.teacher.mark,
            "lpips_network": self.lpips.net,
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "torch": torch.__version__,
            "commit": commit(),
        }

    @staticmethod
    def _keep_pictures(rows: list[list[torch.Tensor]], name: str, folder: Path) -> None:
        """The pictures of one variant below each other, and beside them those of truth and teacher."""
        for column, key in enumerate(("truth", "teacher", name)):
            strip = to_uint8(torch.cat([row[column] for row in rows], 1)).movedim(0, -1).cpu().numpy()
            with replacing_file(folder / f"{key}.png") as temporary:
                Image.fromarray(np.ascontiguousarray(strip)).save(temporary)


def results(folder: Path) -> dict[str, dict]:
    """What is known of each variant, in the order of VARIANTS."""
    files = {name: folder / f"{name}.json" for name in VARIANTS}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.is_file()}


def summarise(out: Path) -> None:
    """The table, all numbers, and the contact sheet of the variants that are finished."""
    found = results(out / "variants")
    write_json(out / "ablation.json", found)
    if all("failed" in result for result in found.values()):
        return
    with replacing_file(out / "ablation.md") as temporary:
        temporary.write_text(ablation.table(found))
    names = ["truth", "teacher", *(name for name, result in found.items() if "failed" not in result)]
    strips = []
    for name in names:
        with Image.open(out / "variants" / f"{name}.png") as file:
            strip = torch.from_numpy(np.array(file)).permute(2, 0, 1).float() / 255
        strips.append(strip.split(256, 1))
    rows = list(zip(*strips, strict=False))  # earlier calls may have had more scenes
    with replacing_file(out / "ablation.png") as temporary:
        write_sheet(rows, names, temporary, shrink=3)


def work(args: argparse.Namespace, place: Place, names, ready: "threading.Barrier | None" = None) -> None:
    """Take variants from the queue until it is empty or the time is over."""
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    bench, folder, longest = Bench(args, place, ready), args.out / "variants", 0.0
    print(f"{place.device}: {len(bench.pool)} samples after {time.monotonic() - args.started:.0f} s", flush=True)
    while (name := names.get()) is not None:
        began = time.monotonic()
        if began + longest > args.started + args.seconds:
            continue
        try:
            bench.run(name, folder)
        except Exception as error:  # the others shall still be tried
            traceback.print_exc()
            write_json(folder / f"{name}.json", {"failed": f"{type(error).__name__}: {error}"})
        longest = max(longest, time.monotonic() - began)
        print(f"{place.device}: {name} took {time.monotonic() - began:.0f} s", flush=True)
        summarise(args.out)


def main() -> None:
    """Find out what is to do, and do it on every device."""
    args = arguments()
    args.started = STARTED
    folder = args.out / "variants"
    folder.mkdir(parents=True, exist_ok=True)
    known = results(folder)
    todo = [name for name in args.variants if "steps" not in known.get(name, {})]
    count = torch.cuda.device_count() if args.device == "cuda" else 1
    context = torch.multiprocessing.get_context("spawn")
    names = context.SimpleQueue() if count > 1 else queue.SimpleQueue()
    for name in [*todo, *[None] * count]:
        names.put(name)
    if count == 1:
        work(args, Place(0, 1, torch.device(args.device, 0)), names)
    else:
        ready = context.Barrier(count)
        places = [Place(rank, count, torch.device("cuda", rank)) for rank in range(count)]
        workers = [context.Process(target=work, args=(args, place, names, ready)) for place in places]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if any("steps" in result for result in results(folder).values()):
        print((args.out / "ablation.md").read_text())


if __name__ == "__main__":
    main()

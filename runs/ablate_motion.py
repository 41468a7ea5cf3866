"""With and without motion-reversed supervision: `python runs/ablate_motion.py --worlds DIR --worlds-val DIR --out DIR`.

Two students (lyra/evaluate/motion_ablation.py) go on from the same weights for the same number of steps, on the same
stored teacher samples of rendered scenes that move, and are judged on held-out ones at early, middle and late moments.

Samples lie in OUT/samples, finished variants in OUT/variants, what both share in OUT/plan.json; all are kept, so that
the same call goes on where an earlier one ended. --seconds bounds the call: at most 45 % of it go into samples
(fewer are taken if more do not fit), and --steps is lowered, for both, to what the rest allows.
Written after each variant: OUT/motion.json, motion.md (the table), motion.png (truth, teacher, both students).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import commit
from lyra import weights
from lyra.decoder import SplatDecoder
from lyra.evaluate.motion import UNPROJECTED, MotionEvaluation, moving_case, moving_folders, stored_entry
from lyra.evaluate.motion_ablation import VARIANTS, judge, table, train
from lyra.evaluate.samples import Samples, synchronise
from lyra.evaluate.sheets import write_sheet
from lyra.io.atomic import replacing_file, write_json
from lyra.io.images import to_uint8
from lyra.metrics import LPIPS
from lyra.scene import InputError, require
from lyra.train.moving_lessons import MovingEntry
from lyra.train.moving_scenes import read_both
from lyra.train.student_job import StudentJob
from lyra.train.student_recipe import PRESETS

STARTED = time.monotonic()
PICTURES = 6  # rows of the contact sheet: two of each of the first scenes
TRIAL = 8  # steps by which the pace is measured


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, required=True, help="rendered scenes, some of which move")
    parser.add_argument("--worlds-val", type=Path, required=True, help="held-out ones")
    parser.add_argument("--model", default="mini", help="name or folder of the teacher: codec/, denoiser/")
    parser.add_argument("--init", type=Path, help="weights to start from (default: the model's decoder/)")
    parser.add_argument("--draft", action="store_true", help="the codec alone as teacher")
    parser.add_argument("--lpips", type=Path, default=Path("cache/lpips/lpips_vgg_fp16.safetensors"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mini-on", help="recipe")
    parser.add_argument("--steps", type=int, default=250, help="training steps of each variant")
    parser.add_argument("--samples", type=int, default=40, help="scenes to learn from, 107 MB each on the GPU")
    parser.add_argument("--scenes", type=int, default=8, help="held-out scenes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time for this whole call")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


class Bench:
    """What both variants share: start, teacher's samples, held-out scenes, LPIPS network, and the plan."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.teacher = Samples(args.model, args.out / "samples", args.device, 0, draft=args.draft)
        self.codec = self.teacher.source.codec
        start = args.init or weights.folder(args.model, "decoder")
        self.start = SplatDecoder.load(start)
        self.lpips = LPIPS.load(args.lpips, "alex" if "alex" in args.lpips.name else "vgg").to(self.device)
        asked = {"preset": args.preset, "steps": args.steps, "samples": args.samples, "scenes": args.scenes}
        self.asked = asked | {"start": weights.fingerprint(start), "teacher": self.teacher.mark}
        self.plan = self._known_plan()
        held_out = self._entries(args.worlds_val, "held_out", args.scenes, 0.2)
        learnt = self._entries(args.worlds, "learnt", args.samples, 0.45)
        self.cases = [moving_case(*read_both(folder), entry) for folder, entry in held_out.items()]
        self.entries = list(learnt.values())
        if self.plan is None:
            print(f"{len(learnt)} samples, {len(held_out)} held out after {self._spent():.0f} s", flush=True)
            names = {"learnt": [f.name for f in learnt], "held_out": [f.name for f in held_out]}
            self.plan = {"asked": self.asked, **names, "steps": self._affordable()}
            write_json(args.out / "plan.json", self.plan)

    def _entries(self, root: Path, kind: str, most: int, share: float) -> dict[Path, MovingEntry]:
        """Those of the plan; without one up to `most`, as long as this share of the call's time is not over."""
        made: dict[Path, MovingEntry] = {}
        for folder in moving_folders(root):
            if self.plan is None:
                if len(made) == most or (made and self._spent() > share * self.args.seconds):
                    break
            elif folder.name not in self.plan[kind]:
                continue
            made[folder] = stored_entry(folder, self.teacher)
        missing = set() if self.plan is None else set(self.plan[kind]) - {folder.name for folder in made}
        require(not missing, f"{root} no longer holds {sorted(missing)[:3]}, planned in {self.args.out / 'plan.json'}")
        return made

    def _spent(self) -> float:
        return time.monotonic() - STARTED

    def _known_plan(self) -> dict | None:
        """That of an earlier call for the same."""
        path = self.args.out / "plan.json"
        plan = json.loads(path.read_text()) if path.is_file() else None
        return plan if plan is not None and plan["asked"] == self.asked else None

    def _affordable(self) -> int:
        """How many steps both variants can take, if a third of the time that is left goes into judging them."""
        if self.args.seconds == float("inf"):
            return self.args.steps
        for _ in range(2):  # the first trial also compiles kernels
            began = time.monotonic()
            self._train(True, TRIAL)
            synchronise(self.args.device)
            pace = (time.monotonic() - began) / TRIAL
        left = self.args.seconds - self._spent()
        return max(TRIAL, min(self.args.steps, int(left / 3 / pace)))

    def _train(self, reversal: bool, steps: int, log: Path | None = None):
        recipe = StudentJob(self.args.worlds, self.args.out, self.args.preset, steps=steps).recipe(1)
        return train(self.entries, reversal, self.start, recipe, self.codec, self.lpips, log)

    def run(self, name: str, folder: Path) -> None:
        """Train and judge a variant; its numbers, weights and pictures go into `folder`, the numbers last."""
        began, log = time.monotonic(), folder / f"{name}.jsonl"
        log.unlink(missing_ok=True)
        trainer = self._train(VARIANTS[name], self.plan["steps"], log)
        trainer.save_average(folder / name)
        evaluation = judge(name, trainer, self.cases, self.lpips)
        keep_pictures(evaluation, folder / f"{name}.npz")
        cuda = self.device.type == "cuda"
        facts = {
            "plan": self.plan,
            "training_seconds": round(trainer.elapsed, 1),
            "whole_seconds": round(time.monotonic() - began, 1),
            "lpips_network": self.lpips.net,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "torch": torch.__version__,
            "commit": commit(),
        }
        write_json(folder / f"{name}.json", facts | evaluation.results())


def keep_pictures(evaluation: MotionEvaluation, path: Path) -> None:
    """The first rows of pictures by column, for the contact sheet."""
    rows = [torch.stack(row) for row in evaluation.rows[:PICTURES]]
    pictures = to_uint8(torch.stack(rows, 1)).cpu().numpy()
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **dict(zip(evaluation.columns, pictures, strict=True)))


def finished(folder: Path, plan: dict) -> dict[str, dict]:
    """The variants that are done as planned."""
    files = {name: folder / f"{name}.json" for name in VARIANTS}
    found = {name: json.loads(path.read_text()) for name, path in files.items() if path.is_file()}
    return {name: result for name, result in found.items() if result["plan"] == plan}


def summarise(out: Path, results: dict[str, dict]) -> None:
    """All numbers, the table, and the contact sheet of the variants that are finished."""
    write_json(out / "motion.json", results)
    with replacing_file(out / "motion.md") as temporary:
        temporary.write_text(table(results))
    columns: dict[str, torch.Tensor] = {}
    for name in results:
        with np.load(out / "variants" / f"{name}.npz") as file:
            for column in ("truth", "teacher", UNPROJECTED, name):
                columns[column] = torch.from_numpy(file[column]).float() / 255
    with replacing_file(out / "motion.png") as temporary:
        write_sheet(list(zip(*columns.values(), strict=True)), list(columns), temporary)


def main() -> None:
    """Make the samples, train and judge what is missing."""
    args = arguments()
    folder = args.out / "variants"
    folder.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    bench, longest = Bench(args), 0.0
    print(
        f"{len(bench.entries)} samples, {bench.plan['steps']} steps after {time.monotonic() - STARTED:.0f} s",
        flush=True,
    )
    for name in [name for name in VARIANTS if name not in finished(folder, bench.plan)]:
        began = time.monotonic()
        if began + longest > STARTED + args.seconds:
            print(f"no time for the variant {name!r}; call again", flush=True)
            continue
        bench.run(name, folder)
        longest = time.monotonic() - began
        print(f"{name} took {longest:.0f} s", flush=True)
        summarise(args.out, finished(folder, bench.plan))
    if (args.out / "motion.md").is_file():
        print((args.out / "motion.md").read_text())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"ablate_motion: {error}") from error

"""Train the splat decoder by self-distillation: `python runs/train_student.py --worlds DIR --codec DIR --out DIR`.

Teacher samples are made on the fly: first frames of rendered scenes with their true depth, and photographs with the
depth network's, are warped along six paths, sampled by the denoiser (or only encoded, without --denoiser) and decoded
by the teacher's RGB decoder. No other true image enters the loss. Start it with torchrun for several GPUs.

With --moving a share of the samples are rendered scenes that move, imagined in both directions of time, and the decoder
gets times; still samples are learnt without, so that one set of weights serves both.

--seconds bounds the whole call. A second call with the same --state goes on; give both the same --schedule-seconds.
Written to --out: config.json and model.safetensors (averaged weights, saved every minute), metrics.json, log.jsonl,
recipe.json, samples.png (teacher | student | unprojected | depth).
"""

import argparse
import json
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import torch

from lyra.decoder import MINI, SplatDecoder
from lyra.depth import load as load_depth
from lyra.evaluate.motion import MotionEvaluation, imagined_cases
from lyra.io.atomic import write_json
from lyra.metrics import LPIPS
from lyra.scene import InputError, require
from lyra.train.clip_data import scene_folders
from lyra.train.moving_lessons import MixedSeries, MovingSeries
from lyra.train.moving_scenes import is_moving
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer
from lyra.train.student_cases import public_case, recorded_case
from lyra.train.student_data import TeacherPool
from lyra.train.student_eval import Evaluation
from lyra.train.student_fit import Clock, Journal, fit
from lyra.train.student_recipe import PRESETS
from lyra.train.student_scenes import share
from lyra.train.student_series import LiveSeries
from lyra.train.synthesis import Draft, Imagine, LatentSource, SynthesisOptions, load_source

STARTED = time.monotonic()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, required=True, help="folder of rendered scenes")
    parser.add_argument("--worlds-val", type=Path, help="held-out rendered scenes (default: some of --worlds)")
    parser.add_argument("--eval-worlds", type=Path, help="the public evaluation set, tests/assets/eval_worlds")
    parser.add_argument("--photos", type=Path, help="pack written by runs/fetch_photos.py; needs --depth")
    parser.add_argument("--photo-share", type=float, default=0.15, help="share of samples made from photographs")
    parser.add_argument("--codec", type=Path, required=True, help="weights of the video codec")
    parser.add_argument("--denoiser", type=Path, help="weights of the denoiser; without it warps are only encoded")
    parser.add_argument("--depth", type=Path, help="weights of the depth network, for photographs")
    parser.add_argument("--lpips", type=Path, help="lpips_vgg weights from lyra.metrics.lpips_weights")
    parser.add_argument("--init", type=Path, help="folder of weights to start from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, default=Path("cache/student_state"))
    parser.add_argument("--moving", type=float, default=0.0, help="share of samples that are scenes that move")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mini")
    parser.add_argument("--pool", type=int, help="samples held by a process (52 MB each, moving ones 107)")
    parser.add_argument("--sampler-steps", type=int, help="replaces the sampler saved with the denoiser")
    parser.add_argument("--guide", action=argparse.BooleanOptionalAction, default=False, help="give the cache's depth")
    parser.add_argument(
        "--trunk", action="store_true", help="the codec's RGB decoder as network (lyra/decoder/trunk.py)"
    )
    parser.add_argument("--size", type=int, nargs=3, default=(25, 256, 448), metavar=("FRAMES", "HEIGHT", "WIDTH"))
    parser.add_argument("--seconds", type=float, default=480, help="time for this whole call")
    parser.add_argument("--schedule-seconds", type=float, help="training time over all calls (default: this call's)")
    parser.add_argument("--fill-seconds", type=float, default=60, help="most time for the first samples of the pool")
    parser.add_argument("--reserve", type=float, default=60, help="seconds of the call kept for the evaluation")
    parser.add_argument("--cases", type=int, default=8, help="held-out scenes of each kind that are measured")
    parser.add_argument("--device", default=None, choices=("cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def unpack_photos(args: argparse.Namespace, folder: Path) -> list[Path]:
    """The training photographs of the pack, as files; none without a pack and a depth network."""
    if args.photos is None or args.depth is None:
        return []
    with zipfile.ZipFile(args.photos) as archive:
        credits = json.loads(archive.read("credits.json"))
        return [Path(archive.extract(entry["file"], folder)) for entry in credits if entry["split"] == "train"]


def series(
    args: argparse.Namespace, scenes: list[Path], source: LatentSource, processes: Processes
) -> LiveSeries | MixedSeries:
    """What this process learns from: still scenes and photographs, and as many moving scenes as are asked for."""
    moving = [scene for scene in scenes if is_moving(scene)]
    still = sorted(set(scenes) - set(moving))
    if args.moving == 0:
        return live_series(args, still, source, processes)
    require(
        bool(moving),
        f"--moving {args.moving:g}: none of the {len(scenes)} scenes of {args.worlds} moves; render some "
        "(python -m worlds render --dynamic 0.5) or leave --moving out",
    )
    rank, count = processes.rank, processes.count
    mine = share(moving, rank, count) or moving
    films = MovingSeries(source, tuple(args.size), processes.device, mine, (args.seed, rank, count))
    others = None if args.moving == 1 else live_series(args, still, source, processes)
    return MixedSeries(others, films, args.moving)


def live_series(args: argparse.Namespace, scenes: list[Path], source: LatentSource, processes: Processes) -> LiveSeries:
    """This process's share of the still scenes and photographs."""
    mine = (processes.rank, processes.count)
    photos = share(unpack_photos(args, args.state / f"photos{processes.rank}"), *mine)
    depth = load_depth(args.depth, processes.device) if photos else None
    options = SynthesisOptions(*args.size)
    return LiveSeries(
        source, options, processes.device, share(scenes, *mine), photos, depth, args.photo_share, (args.seed, *mine)
    )


def evaluate(trainer: StudentTrainer, source: LatentSource, cases: list, args, lpips) -> dict:
    """Scores of the averaged student on held-out scenes, the draft included, and the contact sheet."""
    frames, height, width = args.size
    options = SynthesisOptions(frames, height, width, recorded_paths=True)
    sources = {"teacher": source} if isinstance(source, Imagine) else {"draft": source}
    sources |= {"draft": Draft(source.codec)}
    keep = trainer.recipe.stages[-1].keep
    results = {}
    for name, found in cases:
        evaluation = Evaluation(lpips, trainer.processes.device)
        for case in found:
            evaluation.case(trainer.average, sources, case, options, keep)
        results[name] = {"scenes": len(found), **evaluation.results()}
        evaluation.write_sheet(args.out / ("samples.png" if name == cases[0][0] else f"samples_{name}.png"))
    return results


def evaluate_motion(trainer: StudentTrainer, source: LatentSource, scenes: list[Path], args, lpips) -> dict:
    """Scores of the averaged student on held-out scenes that move, and the contact sheet."""
    evaluation = MotionEvaluation(lpips, trainer.processes.device, trainer.recipe.stages[-1].keep)
    for case in imagined_cases(scenes, source, trainer.processes.device):
        evaluation.add(case, trainer.average)
    evaluation.write_sheet(args.out / "samples_moving.png")
    return evaluation.results()


def held_out(args: argparse.Namespace, val_scenes: list[Path]) -> list[tuple[str, list]]:
    """The public set (still scenes), then held-out rendered scenes that are still."""
    sets = []
    if args.eval_worlds is not None:
        folders = sorted(folder for folder in args.eval_worlds.iterdir() if "_still_" in folder.name)
        every = max(1, len(folders) // args.cases)
        sets.append(("eval_worlds", [public_case(folder, args.size[0]) for folder in folders[::every][: args.cases]]))
    still = [folder for folder in val_scenes if not is_moving(folder)]
    recorded = [recorded_case(folder) for folder in still[: args.cases]]
    fitting = [case for case in recorded if case.view.paths.shape[1] == args.size[0]]
    return sets + ([("worlds_val", fitting)] if fitting else [])


def split_scenes(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Training scenes and held-out ones."""
    scenes = scene_folders(args.worlds)
    if args.worlds_val is not None:
        return scenes, scene_folders(args.worlds_val)
    every = min(25, max(2, len(scenes) // 2))
    return [scene for index, scene in enumerate(scenes) if index % every], scenes[::every]


def main() -> None:
    """Fill the pool, train until the time is up, evaluate."""
    args = arguments()
    processes = Processes.start(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    source = load_source(args.codec, args.denoiser, processes.device, args.sampler_steps)
    recipe = replace(PRESETS[args.preset], batch=processes.count * PRESETS[args.preset].batch)
    if args.pool is not None:
        recipe = replace(recipe, pool=args.pool)
    codec = source.codec
    config = replace(
        MINI,
        latent_channels=codec.spec.channels,
        guide=args.guide,
        times=args.moving > 0,
        trunk=codec.config if args.trunk else None,
    )
    lpips = None if args.lpips is None else LPIPS.load(args.lpips, "vgg").to(processes.device)
    train_scenes, val_scenes = split_scenes(args)
    trainer = StudentTrainer(recipe, config, processes, args.seed, codec.encode_raw)
    if args.init is not None:
        trainer.begin_with(SplatDecoder.load(args.init))
    elif args.trunk:
        trainer.adopt(codec.vae)
    pool = TeacherPool(series(args, train_scenes, source, processes), source.codec, processes.device)
    checkpoint = args.state / "checkpoint.pt"
    if checkpoint.is_file():
        pool.restore(*trainer.restore(checkpoint))
    else:
        pool.fill(recipe.pool, time.monotonic() + args.fill_seconds)
        pool.resize(int(processes.agree(len(pool))))
    if processes.first:
        (args.out / "recipe.json").write_text(recipe.text())
        facts = f"{len(train_scenes)} scenes, pool of {len(pool)}, step {trainer.step}"
        print(f"ready after {time.monotonic() - STARTED:.0f} s: {facts}", flush=True)

    def save() -> None:
        trainer.save_average(args.out)
        trainer.save(checkpoint, (len(pool), pool.drawn))

    deadline = STARTED + args.seconds - args.reserve
    planned = args.schedule_seconds or trainer.elapsed + deadline - time.monotonic()
    journal = Journal(args.out / "log.jsonl") if processes.first else None
    fit(trainer, pool, source.codec, lpips, Clock(deadline, planned), save, journal)
    if processes.first:
        pool.entries.clear()
        finish(trainer, source, val_scenes, args, lpips)
    processes.stop()


def finish(trainer: StudentTrainer, source: LatentSource, scenes: list[Path], args: argparse.Namespace, lpips) -> None:
    """Measure and write metrics.json, moving scenes last: the time may be over before."""
    results = evaluate(trainer, source, held_out(args, scenes), args, lpips)
    results["training"] = {
        "steps": trainer.step,
        "seconds": round(trainer.elapsed, 1),
        "processes": trainer.processes.count,
        "parameters": sum(p.numel() for p in trainer.decoder.parameters()),
        "teacher": "draft" if args.denoiser is None else str(args.sampler_steps or "few steps, as saved"),
        "device": torch.cuda.get_device_name() if trainer.processes.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    write_json(args.out / "metrics.json", results)
    moving = [scene for scene in scenes if is_moving(scene)][: args.cases] if args.moving else []
    if moving:
        results["moving"] = evaluate_motion(trainer, source, moving, args, lpips)
        write_json(args.out / "metrics.json", results)
    print(json.dumps(results, indent=1), flush=True)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"train_student: {error}") from error

"""Judge scenes of videos: `python runs/evaluate_video.py --lpips FILE --out DIR`.

The videos are the moving scenes of the public evaluation set with their true cameras; depth is found by the model. The
scene of the whole video is compared, at cameras and times that the video does not show, with the scene of its first
frame, with a scene of each frame by itself, and with bare pixels at their depth. Written to --out after every method:
metrics.json, table.md and a picture a scene.
"""

import argparse
from pathlib import Path

import torch

from lyra.evaluate.scores import markdown
from lyra.evaluate.sheets import write_sheet
from lyra.evaluate.video import VideoEvaluation, moving_truths
from lyra.io.atomic import replacing_file, write_json
from lyra.metrics import LPIPS
from lyra.pipeline.job import Job
from lyra.pipeline.models import hashes
from lyra.pipeline.order import QUALITIES, Order
from lyra.pipeline.video import surveyed
from lyra.pipeline.video_source import Filmed
from lyra.video.given import Given

MEASURES = ("pictures", "psnr", "ssim", "lpips")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--worlds", type=Path, default=Path("tests/assets/eval_worlds"))
    parser.add_argument("--lpips", type=Path, default=Path("cache/lpips/lpips_alex.safetensors"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quality", choices=QUALITIES, default="standard")
    parser.add_argument("--trajectories", type=int, default=6, help="paths along which is imagined")
    parser.add_argument("--scenes", type=int, help="at most so many scenes")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many scenes")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def written(out: Path, evaluation: VideoEvaluation, facts: dict, method: str) -> None:
    """Write the results so far: a run that is cut off has not been for nothing."""
    results = evaluation.results() | facts
    write_json(out / "metrics.json", results)
    tables = [
        markdown(results["sets"], MEASURES),
        markdown({"scene": results["methods"]}, ("seconds", "gaussians", "flicker")),
    ]
    with replacing_file(out / "table.md") as temporary:
        temporary.write_text("\n".join(tables))
    write_sheet(evaluation.rows[-2:], evaluation.columns, out / f"{evaluation.scenes[-1]}.png")
    print(f"{evaluation.scenes[-1]}: {method} done", flush=True)


def main() -> None:
    """Read, make, score, write."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    order = Order(args.quality, args.trajectories, model=args.model)
    lpips = LPIPS.load(args.lpips, "alex" if "alex" in args.lpips.name else "vgg")
    parts = ("codec", "depth", "decoder", *(() if args.quality == "draft" else ("denoiser",)))
    facts = {
        "quality": args.quality,
        "trajectories": args.trajectories,
        "weights": hashes(args.model, parts),
        "torch": torch.__version__,
    }
    job = Job(args.device, keep_networks=True)
    evaluation = VideoEvaluation(order, job, lpips)
    for truth in moving_truths(args.worlds, args.scenes, args.skip):
        given = Given(truth.source, None, truth.footage.name)
        filmed = Filmed(truth.footage, surveyed(truth.footage, given, order, job, ""))
        evaluation.add(truth, filmed, lambda method: written(args.out, evaluation, facts, method))
    print((args.out / "table.md").read_text())


if __name__ == "__main__":
    main()

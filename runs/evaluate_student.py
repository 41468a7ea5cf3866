"""Judge a student: `python runs/evaluate_student.py --model DIR --worlds DIR --out DIR`.

--model holds codec/, decoder/ and, if there is a teacher, denoiser/. Every scene starts from its true first frame with
true depth. Compared in the same run: the student, draft mode (no diffusion), the unprojected first view, and Gaussians
optimised for the scene on the same teacher frames. Written to --out: metrics.json, table.md, sheet.png, and latents.
"""

import argparse
from pathlib import Path

import torch

from lyra import weights
from lyra.decoder import SplatDecoder
from lyra.evaluate.optimise import OptimiseOptions
from lyra.evaluate.samples import Samples
from lyra.evaluate.scores import markdown
from lyra.evaluate.sheets import write_sheet
from lyra.evaluate.student import StudentEvaluation
from lyra.evaluate.true_scenes import still_scenes
from lyra.io.atomic import replacing_file, write_json
from lyra.metrics import LPIPS
from lyra.pipeline.refine import STANDARD_STEPS

MEASURES = ("pictures", "psnr", "ssim", "lpips", "depth_error")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini", help="name of a model or a folder with codec/, denoiser/, decoder/")
    parser.add_argument("--worlds", type=Path, default=Path("tests/assets/eval_worlds"))
    parser.add_argument("--lpips", type=Path, default=Path("cache/lpips/lpips_vgg.safetensors"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--latents", type=Path, help="where the teacher's latents lie or go (default OUT/latents)")
    parser.add_argument("--scenes", type=int, help="at most so many scenes")
    parser.add_argument("--every", type=int, default=4, help="score every so many frames")
    parser.add_argument("--steps", type=int, help="Euler steps of the teacher instead of the sampler saved with it")
    parser.add_argument("--optimise-steps", type=int, default=3000, help="0 leaves the optimisation out")
    parser.add_argument("--refine-steps", type=int, default=STANDARD_STEPS, help="0 leaves the refined scenes out")
    parser.add_argument("--keep", type=float, default=0.5, help="share of its Gaussians that the decoder keeps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def tables(results: dict) -> str:
    """The numbers as Markdown."""
    return "\n".join(
        [
            markdown(results["sets"], MEASURES),
            markdown({"scene": results["methods"]}, ("seconds", "gaussians")),
            f"Steps of the optimisation: {results['optimise_steps']} (on {results['device']})\n",
        ]
    )


def write(args: argparse.Namespace, evaluation: StudentEvaluation, facts: dict) -> None:
    """The results of the scenes so far: a run that is cut off has not been for nothing."""
    results = evaluation.results() | facts
    write_json(args.out / "metrics.json", results)
    with replacing_file(args.out / "table.md") as temporary:
        temporary.write_text(tables(results))
    write_sheet(evaluation.rows[:24], evaluation.columns, args.out / "sheet.png")


def main() -> None:
    """Generate, reconstruct, score, write."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    lpips = LPIPS.load(args.lpips, "alex" if "alex" in args.lpips.name else "vgg").to(device)
    imagined = Samples(args.model, args.latents or args.out / "latents", args.device, args.seed, args.steps)
    drafts = Samples(args.model, args.out / "draft_latents", args.device, args.seed, draft=True)
    decoder = SplatDecoder.load(weights.folder(args.model, "decoder"), imagined.source.codec.encode_raw).to(device)
    evaluation = StudentEvaluation(decoder, lpips, device, args.keep, args.every, args.refine_steps)
    options = OptimiseOptions(steps=args.optimise_steps, seed=args.seed) if args.optimise_steps else None
    facts = {
        "model": imagined.mark | {"decoder": weights.fingerprint(weights.folder(args.model, "decoder"))},
        "optimise_steps": args.optimise_steps,
        "refine_steps": args.refine_steps,
        "lpips_network": lpips.net,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    for scene in still_scenes(args.worlds, args.scenes):
        sample, draft = imagined.of(scene.view), drafts.of(scene.view)
        frames = imagined.frames(sample)
        evaluation.add(scene, evaluation.attempts(scene, sample, draft, frames, options), frames)
        facts["seconds_teacher"] = [round(seconds, 2) for seconds in imagined.seconds]
        write(args, evaluation, facts)
        print(f"{scene.name} done", flush=True)
    print((args.out / "table.md").read_text())


if __name__ == "__main__":
    main()

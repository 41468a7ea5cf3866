"""Judge a teacher: `python runs/evaluate_teacher.py --model DIR --worlds DIR --out DIR`.

--model holds codec/ and denoiser/; without a denoiser the codec's reconstruction of the warp is judged. --worlds holds
rendered scenes or the public set tests/assets/eval_worlds. Written to --out: metrics.json, table.md, worlds.png,
photographs.png (with --photos), and latents, from which a second call scores again without generating (for a machine
with OpenCV, after one without).
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lyra import depth
from lyra.depth.encoder import Encoder
from lyra.evaluate.samples import OPTIONS, Samples
from lyra.evaluate.scores import markdown
from lyra.evaluate.sheets import write_sheet
from lyra.evaluate.teacher import TeacherEvaluation, warped_views
from lyra.evaluate.true_scenes import still_scenes
from lyra.io.atomic import replacing_file, write_json
from lyra.io.images import colour_depth
from lyra.metrics import I3D, LPIPS
from lyra.scene.lyra_paths import LYRA_SET
from lyra.train.student_scenes import image_files, photograph
from lyra.train.synthesis import path_cameras


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini", help="name of a model or a folder with codec/ and denoiser/")
    parser.add_argument("--worlds", type=Path, default=Path("tests/assets/eval_worlds"))
    parser.add_argument("--photos", type=Path, help="folder of photographs for a contact sheet")
    parser.add_argument("--depth", default="mini", help="depth model of the photographs, see lyra.depth.load")
    parser.add_argument("--lpips", type=Path, default=Path("cache/lpips/lpips_vgg.safetensors"))
    parser.add_argument("--i3d", type=Path, help="i3d.safetensors from lyra.metrics.i3d_weights: adds FVD")
    parser.add_argument("--backbone", type=Path, help="backbone.safetensors from runs/fetch_backbone.py: adds a FID")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--latents", type=Path, help="where the teacher's latents lie or go (default OUT/latents)")
    parser.add_argument("--scenes", type=int, help="at most so many scenes")
    parser.add_argument("--every", type=int, default=4, help="score every so many frames")
    parser.add_argument("--steps", type=int, help="Euler steps instead of the sampler saved with the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


@torch.no_grad()
def photograph_rows(args: argparse.Namespace, samples: Samples) -> list[list[Tensor]]:
    """Two rows each: photograph and warps, depth and teacher, at the ends of the paths (the spiral: a quarter)."""
    model = depth.load(args.depth, args.device)
    paths, frames = torch.arange(6), torch.tensor([OPTIONS.frames - 1] * 5 + [OPTIONS.frames // 4])
    rows = []
    for path in image_files(args.photos):
        view = photograph(path, model, OPTIONS.height, OPTIONS.width)
        cameras = path_cameras(view, OPTIONS, torch.Generator().manual_seed(args.seed))  # drawn as `synthesize` does
        warp, _ = warped_views(view, cameras[paths, frames], torch.device(args.device))
        shown = samples.frames(samples.of(view))[paths, frames].float().cpu() / 255
        rows += [[view.image, *warp.cpu()], [colour_depth(view.depth), *shown]]
    return rows


def image_encoder(path: Path) -> Encoder:
    """EfficientNet-lite0 with the weights of a file in float16."""
    encoder = Encoder()
    encoder.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return encoder.eval()


def tables(results: dict) -> str:
    """The numbers as Markdown."""
    parts = [
        "Against true pictures\n\n" + markdown(results["regions"], ("pictures", "psnr", "ssim", "lpips")),
        "Frames carried into each other by true depth\n\n" + markdown(results["consistency"], ("pictures", "psnr")),
    ]
    if results["poses"]:
        measures = ("pictures", "recovered", "median_rotation_deg", "median_direction_deg", "median_distance_share")
        parts.append("Camera poses found in the pictures\n\n" + markdown({"poses": results["poses"]}, measures))
    for key, what in (
        ("fvd", "FVD, clips"),
        ("frechet_efficientnet", "Frechet distance of EfficientNet features, frames"),
    ):
        if results[key]:
            parts.append(f"{what}: " + ", ".join(f"{name} {value:g}" for name, value in results[key].items()) + "\n")
    return "\n".join(parts)


def write(args: argparse.Namespace, evaluation: TeacherEvaluation, facts: dict) -> None:
    """The results of the scenes so far: a run that is cut off has not been for nothing."""
    results = evaluation.results() | facts
    write_json(args.out / "metrics.json", results)
    with replacing_file(args.out / "table.md") as temporary:
        temporary.write_text(tables(results))
    shown = evaluation.pictures[:24]
    names = list(shown[0].images)
    write_sheet([[picture.images[name] for name in names] for picture in shown], names, args.out / "worlds.png")


def main() -> None:
    """Generate, score, write."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    lpips = LPIPS.load(args.lpips, "alex" if "alex" in args.lpips.name else "vgg").to(args.device)
    i3d = None if args.i3d is None else I3D.load(args.i3d).to(args.device)
    samples = Samples(args.model, args.latents or args.out / "latents", args.device, args.seed, args.steps)
    encoder = None if args.backbone is None else image_encoder(args.backbone).to(args.device)
    evaluation = TeacherEvaluation(lpips, i3d, torch.device(args.device), args.every, encoder)
    facts = {
        "model": samples.mark,
        "lpips_network": lpips.net,
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
    }
    for scene in still_scenes(args.worlds, args.scenes):
        evaluation.add(scene, samples.frames(samples.of(scene.view)), samples.rebuilt(scene))
        facts["seconds_generating"] = [round(seconds, 2) for seconds in samples.seconds]
        write(args, evaluation, facts)
        print(f"{scene.name} done", flush=True)
    print((args.out / "table.md").read_text())
    if args.photos is not None:
        names = ["photograph, depth", *(kind for kind, *_ in LYRA_SET)]
        write_sheet(photograph_rows(args, samples), names, args.out / "photographs.png")


if __name__ == "__main__":
    main()

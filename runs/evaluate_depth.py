"""Judge a depth model: `python runs/evaluate_depth.py --depth mini --worlds DIR ... --out DIR`.

Depth of the first frames of still scenes (each folder is a set) against the truth, raw and scale-aligned, and with
--motorcycle that of a photograph with true depth (runs/fetch_backbone.py). `given K` knows the true focal length. With
--train two baselines that use no network, fitted on training scenes: the median depth everywhere, and log depth as a
line over the image's rows. Written to --out: metrics.json, table.md, sheet.png (image, prediction, truth; at the end
the photographs of --photos).
"""

import argparse
import json
from pathlib import Path

import torch

from lyra import depth
from lyra.evaluate.scores import markdown
from lyra.evaluate.true_scenes import still_scenes
from lyra.io.atomic import replacing_file
from lyra.io.images import load_image
from lyra.train import depth_sheet
from lyra.train.depth_data import FramePool
from lyra.train.depth_eval import Predictor, Truth, baselines, evaluate, motorcycle
from lyra.train.student_scenes import image_files

MEASURES = ("images", "abs_rel_raw", "delta_1.25_raw", "abs_rel_aligned", "delta_1.25_aligned", "fov_error_deg")
SHOWN = 768  # pixels of a photograph's shorter side at most
EVERY = 12  # frames of the training scenes that the baselines see
POOL_BYTES = 2**29


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", default="mini", help="name or folder of the model, see lyra.depth.load")
    parser.add_argument("--worlds", type=Path, nargs="+", default=[Path("tests/assets/eval_worlds")])
    parser.add_argument("--train", type=Path, help="training scenes on which the baselines are fitted")
    parser.add_argument("--motorcycle", type=Path, help="motorcycle.npz from runs/fetch_backbone.py")
    parser.add_argument("--photos", type=Path, help="folder of photographs for the sheet")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def first_frames(folder: Path, device: torch.device) -> list[Truth]:
    """The first frame of every still scene, sky at infinity."""
    views = [scene.view for scene in still_scenes(folder)]
    return [
        Truth(view.image.to(device), view.depth.to(device), torch.ones_like(view.depth, dtype=torch.bool), view.K)
        for view in views
    ]


def main() -> None:
    """Predict, score, write."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    model = depth.load(args.depth, args.device)
    predictors: dict[str, Predictor] = {
        args.depth: lambda truth: model(truth.image),
        f"{args.depth}, given K": lambda truth: model(truth.image, truth.K),
    }
    if args.train is not None:
        pool = FramePool(args.train, device, POOL_BYTES, EVERY)
        pool.scan()
        predictors |= baselines(pool)
    sets = {folder.name: first_frames(folder, device) for folder in args.worlds}
    if args.motorcycle is not None:
        sets["photograph with truth"] = [motorcycle(args.motorcycle, device)]
    results = {
        name: {who: evaluate(predict, truths) for who, predict in predictors.items()} for name, truths in sets.items()
    }
    table = markdown(results, MEASURES)
    for name, text in (("metrics.json", json.dumps(results, indent=1) + "\n"), ("table.md", table)):
        with replacing_file(args.out / name) as temporary:
            temporary.write_text(text)
    print(table)
    with torch.no_grad():
        rows = [depth_sheet.row(t.image, model(t.image), t) for truths in sets.values() for t in truths]
        if args.photos is not None:
            pictures = [load_image(path, shortest=SHOWN).to(device) for path in image_files(args.photos)]
            rows += [depth_sheet.row(picture, model(picture)) for picture in pictures]
    depth_sheet.write_sheet(rows, args.out / "sheet.png")


if __name__ == "__main__":
    main()

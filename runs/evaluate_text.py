"""Does the model show what it is asked for? `python runs/evaluate_text.py --worlds DIR --backbone FILE --out DIR`.

Prompts are captions of held-out scenes; pictures come from `lyra.pipeline.text`, several seeds each. The judge
(lyra/evaluate/text.py) is fitted to true frames of the other scenes. Rows: true frames of the held-out scenes (what
the judge can see at best), made pictures, the chosen ones, and the same by chance (captions exchanged). With --model
none only the judge and the true frames are measured, which shows how far it can be trusted. With --kept the judge and
what it needs of the true frames lie in a file, made if it is missing, so that other weights are judged without renders.

Written to --out: metrics.json, table.md, sheet.png (a true frame | one picture a seed; the captions in metrics.json).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from lyra.depth.encoder import Encoder
from lyra.evaluate.text import SIGNS, Asked, Judge, asked, diversity, features
from lyra.io.atomic import replacing_file, write_json
from lyra.io.images import save_image
from lyra.metrics import frechet_distance
from lyra.pipeline import Job
from lyra.pipeline.text import Painted, paint_candidates
from lyra.scene import InputError, require
from lyra.train.latents import is_held_out, static_scenes

SIDES = (256, 448)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, help="rendered scenes")
    parser.add_argument("--worlds-val", type=Path, help="held-out scenes (default: some of --worlds, by name)")
    parser.add_argument("--held-out", type=float, default=0.04, help="share of --worlds held out, as in training")
    parser.add_argument("--backbone", type=Path, required=True, help="backbone.safetensors of runs/fetch_backbone.py")
    parser.add_argument("--kept", type=Path, help="file of the judge and the features of true frames")
    parser.add_argument("--model", default="mini", help="mini, a folder, or none")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--frames", type=int, default=12, help="true frames of each scene")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=500, help="no new prompt is begun after so many seconds")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def half(images: Tensor) -> Tensor:
    """Pictures [n, 3, h, w] in [0, 1] at half size."""
    return functional.interpolate(images, scale_factor=0.5, mode="bilinear", antialias=True).clamp(0, 1)


class TrueFrames:
    """Frames of rendered rooms: features [n, d], the caption of each, and the first frame of each room, small, with its
    caption."""

    def __init__(self, folders: list[Path], frames: int, encoder: Encoder) -> None:
        self.said, self.captions, self.first, found = [], [], [], []
        generator = torch.Generator().manual_seed(0)
        for folder in folders:
            facts = json.loads((folder / "scene.json").read_text())
            if facts["kind"] != "room" or facts["dynamic"]:
                continue
            rgb = np.load(folder / "rgb.npy", mmap_mode="r")
            said = json.loads((folder / "captions.json").read_text())
            random = torch.randint(rgb.shape[0] * rgb.shape[1], (frames - 1,), generator=generator).tolist()
            places = [(0, 0), *(divmod(index, rgb.shape[1]) for index in random)]
            images = torch.from_numpy(np.stack([rgb[place] for place in places])).permute(0, 3, 1, 2).float() / 255
            self.first.append((255 * half(images[:1])).byte())
            found.append(features(images, encoder))
            self.said += [said[path][frame] for path, frame in places]
            self.captions.append(said[0][0])
        require(len(found) > 1, "fewer than two rooms were found; render more scenes")
        self.features = torch.cat(found)

    @property
    def asked(self) -> Asked:
        """The attributes of every frame."""
        return asked(self.said)


def judged(args: argparse.Namespace, encoder: Encoder) -> tuple[Judge, TrueFrames, int]:
    """The judge, the true frames of held-out scenes, and to how many rooms it was fitted."""
    if args.kept and args.kept.is_file():
        with torch.serialization.safe_globals([Judge, TrueFrames]):
            return torch.load(args.kept)
    require(args.worlds is not None, "--worlds must be given where no judge is kept")
    folders = static_scenes(args.worlds)
    known = [f for f in folders if args.worlds_val or not is_held_out(f.name, args.held_out)]
    kept = static_scenes(args.worlds_val) if args.worlds_val else [f for f in folders if f not in known]
    train, held = TrueFrames(known, args.frames, encoder), TrueFrames(kept, args.frames, encoder)
    with torch.enable_grad():
        found = Judge(train.features, train.asked), held, len(train.first)
    if args.kept:
        with replacing_file(args.kept) as temporary:
            torch.save(found, temporary)
    return found


def make(args: argparse.Namespace, captions: list[str], began: float) -> list[Painted]:
    """Pictures of the captions, until the time is up; the networks stay loaded."""
    job, made = Job(args.device, keep_networks=True), []
    for index, caption in enumerate(captions):
        if time.monotonic() - began > args.seconds:
            break
        made.append(paint_candidates(caption, args.seeds, 1000 * index, args.model, SIDES[::-1], None, job))
        print(f"{index + 1}/{len(captions)} {made[-1].report['seconds']:.1f} s", flush=True)
    return made


def measure(judge: Judge, held: TrueFrames, made: list[Painted], encoder: Encoder) -> dict:
    """All rows of the table, diversity, and Frechet distances."""
    rows = {"true frames": judge.scores(held.features, held.asked)}
    rows["true frames, captions exchanged"] = judge.by_chance(held.features, held.asked)
    results = {"judged": rows}
    if not made:
        return results
    count, seeds = len(made), len(made[0].images)
    found = torch.stack([features(painted.images, encoder) for painted in made])
    wanted = asked([painted.report["prompt"] for painted in made])
    each = torch.arange(count).repeat_interleave(seeds)
    best = torch.stack([found[index, painted.best] for index, painted in enumerate(made)])
    rows["made pictures"] = judge.scores(found.flatten(0, 1), wanted[each])
    rows["made pictures, chosen"] = judge.scores(best, wanted)
    rows["made pictures, captions exchanged"] = judge.by_chance(found.flatten(0, 1), wanted[each])
    # True frames of one scene differ by the view alone, those of different scenes by everything.
    scale = held.features.std(0).clamp_min(1e-4)
    first = held.features[:: len(held.said) // len(held.first)]
    results["diversity"] = {
        "made, seeds of one caption": diversity(found / scale),
        "made, different captions": diversity((found[:, 0] / scale)[None]),
        "true, different scenes": diversity((first / scale)[None]),
    }
    members = min(count * seeds, len(held.features) // 2)
    order = torch.randperm(len(held.features), generator=torch.Generator().manual_seed(0))
    mine, other = held.features[order[:members], :1280], held.features[order[members : 2 * members], :1280]
    results["frechet_efficientnet"] = {
        "members": members,
        "made against true": frechet_distance(found.flatten(0, 1)[:members, :1280], mine),
        "true against true": frechet_distance(other, mine),
    }
    return results


def table(rows: dict[str, dict[str, float]]) -> str:
    """The scores as Markdown: accuracy for the room, areas under the ROC curve for the rest."""
    columns = ("room", "signs", *SIGNS)
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in rows.items():
        cells = [f"{scores[column]:.2f}" if column in scores else "" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def sheet(held: TrueFrames, made: list[Painted], path: Path, rows: int = 15) -> None:
    """A true frame and all its rivals, row by row, at half size."""
    pictures: list[Tensor] = []
    for first, painted in list(zip(held.first, made, strict=False))[:rows]:
        pictures.append(torch.cat([*(first / 255), *half(painted.images)], 2))
    save_image(torch.cat(pictures, 1), path)


@torch.no_grad()
def main() -> None:
    """Judge, true frames, pictures, numbers."""
    args, began = arguments(), time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    encoder = Encoder()
    encoder.load_state_dict({name: value.float() for name, value in load_file(args.backbone).items()})
    encoder = encoder.eval().to("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    judge, held, rooms = judged(args, encoder)
    print(f"judge: {rooms} rooms; held out: {len(held.first)} rooms", flush=True)
    made = [] if args.model == "none" else make(args, held.captions[: args.prompts], began)
    results = measure(judge, held, made, encoder)
    results |= {"rooms": {"judge": rooms, "held_out": len(held.first)}, "prompts": len(made)}
    results["pictures"] = [painted.report for painted in made]
    write_json(args.out / "metrics.json", results)
    (args.out / "table.md").write_text(table(results["judged"]))
    print(table(results["judged"]), flush=True)
    if made:
        sheet(held, made, args.out / "sheet.png")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"evaluate_text: {error}") from error

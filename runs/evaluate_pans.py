"""Judge denoisers on photographs: `python runs/evaluate_pans.py --photos PACK --lpips FILE --models mini DIR ...`.

A camera turns inside held-out photographs, twice in each, and holes grow in the warp of its first frame; what is made
of it is compared with what the photograph shows there. Rendered scenes say little about photographs: a training that
was better on them lost 1.6 dB here (docs/log.md). One line of JSON a model.
"""

import argparse
import json
from pathlib import Path

import torch

from lyra import weights
from lyra.metrics import LPIPS
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher
from lyra.train.denoiser_eval import Judge, Way, held_out_pans


def main() -> None:
    """One line a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="pack written by runs/fetch_photos.py")
    parser.add_argument("--lpips", type=Path, help="LPIPS weights, from python -m lyra.metrics.lpips_weights")
    parser.add_argument("--models", nargs="+", default=["mini"], help="names or folders with codec/ and denoiser/")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    lpips = args.lpips and LPIPS.load(args.lpips, "alex" if "alex" in args.lpips.name else "vgg").to(device)
    clips = held_out_pans(args.photos, 25, (256, 448), device)
    for model in args.models:
        codec = VideoCodec.load(weights.folder(model, "codec")).to(device)
        teacher = CosmosTeacher.load(weights.folder(model, "denoiser"), codec)
        teacher.network.to(device)
        judge = Judge(clips, codec, teacher.config, lpips)
        way = Way(teacher.network, teacher.sampling.schedule, teacher.sampling.start == "warp")
        print(json.dumps({"model": model, **judge.measure(judge.sample(way))}), flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        main()

"""From a photograph to a scene, and what is real in it: the same views with and without the imagined Gaussians.

python examples/06_generate.py [out] [draft | standard | full]
"""

import sys
from pathlib import Path

import torch

import lyra
from lyra.io.images import save_image

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "out")
out.mkdir(exist_ok=True)
quality = sys.argv[2] if len(sys.argv) > 2 else "standard"

scene = lyra.generate(here / "photos/coffee.jpg", quality=quality, seed=0)
lyra.save(scene.gaussians, out / "coffee.spz")

views = scene.orbit(8)[torch.tensor([1, 6])]
whole = lyra.render(scene.gaussians, views).rgb
seen = lyra.render(scene.gaussians[scene.gaussians.seen], views).rgb
rows = [torch.cat([scene.image, *pictures], -1) for pictures in (whole, seen)]
save_image(torch.cat(rows, -2).clamp(0, 1), out / "coffee.png")

seconds, share = scene.report["seconds"]["total"], scene.report["imagined_share"]
print(f"{len(scene.gaussians):,} Gaussians, {share:.0%} of them imagined, in {seconds:.0f} s; look at {out}/coffee.png")

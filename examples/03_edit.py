"""Scenes are plain tensors: cut, move, recolour, put together, save in another format."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

import lyra

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "out")
out.mkdir(exist_ok=True)
room = lyra.load(here / "room.spz")

near = room[room.means[:, 2] < room.means[:, 2].median()]  # the nearer half
turned = torch.eye(4)
turned[:3, :3] = torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]) * 0.5  # a quarter turn, half size
turned[2, 3] = 3.0
small = near.transform(turned)
grey = replace(small, sh=small.sh.mean(-1, keepdim=True).expand(-1, -1, 3).contiguous())

both = lyra.Gaussians.concat([room, grey]).prune(min_opacity=0.02, max_count=200_000)
lyra.save(both, out / "edited.ply")
lyra.save(both, out / "edited.spz")
print(f"{len(room):,} + {len(grey):,} -> {len(both):,} Gaussians in {out}/edited.ply and .spz")

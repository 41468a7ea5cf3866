"""Gradients: start from grey blobs and let Adam find the colours, places and sizes that reproduce a picture."""

import sys
from pathlib import Path

import torch

import lyra
from lyra.io.images import save_image
from lyra.scene.framing import first_view

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "out")
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 150
out.mkdir(exist_ok=True)

room = lyra.load(here / "room.spz")
camera, depth = first_view(room, fov_x_deg=70, width=192, height=108)
target = lyra.render(room, camera).rgb

generator = torch.Generator().manual_seed(0)
n = 4000
pixels = torch.rand(n, 2, generator=generator) * torch.tensor([192.0, 108.0])
rays = (pixels - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
means = (torch.cat([rays, torch.ones(n, 1)], -1) * depth).requires_grad_()
log_scales = torch.full((n, 3), depth / 80).log().requires_grad_()
quats = torch.tensor([1.0, 0, 0, 0]).repeat(n, 1).requires_grad_()
colours = torch.zeros(n, 3, requires_grad=True)
groups = [{"params": [means], "lr": 0.002 * depth}, {"params": [log_scales, quats, colours], "lr": 0.05}]
adam = torch.optim.Adam(groups)

for step in range(steps):
    scene = lyra.Gaussians.from_rgb(means, quats, log_scales.exp(), torch.full((n,), 0.8), colours.sigmoid())
    loss = (lyra.render(scene, camera).rgb - target).square().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
    if step in (0, steps - 1):
        print(f"step {step}: {float(-10 * loss.log10()):.1f} dB")

save_image(torch.cat([target, lyra.render(scene, camera).rgb.detach()], -1).clamp(0, 1), out / "fit.png")

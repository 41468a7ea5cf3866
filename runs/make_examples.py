"""Makes the example scene from worlds: examples/room.spz.

No network is involved: pixels of rendered frames become flat Gaussians on the surfaces they show, views from the six
trajectories add what the first frame did not see, and a short optimisation by `lyra.render` makes the splats agree
with the frames. Run `python -m worlds fetch` and `python -m worlds pack` first, then

    python runs/make_examples.py --packs packs --room 3
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # the first optimiser loads it, which crashes once Mesa's software OpenGL has loaded its LLVM

import lyra
from lyra.scene import Cameras, Gaussians, rotations
from lyra.scene.sh import rgb_to_sh
from worlds.dataset import pack_paths
from worlds.render.renderer import Renderer
from worlds.scenes import Job, SceneMaker, Style
from worlds.splits import seed_of

SPREAD = 0.85  # standard deviation of a splat over the spacing of its pixels; less shows gaps from close by
THIN = 0.1  # thickness over the smaller extent


def film(packs: Path, index: int, style: Style):
    """Frames [k, t, ...] of training scene `index`, and their cameras relative to the first one."""
    maker = SceneMaker(pack_paths(packs), "train", style)
    _, plan = next(maker.plans(Job((seed_of("train", index),), "", (False,))))
    if plan is None:
        raise SystemExit(f"training scene {index} has no start camera; choose another index")
    with Renderer((style.height, style.width)) as renderer:
        stage = renderer.upload(plan.world)
        k, t = plan.c2w.shape[:2]
        focal = 0.5 * style.width / np.tan(np.radians(plan.fov) / 2)
        K = np.array([[focal, 0, style.width / 2], [0, focal, style.height / 2], [0, 0, 1.0]])
        drawn = renderer.render(stage, plan.c2w.reshape(-1, 4, 4), np.repeat(K[None], k * t, 0), plan.times.reshape(-1))
        stage.release()
    c2w = torch.from_numpy(np.linalg.inv(plan.c2w[0, 0]) @ plan.c2w).float()
    cameras = Cameras(c2w, torch.from_numpy(K).float().expand(k, t, 3, 3), style.width, style.height)
    rgb = torch.from_numpy(drawn.rgb).float().div(255).unflatten(0, (k, t))
    depth = torch.from_numpy(drawn.depth).unflatten(0, (k, t))
    return plan, rgb, depth.clamp(max=60.0), cameras


def lift(rgb, depth, camera: Cameras, keep) -> Gaussians:
    """One flat Gaussian a kept pixel, lying on the surface that the depth shows."""
    points = camera.unproject(depth)
    right, down = torch.gradient(points, dim=1)[0], torch.gradient(points, dim=0)[0]
    pixel = (depth / camera.K[0, 0])[..., None]
    right, down = (step * (4 * pixel / step.norm(dim=-1, keepdim=True)).clamp(max=1) for step in (right, down))
    x = rotations.normalize(right)
    z = rotations.normalize(torch.linalg.cross(right, down))
    y = torch.linalg.cross(z, x)
    extent = torch.stack([right.norm(dim=-1), (down * y).sum(-1).abs().clamp_min(0.3 * pixel[..., 0])], -1)
    scales = (SPREAD * torch.cat([extent, THIN * extent.amin(-1, keepdim=True)], -1)).clamp_min(1e-4)
    quats = rotations.matrix_to_quat(torch.stack([x, y, z], -1))
    n = int(keep.sum())
    return Gaussians.from_rgb(points[keep], quats[keep], scales[keep], torch.full((n,), 0.9), rgb[keep])


def build(rgb, depth, cameras: Cameras) -> Gaussians:
    """Gaussians of views [v]: all of the first, then of each view only what the ones before do not cover."""
    first = lift(rgb[0], depth[0], cameras[0], torch.ones_like(depth[0], dtype=torch.bool))
    scene = Gaussians(*_fields(first), torch.ones(len(first), dtype=torch.bool))
    for i in range(1, len(cameras)):
        drawn = lyra.render(scene, cameras[i])
        missing = (drawn.alpha[0] < 0.7) | (drawn.depth[0] > 1.05 * depth[i])
        part = lift(rgb[i], depth[i], cameras[i], missing)
        scene = Gaussians.concat([scene, Gaussians(*_fields(part), torch.zeros(len(part), dtype=torch.bool))])
    return scene


def _fields(gaussians: Gaussians):
    return gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh


def refine(scene: Gaussians, rgb, cameras: Cameras, steps: int) -> Gaussians:
    """Adam on colours and opacities until the splats reproduce the frames (L1)."""
    colour = scene.rgb.clone().requires_grad_()
    logit = torch.logit(scene.opacities).requires_grad_()
    groups = [{"params": [colour], "lr": 0.01}, {"params": [logit], "lr": 0.05}]
    optimizer = torch.optim.Adam(groups)
    order = torch.Generator().manual_seed(0)
    for step in range(steps):
        i = int(torch.randint(len(cameras), (), generator=order))
        now = Gaussians(scene.means, scene.quats, scene.scales, logit.sigmoid(), rgb_to_sh(colour)[:, None], scene.seen)
        error = (lyra.render(now, cameras[i]).rgb.movedim(0, -1) - rgb[i]).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: mean error {error.item():.4f}", flush=True)
    return Gaussians(*(t.detach() for t in _fields(now)), scene.seen).prune(min_opacity=0.02)


def views_of(k: int, t: int) -> list[tuple[int, int]]:
    """Views in the order in which they add to a scene: the common first frame, then the paths from far to near."""
    return [(0, 0)] + [(path, frame) for frame in range(t - 1, 0, -1) for path in range(k)]


def room(packs: Path, index: int, steps: int):
    """A furnished room as a static scene."""
    plan, rgb, depth, cameras = film(packs, index, Style(width=184, height=104, frames=7))
    path, frame = map(torch.tensor, zip(*views_of(*rgb.shape[:2]), strict=True))
    rgb, depth, cameras = rgb[path, frame], depth[path, frame], cameras[path, frame]
    scene = refine(build(rgb, depth, cameras), rgb, cameras, steps)
    print(f"{plan.world.caption}: {len(scene):,} Gaussians, {float(scene.seen.float().mean()):.0%} seen")
    return scene, plan


def main() -> None:
    """Write the scene and the credits of the assets it shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packs", type=Path, default=Path("packs"))
    parser.add_argument("--room", type=int, required=True, help="index of a training scene")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("examples"))
    args = parser.parse_args()
    scene, plan = room(args.packs, args.room, args.steps)
    lyra.save(scene, args.out / "room.spz")
    credits = json.loads((args.packs / "credits.json").read_text())
    used = [entry for pack in credits.values() for entry in pack if entry["key"] in plan.world.assets]
    (args.out / "credits.json").write_text(json.dumps(used, indent=1) + "\n")


if __name__ == "__main__":
    main()

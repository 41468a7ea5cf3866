"""Losses of the splat decoder and their gradients against the published code."""

import pytest
import torch
from golden_cases import case, cases

from lyra.train.losses import colour_loss, depth_loss, normalise_depth, opacity_loss, shrink_for_lpips


@pytest.mark.parametrize("name", cases("losses"))
def test_losses_and_gradients(name):
    recorded = case(name)
    c, t = recorded.config, recorded.tensors
    depth = t["pred_depth"].clone().requires_grad_()
    loss = depth_loss(depth, t["gt_depth"])
    recorded.check("depth", loss.detach()[None])
    recorded.check("depth_grad", torch.autograd.grad(loss, depth)[0])
    images, opacity = (t[key].clone().requires_grad_() for key in ("pred_images", "opacity"))
    mse, faint = colour_loss(images, t["gt_images"]), opacity_loss(opacity)
    recorded.check("mse", mse.detach()[None])
    recorded.check("opacity_loss", faint.detach()[None])
    total = c["lambda_mse"] * mse + c["lambda_depth"] * depth_loss(depth, t["gt_depth"]) + c["lambda_opacity"] * faint
    recorded.check("total", total.detach()[None])
    grads = torch.autograd.grad(total, (images, opacity))
    recorded.check("total_grad_pred_images", grads[0])
    recorded.check("total_grad_opacity", grads[1])


@pytest.mark.parametrize("name", cases("losses"))
def test_normalised_depth_maps(name):
    recorded = case(name)
    t = recorded.tensors
    valid = (t["gt_depth"] > 0).float().flatten(2)
    recorded.check("pred_depth_normalised", normalise_depth(t["pred_depth"].flatten(2), valid))
    recorded.check("gt_depth_normalised", normalise_depth(t["gt_depth"].flatten(2), valid))


@pytest.mark.parametrize("name", cases("losses"))
def test_resize_in_front_of_lpips(name):
    recorded = case(name)
    sizes = {key: value for key, value in recorded.config.items() if key.startswith("resize")}
    assert sizes
    for key, size in sizes.items():
        recorded.check(f"{key}.out", shrink_for_lpips(recorded.tensors[f"{key}.in"], size["img_size_min"]))


def test_invalid_depth_does_not_poison_the_loss():
    """Beyond the published code, which gives NaN here."""
    depth = torch.rand(1, 1, 4, 5, requires_grad=True)
    target = torch.rand(1, 1, 4, 5)
    target[0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, 0.0])
    loss = depth_loss(depth, target)
    loss.backward()
    assert loss.isfinite() and depth.grad.isfinite().all() and (depth.grad[0, 0, 0, :3] == 0).all()

"""Depth models of other packages: tiny networks with random weights, built here, through the same door as real ones."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    Dinov2Config,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

from lyra import depth
from lyra.depth.hub import FAR_TO_NEAR, TYPICAL_FOCAL, from_inverse
from lyra.scene import InputError

IMAGE = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))


def _vit(size, **more):
    return {
        "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": size,
        **more,
    }  # fmt: skip


def _depth_anything(folder, kind):
    torch.manual_seed(0)
    backbone = Dinov2Config(
        **_vit(28, patch_size=14), out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False
    )
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, patch_size=14, depth_estimation_type=kind, max_depth=80 if kind == "metric" else 1,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    torch.nn.init.normal_(model.head.conv3.weight)
    torch.nn.init.constant_(model.head.conv3.bias, 0.5)
    model.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    DPTImageProcessorPil(do_resize=True, size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(
        folder
    )
    return depth.load(f"transformers:{folder}")


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_depth_anything(tmp_path, kind):
    found = _depth_anything(tmp_path, kind)(IMAGE)
    assert found.scale == kind and found.depth.shape == (40, 60)
    assert float(found.K[0, 0]) == pytest.approx(TYPICAL_FOCAL * (40 * 60) ** 0.5)
    seen = found.depth[found.valid]
    if kind == "relative":
        assert float(seen.median()) == pytest.approx(1, abs=1e-5)
        assert 2 < float(seen.max() / seen.min()) <= 3 * 4 * FAR_TO_NEAR
    else:
        assert float(seen.max()) < 80


def test_depth_pro_tells_the_lens_and_follows_a_given_one(tmp_path):
    torch.manual_seed(0)
    vit = _vit(32, patch_size=16)
    config = DepthProConfig(
        fusion_hidden_size=8, patch_size=32, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0], scaled_images_overlap_ratios=[0.5, 0.2], scaled_images_feature_dims=[8, 8],
        use_fov_model=True, image_model_config=vit, patch_model_config=vit, fov_model_config=vit,
    )  # fmt: skip
    model = DepthProForDepthEstimation(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "fov" in name and name.endswith("bias"):
                parameter.add_(1.0)
    model.save_pretrained(tmp_path)
    loaded = depth.load(f"transformers:{tmp_path}")
    free = loaded(IMAGE)
    assert free.scale == "metric" and free.depth.shape == (40, 60)
    assert float(free.K[0, 0]) != pytest.approx(TYPICAL_FOCAL * (40 * 60) ** 0.5)
    longer = free.K.clone()
    longer[:2, :2] *= 3
    ratio = loaded(IMAGE, longer).depth[free.valid] / free.depth[free.valid]
    assert torch.allclose(ratio, torch.tensor(3.0), rtol=1e-4)


def test_zoedepth(tmp_path):
    torch.manual_seed(0)
    backbone = {
        "model_type": "beit", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 64,
        "patch_size": 16, "intermediate_size": 32, "reshape_hidden_states": False, "use_relative_position_bias": True,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }  # fmt: skip
    config = ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, num_relative_features=8,
        bottleneck_features=8, num_attractors=[4, 2, 2, 1], bin_embedding_dim=8,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.1, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    ZoeDepthForDepthEstimation(config).save_pretrained(tmp_path)
    ZoeDepthImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    found = depth.load(f"transformers:{tmp_path}")(IMAGE)
    assert found.scale == "metric" and found.depth.shape == (40, 60) and bool(found.valid.any())


def test_inverse_depth_keeps_order_and_spans_the_ratio():
    inverse = 7 * torch.rand(50, 60, generator=torch.Generator().manual_seed(1)) - 3
    found = from_inverse(inverse)
    assert bool((found > 0).all())
    order = inverse.flatten().argsort(descending=True)
    assert bool((found.flatten()[order].diff() >= 0).all())
    low, high = torch.quantile(found, torch.tensor([0.02, 0.98]))
    assert float(high / low) == pytest.approx(FAR_TO_NEAR, rel=0.02)


class _Moge(torch.nn.Module):
    """Answers as MoGe's `infer` does: shares of the image's sides, infinite depth where its mask is off."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.asked = None

    @classmethod
    def from_pretrained(cls, name):
        if name == "missing":
            raise OSError("no such repository")
        return cls()

    def infer(self, image, fov_x=None, use_fp16=True):
        self.asked = fov_x
        depth = torch.full(image.shape[1:], 5.0)
        depth[0] = torch.inf
        K = torch.tensor([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1.0]])
        return {"depth": depth, "mask": depth.isfinite(), "intrinsics": K, "points": None}


@pytest.mark.parametrize(("name", "median", "scale"), [("moge", 1.0, "relative"), ("moge2", 5.0, "metric")])
def test_moge(monkeypatch, name, median, scale):
    monkeypatch.setitem(sys.modules, "moge", ModuleType("moge"))
    monkeypatch.setitem(sys.modules, "moge.model", ModuleType("moge.model"))
    version = 2 if name == "moge2" else 1
    monkeypatch.setitem(sys.modules, f"moge.model.v{version}", SimpleNamespace(MoGeModel=_Moge))
    model = depth.load(f"{name}:anything")
    found = model(IMAGE)
    assert found.scale == scale and float(found.depth[found.valid].median()) == median
    assert not bool(found.valid[0].any()) and bool(found.valid[1:].all())
    assert torch.allclose(found.K, torch.tensor([[54.0, 0, 30], [0, 48, 20], [0, 0, 1]]))
    model(IMAGE, torch.tensor([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]]))
    assert model.model.asked == pytest.approx(90)
    with pytest.raises(InputError, match="cannot be loaded"):
        depth.load(f"{name}:missing")


def test_missing_packages_and_weights_are_explained(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        depth.load(f"transformers:{tmp_path}")
    for name in ("moge", "moge2"):
        with pytest.raises(InputError, match="pip install"):
            depth.load(f"{name}:Ruicheng/moge-vitl")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="pip install transformers"):
        depth.load("transformers:some/model")

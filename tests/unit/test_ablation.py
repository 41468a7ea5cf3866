"""The student's ablation: variants are what they say, and the table tells them apart."""

from dataclasses import replace

import pytest
import torch
from test_student import CPU, OPTIONS, RECIPE, PixelCodec, first_view

from lyra.decoder import SplatDecoder
from lyra.evaluate.ablation import BASE, VARIANTS, separate, table, train, true_entry
from lyra.scene import Gaussians, InputError
from lyra.train.student import read
from lyra.train.student_data import TeacherPool
from lyra.train.student_loss import StudentLoss
from lyra.train.student_recipe import MINI
from lyra.train.synthesis import Draft, synthesize

DECODER = replace(BASE["tiny"], latent_channels=192, heads=1)
ONE_STEP = replace(RECIPE, stages=(replace(RECIPE.stages[1], steps=1, loss=StudentLoss(log_depth=0.1, opacity=0.1)),))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pool() -> TeacherPool:
    codec = PixelCodec()
    made = TeacherPool(lambda i: synthesize(first_view(i), Draft(codec), OPTIONS, i), codec, CPU)
    made.fill(1)
    return made


def test_every_variant_differs_from_all_others():
    whole = {
        name: (variant.config(DECODER), variant.recipe(MINI), variant.trunk, variant.fused, variant.true)
        for name, variant in VARIANTS.items()
    }
    assert len(set(map(str, whole.values()))) == len(VARIANTS)
    assert whole["full"][0] == DECODER and all(variant.beside in VARIANTS for variant in VARIANTS.values())
    assert {recipe.steps for _, recipe, *_ in whole.values()} == {MINI.steps}
    unpruned = whole["no_pruning"][1].stages
    assert all(stage.keep is None and stage.loss.opacity == 0 for stage in unpruned)


def test_without_fusion_paths_are_decoded_alone(pool):
    """Worst difference 0; with fusion the means differ by 0.1."""
    torch.manual_seed(0)
    sample, decoder = pool.entries[0].sample, SplatDecoder(DECODER)
    paths = (sample.latents.float(), sample.cameras, sample.depth.float())
    with torch.no_grad():
        fused = read(decoder, *paths, None)
        alone = [read(decoder, *(part[i : i + 1] for part in paths), None) for i in range(6)]
        separate(decoder)
        apart = read(decoder, *paths, None)
    expected = Gaussians.concat(alone)
    for name in ("means", "scales", "opacities", "sh"):
        assert torch.allclose(getattr(apart, name), getattr(expected, name), atol=1e-5)
    assert not torch.allclose(fused.means, apart.means, atol=1e-3)


@pytest.mark.parametrize("name", ["full", "no_fusion", "published", "true_renders"])
def test_a_variant_is_trained_for_the_steps_of_the_recipe(pool, name):
    trainer = train(VARIANTS[name], (DECODER, ONE_STEP), pool, PixelCodec(), None, CPU)
    assert trainer.step == 1 and trainer.decoder.config == VARIANTS[name].config(DECODER)
    assert all(parameter.isfinite().all() for parameter in trainer.decoder.parameters())


def test_true_videos_are_inputs_and_targets(pool):
    entry = pool.entries[0]
    frames = entry.frames.flip(1)
    true = true_entry(entry.sample, frames, PixelCodec())
    rebuilt = PixelCodec().decode_raw(true.sample.latents[:1].float())[0, :, 0]
    assert (rebuilt - (frames[0, 0].float() / 127.5 - 1)).abs().max() < 2e-3  # float16: 5e-4
    assert torch.equal(true.frames, frames) and true.sample.latents.shape == entry.sample.latents.shape
    with pytest.raises(InputError, match="true frames must be"):
        true_entry(entry.sample, frames[..., :16], PixelCodec())


def test_the_table_has_the_change_against_its_neighbour_and_says_what_failed():
    def result(psnr: float) -> dict:
        scores = {"teacher frames": {"psnr": psnr, "ssim": 0.7}, "true, on paths": {"psnr": 18.0, "depth_error": 0.03}}
        return {"steps": 400, "seconds": 90.4, "gaussians": 1000, "sets": {"eval_worlds": scores}}

    lines = table(
        {"full": result(22.0), "no_lpips": result(21.5), "no_guide": {"failed": "RuntimeError: no"}}
    ).splitlines()
    assert len(lines) == 6 and len({line.count("|") for line in lines[:4]}) == 1
    assert "| 21.5 / 0.7 / - | -0.50 (full) | 18 / - / - | - / - / - | 0.0300 | 23.74 / 0.766 / 0.37 |" in lines[3]
    assert lines[5] == "no_guide failed: RuntimeError: no"

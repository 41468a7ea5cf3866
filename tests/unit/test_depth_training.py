"""Training of the depth network: data, augmentation, losses, resuming, and the measures by which it is judged."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from lyra.depth.depth_map import DepthMap, centred_K
from lyra.depth.mini import MiniDepth
from lyra.depth.network import DepthConfig, Prediction
from lyra.scene import InputError
from lyra.train import depth_eval
from lyra.train.depth import TINY, Clock, DepthTrainer, fit
from lyra.train.depth_augment import crop, photographed
from lyra.train.depth_data import FramePool, Frames, decode_log_depth
from lyra.train.depth_loss import DepthLossWeights, depth_loss, gradient_loss, invariant_loss
from worlds import clips

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, COLUMNS, FOCAL = 64, 96, 70.0
CPU = torch.device("cpu")
RECIPE = replace(
    TINY, network=DepthConfig(widths=(16,) * 5, pixels=64 * 64), shapes=((2, 32, 64), (2, 32, 32)), warmup_steps=5
)


def _scene(folder, depth):
    """Two paths of five frames: red grows to the right, green downwards; the top eighth is sky."""
    rgb = np.zeros((2, 5, ROWS, COLUMNS, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = 2 * np.arange(COLUMNS), 3 * np.arange(ROWS)[:, None]
    z = np.full((2, 5, ROWS, COLUMNS), depth, np.float32)
    z[:, :, : ROWS // 8] = np.inf
    folder.mkdir(parents=True)
    np.save(folder / "rgb.npy", rgb)
    np.save(folder / "depth.npy", clips.encode_depth(z))
    K = np.array([[FOCAL, 0, COLUMNS / 2], [0, FOCAL, ROWS / 2], [0, 0, 1]])
    np.savez(folder / "cameras.npz", K=K)
    (folder / "scene.json").write_text("{}")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("worlds")
    _scene(root / "near", 2.0)
    _scene(root / "far", 8.0)
    found = FramePool(root, CPU, 10**8, every=2)
    found.scan()
    return found


def test_the_pool_decodes_as_the_world_engine_and_reads_what_appears(tmp_path):
    values = np.float32([0.05, 0.3, 7.0, 1999.0, np.inf])
    code = clips.encode_depth(values)
    log, sky = decode_log_depth(torch.from_numpy(code.view(np.int16)))
    assert sky.tolist() == [False] * 4 + [True]
    assert torch.allclose(log[:4].exp(), torch.from_numpy(clips.decode_depth(code)[:4]), rtol=1e-5)
    _scene(tmp_path / "a", 2.0)
    _scene(tmp_path / "b.partial", 2.0)
    pool = FramePool(tmp_path, CPU, 10**8, every=2)
    pool.scan()
    assert (pool.scenes, pool.count) == (1, 5)  # frames 0, 2, 4 of the first path, 1 and 3 of the second
    _scene(tmp_path / "c", 2.0)
    pool.scan(without=[tmp_path / "c"])
    assert pool.scenes == 1
    pool.scan()
    assert (pool.scenes, pool.count) == (2, 10)
    small = FramePool(tmp_path, CPU, 7 * (ROWS * COLUMNS * 5 + 4), every=2)
    small.scan()
    assert small.count == 7 and small.full
    with pytest.raises(InputError, match="no rendered scenes"):
        FramePool(tmp_path / "empty", CPU, 10**8, 2).draw(torch.tensor([0]))


def test_crops_change_the_focal_length_as_they_change_the_picture(pool):
    frames = pool.draw(torch.arange(pool.count))
    whole = crop(frames, ROWS, COLUMNS, None)
    assert torch.allclose(whole.image, frames.rgb.permute(0, 3, 1, 2).float() / 255, atol=1e-6)
    assert torch.allclose(whole.log_focal.exp(), torch.tensor(FOCAL / math.sqrt(ROWS * COLUMNS)))
    assert bool(whole.known.all()) and float(whole.sky.float().mean()) == 1 / 8
    batch = crop(frames, 48, 40, torch.Generator().manual_seed(0))
    inside = batch.known & ~batch.sky
    depth = (batch.log_depth + batch.log_focal[:, None, None]).exp()
    for image, z, mask, log_focal, flat in zip(
        batch.image, depth, inside, batch.log_focal, [8.0] * 5 + [2.0] * 5, strict=True
    ):
        assert torch.allclose(z[mask], torch.tensor(flat), rtol=1e-3)
        rise = torch.stack([image[0].diff(dim=1)[20:28, 16:24].mean(), image[0].diff(dim=0)[20:28, 16:24].mean()])
        step = float(rise.norm()) * 255 / 2  # frame pixels a pixel of the crop, seen in the red ramp
        assert float(log_focal.exp()) == pytest.approx(FOCAL / step / math.sqrt(48 * 40), rel=0.02)


def test_looks_stay_in_range_and_follow_the_generators(pool):
    image = crop(pool.draw(torch.tensor([0, 7])), 64, 64, None).image

    def look(seed):
        return photographed(image, torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed))

    first = look(0)
    assert first.shape == image.shape and float(first.min()) >= 0 and float(first.max()) <= 1
    assert torch.equal(first, look(0)) and not torch.equal(first, look(1))
    assert float((first - image).abs().mean()) > 0.01


def test_losses_vanish_at_the_truth_and_forgive_scale_as_they_say(pool):
    batch = crop(pool.draw(torch.tensor([0, 7])), 64, 64, None)
    logit = torch.where(batch.sky, 30.0, -30.0)
    exact, terms = depth_loss(Prediction(batch.log_depth, logit, batch.log_focal), batch, DepthLossWeights())
    assert float(exact) == pytest.approx(0.01, abs=1e-5)  # the invariant term's floor
    _, terms = depth_loss(Prediction(batch.log_depth + 0.5, logit, batch.log_focal), batch, DepthLossWeights())
    assert float(terms["absolute"]) == pytest.approx(0.5, abs=1e-5) and float(terms["gradient"]) == 0
    assert float(terms["invariant"]) == pytest.approx(math.sqrt(0.15 * 0.25 + 1e-4), abs=1e-4)
    seen = torch.ones(1, 16, 16, dtype=torch.bool)
    ramp = 0.1 * torch.arange(16.0).expand(1, 16, 16)
    assert float(gradient_loss(ramp, seen)) == pytest.approx(0.1 * (1 + 2 + 4 + 8) / 4, abs=1e-5)
    assert float(gradient_loss(ramp, ~seen)) == 0 and float(invariant_loss(ramp, ~seen, 0.85)) == pytest.approx(0.01)


def test_a_resumed_run_takes_the_same_steps(pool, tmp_path):
    first = DepthTrainer(RECIPE, CPU, 0)
    first.train_step(first.draw(pool), 1e-3)
    first.save(tmp_path / "checkpoint.pt")
    second = DepthTrainer(RECIPE, CPU, 5)
    second.restore(tmp_path / "checkpoint.pt")
    for trainer in (first, second):
        trainer.train_step(trainer.draw(pool), 1e-3)
    assert first.step == second.step == 2
    for name in ("network", "average"):
        mine, theirs = (getattr(trainer, name).state_dict() for trainer in (first, second))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_training_learns_and_leaves_its_files(pool, tmp_path):
    trainer = DepthTrainer(RECIPE, CPU, 0)
    batch = crop(pool.draw(torch.tensor([0, 9])), 32, 64, None)
    losses = [float(trainer.train_step(batch, 2e-3)["loss"]) for _ in range(6)]
    assert losses[-1] < 0.9 * losses[0]
    saved = []
    clock = Clock(deadline=-math.inf, schedule_seconds=1.0)
    fit(trainer, pool, clock, lambda: saved.append(trainer.step), tmp_path / "log.jsonl")
    assert saved == [6] and trainer.rate(1.0) == pytest.approx(RECIPE.final_rate)
    MiniDepth(trainer.average).save(tmp_path / "weights")
    assert json.loads((tmp_path / "weights/config.json").read_text())["kind"] == "lyra-depth-mini"


def _truth():
    depth = torch.full((64, 64), 4.0)
    depth[:, 32:] = 8.0
    depth[:8] = torch.inf
    image, known = torch.rand(3, 64, 64), torch.ones(64, 64, dtype=torch.bool)
    return depth_eval.Truth(image, depth, known, centred_K(60.0, 64, 64))


def test_measures_know_right_from_wrong():
    truth = _truth()
    sky = ~truth.depth.isfinite()

    def judged(depth, K=truth.K, valid=~sky):
        return depth_eval.evaluate(lambda _: DepthMap.of(depth, K, valid, "metric"), [truth])

    right = judged(truth.depth)
    assert right["abs_rel_raw"] == 0 and right["delta_1.25_raw"] == 1 and right["sky_iou"] == 1
    assert right["edge_found"] == 1 and right["edge_step"] == 1 and right["fov_error_deg"] == 0
    double = judged(2 * truth.depth)
    assert double["abs_rel_raw"] == pytest.approx(1) and double["abs_rel_aligned"] == pytest.approx(0, abs=1e-6)
    soft = functional.avg_pool2d(torch.where(sky, 4.0, truth.depth)[None], (1, 9), 1, (0, 4), count_include_pad=False)[
        0
    ]
    blurred = judged(soft)
    assert blurred["edge_found"] == 1 and blurred["edge_step"] < 0.25
    assert judged(torch.full((64, 64), 4.0))["edge_found"] == 0
    assert judged(torch.full((64, 64), 4.0), valid=torch.ones_like(sky))["sky_iou"] == 0
    wide = judged(truth.depth, centred_K(30.0, 64, 64))["fov_error_deg"]
    assert wide == pytest.approx(math.degrees(2 * math.atan(32 / 30) - 2 * math.atan(32 / 60)), abs=1e-3)


def test_baselines_and_evaluation_sets(pool):
    baselines = depth_eval.baselines(pool)
    frames = pool.draw(torch.tensor([0, 9]))
    sets = depth_eval.held_out(Frames(frames.rgb, frames.code, frames.focal))
    assert {name: len(truths) for name, truths in sets.items()} == {"worlds": 2, "worlds_look": 2, "worlds_zoom": 2}
    constant, ramp = (depth_eval.evaluate(baselines[name], sets["worlds"]) for name in ("constant", "row_ramp"))
    assert constant["abs_rel_aligned"] == pytest.approx(0, abs=1e-3) and constant["fov_error_deg"] < 0.01
    assert ramp["abs_rel_raw"] == pytest.approx(constant["abs_rel_raw"], abs=0.01)  # these worlds are flat walls
    assert min(constant["delta_1.25_raw"], 0.5) == 0.5

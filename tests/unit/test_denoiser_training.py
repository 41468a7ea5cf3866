"""Training of the denoiser: the same in one process or two, exactly resumable, and able to learn."""

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from denoiser_cases import NETWORK, RECIPE, SHAPE, batch, tiny_codec, train
from PIL import Image

from lyra.scene import InputError
from lyra.teacher.cosmos import Conditioning, CosmosDenoiser
from lyra.teacher.sampler import KarrasSchedule, MiniSampling
from lyra.train import denoiser_fit
from lyra.train.clip_data import load_photos
from lyra.train.denoiser import DenoiserTrainer, conditioning, substeps
from lyra.train.denoiser_clips import Errors, mistaken, order, photo_clip, plain_order, scene_clip
from lyra.train.denoiser_critic import Critic, CriticNetwork
from lyra.train.denoiser_eval import Judge, Way, fill_nearest
from lyra.train.denoiser_fit import Clock, fill, fit
from lyra.train.denoiser_supply import Made, Maker, Supply
from lyra.train.latents import Bank, SceneFeed, Source, read_views
from lyra.train.processes import Processes

pytestmark = pytest.mark.usefixtures("one_thread")

ALONE = Processes(0, 1, torch.device("cpu"))
DEPTH = np.concatenate([[np.inf], np.linspace(0.5, 8.0, 65535)]).astype(np.float32)


def run(trainer: DenoiserTrainer, steps: range) -> list[float]:
    """Steps on the batches of these numbers, with the trainer's own random numbers."""
    return [float(trainer.train_step(batch(i)[0], trainer.draw(SHAPE), trainer.rate(0.1))["loss"]) for i in steps]


def test_two_processes_do_what_one_does(tmp_path):
    """Both parts of the training, gloo on the CPU. Worst difference of a loss 3e-7, of a weight 8e-6 (of 1.0)."""
    folder = Path(__file__).parent
    paths = os.pathsep.join([str(folder.parents[1]), str(folder)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    command = [sys.executable, str(folder / "denoiser_process.py"), str(tmp_path / "two")]
    running = [subprocess.Popen(command, env=shared | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    losses, weights = train(ALONE)
    assert [process.wait(200) for process in running] == [0, 0]
    two = torch.load(tmp_path / "two", weights_only=True)
    assert np.allclose(losses, two["losses"], atol=1e-5)
    assert (weights - two["weights"]).abs().max() < 1e-3


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    """Bit for bit, also over the switch to few steps."""
    whole = DenoiserTrainer(RECIPE, ALONE, 0)
    losses = run(whole, range(2))
    whole.begin_few()
    losses += run(whole, range(2, 4))
    first = DenoiserTrainer(RECIPE, ALONE, 0)
    run(first, range(2))
    first.begin_few()
    run(first, range(2, 3))
    first.save(tmp_path / "checkpoint.pt")
    second = DenoiserTrainer(RECIPE, ALONE, 5)
    second.restore(tmp_path / "checkpoint.pt")
    assert second.step == 3 and second.few
    assert run(second, range(3, 4)) == losses[3:]
    for mine, theirs in zip(second.average.parameters(), whole.average.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_run_starts_from_other_weights_as_they_are():
    given = DenoiserTrainer(RECIPE, ALONE, 3).network.state_dict()
    trainer = DenoiserTrainer(RECIPE, ALONE, 0)
    trainer.start_from(given)
    for network in (trainer.network, trainer.average):
        assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items())


def test_the_loss_is_that_of_the_class_that_samples():
    """A perfect model has no loss, and the error counts only where frames are not given. Worst difference 1e-6."""
    trainer = DenoiserTrainer(RECIPE, ALONE, 0)
    latents, draw = batch(0)
    plain = replace(latents, mask=torch.full_like(latents.mask, 0.5))  # everything seen: no extra weight
    loss = float(trainer.denoising_loss(plain, draw).detach())
    sigma = draw.level.mul(1.5).exp().clamp(0.005, 80.0)
    expected = []
    for i in range(4):
        cond = conditioning(plain[i : i + 1])
        shown = Conditioning(cond.latent, cond.known, cond.buffers * draw.buffers[i], cond.text, cond.negative_text)
        denoiser = CosmosDenoiser(trainer.network, NETWORK.fps, shown, 0.0, draw.augment[i : i + 1])
        level = float(sigma[i])
        clean = denoiser(denoiser.prepare(plain.target[i : i + 1] + level * draw.noise[i : i + 1], level), level)
        unit = (level**2 + 0.25) / (0.5 * level) ** 2
        expected.append(float(unit * (clean - plain.target[i : i + 1])[:, :, 1:].square().mean().detach()))
    assert abs(loss - np.mean(expected)) < 1e-4 * loss


def test_a_tiny_network_learns_four_examples_by_heart():
    """With fixed random numbers; measured 0.05 of the first loss after 30 steps."""
    trainer, (latents, draw) = DenoiserTrainer(replace(RECIPE, warmup_steps=1), ALONE, 0), batch(0)
    losses = [float(trainer.train_step(latents, draw, 5e-3)["loss"]) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]


def test_few_steps_are_learnt_from_the_levels_in_between():
    """Ends are those of the schedule, levels fall, and one substep is the step itself."""
    table = substeps(MiniSampling((20.0, 2.0, 0.3)), 4)
    assert table.shape == (3, 5) and (table.diff(dim=1) < 0).all()
    assert torch.allclose(table[:, 0], torch.tensor([20.0, 2.0, 0.3]))
    assert torch.allclose(table[:, -1], torch.tensor([2.0, 0.3, 0.0]))
    assert torch.allclose(substeps(MiniSampling((2.0, 0.5)), 1), torch.tensor([[2.0, 0.5], [0.5, 0.0]]))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Two scenes before a textured wall: three paths of nine frames of 48x32, filmed from straight ahead."""
    root = tmp_path_factory.mktemp("worlds")
    y, x = np.mgrid[0:32, 0:48]
    for index in range(2):
        folder = root / f"scene-{index}"
        folder.mkdir()
        c2w = np.tile(np.eye(4), (3, 9, 1, 1))
        c2w[:, :, 0, 3] = np.outer([0.1, -0.1, 0.2], np.arange(9))
        shift = 40 * c2w[:, :, 0, 3, None, None] / 2.0  # pixels: the wall is 2 m away
        wave = 127 + 100 * np.sin((x + shift) / 3 + index) * np.cos(y / 5)
        np.save(folder / "rgb.npy", np.repeat(wave[..., None], 3, -1).astype(np.uint8))
        np.save(folder / "depth.npy", np.full((3, 9, 32, 48), np.abs(DEPTH[1:] - 2.0).argmin() + 1, np.uint16))
        K = np.array([[40, 0, 24], [0, 40, 16], [0, 0, 1.0]])
        np.savez(folder / "cameras.npz", c2w=c2w, K=K, times=np.zeros((3, 9)))
        (folder / "scene.json").write_text(json.dumps({"dynamic": False, "caption": f"wall {index}"}))
    return root


def photographs(tmp_path: Path) -> list[torch.Tensor]:
    """One smooth photograph, read back from a pack."""
    buffer = io.BytesIO()
    y, x = np.mgrid[0:120, 0:160]
    ramp = np.stack([x, y, 128 + 60 * np.sin(x / 12)], -1).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, "JPEG", quality=95)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as pack:
        pack.writestr("a.jpg", buffer.getvalue())
        pack.writestr("credits.json", json.dumps([{"file": "a.jpg", "split": "train"}]))
    return load_photos(tmp_path / "photos.zip", "train", torch.device("cpu"))


def test_warps_show_the_true_frames_where_they_show_anything(world, tmp_path):
    """Scenes with true depth and photographs under homographies. Worst mean difference 0.02 of the range of 2."""
    generator = torch.Generator().manual_seed(0)
    views = read_views(world / "scene-0", DEPTH, 9)
    for chosen in (plain_order(1, 9), order(3, 9, generator), order(3, 9, generator)):
        assert chosen.shape == (9, 2)
        clip = scene_clip(views, chosen, None, generator)
        assert (clip.frames - clip.warp).abs().mean(0)[clip.mask].mean() < 0.05
        assert clip.mask[0].all() and not clip.mask[-1].all() and (clip.warp[:, ~clip.mask] == -1).all()
    photo = photographs(tmp_path)[0]
    for _ in range(6):
        clip = photo_clip(photo, 5, (32, 48), generator)
        assert (clip.frames - clip.warp).abs().mean(0)[clip.mask].mean() < 0.05
        assert clip.mask[0].float().mean() > 0.99 and clip.frames.abs().max() <= 1


def test_wrong_depth_is_wrong_but_close():
    """Depth errors stay within some percent for flat depth, and edges become ramps."""
    generator = torch.Generator().manual_seed(0)
    errors = Errors()
    flat = torch.stack([mistaken(torch.full((32, 48), 3.0), errors, generator) for _ in range(20)])
    assert 0.005 < (flat / 3 - 1).abs().mean() < 0.1
    step = torch.cat([torch.full((32, 24), 2.0), torch.full((32, 24), torch.inf)], 1)
    blurred = mistaken(step, replace(errors, broad=0.0, fine=0.0, scale=0.0), generator)
    assert ((blurred > 2.5) & (blurred < 90)).any() and blurred.isfinite().all()


def test_holes_take_the_nearest_colour():
    """Against all distances, one by one."""
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(3, 2, 13, 17, generator=generator)
    mask = torch.rand(2, 13, 17, generator=generator) < 0.05
    filled = fill_nearest(video, mask)
    places = torch.stack(torch.meshgrid(torch.arange(13), torch.arange(17), indexing="ij"), -1).float().flatten(0, 1)
    for t in range(2):
        seen = places[mask[t].flatten()]
        distance = torch.cdist(places, seen)
        colours = video[:, t].flatten(1)[:, mask[t].flatten()]
        same = (filled[:, t].flatten(1)[:, :, None] == colours[:, None]).all(0)
        assert torch.allclose((distance + 1e6 * ~same).amin(1), distance.amin(1), atol=0.5)


class Ticking:
    """A clock that moves on by a twentieth of a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        self.now += 0.05
        return self.now


def test_the_supply_grows_with_the_folder_and_a_run_ends_in_scores(world, tmp_path, monkeypatch):
    """From scene folders and photographs through both parts of the training to scores and a sheet."""
    codec = tiny_codec()
    recipe = replace(RECIPE, photos=0.25, few_share=0.3, learning_rate=2e-3)
    feed = SceneFeed(Source(world, 9, rescan=0.1), DEPTH)
    supply = Supply(Maker(codec, recipe, feed, photographs(tmp_path), (32, 48)), 24)
    trainer, log, saves = DenoiserTrainer(recipe, ALONE, 0), tmp_path / "log.jsonl", []
    fill(trainer, supply, 12, time.monotonic() + 60)
    while len(feed.seen) < 2:  # the first scene may be filmed again before the second one has been read
        supply.take(wait=1.0)
    assert {path.name for path in feed.seen} == {"scene-0", "scene-1"} and 12 <= len(supply.scenes) <= 24
    assert 6 <= len(supply.pans) <= len(supply.scenes)
    monkeypatch.setattr(denoiser_fit, "time", Ticking())
    fit(trainer, supply, Clock(1e9, 2.5, log_every=0.0), lambda: saves.append(trainer.step), log)
    supply.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert saves[-1] == trainer.step and trainer.few and {line["part"] for line in lines} == {"denoise", "few"}
    clips = [scene_clip(read_views(world / "scene-1", DEPTH, 9), plain_order(0, 9), None, trainer.generator)]
    judge = Judge(clips, codec, NETWORK)
    scores = judge.reference() | {"few": judge.measure(judge.sample(Way(trainer.average, KarrasSchedule(2, 0.1, 9.0))))}
    assert scores["codec"]["latent_mse"] == 0 and scores["fill"]["psnr_seen"] > 20
    judge.write_sheet([judge.sample(Way(trainer.average, MiniSampling((5.0,)).schedule))], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (2 * 3 * 48 // 2, 32 // 2)


class Breaking(Maker):
    """Makes one clip at a time, four in all; then it breaks."""

    def __init__(self) -> None:
        self.recipe, self.photos, self.device, self.asked = RECIPE, [], ALONE.device, []

    def make(self, wait: float = 0.0) -> Made:
        self.asked.append(time.monotonic())
        if len(self.asked) > 4:
            raise OSError("the disk is gone")
        return Made(batch(0)[0][:1])


def test_the_supply_keeps_its_pace_and_an_error_of_its_thread_reaches_the_loop():
    """At most ten clips a second: four waits of a tenth of one."""
    maker = Breaking()
    supply = Supply(maker, 8, pace=10.0)
    with pytest.raises(OSError, match="the disk is gone"):
        for _ in range(20):
            supply.take(wait=1.0)
    supply.stop()
    assert len(supply.scenes) == 4 and maker.asked[-1] - maker.asked[0] > 0.399


def test_the_ring_forgets_its_oldest_clips_and_an_empty_one_says_so():
    bank = Bank(5)
    with pytest.raises(InputError, match="empty"):
        bank.draw(1, torch.Generator())
    for value in range(3):
        bank.add(replace(batch(0)[0][:2], caption=torch.full((2,), value)))
    assert len(bank) == 5 and bank.written == 6
    drawn = bank.draw(200, torch.Generator().manual_seed(0)).caption.tolist()
    assert sorted(set(drawn)) == [0, 1, 2] and drawn.count(0) < drawn.count(1)


def test_a_critic_brings_back_what_the_mean_loses():
    """Latents are +-0.5 by chance, their mean is 0. The size after 40 steps: 4e-5 without the push, 0.23 with it."""
    sizes = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        critic = Critic(CriticNetwork(4, 20, 8), weight, 5e-3)
        critic.step = 300  # its weight has risen
        gain = torch.nn.Parameter(torch.tensor(0.3))
        for index in range(40):
            latents = replace(batch(index)[0], target=0.5 * torch.randn(SHAPE, generator=generator).sign())
            made = gain * torch.randn(SHAPE, generator=generator)
            error = (made - latents.target).square().mean()
            (made.square().mean() + critic.term(made, latents, error)).backward()
            critic.learn(made, latents, ALONE)
            with torch.no_grad():
                gain -= 0.1 * gain.grad.clamp(-1, 1)
            gain.grad = None
        sizes.append(float(gain.detach().abs()))
    assert sizes[0] < 0.02 and sizes[1] > 0.1, sizes

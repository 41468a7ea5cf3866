"""First frames from text: a tiny network learns what words look like through an adapter, from scenes to files."""

import json
import runpy
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from denoiser_cases import NETWORK, RECIPE, SHAPE, batch, tiny_codec
from PIL import Image
from torch import nn

from lyra.scene import InputError
from lyra.teacher import adapter
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosDenoiser, CosmosTeacher
from lyra.teacher.first_frame import TextSampling, agreement, first_frame, paint
from lyra.text import Encoder
from lyra.train.denoiser import DenoiserTrainer
from lyra.train.first_frames import (
    A_SCENE,
    FrameFeed,
    FrameSupply,
    FrameTrainer,
    FrameTraining,
    encode_frames,
    some_frames,
    text_gain,
)
from lyra.train.latents import Latents, Source
from lyra.train.processes import Processes

pytestmark = pytest.mark.usefixtures("one_thread")

CAPTIONS = ("A kitchen. Red walls, daylight.", "A bedroom with two lamps. Blue walls, lamp light in the evening.")
ALONE = Processes(0, 1, torch.device("cpu"))
LEARNING = FrameTraining(rank=16, batch=8, warmup_steps=1, ema=0.9, log_sigma=(0.5, 1.2), drop_text=0.2)


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    """An untrained codec."""
    return tiny_codec()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    """A tiny network that has seen some videos and never a text: the way out of its text layers is zero."""
    trainer = DenoiserTrainer(replace(RECIPE, warmup_steps=1), ALONE, 0)
    for index in range(40):
        trainer.train_step(batch(index % 4)[0], trainer.draw(SHAPE), 1e-2)
    network = trainer.network.eval()
    assert not any(bool(block.attn2.to_out[0].weight.any()) for block in network.transformer_blocks)
    return network


def frames() -> tuple[Latents, torch.Tensor]:
    """Two frames as latents, and the tokens of their captions."""
    target = torch.randn(2, 4, 1, 4, 6, generator=torch.Generator().manual_seed(3)) * 0.5
    nothing = target[:, :0]
    return Latents(target, nothing, nothing, torch.arange(2)), Encoder.load().embed(CAPTIONS)


@pytest.fixture(scope="module")
def trained(base, codec) -> tuple[CosmosTeacher, Latents, torch.Tensor]:
    """A teacher with an adapter that was shown two frames with their captions again and again."""
    (shown, texts), before = frames(), {name: value.clone() for name, value in base.state_dict().items()}
    trainer = FrameTrainer(LEARNING, base, NETWORK, ALONE, 0)
    for _ in range(120):
        trainer.train_step(shown[torch.arange(2).repeat(4)], texts, 3e-2)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items()), "the base has changed"
    return CosmosTeacher(codec, adapter.merged(base, trainer.factors()), NETWORK), shown, texts


def test_text_decides_what_is_made(trained, base):
    teacher, shown, texts = trained
    before = text_gain(base, shown, texts, NETWORK.buffer_channels, NETWORK.fps)
    assert before["own_text"] == before["no_text"] == before["other_text"]
    gain = text_gain(teacher.network, shown, texts, NETWORK.buffer_channels, NETWORK.fps)
    assert gain["own_text"] < 0.5 * gain["no_text"] and gain["own_text"] < 0.3 * gain["other_text"], gain
    # measured: 0.04, 0.47 without text, 1.7 with the other one
    made = paint(teacher, base, first_frame(teacher, texts, 32, 48), [5, 6], TextSampling(steps=8, guidance=0.5))
    assert made.shape == shown.target.shape
    distance = (made[:, None] - shown.target[None]).square().flatten(2).mean(2)
    assert float(distance.diagonal().max()) < 0.3 * float(distance.fliplr().diagonal().min()), distance
    right, wrong = (agreement(teacher, shown.target[:1], texts[index : index + 1]) for index in (0, 1))
    assert float(right) > 0.3 > 0.0 > float(wrong)


def test_guidance_is_away_from_the_network_without_its_adapter(trained, base):
    teacher, shown, texts = trained
    cond, noisy = first_frame(teacher, texts, 32, 48), 2 * shown.target

    def clean(network: nn.Module, text: torch.Tensor, guidance: float = 0.0, guide: nn.Module | None = None):
        given = replace(cond, text=text)
        with torch.no_grad():
            return CosmosDenoiser(network, NETWORK.fps, given, guidance, torch.zeros_like(noisy), guide)(noisy, 2.0)

    right, wrong = clean(teacher.network, cond.text), clean(base, cond.negative_text)
    guided, alone = (clean(teacher.network, cond.text, 1.5, guide) for guide in (base, None))
    assert torch.allclose(guided, right + 1.5 * (right - wrong), atol=1e-5)
    assert (guided - alone).abs().max() > 0.1


def test_a_seed_gives_the_same_frame_alone_and_among_others(trained, base):
    teacher, _, texts = trained
    both = paint(teacher, base, first_frame(teacher, texts, 32, 48), [7, 8], TextSampling(steps=2))
    cond = first_frame(teacher, texts[1:], 32, 48)
    alone, other = (paint(teacher, base, cond, [seed], TextSampling(steps=2)) for seed in (8, 9))
    assert torch.allclose(both[1:], alone, atol=1e-4)  # worst measured: 1.5e-5
    assert (alone - other).abs().max() > 0.1  # measured: 2.0


def test_wrong_texts_and_sizes_are_refused(trained):
    teacher = trained[0]
    with pytest.raises(InputError, match="text tokens"):
        first_frame(teacher, torch.zeros(1, 16, 3), 32, 48)
    with pytest.raises(InputError, match="multiples"):
        first_frame(teacher, torch.zeros(1, 16, 64), 30, 48)


def learn(trainer: FrameTrainer, steps: int) -> list[float]:
    """So many steps on the two frames; the losses."""
    shown, texts = frames()
    return [float(trainer.train_step(shown, texts, trainer.rate(0.1))["loss"]) for _ in range(steps)]


def test_a_resumed_run_equals_an_uninterrupted_one(base, tmp_path):
    """Bit for bit."""
    whole, first = (FrameTrainer(LEARNING, base, NETWORK, ALONE, 0) for _ in range(2))
    losses = learn(whole, 4)
    learn(first, 2)
    first.save(tmp_path / "checkpoint.pt")
    second = FrameTrainer(LEARNING, base, NETWORK, ALONE, 5)
    second.restore(tmp_path / "checkpoint.pt")
    assert second.step == 2 and learn(second, 2) == losses[2:]
    assert all(torch.equal(value, whole.factors()[name]) for name, value in second.factors().items())


class Twin(Processes):
    """One of two processes that are threads here."""

    meeting, given = threading.Barrier(2, timeout=60), [None, None]

    def average(self, tensors) -> None:
        self.given[self.rank] = [tensor.clone() for tensor in tensors]
        self.meeting.wait()
        torch._foreach_copy_(tensors, [(a + b) / 2 for a, b in zip(*self.given, strict=True)])
        self.meeting.wait()


def test_two_processes_see_other_noise_and_learn_the_same(base):
    trainers = [FrameTrainer(LEARNING, base, NETWORK, Twin(rank, 2, ALONE.device), 0) for rank in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        losses = list(pool.map(lambda trainer: learn(trainer, 3), trainers))
    assert all(a != b for a, b in zip(*losses, strict=True))
    one, two = (trainer.factors() for trainer in trainers)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert all(bool(value.any()) for value in one.values())


def write_scene(folder: Path, seed: int, caption: str | None, *, dynamic: bool = False, size=(32, 48)) -> np.ndarray:
    """A rendered scene of three paths of five frames, of which the first is shared; appears at once, as a whole. The
    caption is followed by path and frame."""
    rgb = np.random.default_rng(seed).integers(0, 256, (3, 5, *size, 3), dtype=np.uint8)
    rgb[:, 0] = rgb[0, 0]
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True)
    np.save(partial / "rgb.npy", rgb)
    (partial / "scene.json").write_text(json.dumps({"dynamic": dynamic}))
    if caption is not None:
        said = [[f"{caption} {path if frame else 0} {frame}" for frame in range(5)] for path in range(3)]
        (partial / "captions.json").write_text(json.dumps(said))
    partial.rename(folder)
    return rgb


def number(caption: str) -> torch.Tensor:
    """A text that says of which path and frame a caption is."""
    *_, path, frame = caption.split()
    return torch.full((16, 64), 10.0 * int(path) + int(frame))


def embed(captions: list[str]) -> torch.Tensor:
    """Texts of captions that `write_scene` has written."""
    return torch.stack([number(caption) for caption in captions])


def test_frames_of_a_scene_are_different_ones_with_the_captions_of_what_they_show(tmp_path):
    rgb = write_scene(tmp_path / "train-0", 0, "a wall")
    images, captions = some_frames(tmp_path / "train-0", (32, 48), A_SCENE, torch.Generator())
    assert len(images) == len(set(captions)) == 13  # 3 x 4 and the one they share
    for image, caption in zip(images, captions, strict=True):
        path, frame = (int(word) for word in caption.split()[-2:])
        assert np.array_equal(image, rgb[path, frame])
    assert len(some_frames(tmp_path / "train-0", (32, 48), 4, torch.Generator())[0]) == 4
    assert some_frames(tmp_path / "train-0", (48, 32), 4, torch.Generator()) is None


@pytest.mark.parametrize("delete", [False, True])
def test_scenes_are_read_as_they_appear_and_only_those_that_fit(tmp_path, delete, capsys):
    roots = (tmp_path / "a", tmp_path / "b")
    write_scene(roots[0] / "train-0", 0, "a wall")
    write_scene(roots[0] / "train-1", 1, "a man", dynamic=True)
    write_scene(roots[0] / "train-2", 2, "a large wall", size=(64, 48))
    write_scene(roots[1] / "train-0", 3, "another wall")  # of the same name, elsewhere
    write_scene(roots[1] / "train-3", 4, None)
    feed = FrameFeed([Source(root, 1, rescan=0.1) for root in roots], (32, 48), embed, delete=delete)
    assert all(len(part) == 13 for _ in range(2) for part in feed.next(wait=10.0))
    later = write_scene(roots[1] / "train-4", 5, "a later wall")
    images, texts = feed.next(wait=10.0)
    assert feed.next(wait=0.3) is None and feed.next() is None and feed.scenes == 3
    for image, text in zip(images, texts, strict=True):
        assert np.array_equal(image, later[divmod(int(text[0, 0]), 10)])
    kept, until = 0 if delete else 6, time.monotonic() + 10
    while (there := sum(len(list(root.iterdir())) for root in roots)) > kept and time.monotonic() < until:
        time.sleep(0.02)
    assert there == kept
    assert "left out" in capsys.readouterr().out


def test_frames_are_kept_both_ways_with_their_captions(tmp_path, codec):
    wholes = [write_scene(tmp_path / f"train-{index}", index, "a red wall") for index in (0, 1)]
    feed = FrameFeed([Source(tmp_path, 1)], (32, 48), embed)
    supply = FrameSupply(feed, codec, replace(NETWORK, text_tokens=16), 2 * 13 + 8)  # the second writes over the first
    supply.take(2, wait=10.0)
    assert supply.bank.written == 2 * 2 * 13 and len(supply.bank) == 2 * len(supply.texts) == 34
    drawn = supply.bank.draw(1000, torch.Generator())
    assert drawn.target.shape[1:] == (4, 1, 4, 6) and drawn.warp.shape[1] == drawn.mask.shape[1] == 0
    found = 0
    for whole in wholes:
        for path, frame in ((0, 0), (1, 2), (2, 4)):
            image = torch.from_numpy(whole[path, frame]).permute(2, 0, 1)[None].float() / 127.5 - 1
            for known in (image, image.flip(-1)):
                nearest = (drawn.target - encode_frames(known, codec, [0]).target.float()).abs().flatten(1).amax(1)
                if float(nearest.min()) < 5e-4:  # kept: worst measured 0; others are 7e-3 away
                    found += 1
                    assert supply.texts[drawn.caption[nearest.argmin()], 0, 0] == 10 * path + frame
    assert found >= 6


def script(*arguments: str | Path) -> None:
    """The training run, in this process; what it sets for all networks is set back."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train_first_frame.py", *map(str, arguments)])
            runpy.run_path(str(Path(__file__).parents[2] / "runs/train_first_frame.py"), run_name="__main__")
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def test_a_run_makes_an_adapter_of_scenes_and_a_second_call_goes_on(base, codec, tmp_path, capsys):
    codec.save(tmp_path / "codec")
    CosmosTeacher(codec, base, NETWORK).save(tmp_path / "denoiser")
    for index in range(3):
        write_scene(tmp_path / "worlds" / f"train-{index}", index, CAPTIONS[index % 2], size=(64, 96))
    options = ["--worlds", tmp_path / "worlds", "--worlds-val", tmp_path / "val", "--out", tmp_path / "out"]
    options += ["--codec", tmp_path / "codec", "--denoiser", tmp_path / "denoiser", "--state", tmp_path / "state"]
    options += ["--size", 64, 96, "--batch", 4, "--rank", 4, "--min-scenes", 3, "--device", "cpu", "--no-compile"]
    options += ["--max-gib", 0.01]
    options += ["--seconds", 4, "--reserve", 2, "--schedule-seconds", 60]
    with pytest.raises(SystemExit, match="fewer than two held-out scenes"):
        script(*options)
    for index in range(2):
        write_scene(tmp_path / "val" / f"val-{index}", 10 + index, CAPTIONS[index], size=(64, 96))
    steps = []
    for more in ([], ["--delete"]):
        script(*options, *more)
        results = json.loads((tmp_path / "out/metrics.json").read_text())
        steps.append(results["training"]["steps"])
        assert {"own_text", "other_text", "no_text"} == set(results["after"]) == set(results["before"])
        assert results["training"]["scenes_of_first_process"] == 3 and np.isfinite(results["agreement_0"])
    for index in range(3):  # those before were deleted
        write_scene(tmp_path / "again" / f"train-{index}", index, CAPTIONS[index % 2], size=(64, 96))
    begin = ["--worlds", tmp_path / "again", "--state", tmp_path / "other", "--init", tmp_path / "out"]
    script(*options, *begin, "--out", tmp_path / "more", "--rate", 1e-9)
    trained, more = (adapter.read(tmp_path / name, tmp_path / "denoiser") for name in ("out", "more"))
    assert all(bool((more[name] - value).abs().max() < 0.02 * value.abs().max()) for name, value in trained.items())
    with pytest.raises(SystemExit, match="should have rank 8"):
        script(*options, *begin, "--rank", 8)
    assert f"going on from step {steps[0]} " in capsys.readouterr().out and 0 < steps[0] < steps[1]
    assert Image.open(tmp_path / "out/first_frames.png").size == (4 * 96 // 2, 2 * 64 // 2)
    assert json.loads((tmp_path / "out/recipe.json").read_text())["rank"] == 4
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == steps and np.isfinite([line["loss"] for line in lines]).all()
    teacher = adapter.load(tmp_path / "out", tmp_path / "denoiser", codec)
    changed = dict(teacher.network.named_parameters())
    stored = CosmosTeacher.load(tmp_path / "denoiser", codec).network
    assert any(not torch.equal(p, changed[name]) for name, p in stored.named_parameters())
    shutil.rmtree(tmp_path / "worlds")
    with pytest.raises(SystemExit, match="no usable scene appeared"):
        script(*options[:-6], "--seconds", 3, "--reserve", 2, "--state", tmp_path / "new")

"""Training of the video codec: data, resuming, and the files a run leaves behind."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lyra.metrics import LPIPS
from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec
from lyra.train import clip_data, codec_eval
from lyra.train.codec import TINY, CodecTrainer

SHAPE = clip_data.ClipShape(2, 9, 32, 32, 0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two rendered scenes of moving gratings and a pack of two photographs."""
    root = tmp_path_factory.mktemp("data")
    x = np.arange(64)
    for index in range(2):
        frames = [127 + 120 * np.sin((x[None] + 2 * t) / (4 + index) + np.arange(40)[:, None] / 9) for t in range(17)]
        rgb = np.repeat(np.stack(frames).astype(np.uint8)[None, ..., None], 3, -1)
        (root / f"scene{index}").mkdir()
        np.save(root / f"scene{index}/rgb.npy", np.concatenate([rgb, rgb[:, ::-1]]))
    with zipfile.ZipFile(root / "photos.zip", "w") as pack:
        for name in ("a", "b"):
            buffer = io.BytesIO()
            ramp = np.add.outer(np.arange(90), np.arange(160)) % 255
            Image.fromarray(np.repeat(ramp[..., None], 3, -1).astype(np.uint8)).save(buffer, "JPEG", quality=95)
            pack.writestr(f"{name}.jpg", buffer.getvalue())
        credits = [{"file": "a.jpg", "split": "train"}, {"file": "b.jpg", "split": "test"}]
        pack.writestr("credits.json", json.dumps(credits))
    return root


def _load(data):
    clips = clip_data.load_scenes(clip_data.scene_folders(data), torch.device("cpu"), 10**9, report=lambda _: None)
    photos = clip_data.load_photos(data / "photos.zip", "train", torch.device("cpu"))
    return clips, clip_data.photo_clips(photos, 2, 9, 40, 64, torch.Generator().manual_seed(0))


def test_batches_are_in_range_and_follow_the_generator(data):
    clips, pans = _load(data)
    assert clips.shape == (4, 17, 40, 64, 3) and pans.shape == (2, 9, 40, 64, 3)
    first = clip_data.draw(SHAPE, clips, pans, torch.Generator().manual_seed(3))
    again = clip_data.draw(SHAPE, clips, pans, torch.Generator().manual_seed(3))
    other = clip_data.draw(SHAPE, clips, pans, torch.Generator().manual_seed(4))
    assert first.shape == (2, 3, 9, 32, 32) and first.abs().max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_memory_limit_and_wrong_folders(data, tmp_path):
    folders, cpu = clip_data.scene_folders(data), torch.device("cpu")
    assert len(clip_data.load_scenes(folders, cpu, 3 * 17 * 40 * 64 * 3, report=lambda _: None)) == 3
    with pytest.raises(InputError, match="no rendered scenes"):
        clip_data.scene_folders(tmp_path)
    with pytest.raises(InputError, match="no photographs"):
        clip_data.load_photos(data / "photos.zip", "val", cpu)


def _train(trainer: CodecTrainer, data, steps: int) -> list[float]:
    clips, pans = _load(data)
    torch.manual_seed(0)
    lpips = LPIPS("alex")
    losses = []
    for _ in range(steps):
        video = clip_data.draw(SHAPE, clips, pans, trainer.generator)
        losses.append(float(trainer.train_step(video, lpips, 2e-3)["loss"]))
    return losses


def test_a_resumed_run_equals_an_uninterrupted_one(data, tmp_path):
    """Bit for bit: weights, average, optimiser and both generators are restored. The loss falls."""
    recipe = replace(TINY, ema=0.9)
    whole = CodecTrainer(recipe, torch.device("cpu"), 0)
    losses = _train(whole, data, 4)
    assert min(losses[1:]) < losses[0]
    first = CodecTrainer(recipe, torch.device("cpu"), 0)
    _train(first, data, 2)
    first.save(tmp_path / "checkpoint.pt")
    second = CodecTrainer(recipe, torch.device("cpu"), 1)
    second.restore(tmp_path / "checkpoint.pt")
    assert second.step == 2
    assert _train(second, data, 2) == losses[2:]
    for mine, theirs in zip(second.average.parameters(), whole.average.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_statistics_normalise_the_latents_and_evaluation_writes_its_sheet(data, tmp_path):
    """Latents of the measured clips get mean 0 and standard deviation 0.5; worst difference 2e-6."""
    clips, _ = _load(data)
    photos = clip_data.load_photos(data / "photos.zip", "train", torch.device("cpu"))
    torch.manual_seed(0)
    codec = VideoCodec(TINY.vae).eval()
    sets = codec_eval.held_out(clips[:2], photos, 9, 32, 48)
    codec_eval.measure_statistics(codec, iter([sets["worlds"]]))
    with torch.no_grad():
        latents = codec.encode(sets["worlds"])
    assert latents.mean((0, 3, 4)).abs().max() < 1e-4
    assert (latents.std((0, 3, 4), correction=0) - 0.5).abs().max() < 1e-4
    results, outputs = codec_eval.evaluate(codec, sets, LPIPS("alex"))
    assert set(results) == {"worlds", "photos", "photo_pans"} and results["photos"]["frames"] == 1
    assert all(np.isfinite(list(scores.values())).all() for scores in results.values())
    codec_eval.write_sheet(sets, outputs, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size[0] == 3 * 48

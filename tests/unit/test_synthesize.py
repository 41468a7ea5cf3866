"""`lyra synthesize` and `lyra train`: from a folder of images to shards to weights, with kills and bad images."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lyra.cli.synthesize import Options, synthesize
from lyra.cli.train import Options as TrainOptions
from lyra.cli.train import train
from lyra.decoder import SplatDecoder
from lyra.depth.mini import MiniDepth
from lyra.depth.network import DepthConfig, DepthNetwork
from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec
from lyra.train import shards
from lyra.train.shards import ShardReader, stored_names
from lyra.train.student_scenes import decode_depth, image_files, rendered_view
from lyra.train.synthesis import SynthesisOptions
from lyra.train.synthesize_job import SynthesisJob, run
from lyra.vae.causal_vae import VaeConfig

pytestmark = pytest.mark.usefixtures("one_thread")

VAE = VaeConfig(encoder_channels=(8, 8, 8, 8), decoder_channels=(8, 8, 8, 8), layers=1, latent_channels=8)
SMALL = Options(frames=9, size=(64, 32), shard_size=2, device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model folder with random weights and no denoiser."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    VideoCodec(VAE).save(folder / "codec")
    MiniDepth(DepthNetwork(DepthConfig((16, 16, 16, 16, 16), 32 * 64))).save(folder / "depth")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(3):
        ramp = np.add.outer(np.arange(50) * (index + 1), np.arange(90)) % 255
        picture = np.stack([ramp, ramp[::-1], 255 - ramp], -1).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"photo{index}.png")
    (folder / "photo9.jpg").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def stored(images, model, tmp_path_factory) -> Path:
    """Shards of the images, made by two processes one after the other."""
    folder = tmp_path_factory.mktemp("shards")
    small = SynthesisOptions(frames=9, height=32, width=64)
    job = SynthesisJob(images, folder, str(model), "draft", device="cpu", shard_size=2, options=small)
    assert [run(job, rank, 2).written for rank in range(2)] == [2, 1]
    return folder


def test_synthesis_skips_what_is_done_records_failures_and_survives_a_kill(images, model, stored, tmp_path, capsys):
    out = tmp_path / "shards"
    shutil.copytree(stored, out)
    before = {path.name: path.read_bytes() for path in out.glob("shard-*.tar")}
    assert len(before) == 2 and stored_names(out) == {"photo0", "photo1", "photo2"}
    lost = next(path for path in out.glob("shard-*.tar") if path.stat().st_size == max(map(len, before.values())))
    lost.rename(out / ".shard-half.0123.tmp.tar")  # what a kill may leave: the shard in the making under a hidden name
    (out / "failures.jsonl").unlink()
    synthesize(images, out=out, quality="draft", options=replace(SMALL, model=str(model)), json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["written"], facts["found"], facts["failed"]) == (2, 1, 1)
    assert {path.name: path.read_bytes() for path in out.glob("shard-*.tar")} == before  # the same bytes
    (failure,) = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert failure["image"].endswith("photo9.jpg") and "not an image" in failure["error"]


def test_samples_come_back_as_they_were_written(images, stored, tmp_path):
    reader = ShardReader(stored)
    sample = reader(1)
    assert len(reader) == 3 and reader(4).name == sample.name
    assert sample.latents.shape == (6, 8, 2, 4, 8) and sample.cameras.shape == (6, 9) and sample.unit > 0
    assert sample.depth.shape == (6, 9, 8, 16) and (sample.cameras.width, sample.cameras.height) == (64, 32)
    halves = [ShardReader(stored, rank, 2) for rank in range(2)]
    assert {half(i).name for half in halves for i in range(2)} == stored_names(stored)
    path = next(stored.glob("shard-*.tar"))
    with tarfile.open(path) as tar:  # as WebDataset groups them
        assert {Path(name).suffix for name in tar.getnames()} == {".json", ".safetensors"}
    (tmp_path / path.name).write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match="is not a shard"):
        ShardReader(tmp_path)
    with pytest.raises(InputError, match="holds no samples"):
        ShardReader(images)


def test_bugs_are_not_recorded_as_failures(images, tmp_path):
    def broken(path):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        shards.produce(image_files(images), tmp_path / "out", broken)


def test_training_from_shards_stops_and_goes_on(model, stored, tmp_path, capsys):
    data, out = stored, tmp_path / "student"
    options = TrainOptions("tiny", str(model), guide=True, steps=4, device="cpu")
    train(data, out=out, options=replace(options, seconds=1e-6), json=True)
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["steps"] == 4 and facts["step"] == 0
    with pytest.raises(InputError, match="--resume"):
        train(data, out=out, options=options)
    train(data, out=out, options=options, resume=True, json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 4
    assert SplatDecoder.load(out).config.latent_channels == 8
    assert json.loads((out / "recipe.json").read_text())["batch"] == 1
    with pytest.raises(InputError, match="nothing to resume"):
        train(data, out=tmp_path / "other", options=options, resume=True)


def test_training_goes_on_in_shards_under_torchrun(model, stored, tmp_path):
    """What one process began two end, each with its share of every weight; weights come out whole, messages once."""
    out = tmp_path / "student"
    options = TrainOptions("tiny", str(model), steps=3, seconds=1e-6, device="cpu")
    train(stored, out=out, options=options)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lyra"]
    command += ["train", stored, "-o", out, "--preset", "tiny", "--model", model, "--steps", "3", "--device", "cpu"]
    found = subprocess.run(
        [*command, "--shard", "--resume", "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("{")]
    assert json.loads(line)["step"] == 3 and json.loads((out / "recipe.json").read_text())["batch"] == 2
    assert all(value.isfinite().all() for value in SplatDecoder.load(out).state_dict().values())
    state = torch.load(out / "state" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3 and state["optimizer"]["state"][0]["step"] == 3


def test_bad_requests_are_one_sentence(images, model, tmp_path):
    options, out = replace(SMALL, model=str(model)), tmp_path / "x"
    with pytest.raises(InputError, match="not a folder"):
        synthesize(images / "none", out=out, quality="draft", options=options)
    with pytest.raises(InputError, match="frames"):
        synthesize(images, out=out, quality="draft", options=replace(options, frames=10))
    with pytest.raises(InputError, match="denoiser"):
        synthesize(images, out=out, options=options)
    (tmp_path / "below").mkdir()
    for folder in (tmp_path, tmp_path / "below"):
        (folder / "photo1.png").touch()
    with pytest.raises(InputError, match="several images called photo1"):
        synthesize(tmp_path, out=out, quality="draft", options=options)


def test_rendered_scenes_are_read_and_damage_is_reported(tmp_path):
    """Depth codes: 0 is sky, 1 is 5 cm, 65535 is 2 km; worst relative error of a round trip 8.1e-5."""
    from worlds.clips import decode_depth as engine

    code = np.array([0, 1, 300, 40000, 65535], np.uint16)
    assert np.allclose(decode_depth(code).numpy()[1:], engine(code)[1:], rtol=1e-5)
    assert decode_depth(code)[0] == torch.inf
    with pytest.raises(InputError, match="is not a rendered scene"):
        rendered_view(tmp_path)

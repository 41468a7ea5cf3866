"""Training on several processes: the same weights as on one, whole or in shards, exact resume, and plain refusals."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_student import CPU, RECIPE, PixelCodec, advance, make_pool, make_trainer

from lyra.decoder import SplatDecoder
from lyra.scene import InputError
from lyra.train.processes import Processes

HERE = Path(__file__).parent
FOUR = replace(RECIPE, batch=4, clip_norm=0.1)  # two samples a process, and a norm that counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Checkpoints and averages after 3 steps of the same global batch: of one process, and of two started by
    Accelerate, as student_worker.py says."""
    out = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    found = subprocess.run(
        [*launch, "-m", "student_worker", "3", out],
        env=os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    one, pool = make_trainer(FOUR), make_pool()
    pool.fill(2)
    for _ in range(3):
        advance(one, pool, PixelCodec(), None, one.step / one.recipe.steps)
    one.save(out / "one.pt", (len(pool), pool.drawn))
    one.save_average(out / "one")
    return out


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint's networks and optimiser."""
    state = torch.load(path, weights_only=True)
    assert state["step"] == 3 and state["pool"] == [2, 3]
    found = {f"{part} {name}": value for part in ("decoder", "average") for name, value in state[part].items()}
    moments = state["optimizer"]["state"]
    return found | {f"{index} {name}": value for index in moments for name, value in moments[index].items()}


@pytest.mark.parametrize("way", ["plain", "sharded"])
def test_two_processes_train_as_one(folder, way):
    """Worst relative difference of a weight or average 2.9e-6 whole, 3.4e-6 in shards; of a moment 8e-6 and 1.2e-5."""
    one, two = tensors(folder / "one.pt"), tensors(folder / f"{way}.pt")
    assert one.keys() == two.keys()
    errors = torch.stack([(one[name] - two[name]).norm() / one[name].norm().clamp_min(1e-12) for name in one])
    assert (errors < 1e-4).all()
    mean = SplatDecoder.load(folder / way).state_dict()
    for name, value in SplatDecoder.load(folder / "one").state_dict().items():
        assert (mean[name] - value).norm() <= 1e-4 * value.norm(), name


def test_shards_go_on_exactly(folder):
    """From the checkpoint before the last step: bit for bit."""
    whole, resumed = tensors(folder / "sharded.pt"), tensors(folder / "resumed.pt")
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_cannot_be_is_refused_in_one_sentence(monkeypatch):
    with pytest.raises(InputError, match="several processes; start with torchrun"):
        make_trainer(sharded=True)
    with pytest.raises(InputError, match="batch of 3 does not divide evenly among 2"):
        make_trainer(replace(RECIPE, batch=3), Processes(0, 2, CPU), sharded=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match=r"lyra-3d\[train\]"):
        Processes.start("cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(InputError, match="is not fp16"):
        Processes.start("cpu")


def test_accelerate_chooses_the_precision(monkeypatch):
    for asked, expected in (("no", None), ("bf16", True)):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
        assert make_trainer(processes=Processes.start("cpu")).decoder.bf16 is expected

"""Checkpoints as they come: further entries, other networks, damage, and objects that must not run."""

import argparse
import os
from collections import OrderedDict

import pytest
import torch

from lyra.decoder import DecoderConfig, SplatDecoder, from_checkpoint
from lyra.scene import InputError

SMALL = DecoderConfig(width=16, blocks=2, attention_every=2, heads=2, head_dim=8, d_state=4)


def state() -> dict:
    torch.manual_seed(0)
    return {key: value.bfloat16() for key, value in SplatDecoder(SMALL).state_dict().items()}


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_further_entries_are_ignored(tmp_path):
    extras = {
        "optimizer": None,
        "lr_scheduler": {"last_lr": [1e-4]},
        "param_shapes": [OrderedDict(a=torch.Size([3]))],
        "sparse_tensor_module_names": set(),
        "args": argparse.Namespace(lr=1.0),
        "ds_version": "0.16",
        "dtype": torch.bfloat16,
    }
    torch.save({"module": state(), **extras}, tmp_path / "lyra.pt")
    model = from_checkpoint(tmp_path / "lyra.pt", SMALL)
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32 and value.equal(state()[key].float())


def test_nothing_in_a_checkpoint_runs(tmp_path):
    torch.save({"module": state(), "extra": Trap(tmp_path / "ran")}, tmp_path / "lyra.pt")
    try:
        from_checkpoint(tmp_path / "lyra.pt", SMALL)
    except InputError as error:
        assert "lyra.pt" in str(error)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "module", "cut", "text", "absent"])
def test_other_files_are_refused(tmp_path, damage):
    path, weights = tmp_path / "lyra.pt", state()
    if damage == "missing":
        del weights["deconv.bias"]
    elif damage == "unknown":
        weights["more"] = torch.zeros(1)
    elif damage == "shape":
        weights["deconv.bias"] = torch.zeros(1)
    torch.save(weights if damage == "module" else {"module": weights}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage == "text":
        path.write_text("weights")
    elif damage == "absent":
        path.unlink()
    with pytest.raises(InputError, match=r"lyra\.pt"):
        from_checkpoint(path, SMALL)

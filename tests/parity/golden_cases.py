"""Recorded cases of the published code: found by their .json files in the folder LYRA_GOLDEN."""

import json
import lzma
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

GOLDEN = Path(os.environ.get("LYRA_GOLDEN", Path(__file__).parents[1] / "assets/golden"))


@dataclass(frozen=True)
class Case:
    """One recorded case: its json text and the tensors of its files."""

    name: str
    spec: dict
    tensors: dict[str, Tensor]

    @property
    def config(self) -> dict:
        """The sizes and options of the case."""
        return self.spec["config"]

    def weights(self, key: str = "weights") -> dict[str, Tensor]:
        """A state dict under the original names, in float32 where it is stored as bfloat16."""
        state = load(stored(GOLDEN / self.spec["files"][key]["file"]))
        return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in state.items()}

    def check(self, name: str, value: Tensor) -> None:
        """Assert that `value` lies within the tolerance recorded with tensor `name`."""
        golden = self.tensors[name]
        tolerance = self.spec["tensors"][name]["tolerance"]
        assert tuple(value.shape) == tuple(golden.shape), f"{name}: {list(value.shape)}, not {list(golden.shape)}"
        if tolerance == "exact":
            assert torch.equal(value.to(golden.dtype), golden), f"{name} differs"
            return
        limit = tolerance["atol"] + tolerance["rtol"] * golden.double().abs()
        excess = ((value.double() - golden.double()).abs() / limit.clamp_min(1e-300)).max()
        assert excess <= 1, f"{self.name}: {name} is {float(excess):.2f} times its tolerance away"


def stored(path: Path) -> bytes:
    """The bytes of a file, which our copies hold compressed (.xz)."""
    return path.read_bytes() if path.is_file() else lzma.decompress(path.with_name(f"{path.name}.xz").read_bytes())


def case(name: str) -> Case:
    """The case called `name`."""
    spec = json.loads((GOLDEN / f"{name}.json").read_text())
    return Case(name, spec, load(stored(GOLDEN / spec["files"]["data"]["file"])))


def cases(kind: str) -> list:
    """pytest parameters: all cases of a kind (`tokenizer`, `tokenizer_hidden`, ...) in the folder."""
    names = [json.loads(path.read_text())["case"] for path in sorted(GOLDEN.glob("*.json"))]
    return [pytest.param(name, id=name) for name in names if name == kind or name.startswith(f"{kind}_")]

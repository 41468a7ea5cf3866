"""Every example and every Python block of the README runs as it stands."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_example_runs(script, tmp_path, monkeypatch, capsys):
    steps = ["25"] if script.stem == "05_fit" else []
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), *steps])
    runpy.run_path(str(script), run_name="__main__")
    assert any(tmp_path.iterdir()) and capsys.readouterr().out


def test_readme_python_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_readme_commands_exist():
    """Each `lyra VERB --option` that the README shows is one that the command knows."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    uses = re.findall(r"lyra (\w+)([^\n#&]*)", shell)
    assert {verb for verb, _ in uses} >= {"render", "view", "export", "info", "doctor"}
    for verb, rest in uses:
        done = subprocess.run(
            [sys.executable, "-m", "lyra", verb, "--help"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0
        for option in re.findall(r"--[\w-]+", rest):
            assert option in done.stdout, f"lyra {verb} has no {option}"

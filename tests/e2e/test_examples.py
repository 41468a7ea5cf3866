"""Every example and every Python block of the README runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(*arguments: str) -> str:
    """A Python of its own in the root of the repository, as a user has it (without the type checks of the tests)."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_example_runs(script, tmp_path):
    quick = {"05_fit": ["25"], "06_generate": ["draft"]}.get(script.stem, [])
    assert run(str(script), str(tmp_path), *quick)
    assert any(tmp_path.iterdir())


def test_readme_python_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        run("-c", block)


def test_readme_commands_exist():
    """Each `lyra VERB --option` that the README shows is one that the command knows."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    uses = re.findall(r"lyra (\w+)([^\n#&]*)", shell)
    assert {verb for verb, _ in uses} >= {"render", "view", "export", "info", "doctor"}
    for verb, rest in uses:
        shown = run("-m", "lyra", verb, "--help")
        for option in re.findall(r"--[\w-]+", rest):
            assert option in shown, f"lyra {verb} has no {option}"

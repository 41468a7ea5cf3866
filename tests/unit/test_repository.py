"""Limits of the repository: tracked files travel to where models are trained, weights to whoever installs them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tracked_files_are_at_most_36_mib():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in names.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 36 * 2**20  # 35.7 MiB when this was written


def test_shipped_weights_are_at_most_24_mb_in_shards_below_16_mib():
    shards = [file.stat().st_size for file in (ROOT / "lyra/weights/mini").rglob("*.safetensors")]
    assert sum(shards) <= 24e6 and max(shards) < 16 * 2**20  # 21.7 MB, 7.5 MiB

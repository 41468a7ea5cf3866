"""An output folder that is filled at once: a kill leaves its old files or the new ones, never half a file."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lyra.scene import InputError, require

PARTIAL = ".partial"  # in the output folder: stages that are finished, and files that are not
LAST = "report.json"  # appears last: a folder that holds it is complete


@contextmanager
def filling(folder: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well its files move to `folder`, in the place of older ones.

    `folder` is made if need be, other files in it stay, and what `PARTIAL` holds is removed at the end. Raises
    InputError if the system refuses.
    """
    target = Path(folder)
    require(not target.exists() or target.is_dir(), f"{folder}: is a file, but a folder is needed")
    new = target / PARTIAL / "new"
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        (target / LAST).unlink(missing_ok=True)
        for file in sorted(new.iterdir(), key=lambda path: (path.name == LAST, path.name)):
            os.replace(file, target / file.name)
        shutil.rmtree(target / PARTIAL)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_report(report: dict, seconds: float, folder: Path) -> None:
    """Write report.json with the time that writing took until now."""
    spent = {name: value for name, value in report["seconds"].items() if name != "total"} | {
        "writing": round(seconds, 3)
    }
    whole = report | {"seconds": spent | {"total": round(sum(spent.values()), 3)}}
    (folder / LAST).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

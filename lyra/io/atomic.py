"""Outputs appear whole or not at all: write beside the target under another name, then rename.

A crash, a kill or a full disk leaves the old file as it was. What a killed process may leave behind is a hidden
`.NAME.XXXXXXXX.tmp` beside it, which nothing reads.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lyra.scene import InputError, require


def _beside(target: Path) -> Path:
    """An unused hidden name in the target's folder; the suffix stays, because some writers choose by it."""
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")


def _target(path: str | os.PathLike) -> Path:
    """The real place to write to (through symbolic links); its folder must exist."""
    target = Path(os.path.realpath(path))
    require(target.parent.is_dir(), f"{path}: cannot write there, because the folder {target.parent} does not exist")
    return target


@contextmanager
def replacing_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path to write; when the block ends well it becomes `path`, else it is removed.

    Raises InputError if the target is a folder or the system refuses the write (permission, full disk).
    """
    target = _target(path)
    require(not target.is_dir(), f"{path}: cannot write a file there, because it is a folder")
    temporary = _beside(target)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, values: dict | list) -> None:
    """Indented JSON, whole or not at all. Raises InputError as `replacing_file` does."""
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


@contextmanager
def replacing_folder(path: str | os.PathLike, marker: str) -> Iterator[Path]:
    """Yield a temporary folder to fill; when the block ends well it becomes `path`, else it is removed.

    An existing folder is replaced only if it is empty or holds the file `marker`, by which we know our own output.
    Replacing takes two renames, since no portable single one exists: between them (microseconds) the old folder is
    whole under its hidden name.
    """
    target = _target(path)
    if os.path.lexists(target):
        ours = target.is_dir() and (not any(target.iterdir()) or (target / marker).is_file())
        require(ours, f"{path}: exists and holds no {marker}, so it is not replaced; choose another folder")
    temporary, old = _beside(target), _beside(target)
    try:
        temporary.mkdir()
        yield temporary
        if target.is_dir():
            os.rename(target, old)
        try:
            os.rename(temporary, target)
        except OSError:
            if old.is_dir():
                os.rename(old, target)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

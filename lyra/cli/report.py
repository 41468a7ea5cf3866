"""What a verb tells its user: progress on stderr, one closing fact (or one JSON object) on stdout."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import tyro

SceneIn = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
AsJson = Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object instead of text.")]


def progress(items: Iterable, label: str, total: int) -> Iterator:
    """Iterate with a bar, elapsed time and ETA; silent where nobody watches (stderr is not a terminal)."""
    from rich import progress as bars
    from rich.console import Console

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    clocks = (bars.TimeElapsedColumn(), bars.TimeRemainingColumn())
    console = Console(stderr=True)
    with bars.Progress(*columns, *clocks, console=console, disable=not console.is_terminal) as bar:
        yield from bar.track(items, total=total, description=label)


def status(label: str):
    """A spinner for one step of unknown length; silent where nobody watches."""
    from rich.console import Console

    return Console(stderr=True).status(label)


def finish(facts: dict, sentence: str, as_json: bool) -> None:
    """Close a verb: its facts as JSON, or the sentence that says the same to a person."""
    print(json.dumps(facts) if as_json else sentence)
    sys.stdout.flush()


def file_size(num_bytes: int) -> str:
    """Bytes in the unit a person would use."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.2f} GB"

"""What a verb tells its user: progress on stderr, one closing fact (or one JSON object) on stdout."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

SceneIn = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
AsJson = Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object instead of text.")]


def progress(items: Iterable, label: str, total: int) -> Iterator:
    """Iterate with a bar, elapsed time and ETA; silent where nobody watches (stderr is not a terminal)."""
    with _bar() as bar:
        yield from bar.track(items, total=total, description=label)


@contextmanager
def waiting(label: str, seconds: float) -> Iterator[None]:
    """One step that cannot count itself: a bar with the ETA of an estimate, which waits at 99 % if it takes longer."""
    over = threading.Event()
    with _bar() as bar:
        task = bar.add_task(label, total=max(seconds, 0.1))

        def tick() -> None:
            began = time.perf_counter()
            while not over.wait(0.2):
                bar.update(task, completed=min(time.perf_counter() - began, 0.99 * max(seconds, 0.1)))

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            over.set()
            ticking.join()


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage of a long job; yields what to tell: a stage, its finished steps, how many it has."""
    with _bar() as bar:
        tasks: dict[str, int] = {}

        def tell(stage: str, done: int, steps: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=steps if steps > 1 else None)
            if done == steps:
                bar.update(tasks[stage], total=steps)
            bar.update(tasks[stage], completed=done)

        yield tell


def _bar():
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TaskProgressColumn())
    clocks = (bars.TimeElapsedColumn(), bars.TimeRemainingColumn())
    return bars.Progress(*columns, *clocks, console=console, transient=True, disable=not console.is_terminal)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if there is nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def reading_seconds(path: Path) -> float:
    """About how long a scene takes to read: 60 MB/s is what the slower formats reach on two cores."""
    return size_on_disk(path) / 60e6


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

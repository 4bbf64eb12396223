"""Progress of long work: a bar on a terminal, silence elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True, slots=True)
class Reports:
    """What the runner is to call."""

    on_step: Callable[[int, int], None] | None = None
    """Receives a job and its number of finished intervals."""
    on_done: Callable[[int], None] | None = None
    """Receives each finished job."""


@contextmanager
def progress(label: str, steps_of_jobs: list[int]) -> Iterator[Reports]:
    """Show a bar on stderr while jobs run, if that is a terminal; nothing of it is left behind.

    Args:
        label: what is being done.
        steps_of_jobs: number of intervals of each job.
    """
    if not sys.stderr.isatty():
        yield Reports()
        return
    done = [0] * len(steps_of_jobs)
    with _bar() as bar:
        task = bar.add_task(label, total=sum(steps_of_jobs))

        def on_step(job: int, steps: int) -> None:
            done[job] = steps
            bar.update(task, completed=sum(done))

        yield Reports(on_step, lambda job: on_step(job, steps_of_jobs[job]))


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on stderr while something reports steps done, steps in all and a note.

    Args:
        label: what is being done.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, note: None
        return
    with _bar() as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total, note: bar.update(
            task, completed=done, total=total, description=f"{label}  {note}"
        )


def _bar() -> "Progress":
    """Return a bar that leaves nothing behind."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)

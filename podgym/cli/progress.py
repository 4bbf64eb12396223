"""Progress of running episodes: a bar on a terminal, silence elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


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
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    done = [0] * len(steps_of_jobs)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=sum(steps_of_jobs))

        def on_step(job: int, steps: int) -> None:
            done[job] = steps
            bar.update(task, completed=sum(done))

        yield Reports(on_step, lambda job: on_step(job, steps_of_jobs[job]))

"""How a fit reports and keeps itself: progress, checkpoints, curves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what to show beside them."""


def silent(done: int, total: int, note: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class FitRun:
    """Where a fit reports and keeps itself; by default nowhere."""

    progress: Progress = silent
    """Called after every epoch."""
    checkpoint: Path | None = None
    """File that is renewed after every epoch. A fit that finds one of the same data and settings goes on
    from there, to bitwise the same result."""
    logdir: Path | None = None
    """Folder of TensorBoard curves."""

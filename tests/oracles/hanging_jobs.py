"""Jobs that say where they run and then do nothing, for tests of worker processes.

A job opens the named pipe that is its first argument and keeps it open. So whoever reads the pipe learns
which processes there are, and meets its end when the last of them is gone.
"""

import os
import sys
import time
from pathlib import Path

_open_pipes: list[int] = []


def come(pipe: str, *rest: object) -> int:
    """Say which process this is."""
    opened = os.open(pipe, os.O_WRONLY)
    _open_pipes.append(opened)
    os.write(opened, f"{os.getpid()}\n".encode())
    return os.getpid()


def hang(pipe: str, *rest: object) -> None:
    """Say which process this is, and never end."""
    come(pipe)
    while True:
        time.sleep(0.01)


def hang_deaf(pipe: str, *rest: object) -> None:
    """Say which process this is, and never end: no interrupt reaches it."""
    come(pipe)
    while True:
        try:
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            continue


def hang_with_a_draft(pipe: str, *rest: object) -> None:
    """Hang in the middle of a file, which is removed at an interrupt, and say so."""
    draft = Path(f"{pipe}.draft")
    draft.touch()
    try:
        hang(pipe)
    finally:
        draft.unlink()
        print("broken off", file=sys.stderr, flush=True)


def die() -> None:
    """End this process as the system does when memory runs out."""
    os._exit(1)


def begin_nothing(*rest: object) -> None:
    """Stand in for what prepares a worker."""

"""Worker processes that end with the process that started them, and leave the word to it.

Python's own pool has no such bond: workers of a process that was killed wait for work for ever, and at Ctrl-C
each of them prints a traceback or finishes what it has. Here every worker holds one end of a pipe and the
process that started it the other. That end closes when the process is killed, and when it wants an end.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Event, Lock, Thread
from types import FrameType
from typing import ParamSpec, TypeVar

from podgym.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")

TIDY_UP_S = 1.0
"""Time that a job has to tidy up when its worker is to end, seconds."""

_leaving = Event()  # in a worker: it is to end
_job_runs = Lock()  # in a worker: held while it runs a job


@contextmanager
def worker_pool(
    processes: int, *, begin: Callable[..., None] | None = None, arguments: tuple[object, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of fresh processes that is gone when the block is left, or this process is killed.

    When the block is left, also by an error, jobs that run are finished and those that wait are dropped.
    After Ctrl-C, jobs that run get a ``KeyboardInterrupt`` too and ``TIDY_UP_S`` to tidy up; Ctrl-C reaches
    them only through this process, so that one message is all that is printed.

    Args:
        processes: how many, 1 or more; each is started when there is a job for it.
        begin: called in each process before its first job.
        arguments: what ``begin`` is called with.

    Raises:
        InputError: a process died, as it does when memory runs out.
    """
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    try:
        with _Pool(processes, context, _begin, (watched, begin, arguments)) as pool:
            try:
                yield pool
            except BaseException as error:
                if not isinstance(error, Exception):  # Ctrl-C, or the generator around the block was closed
                    held.close()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died, perhaps for want of memory; run it again with fewer processes."
        ) from error
    finally:
        held.close()
        watched.close()


class _Pool(ProcessPoolExecutor):
    """A pool whose workers are deaf to Ctrl-C from their first moment."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(_work, fn, *args, **kwargs)
        # Workers are started here and inherit the mask; Ctrl-C meanwhile comes when it is restored.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(_work, fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(watched: Connection, begin: Callable[..., None] | None, arguments: tuple[object, ...]) -> None:
    """Make a process a worker."""
    # A handler rather than SIG_IGN, which programs that a job starts would inherit.
    signal.signal(signal.SIGINT, _on_interrupt)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    Thread(target=_end_after, args=(watched,), daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    if _leaving.is_set() and _job_runs.locked():
        raise KeyboardInterrupt


def _end_after(watched: Connection) -> None:
    """End this process when the other end of the pipe is closed."""
    wait([watched])  # nothing is ever sent
    _leaving.set()
    # Libraries in C++ print an interrupt that meets them; whoever asked for the end has the word.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.raise_signal(signal.SIGINT)  # the job's turn to tidy up
    time.sleep(TIDY_UP_S)  # meanwhile a pool that is shut down ends its workers itself
    os._exit(1)


def _work(job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a job, unless it is too late to begin one."""
    with _job_runs:
        if _leaving.is_set():
            raise KeyboardInterrupt
        return job(*args, **kwargs)

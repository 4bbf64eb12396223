"""Signals that end an evaluation in good order: the episode ends, the cluster is given back, files are whole.

A signal cuts short only what may be cut: the wait for the next decision and the pause between episodes.
Whatever else is under way, such as giving the cluster back, is finished first.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)
"""Ctrl-C, the end of a service or a container, and the end of a terminal or an SSH session."""


class Stopped(BaseException):
    """A signal asked for the end; raised only inside ``StopGate.interruptible``.

    It is no ``Exception``, so that no retry swallows it.
    """


class StopGate:
    """Remembers the first signal, and lets it through where that is harmless."""

    def __init__(self) -> None:
        self._open = False
        self._received: int | None = None

    @property
    def received(self) -> int | None:
        """Number of the signal that asked for the end; None: none did."""
        return self._received

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end what is inside, also one that came before.

        Raises:
            Stopped: a signal asked for the end.
        """
        self._open = True
        try:
            self._stop_if_asked()
            yield
        finally:
            self._open = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals of the process while inside; outside the main thread nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [each for each in SIGNALS if not _hung_up_in_vain(each)]
        before = {number: signal.signal(number, self._receive) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number
        if self._open:
            self._open = False  # a second signal must not cut short the clearing up
            raise Stopped

    def _stop_if_asked(self) -> None:
        if self._received is not None:
            raise Stopped


def _hung_up_in_vain(number: signal.Signals) -> bool:
    """Whether this is the end of the terminal, and ``nohup`` has said that it does not matter."""
    return number.name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN


def exit_status(number: int) -> int:
    """Return the exit status of a process that a signal ended, as shells count: 129, 130 or 143."""
    return 128 + number


def signal_name(number: int) -> str:
    """Return the name of a signal, such as ``SIGTERM``."""
    return signal.Signals(number).name

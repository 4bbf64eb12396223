"""The time that a real cluster runs on, behind a protocol so that tests can turn it by hand."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def monotonic_s(self) -> float:
        """Return seconds that never jump, since some moment."""
        ...

    def epoch_s(self) -> float:
        """Return seconds since the Unix epoch, as other machines understand them."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic_s(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()

    def epoch_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def sleep(self, duration_s: float) -> None:
        """Wait; a signal whose handler raises ends the wait."""
        time.sleep(max(duration_s, 0.0))


class Pacer:
    """Keeps steps on a grid of equal intervals, and says by how much one came late."""

    def __init__(self, clock: Clock, interval_s: float) -> None:
        """Begin the grid now."""
        self._clock = clock
        self._interval_s = interval_s
        self._start_s = clock.monotonic_s()
        self._next_s = self._start_s + interval_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the grid began."""
        return self._clock.monotonic_s() - self._start_s

    def wait(self) -> float:
        """Wait for the next moment of the grid; return how late it is, seconds.

        Moments that passed altogether are left out: the grid does not shift, and steps never bunch up.
        """
        remaining_s = self._next_s - self._clock.monotonic_s()
        if remaining_s > 0.0:
            self._clock.sleep(remaining_s)
        late_s = max(self._clock.monotonic_s() - self._next_s, 0.0)
        missed = int(late_s // self._interval_s)
        self._next_s += (1 + missed) * self._interval_s
        return late_s

"""CPU work of an exact length, on threads that use cores at the same time, with or without a limit.

Hashing a large buffer releases the interpreter's lock, so N threads use N cores. The time is that of the
thread's own CPU clock: what others do on the machine makes the work last longer, not smaller.
"""

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_BLOCK = bytes(16 * 1024)
"""Hashed at a time: 10 to 40 us, so that work is exact to about a quarter of a per cent of 8.6 ms."""
_LIMIT_RENEWED_S = 0.25
"""How often the file with the limit is read anew."""


def draw_demand(mean_s: float, variation: float, random_numbers: random.Random) -> float:
    """Return the CPU demand of one request, core seconds.

    Args:
        mean_s: mean, core seconds.
        variation: coefficient of variation; 0: always the mean, 1: exponential, otherwise gamma.
        random_numbers: source of random numbers.
    """
    if variation == 0.0 or mean_s == 0.0:
        return mean_s
    shape = 1.0 / variation**2
    return random_numbers.gammavariate(shape, mean_s / shape)


@dataclass(frozen=True, slots=True)
class CpuMax:
    """A limit in the form of the file ``cpu.max`` of control groups (version 2): "50000 100000"."""

    quota_s: float
    """CPU time allowed in each period, seconds; infinite: no limit."""
    period_s: float
    """Length of the period, seconds."""

    @classmethod
    def read(cls, path: Path) -> "CpuMax":
        """Read a limit from a file; microseconds, or ``max`` as quota for none.

        Raises:
            ValueError: the file does not hold a quota and a period.
        """
        quota, period = path.read_text(encoding="ascii").split()
        return cls(float("inf") if quota == "max" else int(quota) / 1e6, int(period) / 1e6)


class Throttle:
    """Keeps the CPU time of the whole process below a limit, as the kernel does for a container.

    For machines where the process has no control group of its own. Workers ask between two blocks of work and
    sleep once the period's quota is used up. Use beyond the quota is a debt of the next periods; what was not
    used is not saved up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        now_s = time.monotonic()
        self._limit = CpuMax.read(path)
        self._read_at_s = now_s
        self._period_end_s = now_s + self._limit.period_s
        self._used_s = time.process_time()
        self._budget_s = self._limit.quota_s

    def wait(self) -> None:
        """Return once the process may go on."""
        while (pause_s := self._pause_s()) > 0.0:
            time.sleep(pause_s)

    def _pause_s(self) -> float:
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._read_at_s > _LIMIT_RENEWED_S:
                self._limit, self._read_at_s = CpuMax.read(self._path), now_s
            used_s = time.process_time()
            self._budget_s -= used_s - self._used_s
            self._used_s = used_s
            if now_s >= self._period_end_s:
                self._begin_period(now_s)
            return self._period_end_s - now_s if self._budget_s <= 0.0 else 0.0

    def _begin_period(self, now_s: float) -> None:
        limit = self._limit
        periods = 1 + int((now_s - self._period_end_s) / limit.period_s)
        self._period_end_s += periods * limit.period_s
        self._budget_s = min(self._budget_s + periods * limit.quota_s, limit.quota_s)


class CpuWorkers:
    """Threads that burn CPU time; as many as the service may use cores."""

    def __init__(self, count: int, limit_file: Path | None = None) -> None:
        self.count = count
        self.pool = ThreadPoolExecutor(count, thread_name_prefix="work")
        self._throttle = None if limit_file is None else Throttle(limit_file)

    def burn(self, cpu_s: float) -> float:
        """Use ``cpu_s`` core seconds on the calling thread and return what was really used."""
        start_s = now_s = time.thread_time()
        end_s = start_s + cpu_s
        while now_s < end_s:
            if self._throttle is not None:
                self._throttle.wait()
            hashlib.sha256(_BLOCK)
            now_s = time.thread_time()
        return now_s - start_s

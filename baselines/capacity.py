"""How many replicas a rate needs: by utilisation, and by a latency objective, from measured quantities.

The response time is that of the simulator's own stationary law, an M/M/c queue of all servers together
behind a constant base latency; what goes into it (CPU per request, base latency, rate) is measured.
"""

from collections import deque
from functools import cache
from math import ceil
from statistics import median

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.metrics import is_size
from podgym.envs.simulator.queueing import delay_probability, delay_table, table_row
from podgym.envs.simulator.required import smallest_count

_EXPONENTIAL = 1.0  # coefficient of variation of the work, and kappa, of M/M/c
_UNLIMITED = 1e9  # requests that a pod may work on
_SAMPLES = 20  # five minutes of scrapes
_TRUSTED_UTILISATION = 0.9  # above it the wait is too uncertain to be taken off the response time


def replicas_by_utilisation(rate_rps: float, core_s: float, limit_cores: float, utilisation: float) -> int:
    """Smallest count, at least 1, at which no replica uses more than a share of its CPU limit.

    Args:
        rate_rps: requests/s.
        core_s: core-seconds per request, above 0.
        limit_cores: CPU limit of a replica, above 0.
        utilisation: the share, above 0.
    """
    return max(ceil(min(rate_rps * core_s / (limit_cores * utilisation), 1e9)), 1)


def replicas_by_latency(
    rate_rps: float, core_s: float, limit_cores: float, base_latency_s: float, slo_s: float, most: int
) -> int | None:
    """Smallest count at which 95 % of the requests are faster than an objective.

    Args:
        rate_rps: requests/s.
        core_s: core-seconds per request, above 0.
        limit_cores: CPU limit of a replica, above 0.
        base_latency_s: part of every response time that needs no CPU.
        slo_s: the objective, seconds.
        most: largest count to try.

    Returns:
        At most ``most``, also when more would be needed; None when no count would do.
    """

    def count(rate: float, end: int) -> int:
        constants = (float(limit_cores), float(core_s), _EXPONENTIAL, _EXPONENTIAL, True, False, _UNLIMITED)
        return int(smallest_count(_table(), rate, *constants, float(base_latency_s), float(slo_s), end))

    if count(0.0, 2) != 1:
        return None
    return count(float(rate_rps), most)


def queueing_time_s(rate_rps: float, core_s: float, limit_cores: float, replicas: int) -> float | None:
    """Mean time in service and waiting; None when the queue is not stationary.

    Args:
        rate_rps: requests/s.
        core_s: core-seconds per request, above 0.
        limit_cores: CPU limit of a replica, above 0.
        replicas: at least 1.
    """
    servers = max(limit_cores, 1.0)
    service_s = core_s * servers / limit_cores
    utilisation = rate_rps * core_s / (replicas * limit_cores)
    if not utilisation < 1.0:
        return None
    delay = delay_probability(_table(), table_row(float(servers * replicas)), float(utilisation))
    return float(service_s + delay * service_s / (servers * replicas * (1.0 - utilisation)))


class BaseLatencyEstimate:
    """The part of the response time that no replica can shorten: what was measured less the queue's part.

    The median of the latest samples that were taken well below saturation, so that a few from a queue that
    was still draining do not matter.
    """

    def __init__(self) -> None:
        """Begin without any estimate."""
        self._samples_s: deque[float] = deque(maxlen=_SAMPLES)
        self._time_s: float | None = None

    @property
    def base_latency_s(self) -> float:
        """Seconds; 0 as long as nothing is known."""
        return median(self._samples_s) if self._samples_s else 0.0

    def update(
        self,
        time_s: float,
        response_s: float,
        rate_rps: float,
        core_s: float,
        limit_cores: float,
        replicas: int,
    ) -> None:
        """Learn from one sample; the same sample again changes nothing.

        Args:
            time_s: when it was taken.
            response_s: measured mean response time.
            rate_rps: measured rate.
            core_s: core-seconds per request, above 0.
            limit_cores: CPU limit of a replica, above 0.
            replicas: ready replicas.
        """
        if time_s == self._time_s or replicas < 1:
            return
        if rate_rps * core_s > _TRUSTED_UTILISATION * replicas * limit_cores:
            return
        queueing_s = queueing_time_s(rate_rps, core_s, limit_cores, replicas)
        if queueing_s is None or not is_size(response_s):
            return
        self._time_s = time_s
        self._samples_s.append(max(response_s - queueing_s, 0.0))


@cache
def _table() -> NDArray[np.float64]:
    return delay_table()

"""The stationary law of many queues at once: the simulator's, as array expressions.

``Queues`` holds one entry per *cell*, a service with some number of pods of some CPU quota. The law is that
of ``podgym.envs.simulator``: ``queueing`` (mean number in system, one implicit step in time), ``sojourn``
(tail of the response time) and ``events`` (servers and speeds of pods); tests compare it with those kernels.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ServiceParameters
from podgym.envs.simulator.queueing import (
    DOUBLINGS,
    EXACT_SERVERS,
    ROWS_PER_DOUBLING,
    UTILISATION_CELLS,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BISECTIONS = (64, 32, 16, 8, 4, 2, 1)  # of UTILISATION_CELLS = 128 cells
_SMALLEST_VARIATION = 0.02
_NEARLY = 1e-6
_SLOWEST_DRAIN = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Queues:
    """Constants of the queues of ``n`` cells; every array is (n,) unless said otherwise."""

    servers: Floats
    """Servers of all ready pods."""
    queues: Floats
    """Separate queues: 1 when pooled, else one per pod."""
    rate_rps: Floats
    """Requests/s that all servers complete when busy."""
    service_time_s: Floats
    """Mean time of a request at a server."""
    kappa: Floats
    """Variation correction of the waiting part."""
    delay: Floats
    """(n, UTILISATION_CELLS + 1) Erlang's delay probability over the utilisation."""
    sharing: Floats
    """1 for processor sharing, 0 for first come first served."""
    demand_cv: Floats
    """Coefficient of variation of the work of a request."""
    base_latency_s: Floats
    """Constant part of the response time."""
    slo_s: Floats
    """Response time above which a request violates the SLO."""
    concurrency: Floats
    """Requests that all pods work on at once."""
    room: Floats
    """Requests that all pods take in at most."""
    demand_core_s: Floats
    """CPU work of one request."""
    idle_cores: Floats
    """CPU that all pods use without any request."""
    replicas: Floats
    """Pods."""

    def take(self, cells: Ints) -> "Queues":
        """Return the queues of some cells, (m,) of them, repeated as named."""
        return Queues(*(getattr(self, item.name)[cells] for item in fields(self)))


def queues_of(
    physics: ServiceParameters, slo_s: float, replicas: Floats, limits_cores: Floats, table: Floats
) -> Queues:
    """Return the queues of a service for numbers of pods and CPU limits, as ``events._renew_queue``.

    Args:
        physics: the service.
        slo_s: its service level objective.
        replicas: (n,) ready pods.
        limits_cores: (n,) CPU limit of each pod.
        table: the simulator's delay table.
    """
    fcfs = physics.discipline == "fcfs"
    pooled = physics.load_balancing == "pooled"
    of_pod = np.minimum(np.maximum(limits_cores, 1.0), physics.concurrency_per_pod)  # (n,) servers
    servers = replicas * of_pod
    rate_rps = replicas * np.minimum(limits_cores, of_pod) / physics.cpu_demand_core_s
    same = np.ones_like(servers)
    return Queues(
        servers=servers,
        queues=same if pooled else replicas * same,
        rate_rps=rate_rps,
        service_time_s=servers / np.maximum(rate_rps, _SLOWEST_DRAIN),
        kappa=same * (0.5 * (1.0 + physics.demand_cv**2) if fcfs else 1.0),
        delay=_delay_rows(servers if pooled else of_pod, table),
        sharing=same * (not fcfs),
        demand_cv=same * physics.demand_cv,
        base_latency_s=same * physics.base_latency_s,
        slo_s=same * slo_s,
        concurrency=replicas * physics.concurrency_per_pod,
        room=replicas * (physics.concurrency_per_pod + physics.queue_limit_per_pod),
        demand_core_s=same * physics.cpu_demand_core_s,
        idle_cores=replicas * physics.idle_cpu_cores,
        replicas=replicas,
    )


def joined(parts: list[Queues]) -> Queues:
    """Return the queues of several services as one."""
    return Queues(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Queues)))


def _delay_rows(servers: Floats, table: Floats) -> Floats:
    """Rows of the delay table for (fractional) numbers of servers, (n, UTILISATION_CELLS + 1)."""
    doubled = EXACT_SERVERS - 1.0 + ROWS_PER_DOUBLING * np.log2(np.maximum(servers, 1.0) / EXACT_SERVERS)
    row = np.where(servers <= EXACT_SERVERS, np.maximum(servers, 1.0) - 1.0, doubled)
    row = np.minimum(row, EXACT_SERVERS - 1.0 + ROWS_PER_DOUBLING * DOUBLINGS)
    lower = row.astype(np.int64)
    weight = (row - lower)[:, None]
    upper = np.minimum(lower + 1, len(table) - 1)
    return np.asarray(table[lower] + weight * (table[upper] - table[lower]))


def delay_probability(queues: Queues, utilisation: Floats) -> Floats:
    """Share of the requests that wait, (n, k), at utilisations (n, k) from 0 to 1."""
    position = utilisation * UTILISATION_CELLS
    cell = np.minimum(position.astype(np.int64), UTILISATION_CELLS - 1)
    first = np.arange(len(queues.servers))[:, None] * (UTILISATION_CELLS + 1) + cell
    flat = queues.delay.reshape(-1)
    left = flat[first]
    return np.asarray(left + (position - cell) * (flat[first + 1] - left))


def wait_s(queues: Queues, utilisation: Floats) -> Floats:
    """Mean wait of the requests that wait, (n, k) s, at utilisations (n, k) below 1."""
    unit_s = queues.kappa * queues.service_time_s * queues.queues / queues.servers
    return np.asarray(unit_s[:, None] / (1.0 - utilisation))


def sojourn_s(queues: Queues, delay: Floats, wait: Floats) -> Floats:
    """Mean time of a request in the queue and at a server, (n, k) s."""
    return np.asarray(queues.service_time_s[:, None] + delay * wait)


def number_in_system(queues: Queues, utilisation: Floats, sojourn: Floats) -> Floats:
    """Mean requests in the queue and at the servers, (n, k), by Little's law."""
    return np.asarray(queues.rate_rps[:, None] * utilisation * sojourn)


def utilisation_after(queues: Queues, inflow: Floats, step_s: float) -> Floats:
    """Utilisation at the end of one implicit step in time, (n, k); ``queueing.solve_utilisation``.

    Solves ``L(rho) + rate * step * rho = inflow``: the stationary law where the servers keep up, the fluid
    queue where they do not.

    Args:
        queues: n queues.
        inflow: (n, k) requests in the system before the step plus those that arrive in it.
        step_s: length of the step.
    """
    rho = np.linspace(0.0, 1.0, UTILISATION_CELLS + 1)
    linear = queues.servers + queues.rate_rps * step_s  # (n,)
    waiting = queues.kappa * queues.queues  # (n,)
    with np.errstate(divide="ignore"):
        edges = linear[:, None] * rho + waiting[:, None] * queues.delay * (rho / (1.0 - rho))
    flat, delays = edges.reshape(-1), queues.delay.reshape(-1)
    start = np.arange(len(linear))[:, None] * (UTILISATION_CELLS + 1)
    cell = np.zeros(inflow.shape, dtype=np.int64)
    for size in _BISECTIONS:
        cell += size * (flat[start + cell + size] <= inflow)
    left = delays[start + cell]
    slope = (delays[start + cell + 1] - left) * UTILISATION_CELLS
    total = linear[:, None] + waiting[:, None] * (left - slope * cell / UTILISATION_CELLS) + inflow
    root = np.sqrt(np.maximum(total * total - 4.0 * (linear[:, None] - waiting[:, None] * slope) * inflow, 0))
    return np.asarray(np.minimum(2.0 * inflow / (total + root), 1.0 - _SLOWEST_DRAIN))


def slow_share(queues: Queues, utilisation: Floats, delay: Floats, wait: Floats) -> Floats:
    """Share of the requests slower than the SLO, (n, k); ``sojourn.tail`` at the SLO."""
    sharing = queues.sharing[:, None] > 0.0
    mean_s = np.where(sharing, sojourn_s(queues, delay, wait), queues.service_time_s[:, None])
    squared = np.broadcast_to(1.0 + queues.demand_cv[:, None] ** 2, utilisation.shape)
    squared = np.where(sharing, squared * 2.0 / (2.0 - utilisation), squared) - 1.0  # of the variation
    waiting = np.where(sharing, 0.0, delay)
    variation = np.sqrt(np.maximum(squared, 0.0))
    steady = np.clip(variation, _SMALLEST_VARIATION, 1.0)
    time_s = (queues.slo_s - queues.base_latency_s)[:, None] - mean_s * (1.0 - steady)
    varied = variation > 1.0 + _NEARLY
    if not varied.any():
        return _branch(time_s, mean_s * steady, waiting, wait)
    first = np.where(varied, 0.5 * (1.0 + np.sqrt(np.maximum(squared - 1.0, 0.0) / (squared + 1.0))), 1.0)
    quick = _branch(time_s, np.where(varied, 0.5 * mean_s / first, mean_s * steady), waiting, wait)
    slow = _branch(
        time_s, np.where(varied, 0.5 * mean_s / np.maximum(1.0 - first, 1e-12), mean_s), waiting, wait
    )
    return np.asarray(first * quick + (1.0 - first) * slow)


def _branch(time_s: Floats, service_s: Floats, waiting: Floats, wait: Floats) -> Floats:
    """Tail of an exponential time at a server plus, with probability ``waiting``, an exponential wait."""
    time_s = np.maximum(time_s, 0.0)  # before 0 every tail is 1
    alone = np.exp(-time_s / service_s)
    larger, smaller = np.maximum(service_s, wait), np.minimum(service_s, wait)
    gap = larger - smaller
    equal = gap < _NEARLY * larger
    slow = np.exp(-time_s / larger)
    quick = np.exp(-time_s / smaller)
    distinct = (larger * slow - smaller * quick) / np.where(equal, 1.0, gap)
    waited = np.where(equal, (1.0 + time_s / larger) * slow, distinct)
    return np.asarray(alone + waiting * (waited - alone))

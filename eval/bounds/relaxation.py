"""The relaxed queue: what a control interval violates at least, whatever happened before it.

The law and the numbers are the simulator's own (``envs/simulator``: ``service``, ``queueing``, ``report``;
tests compare the two tick by tick), but over arrays: here intervals do not depend on one another, so a whole
episode is computed at once for every choice of servers, tick by tick of the interval.

What is relaxed, that is, left out because it can only make things worse: contention on nodes, warm-up,
requests lost with their pods, full queues and impatience (``program`` says where those are put back, because
requests that are turned away early do not hold up the others), and the past. The past needs care, because
the violations of an interval come from *one* law fitted to the moments of all its waits, and are not
monotone in them:

1. A backlog at the beginning raises the utilisation of every tick (the implicit step of ``solve_utilisation``
   is monotone in what is in the system), but a small one adds requests that wait a little and counts its own
   as ended, and both can make the ratio smaller. So the smallest over ``BACKLOGS_S`` is taken.
2. The variance of the number in system at the beginning is anything from 0 to twice the requests so far. Its
   step is quasi-convex in the variance before it, so the smallest and largest values follow exactly.
3. Once the mean wait is beyond the SLO, waits that vary *more* violate it less. The fitted law knows no more
   than an exponential wait, so the smaller of both tails is taken; under processor sharing, where service
   times take the place of waits, that of endless variation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ServiceConfig
from podgym.envs.simulator.queueing import (
    DOUBLINGS,
    EXACT_SERVERS,
    ROWS_PER_DOUBLING,
    UTILISATION_CELLS,
    delay_table,
)
from podgym.eval.bounds.episode import EpisodeLoad, Floats
from podgym.eval.mixture import Laws, tails

BACKLOGS_S = (0.0, 0.004, 0.007, 0.01, 0.014, 0.02, 0.03, 0.04, 0.055, 0.075, 0.1, 0.13, 0.17, 0.23, 0.32)
"""Backlogs with which an interval may begin, in seconds of work of its first servers; longer ones violate
more than they thin the tail."""

_ITERATIONS = 12
_QUICK = 20.0
_LEAST_ENDED = 1e-9
_ENDLESS = 1e6
_CHUNK = 60_000  # intervals times choices at a time: the arrays then stay in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Servers:
    """Servers of the relaxed cluster in one tick; arrays that broadcast to (num_steps, choices)."""

    count: Floats
    """Servers of all queues together."""
    capacity_cores: Floats
    """Cores that they use when all are busy; 0: no pod is ready."""
    queues: Floats
    """Queues among which servers and load are shared equally."""
    room: Floats | None = None
    """Requests that are taken in at most; more are rejected, and those that wait too long give up. None: the
    queue has no end and clients have endless patience."""


@dataclass(slots=True)
class _Sums:
    """What an interval adds up, arrays (num_steps, choices); as in ``simulator.report``."""

    completed: Floats
    failed: Floats
    waited: Floats
    wait_s: Floats
    wait_s2: Floats
    service_s: Floats
    service_s2: Floats


@dataclass(slots=True)
class _Queue:
    """State of the queues, arrays (num_steps, choices)."""

    in_system: Floats
    least_variance: Floats
    most_variance: Floats
    utilisation: Floats


@dataclass(frozen=True, slots=True)
class _Step:
    """One tick: arrays (num_steps, choices)."""

    arrivals: Floats
    completed: Floats
    failed: Floats
    left: Floats
    utilisation: Floats
    delay: Floats
    longest_wait_s: Floats


class RelaxedQueue:
    """The queue of one service as a function of its servers alone."""

    def __init__(self, service: ServiceConfig, load: EpisodeLoad) -> None:
        """Take the physics of the service and the load of the episode."""
        physics = service.parameters
        self._load = load
        self._table = _shared_table()
        self._demand_core_s = physics.cpu_demand_core_s
        self._base_latency_s = physics.base_latency_s
        self._squared = 1.0 + physics.demand_cv**2
        self._timeout_s = physics.timeout_s
        self._sharing = physics.discipline == "ps"
        self._kappa = 1.0 if self._sharing else 0.5 * self._squared
        self._slo_s = service.slo_response_time_s
        sent = load.values.sum(axis=1) * (load.think_ratio if load.closed else load.tick_s)
        self._most_variance = 2.0 * (np.cumsum(sent) - sent)  # (num_steps,) each request adds 1 in, 1 out

    @property
    def ticks(self) -> int:
        """Ticks of a control interval."""
        return int(self._load.values.shape[1])

    @property
    def steps(self) -> NDArray[np.int64]:
        """(num_steps,) every interval of the episode."""
        return np.arange(len(self._load.values))

    def least_ratios(
        self, steps: NDArray[np.int64], servers: list[Servers], backlogs_s: Sequence[float] = BACKLOGS_S
    ) -> Floats:
        """Return the smallest share of requests that violate the SLO, over all beginnings of each interval.

        Args:
            steps: (n,) which intervals of the episode.
            servers: one per tick; arrays that broadcast to (n, choices).
            backlogs_s: backlogs to try, in seconds of work of the first servers.

        Returns:
            (n, choices), 0 to 1.
        """
        shape = np.broadcast_shapes((len(steps), 1), *(np.shape(each.capacity_cores) for each in servers))
        ratios = np.ones(shape)
        chunk = max(_CHUNK // max(shape[1], 1), 1)
        for first in range(0, len(steps), chunk):
            part = slice(first, first + chunk)
            few = [_rows(each, part, len(steps)) for each in servers]
            for backlog_s in backlogs_s:
                found = self.ratios(steps[part], few, backlog_s)
                ratios[part] = np.minimum(ratios[part], found)
        return ratios

    def ratios(self, steps: NDArray[np.int64], servers: list[Servers], backlog_s: float = 0.0) -> Floats:
        """Return the share of requests that violate the SLO when each interval begins with one backlog.

        Args:
            steps: (n,) which intervals of the episode.
            servers: one per tick; arrays that broadcast to (n, choices).
            backlog_s: requests in the system at the beginning, in seconds of work of the first servers.

        Returns:
            (n, choices), 0 to 1.
        """
        loads = self._load.values[steps]
        shape = np.broadcast_shapes((len(loads), 1), *(np.shape(each.capacity_cores) for each in servers))
        sums = _Sums(*(np.zeros(shape) for _ in range(7)))
        queue = _Queue(*(np.zeros(shape) for _ in range(4)))
        queue.in_system += backlog_s / self._demand_core_s * servers[0].capacity_cores
        queue.most_variance += self._most_variance[steps, None]
        for tick, each in enumerate(servers):
            self._tick(queue, sums, each, loads[:, tick, None])
        return self._violations(sums)

    def _tick(self, queue: _Queue, sums: _Sums, servers: Servers, load: Floats) -> None:
        ready = servers.capacity_cores > 0.0
        rate = np.where(ready, servers.capacity_cores, 1.0) / self._demand_core_s  # requests/s
        step = self._serve(queue, servers, rate, load)
        refused = load * (self._load.think_ratio or self._load.tick_s)
        sums.failed += np.where(ready, step.failed, refused)
        completed = np.where(ready, step.completed, 0.0)
        sums.completed += completed
        if self._sharing:
            mean_s = step.left / np.maximum(rate * step.utilisation, _LEAST_ENDED)
            squared = self._squared * 2.0 / (2.0 - step.utilisation)
        else:
            mean_s, squared = servers.count / rate, np.asarray(self._squared)
            wait_s = self._kappa * servers.queues / rate / (1.0 - step.utilisation)
            wait_s = np.minimum(wait_s, step.longest_wait_s)
            waited = completed * step.delay
            waited_s = waited * wait_s
            sums.waited += waited
            sums.wait_s += waited_s
            sums.wait_s2 += waited_s * wait_s * (1.0 + self._spread(queue, servers, step))
        sums.service_s += completed * mean_s
        sums.service_s2 += completed * mean_s * mean_s * squared
        queue.in_system = np.where(ready, step.left, 0.0)
        queue.utilisation = np.where(ready, step.utilisation, 0.0)

    def _serve(self, queue: _Queue, servers: Servers, rate: Floats, load: Floats) -> _Step:
        """Let requests arrive and be completed, as ``service._serve``."""
        think = self._load.think_ratio
        share = 1.0 / servers.queues
        capacity = rate * self._load.tick_s
        users = np.maximum(load, queue.in_system)
        arrivals = load * self._load.tick_s if not self._load.closed else np.zeros_like(load)
        inflow = queue.in_system + arrivals + think * users
        utilisation, delay = self._solve(
            servers.count * share, capacity * share, inflow * share, queue.utilisation
        )
        completed = np.minimum(capacity * utilisation, inflow)
        left = inflow - completed
        if self._load.closed:
            left = left / (1.0 + think)
            crowded = left > users  # fewer users than are in the system: nobody has time to send
            completed = np.where(crowded, np.minimum(capacity * utilisation, queue.in_system), completed)
            left = np.where(crowded, queue.in_system - completed, left)
            arrivals = np.where(crowded, 0.0, think * (users - left))
        failed, longest_wait_s = np.zeros(()), np.full((), np.inf)
        if servers.room is not None:
            busy = np.minimum(servers.count * utilisation, left)
            left, failed, longest_wait_s = self._turn_away(left, busy, rate, servers.room)
            most = np.where(np.isfinite(longest_wait_s), left * share, np.inf)
            queue.least_variance = np.minimum(queue.least_variance, most)
            queue.most_variance = np.minimum(queue.most_variance, most)
        return _Step(arrivals, completed, failed, left, utilisation, delay, longest_wait_s)

    def _turn_away(
        self, left: Floats, busy: Floats, rate: Floats, room: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Let requests give up and be rejected, as ``service._turn_away``.

        Returns:
            Requests left in the system, failed, and the longest wait of one that is served.
        """
        tick_s = self._load.tick_s
        doomed = np.maximum(left - busy - rate * self._timeout_s, 0.0)
        timed_out = doomed * tick_s / (self._timeout_s + tick_s)
        longest_s = np.where(doomed > 0.0, self._timeout_s, np.inf)
        kept = left - timed_out
        full = kept > room
        longest_s = np.where(full, np.minimum(longest_s, np.maximum(room - busy, 0.0) / rate), longest_s)
        staying = np.minimum(kept, room)
        return staying, left - staying, longest_s

    def _solve(
        self, servers: Floats, capacity: Floats, inflow: Floats, guess: Floats
    ) -> tuple[Floats, Floats]:
        """Utilisation and delay probability after one implicit step, as ``queueing.solve_utilisation``."""
        row = _table_row(servers)
        lower = row.astype(np.int64)
        weight = row - lower
        upper = np.minimum(lower + 1, len(self._table) - 1)
        think = self._load.think_ratio
        linear = (1.0 + think) * servers + capacity
        waiting = (1.0 + think) * self._kappa
        cell = np.minimum((guess * UTILISATION_CELLS).astype(np.int64), UTILISATION_CELLS - 1)
        utilisation, slope, offset = guess, guess, guess
        for _ in range(_ITERATIONS):
            left, right = self._table[lower, cell], self._table[lower, cell + 1]
            left = left + weight * (self._table[upper, cell] - left)
            right = right + weight * (self._table[upper, cell + 1] - right)
            slope = (right - left) * UTILISATION_CELLS
            offset = left - slope * cell * (1.0 / UTILISATION_CELLS)
            total = linear + waiting * offset + inflow
            root = total * total - 4.0 * (linear - waiting * slope) * inflow
            utilisation = 2.0 * inflow / (total + np.sqrt(np.maximum(root, 0.0)))
            found = np.minimum((utilisation * UTILISATION_CELLS).astype(np.int64), UTILISATION_CELLS - 1)
            if (found == cell).all():
                break
            cell = found
        utilisation = np.minimum(utilisation, 1.0 - 1e-12)
        return utilisation, offset + slope * utilisation

    def _spread(self, queue: _Queue, servers: Servers, step: _Step) -> Floats:
        """Renew the bounds of the variance; return the smallest squared variation of the waits, at most 1.

        In units of the stationary variance the step is ``v -> (v + gain) / (1 + pull sqrt(v))``, which falls
        to its least value at ``sqrt(v) = (sqrt(1 + gain pull^2) - 1) / pull`` and rises from there.
        """
        free = 1.0 / (1.0 - step.utilisation)
        alone = (1.0 + step.utilisation * (1.0 - step.delay)) * free * free
        per_queue = servers.count / servers.queues
        stationary = step.delay * step.utilisation * (alone + per_queue) + per_queue * step.utilisation
        unit = 1.0 / np.maximum(stationary, 1e-12)
        outflow = step.completed / servers.queues * unit
        gain, pull = outflow + step.arrivals / servers.queues * unit, 2.0 * outflow
        low, high = np.sqrt(queue.least_variance * unit), np.sqrt(queue.most_variance * unit)
        turn = (np.sqrt(1.0 + gain * pull * pull) - 1.0) / np.maximum(pull, 1e-300)
        turn = np.minimum(np.maximum(turn, low), high)
        at_turn, at_low, at_high = ((v * v + gain) / (1.0 + pull * v) for v in (turn, low, high))
        quick = outflow > _QUICK  # many turn-overs in a tick: at the steady state
        least = np.where(quick, 1.0, at_turn)
        queue.least_variance = least / unit
        queue.most_variance = np.where(quick, 1.0, np.maximum(at_low, at_high)) / unit
        return np.minimum(least, 1.0)

    def _violations(self, sums: _Sums) -> Floats:
        """Turn the sums of an interval into laws of its response times, and these into its violations."""
        completed = np.maximum(sums.completed, 1e-300)
        waited = np.maximum(sums.waited, 1e-300)
        wait_s = sums.wait_s / waited
        deviation_s = np.sqrt(np.maximum(sums.wait_s2 / waited - wait_s * wait_s, 0.0))
        mean_s = sums.service_s / completed
        squared = sums.service_s2 / completed / np.maximum(mean_s * mean_s, 1e-300) - 1.0
        fitted = Laws(
            np.full_like(mean_s, self._base_latency_s),
            mean_s,
            np.sqrt(np.maximum(squared, 0.0)),
            np.minimum(sums.waited / completed, 1.0),
            wait_s,
            np.minimum(deviation_s, wait_s),
        )
        varied = (
            fitted._replace(service_cv=np.full_like(mean_s, _ENDLESS))
            if self._sharing
            else fitted._replace(wait_std_s=wait_s)
        )
        slow = np.minimum(tails(self._slo_s, fitted), tails(self._slo_s, varied))
        violations = sums.failed + np.where(sums.completed > _LEAST_ENDED, sums.completed * slow, 0.0)
        ended = sums.completed + sums.failed
        ratios = np.minimum(violations / np.maximum(ended, 1e-300), 1.0)
        return np.asarray(np.where(ended > _LEAST_ENDED, ratios, 0.0))


@lru_cache(maxsize=1)
def _shared_table() -> Floats:
    return delay_table()


def _rows(servers: Servers, part: slice, count: int) -> Servers:
    """Return the rows of some intervals, of the arrays that have rows."""

    def chosen(values: Floats) -> Floats:
        return values[part] if values.ndim == 2 and len(values) == count > 1 else values

    room = None if servers.room is None else chosen(servers.room)
    return Servers(chosen(servers.count), chosen(servers.capacity_cores), chosen(servers.queues), room)


def _table_row(servers: Floats) -> Floats:
    """Fractional row of the delay table, as ``queueing.table_row``."""
    many = EXACT_SERVERS - 1.0 + ROWS_PER_DOUBLING * np.log2(np.maximum(servers, 1.0) / EXACT_SERVERS)
    rows = np.where(servers <= EXACT_SERVERS, np.maximum(servers, 1.0) - 1.0, many)
    return np.asarray(np.minimum(rows, EXACT_SERVERS - 1.0 + ROWS_PER_DOUBLING * DOUBLINGS))

"""Discrete-event simulation of queues with simpy, request by request: slow, and plain."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import simpy
from numpy.typing import NDArray

from oracles.inputs import FloatArray, Requests, Sessions


class Outcome(IntEnum):
    """What became of a request."""

    COMPLETED = 0
    REJECTED = 1
    TIMED_OUT = 2
    IN_SYSTEM = 3


@dataclass(frozen=True, slots=True)
class RequestLog:
    """All requests of one run, in order of arrival."""

    arrival_s: FloatArray
    """(requests,) arrival instants, seconds."""
    wait_s: FloatArray
    """(requests,) time in queue, seconds; NaN when rejected or still in the queue at the end."""
    departure_s: FloatArray
    """(requests,) when it left the system, seconds; inf when it never did, the arrival when rejected."""
    outcome: NDArray[np.int8]
    """(requests,) values of `Outcome`."""

    @property
    def response_time_s(self) -> FloatArray:
        """(requests,) seconds from arrival to completion; NaN unless completed."""
        completed = self.outcome == Outcome.COMPLETED
        return np.asarray(np.where(completed, self.departure_s - self.arrival_s, np.nan))

    def share(self, outcome: Outcome) -> float:
        """Share of all requests with this outcome."""
        return float(np.mean(self.outcome == outcome))

    def response_times_between(self, from_s: float, until_s: float) -> FloatArray:
        """Response times of the requests completed in (from_s, until_s], seconds."""
        completed = (self.outcome == Outcome.COMPLETED) & (self.departure_s > from_s)
        completed &= self.departure_s <= until_s
        return np.asarray(self.departure_s[completed] - self.arrival_s[completed])

    def number_in_system(self, times_s: FloatArray) -> NDArray[np.int64]:
        """(times,) requests that have arrived and not left, at each of `times_s` (seconds)."""
        admitted = self.outcome != Outcome.REJECTED
        arrived = np.searchsorted(np.sort(self.arrival_s[admitted]), times_s, side="right")
        left = np.searchsorted(np.sort(self.departure_s[admitted]), times_s, side="right")
        return np.asarray(arrived - left)


class _Station:
    """A queue with its servers, and the record of one request's visit."""

    def __init__(
        self, environment: simpy.Environment, servers: int, timeout_s: float, capacity: int | None
    ) -> None:
        self.environment = environment
        self.servers = simpy.Resource(environment, servers)
        self.timeout_s = timeout_s
        self.capacity = math.inf if capacity is None else capacity

    def visit(self, service_s: float, record: list[float]) -> Generator[simpy.Event, object, None]:
        """Fills record = [arrival_s, wait_s, departure_s, outcome] as the visit proceeds."""
        arrival_s = self.environment.now
        record[:] = [arrival_s, math.nan, math.inf, Outcome.IN_SYSTEM]
        if self.servers.count + len(self.servers.queue) >= self.capacity:
            record[2:] = [arrival_s, Outcome.REJECTED]
            return
        with self.servers.request() as server:
            if math.isinf(self.timeout_s):
                yield server
            else:
                yield server | self.environment.timeout(self.timeout_s)
            record[1] = self.environment.now - arrival_s
            if server.triggered:
                yield self.environment.timeout(service_s)
                outcome = Outcome.COMPLETED
            else:
                outcome = Outcome.TIMED_OUT
            record[2:] = [self.environment.now, outcome]


def _log(records: list[list[float]]) -> RequestLog:
    table = np.array(records, dtype=np.float64).reshape(-1, 4)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return RequestLog(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int8))


def simulate_fcfs_simpy(
    requests: Requests,
    servers: int,
    *,
    timeout_s: float = math.inf,
    capacity: int | None = None,
    horizon_s: float = math.inf,
) -> RequestLog:
    """First come first served over open requests.

    Args:
        requests: Arrivals, service times and the queue of each.
        servers: Servers of each queue.
        timeout_s: A request leaves the queue when its wait reaches this; it is never taken out of service.
        capacity: Most requests in each queue and its servers together; an arrival beyond is rejected.
        horizon_s: The run stops here; requests still inside are `IN_SYSTEM`. By default all finish.
    """
    environment = simpy.Environment()
    stations = [_Station(environment, servers, timeout_s, capacity) for _ in range(requests.num_queues)]
    records: list[list[float]] = []

    def source() -> Generator[simpy.Event, object, None]:
        for arrival_s, service_s, queue in zip(
            requests.arrival_s.tolist(), requests.service_s.tolist(), requests.queue.tolist(), strict=True
        ):
            yield environment.timeout(max(0.0, arrival_s - environment.now))
            records.append([])
            environment.process(stations[queue].visit(service_s, records[-1]))

    environment.process(source())
    environment.run(until=None if math.isinf(horizon_s) else horizon_s)
    return _log([record for record in records if record])


def simulate_closed_simpy(
    sessions: Sessions, servers: int, *, timeout_s: float = math.inf, capacity: int | None = None
) -> RequestLog:
    """Closed users on one first-come-first-served queue, up to the horizon of the sessions.

    A user whose request was rejected or timed out thinks again, like after a completion.
    """
    environment = simpy.Environment()
    station = _Station(environment, servers, timeout_s, capacity)
    records: list[list[float]] = []

    def user(index: int) -> Generator[simpy.Event, object, None]:
        rounds = zip(sessions.think_s[index].tolist(), sessions.service_s[index].tolist(), strict=True)
        for think_s, service_s in rounds:
            yield environment.timeout(think_s)
            records.append([])
            yield from station.visit(service_s, records[-1])

    for index in range(len(sessions.think_s)):
        environment.process(user(index))
    environment.run(until=sessions.horizon_s)
    return _log(records)


def replicate(
    simulate: Callable[[np.random.Generator], RequestLog], replications: int, seed: int
) -> Iterator[RequestLog]:
    """Independent runs, each with its own generator spawned from `seed`."""
    for child in np.random.SeedSequence(seed).spawn(replications):
        yield simulate(np.random.default_rng(child))


def mean_and_standard_error(values: list[float]) -> tuple[float, float]:
    """Mean of independent replications and the standard error of that mean."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))

"""The same queues as in `discrete_event`, fast enough for thousands of replications, and processor sharing.

First come first served needs no event calendar: requests begin in order of arrival, each on the server that
is free first (Kiefer and Wolfowitz, 1955). Processor sharing gives every request the same rate, so one
virtual clock of attained service orders the departures.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oracles.discrete_event import Outcome, RequestLog
from oracles.inputs import FloatArray, Requests, Sessions

REJECTED = int(Outcome.REJECTED)
TIMED_OUT = int(Outcome.TIMED_OUT)

UNLIMITED = np.iinfo(np.int64).max
"""Capacity of a queue that rejects nobody."""


@njit(cache=True)
def _fcfs(
    arrival_s: FloatArray,
    service_s: FloatArray,
    servers: int,
    timeout_s: float,
    capacity: int,
    wait_s: FloatArray,
    departure_s: FloatArray,
    outcome: NDArray[np.int8],
) -> None:
    free_s = np.zeros(servers)  # (servers,) s, when each server has finished what it was given
    inside_s = [0.0]  # heap of departures of the requests inside; kept only for a limited queue
    inside_s.pop()
    for i in range(len(arrival_s)):
        now_s = arrival_s[i]
        while len(inside_s) > 0 and inside_s[0] <= now_s:
            heappop(inside_s)
        if len(inside_s) >= capacity:
            departure_s[i] = now_s
            outcome[i] = REJECTED
            continue
        server = np.argmin(free_s)
        begin_s = max(now_s, free_s[server])
        if begin_s - now_s > timeout_s:
            wait_s[i] = timeout_s
            departure_s[i] = now_s + timeout_s
            outcome[i] = TIMED_OUT
        else:
            wait_s[i] = begin_s - now_s
            departure_s[i] = begin_s + service_s[i]
            free_s[server] = departure_s[i]
        if capacity != UNLIMITED:
            heappush(inside_s, departure_s[i])


@njit(cache=True)
def _processor_sharing(
    arrival_s: FloatArray, service_s: FloatArray, servers: int, departure_s: FloatArray
) -> None:
    inside = [(0.0, 0)]  # heap of (virtual time at departure in s, request)
    inside.pop()
    now_s = 0.0
    virtual_s = 0.0  # service attained by a request that has been inside since time 0
    for i in range(len(arrival_s) + 1):
        next_arrival_s = arrival_s[i] if i < len(arrival_s) else np.inf
        while len(inside) > 0:
            rate = min(1.0, servers / len(inside))
            next_departure_s = now_s + (inside[0][0] - virtual_s) / rate
            if next_departure_s > next_arrival_s:
                virtual_s += (next_arrival_s - now_s) * rate
                break
            virtual_s, request = heappop(inside)
            now_s = next_departure_s
            departure_s[request] = now_s
        if i < len(arrival_s):
            now_s = next_arrival_s
            heappush(inside, (virtual_s + service_s[i], i))


@njit(cache=True)
def _closed(
    think_s: FloatArray,
    service_s: FloatArray,
    servers: int,
    timeout_s: float,
    horizon_s: float,
    columns: FloatArray,
) -> int:
    num_users = len(think_s)
    free_s = np.zeros(servers)  # (servers,) s
    rounds = np.zeros(num_users, dtype=np.int64)  # (num_users,) requests sent so far
    arrivals = [(think_s[user, 0], user) for user in range(num_users)]
    heapify(arrivals)
    count = 0
    while arrivals[0][0] < horizon_s:
        now_s, user = heappop(arrivals)
        server = np.argmin(free_s)
        begin_s = max(now_s, free_s[server])
        wait_s = min(begin_s - now_s, timeout_s)
        timed_out = begin_s - now_s > timeout_s
        if timed_out:
            left_s = now_s + timeout_s
        else:
            left_s = begin_s + service_s[user, rounds[user]]
            free_s[server] = left_s
        columns[0, count] = now_s
        columns[1, count] = wait_s
        columns[2, count] = left_s
        columns[3, count] = TIMED_OUT if timed_out else 0
        count += 1
        rounds[user] += 1
        next_s = left_s + think_s[user, rounds[user]] if left_s < horizon_s else np.inf
        heappush(arrivals, (next_s, user))
    return count


def _cut(
    arrival_s: FloatArray,
    wait_s: FloatArray,
    departure_s: FloatArray,
    outcome: NDArray[np.int8],
    horizon_s: float,
) -> RequestLog:
    """The log as it stands at the horizon: what comes later is not known yet."""
    seen = arrival_s < horizon_s
    arrival_s, wait_s, departure_s, outcome = arrival_s[seen], wait_s[seen], departure_s[seen], outcome[seen]
    wait_s = np.where(arrival_s + wait_s < horizon_s, wait_s, np.nan)
    inside = departure_s >= horizon_s
    return RequestLog(
        arrival_s,
        wait_s,
        np.where(inside, np.inf, departure_s),
        np.where(inside, np.int8(Outcome.IN_SYSTEM), outcome),
    )


def simulate_fcfs(
    requests: Requests,
    servers: int,
    *,
    timeout_s: float = math.inf,
    capacity: int | None = None,
    horizon_s: float = math.inf,
) -> RequestLog:
    """Like `discrete_event.simulate_fcfs_simpy`, and equal to it up to rounding."""
    shape = requests.arrival_s.shape
    wait_s, departure_s = np.full(shape, np.nan), np.empty(shape)
    outcome = np.zeros(shape, dtype=np.int8)
    limit = UNLIMITED if capacity is None else capacity
    for queue in range(requests.num_queues):
        mine = np.flatnonzero(requests.queue == queue) if requests.num_queues > 1 else slice(None)
        arrival_s, service_s = requests.arrival_s[mine], requests.service_s[mine]
        own_wait_s, own_departure_s, own_outcome = wait_s[mine], departure_s[mine], outcome[mine]
        _fcfs(arrival_s, service_s, servers, timeout_s, limit, own_wait_s, own_departure_s, own_outcome)
        wait_s[mine], departure_s[mine], outcome[mine] = own_wait_s, own_departure_s, own_outcome
    return _cut(requests.arrival_s, wait_s, departure_s, outcome, horizon_s)


def simulate_ps(requests: Requests, servers: int, *, horizon_s: float = math.inf) -> RequestLog:
    """Processor sharing on one queue: n requests each get min(1, servers/n) of a server; no request waits."""
    if requests.num_queues != 1:
        raise ValueError(f"one queue only, got {requests.num_queues}")
    departure_s = np.empty_like(requests.arrival_s)
    _processor_sharing(requests.arrival_s, requests.service_s, servers, departure_s)
    outcome = np.zeros(departure_s.shape, dtype=np.int8)
    return _cut(requests.arrival_s, np.zeros_like(departure_s), departure_s, outcome, horizon_s)


def simulate_closed(sessions: Sessions, servers: int, *, timeout_s: float = math.inf) -> RequestLog:
    """Like `discrete_event.simulate_closed_simpy` without a capacity, and equal to it up to rounding."""
    columns = np.empty((4, sessions.think_s.size))  # arrival, wait, departure in s, and outcome
    count = _closed(sessions.think_s, sessions.service_s, servers, timeout_s, sessions.horizon_s, columns)
    arrival_s, wait_s, departure_s, outcome = columns[:, :count]
    return _cut(arrival_s, wait_s, departure_s, outcome.astype(np.int8), sessions.horizon_s)

"""How plans would perform at a forecast load: response times, violations, CPU and requests held.

Open load. Minute by minute the number in system of each cell takes one implicit step of the pointwise
stationary fluid-flow approximation, the simulator's law: the stationary queue where the servers keep up, a
backlog that grows on over the minutes where they do not. So a response time is always finite, and more
capacity always lowers it. In overload every request counts as a violation.

Closed users. With N users the throughput X solves ``N = X * think + L(X)``, where L is what the stationary
law puts into all queues, that is ``X = N / (Z + R(X))``: no throughput exceeds the capacity.

The simulator disturbs the rate every few seconds. The planner takes means over three values of that
disturbance (Gauss-Hermite quadrature), each held for one such period, from where the minute left the queue.

Not in it: pods that start or stop, node contention where limits exceed requests, the slots that a request
keeps in its service while it waits for a slow callee, and memory leaks.
"""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.model import ClusterModel
from podgym.baselines.planner.queues import (
    Queues,
    delay_probability,
    number_in_system,
    slow_share,
    sojourn_s,
    utilisation_after,
    wait_s,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINUTE_S = 60.0
"""A forecast has one rate a minute."""

ARRIVALS, RESPONSE, SLOW, CPU, HELD, RESPONSE_PEAK, HELD_PEAK = range(7)
"""Columns of a performance: requests/s; mean response time with base latency, s; share of the requests that
violate the SLO; cores used; requests in the queue and at the servers whose memory is held; and response time
and such requests at the highest disturbance that memory must survive."""
COLUMNS = 7

HELD_DEVIATIONS = 1.5
"""The simulator gives memory back slowly, so that pods hold that of the recent highest rate: about one and a
half standard deviations of the disturbance above the mean."""
PEAK_DEVIATIONS = 3.0
"""Disturbance that memory must survive: one in 700 is higher."""

_NODES = np.array([-math.sqrt(3.0), 0.0, math.sqrt(3.0)])
_WEIGHTS = np.array([1.0, 4.0, 1.0]) / 6.0
_GRID = 64  # points at which the users of a throughput are computed
_FULLEST = 1.0 - 1e-9


def disturbances(sigma: float) -> tuple[Floats, Floats]:
    """Return factors (5,) on the rate, and the weights (3,) of the first three in a mean over requests.

    The last two are those of ``HELD_DEVIATIONS`` and ``PEAK_DEVIATIONS``.
    """
    deviations = np.append(_NODES, [HELD_DEVIATIONS, PEAK_DEVIATIONS])
    factors = np.exp(sigma * deviations - 0.5 * sigma * sigma)
    weights = _WEIGHTS * factors[:3]
    return factors, weights / weights.sum()


def open_performance(model: ClusterModel, rates_rps: Floats) -> Floats:
    """Return the performance of every cell under open load.

    Args:
        model: the cluster.
        rates_rps: (minutes,) external requests/s.

    Returns:
        (cells, COLUMNS, minutes).
    """
    queues = model.queues
    arrivals = model.visits[model.service_of_cell][:, None] * rates_rps  # (cells, minutes) requests/s
    utilisation, number, overloaded = _minutes(queues, arrivals)
    factors, weights = disturbances(model.noise_sigma)
    period_s = min(model.config.load.rate_noise_period_s, MINUTE_S)
    inflow = number[:, :, None] + arrivals[:, :, None] * factors * period_s  # (cells, minutes, 5)
    flat = inflow.reshape(len(number), -1)
    disturbed = utilisation_after(queues, flat, period_s)
    delay, wait = delay_probability(queues, disturbed), wait_s(queues, disturbed)
    sojourn = sojourn_s(queues, delay, wait)
    held = number_in_system(queues, disturbed, sojourn)
    slow = slow_share(queues, disturbed, delay, wait)
    result = np.empty((len(number), COLUMNS, len(rates_rps)))
    result[:, ARRIVALS] = arrivals
    result[:, CPU] = (queues.demand_core_s * queues.rate_rps)[:, None] * utilisation
    result[:, CPU] += queues.idle_cores[:, None]
    _put(result, queues, sojourn.reshape(inflow.shape), held.reshape(inflow.shape),
         slow.reshape(inflow.shape), weights)  # fmt: skip
    result[:, SLOW][overloaded] = 1.0
    return result


def _minutes(queues: Queues, arrivals: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Utilisation, number in system and overload at the end of each minute, each (cells, minutes)."""
    utilisation, number = np.empty_like(arrivals), np.empty_like(arrivals)
    overloaded = np.empty(arrivals.shape, dtype=np.bool_)
    backlog = np.zeros((len(arrivals), 1))
    for minute in range(arrivals.shape[1]):
        inflow = backlog + arrivals[:, minute : minute + 1] * MINUTE_S
        rho = utilisation_after(queues, inflow, MINUTE_S)
        sojourn = sojourn_s(queues, delay_probability(queues, rho), wait_s(queues, rho))
        backlog = number_in_system(queues, rho, sojourn)
        full = (inflow[:, 0] >= queues.rate_rps * MINUTE_S) | (backlog[:, 0] > queues.room)
        utilisation[:, minute], number[:, minute], overloaded[:, minute] = rho[:, 0], backlog[:, 0], full
    return utilisation, number, overloaded


def _put(
    result: Floats, queues: Queues, sojourn: Floats, held: Floats, slow: Floats, weights: Floats
) -> None:
    """Write the columns that depend on the disturbance; arrays (n, minutes, 5)."""
    base_s = queues.base_latency_s[:, None]
    result[:, RESPONSE] = base_s + sojourn[:, :, :3] @ weights
    result[:, SLOW] = slow[:, :, :3] @ weights
    result[:, HELD] = held[:, :, 3]
    result[:, RESPONSE_PEAK] = base_s + sojourn[:, :, 4]
    result[:, HELD_PEAK] = held[:, :, 4]


def closed_performance(model: ClusterModel, cells: Ints, users: Floats) -> Floats:
    """Return the performance of plans under closed users.

    Args:
        model: the cluster.
        cells: (plans, S) cell of each service.
        users: (minutes,) users.

    Returns:
        (plans, S, COLUMNS, minutes).
    """
    plans, services = cells.shape
    queues = model.queues.take(cells.reshape(-1))  # plans * S of them
    visits = np.tile(model.visits, plans)[:, None]
    factors, weights = disturbances(model.noise_sigma)
    wanted = (users[:, None] * factors).reshape(-1)  # (minutes * 5,) users
    throughput, number = _balance(model, queues, visits, plans, wanted)
    served = visits * np.repeat(throughput, services, axis=0)  # (plans * S, minutes * 5) requests/s
    utilisation = np.minimum(served / queues.rate_rps[:, None], _FULLEST)
    delay = delay_probability(queues, utilisation)
    service_s = queues.service_time_s[:, None]
    sojourn = np.where(served > 0.0, number / np.maximum(served, 1e-300), service_s)
    wait = np.maximum(sojourn - service_s, 1e-12) / np.maximum(delay, 1e-12)
    slow = slow_share(queues, utilisation, delay, wait)
    shape = (plans * services, len(users), len(factors))
    result = np.empty((plans * services, COLUMNS, len(users)))
    result[:, ARRIVALS] = served.reshape(shape)[:, :, :3] @ _WEIGHTS
    result[:, CPU] = queues.demand_core_s[:, None] * result[:, ARRIVALS] + queues.idle_cores[:, None]
    _put(result, queues, sojourn.reshape(shape), number.reshape(shape), slow.reshape(shape), weights)
    return result.reshape(plans, services, COLUMNS, len(users))


def _balance(
    model: ClusterModel, queues: Queues, visits: Floats, plans: int, users: Floats
) -> tuple[Floats, Floats]:
    """Solve ``users = throughput * think + number in the queues`` for the throughput.

    The right side is computed on a grid of throughputs up to the bottleneck's capacity, which lies denser
    towards it, and is taken to be linear in between.

    Returns:
        (plans, k) external requests/s and (plans * S, k) requests in each queue, for (k,) users.
    """
    capacity = queues.rate_rps[:, None] / np.maximum(visits, 1e-300)  # (plans * S, 1) external requests/s
    most = np.minimum(capacity.reshape(plans, -1).min(axis=1) * _FULLEST, users.max() / model.think_s)
    steps = 1.0 - (1.0 - np.arange(_GRID + 1) / _GRID) ** 3
    grid = most[:, None] * steps  # (plans, grid) external requests/s
    services = len(queues.servers) // plans
    utilisation = np.minimum(np.repeat(grid, services, axis=0) / capacity, _FULLEST)
    sojourn = sojourn_s(queues, delay_probability(queues, utilisation), wait_s(queues, utilisation))
    number = number_in_system(queues, utilisation, sojourn)  # (plans * S, grid)
    needed = grid * model.think_s + number.reshape(plans, services, -1).sum(axis=1)  # (plans, grid) users
    needed[:, -1] = np.maximum(needed[:, -1], users.max())
    place = np.array([np.searchsorted(row, users, side="right") for row in needed])  # (plans, k)
    left = np.clip(place - 1, 0, _GRID - 1)
    below, above = np.take_along_axis(needed, left, 1), np.take_along_axis(needed, left + 1, 1)
    share = np.clip((users - below) / np.maximum(above - below, 1e-300), 0.0, 1.0)
    first = np.take_along_axis(grid, left, 1)
    throughput = first + share * (np.take_along_axis(grid, left + 1, 1) - first)
    left, share = np.repeat(left, services, axis=0), np.repeat(share, services, axis=0)
    fewer = np.take_along_axis(number, left, 1)
    return throughput, fewer + share * (np.take_along_axis(number, left + 1, 1) - fewer)

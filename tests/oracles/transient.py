"""Exact transient law of the number in system of an M(t)/M/c queue with a piecewise-constant arrival rate.

The forward (Kolmogorov) equations of the birth-death chain are integrated on a finite state space by an
implicit method with a tridiagonal Jacobian, so thousands of states cost little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from oracles.inputs import StepLoad

FloatArray = NDArray[np.float64]

MAX_TRUNCATED_PROBABILITY = 1e-7
"""An unlimited queue is refused when its last state ever carries more than this."""


@dataclass(frozen=True, slots=True)
class Transient:
    """Law of the number in system over time."""

    time_s: FloatArray
    """(times,) seconds."""
    distribution: FloatArray
    """(times, states) P(N(t) = n)."""
    servers: int
    """Number of servers."""

    @property
    def mean(self) -> FloatArray:
        """(times,) E[N(t)], requests."""
        return np.asarray(self.distribution @ np.arange(self.distribution.shape[1]))

    @property
    def variance(self) -> FloatArray:
        """(times,) Var[N(t)], requests squared."""
        number = np.arange(self.distribution.shape[1], dtype=np.float64)
        return np.asarray(self.distribution @ number**2 - self.mean**2)

    @property
    def all_busy_probability(self) -> FloatArray:
        """(times,) P(N(t) >= servers)."""
        return np.asarray(self.distribution[:, self.servers :].sum(axis=1))


def transient(
    load: StepLoad,
    service_rate_rps: float,
    servers: int,
    times_s: FloatArray,
    *,
    num_states: int = 2000,
    capacity: int | None = None,
    initial_number: int = 0,
) -> Transient:
    """Integrates the chain through every piece of the load.

    Args:
        load: Arrival rate; its last piece must reach the last of `times_s`.
        service_rate_rps: Rate of one server, 1/s.
        servers: Number of servers.
        times_s: (times,) ascending instants at which the law is wanted, seconds.
        num_states: States kept for an unlimited queue; must be ample, which is checked.
        capacity: Most requests in the system (exact M(t)/M/c/K); None for an unlimited queue.
        initial_number: Requests in the system at time 0.

    Raises:
        ValueError: The state space is too small, or the load ends too early.
    """
    if times_s[-1] > load.duration_s + 1e-9:
        raise ValueError(f"the load lasts {load.duration_s} s, times reach {times_s[-1]} s")
    states = num_states if capacity is None else capacity + 1
    death_rps = service_rate_rps * np.minimum(np.arange(1, states), servers)  # (states - 1,) from n + 1 to n
    probability = np.zeros(states)
    probability[initial_number] = 1.0
    distribution = np.empty((len(times_s), states))
    distribution[times_s == 0.0] = probability
    for start_s, duration_s, rate_rps in zip(load.starts_s, load.durations_s, load.rates_rps, strict=True):
        wanted = (times_s > start_s) & (times_s <= start_s + duration_s)
        instants_s = np.minimum(times_s[wanted] - start_s, duration_s)
        path = _integrate(probability, rate_rps, death_rps, np.union1d(instants_s, duration_s))
        distribution[wanted] = path[: len(instants_s)]
        probability = path[-1]
    if capacity is None and distribution[:, -1].max() > MAX_TRUNCATED_PROBABILITY:
        raise ValueError(f"{states} states are too few: the last carries {distribution[:, -1].max():.2g}")
    return Transient(times_s, distribution, servers)


def _integrate(
    probability: FloatArray, rate_rps: float, death_rps: FloatArray, times_s: FloatArray
) -> FloatArray:
    """Laws at `times_s` (seconds after the start, at a constant arrival rate), shape (times, states)."""
    states = len(probability)
    banded = np.zeros((3, states))  # (diagonals, states) 1/s, column j holds the rates out of state j
    banded[0, 1:] = death_rps
    banded[2, :-1] = rate_rps
    banded[1] = -(banded[0] + banded[2])

    def derivative(_: float, p: FloatArray) -> FloatArray:
        change: FloatArray = banded[1] * p
        change[:-1] += banded[0, 1:] * p[1:]
        change[1:] += banded[2, :-1] * p[:-1]
        return change

    solution = solve_ivp(
        derivative,
        (0.0, float(times_s[-1])),
        probability,
        method="LSODA",
        t_eval=times_s,
        jac=lambda _t, _p: banded,
        lband=1,
        uband=1,
        rtol=1e-8,
        atol=1e-13,
    )
    if not solution.success:
        raise ValueError(f"integration failed: {solution.message}")
    return np.array(solution.y.T, dtype=np.float64)

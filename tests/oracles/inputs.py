"""Random inputs of the queueing oracles: arrival instants, service times, think times.

Everything random is drawn here, before a simulation starts: two simulators can be run on the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepLoad:
    """Arrival rate of a Poisson process that is constant on consecutive pieces, starting at time 0."""

    durations_s: tuple[float, ...]
    """Length of each piece, seconds."""
    rates_rps: tuple[float, ...]
    """Arrival rate on each piece, requests per second."""

    def __post_init__(self) -> None:
        if len(self.durations_s) != len(self.rates_rps):
            raise ValueError(f"{len(self.durations_s)} durations but {len(self.rates_rps)} rates")

    @property
    def duration_s(self) -> float:
        """Length of all pieces together, seconds."""
        return math.fsum(self.durations_s)

    @property
    def starts_s(self) -> FloatArray:
        """Start of each piece, shape (pieces,), seconds."""
        return np.concatenate(([0.0], np.cumsum(self.durations_s)[:-1]))

    def sample_arrivals(self, rng: np.random.Generator) -> FloatArray:
        """Sorted arrival instants in seconds: a Poisson count per piece, uniform on the piece (exact)."""
        pieces = zip(self.starts_s, self.durations_s, self.rates_rps, strict=True)
        return np.concatenate(
            [
                np.sort(rng.uniform(start_s, start_s + duration_s, rng.poisson(rate_rps * duration_s)))
                for start_s, duration_s, rate_rps in pieces
            ]
        )


def constant_load(rate_rps: float, duration_s: float) -> StepLoad:
    """One piece."""
    return StepLoad((duration_s,), (rate_rps,))


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Service time law with a given mean and coefficient of variation.

    Below cv 1 a constant plus an exponential (cv 0: the constant alone), at 1 an exponential, above 1 a
    two-phase hyperexponential whose phases carry equal shares of the mean (balanced means).
    """

    mean_s: float
    """Mean, seconds."""
    cv: float = 1.0
    """Coefficient of variation: standard deviation over mean."""

    @property
    def second_moment_s2(self) -> float:
        """E[S^2], seconds squared."""
        return self.mean_s**2 * (1.0 + self.cv**2)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> FloatArray:
        """Service times of the given shape, seconds."""
        unit = rng.exponential(1.0, size)
        if self.cv <= 1.0:
            return self.mean_s * ((1.0 - self.cv) + self.cv * unit)
        share = 0.5 * (1.0 + math.sqrt((self.cv**2 - 1.0) / (self.cv**2 + 1.0)))
        in_first_phase = rng.random(size) < share
        phase_mean_s = np.where(
            in_first_phase, self.mean_s / (2.0 * share), self.mean_s / (2.0 * (1.0 - share))
        )
        return np.asarray(phase_mean_s * unit)


@dataclass(frozen=True, slots=True)
class Requests:
    """An open stream of requests, in order of arrival."""

    arrival_s: FloatArray
    """(requests,) arrival instants, seconds, ascending."""
    service_s: FloatArray
    """(requests,) service times, seconds."""
    queue: NDArray[np.int64]
    """(requests,) which of the separate queues each request joins."""
    num_queues: int
    """Number of separate queues."""


def draw_requests(
    load: StepLoad, service: ServiceTime, rng: np.random.Generator, num_queues: int = 1
) -> Requests:
    """Poisson arrivals of `load`, independent service times, uniform random routing over the queues."""
    arrival_s = load.sample_arrivals(rng)
    service_s = service.sample(rng, len(arrival_s))
    queue = rng.integers(num_queues, size=len(arrival_s))
    return Requests(arrival_s, service_s, queue, num_queues)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Closed users: each thinks, sends a request, waits for its end, and thinks again."""

    think_s: FloatArray
    """(users, rounds) think times, seconds."""
    service_s: FloatArray
    """(users, rounds) service times, seconds."""
    horizon_s: float
    """The draws suffice up to here whatever the response times, seconds."""


def draw_sessions(
    num_users: int, think_mean_s: float, service: ServiceTime, horizon_s: float, rng: np.random.Generator
) -> Sessions:
    """Exponential think times (all users start thinking at time 0) and service times up to `horizon_s`."""
    if think_mean_s <= 0.0:
        raise ValueError(f"think time must be positive, got {think_mean_s} s")
    think_s = np.empty((num_users, 0))
    while think_s.shape[1] == 0 or think_s.sum(axis=1).min() <= horizon_s:
        more = rng.exponential(think_mean_s, (num_users, math.ceil(horizon_s / think_mean_s) + 10))
        think_s = np.concatenate((think_s, more), axis=1)
    return Sessions(think_s, service.sample(rng, think_s.shape), horizon_s)

"""Closed forms of classical queues, written independently of the simulator.

Stationary distributions of birth-death chains are summed directly, from logarithms of their weights; no
recursion and no table is involved. Notation: `servers` c, arrival rate lambda, service rate mu, rates in 1/s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

FloatArray = NDArray[np.float64]

NEGLIGIBLE_PROBABILITY = 1e-17
"""The infinite sums are cut where the geometric tail falls below this."""


def _require_stable(utilization: float) -> None:
    if not 0.0 <= utilization < 1.0:
        raise ValueError(f"no stationary law: utilization {utilization:g} is outside [0, 1)")


def _log_weights(offered_load: float, servers: int, max_number: int) -> FloatArray:
    """Logarithms of the unnormalised stationary weights of 0..max_number requests in an M/M/c queue."""
    number = np.arange(max_number + 1, dtype=np.float64)  # (max_number + 1,) requests
    in_service = np.minimum(number, servers)
    waiting = number - in_service
    return np.asarray(
        in_service * math.log(offered_load)
        - gammaln(in_service + 1.0)
        + waiting * (math.log(offered_load) - math.log(servers))
    )


def erlang_b(servers: int, offered_load: float) -> float:
    """Blocking probability of M/M/c/c; `offered_load` is lambda/mu in Erlang, any positive value."""
    log_weights = _log_weights(offered_load, servers, servers)
    return float(np.exp(log_weights[-1] - logsumexp(log_weights)))


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arrival must wait in M/M/c; needs `offered_load` < `servers`."""
    utilization = offered_load / servers
    _require_stable(utilization)
    blocking = erlang_b(servers, offered_load)
    return blocking / (1.0 - utilization * (1.0 - blocking))


@dataclass(frozen=True, slots=True)
class MMc:
    """Stationary M/M/c queue, first come first served, unlimited waiting room."""

    arrival_rate_rps: float
    """Poisson arrival rate, requests per second."""
    service_rate_rps: float
    """Rate of one server, requests per second."""
    servers: int = 1
    """Number of servers."""

    def __post_init__(self) -> None:
        _require_stable(self.utilization)

    @property
    def offered_load(self) -> float:
        """lambda/mu, Erlang."""
        return self.arrival_rate_rps / self.service_rate_rps

    @property
    def utilization(self) -> float:
        """lambda/(c mu)."""
        return self.offered_load / self.servers

    @property
    def spare_rate_rps(self) -> float:
        """c mu - lambda: the rate of the exponential wait of those that wait."""
        return self.servers * self.service_rate_rps - self.arrival_rate_rps

    @property
    def wait_probability(self) -> float:
        """P(wait > 0)."""
        return erlang_c(self.servers, self.offered_load)

    @property
    def mean_wait_s(self) -> float:
        """Mean wait of all requests, seconds."""
        return self.wait_probability / self.spare_rate_rps

    @property
    def mean_response_time_s(self) -> float:
        """Mean wait plus mean service, seconds."""
        return self.mean_wait_s + 1.0 / self.service_rate_rps

    @property
    def mean_number_in_system(self) -> float:
        """Mean requests in the system, by Little's law."""
        return self.arrival_rate_rps * self.mean_response_time_s

    def distribution(self) -> FloatArray:
        """P(N = n) for n = 0, 1, ... until the rest is negligible, shape (states,)."""
        log_negligible = math.log(NEGLIGIBLE_PROBABILITY * (1.0 - self.utilization))
        extra = math.ceil(log_negligible / math.log(self.utilization))
        log_weights = _log_weights(self.offered_load, self.servers, self.servers + extra)
        return np.asarray(np.exp(log_weights - logsumexp(log_weights)))

    @property
    def variance_number_in_system(self) -> float:
        """Variance of the requests in the system, by summing the stationary distribution."""
        probability = self.distribution()
        number = np.arange(len(probability))
        mean = float(probability @ number)
        return float(probability @ (number - mean) ** 2)

    def wait_tail(self, time_s: float) -> float:
        """P(wait > time_s)."""
        return self.wait_probability * math.exp(-self.spare_rate_rps * time_s)

    def response_time_tail(self, time_s: float) -> float:
        """P(response time > time_s): an exponential service, after an exponential wait with P(wait > 0)."""
        mu, theta = self.service_rate_rps, self.spare_rate_rps
        slower, gap = min(mu, theta), abs(mu - theta)
        # (exp(-slower t) - exp(-faster t)) / gap, which tends to t exp(-slower t) as the rates meet.
        ratio = time_s if gap * time_s < 1e-12 else -math.expm1(-gap * time_s) / gap
        return math.exp(-mu * time_s) + self.wait_probability * mu * math.exp(-slower * time_s) * ratio

    def response_time_quantile(self, level: float) -> float:
        """Smallest t with P(response time <= t) >= level, seconds."""
        upper_s = self.mean_response_time_s
        while self.response_time_tail(upper_s) > 1.0 - level:
            upper_s *= 2.0
        return float(brentq(lambda t: self.response_time_tail(t) - (1.0 - level), 0.0, upper_s, xtol=1e-14))


def mg1_fcfs_mean_wait_s(arrival_rate_rps: float, service_mean_s: float, service_cv: float) -> float:
    """Pollaczek-Khinchine mean wait of M/G/1, first come first served, seconds."""
    utilization = arrival_rate_rps * service_mean_s
    _require_stable(utilization)
    second_moment_s2 = service_mean_s**2 * (1.0 + service_cv**2)
    return arrival_rate_rps * second_moment_s2 / (2.0 * (1.0 - utilization))


def mg1_fcfs_mean_response_time_s(arrival_rate_rps: float, service_mean_s: float, service_cv: float) -> float:
    """Mean response time of M/G/1, first come first served, seconds."""
    return service_mean_s + mg1_fcfs_mean_wait_s(arrival_rate_rps, service_mean_s, service_cv)


def mg1_ps_mean_response_time_s(arrival_rate_rps: float, service_mean_s: float) -> float:
    """Mean response time of M/G/1 with processor sharing, whatever the service law, seconds."""
    utilization = arrival_rate_rps * service_mean_s
    _require_stable(utilization)
    return service_mean_s / (1.0 - utilization)


def mgc_ps_mean_response_time_s(arrival_rate_rps: float, service_mean_s: float, servers: int) -> float:
    """Mean response time of M/G/c with processor sharing, a request using at most one server, seconds.

    The number in system is insensitive to the service law (Cohen, 1979), hence that of M/M/c.
    """
    return MMc(arrival_rate_rps, 1.0 / service_mean_s, servers).mean_response_time_s


def mm1_ps_response_time_variance_s2(arrival_rate_rps: float, service_rate_rps: float) -> float:
    """Variance of the response time of M/M/1 with processor sharing, s^2.

    Source: Coffman, Muntz and Trotter, Waiting time distributions for processor-sharing systems, 1970.
    """
    utilization = arrival_rate_rps / service_rate_rps
    _require_stable(utilization)
    return (2.0 + utilization) / ((2.0 - utilization) * (1.0 - utilization) ** 2 * service_rate_rps**2)


def mm1k_blocking_probability(arrival_rate_rps: float, service_rate_rps: float, capacity: int) -> float:
    """Probability that an arrival finds `capacity` requests in an M/M/1/K queue; any utilization."""
    utilization = arrival_rate_rps / service_rate_rps
    if utilization == 1.0:
        return 1.0 / (capacity + 1)
    return (1.0 - utilization) * utilization**capacity / (1.0 - utilization ** (capacity + 1))


def mmck_distribution(
    arrival_rate_rps: float, service_rate_rps: float, servers: int, capacity: int
) -> FloatArray:
    """P(N = n) of M/M/c/K for n = 0..capacity, shape (capacity + 1,); the last entry is the blocking."""
    log_weights = _log_weights(arrival_rate_rps / service_rate_rps, servers, capacity)
    return np.asarray(np.exp(log_weights - logsumexp(log_weights)))


def mmc_timeout_probability(
    arrival_rate_rps: float, service_rate_rps: float, servers: int, timeout_s: float
) -> float:
    """Share of the requests that leave the queue of M/M/c+D because their wait reached `timeout_s`.

    Source: Zeltyn and Mandelbaum, Call centers with impatient customers: many-server asymptotics of the
    M/M/n+G queue, 2005 (building blocks J and E), with all patience equal to `timeout_s`. Any utilization.
    """
    spare_rate_rps = servers * service_rate_rps - arrival_rate_rps
    offered_load = arrival_rate_rps / service_rate_rps
    before_s = (
        timeout_s if spare_rate_rps == 0.0 else -math.expm1(-spare_rate_rps * timeout_s) / spare_rate_rps
    )
    j_s = before_s + math.exp(-spare_rate_rps * timeout_s) / (servers * service_rate_rps)
    log_weights = _log_weights(offered_load, servers, servers - 1)
    e = math.exp(logsumexp(log_weights) - log_weights[-1])
    return (1.0 - spare_rate_rps * j_s) / (e + arrival_rate_rps * j_s)


@dataclass(frozen=True, slots=True)
class ClosedSystem:
    """Stationary figures of an interactive system of users that think and wait."""

    throughput_rps: float
    """Completed requests per second."""
    mean_response_time_s: float
    """Mean response time, seconds."""
    mean_number_in_system: float
    """Mean users that wait or are served."""


def machine_repairman(
    num_users: int, think_mean_s: float, service_rate_rps: float, servers: int
) -> ClosedSystem:
    """Exact M/M/c//N: exponential think and service times, first come first served."""
    number = np.arange(num_users + 1)  # (num_users + 1,) users in the system
    birth_rps = (num_users - number[:-1]) / think_mean_s
    death_rps = np.minimum(number[1:], servers) * service_rate_rps
    log_weights = np.concatenate(([0.0], np.cumsum(np.log(birth_rps) - np.log(death_rps))))
    probability = np.exp(log_weights - logsumexp(log_weights))
    throughput_rps = float(probability[1:] @ death_rps)
    return ClosedSystem(
        throughput_rps, num_users / throughput_rps - think_mean_s, float(probability @ number)
    )

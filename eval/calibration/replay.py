"""The queue of one service under recorded arrivals and recorded ready replicas, by the simulator itself.

A cluster with this one service is driven through the recorded run: its pods start in no time, so that they
are ready exactly when the recorded ones were, and its arrivals are the recorded ones. What is left is the law
of the queue, whose constants are in question. Several candidates run side by side.

Arrivals are known as means over an interval; within it they fluctuate, and fluctuation makes queues. The
simulator's own disturbance of the rate is laid over every interval such that its mean stays, and each
candidate is the average of several such courses, the same ones for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.cluster import SimulatedClusters, stream_seeds
from podgym.envs.simulator.parameters import (
    ClusterConfig,
    LoadParameters,
    MonitoringParameters,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)
from podgym.envs.simulator.world import log_sigma, set_parameters
from podgym.envs.workloads.profile import LoadProfile
from podgym.eval.calibration.series import ServiceSeries

Floats = NDArray[np.float64]

NUM_COURSES = 6
"""Courses of the arrivals within the intervals that a replay averages over."""
_PLENTY_CORES = 1e5
_PLENTY_BYTES = 1e15


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What the queue did, (num_candidates, num_intervals)."""

    completed: Floats
    """Requests completed."""
    pod_time_s: Floats
    """Mean time of a request in the pods: service and wait, without the base latency; nan where none was
    completed."""
    wait_s: Floats
    """Its mean wait."""
    held_request_s: Floats
    """Requests whose memory was held, times seconds."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """Ticks in which nothing changes."""

    interval: int
    num_ticks: int
    replicas: int
    limit_cores: float


class QueueReplay:
    """Replays one recorded service for any candidates of its constants."""

    def __init__(self, series: ServiceSeries, tick_s: float, noise: LoadParameters) -> None:
        """Prepare the arrivals and the changes of the ready replicas.

        Args:
            series: what was recorded.
            tick_s: time step of the simulation.
            noise: how arrivals fluctuate within an interval.
        """
        self._tick_s = tick_s
        self._num_intervals = series.num_intervals
        edges = np.rint(np.concatenate([[0.0], series.ends_s]) / tick_s).astype(np.int64)
        interval_of = np.repeat(np.arange(series.num_intervals), np.diff(edges))  # (num_ticks,)
        rates_rps = series.arrived / series.durations_s
        courses = NUM_COURSES if noise.rate_noise_cv > 0.0 else 1
        self._profiles = [
            LoadProfile(np.append(each, each[-1]), tick_s, "open", 0.0, "recorded arrivals")
            for each in (
                fluctuating(rates_rps, interval_of, tick_s, noise, np.random.default_rng(course))
                for course in range(courses)
            )
        ]
        ready = series.ready.at(tick_s * np.arange(len(interval_of), dtype=np.float64)).astype(np.int64)
        # A pod that is wanted in one tick is ready in the next; one that is not wanted is gone at once.
        wanted = np.maximum(ready, np.append(ready[1:], ready[-1]))
        limits = series.limit_cores[interval_of]
        self._segments = _segments(interval_of, wanted, limits)
        self._first_ready = int(ready[0])
        self._most_ready = int(max(ready.max(), 1))

    def run(self, candidates: Sequence[ServiceParameters]) -> Replayed:
        """Replay the run once for each candidate."""
        courses = len(self._profiles)
        count = len(candidates) * courses
        clusters = SimulatedClusters(self._config(candidates[0]), count)
        seeds = stream_seeds(np.random.default_rng(0))
        for index, (candidate, profile) in enumerate(product(candidates, self._profiles)):
            set_parameters(clusters.world, index, self._config(candidate))
            clusters.reset(index, profile, seeds)
        sums = {
            name: np.zeros((count, self._num_intervals)) for name in ("completed", "time", "wait", "held")
        }
        for segment in self._segments:
            clusters.world.cluster_parameters["ticks"] = segment.num_ticks
            replicas = np.full((count, 1), segment.replicas, dtype=np.int64)
            quota = (segment.limit_cores, segment.limit_cores, 1.0, 1000.0)
            clusters.decide(replicas, np.tile(quota, (count, 1, 1)))
            report = clusters.advance()[:, 0]
            completed, wait_s = report["completed"], report["wait_probability"] * report["wait_mean_s"]
            sums["completed"][:, segment.interval] += completed
            sums["time"][:, segment.interval] += completed * (report["service_mean_s"] + wait_s)
            sums["wait"][:, segment.interval] += completed * wait_s
            sums["held"][:, segment.interval] += report["memory_used_byte_s"]
        means = {name: each.reshape(len(candidates), courses, -1).mean(axis=1) for name, each in sums.items()}
        per_request = np.where(means["completed"] > 1e-6, means["completed"], np.nan)
        return Replayed(
            means["completed"], means["time"] / per_request, means["wait"] / per_request, means["held"]
        )

    def _config(self, candidate: ServiceParameters) -> ClusterConfig:
        """Return a cluster in which only the queue of the candidate is left: nothing starts or fails."""
        physics = replace(
            candidate, base_latency_s=0.0, base_memory_bytes=0.0, memory_per_request_bytes=1.0,
            memory_growth_bytes_per_s=0.0, image_pull_s=0.0, start_up_s=0.0, warm_up_s=0.0,
            termination_s=0.0, start_failure_probability=0.0, resize="in_place", in_place_resize_s=0.0,
        )  # fmt: skip
        limit_cores = self._segments[0].limit_cores
        service = ServiceConfig(
            parameters=physics,
            initial_replicas=max(self._first_ready, 1),
            max_replicas=self._most_ready,
            cpu_request_cores=limit_cores,
            cpu_limit_ratio=1.0,
            memory_request_bytes=1.0,
            memory_limit_ratio=1000.0,
        )
        return ClusterConfig(
            services=(service,),
            nodes=NodeParameters(
                count=1, cpu_cores=_PLENTY_CORES, memory_bytes=_PLENTY_BYTES, max_pods=10**6
            ),
            load=LoadParameters(rate_noise_cv=0.0),
            monitoring=MonitoringParameters(scrape_interval_s=1e6),
            control_interval_s=self._tick_s,
            tick_s=self._tick_s,
        )


def fluctuating(
    rates_rps: Floats,
    interval_of: NDArray[np.int64],
    tick_s: float,
    noise: LoadParameters,
    rng: np.random.Generator,
) -> Floats:
    """Return the rate in every tick: that of its interval, disturbed such that the interval's mean stays.

    Args:
        rates_rps: (num_intervals,) mean rates.
        interval_of: (num_ticks,) interval of each tick.
        tick_s: length of a tick.
        noise: log-normal disturbance, drawn anew after each of its periods.
        rng: draws it.
    """
    if noise.rate_noise_cv <= 0.0:
        return np.asarray(rates_rps[interval_of])
    sigma = log_sigma(noise.rate_noise_cv)
    period_of = (np.arange(len(interval_of)) * tick_s / noise.rate_noise_period_s + 1e-9).astype(np.int64)
    factors = np.exp(sigma * rng.standard_normal(int(period_of[-1]) + 1))[period_of]
    ticks = np.maximum(np.bincount(interval_of, minlength=len(rates_rps)), 1)
    means = np.bincount(interval_of, weights=factors, minlength=len(rates_rps)) / ticks
    return np.asarray(rates_rps[interval_of] * factors / means[interval_of])


def _segments(
    interval_of: NDArray[np.int64], wanted: NDArray[np.int64], limit_cores: Floats
) -> tuple[_Segment, ...]:
    """Cut the ticks where the interval, the replicas or the limit changes."""
    changes = (np.diff(interval_of) != 0) | (np.diff(wanted) != 0) | (np.diff(limit_cores) != 0.0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(np.append(starts, len(interval_of)))
    return tuple(
        _Segment(int(interval_of[at]), int(length), int(wanted[at]), float(limit_cores[at]))
        for at, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    )

"""Reference experiment "overload and recovery", by discrete-event simulation.

A queue of c servers starts empty, runs at 0.7 of its capacity for 60 s, at 1.5 times its capacity for 120 s,
and at 0.7 again for 420 s. The results of many replications stand in `overload_recovery.json`; from the
folder `tests`, `python -m oracles.scenarios` makes that file again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracles.closed_forms import MMc
from oracles.discrete_event import RequestLog, replicate
from oracles.fast_queues import simulate_fcfs
from oracles.inputs import FloatArray, ServiceTime, StepLoad, draw_requests

RESULTS_PATH = Path(__file__).with_name("overload_recovery.json")
COMMAND = "cd tests && python -m oracles.scenarios"

BASE_UTILIZATION = 0.7
OVERLOAD_UTILIZATION = 1.5
DURATIONS_S = (60.0, 120.0, 420.0)
OVERLOAD_END_S = DURATIONS_S[0] + DURATIONS_S[1]
INTERVAL_S = 15.0
LEVELS = (0.5, 0.95, 0.99)

CASES = {
    (1, 0.02): 8000,
    (1, 0.1): 20000,
    (4, 0.02): 2000,
    (4, 0.1): 10000,
    (16, 0.02): 1000,
    (16, 0.1): 2500,
}
"""Replications by (servers, mean service time in s): more where a run is short and noisy."""
SEED = 20240917

SHORTEST_S = 1e-6
"""Lower edge of the response-time histogram, seconds; anything shorter counts as this."""
LOG_BIN = 1e-3
"""Width of a histogram bin in the logarithm: quantiles are exact within 0.1 %."""
NUM_BINS = 22000


@dataclass(frozen=True, slots=True)
class OverloadRecovery:
    """What the replications of one case show. "Backlog" is the number of requests in the system."""

    servers: int
    """Number of servers."""
    service_mean_s: float
    """Mean of the exponential service time, seconds."""
    replications: int
    """Number of independent runs."""
    stationary_number: float
    """Exact stationary mean backlog at the base load, requests."""
    peak_backlog: float
    """Largest value of the mean backlog path, requests."""
    peak_backlog_standard_error: float
    """Standard error of the mean backlog at that second, requests."""
    drain_time_s: float
    """From the end of the overload until the mean backlog is at most 1.1 stationary + 1, seconds."""
    drain_time_of_a_run_s: float
    """From the end of the overload until the backlog of a run first is there, mean over the runs, seconds."""
    response_time_mean_s: float
    """Mean over all requests completed in the experiment, all runs pooled, seconds."""
    response_time_p95_s: float
    """95th percentile of the same requests, seconds."""
    response_time_p95_of_a_run_s: float
    """95th percentile within a run, mean over the runs, seconds."""
    backlog: tuple[float, ...]
    """(601,) mean backlog at 0, 1, ..., 600 s, requests."""
    backlog_std: tuple[float, ...]
    """(601,) standard deviation of the backlog over the runs, requests."""
    interval_completed: tuple[float, ...]
    """(40,) mean requests completed in each 15 s interval, per run."""
    interval_mean_s: tuple[float, ...]
    """(40,) mean response time of the requests completed in each interval, pooled, seconds."""
    interval_p50_s: tuple[float, ...]
    """(40,) median, likewise."""
    interval_p95_s: tuple[float, ...]
    """(40,) 95th percentile, likewise."""
    interval_p99_s: tuple[float, ...]
    """(40,) 99th percentile, likewise."""

    @property
    def drain_threshold(self) -> float:
        """Backlog that counts as recovered, requests."""
        return recovered_number(self.stationary_number)


def recovered_number(stationary_number: float) -> float:
    """Within 10 % and one request of the stationary mean."""
    return 1.1 * stationary_number + 1.0


def overload_load(servers: int, service_mean_s: float) -> StepLoad:
    """The arrival rate of the experiment."""
    capacity_rps = servers / service_mean_s
    utilizations = (BASE_UTILIZATION, OVERLOAD_UTILIZATION, BASE_UTILIZATION)
    return StepLoad(DURATIONS_S, tuple(utilization * capacity_rps for utilization in utilizations))


class _Tally:
    """Sums over the replications."""

    def __init__(self, load: StepLoad, threshold: float) -> None:
        self.times_s = np.arange(load.duration_s + 0.5)  # (seconds + 1,) s
        self.edges_s = np.arange(0.0, load.duration_s + 0.5 * INTERVAL_S, INTERVAL_S)
        self.threshold = threshold
        intervals = len(self.edges_s) - 1
        self.replications = 0
        self.number_sum = np.zeros(len(self.times_s))
        self.number_square_sum = np.zeros(len(self.times_s))
        self.histogram = np.zeros((intervals, NUM_BINS), dtype=np.int64)  # completed requests
        self.response_sum_s = np.zeros(intervals)
        self.run_drain_s: list[float] = []
        self.run_p95_s: list[float] = []

    def add(self, log: RequestLog) -> None:
        number = log.number_in_system(self.times_s)
        self.replications += 1
        self.number_sum += number
        self.number_square_sum += number.astype(np.float64) ** 2
        after = (self.times_s >= OVERLOAD_END_S) & (number <= self.threshold)
        self.run_drain_s.append(self.times_s[after][0] - OVERLOAD_END_S if after.any() else math.inf)
        completed = np.isfinite(log.response_time_s)
        response_s = log.response_time_s[completed]
        self.run_p95_s.append(float(np.quantile(response_s, 0.95)))
        intervals = len(self.response_sum_s)
        interval = np.searchsorted(self.edges_s, log.departure_s[completed], side="left") - 1
        self.response_sum_s += np.bincount(interval, response_s, intervals)
        bins = (np.log(np.maximum(response_s, SHORTEST_S) / SHORTEST_S) / LOG_BIN).astype(np.int64)
        counts = np.bincount(interval * NUM_BINS + bins, minlength=self.histogram.size)
        self.histogram += counts.reshape(self.histogram.shape)


def histogram_quantile(counts: NDArray[np.int64], level: float) -> float:
    """Quantile in seconds from counts per logarithmic bin, shape (NUM_BINS,), linear within the bin."""
    cumulative = np.cumsum(counts)
    target = level * cumulative[-1]
    index = int(np.searchsorted(cumulative, target))
    inside = (target - (cumulative[index] - counts[index])) / counts[index]
    return SHORTEST_S * math.exp((index + inside) * LOG_BIN)


def drain_time_s(times_s: FloatArray, mean_number: FloatArray, threshold: float) -> float:
    """From the end of the overload until the mean path meets the threshold, interpolated, seconds."""
    recovered = np.flatnonzero((times_s >= OVERLOAD_END_S) & (mean_number <= threshold))
    if len(recovered) == 0:
        return math.inf
    last = int(recovered[0])
    above, below = mean_number[last - 1], mean_number[last]
    crossing_s = times_s[last - 1] + (above - threshold) / (above - below) * (
        times_s[last] - times_s[last - 1]
    )
    return float(crossing_s - OVERLOAD_END_S)


def run_overload_recovery(
    servers: int,
    service_mean_s: float,
    *,
    replications: int,
    seed: int = SEED,
    engine: Callable[..., RequestLog] = simulate_fcfs,
) -> OverloadRecovery:
    """Simulates one case.

    Args:
        servers: Number of servers.
        service_mean_s: Mean of the exponential service time, seconds.
        replications: Independent runs.
        seed: Of all random numbers; the same for both engines.
        engine: `simulate_fcfs`, or `discrete_event.simulate_fcfs_simpy` for small cases.
    """
    load = overload_load(servers, service_mean_s)
    stationary = MMc(load.rates_rps[0], 1.0 / service_mean_s, servers).mean_number_in_system
    tally = _Tally(load, recovered_number(stationary))

    def simulate(rng: np.random.Generator) -> RequestLog:
        requests = draw_requests(load, ServiceTime(service_mean_s), rng)
        return engine(requests, servers, horizon_s=load.duration_s)

    for log in replicate(simulate, replications, seed):
        tally.add(log)
    return _summary(tally, servers, service_mean_s, stationary)


def _summary(tally: _Tally, servers: int, service_mean_s: float, stationary: float) -> OverloadRecovery:
    mean_number = tally.number_sum / tally.replications
    variance = np.maximum(tally.number_square_sum / tally.replications - mean_number**2, 0.0)
    peak = int(np.argmax(mean_number))
    completed = tally.histogram.sum(axis=1)
    pooled = tally.histogram.sum(axis=0)
    p50_s, p95_s, p99_s = (
        tuple(histogram_quantile(counts, level) for counts in tally.histogram) for level in LEVELS
    )
    return OverloadRecovery(
        servers=servers,
        service_mean_s=service_mean_s,
        replications=tally.replications,
        stationary_number=stationary,
        peak_backlog=float(mean_number[peak]),
        peak_backlog_standard_error=math.sqrt(variance[peak] / tally.replications),
        drain_time_s=drain_time_s(tally.times_s, mean_number, tally.threshold),
        drain_time_of_a_run_s=float(np.mean(tally.run_drain_s)),
        response_time_mean_s=float(tally.response_sum_s.sum() / completed.sum()),
        response_time_p95_s=histogram_quantile(pooled, 0.95),
        response_time_p95_of_a_run_s=float(np.mean(tally.run_p95_s)),
        backlog=tuple(mean_number.tolist()),
        backlog_std=tuple(np.sqrt(variance).tolist()),
        interval_completed=tuple((completed / tally.replications).tolist()),
        interval_mean_s=tuple((tally.response_sum_s / completed).tolist()),
        interval_p50_s=p50_s,
        interval_p95_s=p95_s,
        interval_p99_s=p99_s,
    )


def load_overload_recovery(path: Path = RESULTS_PATH) -> dict[tuple[int, float], OverloadRecovery]:
    """The cached results, by (servers, mean service time in s)."""
    document = json.loads(path.read_text(encoding="utf-8"))
    results = {}
    for case in document["cases"]:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in case.items()
        }
        result = OverloadRecovery(**fields)
        results[result.servers, result.service_mean_s] = result
    return results


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return [_rounded(item) for item in value] if isinstance(value, tuple) else value


def main() -> None:
    """Simulates all cases and writes the file."""
    parser = argparse.ArgumentParser(description="Simulate overload and recovery, and write the results.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=RESULTS_PATH)
    arguments = parser.parse_args()
    cases = []
    for (servers, service_mean_s), replications in CASES.items():
        result = run_overload_recovery(
            servers, service_mean_s, replications=replications, seed=arguments.seed
        )
        cases.append({name: _rounded(value) for name, value in asdict(result).items()})
        print(servers, service_mean_s, result.peak_backlog, result.drain_time_s, result.response_time_p95_s)
    head = {"command": f"{COMMAND} --seed {arguments.seed}", "seed": arguments.seed}
    lines = ",\n".join(json.dumps(case, allow_nan=False) for case in cases)
    arguments.output.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()

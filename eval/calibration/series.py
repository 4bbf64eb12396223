"""What was measured of one service, as arrays over the control intervals.

Only columns that a real cluster measures are looked at, never what only a simulator can know (its base
latency, its waits), so that a fit of a simulated recording is an honest test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.eval.calibration.recording import Recording, ScrapeSight

Floats = NDArray[np.float64]

LEAST_INTERVALS = 20
"""Fewer intervals than this are no base for a fit."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadySteps:
    """Ready replicas over time: constant between moments."""

    times_s: Floats
    """(m,) moments from which on a number holds, ascending; the first is 0."""
    replicas: Floats
    """(m,) ready replicas."""

    def at(self, times_s: Floats) -> Floats:
        """Return the ready replicas at some moments, (k,); before the first moment those of the first."""
        index = np.searchsorted(self.times_s, times_s + 1e-9, side="right") - 1
        return np.asarray(self.replicas[np.maximum(index, 0)])

    def integral(self, starts_s: Floats, ends_s: Floats) -> Floats:
        """Return ready pod-seconds between some moments, (k,)."""
        edges = np.append(self.times_s, np.inf)
        overlap = np.minimum(ends_s[:, None], edges[None, 1:]) - np.maximum(
            starts_s[:, None], edges[None, :-1]
        )
        before = np.maximum(np.minimum(ends_s, edges[0]) - starts_s, 0.0) * self.replicas[0]
        return np.asarray(np.maximum(overlap, 0.0) @ self.replicas + before)


@dataclass(frozen=True, slots=True, eq=False)
class ServiceSeries:
    """One service; arrays are (n,) over the control intervals."""

    name: str
    ends_s: Floats
    """End of each interval since the run began."""
    durations_s: Floats
    arrived: Floats
    """Requests that arrived; gaps are filled, see ``offered_known``."""
    offered_known: NDArray[np.bool_]
    """Where the arrivals were measured."""
    completed: Floats
    """Requests completed."""
    response_s: Floats
    """Mean response time; nan where none completed or none was measured."""
    cpu_core_s: Floats
    """CPU used by all pods; nan where it was not measured."""
    memory_byte_s: Floats
    """Memory used by all ready pods; nan where it was not measured."""
    ready: ReadySteps
    """Ready replicas, delayed by as much as the metrics lag behind."""
    ready_s: Floats
    """Ready pod-seconds in each interval, delayed likewise."""
    unready_s: Floats
    """Pod-seconds of pods that were not ready: starting, or waiting for a node."""
    limit_cores: Floats
    """CPU limit of a pod."""
    lag_s: float
    """By how much the metrics lag behind the interval that they are reported for."""

    @property
    def starts_s(self) -> Floats:
        """Start of each interval."""
        return np.asarray(self.ends_s - self.durations_s)

    @property
    def num_intervals(self) -> int:
        """Number of intervals."""
        return len(self.ends_s)


def service_series(recording: Recording, name: str, limit_cores: float) -> ServiceSeries:
    """Return what a recording says of one service.

    Args:
        recording: the run.
        name: of the service.
        limit_cores: CPU limit of a pod where the recording has none.

    Raises:
        InputError: no such service, too few intervals, or no interval with requests.
    """
    record = recording.record.of_service(name)
    columns = {key: values[:, 0] for key, values in record.columns.items()}
    if record.num_steps < LEAST_INTERVALS:
        raise InputError(
            f"{recording.label} has {record.num_steps} control intervals; {LEAST_INTERVALS} are needed, "
            "better 100 and more."
        )
    durations_s = columns["duration_s"]
    ends_s = np.cumsum(durations_s)
    ready_s = columns["ready_replica_s"]
    measured = _measured(columns, live=recording.live)
    if not (measured & (columns["arrived"] > 0.0)).any():
        raise InputError(
            f"{recording.label}: no requests of {name!r} were measured, and nothing can be fitted without "
            "them. Check the query of the request rate."
        )
    lag_s = _metrics_lag_s(recording, durations_s, ends_s)
    steps = _delayed(_ready_steps(columns, ends_s), lag_s)
    delayed_s = steps.integral(ends_s - durations_s, ends_s) if lag_s > 0.0 else ready_s
    limits = np.where(columns["cpu_limit_cores"] > 0.0, columns["cpu_limit_cores"], limit_cores)
    return ServiceSeries(
        name=name,
        ends_s=ends_s,
        durations_s=durations_s,
        arrived=_filled(columns["arrived"] / durations_s, measured, ends_s) * durations_s,
        offered_known=measured,
        completed=np.where(measured, columns["completed"], np.nan),
        response_s=np.where(measured & (columns["completed"] > 0.0), columns["response_time_mean_s"], np.nan),
        cpu_core_s=_positive(columns["cpu_used_core_s"]),
        memory_byte_s=_positive(columns["memory_used_byte_s"]),
        ready=steps,
        ready_s=delayed_s,
        unready_s=np.maximum(np.nan_to_num(columns["replica_s"] - ready_s), 0.0),
        limit_cores=limits,
        lag_s=lag_s,
    )


def _measured(columns: dict[str, Floats], *, live: bool) -> NDArray[np.bool_]:
    """Say where requests were measured; a live run has 0 and no response time where they were not."""
    finite = np.isfinite(columns["arrived"]) & np.isfinite(columns["completed"])
    if not live:
        return np.asarray(finite)
    return np.asarray(finite & (np.isfinite(columns["response_time_mean_s"]) | (columns["arrived"] > 0.0)))


def _positive(values: Floats) -> Floats:
    """Return (n,) values, nan where they are not above 0: a pod that runs uses something."""
    return np.where(np.isfinite(values) & (values > 0.0), values, np.nan)


def _filled(rates_rps: Floats, known: NDArray[np.bool_], times_s: Floats) -> Floats:
    """Return (n,) rates with straight lines over what was not measured."""
    return np.asarray(np.interp(times_s, times_s[known], rates_rps[known]))


def _metrics_lag_s(recording: Recording, durations_s: Floats, ends_s: Floats) -> float:
    """Return how far the middle of the metrics' window lies behind the middle of the interval."""
    if not recording.live:
        return 0.0
    ages_s = [sight.time_s - sight.sample_time_s for sight in recording.scrapes]
    age_s = float(np.median(ages_s)) if ages_s else 0.0
    return max(age_s + 0.5 * (recording.window_s - float(np.median(durations_s))), 0.0)


def _ready_steps(columns: dict[str, Floats], ends_s: Floats) -> ReadySteps:
    """Return the ready replicas as a step function.

    The report has their number at the end of each interval and their integral over it; the one moment of
    change that fits both lies within the interval.
    """
    durations_s = columns["duration_s"]
    after = np.rint(np.nan_to_num(columns["replicas_ready"]))
    integral = np.where(
        np.isfinite(columns["ready_replica_s"]), columns["ready_replica_s"], after * durations_s
    )
    before = np.concatenate([[np.rint(integral[0] / durations_s[0])], after[:-1]])
    change = after - before
    late_s = np.where(
        change != 0.0, (integral - before * durations_s) / np.where(change != 0.0, change, 1.0), 0.0
    )
    moments_s = ends_s - np.clip(late_s, 0.0, durations_s)
    changed = np.flatnonzero(change != 0.0)
    times_s = np.concatenate([[0.0], moments_s[changed]])
    return ReadySteps(times_s, np.concatenate([[before[0]], after[changed]]))


def _delayed(steps: ReadySteps, lag_s: float) -> ReadySteps:
    return ReadySteps(np.concatenate([[0.0], steps.times_s[1:] + lag_s]), steps.replicas)


def sights_of(recording: Recording, service: str) -> list[ScrapeSight]:
    """Return the sample times that were noted of one service, in time order."""
    return sorted(
        (each for each in recording.scrapes if each.service == service), key=lambda each: each.time_s
    )

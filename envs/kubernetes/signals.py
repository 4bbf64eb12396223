"""How far the metrics of a service can be trusted, for the guard; and what is kept of those that failed."""

import dataclasses
import math

from podgym.envs.kubernetes.guard import Signal
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.readings import ServiceReading
from podgym.envs.kubernetes.settings import MetricsSettings

_NUMBERS = (
    "request_rate_rps", "error_ratio", "response_time_s", "response_time_std_s", "response_time_p50_s",
    "response_time_p95_s", "response_time_p99_s", "slow_ratio", "in_flight",
)  # fmt: skip


def signals_of(state: ServiceState, settings: MetricsSettings, now_s: float) -> tuple[Signal, ...]:
    """Return the signals behind a decision on a service.

    CPU of its pods always counts; requests count where the source can tell of them.

    Args:
        state: the service.
        settings: where its metrics come from.
        now_s: seconds since the Unix epoch.
    """
    signals = [_cpu(state, settings, now_s)]
    if settings.source == "prometheus":
        signals.append(_requests(state.reading, settings, now_s))
    return tuple(signals)


def _cpu(state: ServiceState, settings: MetricsSettings, now_s: float) -> Signal:
    usages = state.reading.pods.values()
    known = [usage.time_s for usage in usages if math.isfinite(usage.cpu_usage_cores)]
    if not known:
        return Signal("cpu", "missing")
    if now_s - max(known) > settings.max_age_s:
        return Signal("cpu", "stale")
    return Signal("cpu", "partial" if state.reading.partial else "ok")


def _requests(reading: ServiceReading, settings: MetricsSettings, now_s: float) -> Signal:
    if "request_rate_rps" in reading.problems:
        return Signal("requests", "invalid")
    if not math.isfinite(reading.request_rate_rps):
        return Signal("requests", "missing")
    if not now_s - reading.time_s <= settings.max_age_s:  # also of nan
        return Signal("requests", "stale")
    return Signal("requests", "partial" if reading.partial else "ok")


def carried_forward(new: ServiceReading, last: ServiceReading) -> ServiceReading:
    """Return a reading in which what failed keeps its last value; ``problems`` still says what failed.

    A response time that is nan without a problem is one: no request ended.
    """
    if not math.isfinite(new.time_s):
        return dataclasses.replace(
            last, problems=new.problems or {"time_s": "no sample"}, partial=new.partial
        )
    failed = {
        name: getattr(last, name)
        for name in _NUMBERS
        if name in new.problems and not math.isfinite(getattr(new, name))
    }
    pods = new.pods if new.pods else last.pods
    return dataclasses.replace(new, pods=pods, **failed)

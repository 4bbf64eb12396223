"""How far the metrics of a service can be trusted, for the guard; and what is kept of those that failed."""

import dataclasses
import math

from podgym.envs.kubernetes.guard import Signal
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.readings import PodUsage, ServiceReading
from podgym.envs.kubernetes.settings import MetricsSettings

_NUMBERS = (
    "request_rate_rps", "error_ratio", "response_time_s", "response_time_std_s", "response_time_p50_s",
    "response_time_p95_s", "response_time_p99_s", "slow_ratio", "in_flight",
)  # fmt: skip


def signals_of(state: ServiceState, settings: MetricsSettings, now_s: float) -> tuple[Signal, ...]:
    """Return the signals behind a decision on a service.

    CPU and memory of its pods always count; requests and response times where the source can tell of them.

    Args:
        state: the service.
        settings: where its metrics come from.
        now_s: seconds since the Unix epoch.
    """
    signals = [_pods(state, settings, now_s)]
    if settings.source == "prometheus":
        signals.append(_requests(state.reading, settings, now_s))
        if not _responses_are_off(settings):
            signals.append(_responses(state.reading))
    return tuple(signals)


def _responses_are_off(settings: MetricsSettings) -> bool:
    """Whether the user said, by empty queries, that the service tells no response times."""
    derived = ("response_time_sum_rate", "response_time_count_rate")
    off = any(settings.queries.get(name) == "" for name in derived)
    return off and not settings.queries.get("response_time_s")


def _pods(state: ServiceState, settings: MetricsSettings, now_s: float) -> Signal:
    """Judge CPU and memory of the pods: of all that have been ready for as long as a sample may be old."""
    known = [usage.time_s for usage in state.reading.pods.values() if _finite(usage)]
    if not known:
        return Signal("pods", "missing")
    if now_s - max(known) > settings.max_age_s:
        return Signal("pods", "stale")
    settled = [
        pod.name
        for pod in state.pods
        if pod.ready and not pod.deleted and now_s - pod.ready_transition_time_s > settings.max_age_s
    ]
    fresh = {
        name
        for name, usage in state.reading.pods.items()
        if _finite(usage) and now_s - usage.time_s <= settings.max_age_s
    }
    complete = not state.reading.partial and fresh.issuperset(settled)
    return Signal("pods", "ok" if complete else "partial")


def _finite(usage: PodUsage) -> bool:
    return math.isfinite(usage.cpu_usage_cores) and math.isfinite(usage.memory_usage_bytes)


def _responses(reading: ServiceReading) -> Signal:
    """Judge the response times; nan without a problem is fine: no request ended."""
    return Signal("responses", "invalid" if "response_time_s" in reading.problems else "ok")


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

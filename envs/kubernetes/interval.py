"""The report of one control interval of a real cluster, in the columns of the simulator's report.

What the monitoring shows is a mean over its window, which lags and overlaps: sums over an interval are its
rates times the length of the interval. What no metric tells (throttling, the split of waiting and service) is
0, as documented in docs/kubernetes.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.readings import PodState, PodUsage, ServiceReading


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as it was seen at one moment."""

    replicas_wanted: int
    """``spec.replicas``."""
    quota: Quota
    """What pods are to have."""
    pods: tuple[PodState, ...]
    reading: ServiceReading
    """The newest metrics that could be read, maybe older than this moment."""

    @property
    def alive(self) -> tuple[PodState, ...]:
        """Pods that exist, have not ended and are not terminating."""
        return tuple(pod for pod in self.pods if not pod.deleted and pod.phase not in ("Succeeded", "Failed"))

    @property
    def replicas_ready(self) -> int:
        """Pods that get traffic."""
        return sum(pod.ready and not pod.deleted for pod in self.pods)

    @property
    def replicas_pending(self) -> int:
        """Pods without a node."""
        return sum(pod.start_time_s is None for pod in self.alive)

    @property
    def cpu_per_ready_pod_cores(self) -> float:
        """Mean use of the ready pods that were scraped; nan: of none."""
        return _mean([usage.cpu_usage_cores for usage in self._ready_usage])

    @property
    def memory_per_ready_pod_bytes(self) -> float:
        """Mean working set of the ready pods that were scraped; nan: of none."""
        return _mean([usage.memory_usage_bytes for usage in self._ready_usage])

    @property
    def _ready_usage(self) -> list[PodUsage]:
        ready = {pod.name for pod in self.pods if pod.ready and not pod.deleted}
        return [use for name, use in self.reading.pods.items() if name in ready]


def _mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _known(value: float, otherwise: float = 0.0) -> float:
    return value if math.isfinite(value) else otherwise


def interval_report(
    before: ServiceState, now: ServiceState, time_s: float, duration_s: float
) -> Mapping[str, float]:
    """Return the columns of the simulator's report that differ from 0, for one service.

    Args:
        before: the service at the beginning of the interval.
        now: the service at its end.
        time_s: end of the interval, seconds since the episode began.
        duration_s: its length.
    """
    reading = now.reading
    arrived = _known(reading.request_rate_rps) * duration_s
    failed = arrived * min(max(_known(reading.error_ratio), 0.0), 1.0)
    completed = arrived - failed
    mean_s = _known(reading.response_time_s) if completed > 0.0 else 0.0
    cpu_cores = sum(_known(usage.cpu_usage_cores) for usage in reading.pods.values())
    memory_bytes = sum(_known(usage.memory_usage_bytes) for usage in reading.pods.values())
    return {
        "time_s": time_s,
        "duration_s": duration_s,
        "users": math.nan,
        "offered_rps": arrived / duration_s,
        "arrived": arrived,
        "completed": completed,
        "rejected": failed,
        "in_system": _known(reading.in_flight),
        "service_mean_s": mean_s,
        "service_cv": _known(reading.response_time_std_s) / mean_s if mean_s > 0.0 else 0.0,
        "response_time_mean_s": reading.response_time_s,
        "response_time_p50_s": reading.response_time_p50_s,
        "response_time_p95_s": reading.response_time_p95_s,
        "response_time_p99_s": reading.response_time_p99_s,
        "slo_violations": failed + completed * min(max(_known(reading.slow_ratio), 0.0), 1.0),
        "cpu_used_core_s": cpu_cores * duration_s,
        "memory_used_byte_s": memory_bytes * duration_s,
        "cpu_requested_core_s": _integral(before, now, duration_s, "cpu_request_cores"),
        "memory_requested_byte_s": _integral(before, now, duration_s, "memory_request_bytes"),
        "replica_s": 0.5 * (len(before.alive) + len(now.alive)) * duration_s,
        "ready_replica_s": 0.5 * (before.replicas_ready + now.replicas_ready) * duration_s,
        "replicas_wanted": float(now.replicas_wanted),
        "replicas_ready": float(now.replicas_ready),
        "replicas_pending": float(now.replicas_pending),
        "oom_kills": float(_new_kills(before, now)),
        "restarts": float(_new_restarts(before, now)),
        "cpu_request_cores": now.quota.cpu_request_cores,
        "cpu_limit_cores": now.quota.cpu_limit_cores,
        "memory_request_bytes": now.quota.memory_request_bytes,
        "pods_created": float(len(_names(now) - _names(before))),
        "pods_removed": float(len(_names(before) - _names(now))),
        # By whomever: of an autoscaler in the cluster that is only watched nothing else is known.
        "replica_change": float(now.replicas_wanted - before.replicas_wanted),
    }


def _integral(before: ServiceState, now: ServiceState, duration_s: float, field: str) -> float:
    """Integrate a request over the pods that hold a place on a node, by the trapezoidal rule."""
    ends = [
        sum(_known(getattr(pod.quota, field)) for pod in state.alive if pod.start_time_s is not None)
        for state in (before, now)
    ]
    return 0.5 * (ends[0] + ends[1]) * duration_s


def _names(state: ServiceState) -> set[str]:
    return {pod.name for pod in state.alive}


def _new_restarts(before: ServiceState, now: ServiceState) -> int:
    earlier = {pod.name: pod.restarts for pod in before.pods}
    return sum(max(pod.restarts - earlier.get(pod.name, 0), 0) for pod in now.pods)


def _new_kills(before: ServiceState, now: ServiceState) -> int:
    earlier = {pod.name: pod.oom_killed_s for pod in before.pods}
    return sum(pod.oom_killed_s is not None and pod.oom_killed_s != earlier.get(pod.name) for pod in now.pods)

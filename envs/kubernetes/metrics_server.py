"""Metrics from metrics-server: CPU and memory of pods, and nothing of requests."""

import math
from collections.abc import Callable, Mapping, Sequence

from podgym.envs.kubernetes.errors import ClusterError, MetricsUnavailableError, TransientError
from podgym.envs.kubernetes.readings import NAN, PodUsage, ServiceReading, WatchedService
from podgym.errors import InputError

REQUEST_FIELDS = (
    "request_rate_rps", "error_ratio", "response_time_s", "response_time_std_s", "response_time_p50_s",
    "response_time_p95_s", "response_time_p99_s", "slow_ratio", "in_flight",
)  # fmt: skip
"""Fields of a reading that tell of requests."""
NO_REQUEST_METRICS = "metrics-server has no request metrics; configure Prometheus"


class MetricsServerMetrics:
    """CPU and memory of pods from metrics-server; a ``MetricsSource``."""

    def __init__(self, api_usage: Callable[[WatchedService], Mapping[str, PodUsage]]) -> None:
        """Prepare, without asking anything yet.

        Args:
            api_usage: asks the API server for the use of a service's pods, by name; it bounds its own time.
        """
        self._api_usage = api_usage

    def check(self, services: Sequence[WatchedService]) -> None:
        """Ask once for each service.

        Raises:
            InputError: metrics-server is not there, or may not be asked.
            MetricsUnavailableError: it does not answer.
        """
        for service in services:
            try:
                self._api_usage(service)
            except TransientError as error:
                raise MetricsUnavailableError(f"metrics-server, service {service.name!r}: {error}") from error
            except ClusterError as error:
                raise InputError(
                    f"metrics-server gives no metrics of {service.name!r}: {error} Install metrics-server, "
                    "or set metrics.source: prometheus and metrics.url."
                ) from error

    def read(self, services: Sequence[WatchedService]) -> tuple[ServiceReading, ...]:
        """Return one reading per service; everything about requests is nan, with the reason."""
        return tuple(self._read_one(service) for service in services)

    def history(
        self, service: WatchedService, duration_s: float, step_s: float
    ) -> tuple[tuple[float, float], ...]:
        """Return nothing: metrics-server keeps no past."""
        return ()

    def _read_one(self, service: WatchedService) -> ServiceReading:
        problems = dict.fromkeys(REQUEST_FIELDS, NO_REQUEST_METRICS)
        try:
            answered = self._api_usage(service)
        except ClusterError as error:
            return ServiceReading(problems={**problems, "time_s": str(error), "pods": str(error)})
        pods = {name: usage for name, usage in answered.items() if _measured(usage)}
        if not pods:
            problems["time_s"] = problems["pods"] = "no data: metrics-server has no usable sample of a pod"
        elif len(pods) < len(answered):
            problems["pods"] = f"unusable samples of {', '.join(sorted(answered.keys() - pods.keys()))}"
        newest = max(pods.values(), key=lambda usage: usage.time_s, default=None)
        return ServiceReading(
            time_s=newest.time_s if newest else NAN,
            window_s=newest.window_s if newest else NAN,
            pods=pods,
            problems=problems,
        )


def _measured(usage: PodUsage) -> bool:
    numbers = (usage.cpu_usage_cores, usage.memory_usage_bytes, usage.time_s, usage.window_s)
    return all(math.isfinite(number) and number >= 0.0 for number in numbers)

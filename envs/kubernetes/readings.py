"""What a real cluster shows, as plain data: readings of the metrics and the state of Deployments and pods.

Times are seconds since the Unix epoch. What was not measured is nan, never zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podgym.envs.cluster import Quota

NAN = math.nan


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What one pod used."""

    cpu_usage_cores: float
    """Mean cores used over the window."""
    memory_usage_bytes: float
    """Working set at the end of the window."""
    time_s: float
    """End of the averaging window."""
    window_s: float
    """Length of the averaging window, seconds."""


@dataclass(frozen=True, slots=True)
class ServiceReading:
    """The metrics of one service at one moment."""

    time_s: float = NAN
    """When the newest sample behind the reading was scraped; nan: nothing was."""
    window_s: float = NAN
    """Length of the averaging window, seconds."""
    request_rate_rps: float = NAN
    """Requests that ended per second, failed ones included."""
    error_ratio: float = NAN
    """Failed requests over all that ended, 0 to 1."""
    response_time_s: float = NAN
    """Mean response time; nan where no request ended."""
    response_time_std_s: float = NAN
    """Standard deviation of the response times, read off the histogram."""
    response_time_p50_s: float = NAN
    """Median."""
    response_time_p95_s: float = NAN
    """95th percentile."""
    response_time_p99_s: float = NAN
    """99th percentile."""
    slow_ratio: float = NAN
    """Share of the requests that took longer than the SLO, 0 to 1."""
    in_flight: float = NAN
    """Requests in the system."""
    pods: Mapping[str, PodUsage] = field(default_factory=dict)
    """Use of each pod that was scraped, by name."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """What could not be read and why, by name of the field: ``{"request_rate_rps": "empty result"}``."""
    partial: bool = False
    """The monitoring system warned that the answer may be incomplete."""


@dataclass(frozen=True, slots=True)
class WatchedService:
    """Whose metrics are read: what the placeholders of a query stand for."""

    name: str
    """Name of the service in observations."""
    namespace: str
    deployment: str
    container: str
    slo_response_time_s: float
    labels: Mapping[str, str] = field(default_factory=dict)
    """More placeholders, from the settings."""


class MetricsSource(Protocol):
    """Where metrics come from. No method ever waits longer than its declared time."""

    def check(self, services: Sequence[WatchedService]) -> None:
        """Refuse, before anything is changed, what could never be read.

        Raises:
            InputError: a query that is wrong, or gives several series where one is meant; the message names
                the query and the remedy.
            MetricsUnavailableError: the monitoring system does not answer.
        """
        ...

    def read(self, services: Sequence[WatchedService]) -> tuple[ServiceReading, ...]:
        """Return one reading per service.

        It never raises for what the monitoring system does: what could not be read is nan, and ``problems``
        says why.
        """
        ...

    def history(
        self, service: WatchedService, duration_s: float, step_s: float
    ) -> tuple[tuple[float, float], ...]:
        """Return (time_s, request_rate_rps) of the past, oldest first; empty where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A Deployment as the API server shows it."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    replicas: int
    """``spec.replicas``."""
    replicas_present: int
    """``status.replicas``."""
    replicas_ready: int
    """``status.readyReplicas``."""
    selector: str
    """Label selector of its pods, as the API takes it: ``app=web,tier=front``."""
    match_labels: Mapping[str, str]
    """``spec.selector.matchLabels``."""
    quotas: Mapping[str, Quota]
    """Requests and limits in the pod template by container; nan where none is set."""
    annotations: Mapping[str, str]
    paused: bool = False
    """``spec.paused``: changes of the template do not roll out."""


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod as the API server shows it."""

    name: str
    phase: str
    """``Pending``, ``Running``, ``Succeeded``, ``Failed`` or ``Unknown``."""
    ready: bool
    start_time_s: float | None
    """When the kubelet took the pod; None while it waits for a node."""
    ready_transition_time_s: float
    """When the Ready condition last changed; the creation where there is none yet."""
    deleted: bool
    """The deletion timestamp is set."""
    quota: Quota
    """Requests and limits of the container that is scaled, those in force where the API shows them."""
    restarts: int = 0
    oom_killed_s: float | None = None
    """When the container was last killed over its memory limit."""
    oom_ran_s: float | None = None
    """How long it had run by then, seconds."""
    unschedulable: bool = False
    """No node takes it."""
    quota_asked: Quota | None = None
    """Requests and limits in the pod's spec, which a resize that is under way or deferred has not reached
    yet; None: as in ``quota``."""

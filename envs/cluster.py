"""What every cluster shows and accepts: the one protocol between clusters and whatever decides.

A cluster, simulated or real, is *observed* through its monitoring pipeline, is told a *decision* per
service, and *advances* by one control interval. HPA, a planner and a trained policy see the same
observation and act through the same decision, on either kind of cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Quota:
    """CPU and memory of one pod, as in the pod template."""

    cpu_request_cores: float
    """Cores that the scheduler reserves; utilisation is measured against it."""
    cpu_limit_cores: float
    """Cores above which the pod is throttled."""
    memory_request_bytes: float
    """Bytes that the scheduler reserves."""
    memory_limit_bytes: float
    """Bytes above which the pod is killed."""


@dataclass(frozen=True, slots=True)
class PodSample:
    """What the monitoring pipeline last scraped of one pod."""

    cpu_usage_cores: float
    """Mean cores used over the window."""
    memory_usage_bytes: float
    """Working set at the end of the window."""
    time_s: float
    """End of the averaging window, seconds since the episode began."""
    window_s: float
    """Length of the averaging window."""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod as the API server and the metrics API show it."""

    name: str
    phase: str
    """``Pending``, ``Running`` or ``Failed``."""
    ready: bool
    start_time_s: float | None
    """When the kubelet took the pod; None while it waits for a node."""
    ready_transition_time_s: float
    """When the Ready condition last changed."""
    deleted: bool
    """Terminating: the deletion timestamp is set."""
    quota: Quota
    sample: PodSample | None
    """None: not scraped yet, or the sample went missing."""
    oom_killed_s: float | None = None
    """When its container was last killed over its memory limit; None: never."""
    oom_ran_s: float | None = None
    """How long the container had run by then, seconds."""


@dataclass(frozen=True, slots=True)
class RateForecast:
    """Requests that will arrive at one service over the coming minutes, as known now."""

    mean_rps: tuple[float, ...]
    """Requests/s, one value per minute ahead."""
    lower_rps: tuple[float, ...]
    """Lower end of the 80 % interval of each."""
    upper_rps: tuple[float, ...]
    """Upper end of the 80 % interval of each."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What the environment's planner wants of one service now."""

    replicas: int
    """Pods."""
    cpu_request_cores: float
    """CPU request of each."""
    memory_request_bytes: float
    """Memory request of each."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service and its Deployment. Metrics are nan as long as nothing was scraped."""

    name: str
    replicas_wanted: int
    """``spec.replicas``."""
    replicas: int
    """``status.replicas``: pods that exist and are not terminating."""
    replicas_ready: int
    min_replicas: int
    max_replicas: int
    quota: Quota
    """What pods created now get: the template's, or the admission's if one was decided. Older pods may
    differ."""
    sample_time_s: float | None
    """When the metrics below were scraped; None: never."""
    request_rate_rps: float
    response_time_s: float
    """Mean of the requests completed in the window; nan when there was none."""
    error_ratio: float
    """Failed requests over all that ended in the window, 0 to 1."""
    in_flight: float
    """Requests in the system."""
    pods: tuple[PodView, ...]
    forecast: RateForecast | None = None
    """The forecast that the environment's observation holds; None: there is none, or nothing is known yet."""
    plan: ServicePlan | None = None
    """The plan that holds now; None: the environment has no planner."""


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """Everything a controller may know at one moment."""

    time_s: float
    """Seconds since the episode began."""
    services: tuple[ServiceView, ...]


@dataclass(frozen=True, slots=True)
class ServiceDecision:
    """What is wanted of one service from now on. None leaves a field as it is.

    The first five change the Deployment: a changed quota rolls out. The last three act on pods, as VPA does.
    """

    replicas: int | None = None
    cpu_request_cores: float | None = None
    cpu_limit_cores: float | None = None
    memory_request_bytes: float | None = None
    memory_limit_bytes: float | None = None
    admission: Quota | None = None
    """What pods created from now on get instead of the template's quota, as from a mutating webhook; nothing
    rolls out. Not together with the four fields above."""
    evict: tuple[str, ...] = ()
    """Names of pods to delete; their ReplicaSet replaces them."""
    resize: tuple[str, ...] = ()
    """Names of pods to bring to the new quota in place (KEP-1287), where their node has room."""


class Cluster(Protocol):
    """A cluster that can be observed, told what is wanted, and moved on by one control interval."""

    def observe(self) -> ClusterObservation:
        """Return what the monitoring pipeline shows now, never a hidden truth."""
        ...

    def apply(self, decisions: Sequence[ServiceDecision]) -> None:
        """Set what is wanted, one decision per service in the order of the observation."""
        ...

    def advance(self) -> Any:  # noqa: ANN401  (each cluster has its own report)
        """Let one control interval pass and return the cluster's report of it."""
        ...

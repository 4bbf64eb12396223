"""The physical parameters of the simulated cluster: services, nodes, load, monitoring and faults.

Each is a frozen dataclass; each field is a constant with unit, source and default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from podgym.envs.cluster import Quota
from podgym.envs.simulator.constants import constant
from podgym.envs.simulator.validation import (
    callers_first,
    is_number,
    require,
    require_choice,
    require_flag,
    require_name,
    require_whole,
)
from podgym.errors import InputError, unknown_name

GIB = 1024.0**3
MIB = 1024.0**2
LARGEST_CPU_CORES = 1e6

Discipline = Literal["fcfs", "ps"]
LoadBalancing = Literal["pooled", "random"]
Resize = Literal["rolling", "in_place"]
Scoring = Literal["least_allocated", "most_allocated"]

_ASSUMED = "assumed; no measurement at hand"
_CALIBRATED = "fitted to the paper's Kubernetes-default rows by scripts/calibrate.py"


@dataclass(frozen=True, slots=True)
class ServiceParameters:
    """One service: its work per request, its queue, its memory and the life of its pods."""

    name: str = "web"
    """Name of the service and its Deployment."""
    cpu_demand_core_s: float = constant(0.0086, unit="core s/request", source=_CALIBRATED)
    """CPU work of one request at this service, mean."""
    demand_cv: float = constant(1.0, unit="1", source="exponential work, the M/M/c case; " + _ASSUMED)
    """Coefficient of variation of the work of one request."""
    base_latency_s: float = constant(0.097, unit="s", source=_CALIBRATED)
    """Part of the response time that needs no CPU of the pod: network, proxies, a database."""
    discipline: Discipline = constant("fcfs", unit="-", source="one queue before worker threads")
    """``fcfs``: first come first served by the servers; ``ps``: processor sharing."""
    load_balancing: LoadBalancing = constant("pooled", unit="-", source="least-outstanding-requests proxy")
    """``pooled``: no request waits while a server is free; ``random``: a queue per pod (kube-proxy)."""
    concurrency_per_pod: int = constant(64, unit="requests", source=_ASSUMED)
    """Requests that a pod works on at once; with less cores than that they share."""
    queue_limit_per_pod: int = constant(1024, unit="requests", source=_ASSUMED)
    """Requests that may wait per pod beyond the concurrency; more are rejected at once."""
    timeout_s: float = constant(30.0, unit="s", source="common client default; " + _ASSUMED)
    """A request that waits longer for a server gives up."""
    idle_cpu_cores: float = constant(0.005, unit="cores", source=_ASSUMED)
    """CPU that a ready pod uses without any request."""
    base_memory_bytes: float = constant(325 * MIB, unit="bytes", source=_CALIBRATED)
    """Working set of a pod without any request."""
    memory_per_request_bytes: float = constant(3.7 * MIB, unit="bytes/request", source=_CALIBRATED)
    """Working set added by each request that a pod works on; those beyond the concurrency wait outside."""
    memory_release_s: float = constant(60.0, unit="s", source=_ASSUMED)
    """Time constant with which memory of finished requests is given back."""
    memory_growth_bytes_per_s: float = constant(0.0, unit="bytes/s", source="off by default")
    """A leak: growth of each pod's working set since its start."""
    image_pull_s: float = constant(8.0, unit="s", source=_ASSUMED)
    """Time to pull the image to a node that has not got it."""
    start_up_s: float = constant(10.0, unit="s", source=_ASSUMED)
    """Time from the start of the container until the application answers, mean."""
    start_up_cv: float = constant(0.2, unit="1", source=_ASSUMED)
    """Coefficient of variation of the start-up time (log-normal)."""
    start_up_cpu_cores: float = constant(0.1, unit="cores", source=_ASSUMED)
    """CPU that a starting pod uses."""
    probe_period_s: float = constant(5.0, unit="s", source="Kubernetes allows 1 s and more, default 10 s")
    """Readiness is noticed at the next probe, so a multiple of this after the start."""
    warm_up_s: float = constant(0.0, unit="s", source="off by default")
    """Time after readiness in which the pod is slower (cold caches, just-in-time compilation)."""
    warm_up_speed: float = constant(0.5, unit="1", source=_ASSUMED)
    """Speed of a pod while it warms up, as a fraction of its normal speed."""
    termination_s: float = constant(5.0, unit="s", source="preStop sleep; the limit is 30 s in Kubernetes")
    """Time for which a terminating pod still holds its place on the node."""
    start_failure_probability: float = constant(0.0, unit="1", source="off by default")
    """Chance that a start fails, after which the pod backs off and tries again."""
    restart_backoff_s: float = constant(10.0, unit="s", source="kubelet: 10 s, doubled per restart")
    """First delay before a crashed container is started again."""
    restart_backoff_max_s: float = constant(300.0, unit="s", source="kubelet: 5 minutes")
    """Longest such delay."""
    resize: Resize = constant("rolling", unit="-", source="Deployments roll out template changes")
    """How a new quota reaches running pods: ``rolling`` update or ``in_place`` resize (KEP-1287)."""
    in_place_resize_s: float = constant(2.0, unit="s", source=_ASSUMED)
    """Time for the kubelet to actuate a resize."""
    max_surge: float = constant(0.25, unit="1", source="Deployment default 25 %, rounded up")
    """Pods above the wanted number during a rolling update, as a fraction."""
    max_unavailable: float = constant(0.25, unit="1", source="Deployment default 25 %, rounded down")
    """Pods below the wanted number during a rolling update, as a fraction."""

    def __post_init__(self) -> None:
        for name in ("cpu_demand_core_s", "timeout_s", "memory_release_s", "probe_period_s"):
            require(self, name, low=1e-6)
        for name in ("demand_cv", "start_up_cv"):
            require(self, name, low=0.0, high=10.0)
        require_whole(self, "concurrency_per_pod", low=1)
        require_whole(self, "queue_limit_per_pod", low=0)
        for name in ("restart_backoff_s", "restart_backoff_max_s"):
            require(self, name, low=1)
        for name in ("start_failure_probability", "max_surge", "max_unavailable"):
            require(self, name, low=0.0, high=1.0)
        require(self, "warm_up_speed", low=0.01, high=1.0)
        require_name(self.name)
        for name in (
            "base_latency_s", "idle_cpu_cores", "base_memory_bytes",
            "memory_per_request_bytes", "memory_growth_bytes_per_s", "image_pull_s", "start_up_s",
            "start_up_cpu_cores", "warm_up_s", "termination_s", "in_place_resize_s",
        ):  # fmt: skip
            require(self, name, low=0.0)
        require_choice(self, "discipline", Discipline)
        require_choice(self, "load_balancing", LoadBalancing)
        require_choice(self, "resize", Resize)
        if self.max_surge == 0.0 and self.max_unavailable == 0.0:
            raise InputError(
                "max_surge and max_unavailable are both 0; a rolling update could never proceed."
            )


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """The nodes, all alike, and how the scheduler chooses among them."""

    count: int = constant(4, unit="nodes", source="the paper's testbed", measured=True)
    """Number of nodes."""
    cpu_cores: float = constant(4.0, unit="cores", source="the paper's testbed", measured=True)
    """Cores of a node."""
    memory_bytes: float = constant(16 * GIB, unit="bytes", source="the paper's testbed", measured=True)
    """Memory of a node."""
    reserved_cpu_cores: float = constant(0.1, unit="cores", source=_ASSUMED)
    """Cores kept for kubelet and system; the rest is allocatable."""
    reserved_memory_bytes: float = constant(0.5 * GIB, unit="bytes", source=_ASSUMED)
    """Memory kept for kubelet and system."""
    max_pods: int = constant(250, unit="pods", source="operational setting of the scheduling-engine document")
    """Pods a node may hold."""
    scoring: Scoring = constant("least_allocated", unit="-", source="NodeResourcesFit default")
    """How a node's fit is scored; balanced allocation is added with the same weight."""
    score_sample: float = constant(0.5, unit="1", source="percentageOfNodesToScore 50 %")
    """Share of feasible nodes scored where there are more than 100; always the first, upstream rotates."""
    images_cached: bool = constant(True, unit="-", source="nodes have run the service before")
    """Whether every node has the images when the episode begins."""
    detection_s: float = constant(40.0, unit="s", source="node-monitor-grace-period 40 s")
    """Time until a failed node is NotReady and its pods leave the endpoints."""
    eviction_s: float = constant(300.0, unit="s", source="default unreachable toleration 300 s")
    """Time after detection until the pods of a failed node are deleted and replaced."""

    def __post_init__(self) -> None:
        require_whole(self, "count", low=1, high=5000)
        require_whole(self, "max_pods", low=1)
        require_flag(self, "images_cached")
        require(self, "score_sample", low=0.01, high=1.0)
        for name in ("reserved_cpu_cores", "reserved_memory_bytes", "detection_s", "eviction_s"):
            require(self, name, low=0.0)
        require(self, "cpu_cores", low=self.reserved_cpu_cores + 1e-3)
        require(self, "memory_bytes", low=self.reserved_memory_bytes + 1.0)
        require_choice(self, "scoring", Scoring)

    @property
    def allocatable_cpu_cores(self) -> float:
        """Cores of a node that pods may request."""
        return self.cpu_cores - self.reserved_cpu_cores

    @property
    def allocatable_memory_bytes(self) -> float:
        """Memory of a node that pods may request."""
        return self.memory_bytes - self.reserved_memory_bytes


@dataclass(frozen=True, slots=True)
class LoadParameters:
    """How a load profile becomes arrivals."""

    think_time_s: float = constant(
        1.49,
        unit="s",
        source="scripts/calibrate.py, within the paper's 1000 users for 600 requests/s",
    )
    """Closed workloads: mean pause of a user between a response and the next request."""
    rate_noise_cv: float = constant(0.05, unit="1", source=_ASSUMED)
    """Over-dispersion: coefficient of variation of the arrival rate (of the users, when closed), log-normal,
    beyond the Poisson randomness that the stationary queueing law already contains."""
    rate_noise_period_s: float = constant(5.0, unit="s", source=_ASSUMED)
    """The rate's disturbance is drawn anew after each period."""

    def __post_init__(self) -> None:
        require(self, "think_time_s", low=0.0)
        require(self, "rate_noise_cv", low=0.0, high=3.0)
        require(self, "rate_noise_period_s", low=1e-3)


@dataclass(frozen=True, slots=True)
class MonitoringParameters:
    """The pipeline between the pods and whoever decides."""

    scrape_interval_s: float = constant(15.0, unit="s", source="metrics-server default resolution")
    """Time between two scrapes."""
    scrape_delay_s: float = constant(2.0, unit="s", source=_ASSUMED)
    """Time until a scrape can be queried."""
    window_s: float = constant(30.0, unit="s", source="metrics-server rates span two scrapes")
    """Rates are means over (at least) this window."""
    sample_loss_probability: float = constant(0.0, unit="1", source="off by default")
    """Chance that the scrape of a service fails, so that the last sample goes stale."""
    sampling_noise: bool = constant(True, unit="-", source="counts of a Poisson process")
    """Whether measured rates and CPU show the scatter of finitely many requests. It is a property of
    the measurement only: the queue itself never sees these draws."""

    def __post_init__(self) -> None:
        require_flag(self, "sampling_noise")
        for name in ("scrape_interval_s", "window_s"):
            require(self, name, low=1e-3)
        require(self, "scrape_delay_s", low=0.0)
        require(self, "sample_loss_probability", low=0.0, high=0.99)


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """A planned fault: one node is gone for a while."""

    time_s: float
    """When, in seconds since the episode began."""
    node: int
    """Which node, from 0."""
    duration_s: float = 600.0
    """For how long."""

    def __post_init__(self) -> None:
        require(self, "time_s", low=0.0)
        require_whole(self, "node", low=0)
        require(self, "duration_s", low=1e-3)


@dataclass(frozen=True, slots=True)
class FaultParameters:
    """Failures of nodes, planned and at random."""

    node_failures: tuple[NodeFailure, ...] = ()
    """Planned failures; at most one per node."""
    node_failures_per_hour: float = constant(0.0, unit="1/hour", source="off by default")
    """Rate of random failures of each node (exponential times)."""
    node_failure_duration_s: float = constant(600.0, unit="s", source=_ASSUMED)
    """How long a random failure lasts."""

    def __post_init__(self) -> None:
        require(self, "node_failures_per_hour", low=0.0)
        require(self, "node_failure_duration_s", low=1e-3)


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One service in a scenario: its physics, its scaling limits, its SLO and whom it calls."""

    parameters: ServiceParameters = field(default_factory=ServiceParameters)
    """Physics of the service."""
    initial_replicas: int = 3
    """Replicas at the start; as many as fit are placed and ready."""
    min_replicas: int = 1
    """Least replicas that may be wanted."""
    max_replicas: int = 28
    """Most replicas that may be wanted."""
    scale_replicas: int | None = None
    """Replicas that observations count as 1; None: ``max_replicas``. A policy knows that of its training."""
    cpu_request_cores: float = 0.5
    """CPU request of a pod at the start."""
    memory_request_bytes: float = 512 * MIB
    """Memory request of a pod at the start."""
    cpu_limit_ratio: float = 1.0
    """CPU limit over CPU request. 1: the paper's single quota per pod."""
    memory_limit_ratio: float = 1.5
    """Memory limit over memory request."""
    cpu_levels_cores: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    """CPU requests that an action can choose, ascending."""
    memory_levels_bytes: tuple[float, ...] = tuple(m * MIB for m in (256, 384, 512, 768, 1024, 2048))
    """Memory requests that an action can choose, ascending."""
    slo_response_time_s: float = 0.25
    """Service level objective of this service's own time: a slower or failed request violates it. The time
    that a request spends in the services it calls counts there."""
    entry_share: float = 1.0
    """External requests that arrive here, as a weight among all services."""
    calls: Mapping[str, float] = field(default_factory=dict)
    """Calls of other services per request, by name of the callee."""

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.parameters.name

    @property
    def replicas_scale(self) -> int:
        """Replicas that observations count as 1."""
        return self.max_replicas if self.scale_replicas is None else self.scale_replicas

    @property
    def quota(self) -> Quota:
        """Requests and limits of a pod at the start."""
        return Quota(
            self.cpu_request_cores,
            self.cpu_request_cores * self.cpu_limit_ratio,
            self.memory_request_bytes,
            self.memory_request_bytes * self.memory_limit_ratio,
        )

    def __post_init__(self) -> None:
        for name in ("min_replicas", "max_replicas", "initial_replicas", "replicas_scale"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int):
                raise InputError(f"{self.name}.{name} is {getattr(self, name)!r}; it must be a whole number.")
        if not 1 <= self.min_replicas <= self.initial_replicas <= self.max_replicas <= 5000:
            raise InputError(
                f"{self.name}: need 1 <= min_replicas <= initial_replicas <= max_replicas <= 5000; got "
                f"{self.min_replicas}, {self.initial_replicas}, {self.max_replicas}."
            )
        if not self.max_replicas <= self.replicas_scale <= 5000:
            allowed = f"it must be from max_replicas, {self.max_replicas}, to 5000."
            raise InputError(f"{self.name}.scale_replicas is {self.scale_replicas}; {allowed}")
        require(self, "cpu_request_cores", low=1e-3, high=LARGEST_CPU_CORES)
        for name in ("memory_request_bytes", "slo_response_time_s"):
            require(self, name, low=1e-6)
        for name in ("cpu_limit_ratio", "memory_limit_ratio"):
            require(self, name, low=1.0, high=1000.0)
        require(self, "entry_share", low=0.0)
        for name in ("cpu_levels_cores", "memory_levels_bytes"):
            levels = getattr(self, name)
            numbers = all(is_number(level) for level in levels)
            if not numbers or not levels or levels[0] <= 0 or list(levels) != sorted(set(levels)):
                raise InputError(f"{self.name}.{name} is {levels!r}; it must be positive and ascending.")
        for callee, calls in self.calls.items():
            if not is_number(calls) or calls < 0:
                raise InputError(f"{self.name}.calls[{callee!r}] is {calls!r}; it must be 0 or more.")


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Everything about a simulated cluster except the load profile."""

    services: tuple[ServiceConfig, ...] = (ServiceConfig(),)
    """The services; the call graph among them must have no cycle."""
    nodes: NodeParameters = field(default_factory=NodeParameters)
    """The nodes and the scheduler."""
    load: LoadParameters = field(default_factory=LoadParameters)
    """How load becomes arrivals."""
    monitoring: MonitoringParameters = field(default_factory=MonitoringParameters)
    """The monitoring pipeline."""
    faults: FaultParameters = field(default_factory=FaultParameters)
    """Failures."""
    control_interval_s: float = constant(15.0, unit="s", source="HPA sync period")
    """Time between two decisions."""
    tick_s: float = constant(1.0, unit="s", source="resolution of the simulation")
    """Time step of the simulation."""

    def __post_init__(self) -> None:
        require(self, "tick_s", low=1e-3)
        require(self, "control_interval_s", low=self.tick_s)
        scrape_s = self.monitoring.scrape_interval_s
        if scrape_s < self.tick_s:
            raise InputError(f"scrape_interval_s {scrape_s:g} is shorter than a tick ({self.tick_s:g} s).")
        ticks = self.control_interval_s / self.tick_s
        if abs(ticks - round(ticks)) > 1e-9:
            raise InputError(
                f"control_interval_s {self.control_interval_s:g} is not a whole number of ticks of "
                f"{self.tick_s:g} s."
            )
        names = [service.name for service in self.services]
        if not names or len(set(names)) != len(names):
            raise InputError(f"services need distinct names; got {names}.")
        for service in self.services:
            for callee in service.calls:
                if callee not in names:
                    raise unknown_name(f"service called by {service.name}", callee, names)
        if sum(service.entry_share for service in self.services) <= 0:
            raise InputError("no service has an entry_share above 0, so no request could enter.")
        for failure in self.faults.node_failures:
            if [other.node for other in self.faults.node_failures].count(failure.node) > 1:
                raise InputError(f"node {failure.node} has more than one planned failure; one per node.")
            if failure.node >= self.nodes.count:
                raise InputError(
                    f"node failure names node {failure.node}; nodes are 0 to {self.nodes.count - 1}."
                )
        self.call_order()

    @property
    def ticks_per_interval(self) -> int:
        """Ticks in a control interval."""
        return round(self.control_interval_s / self.tick_s)

    def call_order(self) -> tuple[int, ...]:
        """Indices of the services with every caller before its callees.

        Raises:
            InputError: the call graph has a cycle.
        """
        names = [service.name for service in self.services]
        callers = {name: {s.name for s in self.services if s.calls.get(name, 0.0) > 0} for name in names}
        return tuple(names.index(name) for name in callers_first(callers))

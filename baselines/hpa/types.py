"""What the autoscaler is given and what it answers: pods, metrics, rules, conditions.

Quantities are integers in milli-units (1 core = 1000, 1 byte = 1000, one unit of a custom metric =
1000), as ``resource.Quantity.MilliValue`` gives them. Times are seconds on any one clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from podgym.errors import InputError, unknown_name

PodPhase: TypeAlias = str
"""``Pending``, ``Running``, ``Succeeded``, ``Failed`` or ``Unknown``."""

PolicyType: TypeAlias = Literal["Pods", "Percent"]
SelectPolicy: TypeAlias = Literal["Max", "Min", "Disabled"]
ConditionStatus: TypeAlias = Literal["True", "False"]
ErrorClass: TypeAlias = Literal["none", "internal", "spec"]


class MetricError(Exception):
    """A metric that gives no replica count this time. The controller reports it and goes on."""


# ---------------------------------------------------------------------------------------------- pods
# What comes once per pod and reconcile is a named tuple, which is built in half the time of a dataclass.

NO_REQUESTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod spec."""

    name: str
    requests_milli: Mapping[str, int] = field(default_factory=dict)
    """Request per resource name; a resource that is absent has no request."""
    restart_always: bool = False
    """Of an init container: it is a sidecar, which keeps running and counts like any container."""


class Pod(NamedTuple):
    """One pod of the target's selector, as the API server shows it."""

    name: str
    phase: PodPhase = "Running"
    ready: bool | None = True
    """Status of the Ready condition; None: the pod has no such condition."""
    start_time_s: float | None = None
    """When the kubelet took the pod; None: not yet."""
    ready_transition_time_s: float | None = None
    """When the Ready condition last changed; None: the unset time, before everything else."""
    deleted: bool = False
    """The deletion timestamp is set."""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    pod_level_requests_milli: Mapping[str, int] = NO_REQUESTS
    """Requests of the pod as a whole (KEP-2837)."""


# ------------------------------------------------------------------------------------------- samples


class ResourceSample(NamedTuple):
    """What the resource metrics API returned for one pod and one resource."""

    pod: str
    time_s: float
    """End of the averaging window."""
    window_s: float
    """Length of the averaging window."""
    usage_milli: Mapping[str, int | None]
    """Usage per container; None: the container lacks the resource."""


class PodValue(NamedTuple):
    """The value of one metric for one pod."""

    value_milli: int
    time_s: float
    """End of the averaging window."""
    window_s: float
    """Length of the averaging window."""


# ------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True, slots=True)
class Utilization:
    """Target: average usage as a whole percentage of the requests."""

    percent: int


@dataclass(frozen=True, slots=True)
class AverageValue:
    """Target: average over the pods."""

    milli: int


@dataclass(frozen=True, slots=True)
class Value:
    """Target: the value itself, however many pods share it."""

    milli: int


@dataclass(frozen=True, slots=True)
class ResourceMetric:
    """CPU or memory of the pods, and what the metrics API answered this time."""

    resource: str
    target: Utilization | AverageValue | None
    samples: tuple[ResourceSample, ...] | None
    """None: the metrics API failed."""
    container: str = ""
    """Not empty: a ContainerResource metric, which looks at this container alone."""


@dataclass(frozen=True, slots=True)
class PodsMetric:
    """A custom metric with one value per pod."""

    target_average_milli: int
    values: Mapping[str, PodValue] | None
    """Value per pod name; None: the metrics API failed."""


@dataclass(frozen=True, slots=True)
class ObjectMetric:
    """A custom metric of one other object, such as an ingress."""

    target: Value | AverageValue | None
    value_milli: int | None
    """None: the metrics API failed."""


@dataclass(frozen=True, slots=True)
class ExternalMetric:
    """A metric from outside the cluster; its series are added up."""

    target: Value | AverageValue | None
    values_milli: tuple[int, ...] | None
    """None: the metrics API failed."""


@dataclass(frozen=True, slots=True)
class UnknownMetric:
    """A metric whose source type no autoscaler knows."""

    type: str


Metric: TypeAlias = ResourceMetric | PodsMetric | ObjectMetric | ExternalMetric | UnknownMetric

DEFAULT_METRIC = ResourceMetric("cpu", Utilization(80), None)
"""What an HPA without metrics looks at: 80 % of the requested CPU."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The replica count that one metric asks for, and the usage that its status shows."""

    replicas: int
    utilization_percent: int | None = None
    average_usage_milli: int | None = None
    """Average over the pods, reported next to a utilisation."""
    usage_milli: int | None = None
    """Reported for every target that is not a utilisation: average or value, as the target is."""


# ---------------------------------------------------------------------------------------- behaviour


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the usage ratio may be from 1 without any scaling (KEP-4951)."""

    scale_down: float = 0.1
    scale_up: float = 0.1

    def contains(self, ratio: float) -> bool:
        """Whether the ratio lies within the tolerance, both ends included, in float64."""
        return (1.0 - self.scale_down) <= ratio <= (1.0 + self.scale_up)


DEFAULT_TOLERANCE = Tolerance()


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """The largest change that one policy allows within a period."""

    type: PolicyType
    value: int
    """Pods, or percent of the replicas at the start of the period."""
    period_s: int

    def __post_init__(self) -> None:
        if self.type not in ("Pods", "Percent"):
            raise unknown_name("type of scaling policy", self.type, ("Pods", "Percent"))


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Rules of one direction. None leaves a field to its default (see ``default_rules``)."""

    select_policy: SelectPolicy | None = None
    """Max: the policy that allows most change decides; Min: least; Disabled: no change."""
    stabilization_window_s: int | None = None
    policies: tuple[ScalingPolicy, ...] | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        allowed = ("Max", "Min", "Disabled")
        if self.select_policy is not None and self.select_policy not in allowed:
            raise unknown_name("selectPolicy", self.select_policy, allowed)
        if self.tolerance is not None and not (isfinite(self.tolerance) and self.tolerance >= 0):
            raise InputError(f"tolerance of a scaling rule is {self.tolerance!r}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Behavior:
    """``spec.behavior``. A direction that is None gets all its defaults."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


# ------------------------------------------------------------------------- specification and settings


@dataclass(frozen=True, slots=True)
class HpaSpec:
    """The limits and the behaviour of one HorizontalPodAutoscaler."""

    max_replicas: int
    min_replicas: int = 1
    """0 needs the gate HPAScaleToZero and an object or external metric."""
    behavior: Behavior | None = None
    """None: the older rules (one stabilisation window, a factor for scaling up)."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise InputError(
                f"minReplicas {self.min_replicas!r} and maxReplicas {self.max_replicas!r}: "
                "0 <= minReplicas <= maxReplicas and 1 <= maxReplicas are needed"
            )


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale subresource of the target."""

    spec_replicas: int
    status_replicas: int


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Flags of kube-controller-manager, with their defaults (``config/v1alpha1/defaults.go``)."""

    tolerance: float = 0.1
    downscale_stabilization_s: float = 300
    cpu_initialization_period_s: float = 300
    """How long after its start a pod's CPU sample may be dropped."""
    initial_readiness_delay_s: float = 30
    """How long after its start a pod counts as never having been ready."""
    legacy_scale_up_factor: float = 2.0
    legacy_scale_up_minimum: float = 4.0


@dataclass(frozen=True, slots=True)
class FeatureGates:
    """Feature gates, as of 1.37."""

    scale_to_zero: bool = True
    """HPAScaleToZero."""
    configurable_tolerance: bool = True
    """HPAConfigurableTolerance."""
    pod_level_resources: bool = True
    """PodLevelResources."""


DEFAULT_SETTINGS = ControllerSettings()
DEFAULT_GATES = FeatureGates()


# --------------------------------------------------------------------------------- memory and result


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the metrics asked for at one time, before any limit."""

    replicas: int
    time_s: float


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """One change that was made."""

    change: int
    """Absolute value, replicas."""
    time_s: float
    outdated: bool = False
    """No policy looks back this far: the next event takes its place."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the HPA's status."""

    status: ConditionStatus
    reason: str


@dataclass(frozen=True, slots=True)
class HpaState:
    """What the controller remembers of one HPA between two reconciles."""

    recommendations: tuple[Recommendation, ...] | None = None
    """None: nothing yet, as after a restart of the controller."""
    scale_up_events: tuple[ScaleEvent, ...] = ()
    scale_down_events: tuple[ScaleEvent, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """By condition type; kept from one reconcile to the next, as the object's status is."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome of one reconcile."""

    desired_replicas: int
    rescaled: bool
    """Whether the scale subresource was updated."""
    error: ErrorClass
    """Class of the error that the reconcile reports, which does not exclude that it scaled."""
    conditions: Mapping[str, Condition]
    metric_statuses: tuple[Proposal | None, ...]
    """One per metric; None: the metric failed. Empty when metrics were not consulted."""
    state: HpaState
    """To be handed to the next reconcile."""
    message: str = ""
    """First error in words; empty when there was none."""

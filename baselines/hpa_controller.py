"""Kubernetes' HPA on an observed cluster: one HorizontalPodAutoscaler per service."""

from math import isfinite

from podgym.baselines.hpa.reconcile import reconcile
from podgym.baselines.hpa.types import (
    Behavior,
    Container,
    ControllerSettings,
    FeatureGates,
    HpaSpec,
    HpaState,
    Metric,
    Pod,
    ResourceMetric,
    ResourceSample,
    Scale,
    Utilization,
)
from podgym.envs.cluster import ClusterObservation, PodSample, Quota, ServiceDecision, ServiceView
from podgym.errors import InputError

CONTAINER = "app"
"""Every pod is seen as one container of this name."""


class HpaController:
    """Scales each service on the utilisation of its pods' CPU and, if wanted, memory requests.

    It reconciles at every decision, so the control interval is the sync period (15 s in Kubernetes).
    A pod whose sample is None is missing in the sense of the HPA; when no pod of a service has a
    sample, that service keeps its replicas.
    """

    name = "hpa"

    def __init__(
        self,
        *,
        cpu_target_percent: int | None = 80,
        memory_target_percent: int | None = None,
        behavior: Behavior | None = None,
        tolerance: float = 0.1,
        downscale_stabilization_s: float = 300,
        cpu_initialization_period_s: float = 300,
        initial_readiness_delay_s: float = 30,
    ) -> None:
        """Configure all HPAs alike.

        Args:
            cpu_target_percent: target utilisation of the CPU requests; None: do not look at CPU.
            memory_target_percent: target utilisation of the memory requests; None: do not look at it.
            behavior: ``spec.behavior``; None: the rules for an HPA without one.
            tolerance: distance of the usage ratio from 1 within which nothing is done.
            downscale_stabilization_s: how long a higher recommendation holds back scaling down.
            cpu_initialization_period_s: age of a pod up to which its CPU is read with caution.
            initial_readiness_delay_s: age up to which a pod that is not ready was never ready.

        Raises:
            InputError: no target at all, a target below 1, or a time or tolerance that is negative.
        """
        targets = {"cpu": cpu_target_percent, "memory": memory_target_percent}
        self._targets = {
            resource: _checked_percent(f"{resource}_target_percent", percent)
            for resource, percent in targets.items()
            if percent is not None
        }
        if not self._targets:
            raise InputError("hpa: set cpu_target_percent, memory_target_percent or both; got neither")
        self._behavior = behavior
        self._settings = ControllerSettings(
            tolerance=_checked("tolerance", tolerance),
            downscale_stabilization_s=_checked("downscale_stabilization_s", downscale_stabilization_s),
            cpu_initialization_period_s=_checked("cpu_initialization_period_s", cpu_initialization_period_s),
            initial_readiness_delay_s=_checked("initial_readiness_delay_s", initial_readiness_delay_s),
        )
        self._gates = FeatureGates()
        self._states: dict[str, HpaState] = {}

    def reset(self) -> None:
        """Forget all recommendations and scale events, as a restart of the controller does."""
        self._states.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Reconcile the HPA of every service once."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        result = reconcile(
            HpaSpec(service.max_replicas, service.min_replicas, self._behavior),
            Scale(service.replicas_wanted, service.replicas),
            _pods(service),
            [_metric(resource, percent, service) for resource, percent in self._targets.items()],
            self._states.get(service.name, _NEW),
            now_s,
            settings=self._settings,
            gates=self._gates,
        )
        self._states[service.name] = result.state
        return ServiceDecision(replicas=result.desired_replicas if result.rescaled else None)


_NEW = HpaState()


def _pods(service: ServiceView) -> tuple[Pod, ...]:
    pods = []
    quota: Quota | None = None
    containers: tuple[Container, ...] = ()
    for view in service.pods:
        if view.quota is not quota:  # pods of one revision share their quota
            quota = view.quota
            containers = (_container(quota),)
        pods.append(
            Pod(
                view.name,
                view.phase,
                view.ready,
                view.start_time_s,
                view.ready_transition_time_s,
                view.deleted,
                containers,
            )
        )
    return tuple(pods)


def _metric(resource: str, percent: int, service: ServiceView) -> Metric:
    usage_milli = _cpu_milli if resource == "cpu" else _memory_milli
    samples = tuple(
        [
            ResourceSample(
                view.name,
                view.sample.time_s,
                view.sample.window_s,
                {CONTAINER: usage_milli(view.sample)},
            )
            for view in service.pods
            if view.sample is not None
        ]
    )
    return ResourceMetric(resource, Utilization(percent), samples)


def _container(quota: Quota) -> Container:
    requests_milli = {
        "cpu": milli_cores(quota.cpu_request_cores),
        "memory": milli_bytes(quota.memory_request_bytes),
    }
    return Container(CONTAINER, requests_milli)


def _cpu_milli(sample: PodSample) -> int | None:
    """Return millicores; None when the sample has no number for them, which makes the pod missing."""
    return milli_cores(sample.cpu_usage_cores) if isfinite(sample.cpu_usage_cores) else None


def _memory_milli(sample: PodSample) -> int | None:
    """Return thousandths of bytes; None when the sample has no number for them."""
    return milli_bytes(sample.memory_usage_bytes) if isfinite(sample.memory_usage_bytes) else None


def milli_cores(cores: float) -> int:
    """Turn cores into millicores, rounded up from whole nanocores as the metrics API does."""
    return -(-round(cores * 1e9) // 1_000_000)


def milli_bytes(amount_bytes: float) -> int:
    """Turn bytes into thousandths, of whole bytes."""
    return round(amount_bytes) * 1000


def _checked_percent(option: str, percent: object) -> int:
    if isinstance(percent, bool) or not isinstance(percent, int) or percent < 1:
        raise InputError(f"hpa: {option} is {percent!r}; a whole number of percent >= 1 is needed")
    return percent


def _checked(option: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number) or number < 0:
        raise InputError(f"hpa: {option} is {number!r}; a finite number >= 0 is needed")
    return number

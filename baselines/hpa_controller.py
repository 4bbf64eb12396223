"""Kubernetes' HPA on an observed cluster: one HorizontalPodAutoscaler per service."""

from collections.abc import Sequence
from math import isfinite

from podgym.baselines.hpa.reconcile import reconcile
from podgym.baselines.hpa.types import (
    Behavior,
    Container,
    ControllerSettings,
    ExternalMetric,
    FeatureGates,
    HpaSpec,
    HpaState,
    Metric,
    Pod,
    PodsMetric,
    PodValue,
    ResourceMetric,
    ResourceSample,
    Scale,
    Utilization,
    Value,
)
from podgym.baselines.metrics import (
    KEEP,
    MAX_SAMPLE_AGE_S,
    checked_number,
    is_recent,
    request_rate_rps,
    response_time_s,
)
from podgym.envs.cluster import ClusterObservation, PodSample, Quota, ServiceDecision, ServiceView
from podgym.errors import InputError

CONTAINER = "app"
"""Every pod is seen as one container of this name."""


class HpaController:
    """Scales each service on up to four metrics: CPU and memory of its pods, their rate, the latency.

    With several metrics the largest proposal wins, and while one of them is missing nothing is scaled
    down (Kubernetes documentation, "Horizontal Pod Autoscaling", scaling on multiple metrics). It
    reconciles at every decision, so the control interval is the sync period (15 s in Kubernetes). A pod
    whose sample is None or too old is missing in the sense of the HPA; when no pod of a service has a
    sample, that service keeps its replicas.
    """

    name = "hpa"

    def __init__(
        self,
        *,
        cpu_target_percent: int | None = 80,
        memory_target_percent: int | None = None,
        request_rate_target_rps: float | None = None,
        response_time_target_s: float | None = None,
        behavior: Behavior | None = None,
        tolerance: float = 0.1,
        downscale_stabilization_s: float = 300,
        cpu_initialization_period_s: float = 300,
        initial_readiness_delay_s: float = 30,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all HPAs alike.

        Args:
            cpu_target_percent: target utilisation of the CPU requests; None: do not look at CPU.
            memory_target_percent: target utilisation of the memory requests; None: do not look at it.
            request_rate_target_rps: target for the requests/s of one pod, a Pods metric with an average
                value; the rate is taken to be shared equally by the ready pods. None: do not look at it.
            response_time_target_s: target for the mean response time in seconds, an External metric with
                a value. It is not proportional to the load, so the HPA overshoots, and without requests
                there is none, which forbids scaling down. None: do not look at it.
            behavior: ``spec.behavior``; None: the rules for an HPA without one.
            tolerance: distance of the usage ratio from 1 within which nothing is done.
            downscale_stabilization_s: how long a higher recommendation holds back scaling down.
            cpu_initialization_period_s: age of a pod up to which its CPU is read with caution.
            initial_readiness_delay_s: age up to which a pod that is not ready was never ready.
            max_sample_age_s: age from which a sample counts as missing.

        Raises:
            InputError: no target at all, a percentage below 1, another target that is not positive, or a
                time or tolerance that is negative.
        """
        targets = {"cpu": cpu_target_percent, "memory": memory_target_percent}
        self._targets = {
            resource: checked_percent(f"hpa: {resource}_target_percent", percent)
            for resource, percent in targets.items()
            if percent is not None
        }
        self._rate_target_milli = _checked_milli("request_rate_target_rps", request_rate_target_rps)
        self._response_target_milli = _checked_milli("response_time_target_s", response_time_target_s)
        if not self._targets and self._rate_target_milli is None and self._response_target_milli is None:
            raise InputError("hpa: set cpu_target_percent, memory_target_percent or both; got neither")
        self._max_sample_age_s = _checked("max_sample_age_s", max_sample_age_s)
        self._loop = HpaLoop(
            behavior=behavior,
            settings=ControllerSettings(
                tolerance=_checked("tolerance", tolerance),
                downscale_stabilization_s=_checked("downscale_stabilization_s", downscale_stabilization_s),
                cpu_initialization_period_s=_checked(
                    "cpu_initialization_period_s", cpu_initialization_period_s
                ),
                initial_readiness_delay_s=_checked("initial_readiness_delay_s", initial_readiness_delay_s),
            ),
        )

    def reset(self) -> None:
        """Forget all recommendations and scale events, as a restart of the controller does."""
        self._loop.reset()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Reconcile the HPA of every service once."""
        now_s = observation.time_s
        return tuple(
            self._loop.decide(service, self._metrics(service, now_s), now_s)
            for service in observation.services
        )

    def _metrics(self, service: ServiceView, now_s: float) -> list[Metric]:
        max_age_s = self._max_sample_age_s
        metrics: list[Metric] = [
            resource_metric(resource, percent, service, now_s, max_age_s)
            for resource, percent in self._targets.items()
        ]
        if self._rate_target_milli is not None:
            metrics.append(_rate_metric(self._rate_target_milli, service, now_s, max_age_s))
        if self._response_target_milli is not None:
            response_s = response_time_s(service, now_s, max_age_s)
            values_milli = None if response_s is None else (milli(response_s),)
            metrics.append(ExternalMetric(Value(self._response_target_milli), values_milli))
        return metrics


class HpaLoop:
    """One HPA per service: gives each its metrics and remembers its state between the decisions."""

    def __init__(
        self, *, behavior: Behavior | None = None, settings: ControllerSettings | None = None
    ) -> None:
        """Configure all HPAs alike.

        Args:
            behavior: ``spec.behavior``; None: the rules for an HPA without one.
            settings: flags of the controller; None: their defaults.
        """
        self._behavior = behavior
        self._settings = settings or ControllerSettings()
        self._gates = FeatureGates()
        self._states: dict[str, HpaState] = {}

    def reset(self) -> None:
        """Forget all recommendations and scale events."""
        self._states.clear()

    def decide(self, service: ServiceView, metrics: Sequence[Metric], now_s: float) -> ServiceDecision:
        """Reconcile the HPA of one service once.

        Args:
            service: the service; one whose bounds contradict each other is left alone.
            metrics: what to look at, with what was measured.
            now_s: the time now.
        """
        low, high = service.min_replicas, service.max_replicas
        if not 0 <= low <= high or high < 1:
            return KEEP
        result = reconcile(
            HpaSpec(high, low, self._behavior),
            Scale(service.replicas_wanted, service.replicas),
            observed_pods(service),
            metrics,
            self._states.get(service.name, _NEW),
            now_s,
            settings=self._settings,
            gates=self._gates,
        )
        self._states[service.name] = result.state
        return ServiceDecision(replicas=result.desired_replicas if result.rescaled else None)


_NEW = HpaState()


def observed_pods(service: ServiceView) -> tuple[Pod, ...]:
    """Return the pods of a service as the HPA sees them."""
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


def resource_metric(
    resource: str, percent: int, service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S
) -> ResourceMetric:
    """Return the CPU or memory metric of a service with the samples that can be believed.

    Args:
        resource: ``cpu`` or ``memory``.
        percent: target utilisation of the requests.
        service: the service.
        now_s: the time now.
        max_age_s: age from which a sample counts as missing.
    """
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
            if view.sample is not None and is_recent(view.sample.time_s, now_s, max_age_s)
        ]
    )
    return ResourceMetric(resource, Utilization(percent), samples)


def _rate_metric(target_milli: int, service: ServiceView, now_s: float, max_age_s: float) -> PodsMetric:
    """The request rate of each ready pod: an equal share of the service's, as a balancer gives it."""
    rate_rps = request_rate_rps(service, now_s, max_age_s)
    ready = [pod.name for pod in service.pods if pod.ready and not pod.deleted]
    if rate_rps is None or not ready:
        return PodsMetric(target_milli, None)
    share = PodValue(milli(rate_rps / len(ready)), service.sample_time_s or 0.0, 0.0)
    return PodsMetric(target_milli, dict.fromkeys(ready, share))


def _container(quota: Quota) -> Container:
    """The container with the requests that are numbers; one that is not counts as not set."""
    requests_milli = {}
    if _is_quantity(quota.cpu_request_cores):
        requests_milli["cpu"] = milli_cores(quota.cpu_request_cores)
    if _is_quantity(quota.memory_request_bytes):
        requests_milli["memory"] = milli_bytes(quota.memory_request_bytes)
    return Container(CONTAINER, requests_milli)


def _cpu_milli(sample: PodSample) -> int | None:
    """Return millicores; None when the sample has no number for them, which makes the pod missing."""
    return milli_cores(sample.cpu_usage_cores) if _is_quantity(sample.cpu_usage_cores) else None


def _memory_milli(sample: PodSample) -> int | None:
    """Return thousandths of bytes; None when the sample has no number for them."""
    return milli_bytes(sample.memory_usage_bytes) if _is_quantity(sample.memory_usage_bytes) else None


def _is_quantity(amount: float) -> bool:
    """Whether an amount is a number that Kubernetes could hold."""
    return 0.0 <= amount <= LARGEST_AMOUNT


def milli_cores(cores: float) -> int:
    """Turn cores into millicores, rounded up from whole nanocores as the metrics API does."""
    return -(-round(cores * 1e9) // 1_000_000)


def milli_bytes(amount_bytes: float) -> int:
    """Turn bytes into thousandths, of whole bytes."""
    return round(amount_bytes) * 1000


LARGEST_AMOUNT = 1e15
"""Of any metric, so that its thousandths fit into 64 bits as upstream's quantities do."""


def milli(amount: float) -> int:
    """Turn an amount of a custom or external metric into thousandths, at least one if there is any."""
    return max(round(min(amount, LARGEST_AMOUNT) * 1000), 1 if amount > 0.0 else 0)


def checked_percent(option: str, percent: object) -> int:
    """Return a percentage of an option.

    Raises:
        InputError: not a whole number of 1 or more.
    """
    if isinstance(percent, bool) or not isinstance(percent, int) or percent < 1:
        raise InputError(f"{option} is {percent!r}; a whole number of percent >= 1 is needed")
    return percent


def _checked_milli(option: str, target: float | None) -> int | None:
    if target is None:
        return None
    return milli(checked_number(f"hpa: {option}", target, 0.0, LARGEST_AMOUNT, above=True))


def _checked(option: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number) or number < 0:
        raise InputError(f"hpa: {option} is {number!r}; a finite number >= 0 is needed")
    return number

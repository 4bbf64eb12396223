"""Scaling on the request rate as KEDA does it: an HPA on an external metric, and what KEDA adds to it."""

from dataclasses import dataclass, field

from podgym.baselines.hpa.types import AverageValue, ControllerSettings, ExternalMetric
from podgym.baselines.hpa_controller import HpaLoop, milli
from podgym.baselines.metrics import (
    KEEP,
    MAX_SAMPLE_AGE_S,
    DemandEstimate,
    checked_number,
    rate_per_replica_rps,
    request_rate_rps,
    want,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import require_whole


class KedaController:
    """Scales each service on its request rate, like a ``ScaledObject`` with a Prometheus trigger.

    Between one replica and the maximum KEDA leaves the scaling to an HPA that it creates, with an External
    metric of type AverageValue: replicas = ceil(rate / threshold), the HPA's tolerance and stabilisation
    on top. The HPA asks for the metric at every sync; only with ``use_cached_metrics`` does the polling
    interval hold for it too. KEDA itself scales between none and one, on the activation threshold and the
    cool-down period, which matters only where a service may have no replicas. When the metric fails more
    than ``failure_threshold`` times in a row the fallback holds, with behaviour
    ``currentReplicasIfHigher``, so that it never scales down.

    Source: KEDA's documentation, "ScaledObject specification" (2.18) and "Prometheus" scaler;
    ``pkg/fallback/fallback.go``.
    """

    name = "keda"

    def __init__(
        self,
        *,
        target_rps_per_replica: float | None = None,
        target_utilisation: float = 0.7,
        polling_interval_s: float = 30.0,
        use_cached_metrics: bool = False,
        activation_rps: float = 0.0,
        cooldown_period_s: float = 300.0,
        failure_threshold: int = 3,
        fallback_replicas: int | None = None,
        downscale_stabilization_s: float = 300.0,
        tolerance: float = 0.1,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike.

        Args:
            target_rps_per_replica: the trigger's ``threshold``, requests/s per replica. None: what a pod
                serves at ``target_utilisation`` of its CPU limit, from the measured CPU per request,
                which is what a person would find in a load test.
            target_utilisation: share of the CPU limit that is aimed at, above 0 and at most 1; read only
                without ``target_rps_per_replica``.
            polling_interval_s: ``pollingInterval``, seconds; read only with ``use_cached_metrics``.
            use_cached_metrics: ``useCachedMetrics``: the HPA sees the value of the last poll.
            activation_rps: ``activationThreshold``, requests/s above which a service without replicas
                gets one.
            cooldown_period_s: ``cooldownPeriod``, seconds without activity until the last replica goes,
                where the minimum is 0.
            failure_threshold: ``fallback.failureThreshold``, decisions in a row without a metric that are
                put up with.
            fallback_replicas: ``fallback.replicas``, wanted after that unless there are more; None: no
                fallback, the replicas stay.
            downscale_stabilization_s: how long a higher recommendation holds back scaling down, seconds.
            tolerance: distance of the ratio from 1 within which nothing is done.
            max_sample_age_s: age from which the metric counts as failed, seconds.

        Raises:
            InputError: an option that is not a number of its range.
        """
        inf = float("inf")
        self._target_rps = (
            None
            if target_rps_per_replica is None
            else checked_number("target_rps_per_replica", target_rps_per_replica, 1e-3, 1e9)
        )
        self._utilisation = checked_number("target_utilisation", target_utilisation, 0.0, 1.0, above=True)
        polling_s = checked_number("polling_interval_s", polling_interval_s, 0.0, inf)
        self._cache_s = polling_s if use_cached_metrics else 0.0
        self._activation_rps = checked_number("activation_rps", activation_rps, 0.0, inf)
        self._cooldown_s = checked_number("cooldown_period_s", cooldown_period_s, 0.0, inf)
        require_whole("failure_threshold", failure_threshold, 0, 10**9)
        self._failure_threshold = failure_threshold
        if fallback_replicas is not None:
            require_whole("fallback_replicas", fallback_replicas, 0, 10**6)
        self._fallback_replicas = fallback_replicas
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, inf)
        self._loop = HpaLoop(
            settings=ControllerSettings(
                tolerance=checked_number("tolerance", tolerance, 0.0, 1.0),
                downscale_stabilization_s=checked_number(
                    "downscale_stabilization_s", downscale_stabilization_s, 0.0, inf
                ),
            )
        )
        self._triggers: dict[str, _Trigger] = {}

    def reset(self) -> None:
        """Forget all recommendations, failures and what was learned of the demand."""
        self._loop.reset()
        self._triggers.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Poll the trigger of every service and reconcile its HPA once."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        trigger = self._triggers.get(service.name)
        if trigger is None:
            trigger = _Trigger(DemandEstimate(max_sample_age_s=self._max_sample_age_s))
            self._triggers[service.name] = trigger
        trigger.demand.update(service, now_s)
        rate_rps = request_rate_rps(service, now_s, self._max_sample_age_s)
        if rate_rps is None or trigger.polled_s is None or not now_s - trigger.polled_s < self._cache_s:
            trigger.rate_rps, trigger.polled_s = rate_rps, now_s
        trigger.failures = trigger.failures + 1 if trigger.rate_rps is None else 0
        if trigger.rate_rps is None:
            return self._fall_back(service, trigger.failures)
        if service.replicas_wanted == 0 or service.min_replicas == 0:
            decision = self._activate(service, trigger, trigger.rate_rps, now_s)
            if decision is not None:
                return decision
        return self._scale(service, trigger, trigger.rate_rps, now_s)

    def _fall_back(self, service: ServiceView, failures: int) -> ServiceDecision:
        if self._fallback_replicas is None or failures <= self._failure_threshold:
            return KEEP
        if self._fallback_replicas <= service.replicas_wanted:
            return KEEP
        return want(self._fallback_replicas, service)

    def _activate(
        self, service: ServiceView, trigger: "_Trigger", rate_rps: float, now_s: float
    ) -> ServiceDecision | None:
        """Scale between none and one; None: the HPA is in charge."""
        if rate_rps > self._activation_rps or trigger.active_s is None:
            trigger.active_s = now_s
        if service.replicas_wanted == 0:
            return want(1, service) if rate_rps > self._activation_rps else KEEP
        if now_s - trigger.active_s > self._cooldown_s:
            return want(0, service)
        return None

    def _scale(
        self, service: ServiceView, trigger: "_Trigger", rate_rps: float, now_s: float
    ) -> ServiceDecision:
        target_rps = self._target_rps
        demand = trigger.demand.core_s_per_request
        if target_rps is None and demand is not None:
            target_rps = rate_per_replica_rps(service, demand, self._utilisation)
        if target_rps is None and rate_rps == 0.0:
            target_rps = 1.0  # any will do
        if target_rps is None:
            return KEEP
        metric = ExternalMetric(AverageValue(milli(target_rps)), (milli(rate_rps),))
        decision = self._loop.decide(service, (metric,), now_s)
        if decision.replicas == 0:  # the HPA's minimum is one, the last replica is KEDA's
            return want(1, service)
        return decision


@dataclass(slots=True)
class _Trigger:
    """What KEDA remembers of one service."""

    demand: DemandEstimate
    rate_rps: float | None = None
    """Of the last poll, requests/s; None: it failed."""
    polled_s: float | None = None
    failures: int = field(default=0)
    """Decisions in a row without a metric."""
    active_s: float | None = None
    """When the rate was last above the activation threshold."""

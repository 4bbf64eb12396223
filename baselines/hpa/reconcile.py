"""One reconcile of one HorizontalPodAutoscaler: metrics in, replicas and conditions out.

Upstream: ``reconcileAutoscaler``, ``computeReplicasForMetrics`` and
``normalizeDesiredReplicas[WithBehaviors]`` in ``horizontal.go`` (1.37 development line).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from podgym.baselines.hpa.rates import (
    Limited,
    default_rules,
    limit_legacy,
    limit_with_behavior,
    store_scale_event,
)
from podgym.baselines.hpa.replicas import Target, propose_replicas
from podgym.baselines.hpa.stabilisation import Stabilised, stabilise_legacy, stabilise_with_behavior
from podgym.baselines.hpa.types import (
    DEFAULT_GATES,
    DEFAULT_METRIC,
    DEFAULT_SETTINGS,
    Behavior,
    Condition,
    ConditionStatus,
    ControllerSettings,
    ErrorClass,
    ExternalMetric,
    FeatureGates,
    HpaSpec,
    HpaState,
    Metric,
    MetricError,
    ObjectMetric,
    Pod,
    PodsMetric,
    Proposal,
    Recommendation,
    Reconciliation,
    ResourceMetric,
    Scale,
    Tolerance,
    UnknownMetric,
)


def reconcile(
    spec: HpaSpec,
    scale: Scale,
    pods: tuple[Pod, ...],
    metrics: Sequence[Metric],
    state: HpaState,
    now_s: float,
    *,
    settings: ControllerSettings = DEFAULT_SETTINGS,
    gates: FeatureGates = DEFAULT_GATES,
    scale_update_succeeds: bool = True,
) -> Reconciliation:
    """Decide the replica count of one target.

    Args:
        spec: limits and behaviour.
        scale: replicas wanted and replicas that exist.
        pods: all pods of the target's selector.
        metrics: what to look at, each with what the metrics API answered; empty: the default metric,
            80 % of the requested CPU, which then counts as not fetched.
        state: what the last reconcile remembered; ``HpaState()`` at first.
        now_s: the time now.
        settings: flags of the controller.
        gates: feature gates.
        scale_update_succeeds: whether the API server takes the new count; if not, nothing is stored.
    """
    under_way = _Reconcile(spec, scale, state, now_s, settings, gates)
    desired = under_way.desired(tuple(metrics) or (DEFAULT_METRIC,), pods)
    if desired is not None and desired != scale.spec_replicas:
        under_way.rescale(desired, succeeds=scale_update_succeeds)
    return under_way.result()


class _Reconcile:
    """The reconcile under way: what it was given, and the status that it has built so far."""

    def __init__(
        self,
        spec: HpaSpec,
        scale: Scale,
        state: HpaState,
        now_s: float,
        settings: ControllerSettings,
        gates: FeatureGates,
    ) -> None:
        self.spec = spec
        self.scale = scale
        self.now_s = now_s
        self.settings = settings
        self.gates = gates
        self.current = scale.spec_replicas
        self.rescaled_to: int | None = None
        self.conditions = dict(state.conditions)
        self.recommendations = state.recommendations
        self.scale_up_events = state.scale_up_events
        self.scale_down_events = state.scale_down_events
        self.statuses: tuple[Proposal | None, ...] = ()
        self.error: ErrorClass = "none"
        self.message = ""
        self.has_outside_metric = False

    def desired(self, metrics: tuple[Metric, ...], pods: tuple[Pod, ...]) -> int | None:
        """Return the count to scale to; None: leave it as it is."""
        self._set("AbleToScale", "True", "SucceededGetScale")
        if self.recommendations is None:
            # Keeps a controller that has just started from scaling down at once.
            self.recommendations = (Recommendation(self.current, self.now_s),)
        self.has_outside_metric = any(isinstance(metric, ObjectMetric | ExternalMetric) for metric in metrics)
        if self.current == 0 and not self._may_wake():
            self._set("ScalingActive", "False", "ScalingDisabled")
            if not self.gates.scale_to_zero:
                self.conditions.pop("ScaledToZero", None)
            return None
        if self.current > self.spec.max_replicas:
            return self.spec.max_replicas
        if 0 < self.current < self.spec.min_replicas:
            return self.spec.min_replicas
        proposal = self._evaluate(metrics, pods)
        return None if proposal is None else self._normalise(max(proposal, 0))

    def _may_wake(self) -> bool:
        """Whether the target is at zero because this controller put it there, and not a person."""
        condition = self.conditions.get("ScaledToZero")
        put_there = self.gates.scale_to_zero and condition is not None and condition.status == "True"
        return put_there and (self.spec.min_replicas != 0 or self.has_outside_metric)

    def _evaluate(self, metrics: tuple[Metric, ...], pods: tuple[Pod, ...]) -> int | None:
        """Return the largest proposal; None: the metrics do not allow any scaling."""
        target = self._target(pods)
        evaluation = _evaluate_metrics(metrics, target)
        self.statuses = evaluation.statuses
        self.error, self.message = evaluation.error, evaluation.message
        if evaluation.forbids_scaling(self.current):
            self._set("ScalingActive", "False", evaluation.failure_reason)
            return None
        self._set("ScalingActive", "True", "ValidMetricFound")
        return evaluation.proposal

    def _target(self, pods: tuple[Pod, ...]) -> Target:
        return Target(
            self.scale,
            pods,
            self.now_s,
            tolerance_of(self.spec.behavior, self.settings, self.gates),
            self.settings.cpu_initialization_period_s,
            self.settings.initial_readiness_delay_s,
            self.gates.pod_level_resources,
        )

    def _normalise(self, proposal: int) -> int:
        """Damp and limit a proposal."""
        behavior = self.spec.behavior
        stabilised = self._stabilise(proposal, behavior)
        self.recommendations = stabilised.recommendations
        damped = stabilised.replicas != proposal
        self._set("AbleToScale", "True", stabilised.reason if damped else "ReadyForNewScale")
        limited = self._limit(stabilised.replicas, behavior)
        moved = limited.replicas != stabilised.replicas
        self._set("ScalingLimited", "True" if moved else "False", limited.reason)
        if self.current == 0 and limited.replicas < self.spec.min_replicas:
            return self.spec.min_replicas
        return limited.replicas

    def _stabilise(self, proposal: int, behavior: Behavior | None) -> Stabilised:
        log = self.recommendations or ()
        if behavior is None:
            return stabilise_legacy(log, proposal, self.settings.downscale_stabilization_s, self.now_s)
        up_window_s = default_rules(behavior.scale_up, "up").stabilization_window_s
        down_window_s = default_rules(behavior.scale_down, "down").stabilization_window_s
        return stabilise_with_behavior(
            log,
            self.current,
            proposal,
            scale_up_window_s=up_window_s or 0,
            scale_down_window_s=(
                int(self.settings.downscale_stabilization_s) if down_window_s is None else down_window_s
            ),
            now_s=self.now_s,
        )

    def _limit(self, desired: int, behavior: Behavior | None) -> Limited:
        low, high = self.spec.min_replicas, self.spec.max_replicas
        if behavior is None:
            return limit_legacy(
                self.current,
                desired,
                low,
                high,
                factor=self.settings.legacy_scale_up_factor,
                minimum=self.settings.legacy_scale_up_minimum,
            )
        return limit_with_behavior(
            self.current,
            desired,
            low,
            high,
            behavior=behavior,
            scale_up_events=self.scale_up_events,
            scale_down_events=self.scale_down_events,
            now_s=self.now_s,
        )

    def rescale(self, desired: int, *, succeeds: bool) -> None:
        """Update the scale subresource and remember it, or say that it could not be updated."""
        if not succeeds:
            self._set("AbleToScale", "False", "FailedUpdateScale")
            self.error, self.message = "internal", "unable to update the scale subresource"
            return
        self.rescaled_to = desired
        self._set("AbleToScale", "True", "SucceededRescale")
        if self.spec.behavior is not None:
            self._store_event(desired - self.current, self.spec.behavior)
        if not self.gates.scale_to_zero:
            self.conditions.pop("ScaledToZero", None)
        elif self.current > 0 and desired == 0 and self.spec.min_replicas == 0 and self.has_outside_metric:
            self._set("ScaledToZero", "True", "ScaledToZero")
        else:
            self._set("ScaledToZero", "False", "NotScaledToZero")

    def _store_event(self, change: int, behavior: Behavior) -> None:
        if change > 0:
            rules = default_rules(behavior.scale_up, "up")
            self.scale_up_events = store_scale_event(self.scale_up_events, rules, change, self.now_s)
        else:
            rules = default_rules(behavior.scale_down, "down")
            self.scale_down_events = store_scale_event(self.scale_down_events, rules, -change, self.now_s)

    def _set(self, condition: str, status: ConditionStatus, reason: str) -> None:
        self.conditions[condition] = Condition(status, reason)

    def result(self) -> Reconciliation:
        """Return the outcome as it stands."""
        state = HpaState(self.recommendations, self.scale_up_events, self.scale_down_events, self.conditions)
        return Reconciliation(
            desired_replicas=self.current if self.rescaled_to is None else self.rescaled_to,
            rescaled=self.rescaled_to is not None,
            error=self.error,
            conditions=self.conditions,
            metric_statuses=self.statuses,
            state=state,
            message=self.message,
        )


def tolerance_of(behavior: Behavior | None, settings: ControllerSettings, gates: FeatureGates) -> Tolerance:
    """Return the tolerances of one HPA: its own where it sets them and the gate allows, else the global."""
    tolerance = Tolerance(settings.tolerance, settings.tolerance)
    if behavior is None or not gates.configurable_tolerance:
        return tolerance
    if behavior.scale_down is not None and behavior.scale_down.tolerance is not None:
        tolerance = replace(tolerance, scale_down=behavior.scale_down.tolerance)
    if behavior.scale_up is not None and behavior.scale_up.tolerance is not None:
        tolerance = replace(tolerance, scale_up=behavior.scale_up.tolerance)
    return tolerance


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What all metrics say together."""

    proposal: int
    """Largest proposal of the metrics that gave one."""
    statuses: tuple[Proposal | None, ...]
    error: ErrorClass
    """Class of the first failure."""
    message: str
    failure_reason: str
    """Condition reason of the first failure."""

    def forbids_scaling(self, current: int) -> bool:
        """Whether nothing may be done: no metric works, or one that fails could have prevented this."""
        if all(status is None for status in self.statuses):
            return True
        return self.error != "none" and self.proposal < current


def _evaluate_metrics(metrics: Sequence[Metric], target: Target) -> _Evaluation:
    statuses: list[Proposal | None] = []
    error: ErrorClass = "none"
    message = failure_reason = ""
    for metric in metrics:
        try:
            statuses.append(propose_replicas(metric, target))
        except MetricError as failure:
            statuses.append(None)
            if error == "none":
                error = "spec" if isinstance(metric, UnknownMetric) else "internal"
                message, failure_reason = str(failure), _failure_reason(metric)
    proposal = max((status.replicas for status in statuses if status is not None), default=0)
    return _Evaluation(proposal, tuple(statuses), error, message, failure_reason)


def _failure_reason(metric: Metric) -> str:
    match metric:
        case ResourceMetric(container=""):
            return "FailedGetResourceMetric"
        case ResourceMetric():
            return "FailedGetContainerResourceMetric"
        case PodsMetric():
            return "FailedGetPodsMetric"
        case ObjectMetric():
            return "FailedGetObjectMetric"
        case ExternalMetric():
            return "FailedGetExternalMetric"
        case _:
            return "InvalidMetricSourceType"

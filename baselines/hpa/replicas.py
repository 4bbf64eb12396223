"""How many replicas one metric asks for.

Upstream: ``replica_calculator.go``. A metric of the pods (resource, container or custom) scales the
pods that were measured and fills the gaps so that missing data never turns the direction around; a
metric of something else (object, external) only counts the ready pods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from podgym.baselines.hpa.arithmetic import MAX_INT64, ceil_to_int32, divide, quotient
from podgym.baselines.hpa.pods import (
    PodGroups,
    calculate_requests,
    count_running_ready,
    group_pods,
    resource_values,
)
from podgym.baselines.hpa.ratios import usage_ratio, utilization_ratio
from podgym.baselines.hpa.types import (
    DEFAULT_TOLERANCE,
    AverageValue,
    ExternalMetric,
    Metric,
    MetricError,
    ObjectMetric,
    Pod,
    PodsMetric,
    PodValue,
    Proposal,
    ResourceMetric,
    Scale,
    Tolerance,
    Utilization,
    Value,
)

FETCH_FAILED = "unable to fetch metrics from the metrics API"


@dataclass(frozen=True, slots=True)
class Target:
    """The scaled object at one moment, and how cautiously its metrics are read."""

    scale: Scale
    pods: tuple[Pod, ...]
    now_s: float
    tolerance: Tolerance = DEFAULT_TOLERANCE
    cpu_initialization_period_s: float = 300
    initial_readiness_delay_s: float = 30
    pod_level_resources: bool = True


def propose_replicas(metric: Metric, target: Target) -> Proposal:
    """Return the replica count that a metric asks for.

    Raises:
        MetricError: the metric could not be fetched, is incomplete, or no pod has a usable value.
    """
    match metric:
        case ResourceMetric():
            return _resource_proposal(metric, target)
        case PodsMetric():
            if not metric.values:
                raise MetricError(FETCH_FAILED)
            return average_value_replicas(metric.values, metric.target_average_milli, target)
        case ObjectMetric():
            if metric.value_milli is None:
                raise MetricError(FETCH_FAILED)
            return _total_proposal(metric.value_milli, metric.target, target)
        case ExternalMetric():
            if not metric.values_milli:
                raise MetricError(FETCH_FAILED)
            return _total_proposal(saturating_sum(metric.values_milli), metric.target, target)
        case _:
            raise MetricError(f"unknown metric source type {metric.type!r}")


def _resource_proposal(metric: ResourceMetric, target: Target) -> Proposal:
    if metric.target is None:
        raise MetricError("neither a utilization nor an average value target was set")
    if not metric.samples:
        raise MetricError(FETCH_FAILED)
    values = resource_values(metric.samples, metric.container)
    if isinstance(metric.target, AverageValue):
        return average_value_replicas(values, metric.target.milli, target, metric.resource)
    return utilization_replicas(values, metric.target, target, metric.resource, metric.container)


def _total_proposal(usage_milli: int, goal: Value | AverageValue | None, target: Target) -> Proposal:
    if goal is None:
        raise MetricError("neither a value nor an average value target was set")
    if isinstance(goal, AverageValue):
        return shared_average_replicas(usage_milli, goal.milli, target)
    return value_replicas(usage_milli, goal.milli, target)


def utilization_replicas(
    values: Mapping[str, PodValue],
    goal: Utilization,
    target: Target,
    resource: str,
    container: str = "",
) -> Proposal:
    """Scale the pods so that usage is a given percentage of their requests (``GetResourceReplicas``)."""
    groups, usage_milli = _measured(values, target, resource)
    requests_milli = calculate_requests(
        target.pods, resource, container, pod_level_resources=target.pod_level_resources
    )
    measured = utilization_ratio(usage_milli, requests_milli, goal.percent)
    assumed_percent = max(100, goal.percent)
    replicas = _replicas_from_pods(
        measured.ratio,
        usage_milli,
        groups,
        target,
        ratio_of=lambda filled: utilization_ratio(filled, requests_milli, goal.percent).ratio,
        missing_milli=lambda pod: quotient(requests_milli[pod] * assumed_percent, 100),
    )
    return Proposal(
        replicas,
        utilization_percent=measured.utilization_percent,
        average_usage_milli=measured.average_usage_milli,
    )


def average_value_replicas(
    values: Mapping[str, PodValue], target_milli: int, target: Target, resource: str = ""
) -> Proposal:
    """Scale the pods so that their average is a given value (``calcPlainMetricReplicas``)."""
    groups, usage_milli = _measured(values, target, resource)
    measured = usage_ratio(usage_milli, target_milli)
    replicas = _replicas_from_pods(
        measured.ratio,
        usage_milli,
        groups,
        target,
        ratio_of=lambda filled: usage_ratio(filled, target_milli).ratio,
        missing_milli=lambda _: target_milli,
    )
    return Proposal(replicas, usage_milli=measured.usage_milli)


def _measured(
    values: Mapping[str, PodValue], target: Target, resource: str
) -> tuple[PodGroups, dict[str, int]]:
    """Group the pods and drop the values of those that do not count."""
    if not target.pods:
        raise MetricError("no pods returned by selector")
    groups = group_pods(
        target.pods,
        values,
        resource,
        cpu_initialization_period_s=target.cpu_initialization_period_s,
        initial_readiness_delay_s=target.initial_readiness_delay_s,
        now_s=target.now_s,
    )
    dropped = {*groups.unready, *groups.ignored}
    usage_milli = {name: value.value_milli for name, value in values.items() if name not in dropped}
    if not usage_milli:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return groups, usage_milli


def _replicas_from_pods(
    ratio: float,
    usage_milli: Mapping[str, int],
    groups: PodGroups,
    target: Target,
    *,
    ratio_of: Callable[[Mapping[str, int]], float],
    missing_milli: Callable[[str], int],
) -> int:
    """Turn the ratio of the measured pods into a count, filling gaps against the direction of travel."""
    current = target.scale.spec_replicas
    scale_up_with_unready = bool(groups.unready) and ratio > 1.0
    if not scale_up_with_unready and not groups.missing:
        if target.tolerance.contains(ratio):
            return current
        return ceil_to_int32(ratio * float(groups.ready_count))

    filled = dict(usage_milli)
    if ratio < 1.0:
        filled.update({pod: missing_milli(pod) for pod in groups.missing})
    elif ratio > 1.0:
        filled.update(dict.fromkeys(groups.missing, 0))
    if scale_up_with_unready:
        filled.update(dict.fromkeys(groups.unready, 0))

    ratio_filled = ratio_of(filled)
    if target.tolerance.contains(ratio_filled) or ratio < 1.0 < ratio_filled or ratio_filled < 1.0 < ratio:
        return current
    replicas = ceil_to_int32(ratio_filled * float(len(filled)))
    turned_around = (ratio_filled < 1.0 and replicas > current) or (ratio_filled > 1.0 and replicas < current)
    return current if turned_around else replicas


def value_replicas(usage_milli: int, target_milli: int, target: Target) -> Proposal:
    """Scale the ready pods by usage over target; from zero, by the ratio alone."""
    ratio = divide(float(usage_milli), float(target_milli))
    current = target.scale.spec_replicas
    if current == 0:
        return Proposal(ceil_to_int32(ratio), usage_milli=usage_milli)
    if target.tolerance.contains(ratio):
        return Proposal(current, usage_milli=usage_milli)
    if not target.pods:
        raise MetricError("no pods returned by selector")
    return Proposal(ceil_to_int32(ratio * float(count_running_ready(target.pods))), usage_milli=usage_milli)


def shared_average_replicas(usage_milli: int, target_milli: int, target: Target) -> Proposal:
    """Choose the count at which each replica's share of the usage is the target."""
    replicas = target.scale.status_replicas
    shared_milli = _share_milli(usage_milli, replicas)
    ratio = divide(float(usage_milli), float(target_milli) * float(replicas))
    if not target.tolerance.contains(ratio):
        replicas = ceil_to_int32(divide(float(usage_milli), float(target_milli)))
    return Proposal(replicas, usage_milli=shared_milli)


def _share_milli(usage_milli: int, replicas: int) -> int:
    """Usage per replica, rounded up; saturated usage stays saturated."""
    if float(usage_milli) >= float(MAX_INT64):
        return MAX_INT64
    return 0 if replicas == 0 else ceil(float(usage_milli) / float(replicas))


def saturating_sum(values: Sequence[int]) -> int:
    """Add up the series of an external metric; at 2**63 - 1 the sum stays there."""
    total = 0
    for value in values:
        total += value
        if total > MAX_INT64:
            return MAX_INT64
    return total

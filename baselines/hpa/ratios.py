"""The ratio of usage to target, 1 when the target is met exactly.

Upstream: ``GetResourceUtilizationRatio`` and ``GetMetricUsageRatio`` in ``metrics/utilization.go``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from podgym.baselines.hpa.arithmetic import clamp_int32, divide, quotient
from podgym.baselines.hpa.types import MetricError


@dataclass(frozen=True, slots=True)
class UtilizationRatio:
    """Utilisation of the requests against its target."""

    ratio: float
    utilization_percent: int
    """Truncated to whole percent, before the ratio is formed from it."""
    average_usage_milli: int


@dataclass(frozen=True, slots=True)
class UsageRatio:
    """Average usage against its target."""

    ratio: float
    usage_milli: int
    """Average over the pods, truncated, before the ratio is formed from it."""


def utilization_ratio(
    usage_milli: Mapping[str, int], requests_milli: Mapping[str, int], target_percent: int
) -> UtilizationRatio:
    """Compare total usage with total requests, over the pods that have both.

    Args:
        usage_milli: usage per pod name.
        requests_milli: request per pod name; pods without usage do not count.
        target_percent: target utilisation.

    Raises:
        MetricError: nothing was requested by the pods that have usage.
    """
    used = [name for name in usage_milli if name in requests_milli]
    usage_total_milli = sum(usage_milli[name] for name in used)
    requests_total_milli = sum(requests_milli[name] for name in used)
    if requests_total_milli == 0:
        raise MetricError("no metrics returned matched known pods")
    percent = clamp_int32(quotient(usage_total_milli * 100, requests_total_milli))
    return UtilizationRatio(
        divide(float(percent), float(target_percent)), percent, quotient(usage_total_milli, len(used))
    )


def usage_ratio(usage_milli: Mapping[str, int], target_milli: int) -> UsageRatio:
    """Compare average usage with its target.

    Args:
        usage_milli: usage per pod name, at least one.
        target_milli: target for the average.

    Raises:
        MetricError: there is no usage at all.
    """
    if not usage_milli:
        raise MetricError("no metrics to average")
    average_milli = quotient(sum(usage_milli.values()), len(usage_milli))
    return UsageRatio(divide(float(average_milli), float(target_milli)), average_milli)

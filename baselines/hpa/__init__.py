"""Kubernetes' HorizontalPodAutoscaler v2 as a pure library: metrics and pods in, replicas out.

The story in reading order. ``group_pods`` sorts the pods into those that count and those that do not;
``utilization_ratio`` and ``usage_ratio`` compare what they use with the target; ``propose_replicas``
makes a replica count of it, filling gaps so that missing data never turns the direction around.
``stabilise_legacy`` and ``stabilise_with_behavior`` damp it, ``limit_legacy`` and
``limit_with_behavior`` keep it within its bounds and rates, and ``reconcile`` is the whole: one pass
of the controller over one HPA, from a state to the next. No cluster and no simulator is needed:

    >>> pods = (Pod("web-0", start_time_s=0, containers=(Container("web", {"cpu": 500}),)),)
    >>> samples = (ResourceSample("web-0", time_s=600, window_s=60, usage_milli={"web": 900}),)
    >>> metric = ResourceMetric("cpu", Utilization(80), samples)
    >>> result = reconcile(HpaSpec(10), Scale(1, 1), pods, [metric], HpaState(), now_s=600)
    >>> result.desired_replicas, result.conditions["ScalingActive"].reason
    (3, 'ValidMetricFound')

Quantities are integers in milli-units, ratios are float64 in upstream's order of operations, so that
results agree with upstream's to the last bit.
"""

from podgym.baselines.hpa.pods import PodGroups, calculate_requests, group_pods, resource_values
from podgym.baselines.hpa.rates import (
    Limited,
    change_within,
    default_behavior,
    default_rules,
    limit_legacy,
    limit_with_behavior,
    scale_down_limit,
    scale_up_limit,
    store_scale_event,
)
from podgym.baselines.hpa.ratios import UsageRatio, UtilizationRatio, usage_ratio, utilization_ratio
from podgym.baselines.hpa.reconcile import reconcile
from podgym.baselines.hpa.replicas import Target, propose_replicas
from podgym.baselines.hpa.stabilisation import Stabilised, stabilise_legacy, stabilise_with_behavior
from podgym.baselines.hpa.types import (
    AverageValue,
    Behavior,
    Condition,
    Container,
    ControllerSettings,
    ExternalMetric,
    FeatureGates,
    HpaSpec,
    HpaState,
    Metric,
    MetricError,
    ObjectMetric,
    Pod,
    PodsMetric,
    PodValue,
    Proposal,
    Recommendation,
    Reconciliation,
    ResourceMetric,
    ResourceSample,
    Scale,
    ScaleEvent,
    ScalingPolicy,
    ScalingRules,
    Tolerance,
    UnknownMetric,
    Utilization,
    Value,
)

__all__ = [
    "AverageValue",
    "Behavior",
    "Condition",
    "Container",
    "ControllerSettings",
    "ExternalMetric",
    "FeatureGates",
    "HpaSpec",
    "HpaState",
    "Limited",
    "Metric",
    "MetricError",
    "ObjectMetric",
    "Pod",
    "PodGroups",
    "PodValue",
    "PodsMetric",
    "Proposal",
    "Recommendation",
    "Reconciliation",
    "ResourceMetric",
    "ResourceSample",
    "Scale",
    "ScaleEvent",
    "ScalingPolicy",
    "ScalingRules",
    "Stabilised",
    "Target",
    "Tolerance",
    "UnknownMetric",
    "UsageRatio",
    "Utilization",
    "UtilizationRatio",
    "Value",
    "calculate_requests",
    "change_within",
    "default_behavior",
    "default_rules",
    "group_pods",
    "limit_legacy",
    "limit_with_behavior",
    "propose_replicas",
    "reconcile",
    "resource_values",
    "scale_down_limit",
    "scale_up_limit",
    "stabilise_legacy",
    "stabilise_with_behavior",
    "store_scale_event",
    "usage_ratio",
    "utilization_ratio",
]

"""Kubernetes' VerticalPodAutoscaler as a library: usage samples in, requests and evictions out.

The story in reading order. ``observe_cpu``, ``observe_memory`` and ``observe_oom`` decide which samples of
one container count; an ``AggregateState`` collects them in decaying histograms. ``estimate`` takes a high
percentile of each, adds a margin, and widens the bounds as long as there is little history;
``finish_recommendation`` applies minimum, policy and rounding, and ``recommend`` is the whole of it. The
updater then compares pods with their recommendation (``update_priority``), chooses which to update
(``updates_in_order``) and how many at once (``eviction_group``, ``evict``, ``decide_in_place``). No cluster
and no simulator is needed:

    >>> state, usage = AggregateState(), ContainerUsage()
    >>> for minute in range(24 * 60):
    ...     for observe, amount in ((observe_cpu, 400), (observe_memory, 300_000_000)):
    ...         seen = observe(usage, amount, 60.0 * minute)
    ...         usage = seen.usage
    ...         state.apply(seen.operations)
    >>> recommend({"web": state})["web"].target
    {'cpu': 476, 'memory': 351198544}

Amounts are integers, millicores of CPU and bytes of memory; what is float is computed in upstream's order
of operations, so that results agree with upstream's.
"""

from podgym.baselines.vpa.aggregate import (
    AggregateState,
    is_expired,
    merge_by_container,
    shifted_checkpoint,
)
from podgym.baselines.vpa.amounts import (
    MAX_AMOUNT,
    RESOURCES,
    Amounts,
    Resource,
    amount_from_float,
    bytes_from_memory_amount,
    cores_from_cpu_amount,
    cpu_amount_from_cores,
    humanize_memory,
    memory_amount_from_bytes,
    round_up_to_scale,
    rounded_amount,
    scale_amount,
)
from podgym.baselines.vpa.buckets import (
    CPU_BUCKETS,
    MEMORY_BUCKETS,
    Buckets,
    ExponentialBuckets,
    LinearBuckets,
)
from podgym.baselines.vpa.eviction import (
    EvictionGroup,
    GroupPod,
    ResizeStatus,
    begin_resize,
    can_evict,
    decide_in_place,
    evict,
    eviction_group,
    resize_has_failed,
)
from podgym.baselines.vpa.histogram import (
    ZERO_TIME_S,
    DecayingHistogram,
    Histogram,
    HistogramCheckpoint,
    nearest_reference_s,
)
from podgym.baselines.vpa.policy import ContainerPolicy, ResolvedPolicy, capped, controlled, resolve_policy
from podgym.baselines.vpa.priority import (
    ContainerRequests,
    PodPriority,
    Termination,
    UpdateCandidate,
    UpdateSettings,
    container_requests,
    is_less_urgent,
    is_quick_oom,
    milli_amounts,
    needs_update,
    update_priority,
    updates_in_order,
)
from podgym.baselines.vpa.recommendation import (
    ContainerRecommendation,
    Estimates,
    RecommenderSettings,
    confidence,
    confidence_factor,
    cpu_percentile,
    estimate,
    finish_recommendation,
    memory_percentile,
    recommend,
    with_confidence,
    with_margin,
    with_minimum,
)
from podgym.baselines.vpa.usage import (
    ContainerUsage,
    HistogramOperation,
    Observed,
    UsageSettings,
    observe_cpu,
    observe_memory,
    observe_oom,
)

__all__ = [
    "CPU_BUCKETS",
    "MAX_AMOUNT",
    "MEMORY_BUCKETS",
    "RESOURCES",
    "ZERO_TIME_S",
    "AggregateState",
    "Amounts",
    "Buckets",
    "ContainerPolicy",
    "ContainerRecommendation",
    "ContainerRequests",
    "ContainerUsage",
    "DecayingHistogram",
    "Estimates",
    "EvictionGroup",
    "ExponentialBuckets",
    "GroupPod",
    "Histogram",
    "HistogramCheckpoint",
    "HistogramOperation",
    "LinearBuckets",
    "Observed",
    "PodPriority",
    "RecommenderSettings",
    "ResizeStatus",
    "ResolvedPolicy",
    "Resource",
    "Termination",
    "UpdateCandidate",
    "UpdateSettings",
    "UsageSettings",
    "amount_from_float",
    "begin_resize",
    "bytes_from_memory_amount",
    "can_evict",
    "capped",
    "confidence",
    "confidence_factor",
    "container_requests",
    "controlled",
    "cores_from_cpu_amount",
    "cpu_amount_from_cores",
    "cpu_percentile",
    "decide_in_place",
    "estimate",
    "evict",
    "eviction_group",
    "finish_recommendation",
    "humanize_memory",
    "is_expired",
    "is_less_urgent",
    "is_quick_oom",
    "memory_amount_from_bytes",
    "memory_percentile",
    "merge_by_container",
    "milli_amounts",
    "nearest_reference_s",
    "needs_update",
    "observe_cpu",
    "observe_memory",
    "observe_oom",
    "recommend",
    "resize_has_failed",
    "resolve_policy",
    "round_up_to_scale",
    "rounded_amount",
    "scale_amount",
    "shifted_checkpoint",
    "update_priority",
    "updates_in_order",
    "with_confidence",
    "with_margin",
    "with_minimum",
]

"""Cases for the conformance kinds of the VPA, worked out by hand: name -> kind, input, expected."""

LINEAR = {"type": "linear", "max_value": 5.0, "bucket_size": 1.0, "epsilon": 0.001}
EXPONENTIAL = {
    "type": "exponential", "max_value": 100.0, "first_bucket_size": 10.0, "ratio": 2.0, "epsilon": 0.001,
}  # fmt: skip
USAGE = {
    "memory_aggregation_interval_s": 3600,
    "memory_aggregation_interval_count": 8,
    "oom_bump_up_ratio": 1.5,
    "oom_min_bump_up_bytes": 10,
    "max_memory_bytes": 0,
    "request": {"cpu_milli": 1, "memory_bytes": 1},
}
DECISION = {
    "min_change_priority": 0.1, "pod_lifetime_threshold_s": 100, "evict_after_oom_threshold_s": 10,
}  # fmt: skip
POD = {
    "name": "a",
    "age_s": 100,
    "outside_recommended_range": False,
    "scale_up": False,
    "last_termination": None,
    "observed": True,
    "mode": "Auto",
    "admitted": True,
    "resource_diff": 0.1,
}
PRIORITY = {
    "name": "c",
    "request_milli": {"cpu": 100},
    "target_milli": {"cpu": 150},
    "lower_bound_milli": {"cpu": 100},
    "upper_bound_milli": {},
}
NOTHING_KNOWN = {"mode": "Auto", "controlled_resources": ["cpu", "memory"]}

CASES = {
    "linear buckets": (
        "histogram_options",
        LINEAR,
        {
            "num_buckets": 6,
            "bucket_starts": [[0, 0.0], [5, 5.0]],
            "find_bucket": [[-1.0, 0], [4.5, 4], [9.0, 5]],
        },
    ),
    "exponential buckets": (
        "histogram_options",
        EXPONENTIAL,
        {
            "num_buckets": 5,
            "bucket_starts": [[4, 150.0]],
            "find_bucket": [[29.0, 1], [1e9, 4]],
            "error": False,
        },
    ),
    "buckets of no size": ("histogram_options", {**LINEAR, "bucket_size": 0.0}, {"error": True}),
    "percentiles": (
        "histogram",
        {
            "options": LINEAR,
            "half_life_s": None,
            "operations": [["add", 1.5, 3.0, 0], ["add", 2.5, 1.0, 0], ["subtract", 2.5, 1.0, 0]],
            "merge_with": [["add", 3.5, 1.0, 0]],
        },
        {
            "percentiles": [[0.75, 2.0], [0.76, 4.0]],
            "empty_after_each": [True, False, False, False],
            "equals_operations": [["add", 3.5, 1, 0], ["add", 1.5, 3, 0]],
        },
    ),
    "decay": (
        "histogram",
        {
            "options": LINEAR,
            "half_life_s": 60,
            "operations": [["add", 1.5, 2.0, 1_234_567_800], ["add", 2.5, 1.0, 1_234_567_860]],
            "merge_with": None,
        },
        {"percentiles": [[0.5, 2.0], [0.51, 3.0]]},
    ),
    "saving": (
        "checkpoint_save",
        {"options": LINEAR, "half_life_s": None, "operations": [["add", 1.5, 1, 0], ["add", 0.5, 2, 0]]},
        {"total_weight": 3.0, "bucket_weights": {"0": 10000, "1": 5000}},
    ),
    "saving with decay": (
        "checkpoint_save",
        {"options": LINEAR, "half_life_s": 60, "operations": [["add", 1.5, 1, 6_000_000_000]]},
        {"total_weight": 1.0, "bucket_weights": {"1": 10000}, "reference_s": 6e9},
    ),
    "loading": (
        "checkpoint_load",
        {"options": LINEAR, "checkpoint": {"total_weight": 9.0, "bucket_weights": {"1": 1, "3": 2}}},
        {
            "error": False,
            "total_weight": 9.0,
            "bucket_weights": {"1": 3.0, "3": 6.0},
            "min_bucket": 1,
            "max_bucket": 3,
            "empty": False,
            "percentiles": [[0.3, 2.0], [0.9, 4.0]],
        },
    ),
    "loading nothing": ("checkpoint_load", {"options": LINEAR, "checkpoint": None}, {"error": True}),
    "loading less than nothing": (
        "checkpoint_load",
        {"options": LINEAR, "checkpoint": {"total_weight": -1.0, "bucket_weights": {"1": 1}}},
        {"error": True},
    ),
    "amount": ("amount", {"function": "cpu_amount_from_cores", "args": [1.2349]}, {"value": 1234}),
    "amount in words": ("amount", {"function": "humanize_memory", "args": [3 * 2**19]}, {"value": "1.50Mi"}),
    "largest amount": ("amount", {"function": "resource_amount_max", "args": [3, 4]}, {"value": 4}),
    "rounding": (
        "amount",
        {"function": "round_up_to_scale", "args": [101, 50]},
        {"value": 150, "error": False},
    ),
    "no scale": (
        "amount",
        {"function": "round_up_to_scale", "args": [101, -1]},
        {"value": 101, "error": True},
    ),
    "resources": (
        "resource_list",
        {
            "cpu_milli": 101, "memory_bytes": 1025, "humanize": True,
            "round_cpu_milli": 50, "round_memory_bytes": 1024,
        },
        {"cpu_milli": 150, "memory": "2.00Ki"},
    ),
    "resources as they are": (
        "resource_list",
        {
            "cpu_milli": 0, "memory_bytes": 2048, "humanize": False,
            "round_cpu_milli": 50, "round_memory_bytes": 0,
        },
        {"cpu_milli": 0, "memory": "2048"},
    ),
    "median of memory": (
        "percentile_estimate",
        {"resource": "memory", "samples": [1e9, 4e9, 9e9], "percentile": 0.5},
        {"value": 4e9, "relative_tolerance": 0.05},
    ),
    "low CPU in cores": (
        "percentile_estimate",
        {"resource": "cpu", "samples": [1.0, 4.0, 9.0], "percentile": 0.1},
        {"value": 1.0, "relative_tolerance": 0.05},
    ),
    "low CPU in millicores": (
        "percentile_estimate",
        {"resource": "cpu", "samples": [1.0, 4.0, 9.0], "percentile": 0.1},
        {"value": 1000},
    ),
    "confidence": (
        "confidence",
        {
            "sample_count": 11, "sample_step_s": 60, "confidence_interval_s": 1200,
            "multiplier": 1.0, "exponent": 2.0, "base_amount": 100,
        },
        {"amount": 900, "confidence": 0.5},
    ),
    "no confidence": (
        "confidence",
        {
            "sample_count": 0, "sample_step_s": 60, "confidence_interval_s": 1200,
            "multiplier": 1.0, "exponent": 1.0, "base_amount": 100,
        },
        {"amount": 10**14, "confidence": 0.0},
    ),
    "factor": (
        "confidence_factor",
        {"history_minutes": 480, "multiplier": 1.0, "exponent": 1.0},
        {"factor": 4.01, "absolute_tolerance": 0.02},
    ),
    "margin": ("margin", {"base_amount": 99, "fraction": 0.1}, {"amount": 108}),
    "minimum": ("minimum", {"base_amount": 99, "minimum": 100}, {"amount": 100}),
    "recommendation": (
        "recommendation",
        {
            "containers": 5,
            "controlled_resources": None,
            "estimate": {"cpu_milli": 4, "memory_bytes": 10**9},
        },
        {
            "target_each": {"cpu_milli": 5, "memory_bytes": 10**9},
            "lower_bound_each": {"cpu_milli": 5, "memory_bytes": 10**9},
            "upper_bound_each": {"cpu_milli": 5, "memory_bytes": 10**9},
            "resources_present": ["cpu", "memory"],
        },
    ),
    "recommendation of nothing": (
        "recommendation",
        {"containers": 1, "controlled_resources": [], "estimate": {"cpu_milli": 4, "memory_bytes": 1}},
        {"target_each": {}, "resources_present": []},
    ),
    "usage": (
        "container_usage",
        {
            **USAGE,
            "events": [
                {"type": "sample", "resource": "cpu", "t": 5, "usage": 1500},
                {"type": "sample", "resource": "cpu", "t": 5, "usage": 1500},
                {"type": "sample", "resource": "memory", "t": 0, "usage": 100},
                {"type": "oom", "t": 10, "requested_memory": 40},
            ],
        },
        {
            "accepted": [True, False, True, True],
            "histogram_operations": [
                {"histogram": "cpu", "operation": "add", "value": 1.5, "weight": 0.1, "t": 5},
                {"histogram": "memory", "operation": "add", "value": 100.0, "weight": 1.0, "t": 3600},
                {"histogram": "memory", "operation": "subtract", "value": 100.0, "weight": 1.0, "t": 3600},
                {"histogram": "memory", "operation": "add", "value": 150.0, "weight": 1.0, "t": 3600},
            ],
        },
    ),
    "by name": (
        "aggregate_by_name",
        {
            "containers": [
                {"pod": "p", "name": "a", "cpu_cores": 1.0, "memory_bytes": 1e9},
                {"pod": "q", "name": "a", "cpu_cores": 2.0, "memory_bytes": 3e9},
                {"pod": "q", "name": "b", "cpu_cores": 2.0, "memory_bytes": 3e9},
            ]
        },
        {
            "total_samples": {"a": 2, "b": 1},
            "memory_histogram_samples": {"a": [[3e9, 1.0], [1e9, 1.0]]},
            "cpu_histogram_samples": {"a": [[1.0, 0.1], [2.0, 0.1]], "b": [[2.0, 0.1]]},
        },
    ),
    "expiry": (
        "expiry",
        {
            "memory_aggregation_interval_s": 60, "memory_aggregation_interval_count": 2,
            "total_samples": 1, "seconds_since_last_sample_or_creation": 119,
        },
        {"expired": False},
    ),
    "no policy": (
        "policy",
        {"policy": None, "per_vpa_config": True},
        {**NOTHING_KNOWN, "memory_aggregation_interval_s": 86400, "memory_aggregation_interval_count": 8},
    ),
    "policy": (
        "policy",
        {
            "policy": {
                "mode": "Off", "controlled_resources": [], "memory_aggregation_interval_s": 60,
                "memory_aggregation_interval_count": 3,
            },
            "per_vpa_config": True,
        },
        {
            "mode": "Off", "controlled_resources": [], "memory_aggregation_interval_s": 60,
            "memory_aggregation_interval_count": 3,
        },
    ),
    "policy without the gate": (
        "policy",
        {"policy": {"memory_aggregation_interval_s": 60}, "per_vpa_config": False},
        {**NOTHING_KNOWN, "memory_aggregation_interval_s": 86400},
    ),
    "priority": (
        "update_priority",
        {"observed_containers": ["c"], "containers": [PRIORITY, {**PRIORITY, "name": "d"}]},
        {"outside_recommended_range": False, "scale_up": True, "resource_diff": 0.5},
    ),
    "priority by status": (
        "update_priority",
        {"observed_containers": None, "containers": [{**PRIORITY, "actual_request_milli": {"cpu": 50}}]},
        {"outside_recommended_range": True, "scale_up": True, "resource_diff": 2.0},
    ),
    "decision": (
        "update_decision",
        {
            **DECISION,
            "pods": [
                POD,
                {**POD, "name": "young", "age_s": 99},
                {
                    **POD, "name": "killed", "age_s": None,
                    "last_termination": {"reason": "OOMKilled", "ran_s": 9},
                },
                {**POD, "name": "refused", "admitted": False},
                {**POD, "name": "growing", "scale_up": True},
            ],
        },
        {"updated_in_order": ["growing", "a", "killed"]},
    ),
    "less": (
        "priority_less",
        {"a": {"scale_up": False, "resource_diff": 9.0}, "b": {"scale_up": True, "resource_diff": 0.1}},
        {"a_less_than_b": True, "b_less_than_a": False},
    ),
    "eviction": (
        "eviction_group",
        {
            "configured_replicas": 4,
            "eviction_tolerance": 0.25,
            "min_replicas": 2,
            "pods": [
                {"phase": "Running", "resize": None},
                {"phase": "Running"},
                {"phase": "Running", "resize": "Infeasible"},
                {"phase": "Running", "resize": {"type": "PodResizeInProgress", "reason": ""}},
            ],
        },
        {"can_evict": [True, True, True, False], "evicted_in_order": [True, False, False, False]},
    ),
    "too few to evict": (
        "eviction_group",
        {
            "configured_replicas": 2, "eviction_tolerance": 0.5, "min_replicas": 3,
            "pods": [{"phase": "Pending", "resize": None}] * 2,
        },
        {"can_evict": [False, False], "evicted_in_order": [False, False]},
    ),
}  # fmt: skip

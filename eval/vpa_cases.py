"""Conformance cases of the VPA: each function computes what one kind of case expects.

Times are seconds; CPU is in millicores and memory in bytes, except where a key says milli-units.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from podgym.baselines import vpa
from podgym.errors import InputError, unknown_name
from podgym.eval.vpa_answers import Answer, answer_within
from podgym.eval.vpa_histogram_cases import HISTOGRAM_KINDS

Json: TypeAlias = Any

PERCENTILE_TOLERANCE = 0.05
"""Relative: what upstream allows an estimated percentile, the width of a bucket."""
FACTOR_TOLERANCE = 0.02
"""Absolute: the confidence factors in upstream's comment are rounded."""


AMOUNT_FUNCTIONS: Mapping[str, Callable[..., float | str]] = {
    "cpu_amount_from_cores": vpa.cpu_amount_from_cores,
    "cores_from_cpu_amount": vpa.cores_from_cpu_amount,
    "memory_amount_from_bytes": vpa.memory_amount_from_bytes,
    "bytes_from_memory_amount": vpa.bytes_from_memory_amount,
    "resource_amount_from_float": vpa.amount_from_float,
    "resource_amount_max": max,
    "scale_resource": vpa.scale_amount,
    "humanize_memory": vpa.humanize_memory,
    "round_up_to_scale": vpa.round_up_to_scale,
}
"""Upstream's function, in snake case -> ours."""


def _amount(raw: Json) -> dict[str, Json]:
    function, arguments = raw["function"], raw["args"]
    if function not in AMOUNT_FUNCTIONS:
        raise unknown_name("function of amounts", function, AMOUNT_FUNCTIONS)
    try:
        return {"value": AMOUNT_FUNCTIONS[function](*arguments), "error": False}
    except InputError:  # upstream returns the amount as it was, beside the error
        return {"value": arguments[0], "error": True}


def _resource_list(raw: Json) -> dict[str, Json]:
    cpu_milli = vpa.rounded_amount(raw["cpu_milli"], raw["round_cpu_milli"])
    memory_bytes = vpa.rounded_amount(raw["memory_bytes"], raw["round_memory_bytes"])
    return {
        "cpu_milli": cpu_milli,
        "memory": vpa.humanize_memory(memory_bytes) if raw["humanize"] else str(memory_bytes),
    }


def _percentile_estimate(raw: Json) -> dict[str, Json]:
    state = vpa.AggregateState()
    resource = raw["resource"]
    if resource not in vpa.RESOURCES:
        raise unknown_name("resource", resource, vpa.RESOURCES)
    samples, estimated = {
        "cpu": (state.cpu, vpa.cpu_percentile),
        "memory": (state.memory, vpa.memory_percentile),
    }[resource]
    for value in raw["samples"]:
        samples.add(value, 1.0)
    amount = estimated(state, raw["percentile"])
    # Samples of CPU are in cores, amounts in millicores: a case may expect either, far apart as they are.
    numbers = (amount, vpa.cores_from_cpu_amount(amount)) if resource == "cpu" else (amount,)
    return {
        "value": answer_within(*numbers, relative=PERCENTILE_TOLERANCE),
        "relative_tolerance": PERCENTILE_TOLERANCE,
    }


def _confidence(raw: Json) -> dict[str, Json]:
    state = vpa.AggregateState()
    usage = vpa.ContainerUsage()
    for index in range(raw["sample_count"]):
        seen = vpa.observe_cpu(usage, 1000, float(index * raw["sample_step_s"]))
        usage = seen.usage
        state.apply(seen.operations)
    confidence = vpa.confidence(state.lifespan_s, state.cpu_samples, raw["confidence_interval_s"])
    return {
        "amount": vpa.with_confidence(raw["base_amount"], confidence, raw["multiplier"], raw["exponent"]),
        "confidence": confidence,
    }


def _confidence_factor(raw: Json) -> dict[str, Json]:
    minutes = raw["history_minutes"]
    confidence = vpa.confidence(60.0 * minutes, minutes)
    factor = vpa.confidence_factor(confidence, raw["multiplier"], raw["exponent"])
    return {
        "factor": answer_within(factor, absolute=FACTOR_TOLERANCE),
        "absolute_tolerance": FACTOR_TOLERANCE,
    }


def _margin(raw: Json) -> dict[str, Json]:
    return {"amount": vpa.with_margin(raw["base_amount"], raw["fraction"])}


def _minimum(raw: Json) -> dict[str, Json]:
    return {"amount": vpa.with_minimum(raw["base_amount"], raw["minimum"])}


def _recommendation(raw: Json) -> dict[str, Json]:
    constant: dict[vpa.Resource, int] = {
        "cpu": raw["estimate"]["cpu_milli"],
        "memory": raw["estimate"]["memory_bytes"],
    }
    controlled = raw["controlled_resources"]
    policy = vpa.ContainerPolicy(controlled_resources=None if controlled is None else tuple(controlled))
    recommended = vpa.finish_recommendation(
        vpa.Estimates(constant, constant, constant), raw["containers"], vpa.resolve_policy(policy)
    )
    return {
        "target_each": _unit_keys(recommended.target),
        "lower_bound_each": _unit_keys(recommended.lower_bound),
        "upper_bound_each": _unit_keys(recommended.upper_bound),
        "resources_present": list(recommended.target),
    }


def _unit_keys(amounts: vpa.Amounts) -> dict[str, int]:
    keys = {"cpu": "cpu_milli", "memory": "memory_bytes"}
    return {keys[resource]: amount for resource, amount in amounts.items()}


def _container_usage(raw: Json) -> dict[str, Json]:
    settings = vpa.UsageSettings(
        memory_aggregation_interval_s=raw["memory_aggregation_interval_s"],
        memory_aggregation_interval_count=raw["memory_aggregation_interval_count"],
        oom_bump_up_ratio=raw["oom_bump_up_ratio"],
        oom_min_bump_up_bytes=raw["oom_min_bump_up_bytes"],
    )
    usage = vpa.ContainerUsage()
    accepted = []
    operations: list[vpa.HistogramOperation] = []
    for event in raw["events"]:
        seen = _observe(usage, event, settings, raw["max_memory_bytes"])
        usage = seen.usage
        accepted.append(seen.accepted)
        operations += seen.operations
    return {
        "accepted": accepted,
        "histogram_operations": [
            {
                "histogram": each.resource,
                "operation": each.operation,
                "value": each.value,
                "weight": each.weight,
                "t": each.time_s,
            }
            for each in operations
        ],
    }


def _observe(
    usage: vpa.ContainerUsage, event: Json, settings: vpa.UsageSettings, max_memory_bytes: int
) -> vpa.Observed:
    match event["type"], event.get("resource"):
        case "sample", "cpu":
            return vpa.observe_cpu(usage, event["usage"], event["t"])
        case "sample", "memory":
            return vpa.observe_memory(usage, event["usage"], event["t"], settings)
        case "oom", _:
            return vpa.observe_oom(
                usage, event["requested_memory"], event["t"], settings, max_memory_bytes=max_memory_bytes
            )
        case unknown:
            raise InputError(f"an event is a sample of cpu or memory, or an oom; got {unknown!r}")


def _aggregate_by_name(raw: Json) -> dict[str, Json]:
    aggregates = [(each["name"], _aggregate(each)) for each in raw["containers"]]
    merged = vpa.merge_by_container(aggregates)
    return {
        "total_samples": {name: state.cpu_samples for name, state in merged.items()},
        "cpu_histogram_samples": _samples({name: state.cpu for name, state in merged.items()}, 0.0),
        "memory_histogram_samples": _samples(
            {name: state.memory for name, state in merged.items()},
            vpa.UsageSettings().memory_aggregation_interval_s,
        ),
    }


def _aggregate(raw: Json) -> vpa.AggregateState:
    """Return the aggregate of one container with a sample of each resource at time 0."""
    state = vpa.AggregateState()
    state.apply(
        vpa.observe_cpu(vpa.ContainerUsage(), vpa.cpu_amount_from_cores(raw["cpu_cores"]), 0.0).operations
    )
    amount_bytes = vpa.memory_amount_from_bytes(raw["memory_bytes"])
    state.apply(vpa.observe_memory(vpa.ContainerUsage(), amount_bytes, 0.0).operations)
    return state


def _samples(histograms: Mapping[str, vpa.DecayingHistogram], time_s: float) -> Answer:
    """Answer lists of values and weights by container name, all of one time."""

    def agrees(expected: Json) -> bool:
        return isinstance(expected, dict) and all(
            histograms[name] == _like(histograms[name], pairs, time_s) for name, pairs in expected.items()
        )

    return Answer(histograms, agrees)


def _like(histogram: vpa.DecayingHistogram, pairs: Iterable[Json], time_s: float) -> vpa.DecayingHistogram:
    other = vpa.DecayingHistogram(histogram.buckets, histogram.half_life_s)
    for value, weight in pairs:
        other.add(value, weight, time_s)
    return other


def _expiry(raw: Json) -> dict[str, Json]:
    settings = vpa.UsageSettings(
        raw["memory_aggregation_interval_s"], raw["memory_aggregation_interval_count"]
    )
    return {"expired": vpa.is_expired(raw["seconds_since_last_sample_or_creation"], settings)}


def _policy(raw: Json) -> dict[str, Json]:
    policy = None
    if raw["policy"] is not None:
        fields = dict(raw["policy"])
        controlled = fields.pop("controlled_resources", None)
        policy = vpa.ContainerPolicy(
            controlled_resources=None if controlled is None else tuple(controlled), **fields
        )
    resolved = vpa.resolve_policy(policy, per_vpa_config=raw["per_vpa_config"])
    return {
        "mode": resolved.mode,
        "controlled_resources": list(resolved.controlled_resources),
        "memory_aggregation_interval_s": resolved.usage.memory_aggregation_interval_s,
        "memory_aggregation_interval_count": resolved.usage.memory_aggregation_interval_count,
        "oom_bump_up_ratio": resolved.usage.oom_bump_up_ratio,
        "oom_min_bump_up_bytes": resolved.usage.oom_min_bump_up_bytes,
    }


def _update_priority(raw: Json) -> dict[str, Json]:
    containers = [
        vpa.ContainerRequests(
            name=each["name"],
            requests_milli=each.get("request_milli") or {},
            target_milli=each.get("target_milli"),
            lower_bound_milli=each.get("lower_bound_milli") or {},
            upper_bound_milli=each.get("upper_bound_milli") or {},
            status_requests_milli=each.get("actual_request_milli"),
        )
        for each in raw["containers"]
    ]
    return vpa.update_priority(containers, raw["observed_containers"])._asdict()


def _update_decision(raw: Json) -> dict[str, Json]:
    settings = vpa.UpdateSettings(
        min_change_priority=raw["min_change_priority"],
        pod_lifetime_threshold_s=raw["pod_lifetime_threshold_s"],
        evict_after_oom_threshold_s=raw["evict_after_oom_threshold_s"],
    )
    updates = vpa.updates_in_order([_candidate(pod) for pod in raw["pods"]], settings)
    return {"updated_in_order": [each.name for each in updates]}


def _candidate(raw: Json) -> vpa.UpdateCandidate:
    last = raw["last_termination"]
    terminations = (
        ()
        if last is None
        else (vpa.Termination(last["reason"], last["ran_s"], raw["observed"], raw["mode"]),)
    )
    return vpa.UpdateCandidate(raw["name"], _priority(raw), raw["age_s"], terminations, raw["admitted"])


def _priority(raw: Json) -> vpa.PodPriority:
    outside = bool(raw.get("outside_recommended_range", False))
    return vpa.PodPriority(outside, raw["scale_up"], raw["resource_diff"])


def _priority_less(raw: Json) -> dict[str, Json]:
    one, other = _priority(raw["a"]), _priority(raw["b"])
    return {
        "a_less_than_b": vpa.is_less_urgent(one, other),
        "b_less_than_a": vpa.is_less_urgent(other, one),
    }


def _eviction_group(raw: Json) -> dict[str, Json]:
    pods = [vpa.GroupPod(each["phase"], _resize_status(each.get("resize"))) for each in raw["pods"]]
    group = vpa.eviction_group(
        pods,
        raw["configured_replicas"],
        min_replicas=raw["min_replicas"],
        eviction_tolerance=raw["eviction_tolerance"],
    )
    can_evict = [vpa.can_evict(group, pod) for pod in pods]
    evicted = []
    for pod in pods:
        done, group = vpa.evict(group, pod)
        evicted.append(done)
    return {"can_evict": can_evict, "evicted_in_order": evicted}


def _resize_status(raw: Json) -> vpa.ResizeStatus | None:
    """Read a condition of a resize, however it is written; one of an unknown reason has failed."""
    if raw is None:
        return None
    text = json.dumps(raw).lower().replace("_", "").replace(" ", "")
    statuses: tuple[vpa.ResizeStatus, ...] = ("Infeasible", "Deferred", "Error", "InProgress")
    return next((status for status in statuses if status.lower() in text), "Error")


VPA_KINDS: Mapping[str, Callable[[Json], Mapping[str, Json]]] = {
    **HISTOGRAM_KINDS,
    "amount": _amount,
    "resource_list": _resource_list,
    "percentile_estimate": _percentile_estimate,
    "confidence": _confidence,
    "confidence_factor": _confidence_factor,
    "margin": _margin,
    "minimum": _minimum,
    "recommendation": _recommendation,
    "container_usage": _container_usage,
    "aggregate_by_name": _aggregate_by_name,
    "expiry": _expiry,
    "policy": _policy,
    "update_priority": _update_priority,
    "update_decision": _update_decision,
    "priority_less": _priority_less,
    "eviction_group": _eviction_group,
}
"""Kind of case -> function from its input to what the VPA makes of it."""

"""Conformance cases of the HPA: each function computes what one kind of case expects.

Times are seconds relative to now = 0; ``UNSET_TIME_S`` stands for a time that was never set.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from podgym.baselines import hpa

Json: TypeAlias = Any

UNSET_TIME_S = -1e9
NOW_S = 0.0


def _pods(raw: Iterable[Json] | None, resources: Iterable[str]) -> tuple[hpa.Pod, ...]:
    """Read pods; the one request of each container is that of the resources that the case is about."""
    names = tuple(dict.fromkeys(resources))
    return tuple(_pod(each, names) for each in raw or ())


def _pod(raw: Json, resources: tuple[str, ...]) -> hpa.Pod:
    transition_s = raw.get("ready_transition_t")
    pod_level_milli = raw.get("pod_level_request_milli")
    return hpa.Pod(
        name=raw["name"],
        phase=raw.get("phase", "Running"),
        ready=raw.get("ready"),
        start_time_s=raw.get("start_t"),
        ready_transition_time_s=UNSET_TIME_S if transition_s is None else transition_s,
        deleted=bool(raw.get("deleted", False)),
        containers=tuple(_container(each, resources) for each in raw.get("containers") or ()),
        init_containers=tuple(_container(each, resources) for each in raw.get("init_containers") or ()),
        pod_level_requests_milli={} if pod_level_milli is None else dict.fromkeys(resources, pod_level_milli),
    )


def _container(raw: Json, resources: tuple[str, ...]) -> hpa.Container:
    request_milli = raw.get("request_milli")
    return hpa.Container(
        raw.get("name", ""),
        {} if request_milli is None else dict.fromkeys(resources, request_milli),
        bool(raw.get("restart_always", False)),
    )


def _time_s(raw: Json) -> float:
    time_s = raw.get("t")
    return UNSET_TIME_S if time_s is None else time_s


def _window_s(raw: Json) -> float:
    return raw.get("window_s", raw.get("w")) or 0.0


def _pod_value(raw: Json) -> hpa.PodValue:
    return hpa.PodValue(raw["value_milli"], _time_s(raw), _window_s(raw))


def _resource_sample(raw: Json) -> hpa.ResourceSample:
    usage_milli = {each["name"]: each.get("usage_milli") for each in raw["containers"]}
    return hpa.ResourceSample(raw["pod"], _time_s(raw), _window_s(raw), usage_milli)


def _rules(raw: Json) -> hpa.ScalingRules | None:
    if raw is None:
        return None
    policies = raw.get("policies")
    return hpa.ScalingRules(
        raw.get("select_policy"),
        raw.get("stabilization_window_s"),
        None
        if policies is None
        else tuple(hpa.ScalingPolicy(each["type"], each["value"], each["period_s"]) for each in policies),
        raw.get("tolerance"),
    )


def _behavior(raw: Json) -> hpa.Behavior | None:
    if raw is None:
        return None
    return hpa.Behavior(_rules(raw.get("scale_up")), _rules(raw.get("scale_down")))


def _events(raw: Iterable[Json] | None) -> tuple[hpa.ScaleEvent, ...]:
    return tuple(hpa.ScaleEvent(each["change"], each["t"], each.get("outdated", False)) for each in raw or ())


def _recommendations(raw: Iterable[Json] | None) -> tuple[hpa.Recommendation, ...]:
    return tuple(hpa.Recommendation(each["replicas"], each["t"]) for each in raw or ())


def _log(recommendations: Iterable[hpa.Recommendation]) -> list[int]:
    return [each.replicas for each in recommendations]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the metrics API answered, or nothing when the call failed."""

    raw: Json

    def samples(self) -> tuple[hpa.ResourceSample, ...] | None:
        return None if self._failed() else tuple(_resource_sample(each) for each in self.raw["samples"] or ())

    def pod_values(self) -> dict[str, hpa.PodValue] | None:
        return (
            None if self._failed() else {each["pod"]: _pod_value(each) for each in self.raw["samples"] or ()}
        )

    def value(self) -> int | None:
        return None if self._failed() else int(self.raw["value_milli"])

    def values(self) -> tuple[int, ...] | None:
        return None if self._failed() else tuple(self.raw["values_milli"] or ())

    def _failed(self) -> bool:
        return bool(self.raw.get("fetch_error", False))


def _pod_target(raw: Json) -> hpa.Utilization | hpa.AverageValue | None:
    # Upstream looks at the average value first when both are set.
    if raw.get("target_average_milli") is not None:
        return hpa.AverageValue(raw["target_average_milli"])
    percent = raw.get("target_utilization_percent")
    return None if percent is None else hpa.Utilization(percent)


def _total_target(raw: Json) -> hpa.Value | hpa.AverageValue | None:
    if raw.get("target_average_milli") is not None:
        return hpa.AverageValue(raw["target_average_milli"])
    milli = raw.get("target_milli", raw.get("target_value_milli"))
    return None if milli is None else hpa.Value(milli)


def _metric(raw: Json) -> hpa.Metric:
    answer = _Answer(raw)
    match raw["type"]:
        case "resource" | "resource_utilization" | "resource_average" | "container_resource":
            container = raw.get("container") or ""
            return hpa.ResourceMetric(raw["resource"], _pod_target(raw), answer.samples(), container)
        case "pods":
            return hpa.PodsMetric(raw["target_average_milli"], answer.pod_values())
        case "object" | "object_value" | "object_average":
            return hpa.ObjectMetric(_total_target(raw), answer.value())
        case "external" | "external_value" | "external_average":
            return hpa.ExternalMetric(_total_target(raw), answer.values())
        case unknown:
            return hpa.UnknownMetric(str(unknown))


def _resources(metrics: Iterable[hpa.Metric]) -> list[str]:
    return [metric.resource for metric in metrics if isinstance(metric, hpa.ResourceMetric)]


def _replica_calc(raw: Json) -> dict[str, Json]:
    metric = _metric(raw["metric"])
    current = raw["current_replicas"]
    tolerance = raw["tolerance"]
    target = hpa.Target(
        hpa.Scale(current, current),
        _pods(raw["pods"], _resources([metric])),
        NOW_S,
        hpa.Tolerance(tolerance["scale_down"], tolerance["scale_up"]),
        raw["cpu_initialization_period_s"],
        raw["initial_readiness_delay_s"],
        raw.get("pod_level_resources_enabled", True),
    )
    try:
        proposal = hpa.propose_replicas(metric, target)
    except hpa.MetricError:
        return {"error": True}
    return {
        "error": False,
        "replicas": proposal.replicas,
        "utilization_percent": proposal.utilization_percent,
        "average_usage_milli": proposal.average_usage_milli,
        "usage_milli": proposal.usage_milli,
    }


def _group_pods(raw: Json) -> dict[str, Json]:
    groups = hpa.group_pods(
        _pods(raw["pods"], [raw["resource"]]),
        {name: _pod_value(value) for name, value in (raw["metrics"] or {}).items()},
        raw["resource"],
        cpu_initialization_period_s=raw["cpu_initialization_period_s"],
        initial_readiness_delay_s=raw["initial_readiness_delay_s"],
        now_s=NOW_S,
    )
    return {
        "ready_count": groups.ready_count,
        "unready": list(groups.unready),
        "missing": list(groups.missing),
        "ignored": list(groups.ignored),
    }


def _calculate_requests(raw: Json) -> dict[str, Json]:
    resource = raw["resource"]
    try:
        requests_milli = hpa.calculate_requests(
            _pods(raw["pods"], [resource]),
            resource,
            raw["container"] or "",
            pod_level_resources=raw["pod_level_resources_enabled"],
        )
    except hpa.MetricError:
        return {"error": True}
    return {"error": False, "requests_milli": requests_milli}


def _utilization_ratio(raw: Json) -> dict[str, Json]:
    try:
        measured = hpa.utilization_ratio(
            raw["metrics_milli"], raw["requests_milli"], raw["target_utilization_percent"]
        )
    except hpa.MetricError:
        return {"error": True}
    return {
        "error": False,
        "ratio": measured.ratio,
        "utilization_percent": measured.utilization_percent,
        "average_usage_milli": measured.average_usage_milli,
    }


def _usage_ratio(raw: Json) -> dict[str, Json]:
    try:
        measured = hpa.usage_ratio(raw["metrics_milli"], raw["target_usage_milli"])
    except hpa.MetricError:
        return {"error": True}
    return {"error": False, "ratio": measured.ratio, "usage_milli": measured.usage_milli}


def _controller_reconcile(raw: Json) -> dict[str, Json]:
    spec = raw["hpa"]
    metrics = [_metric(each) for each in spec["metrics"] or ()]
    min_replicas = spec["min_replicas"]
    log = raw["recommendations"]
    gates = raw["feature_gates"]
    result = hpa.reconcile(
        hpa.HpaSpec(
            spec["max_replicas"], 1 if min_replicas is None else min_replicas, _behavior(spec["behavior"])
        ),
        hpa.Scale(raw["scale"]["spec_replicas"], raw["scale"]["status_replicas"]),
        _pods(raw["pods"], _resources(metrics)),
        metrics,
        hpa.HpaState(
            recommendations=None if log is None else _recommendations(log),
            scale_up_events=_events(raw.get("scale_up_events")),
            scale_down_events=_events(raw.get("scale_down_events")),
            conditions=_zero_condition(raw["scaled_to_zero_condition"]),
        ),
        NOW_S,
        settings=hpa.ControllerSettings(**raw["controller"]),
        gates=hpa.FeatureGates(
            scale_to_zero=gates["HPAScaleToZero"],
            configurable_tolerance=gates["HPAConfigurableTolerance"],
            pod_level_resources=gates.get("PodLevelResources", True),
        ),
    )
    return {
        "desired_replicas": result.desired_replicas,
        "scale_updated": result.rescaled,
        "error": result.error,
        "conditions": {name: [each.status, each.reason] for name, each in result.conditions.items()},
        "status_cpu_utilization_percent": _cpu_percent(metrics, result),
    }


def _zero_condition(raw: bool | None) -> dict[str, hpa.Condition]:
    if raw is None:
        return {}
    condition = hpa.Condition("True", "ScaledToZero") if raw else hpa.Condition("False", "NotScaledToZero")
    return {"ScaledToZero": condition}


def _cpu_percent(metrics: Iterable[hpa.Metric], result: hpa.Reconciliation) -> int | None:
    """Return the CPU utilisation that the status shows: that of the first CPU metric of whole pods."""
    for metric, status in zip(metrics, result.metric_statuses, strict=False):
        if isinstance(metric, hpa.ResourceMetric) and (metric.resource, metric.container) == ("cpu", ""):
            return None if status is None else status.utilization_percent
    return None


def _convert_legacy(raw: Json) -> dict[str, Json]:
    limited = hpa.limit_legacy(
        raw["current_replicas"],
        raw["desired_replicas"],
        raw["min_replicas"],
        raw["max_replicas"],
        factor=raw["legacy_scale_up_factor"],
        minimum=raw["legacy_scale_up_minimum"],
    )
    return {"replicas": limited.replicas, "reason": limited.reason}


def _behavior_rate(raw: Json) -> dict[str, Json]:
    limited = hpa.limit_with_behavior(
        raw["current_replicas"],
        raw["desired_replicas"],
        raw["min_replicas"],
        raw["max_replicas"],
        behavior=hpa.Behavior(_rules(raw["scale_up_rules"]), _rules(raw["scale_down_rules"])),
        scale_up_events=_events(raw["scale_up_events"]),
        scale_down_events=_events(raw["scale_down_events"]),
        now_s=NOW_S,
    )
    return {"replicas": limited.replicas, "reason": limited.reason}


def _scale_limit(raw: Json) -> dict[str, Json]:
    direction = raw["direction"]
    limit = {"up": hpa.scale_up_limit, "down": hpa.scale_down_limit}[direction]
    return {
        "limit": limit(
            raw["current_replicas"],
            hpa.default_rules(_rules(raw["rules"]), direction),
            _events(raw["scale_up_events"]),
            _events(raw["scale_down_events"]),
            NOW_S,
        )
    }


def _stabilize_legacy(raw: Json) -> dict[str, Json]:
    stabilised = hpa.stabilise_legacy(
        _recommendations(raw["recommendations"]),
        raw["desired_replicas"],
        raw["downscale_stabilization_s"],
        NOW_S,
    )
    log = _log(stabilised.recommendations)
    return {"replicas": stabilised.replicas, "log_length": len(log), "recommendation_log": log}


def _stabilize_behavior(raw: Json) -> dict[str, Json]:
    stabilised = hpa.stabilise_with_behavior(
        _recommendations(raw["recommendations"]),
        raw["current_replicas"],
        raw["desired_replicas"],
        scale_up_window_s=raw["scale_up_window_s"],
        scale_down_window_s=raw["scale_down_window_s"],
        now_s=NOW_S,
    )
    log = _log(stabilised.recommendations)
    return {
        "replicas": stabilised.replicas,
        "reason": stabilised.reason,
        "log_length": len(log),
        "recommendation_log": log,
    }


def _store_event(raw: Json) -> dict[str, Json]:
    before = after = _events(raw["events"])
    rules = _rules(raw["rules"])
    change = raw["new_replicas"] - raw["previous_replicas"]
    if rules is not None:  # without a behaviour nothing is stored
        after = hpa.store_scale_event(before, hpa.default_rules(rules, raw["direction"]), abs(change), NOW_S)
    return {
        "change_in_last_60s_before": hpa.change_within(before, 60, NOW_S),
        "events_after": [{"change": each.change, "outdated": each.outdated} for each in after],
    }


def _default_rules(raw: Json) -> dict[str, Json]:
    rules = hpa.default_rules(_rules(raw["rules"]), raw["direction"])
    policies = [
        {"type": each.type, "value": each.value, "period_s": each.period_s} for each in rules.policies or ()
    ]
    return {
        "rules": {
            "select_policy": rules.select_policy,
            "stabilization_window_s": rules.stabilization_window_s,
            "policies": policies,
            "tolerance": rules.tolerance,
        }
    }


HPA_KINDS: Mapping[str, Callable[[Json], Mapping[str, Json]]] = {
    "replica_calc": _replica_calc,
    "group_pods": _group_pods,
    "calculate_requests": _calculate_requests,
    "utilization_ratio": _utilization_ratio,
    "usage_ratio": _usage_ratio,
    "controller_reconcile": _controller_reconcile,
    "convert_legacy": _convert_legacy,
    "behavior_rate": _behavior_rate,
    "scale_limit": _scale_limit,
    "stabilize_legacy": _stabilize_legacy,
    "stabilize_behavior": _stabilize_behavior,
    "store_event": _store_event,
    "default_rules": _default_rules,
}
"""Kind of case -> function from its input to what the HPA makes of it."""

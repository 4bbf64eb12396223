"""Conformance cases of the scheduler: each function computes what one kind of case expects."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from podgym.envs.simulator.scheduling import (
    NATIVE_RESOURCES,
    ContainerRequests,
    Node,
    PodRequests,
    ResourceWeight,
    WeightError,
    balanced_allocation,
    balanced_allocation_change,
    check_balanced_weights,
    check_weights,
    is_best_effort,
    least_allocated,
    most_allocated,
    pod_request,
)

Json: TypeAlias = Any
Score: TypeAlias = Callable[[PodRequests, Node, tuple[ResourceWeight, ...]], int]


def _container(raw: Mapping[str, Json]) -> ContainerRequests:
    requests = {resource: int(amount) for resource, amount in raw.items() if resource != "restart_always"}
    return ContainerRequests(requests, bool(raw.get("restart_always", False)))


def _containers(raw: Iterable[Mapping[str, Json]] | None) -> tuple[ContainerRequests, ...]:
    return tuple(_container(each) for each in raw or ())


def _node(raw: Json) -> Node:
    pods = tuple(PodRequests(_containers(containers)) for containers in raw["pods"] or ())
    return Node(dict(raw["allocatable"] or {}), pods)


def _resources(raw: Iterable[Json] | None) -> tuple[ResourceWeight, ...]:
    return tuple(ResourceWeight(name, weight) for name, weight in raw or ())


def _fit(score: Score, raw: Json) -> dict[str, Json]:
    """Score every node with NodeResourcesFit, which fails without resources."""
    pod, nodes, resources = PodRequests(_containers(raw["pod"])), raw["nodes"], _resources(raw["resources"])
    try:
        check_weights(resources)
    except WeightError as error:
        return {"config_error": True, "field": error.field}
    if not resources:
        return {"config_error": False, "status": "Error", "scores": [0] * len(nodes)}
    scores = [score(pod, _node(node), resources) for node in nodes]
    return {"config_error": False, "status": "Success", "scores": scores}


def _balanced(score: Score, raw: Json) -> dict[str, Json]:
    """Score every node with BalancedAllocation, which leaves best-effort pods alone."""
    pod, nodes, resources = PodRequests(_containers(raw["pod"])), raw["nodes"], _resources(raw["resources"])
    try:
        check_balanced_weights(resources)
    except WeightError as error:
        return {"config_error": True, "field": error.field}
    if is_best_effort(pod, resources):
        # PreScore skips the plugin; without PreScore, Score itself gives every node 0.
        if raw.get("run_prescore", True):
            return {"config_error": False, "status": "Skip", "scores": None}
        return {"config_error": False, "status": "Success", "scores": [0] * len(nodes)}
    scores = [score(pod, _node(node), resources) for node in nodes]
    return {"config_error": False, "status": "Success", "scores": scores}


def _pod_request(raw: Json) -> dict[str, Json]:
    pod = PodRequests(
        _containers(raw["containers"]), _containers(raw.get("init_containers")), raw.get("overhead") or {}
    )
    named = [resource for each in (*pod.containers, *pod.init_containers) for resource in each.requests]
    request = pod_request(pod, non_zero=raw["non_zero"])
    return {**dict.fromkeys((*NATIVE_RESOURCES, *named), 0), **request}


SCHEDULER_KINDS: Mapping[str, Callable[[Json], Mapping[str, Json]]] = {
    "least_allocated": lambda raw: _fit(least_allocated, raw),
    "most_allocated": lambda raw: _fit(most_allocated, raw),
    "balanced_allocation": lambda raw: _balanced(balanced_allocation, raw),
    "balanced_allocation_change": lambda raw: _balanced(balanced_allocation_change, raw),
    "pod_request": _pod_request,
}
"""Kind of case -> function from its input to what the scheduler makes of it."""

"""Scores of kube-scheduler's resource plugins, in exact integer arithmetic over any named resources.

This is the reference for one pod and one node at a time; the batched simulator has its own kernel and
is tested against it. CPU is in millicores, memory in bytes, everything else in whole units; a score is
an integer from 0 to 100, higher is better.

Upstream: ``pkg/scheduler/framework/plugins/noderesources`` (``resource_allocation.go``,
``least_allocated.go``, ``most_allocated.go``, ``balanced_allocation.go``; for the change of balance
kubernetes#135573) and ``component-helpers/resource`` for the request of a pod.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

from podgym.errors import InputError

Requests: TypeAlias = Mapping[str, int]
"""Amount per resource name. A resource that is absent is not requested, which is not the same as 0."""

MAX_NODE_SCORE = 100
DEFAULT_NON_ZERO_REQUESTS: Requests = {"cpu": 100, "memory": 200 * 1024 * 1024}
"""What a container without a request counts as, so that such pods do not pile up on one node."""
NATIVE_RESOURCES = ("cpu", "memory", "ephemeral-storage")
"""Resources that are scored whether or not the pod requests them; others only if it does."""


@dataclass(frozen=True, slots=True)
class ContainerRequests:
    """The requests of one container."""

    requests: Requests
    restart_always: bool = False
    """Of an init container: a sidecar, which keeps running next to the containers."""


@dataclass(frozen=True, slots=True)
class PodRequests:
    """What one pod asks of a node."""

    containers: tuple[ContainerRequests, ...]
    init_containers: tuple[ContainerRequests, ...] = ()
    overhead: Requests | None = None
    """Requests of the pod sandbox itself."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node and the pods that hold a place on it."""

    allocatable: Requests
    pods: tuple[PodRequests, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceWeight:
    """How much one resource counts in a weighted mean."""

    resource: str
    weight: int = 1


CPU_AND_MEMORY = (ResourceWeight("cpu"), ResourceWeight("memory"))
"""kube-scheduler's default resources."""


class WeightError(InputError):
    """A weight that kube-scheduler would refuse, with the configuration field that holds it."""

    def __init__(self, field: str, weight: int, allowed: str) -> None:
        super().__init__(f"{field}: weight {weight}; it must be {allowed}")
        self.field = field


def pod_request(pod: PodRequests, *, non_zero: bool) -> dict[str, int]:
    """Return what a pod occupies on a node, per resource.

    Containers and sidecars run together and are added up; an init container runs before them, next to
    the sidecars started earlier, and counts where it needs more. The overhead comes on top.

    Args:
        pod: containers, init containers and overhead.
        non_zero: count a container without a CPU or memory request as 100 millicores or 200 MiB; an
            explicit 0 stays 0.
    """
    running: dict[str, int] = {}
    for container in pod.containers:
        _add(running, _container_request(container, non_zero))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for container in pod.init_containers:
        request = _container_request(container, non_zero)
        if container.restart_always:
            _add(running, request)
            _add(sidecars, request)
            request = dict(sidecars)
        else:
            _add(request, sidecars)
        for resource, amount in request.items():
            starting[resource] = max(starting.get(resource, 0), amount)
    total = {
        resource: max(running.get(resource, 0), starting.get(resource, 0))
        for resource in {**running, **starting}
    }
    _add(total, pod.overhead or {})
    return total


def _container_request(container: ContainerRequests, non_zero: bool) -> dict[str, int]:
    return {**DEFAULT_NON_ZERO_REQUESTS, **container.requests} if non_zero else dict(container.requests)


def _add(total: dict[str, int], request: Requests) -> None:
    for resource, amount in request.items():
        total[resource] = total.get(resource, 0) + amount


def is_best_effort(pod: PodRequests, resources: Sequence[ResourceWeight] = CPU_AND_MEMORY) -> bool:
    """Whether a pod requests none of the resources; balanced allocation then skips it."""
    request = pod_request(pod, non_zero=False)
    return all(request.get(each.resource, 0) == 0 for each in resources)


def least_allocated(
    pod: PodRequests, node: Node, resources: Sequence[ResourceWeight] = CPU_AND_MEMORY
) -> int:
    """Score a node by what would be left of it with the pod on it (NodeResourcesFit, LeastAllocated).

    Args:
        pod: the pod to place.
        node: the node to score.
        resources: what to look at, and how much each counts.

    Raises:
        InputError: no resources, or a weight outside 1..100.
    """
    return _weighted_mean(pod, node, resources, _free_share)


def most_allocated(pod: PodRequests, node: Node, resources: Sequence[ResourceWeight] = CPU_AND_MEMORY) -> int:
    """Score a node by how full it would be with the pod on it (NodeResourcesFit, MostAllocated).

    Arguments and errors as for ``least_allocated``.
    """
    return _weighted_mean(pod, node, resources, _used_share)


def _free_share(used: int, allocatable: int) -> int:
    return 0 if used > allocatable else (allocatable - used) * MAX_NODE_SCORE // allocatable


def _used_share(used: int, allocatable: int) -> int:
    return min(used, allocatable) * MAX_NODE_SCORE // allocatable


def _weighted_mean(
    pod: PodRequests,
    node: Node,
    resources: Sequence[ResourceWeight],
    share: Callable[[int, int], int],
) -> int:
    if not resources:
        raise InputError("no resources to score; at least one is needed, as in CPU_AND_MEMORY")
    check_weights(resources)
    request = pod_request(pod, non_zero=True)
    used = _used(node.pods, non_zero=True)
    score = total_weight = 0
    for each in _scored(resources, request, node):
        after = used.get(each.resource, 0) + request.get(each.resource, 0)
        score += share(after, node.allocatable[each.resource]) * each.weight
        total_weight += each.weight
    return score // total_weight if total_weight else 0


def balanced_allocation(
    pod: PodRequests, node: Node, resources: Sequence[ResourceWeight] = CPU_AND_MEMORY
) -> int:
    """Score a node by how alike its resources would be used (BalancedAllocation up to about 1.35).

    The score is 100 less the standard deviation of the used fractions, in percent; it cannot fall
    below 50. Real requests count, without the non-zero rule. Whoever calls it skips best-effort pods.

    Args:
        pod: the pod to place.
        node: the node to score.
        resources: what to look at; all weights are 1.

    Raises:
        InputError: a weight that is not 1.
    """
    check_balanced_weights(resources)
    return _balance(pod, node, resources, with_pod=True)


def balanced_allocation_change(
    pod: PodRequests, node: Node, resources: Sequence[ResourceWeight] = CPU_AND_MEMORY
) -> int:
    """Score a node by how the pod would change its balance: 75 no change, 100 best, 50 worst.

    Arguments and errors as for ``balanced_allocation``, which this replaces after 1.35.
    """
    check_balanced_weights(resources)
    after = _balance(pod, node, resources, with_pod=True)
    before = _balance(pod, node, resources, with_pod=False)
    return 50 + (50 + after - before) // 2


def _balance(pod: PodRequests, node: Node, resources: Sequence[ResourceWeight], *, with_pod: bool) -> int:
    request = pod_request(pod, non_zero=False)
    used = _used(node.pods, non_zero=False)
    fractions = []
    for each in _scored(resources, request, node):
        amount = used.get(each.resource, 0) + (request.get(each.resource, 0) if with_pod else 0)
        fractions.append(min(1.0, amount / node.allocatable[each.resource]))
    return int((1 - _standard_deviation(fractions)) * MAX_NODE_SCORE)


def _standard_deviation(fractions: Sequence[float]) -> float:
    """Population standard deviation, in upstream's order of operations; 0 for fewer than two."""
    if len(fractions) < 2:
        return 0.0
    if len(fractions) == 2:
        return abs((fractions[0] - fractions[1]) / 2)
    total = 0.0
    for fraction in fractions:
        total += fraction
    mean = total / len(fractions)
    squares = 0.0
    for fraction in fractions:
        squares += (fraction - mean) * (fraction - mean)
    return sqrt(squares / len(fractions))


def _scored(resources: Iterable[ResourceWeight], request: Requests, node: Node) -> list[ResourceWeight]:
    """Drop what the node lacks, and extended resources that the pod does not ask for."""
    return [
        each
        for each in resources
        if node.allocatable.get(each.resource, 0) != 0
        and (each.resource in NATIVE_RESOURCES or request.get(each.resource, 0) != 0)
    ]


def _used(pods: Iterable[PodRequests], *, non_zero: bool) -> dict[str, int]:
    used: dict[str, int] = {}
    for pod in pods:
        _add(used, pod_request(pod, non_zero=non_zero))
    return used


def check_weights(resources: Iterable[ResourceWeight]) -> None:
    """Refuse weights outside 1..100, as kube-scheduler does for NodeResourcesFit."""
    for index, each in enumerate(resources):
        if not 1 <= each.weight <= MAX_NODE_SCORE:
            raise WeightError(f"scoringStrategy.resources[{index}].weight", each.weight, "1 to 100")


def check_balanced_weights(resources: Iterable[ResourceWeight]) -> None:
    """Refuse weights other than 1, as kube-scheduler does for BalancedAllocation."""
    for index, each in enumerate(resources):
        if each.weight != 1:
            raise WeightError(f"resources[{index}].weight", each.weight, "1")

"""The updater's choice: which pods are to be updated, and which of them first.

Upstream: ``updater/priority/priority_processor.go`` and ``update_priority_calculator.go``. Amounts are in
milli-units for every resource: millicores, and bytes times 1000.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from podgym.baselines.vpa.amounts import Amounts
from podgym.baselines.vpa.checks import require_within
from podgym.baselines.vpa.recommendation import ContainerRecommendation


@dataclass(frozen=True, slots=True)
class ContainerRequests:
    """One container of a pod: what it requests and what is recommended to it, milli-units by resource."""

    name: str
    requests_milli: Mapping[str, int]
    """From the pod's spec."""
    target_milli: Mapping[str, int] | None
    """None: there is no recommendation for this container."""
    lower_bound_milli: Mapping[str, int]
    upper_bound_milli: Mapping[str, int]
    status_requests_milli: Mapping[str, int] | None = None
    """From the container's status, which wins over the spec; None: the status has none."""


class PodPriority(NamedTuple):
    """How urgent the update of a pod is."""

    outside_recommended_range: bool
    """A request lies below the lower bound or above the upper one, or is missing."""
    scale_up: bool
    """A container is to get more."""
    resource_diff: float
    """Relative distance of the pod's requests from the target, summed over the resources."""


class Termination(NamedTuple):
    """How a container of a pod last ended."""

    reason: str
    """``OOMKilled`` or another one."""
    ran_s: float
    """Time from its start to its end."""
    observed: bool = True
    """Whether the admission controller knew the container when the pod was created."""
    mode: str = "Auto"
    """Mode of the container's policy."""


@dataclass(frozen=True, slots=True)
class UpdateCandidate:
    """One pod that may be updated."""

    name: str
    priority: PodPriority
    age_s: float | None
    """Time since the pod started; None: it has not."""
    terminations: tuple[Termination, ...] = ()
    """Last end of each container that ever ended."""
    admitted: bool = True
    """Whether nothing else forbids the update, such as the eviction requirements of the VPA."""


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """Flags of the updater, with their defaults."""

    min_change_priority: float = 0.1
    """Least resource difference for which a pod within its range is updated."""
    pod_lifetime_threshold_s: float = 12 * 3600.0
    """Least age of a pod that is updated although within its range."""
    evict_after_oom_threshold_s: float = 600.0
    """An OOM kill sooner than this after the container's start is a quick one."""

    def __post_init__(self) -> None:
        require_within(self, "min_change_priority", "pod_lifetime_threshold_s", "evict_after_oom_threshold_s")


DEFAULT_UPDATE_SETTINGS = UpdateSettings()


def milli_amounts(amounts: Amounts) -> dict[str, int]:
    """Turn amounts (millicores, bytes) into milli-units."""
    return {resource: amount if resource == "cpu" else amount * 1000 for resource, amount in amounts.items()}


def container_requests(
    name: str, requests: Amounts, recommendation: ContainerRecommendation | None
) -> ContainerRequests:
    """Put a container's requests (millicores, bytes) beside its recommendation."""
    if recommendation is None:
        return ContainerRequests(name, milli_amounts(requests), None, {}, {})
    return ContainerRequests(
        name,
        milli_amounts(requests),
        milli_amounts(recommendation.target),
        milli_amounts(recommendation.lower_bound),
        milli_amounts(recommendation.upper_bound),
    )


def update_priority(
    containers: Iterable[ContainerRequests], observed_containers: Collection[str] | None = None
) -> PodPriority:
    """Compare a pod's requests with its recommendation.

    Args:
        containers: all containers of the pod.
        observed_containers: names in the pod's annotation, others are passed over; None: there is no
            annotation, or it cannot be read.
    """
    outside = scale_up = False
    requested: dict[str, int] = {}
    recommended: dict[str, int] = {}
    for container in containers:
        if observed_containers is not None and container.name not in observed_containers:
            continue
        requests = container.requests_milli
        if container.status_requests_milli is not None:
            requests = container.status_requests_milli
        for resource, target in (container.target_milli or {}).items():
            recommended[resource] = recommended.get(resource, 0) + target
            request = requests.get(resource)
            if request is None:
                outside = scale_up = True
                continue
            requested[resource] = requested.get(resource, 0) + request
            scale_up |= target > request
            outside |= _is_outside(
                request, container.lower_bound_milli.get(resource), container.upper_bound_milli.get(resource)
            )
    return PodPriority(outside, scale_up, _relative_difference(requested, recommended))


def _is_outside(request: int, lower: int | None, upper: int | None) -> bool:
    return (lower is not None and request < lower) or (upper is not None and request > upper)


def _relative_difference(requested: Mapping[str, int], recommended: Mapping[str, int]) -> float:
    total = 0.0
    for resource, target in recommended.items():
        # As upstream, a pod without a request counts as requesting one milli-unit, on both sides.
        request = max(float(requested.get(resource, 0)), 1.0)
        total += abs(request - float(target)) / request
    return total


def is_less_urgent(one: PodPriority, other: PodPriority) -> bool:
    """Whether the other comes first: scaling up before not, then the larger difference."""
    if one.scale_up != other.scale_up:
        return other.scale_up
    return one.resource_diff < other.resource_diff


def is_quick_oom(termination: Termination, settings: UpdateSettings = DEFAULT_UPDATE_SETTINGS) -> bool:
    """Whether a container that VPA scales was killed over its memory soon after its start."""
    return (
        termination.observed
        and termination.mode != "Off"
        and termination.reason == "OOMKilled"
        and termination.ran_s < settings.evict_after_oom_threshold_s
    )


def needs_update(candidate: UpdateCandidate, settings: UpdateSettings = DEFAULT_UPDATE_SETTINGS) -> bool:
    """Whether a pod is to be updated: out of its range, quickly killed, or old enough and far enough off."""
    priority = candidate.priority
    quick_oom = any(is_quick_oom(each, settings) for each in candidate.terminations)
    if quick_oom and priority.resource_diff == 0.0:
        return False
    if quick_oom or priority.outside_recommended_range:
        return True
    return (
        candidate.age_s is not None
        and candidate.age_s >= settings.pod_lifetime_threshold_s
        and priority.resource_diff >= settings.min_change_priority
    )


def updates_in_order(
    candidates: Iterable[UpdateCandidate], settings: UpdateSettings = DEFAULT_UPDATE_SETTINGS
) -> tuple[UpdateCandidate, ...]:
    """Return the pods that are to be updated, the most urgent first; equals keep their order."""
    accepted = [each for each in candidates if needs_update(each, settings)]
    accepted.sort(key=lambda each: (not each.priority.scale_up, -each.priority.resource_diff))
    return tuple(each for each in accepted if each.admitted)

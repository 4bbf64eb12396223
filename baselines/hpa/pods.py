"""Which pods take part in the arithmetic, and what they requested.

Upstream: ``groupPods`` and ``calculateRequests`` in ``replica_calculator.go``, ``getPodMetrics`` and
``getContainerMetrics`` in ``metrics/client.go``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from podgym.baselines.hpa.types import MetricError, Pod, PodValue, ResourceSample


@dataclass(frozen=True, slots=True)
class PodGroups:
    """The pods of a selector, sorted by what a metric may do with them; names in the order given."""

    ready_count: int
    """Pods whose value is counted."""
    unready: tuple[str, ...]
    """Pods that do not work yet; any value they have is dropped."""
    missing: tuple[str, ...]
    """Pods without a value; one is assumed for them."""
    ignored: tuple[str, ...]
    """Pods that are going or gone; any value they have is dropped."""


def resource_values(samples: Iterable[ResourceSample], container: str = "") -> dict[str, PodValue]:
    """Turn samples per container into one value per pod.

    Args:
        samples: what the resource metrics API returned.
        container: take this container alone; empty: the sum over all containers of the pod.

    Returns:
        Value per pod name. A pod is left out when the container, or any container of the sum, has no
        usage of the resource: it then counts as missing.
    """
    values = {}
    for sample in samples:
        value_milli = _value_milli(sample.usage_milli, container)
        if value_milli is not None:
            values[sample.pod] = PodValue(value_milli, sample.time_s, sample.window_s)
    return values


def _value_milli(usage_milli: Mapping[str, int | None], container: str) -> int | None:
    if container:
        return usage_milli.get(container)
    total_milli = 0
    for milli in usage_milli.values():
        if milli is None:
            return None
        total_milli += milli
    return total_milli if usage_milli else None


def group_pods(
    pods: Iterable[Pod],
    values: Mapping[str, PodValue],
    resource: str,
    *,
    cpu_initialization_period_s: float,
    initial_readiness_delay_s: float,
    now_s: float,
) -> PodGroups:
    """Sort the pods into counted, unready, missing and ignored.

    Args:
        pods: all pods of the target's selector.
        values: value per pod name.
        resource: resource name; readiness matters for ``cpu`` only. Empty for a custom metric.
        cpu_initialization_period_s: age up to which a CPU sample is trusted only from a ready pod, and
            only when its window began after the pod became ready.
        initial_readiness_delay_s: an old pod that turned unready within this time of its start has
            never been ready.
        now_s: the time now.
    """
    ready_count = 0
    unready: list[str] = []
    missing: list[str] = []
    ignored: list[str] = []
    for pod in pods:
        if pod.deleted or pod.phase in ("Failed", "Succeeded"):
            ignored.append(pod.name)
        elif pod.phase == "Pending":
            unready.append(pod.name)
        elif (value := values.get(pod.name)) is None:
            missing.append(pod.name)
        elif resource == "cpu" and _cpu_is_not_telling(
            pod, value, cpu_initialization_period_s, initial_readiness_delay_s, now_s
        ):
            unready.append(pod.name)
        else:
            ready_count += 1
    return PodGroups(ready_count, tuple(unready), tuple(missing), tuple(ignored))


def _cpu_is_not_telling(
    pod: Pod,
    value: PodValue,
    cpu_initialization_period_s: float,
    initial_readiness_delay_s: float,
    now_s: float,
) -> bool:
    """Whether a pod's CPU says little about its load, because it starts up or never came up."""
    if pod.ready is None or pod.start_time_s is None:
        return True
    transition_s = -inf if pod.ready_transition_time_s is None else pod.ready_transition_time_s
    if pod.start_time_s + cpu_initialization_period_s > now_s:
        return not pod.ready or value.time_s < transition_s + value.window_s
    return not pod.ready and pod.start_time_s + initial_readiness_delay_s > transition_s


def calculate_requests(
    pods: Iterable[Pod], resource: str, container: str = "", *, pod_level_resources: bool = True
) -> dict[str, int]:
    """Return the request of every pod for a resource, in milli-units.

    Args:
        pods: all pods of the target's selector, whatever their state.
        resource: resource name.
        container: take this container alone; empty: all containers and sidecars of the pod.
        pod_level_resources: the gate PodLevelResources; a request of the pod as a whole then counts
            instead of the sum, unless a container is named.

    Raises:
        MetricError: a container that counts has no request, or the named container is absent.
    """
    return {pod.name: _request_milli(pod, resource, container, pod_level_resources) for pod in pods}


def _request_milli(pod: Pod, resource: str, container: str, pod_level_resources: bool) -> int:
    if pod_level_resources and not container and resource in pod.pod_level_requests_milli:
        return pod.pod_level_requests_milli[resource]
    total_milli = 0
    found = False
    candidates = pod.containers
    if pod.init_containers:
        candidates += tuple(each for each in pod.init_containers if each.restart_always)
    for candidate in candidates:
        if container and candidate.name != container:
            continue
        request_milli = candidate.requests_milli.get(resource)
        if request_milli is None:
            raise MetricError(
                f"missing request for {resource} in container {candidate.name} of pod {pod.name}"
            )
        total_milli += request_milli
        found = True
    if container and not found:
        raise MetricError(f"container {container} not found in pod {pod.name}")
    return total_milli


def count_running_ready(pods: Iterable[Pod]) -> int:
    """Count the pods that are running and ready, which is all that object and external metrics ask."""
    return sum(1 for pod in pods if pod.phase == "Running" and pod.ready is True)

"""The library on an observed cluster: what the VPA of one service learns, and how it sees the pods.

A pod is seen as one container, and all pods of a service share one aggregate.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf, isfinite

from podgym.baselines.metrics import MAX_SAMPLE_AGE_S, is_amount, is_recent, is_size, with_limit
from podgym.baselines.vpa.aggregate import AggregateState
from podgym.baselines.vpa.amounts import (
    RESOURCES,
    Amounts,
    Resource,
    cpu_amount_from_cores,
    memory_amount_from_bytes,
)
from podgym.baselines.vpa.eviction import GroupPod
from podgym.baselines.vpa.policy import ResolvedPolicy
from podgym.baselines.vpa.priority import Termination, UpdateCandidate, container_requests, update_priority
from podgym.baselines.vpa.recommendation import (
    ContainerRecommendation,
    Estimates,
    RecommenderSettings,
    estimate,
    finish_recommendation,
)
from podgym.baselines.vpa.usage import (
    ContainerUsage,
    Observed,
    UsageSettings,
    observe_cpu,
    observe_memory,
    observe_oom,
)
from podgym.envs.cluster import PodSample, PodView, Quota, ServiceView

CONTAINER = "app"
"""Name of the one container of every pod."""
LIVE_PHASES = ("Pending", "Running")
"""Pods of another phase have ended."""

_UNSEEN = ContainerUsage()


@dataclass(slots=True)
class ServiceHistory:
    """What the VPA of one service knows."""

    state: AggregateState
    """Usage of all pods that there ever were."""
    usages: dict[str, ContainerUsage] = field(default_factory=dict)
    """What is remembered of each pod, by name."""
    oom_killed_s: dict[str, float] = field(default_factory=dict)
    """Last OOM kill that was entered, by name of the pod."""

    def learn_ooms(self, service: ServiceView, now_s: float, settings: UsageSettings) -> None:
        """Enter the OOM kills that were not entered yet."""
        for pod in service.pods:
            killed_s, request_bytes = pod.oom_killed_s, pod.quota.memory_request_bytes
            if killed_s is None or not _is_believable(killed_s, now_s) or not is_amount(request_bytes):
                continue
            if killed_s > self.oom_killed_s.get(pod.name, -inf):
                self.oom_killed_s[pod.name] = killed_s
                amount = memory_amount_from_bytes(request_bytes)
                self._enter(pod.name, observe_oom(self._usage(pod.name), amount, killed_s, settings))

    def learn_samples(self, service: ServiceView, now_s: float, settings: UsageSettings) -> None:
        """Enter the samples that are newer than the last of their pod; what is not a number is skipped."""
        for pod in service.pods:
            sample = pod.sample
            if sample is None or not _is_believable(sample.time_s, now_s):
                continue
            if is_amount(sample.cpu_usage_cores):
                amount = cpu_amount_from_cores(sample.cpu_usage_cores)
                self._enter(pod.name, observe_cpu(self._usage(pod.name), amount, sample.time_s))
            if is_amount(sample.memory_usage_bytes):
                amount = memory_amount_from_bytes(sample.memory_usage_bytes)
                self._enter(pod.name, observe_memory(self._usage(pod.name), amount, sample.time_s, settings))

    def forget_pods(self, names: Collection[str]) -> None:
        """Drop what is remembered of all pods but these; their usage stays in the aggregate."""
        for remembered in (self.usages, self.oom_killed_s):
            for name in [name for name in remembered if name not in names]:
                del remembered[name]

    def recommend(
        self, policy: ResolvedPolicy, settings: RecommenderSettings
    ) -> ContainerRecommendation | None:
        """Recommend those resources of which there is a history.

        Returns:
            None: no sample of CPU was ever seen, and as upstream nothing is recommended.
        """
        if self.state.cpu_samples == 0:
            return None
        known = {"cpu": not self.state.cpu.is_empty, "memory": not self.state.memory.is_empty}

        def present(amounts: Amounts) -> Amounts:
            return {resource: amount for resource, amount in amounts.items() if known[resource]}

        all_of_them = estimate(self.state, settings)
        estimates = Estimates(
            present(all_of_them.target), present(all_of_them.lower_bound), present(all_of_them.upper_bound)
        )
        return finish_recommendation(estimates, 1, policy, settings)

    def _usage(self, pod: str) -> ContainerUsage:
        return self.usages.get(pod, _UNSEEN)

    def _enter(self, pod: str, seen: Observed) -> None:
        self.usages[pod] = seen.usage
        self.state.apply(seen.operations)


def stale_resources(
    service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S
) -> tuple[Resource, ...]:
    """Return the resources of which no pod of the service has a recent number."""
    samples = [
        pod.sample
        for pod in service.pods
        if pod.sample is not None and not pod.deleted and is_recent(pod.sample.time_s, now_s, max_age_s)
    ]
    return tuple(
        resource
        for resource in RESOURCES
        if not any(is_amount(_usage_of(sample, resource)) for sample in samples)
    )


def is_quota(quota: Quota) -> bool:
    """Whether a quota is made of positive numbers, with limits not below requests."""
    return (
        is_size(quota.cpu_request_cores)
        and is_size(quota.memory_request_bytes)
        and is_size(quota.cpu_limit_cores)
        and is_size(quota.memory_limit_bytes)
        and quota.cpu_limit_cores >= quota.cpu_request_cores
        and quota.memory_limit_bytes >= quota.memory_request_bytes
    )


def quota_amounts(quota: Quota) -> dict[Resource, int]:
    """Return the requests of a quota, millicores and bytes; one that is not a number is missing."""
    requests: dict[Resource, float] = {
        "cpu": quota.cpu_request_cores * 1000.0,
        "memory": quota.memory_request_bytes,
    }
    return {resource: round(request) for resource, request in requests.items() if isfinite(request)}


def recommended_quota(template: Quota, target: Amounts) -> Quota:
    """Return the quota of a new pod: requests as recommended, limits at the template's ratios."""
    cpu = (template.cpu_request_cores, template.cpu_limit_cores)
    memory = (template.memory_request_bytes, template.memory_limit_bytes)
    if "cpu" in target:
        cpu = with_limit(target["cpu"] / 1000.0, *cpu)
    if "memory" in target:
        memory = with_limit(float(target["memory"]), *memory)
    return Quota(*cpu, *memory)


def raised_quota(quota: Quota, floor: Quota, resources: Collection[Resource]) -> Quota:
    """Return a quota that for these resources is nowhere below another one."""
    cpu = (quota.cpu_request_cores, quota.cpu_limit_cores)
    memory = (quota.memory_request_bytes, quota.memory_limit_bytes)
    if "cpu" in resources:
        cpu = (max(cpu[0], floor.cpu_request_cores), max(cpu[1], floor.cpu_limit_cores))
    if "memory" in resources:
        memory = (max(memory[0], floor.memory_request_bytes), max(memory[1], floor.memory_limit_bytes))
    return Quota(*cpu, *memory)


def may_become(present: Quota, new: Quota, stale: Collection[Resource]) -> bool:
    """Whether a pod may be replaced by one of a new quota: not if that lowers what nobody measures."""
    if not stale:
        return True
    return raised_quota(new, present, stale) == new and quota_amounts(present) != quota_amounts(new)


def group_pod(pod: PodView, asked_s: float | None, now_s: float) -> GroupPod:
    """Return a pod as the limits of disruption see it.

    Args:
        pod: the pod.
        asked_s: when a resize was asked for that it has not undergone yet; None: there is none.
        now_s: the time now.
    """
    if asked_s is None:
        return GroupPod(pod.phase)
    return GroupPod(pod.phase, "Deferred", now_s - asked_s)


def update_candidate(pod: PodView, recommendation: ContainerRecommendation, now_s: float) -> UpdateCandidate:
    """Return a pod as the updater sees it."""
    requests = container_requests(CONTAINER, quota_amounts(pod.quota), recommendation)
    started_s, ran_s = pod.start_time_s, pod.oom_ran_s
    killed = pod.oom_killed_s is not None and ran_s is not None and isfinite(ran_s)
    return UpdateCandidate(
        pod.name,
        update_priority([requests]),
        None if started_s is None or not isfinite(started_s) else now_s - started_s,
        (Termination("OOMKilled", ran_s),) if killed and ran_s is not None else (),
    )


def _usage_of(sample: PodSample, resource: Resource) -> float:
    return sample.cpu_usage_cores if resource == "cpu" else sample.memory_usage_bytes


def _is_believable(time_s: float, now_s: float) -> bool:
    """Whether a time is one of the past; clocks may differ a little."""
    return isfinite(time_s) and time_s <= now_s + MAX_SAMPLE_AGE_S

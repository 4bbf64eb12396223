"""Kubernetes' VPA on an observed cluster: one VerticalPodAutoscaler per service.

Recommender, admission controller and updater in one: the recommender learns from the samples of all pods of
a service, new pods are admitted with what it recommends, and the updater evicts or resizes old ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Literal, TypeAlias

from podgym.baselines import vpa
from podgym.baselines.metrics import KEEP, MAX_SAMPLE_AGE_S, checked_choice, checked_number
from podgym.baselines.vpa.observed import (
    LIVE_PHASES,
    ServiceHistory,
    group_pod,
    is_quota,
    may_become,
    quota_amounts,
    raised_quota,
    recommended_quota,
    stale_resources,
    update_candidate,
)
from podgym.envs.cluster import ClusterObservation, Quota, ServiceDecision, ServiceView
from podgym.errors import InputError, unknown_name

UpdateMode: TypeAlias = Literal["Off", "Initial", "Recreate", "InPlaceOrRecreate"]

_DAY_S = 24 * 3600.0


@dataclass(slots=True)
class _Vpa:
    """The VPA of one service."""

    history: ServiceHistory
    recommendation: vpa.ContainerRecommendation | None = None
    """None: nothing is recommended yet."""
    template: Quota | None = None
    """Quota of the pod template, whose ratios of limit to request are kept."""
    admitted: Quota | None = None
    """Quota of new pods as decided last; None: nothing was."""
    resizes: dict[str, tuple[float, Quota]] = field(default_factory=dict)
    """Resizes that were not seen done: when each was first asked for, and to what, by name of the pod."""


class _Timer:
    """Says when the next pass of a loop is due."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last_s: float | None = None

    def is_due(self, now_s: float) -> bool:
        if self._last_s is not None and 0.0 <= now_s - self._last_s < self._interval_s:
            return False
        self._last_s = now_s
        return True


class VpaController:
    """Sets the requests of each service's pods to a high percentile of what they used.

    Limits keep their ratio to the requests. Without any history nothing is recommended; with a short one
    the bounds are so wide that the updater leaves the pods alone, and only new pods get the target. A
    resource of which no pod has a recent sample is not lowered.

    Source: kubernetes/autoscaler, ``vertical-pod-autoscaler/pkg/``: its recommender, admission-controller and
    updater.
    """

    name = "vpa"

    def __init__(
        self,
        *,
        mode: UpdateMode = "Recreate",
        controlled_resources: Collection[vpa.Resource] = vpa.RESOURCES,
        min_allowed_cpu_cores: float | None = None,
        max_allowed_cpu_cores: float | None = None,
        min_allowed_memory_bytes: float | None = None,
        max_allowed_memory_bytes: float | None = None,
        recommender_interval_s: float = 60,
        updater_interval_s: float = 60,
        update_threshold: float = 0.1,
        lifetime_threshold_s: float = _DAY_S / 2,
        quick_oom_threshold_s: float = 600,
        min_replicas: int = 2,
        eviction_tolerance: float = 0.5,
        target_percentile: float = 0.9,
        lower_percentile: float = 0.5,
        upper_percentile: float = 0.95,
        margin_fraction: float = 0.15,
        confidence_interval_s: float = _DAY_S,
        half_life_s: float = _DAY_S,
        memory_aggregation_interval_s: float = _DAY_S,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
        checkpoint: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Configure all VPAs alike.

        Args:
            mode: ``Off``: recommend only; ``Initial``: set the requests of new pods; ``Recreate``: also
                evict pods; ``InPlaceOrRecreate``: resize them, and evict those that stay as they are.
            controlled_resources: ``cpu``, ``memory`` or both.
            min_allowed_cpu_cores: least CPU request that is recommended; None: no bound.
            max_allowed_cpu_cores: most CPU request that is recommended; None: no bound.
            min_allowed_memory_bytes: least memory request that is recommended; None: no bound.
            max_allowed_memory_bytes: most memory request that is recommended; None: no bound.
            recommender_interval_s: time between two readings of the metrics, each with a recommendation.
            updater_interval_s: time between two passes of the updater.
            update_threshold: least relative difference for which a pod within its bounds is updated.
            lifetime_threshold_s: least age of such a pod.
            quick_oom_threshold_s: a pod killed over its memory sooner than this is updated.
            min_replicas: services with fewer live pods are not disrupted.
            eviction_tolerance: fraction of the replicas that may be missing, 0 to 1.
            target_percentile: of usage, 0 to 1, for the target.
            lower_percentile: of usage, for the lower bound.
            upper_percentile: of usage, for the upper bound.
            margin_fraction: added to every percentile, as a fraction of it.
            confidence_interval_s: with so much history the upper bound is twice its percentile. A day
                upstream, which no episode of an hour comes near.
            half_life_s: time in which a sample loses half of its weight.
            memory_aggregation_interval_s: one memory peak counts per pod and such an interval.
            max_sample_age_s: age from which a sample counts as missing.
            checkpoint: history by service, as ``VpaController.checkpoint`` returns it; None: start cold.

        Raises:
            InputError: an option that cannot be used.
        """
        checked_choice("vpa: mode", mode, UpdateMode)
        self._mode = mode
        aggregation_s = checked_number(
            "vpa: memory_aggregation_interval_s", memory_aggregation_interval_s, 0, inf, above=True
        )
        self._policy = vpa.resolve_policy(
            vpa.ContainerPolicy(
                controlled_resources=_checked_resources(controlled_resources),
                min_allowed=_allowed("min", min_allowed_cpu_cores, min_allowed_memory_bytes),
                max_allowed=_allowed("max", max_allowed_cpu_cores, max_allowed_memory_bytes),
                memory_aggregation_interval_s=aggregation_s,
            )
        )
        self._recommending = _recommending(
            target_percentile, lower_percentile, upper_percentile, margin_fraction, confidence_interval_s
        )
        self._updating = vpa.UpdateSettings(update_threshold, lifetime_threshold_s, quick_oom_threshold_s)
        self._min_replicas = int(checked_number("vpa: min_replicas", min_replicas, 0, 1e6))
        self._tolerance = checked_number("vpa: eviction_tolerance", eviction_tolerance, 0, 1)
        self._intervals_s = (
            checked_number("vpa: recommender_interval_s", recommender_interval_s, 0, inf),
            checked_number("vpa: updater_interval_s", updater_interval_s, 0, inf),
        )
        self._half_life_s = checked_number("vpa: half_life_s", half_life_s, 0, inf, above=True)
        self._max_sample_age_s = checked_number("vpa: max_sample_age_s", max_sample_age_s, 0, inf)
        self._checkpoint = _checked_checkpoint(checkpoint)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the history that the controller was made with."""
        self._now_s = 0.0
        self._recommender, self._updater = (_Timer(interval_s) for interval_s in self._intervals_s)
        self._vpas = {
            name: _Vpa(ServiceHistory(vpa.AggregateState.load(saved, half_life_s=self._half_life_s)))
            for name, saved in self._checkpoint.items()
        }

    @property
    def recommendations(self) -> dict[str, vpa.ContainerRecommendation]:
        """What is recommended now, by service; those of which nothing is known are not in it."""
        return {
            name: each.recommendation for name, each in self._vpas.items() if each.recommendation is not None
        }

    def checkpoint(self) -> dict[str, dict[str, Any]]:
        """Return the history by service, as JSON can hold it, to start another controller warm.

        Its times are relative to the last decision: an episode that begins with it goes on from there.
        """
        return {
            name: vpa.shifted_checkpoint(
                each.history.state.save(), -self._now_s, half_life_s=self._half_life_s
            )
            for name, each in self._vpas.items()
        }

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Read the metrics and update pods, each when it is due; admit new pods with the target."""
        now_s = observation.time_s
        if not isfinite(now_s):
            return (KEEP,) * len(observation.services)
        self._now_s = now_s
        recommending, updating = self._recommender.is_due(now_s), self._updater.is_due(now_s)
        return tuple(
            self._decide_one(service, now_s, recommending=recommending, updating=updating)
            for service in observation.services
        )

    def _decide_one(
        self, service: ServiceView, now_s: float, *, recommending: bool, updating: bool
    ) -> ServiceDecision:
        if service.name not in self._vpas:
            state = vpa.AggregateState.begin(now_s, half_life_s=self._half_life_s)
            self._vpas[service.name] = _Vpa(ServiceHistory(state))
        each = self._vpas[service.name]
        self._learn(each, service, now_s, recommending)
        if service.quota != each.admitted:  # not decided here, so it is the template's
            each.template = service.quota
        template = each.template
        if self._mode == "Off" or each.recommendation is None or template is None or not is_quota(template):
            return KEEP
        stale = stale_resources(service, now_s, self._max_sample_age_s)
        quota = raised_quota(recommended_quota(template, each.recommendation.target), service.quota, stale)
        admission = None
        if quota != service.quota:
            admission = each.admitted = quota
        if self._mode == "Initial" or not updating:
            return ServiceDecision(admission=admission)
        evictions, resizes = self._update(each, each.recommendation, service, quota, stale, now_s)
        return ServiceDecision(admission=admission, evict=evictions, resize=resizes)

    def _learn(self, each: _Vpa, service: ServiceView, now_s: float, recommending: bool) -> None:
        """Enter what happened since the last decision and, if it is time, recommend anew."""
        names = {pod.name for pod in service.pods}
        each.history.forget_pods(names)
        each.resizes = {
            pod.name: each.resizes[pod.name]
            for pod in service.pods
            if pod.name in each.resizes
            and quota_amounts(pod.quota) != quota_amounts(each.resizes[pod.name][1])
        }
        each.history.learn_ooms(service, now_s, self._policy.usage)
        if recommending:
            if each.history.state.is_expired(now_s, self._policy.usage):
                each.history.state = vpa.AggregateState.begin(now_s, half_life_s=self._half_life_s)
            each.history.learn_samples(service, now_s, self._policy.usage)
            each.recommendation = each.history.recommend(self._policy, self._recommending)

    def _update(
        self,
        each: _Vpa,
        recommendation: vpa.ContainerRecommendation,
        service: ServiceView,
        quota: Quota,
        stale: Collection[vpa.Resource],
        now_s: float,
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Make one pass of the updater: names of pods to evict, and of pods to resize to the new quota."""
        live = [pod for pod in service.pods if not pod.deleted and pod.phase in LIVE_PHASES]
        asked_s = {name: time_s for name, (time_s, _) in each.resizes.items()}
        pods = {pod.name: group_pod(pod, asked_s.get(pod.name), now_s) for pod in live}
        group = vpa.eviction_group(
            [pods[pod.name] for pod in live],
            service.replicas_wanted,
            min_replicas=self._min_replicas,
            eviction_tolerance=self._tolerance,
        )
        candidates = [
            update_candidate(pod, recommendation, now_s)
            for pod in live
            if may_become(pod.quota, quota, stale)
        ]
        evictions, resizes = [], []
        for candidate in vpa.updates_in_order(candidates, self._updating):
            name, pod = candidate.name, pods[candidate.name]
            in_place = self._mode == "InPlaceOrRecreate"
            action = vpa.decide_in_place(group, pod) if in_place else "evict"
            if action == "evict":
                done, group = vpa.evict(group, pod)
                evictions += [name] if done else []
                continue
            if group is not None and action == "resize":
                group = vpa.begin_resize(group)
            if action == "resize" or name in asked_s:
                # A deferred resize is asked for again: not every cluster keeps it in mind as a kubelet does.
                each.resizes[name] = (asked_s.get(name, now_s), quota)
                resizes.append(name)
        return tuple(evictions), tuple(resizes)


def _checked_resources(resources: Collection[vpa.Resource]) -> tuple[vpa.Resource, ...]:
    for resource in resources:
        if resource not in vpa.RESOURCES:
            raise unknown_name("resource that vpa controls", resource, vpa.RESOURCES)
    return tuple(resources)


def _allowed(bound: str, cpu_cores: float | None, memory_bytes: float | None) -> dict[vpa.Resource, int]:
    """Return a bound of the recommendations, millicores and bytes."""
    allowed: dict[vpa.Resource, int] = {}
    if cpu_cores is not None:
        checked_number(f"vpa: {bound}_allowed_cpu_cores", cpu_cores, 0.001, inf)
        allowed["cpu"] = vpa.cpu_amount_from_cores(cpu_cores)
    if memory_bytes is not None:
        checked_number(f"vpa: {bound}_allowed_memory_bytes", memory_bytes, 1, inf)
        allowed["memory"] = vpa.memory_amount_from_bytes(memory_bytes)
    return allowed


def _recommending(
    target: float, lower: float, upper: float, margin_fraction: float, confidence_interval_s: float
) -> vpa.RecommenderSettings:
    settings = vpa.RecommenderSettings(
        target_cpu_percentile=target,
        lower_cpu_percentile=lower,
        upper_cpu_percentile=upper,
        target_memory_percentile=target,
        lower_memory_percentile=lower,
        upper_memory_percentile=upper,
        margin_fraction=margin_fraction,
        confidence_interval_cpu_s=confidence_interval_s,
        confidence_interval_memory_s=confidence_interval_s,
    )
    if not lower <= target <= upper:
        raise InputError(
            f"vpa: the percentiles are lower {lower!r}, target {target!r}, upper {upper!r}; they must "
            "ascend, else pods with the target would be evicted again and again."
        )
    return settings


def _checked_checkpoint(
    checkpoint: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, Mapping[str, Any]]:
    if checkpoint is None:
        return {}
    if not isinstance(checkpoint, Mapping):
        raise InputError(
            f"vpa: the checkpoint is {checkpoint!r}; a mapping from service to history, as from "
            "VpaController.checkpoint(), is needed."
        )
    return dict(checkpoint)

"""What a VPA object says of a container, and what holds where it says nothing.

Upstream: ``spec.resourcePolicy.containerPolicies`` of the VPA and ``UpdateFromPolicy`` in
``recommender/model/aggregate_container_state.go``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from podgym.baselines.vpa.amounts import RESOURCES, Amounts, Resource
from podgym.baselines.vpa.usage import DEFAULT_USAGE_SETTINGS, UsageSettings
from podgym.errors import InputError, unknown_name

ContainerMode: TypeAlias = Literal["Auto", "Off"]


@dataclass(frozen=True, slots=True)
class ContainerPolicy:
    """The policy of one container. None leaves a field to its default."""

    mode: ContainerMode | None = None
    """``Off``: no recommendation for this container."""
    controlled_resources: tuple[Resource, ...] | None = None
    """Resources to recommend; None: both; empty: none."""
    min_allowed: Amounts = field(default_factory=dict)
    """Least that is recommended, millicores and bytes."""
    max_allowed: Amounts = field(default_factory=dict)
    """Most that is recommended, millicores and bytes."""
    memory_aggregation_interval_s: float | None = None
    """Of this container alone; needs the gate PerVPAConfig, as the three below."""
    memory_aggregation_interval_count: int | None = None
    oom_bump_up_ratio: float | None = None
    oom_min_bump_up_bytes: float | None = None

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in get_args(ContainerMode):
            raise unknown_name("mode of a container policy", self.mode, get_args(ContainerMode))
        for resource in (*(self.controlled_resources or ()), *self.min_allowed, *self.max_allowed):
            if resource not in RESOURCES:
                raise unknown_name("resource of a container policy", resource, RESOURCES)
        for resource in self.min_allowed.keys() & self.max_allowed.keys():
            low, high = self.min_allowed[resource], self.max_allowed[resource]
            if low > high:
                raise InputError(
                    f"container policy: min_allowed {resource} {low!r} is above max_allowed {high!r}."
                )


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """The policy of one container with every default filled in."""

    mode: ContainerMode
    controlled_resources: tuple[Resource, ...]
    usage: UsageSettings
    """Aggregation interval and count, and the answer to OOM kills."""
    min_allowed: Amounts
    max_allowed: Amounts


def resolve_policy(
    policy: ContainerPolicy | None = None,
    defaults: UsageSettings = DEFAULT_USAGE_SETTINGS,
    *,
    per_vpa_config: bool = True,
) -> ResolvedPolicy:
    """Fill in what a policy leaves open.

    Args:
        policy: None: the VPA says nothing of the container.
        defaults: the recommender's own flags.
        per_vpa_config: gate PerVPAConfig (VPA 1.7.0); off: the flags hold for every container.
    """
    policy = ContainerPolicy() if policy is None else policy
    own = {
        name: getattr(policy, name)
        for name in UsageSettings.__dataclass_fields__
        if per_vpa_config and getattr(policy, name) is not None
    }
    controlled = policy.controlled_resources
    return ResolvedPolicy(
        "Auto" if policy.mode is None else policy.mode,
        RESOURCES if controlled is None else tuple(each for each in RESOURCES if each in controlled),
        replace(defaults, **own),
        policy.min_allowed,
        policy.max_allowed,
    )


def capped(amounts: Amounts, policy: ResolvedPolicy) -> dict[Resource, int]:
    """Bring amounts into the range that a policy allows."""
    return {
        resource: _within(amount, policy.min_allowed.get(resource), policy.max_allowed.get(resource))
        for resource, amount in amounts.items()
    }


def controlled(amounts: Mapping[Resource, int], policy: ResolvedPolicy) -> dict[Resource, int]:
    """Drop the resources that a policy does not control."""
    return {
        resource: amount for resource, amount in amounts.items() if resource in policy.controlled_resources
    }


def _within(amount: int, low: int | None, high: int | None) -> int:
    raised = amount if low is None else max(amount, low)
    return raised if high is None else min(raised, high)

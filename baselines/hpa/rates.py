"""Bounds on one change: minimum, maximum, and how fast the count may move.

Upstream: ``convertDesiredReplicasWithRules``, ``convertDesiredReplicasWithBehaviorRate``,
``calculateScale{Up,Down}Limit*``, ``storeScaleEvent`` and ``markScaleEventsOutdated`` in
``horizontal.go``; defaults in ``pkg/apis/autoscaling/v2/defaults.go``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from podgym.baselines.hpa.arithmetic import MAX_INT32, MIN_INT32, ceil_to_int32, truncate_to_int32
from podgym.baselines.hpa.types import Behavior, ScaleEvent, ScalingPolicy, ScalingRules

DEFAULT_SCALE_UP = ScalingRules(
    "Max", 0, (ScalingPolicy("Pods", 4, period_s=15), ScalingPolicy("Percent", 100, period_s=15))
)
DEFAULT_SCALE_DOWN = ScalingRules("Max", None, (ScalingPolicy("Percent", 100, period_s=15),))


@dataclass(frozen=True, slots=True)
class Limited:
    """A count after its limits."""

    replicas: int
    reason: str
    """The limit that decided, or ``DesiredWithinRange``."""


def default_rules(rules: ScalingRules | None, direction: Literal["up", "down"]) -> ScalingRules:
    """Fill in the fields that are None; a list of policies that is given replaces the default list.

    The stabilisation window for scaling down stays None: the controller's own window takes its place
    when it reconciles. The tolerance stays None, too.
    """
    defaults = DEFAULT_SCALE_UP if direction == "up" else DEFAULT_SCALE_DOWN
    if rules is None:
        return defaults
    window_s = rules.stabilization_window_s
    return replace(
        rules,
        select_policy=rules.select_policy or defaults.select_policy,
        stabilization_window_s=defaults.stabilization_window_s if window_s is None else window_s,
        policies=defaults.policies if rules.policies is None else rules.policies,
    )


def default_behavior(behavior: Behavior) -> Behavior:
    """Fill in both directions of a behaviour."""
    return Behavior(default_rules(behavior.scale_up, "up"), default_rules(behavior.scale_down, "down"))


def limit_legacy(
    current: int,
    desired: int,
    min_replicas: int,
    max_replicas: int,
    *,
    factor: float = 2.0,
    minimum: float = 4.0,
) -> Limited:
    """Keep the count within its bounds and, going up, within a multiple of the current count.

    Args:
        current: replicas now.
        desired: what is asked for, after damping.
        min_replicas: lower bound.
        max_replicas: upper bound.
        factor: largest multiple of the current count.
        minimum: count that may always be reached.
    """
    limit = truncate_to_int32(max(factor * float(current), minimum))
    if desired < min_replicas:
        return Limited(min_replicas, "TooFewReplicas")
    if desired > min(max_replicas, limit):
        return _upper_bound(max_replicas, limit)
    return Limited(desired, "DesiredWithinRange")


def limit_with_behavior(
    current: int,
    desired: int,
    min_replicas: int,
    max_replicas: int,
    *,
    behavior: Behavior,
    scale_up_events: Sequence[ScaleEvent],
    scale_down_events: Sequence[ScaleEvent],
    now_s: float,
) -> Limited:
    """Keep the count within its bounds and within what the policies allow, in the direction of travel.

    Args:
        current: replicas now.
        desired: what is asked for, after damping.
        min_replicas: lower bound, looked at when scaling down.
        max_replicas: upper bound, looked at when scaling up.
        behavior: rules; directions and fields that are None are filled in.
        scale_up_events: changes made so far, upwards.
        scale_down_events: changes made so far, downwards.
        now_s: the time now.
    """
    if desired > current:
        limit = scale_up_limit(
            current, default_rules(behavior.scale_up, "up"), scale_up_events, scale_down_events, now_s
        )
        bound = _upper_bound(max_replicas, max(limit, current))
        return bound if desired > bound.replicas else Limited(desired, "DesiredWithinRange")
    if desired < current:
        limit = scale_down_limit(
            current, default_rules(behavior.scale_down, "down"), scale_up_events, scale_down_events, now_s
        )
        bound = _lower_bound(min_replicas, min(limit, current))
        return bound if desired < bound.replicas else Limited(desired, "DesiredWithinRange")
    return Limited(desired, "DesiredWithinRange")


def _upper_bound(max_replicas: int, limit: int) -> Limited:
    return (
        Limited(limit, "ScaleUpLimit") if max_replicas > limit else Limited(max_replicas, "TooManyReplicas")
    )


def _lower_bound(min_replicas: int, limit: int) -> Limited:
    return (
        Limited(limit, "ScaleDownLimit") if min_replicas < limit else Limited(min_replicas, "TooFewReplicas")
    )


def scale_up_limit(
    current: int,
    rules: ScalingRules,
    scale_up_events: Sequence[ScaleEvent],
    scale_down_events: Sequence[ScaleEvent],
    now_s: float,
) -> int:
    """Return the largest count that the policies for scaling up allow now.

    Args:
        current: replicas now.
        rules: rules with all fields filled in.
        scale_up_events: changes made so far, upwards.
        scale_down_events: changes made so far, downwards.
        now_s: the time now.
    """
    if rules.select_policy == "Disabled":
        return current
    counts = []
    for policy in rules.policies or ():
        start = _period_start(current, policy.period_s, scale_up_events, scale_down_events, now_s)
        if policy.type == "Pods":
            counts.append(start + policy.value)
        else:
            counts.append(ceil_to_int32(float(start) * (1 + float(policy.value) / 100)))
    if rules.select_policy == "Min":
        return min(counts, default=MAX_INT32)
    return max(counts, default=MIN_INT32)


def scale_down_limit(
    current: int,
    rules: ScalingRules,
    scale_up_events: Sequence[ScaleEvent],
    scale_down_events: Sequence[ScaleEvent],
    now_s: float,
) -> int:
    """Return the smallest count that the policies for scaling down allow now.

    A percentage is cut off, not rounded up, which favours removing more. Arguments as for
    ``scale_up_limit``.
    """
    if rules.select_policy == "Disabled":
        return current
    counts = []
    for policy in rules.policies or ():
        start = _period_start(current, policy.period_s, scale_up_events, scale_down_events, now_s)
        if policy.type == "Pods":
            counts.append(start - policy.value)
        else:
            counts.append(truncate_to_int32(float(start) * (1 - float(policy.value) / 100)))
    if rules.select_policy == "Min":
        return max(counts, default=MIN_INT32)
    return min(counts, default=MAX_INT32)


def _period_start(
    current: int,
    period_s: float,
    scale_up_events: Sequence[ScaleEvent],
    scale_down_events: Sequence[ScaleEvent],
    now_s: float,
) -> int:
    """Replicas at the start of the period: the current count with all changes since then undone."""
    added = change_within(scale_up_events, period_s, now_s)
    removed = change_within(scale_down_events, period_s, now_s)
    return current - added + removed


def change_within(events: Iterable[ScaleEvent], period_s: float, now_s: float) -> int:
    """Add up the changes of the last period; one exactly a period old no longer counts."""
    cutoff_s = now_s - period_s
    return sum(event.change for event in events if event.time_s > cutoff_s)


def store_scale_event(
    events: Sequence[ScaleEvent], rules: ScalingRules, change: int, now_s: float
) -> tuple[ScaleEvent, ...]:
    """Log a change that was made, in the place of one that no policy looks back to any more.

    Args:
        events: the log of this direction.
        rules: rules of this direction, with all fields filled in.
        change: replicas added or removed, as a positive number.
        now_s: the time now.

    Returns:
        The log with expired entries marked, the last of them replaced by the new one.
    """
    longest_s = max((policy.period_s for policy in rules.policies or ()), default=0)
    cutoff_s = now_s - longest_s
    log = [replace(event, outdated=True) if event.time_s < cutoff_s else event for event in events]
    newest = ScaleEvent(change, now_s)
    outdated = [index for index, event in enumerate(log) if event.outdated]
    if outdated:
        log[outdated[-1]] = newest
    else:
        log.append(newest)
    return tuple(log)

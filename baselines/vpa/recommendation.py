"""From an aggregate to a recommendation: percentile, margin, confidence, minimum, policy, rounding.

Upstream: ``recommender/logic/estimator.go`` and ``recommender.go``. The target is a high percentile with a
margin. The bounds are what the updater leaves a pod in peace within: the shorter the history, the wider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from podgym.baselines.hpa.arithmetic import divide
from podgym.baselines.vpa.aggregate import AggregateState
from podgym.baselines.vpa.amounts import (
    MAX_AMOUNT,
    RESOURCES,
    Amounts,
    Resource,
    cpu_amount_from_cores,
    memory_amount_from_bytes,
    rounded_amount,
    scale_amount,
)
from podgym.baselines.vpa.checks import require_positive, require_within
from podgym.baselines.vpa.policy import ContainerPolicy, ResolvedPolicy, capped, controlled, resolve_policy
from podgym.baselines.vpa.usage import DAY_S

UPPER_CONFIDENCE = (1.0, 1.0)
"""Multiplier and exponent of the upper bound's confidence factor."""
LOWER_CONFIDENCE = (0.001, -2.0)
"""Multiplier and exponent of the lower bound's."""


@dataclass(frozen=True, slots=True)
class RecommenderSettings:
    """Flags of the recommender, with their defaults."""

    target_cpu_percentile: float = 0.9
    lower_cpu_percentile: float = 0.5
    upper_cpu_percentile: float = 0.95
    target_memory_percentile: float = 0.9
    lower_memory_percentile: float = 0.5
    upper_memory_percentile: float = 0.95
    margin_fraction: float = 0.15
    """Added to every percentile, as a fraction of it."""
    confidence_interval_cpu_s: float = DAY_S
    """So long a history of one sample a minute is a confidence of 1."""
    confidence_interval_memory_s: float = DAY_S
    pod_min_cpu_milli: int = 25
    """Least recommended to a pod; its containers share it equally."""
    pod_min_memory_bytes: int = 250 * 1024**2
    round_cpu_milli: int = 1
    """Recommendations are rounded up to a multiple of this."""
    round_memory_bytes: int = 1

    def __post_init__(self) -> None:
        for bound in ("target", "lower", "upper"):
            names = [f"{bound}_{resource}_percentile" for resource in RESOURCES]
            require_within(self, *names, low=0.0, high=1.0)
        require_within(self, "margin_fraction", "pod_min_cpu_milli", "pod_min_memory_bytes")
        require_positive(self, "confidence_interval_cpu_s", "confidence_interval_memory_s")


DEFAULT_RECOMMENDER_SETTINGS = RecommenderSettings()


@dataclass(frozen=True, slots=True)
class Estimates:
    """What an aggregate asks for, before minimum, policy and rounding."""

    target: Amounts
    lower_bound: Amounts
    upper_bound: Amounts


@dataclass(frozen=True, slots=True)
class ContainerRecommendation:
    """Recommended requests of one container, millicores and bytes."""

    target: Amounts
    """What new pods get."""
    lower_bound: Amounts
    """A pod with less is to be replaced."""
    upper_bound: Amounts
    """A pod with more is to be replaced."""
    uncapped_target: Amounts
    """The target before the policy's minimum and maximum."""


def cpu_percentile(state: AggregateState, fraction: float) -> int:
    """Return a percentile of CPU usage, millicores."""
    return cpu_amount_from_cores(state.cpu.percentile(fraction))


def memory_percentile(state: AggregateState, fraction: float) -> int:
    """Return a percentile of memory peaks, bytes."""
    return memory_amount_from_bytes(state.memory.percentile(fraction))


def with_margin(amount: int, fraction: float) -> int:
    """Add a fraction of the amount to it; what is added is truncated."""
    return amount + scale_amount(amount, fraction)


def confidence(lifespan_s: float, cpu_samples: int, interval_s: float = DAY_S) -> float:
    """Return how much history there is: 1 for one interval with a sample a minute.

    Args:
        lifespan_s: from the first to the last CPU sample.
        cpu_samples: their number.
        interval_s: the confidence interval.
    """
    return min(lifespan_s / interval_s, cpu_samples / (interval_s / 60.0))


def confidence_factor(confidence: float, multiplier: float, exponent: float) -> float:
    """Return ``(1 + multiplier / confidence) ** exponent``; infinite or 0 without any confidence."""
    try:
        return float((1.0 + divide(multiplier, confidence)) ** exponent)
    except OverflowError:
        return inf
    except ZeroDivisionError:  # a multiplier of minus the confidence, and a negative exponent
        return inf


def with_confidence(amount: int, confidence: float, multiplier: float, exponent: float) -> int:
    """Scale an amount by the confidence factor, truncated; an infinite factor gives the largest amount."""
    factor = confidence_factor(confidence, multiplier, exponent)
    return MAX_AMOUNT if factor == inf else scale_amount(amount, factor)


def with_minimum(amount: int, minimum: int) -> int:
    """Return no less than a minimum."""
    return max(amount, minimum)


def estimate(
    state: AggregateState, settings: RecommenderSettings = DEFAULT_RECOMMENDER_SETTINGS
) -> Estimates:
    """Estimate target and bounds of one container: percentile, margin and, for the bounds, confidence."""
    margin = settings.margin_fraction
    base: dict[str, dict[Resource, int]] = {
        bound: {
            "cpu": with_margin(cpu_percentile(state, getattr(settings, f"{bound}_cpu_percentile")), margin),
            "memory": with_margin(
                memory_percentile(state, getattr(settings, f"{bound}_memory_percentile")), margin
            ),
        }
        for bound in ("target", "lower", "upper")
    }
    confidences: dict[Resource, float] = {
        "cpu": confidence(state.lifespan_s, state.cpu_samples, settings.confidence_interval_cpu_s),
        "memory": confidence(state.lifespan_s, state.cpu_samples, settings.confidence_interval_memory_s),
    }
    return Estimates(
        base["target"],
        {
            each: with_confidence(base["lower"][each], confidences[each], *LOWER_CONFIDENCE)
            for each in RESOURCES
        },
        {
            each: with_confidence(base["upper"][each], confidences[each], *UPPER_CONFIDENCE)
            for each in RESOURCES
        },
    )


def finish_recommendation(
    estimates: Estimates,
    num_containers: int = 1,
    policy: ResolvedPolicy | None = None,
    settings: RecommenderSettings = DEFAULT_RECOMMENDER_SETTINGS,
) -> ContainerRecommendation:
    """Turn estimates into a recommendation: minimum, controlled resources, rounding, allowed range.

    Args:
        estimates: of one container.
        num_containers: container names that share the pod's minimum.
        policy: of this container; None: the defaults.
        settings: minimum and rounding.
    """
    policy = resolve_policy() if policy is None else policy
    share = 1.0 / num_containers
    minimum: dict[Resource, int] = {
        "cpu": scale_amount(settings.pod_min_cpu_milli, share),
        "memory": scale_amount(settings.pod_min_memory_bytes, share),
    }
    scales: dict[Resource, int] = {"cpu": settings.round_cpu_milli, "memory": settings.round_memory_bytes}

    def finished(amounts: Amounts) -> dict[Resource, int]:
        raised = {each: with_minimum(amount, minimum[each]) for each, amount in amounts.items()}
        return {
            each: rounded_amount(amount, scales[each]) for each, amount in controlled(raised, policy).items()
        }

    target = finished(estimates.target)
    return ContainerRecommendation(
        target=capped(target, policy),
        lower_bound=capped(finished(estimates.lower_bound), policy),
        upper_bound=capped(finished(estimates.upper_bound), policy),
        uncapped_target=target,
    )


def recommend(
    states: Mapping[str, AggregateState],
    policies: Mapping[str, ContainerPolicy] | None = None,
    settings: RecommenderSettings = DEFAULT_RECOMMENDER_SETTINGS,
) -> dict[str, ContainerRecommendation]:
    """Recommend requests to every container of one VPA, except those that are switched off.

    Args:
        states: aggregate per container name; their number shares the pod's minimum.
        policies: policy per container name; one that is absent has the defaults.
        settings: flags of the recommender.
    """
    recommended = {}
    for name, state in states.items():
        policy = resolve_policy((policies or {}).get(name))
        if policy.mode != "Off":
            recommended[name] = finish_recommendation(
                estimate(state, settings), len(states), policy, settings
            )
    return recommended

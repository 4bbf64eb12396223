"""Damping: a change happens only as far as the recent recommendations agree on it.

Upstream: ``stabilizeRecommendation`` and ``stabilizeRecommendationWithBehaviors`` in ``horizontal.go``.
What is logged is what the metrics asked for, before any limit; the slot of an expired entry is used
again, so the log does not grow beyond its window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from podgym.baselines.hpa.types import Recommendation


@dataclass(frozen=True, slots=True)
class Stabilised:
    """A recommendation after damping."""

    replicas: int
    reason: str
    """Why it may differ from what was asked for; meaningful only if it does."""
    recommendations: tuple[Recommendation, ...]
    """The log, with what was asked for in it."""


def stabilise_legacy(
    recommendations: Sequence[Recommendation], desired: int, window_s: float, now_s: float
) -> Stabilised:
    """Take the largest recommendation of the window: scaling up at once, scaling down late.

    An entry exactly one window old still counts.

    Args:
        recommendations: the log.
        desired: what the metrics ask for now.
        window_s: how long a recommendation holds.
        now_s: the time now.
    """
    cutoff_s = now_s - window_s
    largest = desired
    expired = None
    for index, past in enumerate(recommendations):
        if past.time_s < cutoff_s:
            expired = index
        else:
            largest = max(largest, past.replicas)
    log = _logged(recommendations, Recommendation(desired, now_s), expired)
    return Stabilised(largest, "ScaleDownStabilized", log)


def stabilise_with_behavior(
    recommendations: Sequence[Recommendation],
    current: int,
    desired: int,
    *,
    scale_up_window_s: float,
    scale_down_window_s: float,
    now_s: float,
) -> Stabilised:
    """Move from the current count no further than every recommendation of the window allows.

    An entry exactly one window old no longer counts. A slot is used again once its entry has left both
    windows.

    Args:
        recommendations: the log.
        current: replicas now.
        desired: what the metrics ask for now.
        scale_up_window_s: how long a lower recommendation holds back scaling up.
        scale_down_window_s: how long a higher recommendation holds back scaling down.
        now_s: the time now.
    """
    up_cutoff_s = now_s - scale_up_window_s
    down_cutoff_s = now_s - scale_down_window_s
    lowest = highest = desired
    expired = None
    for index, past in enumerate(recommendations):
        if past.time_s > up_cutoff_s:
            lowest = min(lowest, past.replicas)
        if past.time_s > down_cutoff_s:
            highest = max(highest, past.replicas)
        if past.time_s < up_cutoff_s and past.time_s < down_cutoff_s:
            expired = index
    # Both limits are applied in this order: where they contradict each other, the upper one wins.
    replicas = min(max(current, lowest), highest)
    reason = "ScaleUpStabilized" if desired >= current else "ScaleDownStabilized"
    return Stabilised(replicas, reason, _logged(recommendations, Recommendation(desired, now_s), expired))


def _logged(
    recommendations: Sequence[Recommendation], newest: Recommendation, expired: int | None
) -> tuple[Recommendation, ...]:
    """Put the newest recommendation in the last expired slot, or at the end."""
    if expired is None:
        return (*recommendations, newest)
    return (*recommendations[:expired], newest, *recommendations[expired + 1 :])

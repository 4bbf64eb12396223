"""How late samples can be seen: bounds from every look at the newest sample.

At a moment t the newest sample that can be seen was taken at s, so the delay is at most t - s. The one after
it had been taken at s' and could not be seen, so the delay is more than t - s'. Over a run the largest of the
lower bounds and the smallest of the upper ones remain. Where decisions and scrapes keep step, every look
finds the same age, and the bounds stay a whole scrape interval apart: then the recording does not tell.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import MonitoringParameters
from podgym.eval.calibration.constants import (
    WIDEST,
    FittedConstant,
    kept,
    rounded,
    within_bounds,
)
from podgym.eval.calibration.recording import ScrapeSight
from podgym.eval.calibration.series import LEAST_INTERVALS

Floats = NDArray[np.float64]

_ALIKE = 0.1  # share of the time between looks by which equal gaps may differ
_FINEST_S = 0.25  # half a width that is narrow enough for any purpose
_FEW = 0.05
_NEARLY_S = 1e-3


def fit_scrapes(
    sights: Sequence[ScrapeSight], was: MonitoringParameters, *, staggered: bool = False
) -> tuple[FittedConstant, FittedConstant]:
    """Return ``scrape_interval_s`` and ``scrape_delay_s``.

    Args:
        sights: sample times of one service, in time order.
        was: constants before.
        staggered: several pods were scraped, each at moments of its own, so the gaps between newest samples
            tell nothing of the time between two scrapes of one pod.
    """
    if len(sights) < LEAST_INTERVALS:
        why = f"the times of {len(sights)} samples were recorded; {LEAST_INTERVALS} are needed"
        return (
            kept("scrape_interval_s", "s", was.scrape_interval_s, why),
            kept("scrape_delay_s", "s", was.scrape_delay_s, why),
        )
    looked_s = np.array([sight.time_s for sight in sights])
    sample_s = np.array([sight.sample_time_s for sight in sights])
    if staggered:
        why = "several pods are scraped, each at moments of its own"
        interval = kept("scrape_interval_s", "s", was.scrape_interval_s, why)
    else:
        interval = _interval(looked_s, sample_s, was.scrape_interval_s)
    every_s = float(interval.value) if interval.status == "fitted" else None
    return interval, _delay(looked_s, sample_s, every_s, was.scrape_delay_s)


def _interval(looked_s: Floats, sample_s: Floats, was_s: float) -> FittedConstant:
    """Return the time between scrapes.

    Where some look found no new sample, every scrape was seen, and the shortest gap is the answer. Else a
    look skips m or m + 1 scrapes, and gaps of two lengths differ by it. Where all gaps are alike, they may be
    any multiple of it.
    """
    between_looks_s = float(np.median(np.diff(looked_s)))
    regular = np.abs(np.diff(looked_s) - between_looks_s) <= 0.05 * between_looks_s
    gaps_s = np.diff(sample_s)[regular]
    alike_s = _ALIKE * between_looks_s
    lengths_s = _lengths(gaps_s[gaps_s > alike_s], alike_s)
    if not lengths_s:
        return kept("scrape_interval_s", "s", was_s, "no look found a new sample")
    shortest_s = lengths_s[0]
    half_s = alike_s / len(gaps_s)
    again = bool((gaps_s <= alike_s).any())
    if not again and len(lengths_s) == 1:
        why = f"every look found a sample newer by {shortest_s:.3g} s, which may be several scrapes"
        within = was_s <= 1.001 * shortest_s
        best = was_s if within else shortest_s
        return within_bounds("scrape_interval_s", "s", was_s, 0.0, max(shortest_s, best), why, best)
    every_s = shortest_s if again else min(shortest_s, float(np.diff(lengths_s).min()))
    how = f"{len(looked_s)} looks"
    return FittedConstant(
        "scrape_interval_s", "s", was_s, rounded(every_s), every_s - half_s, every_s + half_s, "fitted", how
    )


def _lengths(gaps_s: Floats, alike_s: float) -> list[float]:
    """Return the different lengths among gaps, ascending: medians of those that are alike."""
    ordered = np.sort(gaps_s)
    cuts = np.flatnonzero(np.diff(ordered) > alike_s) + 1
    return [float(np.median(part)) for part in np.split(ordered, cuts) if len(part)]


def _delay(looked_s: Floats, sample_s: Floats, every_s: float | None, was_s: float) -> FittedConstant:
    """Return the delay from the bounds; ``every_s`` is the time between scrapes, None where it is not known.

    Where a scrape was lost, the lower bound that it seemed to give is no less than the youngest age that was
    seen, which bounds the delay from above. Few such bounds are dropped; many mean that the delay varies.
    """
    samples_s = np.unique(sample_s)
    next_s = np.append(samples_s, np.inf)[np.searchsorted(samples_s, sample_s, side="right")]
    if every_s is not None:  # samples that no look found are known too
        next_s = np.minimum(next_s, sample_s + every_s)
    not_seen_s = looked_s - next_s
    youngest_s = float((looked_s - sample_s).min())
    contradicted = not_seen_s > youngest_s - _NEARLY_S
    if float(contradicted.mean()) > _FEW:
        oldest_s = float(np.quantile(not_seen_s[contradicted], 0.95))
        middle_s = rounded(0.5 * (youngest_s + oldest_s))
        note = "the delay of samples varies between the ends of its interval"
        return FittedConstant(
            "scrape_delay_s",
            "s",
            was_s,
            middle_s,
            youngest_s,
            oldest_s,
            "fitted",
            f"{len(looked_s)} looks",
            note,
        )
    lower_s = min(max(float(not_seen_s[~contradicted].max()), 0.0), youngest_s)
    middle_s = 0.5 * (lower_s + youngest_s)
    if 0.5 * (youngest_s - lower_s) <= max(WIDEST * middle_s, _FINEST_S):
        how = f"{len(looked_s)} looks"
        return FittedConstant(
            "scrape_delay_s", "s", was_s, rounded(middle_s), lower_s, youngest_s, "fitted", how
        )
    why = "decisions and scrapes keep step, so ages hardly vary; note sample times more often, at odd moments"
    return within_bounds("scrape_delay_s", "s", was_s, lower_s, youngest_s, why)

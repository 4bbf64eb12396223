"""Intervals that keep their promise: conformal prediction on the newest errors.

A forecast error, divided by how much the series moved lately, is a score. The ends of the interval are
quantiles of the newest scores that were known when the forecast was made; held-out scores of the fit stand
in while there are too few (split conformal prediction: Vovk, Gammerman and Shafer 2005). A model that goes
wrong for hours on end would still miss too often, so each end is also stretched a little after every miss
and drawn in a little after every hit, until one value in ten lies beyond it (adaptive conformal inference:
Gibbs and Candes 2021). An interval holds its mean, so that of a model that is too high for hours nothing
lies beyond one end: the other is then drawn in instead, until it is missed for both. No distribution is
assumed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.8
"""Share of the values that an interval is meant to hold."""
NEWEST_SCORES = 480
"""Scores that the quantiles are taken over: eight hours of minutes."""
RATE = 0.03
"""How fast the ends are stretched and drawn in: a run of misses widens an interval by 2.7 % each. Faster
follows a model that has gone wrong sooner, and makes the intervals of a good one 1 to 3 % longer."""
RUN_IN = 1440
"""Origins before a forecast over which its interval is followed, where the history has them."""
SCALE_WINDOW = 30
"""Steps over which the movement of the series is measured."""

_TAIL = (1.0 - COVERAGE) / 2.0
_LEAST_SHARE = 0.02  # neither end is nearer to the mean than this share of the length: it could not stretch
_MOST = 4.0  # largest |logarithm| of a stretch
_DRAWN_IN = float(np.log(2.0))  # an end that would be drawn in to less than half draws in the other instead


@dataclass(frozen=True, slots=True, eq=False)
class ConformalIntervals:
    """Held-out scores and the floor of the scale."""

    scores: NDArray[np.float64]
    """(more than horizon, horizon, num_features) newest scores of the held-out part, in time order."""
    floor: NDArray[np.float64]
    """(num_features,) smallest scale, in the unit of the feature: keeps a flat stretch from dividing by 0."""

    def static_quantiles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper quantile of the held-out scores, (horizon, num_features) each."""
        low, high = np.quantile(self.scores, [_TAIL, 1.0 - _TAIL], axis=0)
        return np.minimum(low, 0.0), np.maximum(high, 0.0)

    def ends(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper end, as scores, that an interval had at each origin.

        Args:
            scores: (num_origins, horizon, num_features) of consecutive origins; nan where the value was not
                measured, or is not known yet.

        Returns:
            Lower (at most 0) and upper (at least 0) end, (num_origins, horizon, num_features). Row k uses, at
            horizon step h, the scores of the origins up to k - h only: the others were not known yet.
        """
        low, high = self.quantiles(scores)
        least = _LEAST_SHARE * (high - low)
        return _stretched(np.minimum(low, -least), np.maximum(high, least), scores)

    def quantiles(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the quantiles that were known at each origin.

        Args:
            scores: (num_origins, horizon, num_features) of consecutive origins; nan where the value was not
                measured, or is not known yet.

        Returns:
            Lower and upper quantile, (num_origins, horizon, num_features). Row k uses, at horizon step h, the
            scores of the origins up to k - h only: the error of the others was not known yet.
        """
        import pandas as pd

        num_origins, horizon, num_features = scores.shape
        low = np.empty_like(scores)
        high = np.empty_like(scores)
        held = len(self.scores)
        for step in range(horizon):
            for feature in range(num_features):
                line = np.concatenate([self.scores[:, step, feature], scores[:, step, feature]])
                is_score = np.isfinite(line)
                rolling = pd.Series(line[is_score]).rolling(NEWEST_SCORES, min_periods=1)
                first = held - step - 1  # the newest score known at origin 0
                newest = np.cumsum(is_score)[first : first + num_origins] - 1  # among the scores that exist
                low[:, step, feature] = rolling.quantile(_TAIL).to_numpy()[newest]
                high[:, step, feature] = rolling.quantile(1.0 - _TAIL).to_numpy()[newest]
        return np.minimum(low, 0.0), np.maximum(high, 0.0)


def _stretched(
    low: NDArray[np.float64], high: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends (num_origins, horizon, num_features) after what was known of hits and misses."""
    num_origins, horizon, num_features = scores.shape
    steps = np.arange(horizon)
    lows, highs = low.copy(), high.copy()
    log_low, log_high = np.zeros((2, horizon, num_features))
    for origin in range(1, num_origins):
        # At step h (index h - 1) the newest known outcome is that of the forecast made h origins ago.
        judged = steps[steps < origin]
        made = origin - 1 - judged
        outcome = scores[made, judged]  # (judged steps, num_features)
        known = np.isfinite(outcome)
        below, above = outcome < lows[made, judged], outcome > highs[made, judged]
        log_low[judged] += RATE * known * (below - _TAIL)
        log_high[judged] += RATE * known * (above - _TAIL)
        moved = _passed_on(log_low, log_high) - _passed_on(log_high, log_low)
        log_low += moved
        log_high -= moved
        np.clip(log_low, -_MOST, _MOST, out=log_low)
        np.clip(log_high, -_MOST, _MOST, out=log_high)
        lows[origin] *= np.exp(log_low)
        highs[origin] *= np.exp(log_high)
    return lows, highs


def _passed_on(log_own: NDArray[np.float64], log_other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the other end is drawn in for one that went below its limit, as far as it may be."""
    result: NDArray[np.float64] = np.minimum(-(log_own + _DRAWN_IN), log_other + _DRAWN_IN).clip(min=0.0)
    return result


def movement(values: NDArray[np.float64], floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much a series moved lately: root mean square of its newest one-step changes.

    Args:
        values: (num_samples, num_features) without gaps.
        floor: (num_features,) smallest result.

    Returns:
        (num_samples, num_features) in the unit of the feature; row i looks at rows up to i only, over
        ``SCALE_WINDOW`` changes or as many as there are.
    """
    changes = np.diff(values, axis=0, prepend=values[:1])
    squares = np.zeros_like(changes)
    # No running sum: after one huge change it would have no digits left for the small ones that follow.
    for age in range(min(SCALE_WINDOW, len(changes))):
        squares[age:] += changes[: len(changes) - age] ** 2
    counts = np.clip(np.arange(len(values)), 1, SCALE_WINDOW)[:, None]
    result: NDArray[np.float64] = np.maximum(np.sqrt(squares / counts), floor)
    return result

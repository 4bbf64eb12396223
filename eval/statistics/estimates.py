"""What one method comes to: mean and interquartile mean, with the variation that stands behind them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.errors import InputError
from podgym.eval.statistics.resampling import (
    Bootstrap,
    Floats,
    Interval,
    checked_values,
    draw_counts,
    interval_of,
    mean_replicates,
    widths,
)

TRIMMED = 0.25
"""Share of the results that the interquartile mean leaves out at each end."""

_CHUNK_CELLS = 2**18  # counts at a time: they stay in the cache
_MOST_RESAMPLES = 4000  # of a statistic that is slow; 100 of them are beyond either end of 95 %
_IQM_STREAM = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of a measure, and both sources of its variation apart."""

    mean: Interval
    """Mean over training seeds and episodes; its interval knows both sources."""
    between_seeds: float
    """Sample standard deviation of the means of the training seeds; nan for one seed."""
    between_episodes: float
    """Sample standard deviation over the episodes of the mean over training seeds; nan for one episode."""


def mean_estimate(values: ArrayLike, bootstrap: Bootstrap) -> Estimate:
    """Return the mean of results (training seeds, episodes).

    Raises:
        InputError: see ``checked_values``.
    """
    array = checked_values(values)
    replicates = mean_replicates(array, bootstrap)
    return Estimate(
        interval_of(array.mean(), replicates, bootstrap.level),
        _spread(array.mean(axis=1)),
        _spread(array.mean(axis=0)),
    )


def iqm(values: ArrayLike) -> float:
    """Return the interquartile mean: the mean without the lowest and the highest quarter, all pooled.

    A quarter is rounded down to whole results, as by ``scipy.stats.trim_mean(values, 0.25, axis=None)``.
    """
    flat = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    return float(_trimmed_means(flat, np.ones((1, len(flat)), dtype=np.int64))[0])


def iqm_interval(strata: Sequence[ArrayLike], bootstrap: Bootstrap) -> Interval:
    """Return the interquartile mean of one method over all strata, with a stratified bootstrap interval.

    Each stratum, such as an environment, is drawn from on its own: training seeds, then episodes, as in
    ``resampling``, whose additive deviations hold to first order for this statistic too. Bring the strata to
    one scale first.

    Args:
        strata: arrays (training seeds, episodes).
        bootstrap: how to draw; at most 4,000 resamples are.

    Raises:
        InputError: no stratum, or see ``checked_values``.
    """
    arrays = [checked_values(stratum) for stratum in strata]
    if not arrays:
        raise InputError("there is no stratum to take a mean of.")
    estimate = iqm(np.concatenate([array.ravel() for array in arrays]))
    rng = np.random.default_rng([bootstrap.seed, _IQM_STREAM, bootstrap.stratum])
    num_resamples = min(bootstrap.num_resamples, _MOST_RESAMPLES)
    replicates = np.full(num_resamples, estimate)
    for axis in (0, 1):
        sizes = [array.shape[axis] for array in arrays]
        if max(sizes) == 1 and axis == 0:
            continue  # nothing was trained
        drawn = _resampled_iqm(arrays, axis, rng, num_resamples) - estimate
        degrees = sum(sizes) - len(sizes)
        factors = widths(rng, len(drawn), sum(sizes), degrees) if degrees else np.full(len(drawn), math.nan)
        replicates += drawn * factors
    return interval_of(estimate, replicates, bootstrap.level)


def _resampled_iqm(arrays: Sequence[Floats], axis: int, rng: np.random.Generator, size: int) -> Floats:
    """Return (size,) interquartile means with the training seeds (axis 0) or episodes (1) drawn again."""
    pooled = np.concatenate([array.ravel() for array in arrays])
    order = np.argsort(pooled, kind="stable")
    chunk = max(_CHUNK_CELLS // len(pooled), 1)
    parts = []
    for first in range(0, size, chunk):
        rows = min(chunk, size - first)
        counts = np.concatenate([_cell_counts(array, axis, rng, rows) for array in arrays], axis=1)
        parts.append(_trimmed_means(pooled[order], counts[:, order]))
    return np.concatenate(parts)


def _cell_counts(array: Floats, axis: int, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Return how often each result of a stratum is drawn, (size, k * n), all rows or columns at once."""
    counts = draw_counts(rng, size, array.shape[axis]).astype(np.int64)
    return np.repeat(counts, array.shape[1], axis=1) if axis == 0 else np.tile(counts, (1, len(array)))


def _trimmed_means(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return the trimmed mean of ascending values (N,) for each row of counts (rows, N)."""
    upto = counts.cumsum(axis=1)
    total = upto[:, -1:]
    cut = np.floor(TRIMMED * total).astype(np.int64)
    kept = np.diff(np.clip(upto, cut, total - cut), axis=1, prepend=cut)
    means: Floats = (kept @ values) / (total - 2 * cut)[:, 0]
    return means


def _spread(means: Floats) -> float:
    return float(means.std(ddof=1)) if len(means) > 1 else math.nan

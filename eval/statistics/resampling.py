"""How results vary: by training seed and by episode, each resampled on its own and never pooled.

What a method that is trained comes to varies with the seed of its training and with the episodes it is run
on. All its policies run the same episodes, so the two are crossed: results are an array (training seeds,
episodes). A replicate of the mean adds a deviation from each source, first the seeds, then the episodes:

    mean + (mean of seeds drawn again - mean) + (mean of episodes drawn again - mean)

A controller that is not trained has one seed, and no deviation from it; of a single policy the variation
between training seeds is unknown and not in the interval.

Five seeds are few, and a plain percentile bootstrap of five covers 85 % instead of 95 %: the spread of five
is too small by a factor of sqrt(4/5), and itself uncertain. So every deviation is widened by
sqrt(n / (n - 1)) and divided by sqrt(chi-squared / (n - 1)), which gives it the tails of Student's t, and the
sum of the two sources those of Behrens and Fisher. Of 500 episodes this changes next to nothing.

Two methods on the same episodes are given the same draws of episodes, so the difference of their replicates
is paired; draws of their training seeds are independent.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.errors import InputError, require_whole

Floats = NDArray[np.float64]

_CHUNK_DRAWS = 1000
_EPISODES, _SEEDS, _FLIPS = 0, 1, 2  # kinds of draws, each with a random stream of its own
_MOST_EXACT = 12  # episodes whose 2^n sign flips are all tried
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How replicates are drawn."""

    num_resamples: int = 20_000
    """Replicates; the smallest p-value that they can give is 2 / (num_resamples + 1)."""
    level: float = 0.95
    """Confidence level of intervals, in (0, 1)."""
    seed: int = 0
    """Seed of the draws."""
    stratum: int = 0
    """Number of the environment: strata have different episodes, so their draws are independent."""

    def __post_init__(self) -> None:
        require_whole("num_resamples", self.num_resamples, 1, 10**7)
        require_whole("seed", self.seed, 0, 2**63)
        require_whole("stratum", self.stratum, 0, 2**31)
        if not 0.0 < self.level < 1.0:
            raise InputError(f"the level of an interval is {self.level}; it must be above 0 and below 1.")


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where the truth lies with the level of confidence."""

    estimate: float
    """Value of the results as they are."""
    lower: float
    """Lower end; nan: it cannot be told, as of a single episode."""
    upper: float
    """Upper end, likewise."""

    def within(self, least: float, most: float) -> "Interval":
        """Return it without what lies beyond the least and the most that there can be; unknown ends stay.

        Deviations with the tails of Student's t reach beyond them, as of a share in a few episodes.
        """
        lower, upper = np.clip((self.lower, self.upper), least, most).tolist()
        return Interval(self.estimate, lower, upper)


class _Draws(NamedTuple):
    """Draws with replacement of one source of variation."""

    counts: NDArray[np.uint16]
    """(B, n) how often each was drawn."""
    widths: Floats
    """(B,) what deviations are multiplied by, see the module."""


def checked_values(values: ArrayLike) -> Floats:
    """Return results as an array (training seeds, episodes); a list is of one training seed.

    Raises:
        InputError: nothing, another shape, or a number that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[None, :] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"results have the shape {array.shape}; (training seeds, episodes) is needed.")
    if not np.isfinite(array).all():
        raise InputError("a result is not a finite number; leave out what failed and say so.")
    return array


def mean_replicates(
    values: ArrayLike, bootstrap: Bootstrap, *, side: int = 0, shared_seeds: bool = False
) -> Floats:
    """Return replicates of means over training seeds and episodes.

    Args:
        values: (..., k, n) results of k training seeds on n episodes, of any number of measures; the draws
            are the same for all measures.
        bootstrap: how to draw. Equal ``seed``, ``stratum`` and n give equal draws of episodes.
        side: number of the method among those that are compared; the training seeds of different sides are
            drawn independently.
        shared_seeds: whether the policies are the same ones in all strata, so that their seeds are drawn
            alike there; else every stratum has policies of its own.

    Returns:
        (B, ...) replicates; nan where n is 1, of which nothing can be told.
    """
    array = np.asarray(values, dtype=np.float64)
    *measures, num_seeds, num_episodes = array.shape
    flat = array.reshape(-1, num_seeds, num_episodes)
    episodes = _deviations(flat.mean(axis=1), _episode_draws(num_episodes, bootstrap))
    replicates = flat.mean(axis=(1, 2)) + episodes  # (B, m)
    if num_seeds > 1:
        draws = _seed_draws(num_seeds, bootstrap, side, 0 if shared_seeds else bootstrap.stratum + 1)
        replicates += _deviations(flat.mean(axis=2), draws)
    result: Floats = replicates.reshape(-1, *measures)
    return result


def interval_of(estimate: float, replicates: Floats, level: float) -> Interval:
    """Return the percentile interval of replicates (B,).

    A replicate that is nan (not defined, unknown) counts against both ends: as below the lower and above the
    upper. An end that rests on such replicates is nan.
    """
    known = ~np.isnan(replicates)
    tail = 0.5 * (1.0 - level)
    lower = np.quantile(np.where(known, replicates, -np.inf), tail, method="lower")
    upper = np.quantile(np.where(known, replicates, np.inf), 1.0 - tail, method="higher")
    return Interval(float(estimate), *(float(end) if np.isfinite(end) else np.nan for end in (lower, upper)))


def two_sided_p_value(replicates: Floats) -> float:
    """Return the p-value of the hypothesis that the truth is 0, by inverting the percentile interval.

    Twice the share of replicates (B,) on the other side of 0, each end counted with one more; nan counts on
    both sides.
    """
    unknown = int(np.isnan(replicates).sum())
    below = int((replicates <= 0.0).sum()) + unknown
    above = int((replicates >= 0.0).sum()) + unknown
    return min(1.0, 2.0 * (1 + min(below, above)) / (len(replicates) + 1))


def sign_flip_p_value(differences: ArrayLike, bootstrap: Bootstrap) -> float:
    """Return the p-value of the permutation test of paired differences.

    Were two methods alike on every episode, the sign of each difference would be a coin's: so many ways of
    flipping signs give a mean at least as far from 0. All 2^n are tried up to 12 episodes, else as many as
    the bootstrap has resamples. The test is about these policies: training seeds are not in it.

    Args:
        differences: (n,) paired differences, mean over training seeds.
        bootstrap: number of flips, and seed.
    """
    array = checked_values(differences)[0]
    count = len(array)
    mean = abs(array.mean()) * (1.0 - _ROUNDING)
    if count <= _MOST_EXACT:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1.0 - 2.0 * bits) @ array) / count >= mean).mean())
    flips = _cached_flips(count, bootstrap.num_resamples, bootstrap.seed)
    parts = [
        flips[first : first + _CHUNK_DRAWS].astype(np.float64) @ array
        for first in range(0, len(flips), _CHUNK_DRAWS)
    ]
    reached = int((np.abs(np.concatenate(parts)) / count >= mean).sum())
    return (1 + reached) / (bootstrap.num_resamples + 1)


def episode_deviations(rows: Floats, bootstrap: Bootstrap) -> Floats:
    """Return (B, m) deviations of means of rows (m, n) when episodes are drawn again."""
    return _deviations(rows, _episode_draws(rows.shape[1], bootstrap))


def seed_deviations(rows: Floats, bootstrap: Bootstrap, side: int) -> Floats:
    """Return (B, m) deviations of means of rows (m, k) when training seeds are drawn again; 0 of one seed."""
    if rows.shape[1] == 1:
        return np.zeros((bootstrap.num_resamples, len(rows)))
    return _deviations(rows, _seed_draws(rows.shape[1], bootstrap, side, bootstrap.stratum + 1))


def draw_counts(rng: np.random.Generator, size: int, count: int) -> NDArray[np.uint16]:
    """Draw ``count`` of ``count`` with replacement, ``size`` times; return how often each, (size, count)."""
    drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.uint16)


def widths(rng: np.random.Generator, size: int, count: int, degrees: int) -> Floats:
    """Return (size,) factors that give deviations of ``count`` values the tails of Student's t.

    Args:
        rng: draws the chi-squared.
        size: number of factors.
        count: values that were drawn.
        degrees: degrees of freedom of their spread: ``count`` less one per stratum.
    """
    result: Floats = np.sqrt(count / rng.chisquare(degrees, size))
    return result


@lru_cache(maxsize=2)
def _cached_episode_draws(count: int, num_resamples: int, seed: int, stratum: int) -> _Draws:
    return _draws(np.random.default_rng([seed, _EPISODES, stratum]), num_resamples, count)


@lru_cache(maxsize=2)
def _cached_flips(count: int, num_resamples: int, seed: int) -> NDArray[np.int8]:
    """Return (num_resamples, count) signs, 1 or -1."""
    signs = np.random.default_rng([seed, _FLIPS]).integers(2, size=(num_resamples, count), dtype=np.int8)
    return 2 * signs - 1


def _episode_draws(count: int, bootstrap: Bootstrap) -> _Draws:
    return _cached_episode_draws(count, bootstrap.num_resamples, bootstrap.seed, bootstrap.stratum)


def _seed_draws(count: int, bootstrap: Bootstrap, side: int, stratum: int) -> _Draws:
    rng = np.random.default_rng([bootstrap.seed, _SEEDS, stratum, side])
    return _draws(rng, bootstrap.num_resamples, count)


def _draws(rng: np.random.Generator, size: int, count: int) -> _Draws:
    if count == 1:
        return _Draws(np.ones((size, 1), dtype=np.uint16), np.full(size, np.nan))
    parts = [
        draw_counts(rng, min(_CHUNK_DRAWS, size - first), count) for first in range(0, size, _CHUNK_DRAWS)
    ]
    return _Draws(np.concatenate(parts), widths(rng, size, count, count - 1))


def _deviations(rows: Floats, draws: _Draws) -> Floats:
    """Return (B, m) widened deviations of the means of rows (m, n)."""
    centred = (rows - rows.mean(axis=1, keepdims=True)).T  # (n, m)
    parts = [
        draws.counts[first : first + _CHUNK_DRAWS].astype(np.float64) @ centred
        for first in range(0, len(draws.counts), _CHUNK_DRAWS)
    ]
    result: Floats = np.concatenate(parts) / rows.shape[1] * draws.widths[:, None]
    return result

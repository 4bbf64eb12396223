"""Two methods on the same episodes: how much they differ, and whether that can be chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from podgym.errors import InputError
from podgym.eval.statistics.resampling import (
    Bootstrap,
    Floats,
    Interval,
    checked_values,
    episode_deviations,
    interval_of,
    mean_replicates,
    seed_deviations,
    sign_flip_p_value,
    two_sided_p_value,
)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Own mean minus the other's, on the same episodes."""

    difference: Interval
    """In the unit of the measure."""
    relative: Interval
    """As a share of the other's mean; nan where that is not above 0."""
    p_value: float
    """Paired bootstrap test of no difference, two-sided: episodes drawn for both at once, training seeds of
    each. The interval of ``difference`` excludes 0 where it is at most 1 - level."""
    p_value_sign_flip: float
    """Sign-flip permutation test over episodes, two-sided, of the policies as they are: training seeds are
    not in it."""
    num_episodes: int
    """Episodes that both ran."""


def checked_pair(own: ArrayLike, other: ArrayLike) -> tuple[Floats, Floats]:
    """Return two arrays (training seeds, episodes) of the same episodes.

    Raises:
        InputError: different numbers of episodes, or see ``checked_values``.
    """
    first, second = checked_values(own), checked_values(other)
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"{first.shape[1]} and {second.shape[1]} episodes cannot be paired; give both the same ones."
        )
    return first, second


def paired_difference(own: ArrayLike, other: ArrayLike, bootstrap: Bootstrap) -> PairedDifference:
    """Compare two methods by the mean of a measure.

    Args:
        own: (training seeds, episodes), or (episodes,) of what is not trained.
        other: likewise, of the same episodes in the same order; the number of seeds may differ.
        bootstrap: how to draw.

    Raises:
        InputError: see ``checked_pair``.
    """
    first, second = checked_pair(own, other)
    means = mean_replicates(first, bootstrap, side=1), mean_replicates(second, bootstrap, side=2)
    differences = means[0] - means[1]
    difference = first.mean() - second.mean()
    base = second.mean()
    relative = differences / np.where(means[1] > 0.0, means[1], np.nan)
    return PairedDifference(
        interval_of(difference, differences, bootstrap.level),
        interval_of(difference / base if base > 0.0 else np.nan, relative, bootstrap.level),
        two_sided_p_value(differences),
        sign_flip_p_value(first.mean(axis=0) - second.mean(axis=0), bootstrap),
        first.shape[1],
    )


def probability_of_improvement(own: ArrayLike, other: ArrayLike, bootstrap: Bootstrap) -> Interval:
    """Return the probability that a training seed of a method has the lower result on an episode.

    Paired: both face the same episode, and a tie counts half. Every training seed of the one meets every one
    of the other.

    Args:
        own: (training seeds, episodes), lower is better.
        other: likewise, of the same episodes.
        bootstrap: how to draw.

    Raises:
        InputError: see ``checked_pair``.
    """
    first, second = checked_pair(own, other)
    wins = 0.5 * (1.0 + np.sign(second[None, :, :] - first[:, None, :]))  # (own seeds, other seeds, episodes)
    estimate = float(wins.mean())
    replicates = estimate + episode_deviations(wins.mean(axis=(0, 1))[None, :], bootstrap)[:, 0]
    replicates += seed_deviations(wins.mean(axis=(1, 2))[None, :], bootstrap, side=1)[:, 0]
    replicates += seed_deviations(wins.mean(axis=(0, 2))[None, :], bootstrap, side=2)[:, 0]
    interval = interval_of(estimate, np.clip(replicates, 0.0, 1.0), bootstrap.level)
    return _with_exact_end(interval, wins.shape[2], bootstrap.level)


def _with_exact_end(interval: Interval, num_episodes: int, level: float) -> Interval:
    """Widen the interval of a share of 0 or 1, which no resample departs from, to the exact binomial one."""
    least = (0.5 * (1.0 - level)) ** (1.0 / num_episodes)
    if interval.estimate == 1.0:
        return Interval(1.0, least, 1.0)
    if interval.estimate == 0.0:
        return Interval(0.0, 0.0, 1.0 - least)
    return interval

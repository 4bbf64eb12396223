"""Performance profiles: in how many runs a method is within a factor of something."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from podgym.errors import InputError
from podgym.eval.statistics.resampling import Bootstrap, Floats, checked_values, mean_replicates


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Share of runs at or below each threshold; all arrays (t,)."""

    thresholds: Floats
    """Ascending."""
    share: Floats
    """Share of training seeds and episodes whose score is at most the threshold, each environment alike."""
    lower: Floats
    """Lower end of the pointwise interval."""
    upper: Floats
    """Upper end."""


def performance_profile(
    strata: list[ArrayLike], thresholds: ArrayLike, bootstrap: Bootstrap, *, shared_seeds: bool = False
) -> Profile:
    """Return the performance profile of one method over environments.

    Args:
        strata: per environment, scores (training seeds, episodes), lower is better, on one scale: such as
            cost / mean cost of a reference.
        thresholds: (t,) ascending.
        bootstrap: how to draw; the environments are drawn from independently.
        shared_seeds: whether the policies are the same ones everywhere.

    Raises:
        InputError: no environment, thresholds that do not ascend, or see ``checked_values``.
    """
    arrays = [checked_values(stratum) for stratum in strata]
    at = np.asarray(thresholds, dtype=np.float64)
    if not arrays:
        raise InputError("there are no scores to make a profile of.")
    if at.ndim != 1 or len(at) == 0 or not (np.diff(at) > 0.0).all():
        raise InputError("thresholds must be a list of ascending numbers.")
    reached = [(array[None, :, :] <= at[:, None, None]).astype(np.float64) for array in arrays]  # (t, k, n)
    share: Floats = np.mean([each.mean(axis=(1, 2)) for each in reached], axis=0)
    total = np.zeros((bootstrap.num_resamples, len(at)))
    for number, each in enumerate(reached):
        own = Bootstrap(bootstrap.num_resamples, bootstrap.level, bootstrap.seed, bootstrap.stratum + number)
        total += mean_replicates(each, own, shared_seeds=shared_seeds)
    tail = 0.5 * (1.0 - bootstrap.level)
    lower, upper = np.quantile(np.clip(total / len(reached), 0.0, 1.0), [tail, 1.0 - tail], axis=0)
    return Profile(at, share, lower, upper)

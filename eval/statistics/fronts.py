"""Two methods at equal SLO violation: the cost of the one at the violation of the other.

A method that can be made stricter or laxer (another target, another weight of violations in training) has a
front: one point (violation, cost) per variant. Its cost at a given violation is read off the lower convex
envelope of the points, with free disposal: the least mean cost of any mixture of the variants whose mean
violation is no larger. That is what somebody who has the variants can really reach, by choosing one of two at
random for each episode; straight lines between neighbours would charge the method for variants that are no
good, and so depend on how many bad ones were tried. Beyond its least and its most strict variant nothing is
known of a method, and nothing is extrapolated: "not comparable" is a result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from podgym.errors import InputError
from podgym.eval.statistics.resampling import (
    Bootstrap,
    Floats,
    Interval,
    checked_values,
    interval_of,
    mean_replicates,
    two_sided_p_value,
)


@dataclass(frozen=True, slots=True)
class EqualViolation:
    """A method's cost minus the cost of a front at the method's own violation."""

    violation: float
    """Mean violation of the method, at which both are compared."""
    front_range: tuple[float, float]
    """Smallest and largest mean violation of the front's points."""
    difference: Interval
    """Own cost minus the front's; all nan: not comparable, the violation is outside the range. Ends that are
    nan: in too many replicates it is."""
    p_value: float
    """Paired bootstrap test of no difference, two-sided; replicates outside the range count for no
    difference. 1 where not comparable."""

    @property
    def comparable(self) -> bool:
        """Whether there is a difference with an interval."""
        return math.isfinite(self.difference.lower) and math.isfinite(self.difference.upper)


def cost_at_violation(violations: ArrayLike, costs: ArrayLike, at: ArrayLike) -> Floats:
    """Return the cost of fronts at a violation, by the lower convex envelope with free disposal.

    The cheapest mixture under one bound is one point, or two on either side of the bound: all are tried.

    Args:
        violations: (..., p) mean violation of each variant.
        costs: (..., p) its mean cost.
        at: (...) violation at which the cost is wanted.

    Returns:
        (...) cost; nan outside the range of the violations.
    """
    v, c = np.asarray(violations, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    bound = np.asarray(at, dtype=np.float64)[..., None]
    strict = v <= bound  # (..., p)
    best = np.where(strict, c, np.inf).min(axis=-1)
    share = (bound - v)[..., :, None] / _above_zero(v[..., None, :] - v[..., :, None])  # of the laxer one
    mixed = c[..., :, None] + share * (c[..., None, :] - c[..., :, None])  # (..., strict one, lax one)
    usable = strict[..., :, None] & ~strict[..., None, :]
    best = np.minimum(best, np.where(usable, mixed, np.inf).min(axis=(-2, -1)))
    inside = (bound[..., 0] >= v.min(axis=-1)) & (bound[..., 0] <= v.max(axis=-1))
    result: Floats = np.where(inside, best, np.nan)
    return result


def equal_violation_difference(
    own: tuple[ArrayLike, ArrayLike],
    front: Sequence[tuple[ArrayLike, ArrayLike]],
    bootstrap: Bootstrap,
) -> EqualViolation:
    """Compare a method with a front at the method's own mean violation.

    In every replicate the method's violation, and all points of the front, are those of the same episodes
    drawn again.

    Args:
        own: violations and costs of the method, each (training seeds, episodes).
        front: the same of every variant of the other, on the same episodes; two or more.
        bootstrap: how to draw.

    Raises:
        InputError: fewer than two points, or arrays that do not fit each other.
    """
    if len(front) < 2:
        raise InputError(f"a front of {len(front)} points cannot be interpolated; two or more are needed.")
    points = [_stacked(pair) for pair in (own, *front)]
    if len({point.shape[2] for point in points}) > 1:
        raise InputError("the points are of different numbers of episodes and cannot be paired.")
    means = np.stack([point.mean(axis=(1, 2)) for point in points], axis=-1)  # (2, 1 + p) violation, cost
    replicates = np.stack(
        [mean_replicates(point, bootstrap, side=side) for side, point in enumerate(points, start=1)], axis=-1
    )  # (B, 2, 1 + p)
    difference = float(_own_minus_front(means))
    differences = _own_minus_front(replicates)
    unknown = Interval(math.nan, math.nan, math.nan)
    comparable = math.isfinite(difference)
    return EqualViolation(
        float(means[0, 0]),
        (float(means[0, 1:].min()), float(means[0, 1:].max())),
        interval_of(difference, differences, bootstrap.level) if comparable else unknown,
        two_sided_p_value(differences) if comparable else 1.0,
    )


def _own_minus_front(points: Floats) -> Floats:
    """Return own cost minus the front's; points (..., 2, 1 + p), the method first."""
    violations, costs = points[..., 0, :], points[..., 1, :]
    front: Floats = costs[..., 0] - cost_at_violation(violations[..., 1:], costs[..., 1:], violations[..., 0])
    return front


def _stacked(pair: tuple[ArrayLike, ArrayLike]) -> Floats:
    violations, costs = (checked_values(values) for values in pair)
    if violations.shape != costs.shape:
        raise InputError(f"violations are {violations.shape} and costs {costs.shape}; both must be alike.")
    return np.stack([violations, costs])


def _above_zero(values: Floats) -> Floats:
    """Return values with what is not above 0 made 1: it is not used."""
    return np.where(values > 0.0, values, 1.0)

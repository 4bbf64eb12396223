"""How far a controller is from the best possible, in numbers that can be compared between episodes."""

import math

from podgym.errors import InputError

_ROUNDING = 1e-9


def regret(cost: float, bound: float) -> float:
    """Return what a controller paid beyond a lower bound.

    The true regret, beyond the best possible controller, is at most this.

    Args:
        cost: what it paid on an episode, minus the sum of the rewards.
        bound: lower bound on that episode, as ``lower_bound(...).cost``.

    Raises:
        InputError: a number that is not finite, or a cost below the bound, which no controller can have: the
            two belong to different episodes or rewards.
    """
    _check(cost=cost, bound=bound)
    if cost < bound - _ROUNDING * max(abs(bound), 1.0):
        raise InputError(
            f"the cost {cost:g} is below the lower bound {bound:g}; both must be of the same environment, "
            "reward and seed."
        )
    return max(cost - bound, 0.0)


def gap_closed(cost: float, reference_cost: float, bound: float) -> float:
    """Return the share of the gap between a reference controller and a lower bound that another one closes.

    Args:
        cost: what the controller paid.
        reference_cost: what the reference paid on the same episode.
        bound: lower bound on that episode.

    Returns:
        1: as good as the bound; 0: as the reference; below 0: worse. nan when the reference itself is at the
        bound, so that there is no gap.

    Raises:
        InputError: a number that is not finite, or a cost below the bound.
    """
    gap = regret(reference_cost, bound)
    rest = regret(cost, bound)
    return 1.0 - rest / gap if gap > 0.0 else math.nan


def _check(**numbers: object) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise InputError(f"{name} is {number!r}; it must be a finite number.")

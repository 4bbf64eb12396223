"""What a fit says of one constant: value, interval, and whether the recording could tell at all."""

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["fitted", "kept", "bounded"]
"""``fitted``: the recording tells it. ``kept``: it does not, and the value from before stands. ``bounded``:
it only tells where it must lie, and the value from before, which lay outside, was moved there."""

WIDEST = 0.25
"""A constant counts as identified when half its 95 % interval is at most this share of its value."""
LEVEL = 0.95
"""Confidence level of every interval."""


@dataclass(frozen=True, slots=True)
class FittedConstant:
    """One constant before and after."""

    name: str
    """Name of the field."""
    unit: str
    """Its unit."""
    was: float | str
    """Value of the configuration before the fit."""
    value: float | str
    """Value after it; equal to ``was`` where the recording could not tell."""
    lower: float
    """Lower end of the 95 % interval; nan: unknown."""
    upper: float
    """Upper end."""
    status: Status
    """Whether the recording could tell."""
    how: str
    """What it was fitted from, in a few words."""
    note: str = ""
    """Why it could not be fitted, or what else should be known."""

    @property
    def changed(self) -> bool:
        """Whether the value after differs from the one before."""
        return self.status != "kept"


def kept(
    name: str, unit: str, was: float | str, why: str, lower: float = math.nan, upper: float = math.nan
) -> FittedConstant:
    """Return a constant that the recording does not tell."""
    return FittedConstant(name, unit, was, was, lower, upper, "kept", "not identified", why)


def judged(
    name: str,
    unit: str,
    was: float,
    estimate: float,
    lower: float,
    upper: float,
    *,
    how: str,
    if_wide: str,
    note: str = "",
) -> FittedConstant:
    """Return a constant as fitted where its interval is narrow enough.

    Else it stays as it was, unless that lies outside the interval: then it is moved to the estimate.

    Args:
        name: of the field.
        unit: its unit.
        was: value before.
        estimate: what the fit says.
        lower: lower end of its interval.
        upper: upper end.
        how: what it was fitted from.
        if_wide: why the interval may be wide.
        note: what else should be known.
    """
    if not math.isfinite(estimate) or not math.isfinite(upper - lower):
        return kept(name, unit, was, if_wide)
    if estimate > 0.0 and 0.5 * (upper - lower) <= WIDEST * estimate:
        return FittedConstant(name, unit, was, rounded(estimate), lower, upper, "fitted", how, note)
    return within_bounds(name, unit, was, lower, upper, if_wide, estimate if estimate > 0.0 else None)


def within_bounds(
    name: str, unit: str, was: float, lower: float, upper: float, why: str, best: float | None = None
) -> FittedConstant:
    """Return a constant of which only bounds are known.

    The value before stays if it lies in them; else ``best`` takes its place, by default their middle.
    """
    if lower <= was <= upper:
        return kept(name, unit, was, why, lower, upper)
    value = rounded(0.5 * (lower + upper) if best is None else best)
    note = f"only bounds are known, and the value before lay outside; {why}"
    return FittedConstant(name, unit, was, value, lower, upper, "bounded", "bounds only", note)


def rounded(value: float) -> float:
    """Return a number with five significant digits: more are not known."""
    return float(f"{value:.5g}")

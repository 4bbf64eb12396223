"""Numbers as they are read: grouped thousands, a true minus, as many digits as a column needs."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from podgym.eval.report.blocks import Cell

MINUS, UNKNOWN = "\u2212", "\u2013"
"""Sign of numbers below zero, and what stands for a number that is not known."""
NO_INTERVAL = "[interval not known]"
"""What stands for the interval of a number that has none, as that of a single episode."""
_LARGEST = 1e12
_SIGNIFICANT = 3
_MOST_DECIMALS = 4


def number(value: float, decimals: int) -> str:
    """Return a number for people."""
    if not math.isfinite(value):
        return UNKNOWN
    if abs(value) >= _LARGEST:
        return f"{value:.3g}".replace("-", MINUS)
    text = f"{abs(value):,.{decimals}f}"
    negative = value < 0.0 and any(digit in text for digit in "123456789")
    return f"{MINUS}{text}" if negative else text


def signed(value: float, decimals: int) -> str:
    """Return a number with its sign, also above zero."""
    text = number(value, decimals)
    return f"+{text}" if value > 0.0 and text != UNKNOWN else text


def interval(lower: float, upper: float, decimals: int, *, signs: bool = False) -> str:
    """Return an interval as ``lower to upper``, in brackets; empty: neither end is known."""
    if not (math.isfinite(lower) or math.isfinite(upper)):
        return ""
    write = signed if signs else number
    return f"[{write(lower, decimals)} to {write(upper, decimals)}]"


def with_interval(
    row: Mapping[str, Any], name: str, factor: float, decimals: int, *, signs: bool = False
) -> Cell:
    """Return a cell of a number and its interval.

    Args:
        row: of ``summary.json``, with the columns NAME, NAME_lower and NAME_upper.
        name: the column.
        factor: from its unit to the one shown.
        decimals: digits after the point.
        signs: whether to write the sign of numbers above zero too.
    """
    value, lower, upper = (factor * float(row[f"{name}{end}"]) for end in ("", "_lower", "_upper"))
    text = (signed if signs else number)(value, decimals)
    ends = interval(lower, upper, decimals, signs=signs)
    return Cell(text, ends or (NO_INTERVAL if text != UNKNOWN else ""))


def decimals_for(values: Iterable[float]) -> int:
    """Return how many decimals give the smallest of some numbers three significant digits, at most four."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0.0]
    if not sizes:
        return 0
    digits = _SIGNIFICANT - 1 - math.floor(math.log10(min(sizes)))
    return min(max(digits, 0), _MOST_DECIMALS)


def p_value(value: float) -> str:
    """Return a p-value for people."""
    if not math.isfinite(value):
        return UNKNOWN
    return "<0.001" if value < 0.001 else f"{value:.3f}"

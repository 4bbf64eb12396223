"""Go's integer and float conversions, for results that agree to the last bit."""

from math import ceil, inf, isnan, nan

MAX_INT32 = 2**31 - 1
MIN_INT32 = -(2**31)
MAX_INT64 = 2**63 - 1


def quotient(numerator: int, denominator: int) -> int:
    """Divide integers, truncating towards zero; Python's ``//`` rounds down instead."""
    result = abs(numerator) // abs(denominator)
    return result if (numerator < 0) == (denominator < 0) else -result


def divide(numerator: float, denominator: float) -> float:
    """Divide as IEEE 754 does: by zero gives an infinity, or nan for 0/0."""
    if denominator == 0.0:
        return nan if numerator == 0.0 or isnan(numerator) else inf if numerator > 0.0 else -inf
    return numerator / denominator


def clamp_int32(number: int) -> int:
    """Saturate an integer at the bounds of int32."""
    return max(MIN_INT32, min(MAX_INT32, number))


def ceil_to_int32(number: float) -> int:
    """Round up and saturate at the bounds of int32; nan gives 0 (kubernetes#141397, golang#76264)."""
    if isnan(number):
        return 0
    if number >= MAX_INT32:
        return MAX_INT32
    if number <= MIN_INT32:
        return MIN_INT32
    return ceil(number)


def truncate_to_int32(number: float) -> int:
    """Cut off the fraction and saturate at the bounds of int32; nan gives 0."""
    if isnan(number):
        return 0
    if number >= MAX_INT32:
        return MAX_INT32
    if number <= MIN_INT32:
        return MIN_INT32
    return int(number)

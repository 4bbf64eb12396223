"""Amounts of a resource, as the recommender keeps them: integers, millicores of CPU or bytes of memory.

Upstream: ``recommender/model/types.go``. A float becomes an amount by truncation; what is negative becomes
0, what is above ``MAX_AMOUNT`` becomes that.
"""

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

from podgym.errors import InputError

Resource: TypeAlias = Literal["cpu", "memory"]
Amounts: TypeAlias = Mapping[Resource, int]
"""Millicores and bytes by resource; a resource that is absent has no amount."""

RESOURCES: tuple[Resource, ...] = ("cpu", "memory")
MAX_AMOUNT = 10**14
"""Largest amount: 1e14 bytes, or as many millicores."""

_UNITS = (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024))


def amount_from_float(number: float) -> int:
    """Truncate a number to an amount from 0 to ``MAX_AMOUNT``; nan gives 0."""
    if math.isnan(number):
        return 0
    return int(min(max(number, 0.0), float(MAX_AMOUNT)))


def cpu_amount_from_cores(cores: float) -> int:
    """Turn cores into millicores, truncated."""
    return amount_from_float(cores * 1000.0)


def cores_from_cpu_amount(amount_milli: int) -> float:
    """Turn millicores into cores."""
    return amount_milli / 1000.0


def memory_amount_from_bytes(number_bytes: float) -> int:
    """Turn bytes into whole bytes, truncated."""
    return amount_from_float(number_bytes)


def bytes_from_memory_amount(amount_bytes: int) -> float:
    """Turn an amount of memory into a float, bytes."""
    return float(amount_bytes)


def scale_amount(amount: int, factor: float) -> int:
    """Multiply an amount, truncated."""
    return amount_from_float(float(amount) * factor)


def round_up_to_scale(amount: int, scale: int) -> int:
    """Round up to a multiple of ``scale``.

    Raises:
        InputError: the scale is not positive.
    """
    if scale <= 0:
        raise InputError(f"the scale to round amounts to is {scale!r}; it must be 1 or more.")
    return math.ceil(float(amount) / float(scale)) * scale


def rounded_amount(amount: int, scale: int) -> int:
    """Round up to a multiple as recommendations are: a scale that is not positive changes nothing."""
    return amount if scale <= 0 else round_up_to_scale(amount, scale)


def humanize_memory(amount_bytes: int) -> str:
    """Print bytes in the largest binary unit that gives 1 or more, with two decimal places."""
    for unit, size_bytes in _UNITS:
        if amount_bytes >= size_bytes:
            return f"{amount_bytes / size_bytes:.2f}{unit}"
    return str(amount_bytes)

"""Checks of parameter values: each refusal names the field, what was got and what is allowed."""

import math
from collections.abc import Mapping, Set
from typing import get_args

from podgym.errors import InputError, unknown_name


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require(parameters: object, name: str, *, low: float, high: float = math.inf) -> None:
    """Refuse a field that is not a finite number from ``low`` to ``high``."""
    value = getattr(parameters, name)
    if not is_number(value) or not low <= value <= high:
        limit = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise InputError(f"{type(parameters).__name__}.{name} is {value!r}; it must be a number {limit}.")


def require_whole(parameters: object, name: str, *, low: int, high: int = 10**12) -> None:
    """Refuse a field that is not a whole number of ``low`` or more."""
    value = getattr(parameters, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"{type(parameters).__name__}.{name} is {value!r}; it must be a whole number of {low} or more."
        )


def require_name(name: object) -> None:
    """Refuse what cannot name a service."""
    if not isinstance(name, str) or not name or "." in name:
        raise InputError(f"the name of a service is {name!r}; it must be text without dots.")


def require_flag(parameters: object, name: str) -> None:
    """Refuse a field that is neither true nor false."""
    if not isinstance(getattr(parameters, name), bool):
        raise InputError(
            f"{type(parameters).__name__}.{name} is {getattr(parameters, name)!r}; true or false?"
        )


def require_choice(parameters: object, name: str, choices: object) -> None:
    """Refuse a field that is not among the values of a ``Literal``."""
    value = getattr(parameters, name)
    if value not in get_args(choices):
        raise unknown_name(f"value of {type(parameters).__name__}.{name}", value, get_args(choices))


def callers_first(callers: Mapping[str, Set[str]]) -> list[str]:
    """Return names with every caller before its callees, otherwise in their own order.

    Args:
        callers: by name, who calls it.

    Raises:
        InputError: the calls have a cycle.
    """
    order: list[str] = []
    while len(order) < len(callers):
        free = [name for name in callers if name not in order and callers[name] <= set(order)]
        if not free:
            left = sorted(set(callers) - set(order))
            raise InputError(f"the call graph has a cycle among {', '.join(left)}.")
        order += free
    return order

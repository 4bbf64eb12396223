"""Checks of the numbers that the library is configured with."""

from math import inf, isfinite

from podgym.errors import InputError


def require_positive(owner: object, *names: str) -> None:
    """Refuse fields that are not finite numbers above 0.

    Raises:
        InputError: naming the field and its value.
    """
    for name in names:
        value = getattr(owner, name)
        if not (_is_number(value) and value > 0):
            raise InputError(f"{name} is {value!r}; a finite number above 0 is needed.")


def require_within(owner: object, *names: str, low: float = 0.0, high: float = inf) -> None:
    """Refuse fields that are not finite numbers from ``low`` to ``high``.

    Raises:
        InputError: naming the field and its value.
    """
    upwards = f"of {low:g} or more" if high == inf else f"from {low:g} to {high:g}"
    for name in names:
        value = getattr(owner, name)
        if not (_is_number(value) and low <= value <= high):
            raise InputError(f"{name} is {value!r}; a finite number {upwards} is needed.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)

"""The one exception for bad input, and the sentence that such an error is made of.

Every message says what was got, what is allowed and, for a name, the closest match. Commands print it
on one line and exit with status 2; a library user catches ``InputError``, which is a ``ValueError``.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A value given by the user that cannot be used: a name, a number, a file, an action."""


def unknown_name(kind: str, got: object, allowed: Iterable[str]) -> InputError:
    """Build the error for a name that is not among ``allowed``, with the closest match if one is near.

    Args:
        kind: what the name names, as in "controller" or "key of workload".
        got: the name as given.
        allowed: every name that would have been accepted.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {got!r}; allowed: {', '.join(names)}.{hint}")


def require_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not a whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {low} to {high}.")

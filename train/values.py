"""Values of settings: what each may be, and schedules over a run.

A check takes the name of a setting and what was given, and returns the value as it is kept or raises
``InputError``. YAML 1.1 reads ``1e-3`` as text, for want of a dot, so numbers are taken from text as well.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from reprlib import repr as shortened
from typing import Any, TypeVar

from podgym.errors import InputError, unknown_name

Check = Callable[[str, Any], Any]
"""Name and value as given -> value as kept."""

_LINEAR = "lin_"
_Group = TypeVar("_Group")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A number that is constant over a run or changes linearly."""

    initial: float
    """Value at the beginning."""
    final: float
    """Value at the end."""

    def __call__(self, remaining: float) -> float:
        """Return the value when a share ``remaining`` of the run is left: 1 at its beginning, 0 at its end.

        This is the form in which stable-baselines3 takes a schedule.
        """
        if self.initial == self.final:
            return self.initial
        return remaining * self.initial + (1.0 - remaining) * self.final

    def as_plain(self) -> float | dict[str, float]:
        """Return it as it stands in a file: a number, or ``{from, to}``."""
        return self.initial if self.initial == self.final else {"from": self.initial, "to": self.final}


def as_number(value: object) -> float | None:
    """Return a finite number, also one in text such as ``1e-3``; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def whole(low: int, high: int) -> Check:
    """Take whole numbers in a range, also as ``2e6``."""

    def check(name: str, value: Any) -> int:  # noqa: ANN401  (whatever a file holds)
        result = as_number(value)
        if result is None or result != int(result) or not low <= result <= high:
            raise _refused(name, value, f"a whole number from {low} to {high}")
        return int(value) if isinstance(value, int) else int(result)

    return check


def number(low: float, high: float = math.inf, *, above: bool = False) -> Check:
    """Take numbers from ``low``, or only those above it, to ``high``."""
    most = "" if high == math.inf else f" to {high:g}"
    allowed = f"a number above {low:g}{most and f', at most {high:g}'}" if above else (
        f"a number from {low:g}{most}" if most else f"a number, {low:g} or more"
    )  # fmt: skip

    def check(name: str, value: Any) -> float:  # noqa: ANN401
        result = as_number(value)
        if result is None or result > high or result < low or (above and result == low):
            raise _refused(name, value, allowed)
        return result

    return check


def any_number(name: str, value: Any) -> float:  # noqa: ANN401
    """Take any finite number."""
    result = as_number(value)
    if result is None:
        raise _refused(name, value, "a finite number")
    return result


def schedule(high: float, *, above_zero: bool = False) -> Check:
    """Take a number, ``lin_`` and a number, or ``{from, to}``, each from 0 to ``high``.

    Args:
        high: largest value.
        above_zero: refuse a schedule that begins with 0.
    """
    ends = number(0.0, high)
    starts = number(0.0, high, above=above_zero)

    def check(name: str, value: Any) -> Schedule:  # noqa: ANN401
        if isinstance(value, Schedule):
            value = {"from": value.initial, "to": value.final}
        if isinstance(value, Mapping):
            if set(value) != {"from", "to"}:
                raise _refused(name, dict(value), "a number, or a mapping of from and to")
            return Schedule(starts(f"{name}.from", value["from"]), ends(f"{name}.to", value["to"]))
        if isinstance(value, str) and value.startswith(_LINEAR):
            return Schedule(starts(name, value.removeprefix(_LINEAR)), 0.0)
        if as_number(value) is None:
            raise _refused(
                name, value, f"a number, {_LINEAR}NUMBER for a linear decay to 0, or a mapping of from and to"
            )
        constant = starts(name, value)
        return Schedule(constant, constant)

    return check


def switch(name: str, value: Any) -> bool:  # noqa: ANN401
    """Take true or false."""
    if not isinstance(value, bool):
        raise _refused(name, value, "true or false")
    return value


def word(*allowed: str) -> Check:
    """Take one of some words."""

    def check(name: str, value: Any) -> str:  # noqa: ANN401
        if value is None and "none" in allowed:  # the command line reads both words as null
            return "none"
        if not isinstance(value, str) or value not in allowed:
            raise unknown_name(f"value of {name}:", value, allowed)
        return value

    return check


def text(name: str, value: Any) -> str:  # noqa: ANN401
    """Take a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise _refused(name, value, "a name")
    return value


def sizes(name: str, value: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Take a list of layer sizes."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 8:
        raise _refused(name, value, "a list of 1 to 8 layer sizes")
    check = whole(1, 4096)
    return tuple(check(f"a size in {name}", size) for size in value)


def mapping(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Take a mapping, whatever is in it."""
    if not isinstance(value, Mapping):
        raise _refused(name, value, "a mapping")
    return {str(key): each for key, each in value.items()}


def options(name: str, value: Any) -> "str | dict[str, Any]":  # noqa: ANN401
    """Take ``tuned`` or a mapping of options."""
    if value == "tuned":
        return "tuned"
    if not isinstance(value, Mapping):
        raise _refused(name, value, "tuned or a mapping of options")
    return mapping(name, value)


def optional(check: Check) -> Check:
    """Take null as well."""
    return lambda name, value: None if value is None else check(name, value)


def group(kind: type[_Group]) -> Check:
    """Take a mapping of the fields of a dataclass of settings."""

    def check(name: str, value: Any) -> _Group:  # noqa: ANN401
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise _refused(name, value, "a mapping of settings")
        return build(kind, value, name)

    return check


def checked(check: Check) -> dict[str, Check]:
    """Return the metadata of a field that ``check`` guards."""
    return {"check": check}


def build(kind: type[_Group], values: Mapping[str, Any], path: str = "") -> _Group:
    """Make a dataclass of settings from plain values.

    Args:
        kind: the dataclass; the metadata of each field holds its check.
        values: values by name of the field; the others keep their defaults.
        path: where the group stands, for messages.

    Raises:
        InputError: an unknown name (with the closest match) or a value that its check refuses.
    """
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise unknown_name(f"setting of {path}" if path else "setting", str(name), known)
    prefix = f"{path}." if path else ""
    return kind(
        **{name: known[name].metadata["check"](f"{prefix}{name}", each) for name, each in values.items()}
    )


def check_fields(settings: object) -> None:
    """Pass every field through its check and keep what comes back; for ``__post_init__``."""
    for field in fields(settings):  # type: ignore[arg-type]
        value = field.metadata["check"](field.name, getattr(settings, field.name))
        object.__setattr__(settings, field.name, value)


def as_plain(value: Any) -> Any:  # noqa: ANN401
    """Return settings as plain data: mappings, lists, numbers, words."""
    if isinstance(value, Schedule):
        return value.as_plain()
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(each) for each in value]
    return value


def _refused(name: str, value: object, allowed: str) -> InputError:
    return InputError(f"{name} is {shortened(value)}; it must be {allowed}.")

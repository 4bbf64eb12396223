"""Ranges that turn out too narrow: where a value sits at an edge, and what the wider range is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from podgym.baselines.search_spaces import Parameter

EDGE_SHARE = 0.02
"""A value this near to an end of its range, as a share of the range in its scale, is at the edge."""

Side = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Edge:
    """A tuned value at an end of its range."""

    parameter: str
    """Name of the parameter."""
    value: float
    """The tuned value."""
    side: Side
    """Which end."""
    before: tuple[float, float]
    """The range that it is at the edge of."""
    after: tuple[float, float]
    """The wider range; equal to ``before`` where a hard bound allows no more."""

    @property
    def widens(self) -> bool:
        """Whether the range can be wider."""
        return self.after != self.before


def edges(space: Sequence[Parameter], options: Mapping[str, Any]) -> tuple[Edge, ...]:
    """Return the parameters whose value sits at the edge of its range, with the range twice as wide.

    A range doubles in the scale of its parameter and away from the other end: 0 to 10 becomes 0 to 20, on a
    logarithmic scale 1 to 10 becomes 1 to 100.

    Args:
        space: the ranges.
        options: values by name; one that is missing, no number or outside its range is at no edge.
    """
    found = []
    for parameter in space:
        value = options.get(parameter.name)
        if parameter.kind == "choice" or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        side = _side(parameter, value)
        if side is not None:
            before = (parameter.low, parameter.high)
            found.append(Edge(parameter.name, value, side, before, _doubled(parameter, side)))
    return tuple(found)


def widened(space: Sequence[Parameter], found: Sequence[Edge]) -> tuple[Parameter, ...]:
    """Return the space with the wider ranges."""
    after = {edge.parameter: edge.after for edge in found}
    return tuple(
        replace(each, low=after[each.name][0], high=after[each.name][1]) if each.name in after else each
        for each in space
    )


def space_document(space: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Return a space as plain data, each parameter with what applies to its kind."""
    return [_document(parameter) for parameter in space]


def _document(parameter: Parameter) -> dict[str, Any]:
    if parameter.kind == "choice":
        return {"name": parameter.name, "kind": "choice", "choices": list(parameter.choices)}
    return {key: value for key, value in asdict(parameter).items() if key != "choices"}


def contains(space: Sequence[Parameter], options: Mapping[str, Any]) -> bool:
    """Return whether options give every parameter a value that the space holds."""
    return all(each.name in options and _holds(each, options[each.name]) for each in space)


def _holds(parameter: Parameter, value: object) -> bool:
    if parameter.kind == "choice":
        return any(value == choice and type(value) is type(choice) for choice in parameter.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = parameter.kind != "int" or isinstance(value, int)
    return whole and parameter.low <= value <= parameter.high


def _side(parameter: Parameter, value: float) -> Side | None:
    if not parameter.low <= value <= parameter.high:
        return None
    low, at, high = (_scaled(parameter, each) for each in (parameter.low, value, parameter.high))
    near = EDGE_SHARE * (high - low)
    if at - low <= near:
        return "low"
    return "high" if high - at <= near else None


def _doubled(parameter: Parameter, side: Side) -> tuple[float, float]:
    low, high = _scaled(parameter, parameter.low), _scaled(parameter, parameter.high)
    if side == "low":
        end = _unscaled(parameter, low - (high - low))
        return max(end, _bound(parameter.hard_low, -math.inf)), parameter.high
    end = _unscaled(parameter, high + (high - low))
    return parameter.low, min(end, _bound(parameter.hard_high, math.inf))


def _scaled(parameter: Parameter, value: float) -> float:
    return math.log(value) if parameter.log else float(value)


def _unscaled(parameter: Parameter, scaled: float) -> float:
    value = math.exp(scaled) if parameter.log else scaled
    if parameter.kind != "int":
        return value
    return max(round(value), 1) if parameter.log else round(value)


def _bound(bound: float | None, otherwise: float) -> float:
    return otherwise if bound is None else bound

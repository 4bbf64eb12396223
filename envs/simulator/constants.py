"""Physical constants that carry their provenance.

A constant is a dataclass field made by ``constant(...)``: beside its default it knows its unit, where the
value comes from, and whether anybody measured it. ``provenance(...)`` lists them all; results are stamped
with that list, so a reader of a table can see which of its numbers rest on a guess.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any


def constant(default: Any, *, unit: str, source: str, measured: bool = False) -> Any:  # noqa: ANN401
    """Declare a dataclass field that is a constant of the model.

    Args:
        default: the value unless a scenario says otherwise.
        unit: its unit, or "1" for a pure number.
        source: paper, upstream file or reasoning that the default comes from.
        measured: whether the source measured it, as opposed to chose or assumed it.
    """
    return field(default=default, metadata={"unit": unit, "source": source, "measured": measured})


@dataclass(frozen=True, slots=True)
class Provenance:
    """One constant as it was used: part of the stamp on every result."""

    name: str
    value: Any
    unit: str
    source: str
    measured: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain data, for JSON."""
        return asdict(self)


def provenance(parameters: Any, prefix: str = "") -> Iterator[Provenance]:  # noqa: ANN401
    """Yield an entry for each constant of a (nested) dataclass, named by its dotted path.

    A value that differs from the field's default is somebody's choice for one scenario, so its source
    says so instead of repeating the origin of a default that is not in use.
    """
    for item in fields(parameters):
        value = getattr(parameters, item.name)
        name = f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from provenance(value, f"{name}.")
        elif isinstance(value, tuple) and value and all(is_dataclass(entry) for entry in value):
            for index, entry in enumerate(value):
                yield from provenance(entry, f"{name}.{getattr(entry, 'name', index)}.")
        elif "unit" in item.metadata:
            is_default = value == item.default
            source = item.metadata["source"] if is_default else "set by the scenario or the caller"
            yield Provenance(
                name, value, item.metadata["unit"], source, bool(item.metadata["measured"]) and is_default
            )

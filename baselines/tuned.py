"""The tuned parameters that ship with the package: per controller and environment, with what they cost.

``tuned.json`` is written by ``podgym.eval.tuning.ship`` from the results of ``podgym tune``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from podgym.errors import InputError

FORMAT = "podgym.tuned/1"
FILE = "tuned.json"


@dataclass(frozen=True, slots=True)
class TunedEntry:
    """The best options found for a controller on an environment."""

    controller: str
    """Name of the controller."""
    environment: str
    """Id of the environment."""
    options: Mapping[str, Any]
    """Options for ``make_controller``."""
    ledger: Mapping[str, Any]
    """Summary of the search: method, objective, budget and what was spent (environment steps), seeds, search
    space as declared and as widened, mean objective on dev of the default and the tuned options, versions and
    the command that repeats it."""


def tuned_options(controller: str, environment: str) -> dict[str, Any] | None:
    """Return the tuned options of a controller on an environment; None: it was not tuned there.

    Args:
        controller: name of a controller, such as ``hpa``.
        environment: id of an environment, such as ``podgym/Burst-v0``.
    """
    entry = tuned_entry(controller, environment)
    return None if entry is None else dict(entry.options)


def tuned_entry(controller: str, environment: str) -> TunedEntry | None:
    """Return the tuned options and where they come from; None: the controller was not tuned there."""
    return _shipped().get((controller, environment))


def tuned_entries() -> tuple[TunedEntry, ...]:
    """Return all that ships with the package, by controller and environment."""
    return tuple(_shipped().values())


@cache
def _shipped() -> Mapping[tuple[str, str], TunedEntry]:
    resource = files("podgym.baselines").joinpath(FILE)
    return parse_tuned(resource.read_text(encoding="utf-8")) if resource.is_file() else MappingProxyType({})


def parse_tuned(text: str) -> Mapping[tuple[str, str], TunedEntry]:
    """Return the entries of a file of tuned parameters, by controller and environment.

    Raises:
        InputError: it is not such a file.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise InputError(f"tuned parameters of format {document['format']!r}; {FORMAT!r} is needed.")
        entries = [
            TunedEntry(controller, environment, _options(entry["options"]), entry["ledger"])
            for controller, by_environment in document["entries"].items()
            for environment, entry in by_environment.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"not a file of tuned parameters: {error!r}.") from error
    return MappingProxyType({(entry.controller, entry.environment): entry for entry in entries})


def _options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options as a controller takes them: JSON knows no tuples."""
    return MappingProxyType(
        {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    )

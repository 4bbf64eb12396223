"""Workloads by name."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from podgym.envs.workloads.families import FAMILIES, FamilyGrid, GeneratedWorkload, Part
from podgym.envs.workloads.mixture import MixtureWorkload
from podgym.envs.workloads.profile import Workload
from podgym.envs.workloads.registry import PUBLIC_TRACES
from podgym.envs.workloads.scenarios import burst, high_load, low_load
from podgym.envs.workloads.sources import FILE_SUFFIXES, PACKAGED_TRACES
from podgym.envs.workloads.traces import open_trace
from podgym.errors import InputError, unknown_name

MEAN_RATE_RPS = 300.0
"""Default mean of the generated families, requests/s: half the paper's steady peak of 600."""
FLASH_RATE_RPS = 150.0
"""Mean of flash crowds among ``families``, requests/s: at the default the highest fit no testbed."""


def _generated(
    family: str,
    *,
    mean_rate_rps: float = MEAN_RATE_RPS,
    part: Part = "train",
    grid: FamilyGrid | Mapping[str, Any] | None = None,
) -> GeneratedWorkload:
    """Return a generated workload; a mapping as grid may name some of its bounds."""
    if grid is None or isinstance(grid, Mapping):
        allowed = [entry.name for entry in fields(FamilyGrid)]
        for key in grid or {}:
            if key not in allowed:
                raise unknown_name("key of grid", key, allowed)
        grid = FamilyGrid(**(grid or {}))
    return GeneratedWorkload(family, mean_rate_rps, part, grid)


def _mixture(
    *,
    of: Sequence[str | Mapping[str, Any]] = (),
    weights: Sequence[float] | None = None,
    part: str | None = None,
) -> MixtureWorkload:
    """Return a mixture of workloads by name.

    Args:
        of: names of workloads, or mappings with a ``name`` and options of that workload.
        weights: relative frequency of each; None: all alike.
        part: given to every member that has parts; None: their own default.
    """
    given: object = of
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) == 0:
        raise InputError(
            f"option 'of' of workload 'mixture' is {of!r}; it must be a list of workloads, by name or as "
            'mappings with a name and options, such as ["family:burst", {"name": "family:flash", '
            '"mean_rate_rps": 150}].'
        )
    mixture = MixtureWorkload([_member(entry, part) for entry in of], weights)
    if part is not None and not hasattr(mixture, "part"):
        raise InputError(f"part is {part!r}, but no workload of the mixture has parts; leave part out.")
    return mixture


def _families(*, weights: Sequence[float] | None = None, part: Part = "train") -> MixtureWorkload:
    """Return the mixture of all generated families.

    Args:
        weights: relative frequency of each, in the order of ``FAMILIES``; None: all alike.
        part: of the seeds.
    """
    rates_rps = {"flash": FLASH_RATE_RPS}
    members = [
        _generated(family, mean_rate_rps=rates_rps.get(family, MEAN_RATE_RPS), part=part)
        for family in FAMILIES
    ]
    return MixtureWorkload(members, weights, name="families")


def _member(entry: str | Mapping[str, Any], part: str | None) -> Workload:
    options = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name = options.pop("name", None)
    if not isinstance(name, str | Path):
        raise InputError(f"{entry!r} in option 'of' of a mixture names no workload; it needs a name.")
    if "part" in options:
        raise InputError(
            f"workload {name!r} in a mixture has a part of its own; give part to the mixture, which passes "
            "it on, so that parts stay apart."
        )
    if part is not None and "part" in _options_of(_maker(str(name))):
        options["part"] = part
    return make_workload(name, **options)


WORKLOADS: dict[str, Callable[..., Workload]] = {
    "high_load": high_load,
    "burst": burst,
    "low_load": low_load,
    **{f"family:{family}": partial(_generated, family) for family in FAMILIES},
    **{name: partial(open_trace, name) for name in (*PACKAGED_TRACES, *PUBLIC_TRACES)},
    "families": _families,
    "mixture": _mixture,
}
"""What makes each named workload: the paper's scenarios, families, packaged and downloaded traces, and
mixtures of them."""


def make_workload(name: str | Path, **options: object) -> Workload:
    """Return a workload by name, or from a trace file.

    Args:
        name: a name in ``WORKLOADS``, or the path of a CSV or parquet file.
        options: keyword arguments of what makes it: ``offset_s`` and ``user_variation`` for the scenarios;
            ``mean_rate_rps``, ``part`` and ``grid`` for the families; those of ``open_trace`` for traces and
            files; ``weights`` and ``part`` for ``families``; ``of`` besides for a mixture.

    Raises:
        InputError: an unknown name or option, with the closest match, or a bad value of an option.
    """
    key = str(name)
    make = _maker(key)
    allowed = _options_of(make)
    for option in options:
        if option not in allowed:
            raise unknown_name(f"option of workload {key!r}", option, allowed)
    return make(**options)


def _maker(key: str) -> Callable[..., Workload]:
    make = WORKLOADS.get(key)
    if make is None:
        if not is_path(key):
            raise unknown_workload(key)
        make = partial(open_trace, Path(key))
    return make


def _options_of(make: Callable[..., Workload]) -> list[str]:
    return [
        parameter.name
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]


def is_path(name: str) -> bool:
    """Return whether a name is meant as the path of a file."""
    return name.lower().endswith(FILE_SUFFIXES) or Path(name).name != name or Path(name).exists()


def unknown_workload(name: str) -> InputError:
    """Build the error for a name that is neither a workload nor a path, with the closest of both."""
    bare = {full.rpartition(":")[2]: full for full in WORKLOADS}  # "flash" is near "family:flash"
    files = [entry.name for entry in Path().iterdir() if entry.name.lower().endswith(FILE_SUFFIXES)]
    candidates = bare | {known: known for known in (*WORKLOADS, *files)}
    near = difflib.get_close_matches(name, candidates, n=1)
    hint = f" Did you mean {candidates[near[0]]!r}?" if near else ""
    return InputError(
        f"unknown workload {name!r}; allowed: {', '.join(sorted(WORKLOADS))}, or a file ending in "
        f"{', '.join(FILE_SUFFIXES)}.{hint}"
    )

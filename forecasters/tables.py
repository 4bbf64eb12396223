"""Learned forecasts for environments: a whole trace at once, kept on disk, looked up per episode.

What a service receives does not depend on how it is scaled, so the forecasts of a trace can be made before
any episode: in one batch, from every minute, each from its past alone. An episode then takes its rows.
"""

import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from podgym.envs.protocols import FORECAST_PERIOD_S
from podgym.envs.workloads.profile import LoadProfile
from podgym.envs.workloads.registry import PUBLIC_TRACES
from podgym.envs.workloads.sources import PACKAGED_TRACES
from podgym.envs.workloads.traces import open_trace
from podgym.errors import InputError
from podgym.files import write_atomically
from podgym.forecasters.base import LONGEST_GAP, Forecaster
from podgym.forecasters.series import Series, hold_missing, silence
from podgym.forecasters.sources import RATE_FEATURE, USERS_FEATURE, open_series

_TABLE_VERSION = 3  # raised when the same forecaster and trace would give another table
_REMEMBERED = 256  # generated loads whose forecasts are kept in memory
_SAME = 1e-6  # relative difference below which a profile is the trace times a factor


def cache_folder() -> Path:
    """Return where forecasts of whole traces are kept: ``$PODGYM_CACHE``, else ``~/.cache/podgym``."""
    given = os.environ.get("PODGYM_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "podgym") / "forecasts"


class _TraceTable(NamedTuple):
    """A whole trace and its forecasts."""

    rates_rps: NDArray[np.float64]
    """(num_raw,) on the raw grid of the trace; nan in gaps."""
    raw_step_s: float
    forecasts: NDArray[np.float64]
    """(num_samples, 1 + horizon, 3) mean, lower, upper: the sample itself, then its forecasts"""


class LearnedForecasts:
    """Gives environments the forecasts of a fitted forecaster; see ``envs.protocols.RateForecaster``.

    For an episode cut from a trace the forecasts of the whole trace are computed once, kept on disk under
    a hash of the forecaster and the trace, and looked up. For a generated load they are computed when the
    episode begins, from that load alone; what came before it is taken to have been its first value.

    Args:
        forecaster: fitted on one feature, ``rate_rps`` (or ``users`` for a closed workload).
        trace: file of the trace that the episodes are cut from; packaged and downloaded traces are found
            by the name in the profile.
        cache: folder of the tables; None: keep nothing on disk.

    Raises:
        InputError: the forecaster is not fitted, or on another feature.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        *,
        trace: str | Path | None = None,
        cache: str | Path | None = "default",
    ) -> None:
        features = forecaster.spec.features
        if features not in ((RATE_FEATURE,), (USERS_FEATURE,)):
            raise InputError(
                f"this {forecaster.name} forecasts {', '.join(features)}; an environment needs the request "
                f"rate alone. Train one with podgym forecast train --features {RATE_FEATURE}."
            )
        self.forecaster = forecaster
        self._trace = trace
        self._cache = cache_folder() if cache == "default" else None if cache is None else Path(cache)
        self._tables: dict[str, _TraceTable] = {}
        self._generated: OrderedDict[str, NDArray[np.float64]] = OrderedDict()

    def forecast_rates(
        self, profile: LoadProfile, duration_s: float, horizon_minutes: int
    ) -> NDArray[np.float64]:
        """Return the forecasts of one episode, (num_rows, horizon_minutes, 3); see ``RateForecaster``.

        Raises:
            InputError: a longer horizon than the forecaster's, another unit of load, or a profile that was
                not cut from the trace it names.
        """
        if horizon_minutes > self.forecaster.horizon_minutes:
            raise InputError(
                f"the observation asks for {horizon_minutes} minutes of forecast; this "
                f"{self.forecaster.name} gives {self.forecaster.horizon_minutes}. Set "
                "observation.horizon_minutes, or train with a longer --horizon."
            )
        unit = RATE_FEATURE if profile.kind == "open" else USERS_FEATURE
        if self.forecaster.spec.features != (unit,):
            raise InputError(
                f"the load counts {unit}; this {self.forecaster.name} forecasts "
                f"{self.forecaster.spec.features[0]}. Train one on this workload: podgym forecast train."
            )
        rows = int(duration_s / FORECAST_PERIOD_S + 1e-9) + 1
        moments_s = np.arange(rows, dtype=np.float64) * FORECAST_PERIOD_S
        if profile.trace is None or profile.trace_start_s is None:
            return self._of_generated(profile, moments_s, horizon_minutes)
        if profile.trace not in self._tables:
            self._tables[profile.trace] = self._open(profile.trace)
        table = self._tables[profile.trace]
        since_s = np.asarray(moments_s + profile.trace_start_s, dtype=np.float64)
        rows_rps = self._rows(table.forecasts, since_s, horizon_minutes, table.raw_step_s)
        return _or_seen(rows_rps * _factor(table, profile), profile, moments_s)

    def _rows(
        self,
        forecasts: NDArray[np.float64],
        moments_s: NDArray[np.float64],
        horizon_minutes: int,
        raw_step_s: float,
    ) -> NDArray[np.float64]:
        """Return what is known at some moments of the load that an environment plays.

        An environment reads the samples of a trace as points in time and straight lines between them: a
        sample made of points (``raw_step_s`` apart) stands in their middle and is complete when the last of
        them is reached. Forecasts are read off the line through the newest sample and its forecasts.

        Args:
            forecasts: (num_samples, 1 + horizon, 3) the sample itself, then its forecasts.
            moments_s: (rows,) seconds since the first point.
            horizon_minutes: minutes wanted.
            raw_step_s: seconds between two points; 0 for samples that are means of a continuous load.

        Returns:
            (rows, horizon_minutes, 3), nan where nothing is known.
        """
        step_s = self.forecaster.spec.step_s
        newest = np.floor((moments_s - (step_s - raw_step_s)) / step_s + 1e-9).astype(np.int64)  # (rows,)
        middles_s = moments_s[:, None] + FORECAST_PERIOD_S * (np.arange(horizon_minutes) + 0.5)
        centres_s = newest * step_s + 0.5 * (step_s - raw_step_s)
        ahead = (middles_s - centres_s[:, None]) / step_s  # (rows, horizon_minutes) steps after the newest
        ahead = np.clip(ahead, 0.0, self.forecaster.spec.horizon)
        before = np.minimum(ahead.astype(np.int64), self.forecaster.spec.horizon - 1)
        share = (ahead - before)[:, :, None]
        known = np.clip(newest, 0, len(forecasts) - 1)[:, None]
        result = forecasts[known, before] * (1.0 - share) + forecasts[known, before + 1] * share
        result[newest < 0] = np.nan
        return np.asarray(result, dtype=np.float64)

    def _of_generated(
        self, profile: LoadProfile, moments_s: NDArray[np.float64], horizon_minutes: int
    ) -> NDArray[np.float64]:
        key = hashlib.sha256(profile.values.tobytes() + repr((profile.step_s, len(moments_s))).encode())
        name = f"{key.hexdigest()}:{horizon_minutes}:{profile.start_time_s}"
        if name not in self._generated:
            spec = self.forecaster.spec
            samples = max(int(profile.duration_s / spec.step_s + 1e-9), 1)
            means = _sample_means(profile, samples, spec.step_s)
            before = self.forecaster.min_context
            values = np.concatenate([np.full(before, profile.values[0]), means])
            series = Series("generated", spec.features, spec.units, values, spec.step_s,
                            profile.start_time_s - before * spec.step_s)  # fmt: skip
            table = _as_table(self.forecaster, series, before - 1)[before:]
            known = self._rows(table, moments_s, horizon_minutes, 0.0)
            self._generated[name] = _or_seen(known, profile, moments_s)
            while len(self._generated) > _REMEMBERED:
                self._generated.popitem(last=False)
        return self._generated[name]

    def _open(self, trace: str) -> _TraceTable:
        name = trace.rpartition(":")[0]
        source = self._trace if self._trace is not None else name
        if self._trace is None and name not in PACKAGED_TRACES and name not in PUBLIC_TRACES:
            raise InputError(
                f"the load was cut from {trace!r}, a file that the forecaster cannot find by its name; use "
                "forecaster=podgym.forecasters.LearnedForecasts(forecaster, trace=PATH)."
            )
        step_s = self.forecaster.spec.step_s
        series = open_series(source, features=(RATE_FEATURE,), step_s=step_s).series
        workload = open_trace(source, part="all")
        if workload.name != trace:
            raise InputError(
                f"the load was cut from {trace!r}, the file holds {workload.name!r}; give its file."
            )
        raw = np.full(_grid_size(workload.piece_starts_s, workload.pieces, workload.step_s), np.nan)
        for start_s, (first, stop) in zip(workload.piece_starts_s, workload.pieces, strict=True):
            row = round(start_s / workload.step_s)
            raw[row : row + stop - first] = workload.rates_rps[first:stop]
        return _TraceTable(raw, workload.step_s, self._computed(series))

    def _computed(self, series: Series) -> NDArray[np.float64]:
        """Return the forecasts of a whole series, from the cache if they are there."""
        first = self.forecaster.min_context - 1
        if self._cache is None:
            return _as_table(self.forecaster, series, first)
        parts = (_TABLE_VERSION, self.forecaster.fingerprint, series.content_hash)
        path = self._cache / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.npy"
        table = _read_table(path)
        if table is None:
            table = _as_table(self.forecaster, series, first)
            write_atomically(path, lambda draft: np.save(draft, table, allow_pickle=False))
        return table


def _as_table(forecaster: Forecaster, series: Series, first: int) -> NDArray[np.float64]:
    """Return each sample and its forecasts (num_samples, 1 + horizon, 3).

    Forecasts are nan before ``first`` and where nothing was measured for longer than a service accepts.
    """
    every = forecaster.forecast_all(series, np.arange(first, series.num_samples))
    table = np.full((series.num_samples, 1 + every.mean.shape[1], 3), np.nan)
    table[:, 0] = hold_missing(series.values)
    table[first:, 1:] = np.stack([part[:, :, 0] for part in (every.mean, every.lower, every.upper)], axis=2)
    table[silence(series.values) > max(forecaster.spec.horizon, LONGEST_GAP)] = np.nan
    return table


def _or_seen(
    known: NDArray[np.float64], profile: LoadProfile, moments_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what is known, and where nothing is, the load that a service sees at that moment."""
    seen = np.interp(moments_s, profile.times_s, profile.values)[:, None, None]
    return np.where(np.isnan(known).any(axis=2, keepdims=True), seen, known)


def _read_table(path: Path) -> NDArray[np.float64] | None:
    """Return a table from the cache; one that cannot be read is made again."""
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError):  # NumPy's errors for a file that is not there or not whole
        return None


def _grid_size(starts_s: tuple[float, ...], pieces: tuple[tuple[int, int], ...], step_s: float) -> int:
    return round(starts_s[-1] / step_s) + pieces[-1][1] - pieces[-1][0]


def _factor(table: _TraceTable, profile: LoadProfile) -> float:
    """Return by what the trace was multiplied to give the profile.

    Raises:
        InputError: the profile is not a multiple of the trace at its place.
    """
    first = round((profile.trace_start_s or 0.0) / table.raw_step_s)
    own = table.rates_rps[first : first + len(profile.values)]
    if abs(profile.step_s - table.raw_step_s) < 1e-9 and len(own) == len(profile.values):
        square = float(own @ own)
        factor = float(own @ profile.values) / square if square > 0.0 else profile.scale
        if np.abs(own * factor - profile.values).max() <= _SAME * max(float(profile.values.max()), 1e-9):
            return factor
    raise InputError(
        f"the load {profile.label!r} is not a multiple of the trace {profile.trace!r} at its place; is it "
        "another file of the same name? Give the file to LearnedForecasts(forecaster, trace=PATH)."
    )


def _sample_means(profile: LoadProfile, samples: int, step_s: float) -> NDArray[np.float64]:
    """Return the mean of the profile over each step, (samples,): it is linear between its own samples."""
    edges = np.minimum(np.arange(samples + 1) * step_s, profile.duration_s)
    fine_s = np.unique(np.concatenate([profile.times_s, edges]))
    values = np.interp(fine_s, profile.times_s, profile.values)
    area = np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(fine_s))])
    totals = area[np.searchsorted(fine_s, edges)]
    return np.asarray(np.diff(totals) / np.maximum(np.diff(edges), 1e-12), dtype=np.float64)

"""What every forecaster is: fitted to a series, it tells mean and interval of the next minutes.

A model only has to give means (``_fit`` and ``_means``); splitting, cleaning, intervals, physical bounds and
all checks of the input are here, so that no two models are judged under different rules.
"""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, require_whole
from podgym.forecasters.cleaning import CleaningConfig, CleaningReport, clean
from podgym.forecasters.intervals import NEWEST_SCORES, RUN_IN, ConformalIntervals, movement
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import (
    Series,
    first_measured,
    gap_rows,
    hold_missing,
    require_measured_lately,
    require_variation,
    silence,
)

HORIZON_MINUTES = 5
"""Minutes ahead unless asked otherwise."""
LONGEST_GAP = 10
"""Missing samples in a row that are bridged when learning; windows over longer gaps are left out."""

if TYPE_CHECKING:
    from podgym.envs.workloads.profile import LoadProfile
    from podgym.forecasters.tables import LearnedForecasts

_FIT_SHARE, _VALIDATION_SHARE = 0.8, 0.1  # the rest of the fitted series calibrates the intervals
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Means and 80 % intervals, in the units of the series."""

    mean: NDArray[np.float64]
    """(..., horizon, num_features)"""
    lower: NDArray[np.float64]
    """(..., horizon, num_features) 10 % of the values are meant to lie below"""
    upper: NDArray[np.float64]
    """(..., horizon, num_features) 10 % of the values are meant to lie above"""


@dataclass(frozen=True, slots=True)
class ForecastSpec:
    """What a fitted forecaster takes and gives, and what it was fitted to."""

    features: tuple[str, ...]
    """Features, in order."""
    units: tuple[str, ...]
    """Their units."""
    step_s: float
    """Seconds between two samples."""
    horizon: int
    """Steps ahead."""
    trained_on: str
    """Name of the training series."""
    training_hash: str
    """Content hash of the training series as given, before cleaning."""
    training_samples: int
    """Its length."""
    fit_s: float
    """Wall-clock seconds that the fit took."""
    parameters: int
    """Numbers that were learned."""
    low: tuple[float, ...]
    """Smallest value of each feature in training: one that never was negative is never forecast so."""
    high: tuple[float, ...]
    """Largest value of each feature in training."""


@dataclass(slots=True)
class Fitted:
    """What a fit leaves behind besides the model itself."""

    spec: ForecastSpec
    intervals: ConformalIntervals
    cleaning: CleaningReport | None = field(default=None, repr=False)
    """What was cleaned; None for a model that was loaded."""


class Forecaster(ABC):
    """Base of all forecasters.

    Args:
        horizon_minutes: how far ahead, 1 to 60 minutes.
        cleaning: how the training series is cleaned.
    """

    name: str
    """Name in tables and on the command line."""
    min_context: int = 2
    """Samples of history that the model cannot do without."""

    def __init__(
        self, *, horizon_minutes: int = HORIZON_MINUTES, cleaning: CleaningConfig | None = None
    ) -> None:
        require_whole("horizon_minutes", horizon_minutes, 1, 60)
        self.horizon_minutes = horizon_minutes
        self.cleaning = cleaning if cleaning is not None else CleaningConfig()
        self._fitted: Fitted | None = None
        self._rates: LearnedForecasts | None = None
        # Rows that cleaning left as measured: what it filled lies on a line to the next value, the future.
        self._kept: NDArray[np.bool_] = np.ones(0, dtype=np.bool_)
        self._earlier_s = 0.0  # seconds of a fit that was interrupted before

    # -- what a model provides ------------------------------------------------------------------------
    @abstractmethod
    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        """Learn from samples before ``fit_stop``; those from there on are for early stopping.

        Args:
            series: cleaned, without nan.
            trusted: (num_samples,) False inside long gaps, whose values are only a straight line.
            fit_stop: samples before it are learned from.
            run: progress, checkpoint and curves.
        """

    @abstractmethod
    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the means (num_origins, horizon, num_features); row k looks at samples 0..origins[k]."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as plain JSON values."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what was learned: plain JSON values, and arrays by name."""

    @abstractmethod
    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``_state`` returned."""

    @property
    def _parameters(self) -> int:
        """Numbers that were learned."""
        return 0

    # -- what users call ------------------------------------------------------------------------------
    @property
    def spec(self) -> ForecastSpec:
        """What the forecaster takes and gives.

        Raises:
            InputError: it was not fitted yet.
        """
        return self._need().spec

    @property
    def intervals(self) -> ConformalIntervals:
        """Held-out scores behind the intervals."""
        return self._need().intervals

    @property
    def cleaning_report(self) -> CleaningReport | None:
        """What cleaning changed in the training series; None when the forecaster was loaded."""
        return self._need().cleaning

    def fit(self, series: Series, run: FitRun | None = None) -> Self:
        """Learn from a series: 80 % to learn, 10 % to choose by, 10 % to calibrate the intervals.

        Networks that do not stop early learn from the first 90 %.

        Args:
            series: the training part, nothing else; it is cleaned here.
            run: where to report progress, keep checkpoints and write curves.

        Returns:
            The forecaster itself.

        Raises:
            InputError: a series that is too short, constant, or without measurements, or whose step does
                not fit the horizon.
        """
        began = time.perf_counter()
        horizon = self.horizon_steps(series.step_s)
        self._check_training(series, horizon)
        run = run if run is not None else FitRun()
        cleaned, report = clean(series, self.cleaning)
        require_variation(cleaned)
        trusted = ~gap_rows(series.values, LONGEST_GAP)
        fit_stop = int(_FIT_SHARE * series.num_samples)
        stop = int((_FIT_SHARE + _VALIDATION_SHARE) * series.num_samples)
        self._fitted, self._rates = None, None  # a fit that fails leaves nothing behind that answers
        self._horizon = horizon
        self._kept = (cleaned.values == series.values).all(axis=1)[:stop]
        self._earlier_s = 0.0
        self._fit(cleaned.slice(0, stop), trusted[:stop], fit_stop, run)
        spec = ForecastSpec(
            features=series.features, units=series.units, step_s=series.step_s, horizon=horizon,
            trained_on=series.name, training_hash=series.content_hash, training_samples=series.num_samples,
            fit_s=time.perf_counter() - began + self._earlier_s, parameters=self._parameters,
            low=tuple(cleaned.values.min(axis=0).tolist()), high=tuple(cleaned.values.max(axis=0).tolist()),
        )  # fmt: skip
        floor = np.maximum(1e-3 * cleaned.values.std(axis=0), _TINY)  # (num_features,)
        self._fitted = Fitted(spec, self._calibrated(series, trusted, stop, spec, floor), report)
        return self

    def forecast(self, history: Series) -> Forecast:
        """Forecast the steps after the end of a history.

        Equal to the last row of ``forecast_all`` from the newest ``RUN_IN`` origins of the same history.

        Args:
            history: the newest samples, at least ``min_context``. More is better: the intervals follow the
                errors of the newest ``RUN_IN`` origins, and seasonal models look back up to three days.

        Returns:
            (horizon, num_features) means and intervals.

        Raises:
            InputError: other features or another step than in training, too short a history, or nothing
                measured for longer than the horizon.
        """
        fitted = self._need()
        self._check_series(history)
        require_measured_lately(history, max(fitted.spec.horizon, LONGEST_GAP))
        first = max(self.min_context - 1, history.num_samples - RUN_IN)
        every = self.forecast_all(history, np.arange(first, history.num_samples))
        return Forecast(every.mean[-1], every.lower[-1], every.upper[-1])

    def forecast_all(self, series: Series, origins: NDArray[np.int64] | None = None) -> Forecast:
        """Forecast from many origins at once; row k knows samples 0 to ``origins[k]`` and no later one.

        Args:
            series: the whole series; gaps are held at the last measured value.
            origins: (num_origins,) consecutive sample indices; default: every possible one.

        Returns:
            (num_origins, horizon, num_features) means and intervals of the samples ``origins + 1`` to
            ``origins + horizon``, which need not exist; nan before the first measurement. The intervals
            follow the errors of the origins given, so the first rows rest on the calibration of the fit.

        Raises:
            InputError: a series that does not fit the training, or origins outside of it.
        """
        fitted = self._need()
        self._check_series(series)
        if origins is None:
            origins = np.arange(self.min_context - 1, series.num_samples)
        origins = self._checked_origins(series, origins)
        spec, intervals = fitted.spec, fitted.intervals
        mean, scale, scores = self._scored(series, origins, spec, intervals.floor)
        low, high = intervals.ends(scores)
        return Forecast(mean, _bounded(mean + low * scale, spec), _bounded(mean + high * scale, spec))

    def horizon_steps(self, step_s: float) -> int:
        """Return the horizon in steps of a series.

        Raises:
            InputError: the step does not divide the horizon.
        """
        steps = self.horizon_minutes * 60.0 / step_s
        if steps < 1.0 or abs(steps - round(steps)) > 1e-9:
            raise InputError(
                f"a horizon of {self.horizon_minutes} minutes is not a whole number of steps of "
                f"{step_s:g} s; choose a multiple of the step, or resample the series."
            )
        return round(steps)

    def forecast_rates(
        self, profile: "LoadProfile", duration_s: float, horizon_minutes: int
    ) -> NDArray[np.float64]:
        """Forecast the load of an episode, so that the forecaster can be given to an environment as it is.

        See ``podgym.forecasters.LearnedForecasts``, which also takes the file of a trace.
        """
        from podgym.forecasters.tables import LearnedForecasts

        if self._rates is None:
            self._rates = LearnedForecasts(self)
        return self._rates.forecast_rates(profile, duration_s, horizon_minutes)

    @property
    def fingerprint(self) -> str:
        """Sha256 of everything that forecasts depend on; equal fits have equal fingerprints."""
        fitted = self._need()
        values, arrays = self._state()
        known = {name: value for name, value in asdict(fitted.spec).items() if name != "fit_s"}
        digest = hashlib.sha256(json.dumps([self.name, self.options(), known, values]).encode())
        arrays = {**arrays, "scores": fitted.intervals.scores, "floor": fitted.intervals.floor}
        for name in sorted(arrays):
            digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()

    def restore(self, fitted: Fitted, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the forecaster that was saved; see ``podgym.forecasters.load_forecaster``."""
        self._horizon, self._rates = fitted.spec.horizon, None
        self._restore(values, arrays)
        self._fitted = fitted

    # -- checks ---------------------------------------------------------------------------------------

    def _need(self) -> Fitted:
        if self._fitted is None:
            raise InputError(f"the forecaster {self.name!r} was not fitted; call fit(series) or load one.")
        return self._fitted

    def _check_training(self, series: Series, horizon: int) -> None:
        # A tenth calibrates: a window and its targets, or more than `horizon` origins with theirs.
        needed = 10 * (horizon + max(self.min_context, horizon + 1))
        if series.num_samples < needed:
            raise InputError(
                f"series {series.name!r} has {series.num_samples} samples; {self.name} with a window of "
                f"{self.min_context} and a horizon of {horizon} steps needs {needed} or more. Record a "
                "longer series, or choose a model with a shorter window (last_value, ewma)."
            )
        for feature, column in zip(series.features, series.values.T, strict=True):
            if np.isnan(column).all():
                raise InputError(
                    f"series {series.name!r}, feature {feature!r} has no measured value; leave it out."
                )

    def _check_series(self, series: Series) -> None:
        spec = self._need().spec
        if series.features != spec.features:
            raise InputError(
                f"series {series.name!r} has features {', '.join(series.features)}; this {self.name} was "
                f"trained on {', '.join(spec.features)}. Series.select puts features in order."
            )
        if abs(series.step_s - spec.step_s) > 1e-9 * spec.step_s:
            raise InputError(
                f"series {series.name!r} has a step of {series.step_s:g} s; this {self.name} was trained on "
                f"{spec.step_s:g} s. podgym.forecasters.resample changes the step."
            )
        if series.num_samples < self.min_context:
            raise InputError(
                f"series {series.name!r} has {series.num_samples} samples; {self.name} needs "
                f"{self.min_context} or more to look back on."
            )

    def _checked_origins(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.int64]:
        origins = np.asarray(origins, dtype=np.int64)
        if origins.ndim != 1 or not len(origins) or (np.diff(origins) != 1).any():
            raise InputError("origins must be consecutive sample indices, one or more.")
        if origins[0] < self.min_context - 1 or origins[-1] >= series.num_samples:
            raise InputError(
                f"origins go from {origins[0]} to {origins[-1]}; they must lie from {self.min_context - 1} "
                f"to {series.num_samples - 1}."
            )
        return origins

    # -- intervals ------------------------------------------------------------------------------------

    def _scored(
        self, series: Series, origins: NDArray[np.int64], spec: ForecastSpec, floor: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return means, scales and scores (errors in units of the scale), (num_origins, ..., F) each."""
        held = replace(series, values=hold_missing(series.values))
        mean = _bounded(self._means(held, origins), spec)
        # Before the first measurement there is nothing to go by: what is held there was measured later.
        mean[origins < first_measured(series.values)] = np.nan
        scale = movement(held.values, floor)[origins][:, None, :]
        scores = (targets(series.values, origins, spec.horizon) - mean) / scale
        # Where nothing was measured for long, the forecast is a guess from old values: no score.
        scores[silence(series.values)[origins] > LONGEST_GAP] = np.nan
        return mean, scale, scores

    def _calibrated(
        self, series: Series, trusted: NDArray[np.bool_], stop: int, spec: ForecastSpec,
        floor: NDArray[np.float64],
    ) -> ConformalIntervals:  # fmt: skip
        """Return the newest scores of the part that was not learned from."""
        origins = np.arange(max(stop, self.min_context - 1), series.num_samples - spec.horizon)
        _, _, scores = self._scored(series, origins, spec, floor)
        good = trusted[origins] & np.isfinite(scores).all(axis=(1, 2))
        if good.sum() <= spec.horizon:
            raise InputError(
                f"series {series.name!r} has {int(good.sum())} usable samples in its last tenth, which "
                f"calibrates the intervals and needs more than {spec.horizon}; record a longer series or "
                "close its gaps."
            )
        return ConformalIntervals(scores[good][-NEWEST_SCORES:], floor)


def targets(values: NDArray[np.float64], origins: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
    """Return what came after each origin, (num_origins, horizon, num_features); nan beyond the end."""
    padded = np.concatenate([values, np.full((horizon, values.shape[1]), np.nan)])
    result: NDArray[np.float64] = padded[origins[:, None] + np.arange(1, horizon + 1)]
    return result


def _bounded(values: NDArray[np.float64], spec: ForecastSpec) -> NDArray[np.float64]:
    """Forecast nothing negative of a feature that never was."""
    result: NDArray[np.float64] = np.where(np.array(spec.low) >= 0.0, np.maximum(values, 0.0), values)
    return result

"""Rolling-origin evaluation: a fitted forecaster is asked at every moment of a part it has not seen.

From every sample of the part a forecast is made with what was known by then, and compared with the raw
measurements that followed (Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of
Forecasting 16(4), 2000). Nothing is fitted again on the way. All models are judged at the same origins: which
ones count depends on the trace alone.
"""

import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.base import LONGEST_GAP, Forecast, Forecaster, targets
from podgym.forecasters.evaluation.measures import Quality, naive_scale, quality
from podgym.forecasters.factory import NAIVE_MODELS
from podgym.forecasters.intervals import RUN_IN
from podgym.forecasters.naive import DAY_S
from podgym.forecasters.series import Series, gap_rows
from podgym.forecasters.sources import ForecastPart, TraceSeries

Floats = NDArray[np.float64]
Moment = Literal["steepest", "typical"]

CONTEXT = 60
"""An origin is judged when none of its newest 60 samples lies in a long gap, whatever a model looks at."""
SHORT_CONTEXT = 10
"""The same for a series all of whose stretches are shorter, such as episodes with gaps between them."""
SAMPLE_STEPS = 5
"""Consecutive steps in a sample of forecasts: the paper's table shows five minutes."""

_REPEATS = 9  # single forecasts that are timed


@dataclass(frozen=True, slots=True, eq=False)
class ModelResult:
    """What one forecaster told of one part of one trace, and how good it was."""

    label: str
    """What tables call it."""
    model: str
    """Name of the forecaster, such as ``holt_winters``."""
    part: ForecastPart
    """Part that was judged."""
    series: Series
    """The whole trace, raw, with the features of the forecaster."""
    origins: NDArray[np.int64]
    """(num_origins,) samples from which forecasts were made: all of the part, in time order."""
    actual: Floats
    """(num_origins, horizon, num_features) what was measured; nan where it was not, and at origins that are
    not judged because of a gap."""
    forecast: Forecast
    """(num_origins, horizon, num_features) what was told."""
    quality: tuple[Quality, ...]
    """One per feature."""
    in_sample: bool
    """Whether the forecaster may have been fitted to samples that it is judged on; it then says little."""
    fit_s: float
    """Wall-clock seconds of the fit."""
    batch_s: float
    """Seconds per forecast when all origins are forecast at once."""
    single_s: float
    """Median seconds of a forecast by itself, from a history of ``RUN_IN`` samples."""
    parameters: int
    """Numbers that were learned."""

    @property
    def naive(self) -> bool:
        """Whether it is one of the models that a learned one must beat."""
        return self.model in NAIVE_MODELS

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return int(self.actual.shape[1])

    @property
    def num_judged(self) -> int:
        """Origins with at least one measured value to judge by."""
        return int(np.isfinite(self.actual).any(axis=(1, 2)).sum())

    def feature(self, name: str) -> int:
        """Return the column of a feature.

        Raises:
            InputError: a feature that was not forecast.
        """
        return self.series.features.index(self.series.select([name]).features[0])

    def measure(self, name: str, feature: str, step: int | None = None) -> float:
        """Return a measure of ``QUALITY_MEASURES`` at a step ahead, from 1 on, or over all steps (None)."""
        values = self.quality[self.feature(feature)].by_name()[name]
        return values.pooled if step is None else float(values.by_step[step - 1])

    def squared_errors(self, name: str) -> Floats:
        """Return the squared errors of a feature, (num_origins, horizon); nan where not judged."""
        column = self.feature(name)
        errors: Floats = (self.forecast.mean[..., column] - self.actual[..., column]) ** 2
        return errors


@dataclass(frozen=True, slots=True, eq=False)
class PaperClaim:
    """The paper's claim for its LSTM, every error within 5 % of the value, checked for one feature."""

    share_by_step: Floats
    """(horizon,) share of forecasts within 5 % of the measured value."""
    share: float
    """The same over all steps."""
    largest_relative_error: float
    """Largest |forecast - value| / |value|; infinite when a value of 0 was not forecast exactly."""
    holds: bool
    """Whether every single forecast was within 5 %."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleForecast:
    """A few consecutive steps from one origin, as in Table 1 of the paper."""

    label: str
    """Model that told them."""
    origin: int
    """Sample from which they were forecast."""
    clock_s: Floats
    """(num_steps,) begin of each step, seconds since the midnight before the trace began (which is taken for
    midnight where its clock is unknown)."""
    step_s: float
    """Seconds of a step."""
    features: tuple[str, ...]
    """Names of the features."""
    units: tuple[str, ...]
    """Their units."""
    actual: Floats
    """(num_steps, num_features) what was measured."""
    mean: Floats
    """(num_steps, num_features) what was forecast."""

    @property
    def relative_error(self) -> Floats:
        """(num_steps, num_features) (forecast - value) / |value|; nan for a value of 0."""
        size = np.abs(self.actual)
        error: Floats = (self.mean - self.actual) / np.where(size > 0.0, size, np.nan)
        return error


def evaluate_forecaster(
    forecaster: Forecaster,
    data: TraceSeries,
    part: ForecastPart = "test",
    *,
    label: str | None = None,
    timed: bool = True,
) -> ModelResult:
    """Forecast from every origin of a part and measure the quality of each feature.

    A forecast belongs to the part when all the values that it tells lie in it, so the first origin is the
    last sample before the part. The intervals adapt before that, on as much of the time between the training
    part and the judged one as they use.

    Args:
        forecaster: a fitted forecaster.
        data: the trace; it may hold more features than the forecaster knows.
        part: what to judge on.
        label: what tables call the model; its name unless given.
        timed: also measure how long a single forecast takes, which is several times the work of all others.

    Raises:
        InputError: a forecaster that was not fitted or does not fit the trace, or a part that is shorter than
            the horizon or has nothing to judge.
    """
    spec = forecaster.spec
    series = data.series.select(spec.features)
    origins = _part_origins(forecaster, data, part)
    usable = usable_origins(data.series, origins)
    if not usable.any():
        raise InputError(
            f"series {series.name!r}, part {part!r}: none of its {len(origins)} origins has {SHORT_CONTEXT} "
            f"samples before it without a gap of more than {LONGEST_GAP}; choose a part with measurements."
        )
    # First: it also warms the libraries up.
    single_s = _single_s(forecaster, series, origins[usable]) if timed else math.nan
    run = np.arange(_first_of_run(forecaster, data, part, int(origins[0])), int(origins[-1]) + 1)
    began = time.perf_counter()
    every = forecaster.forecast_all(series, run)
    batch_s = (time.perf_counter() - began) / len(run)
    forecast = Forecast(*(values[-len(origins) :] for values in (every.mean, every.lower, every.upper)))
    actual = targets(series.values, origins, spec.horizon)
    actual[~usable] = np.nan
    return ModelResult(
        label=label if label is not None else forecaster.name, model=forecaster.name, part=part,
        series=series, origins=origins, actual=actual, forecast=forecast,
        quality=_qualities(actual, forecast, data.part("train").select(spec.features)),
        in_sample=_in_sample(forecaster, series, int(origins[0]) + 1), fit_s=spec.fit_s, batch_s=batch_s,
        single_s=single_s, parameters=spec.parameters,
    )  # fmt: skip


def usable_origins(series: Series, origins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which origins are judged, (num_origins,): nothing of a model goes into it.

    Left out are those with a sample of a long gap among their newest ``CONTEXT`` samples, which are as many
    as there are at the begin; where that leaves none, ``SHORT_CONTEXT`` samples.
    """
    broken = np.concatenate([[0], np.cumsum(gap_rows(series.values, LONGEST_GAP))])

    def whole(context: int) -> NDArray[np.bool_]:
        return np.asarray(broken[origins + 1] == broken[np.maximum(origins + 1 - context, 0)])

    usable = whole(CONTEXT)
    return usable if usable.any() else whole(SHORT_CONTEXT)


def paper_claim(result: ModelResult, feature: str) -> PaperClaim:
    """Check whether all forecasts of a feature are within 5 % of the value."""
    column = result.feature(feature)
    actual, mean = result.actual[..., column], result.forecast.mean[..., column]
    judged = np.isfinite(actual)
    error, size = np.abs(mean - actual)[judged], np.abs(actual)[judged]
    of_zero = np.where(error > 0.0, np.inf, 0.0)
    relative = np.divide(error, size, out=of_zero, where=size > 0.0)
    shares = result.quality[column].within_5_percent
    return PaperClaim(shares.by_step, shares.pooled, float(relative.max()), bool(shares.pooled == 1.0))


def sample_forecast(
    result: ModelResult, at: int | Moment = "steepest", *, feature: str | None = None
) -> SampleForecast:
    """Return the first steps from one origin, at most ``SAMPLE_STEPS``, as in Table 1 of the paper.

    Args:
        result: what a model told.
        at: an origin; "steepest": the one after which the load rises most within the horizon, the same for
            every model; "typical": the one whose mean squared error is the median of the model's.
        feature: whose rise and error count; the first one unless given.

    Raises:
        InputError: an origin outside of the part, or none after which all values were measured.
    """
    column = 0 if feature is None else result.feature(feature)
    row = _row_of(result, at) if isinstance(at, int) else _moment(result, at, column)
    steps = np.arange(1, min(SAMPLE_STEPS, result.horizon) + 1)
    origin = int(result.origins[row])
    series = result.series
    return SampleForecast(
        label=result.label, origin=origin, clock_s=clock_s(series, origin + steps), step_s=series.step_s,
        features=series.features, units=series.units,
        actual=targets(series.values, result.origins[row : row + 1], result.horizon)[0, : len(steps)],
        mean=result.forecast.mean[row, : len(steps)],
    )  # fmt: skip


def clock_s(series: Series, index: NDArray[np.int64]) -> Floats:
    """Return the begin of some samples in seconds since the midnight before the series began."""
    before: Floats = series.clock_s(index) - math.floor(series.start_s / DAY_S) * DAY_S
    return before


def _part_origins(forecaster: Forecaster, data: TraceSeries, part: ForecastPart) -> NDArray[np.int64]:
    """Return the origins whose whole horizon lies in a part and which have enough history."""
    first, stop = data.bounds(part)
    horizon = forecaster.spec.horizon
    # A trace that begins with the part has no history there; every model is given the same start.
    origins = np.arange(max(first, CONTEXT) - 1, stop - horizon)
    if not len(origins):
        raise InputError(
            f"series {data.series.name!r}, part {part!r} has {stop - first} samples; a horizon of {horizon} "
            f"steps and {CONTEXT} samples of history do not fit. Judge a longer part."
        )
    if origins[0] < forecaster.min_context - 1:
        raise InputError(
            f"series {data.series.name!r}, part {part!r} begins after {first} samples; {forecaster.name} "
            f"looks back on {forecaster.min_context}. Judge a later part, or use a shorter window."
        )
    return origins


def _first_of_run(forecaster: Forecaster, data: TraceSeries, part: ForecastPart, first_origin: int) -> int:
    """Return the origin to start at, so that the intervals have adapted when the part begins."""
    earliest = first_origin + 1 - RUN_IN  # as for a single forecast
    # Errors within the training part are those of a model that knew the answers: they would make the
    # intervals too narrow. The calibration of the fit stands in for them.
    return min(first_origin, max(earliest, data.train_stop - 1, forecaster.min_context - 1))


def _single_s(forecaster: Forecaster, series: Series, origins: NDArray[np.int64]) -> float:
    measured = ~np.isnan(series.values[origins]).any(axis=1)
    if not measured.any():
        return float("nan")
    newest = int(origins[measured][-1])
    history = series.slice(max(0, newest + 1 - RUN_IN), newest + 1)
    times = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        forecaster.forecast(history)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def _qualities(actual: Floats, forecast: Forecast, training: Series) -> tuple[Quality, ...]:
    return tuple(
        quality(
            actual[..., column], forecast.mean[..., column], forecast.lower[..., column],
            forecast.upper[..., column], naive_scale(training.values[:, column]),
        )
        for column in range(actual.shape[2])
    )  # fmt: skip


def _in_sample(forecaster: Forecaster, series: Series, first_target: int) -> bool:
    """Tell whether the forecaster may have been fitted to samples that it is judged on.

    It was not when its training series is the begin of this one and ends before the judged part. Of any
    other series of the same name it cannot be told, so it counts as seen.
    """
    spec = forecaster.spec
    if spec.trained_on != series.name:
        return False
    size = spec.training_samples
    return size > first_target or series.slice(0, size).content_hash != spec.training_hash


def _row_of(result: ModelResult, origin: int) -> int:
    first, last = int(result.origins[0]), int(result.origins[-1])
    if not first <= origin <= last:
        raise InputError(f"origin {origin} is not in part {result.part!r}; allowed: {first} to {last}.")
    return origin - first


def _moment(result: ModelResult, moment: Moment, column: int) -> int:
    """Return the row of the steepest rise or of the median error among those that were measured in full."""
    newest = result.series.values[result.origins]  # (num_origins, num_features)
    whole = np.isfinite(result.actual).all(axis=(1, 2)) & np.isfinite(newest).all(axis=1)
    rows = np.flatnonzero(whole)
    if not len(rows):
        raise InputError(
            f"series {result.series.name!r}, part {result.part!r}: after no origin were all values measured."
        )
    if moment == "steepest":
        return int(rows[np.argmax(result.actual[rows, -1, column] - newest[rows, column])])
    errors = ((result.forecast.mean - result.actual)[rows, :, column] ** 2).mean(axis=1)
    return int(rows[np.argsort(errors, kind="stable")[(len(rows) - 1) // 2]])

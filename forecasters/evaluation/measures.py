"""Measures of forecast quality: one table of names, units and definitions, and the functions behind it.

Every measure compares the forecasts of one feature, made at ``n`` origins for ``horizon`` steps, with what
was measured. A value that was not measured (nan) is left out; a forecast that is not finite where a value was
measured is an error, since leaving it out would flatter the model that made it.

Each function returns one number per step and one pooled over all pairs of all steps, in which every pair
counts alike (so the pooled RMSE is the root of the mean of all squared errors, not the mean of the steps').

Sources: Hyndman and Koehler, "Another look at measures of forecast accuracy", International Journal of
Forecasting 22(4), 2006 (MASE, and the weaknesses of relative errors); Makridakis and Hibon, "The
M3-Competition", International Journal of Forecasting 16(4), 2000 (sMAPE); Gneiting and Raftery, "Strictly
proper scoring rules, prediction, and estimation", JASA 102(477), 2007 (pinball loss, interval score).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.errors import InputError

Floats = NDArray[np.float64]
Better = Literal["lower", "higher", "80 %"]

LOWER_PROBABILITY = 0.1
"""Probability that a value is below the lower end of the interval."""
UPPER_PROBABILITY = 0.9
"""Probability that a value is below its upper end; between the two lie 80 %."""
CLOSE = 0.05
"""A forecast is close when its error is at most this share of the value: the paper's 5 %."""
FEATURE_UNIT = "unit of the feature"
"""Stands in ``Measure.unit`` for the unit of the feature that is forecast, such as "%" or "requests/s"."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that forecasts are judged by."""

    name: str
    """Name, also the attribute of ``Quality`` and the key in tables and files."""
    unit: str
    """Unit; "1" for a ratio, ``FEATURE_UNIT`` for the unit of the feature."""
    better: Better
    """Which way is better; "80 %" when closer to that share is better."""
    definition: str
    """What it is, in a sentence or two."""


@dataclass(frozen=True, slots=True, eq=False)
class StepValues:
    """One measure, step by step and pooled."""

    by_step: Floats
    """(horizon,) value at each step ahead, the first for one step; nan where it is not defined."""
    pooled: float
    """Value over the pairs of all steps, each counted alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Every measure of the forecasts of one feature; definitions are in ``QUALITY_MEASURES``."""

    num_pairs: NDArray[np.int64]
    """(horizon,) pairs of forecast and measured value at each step."""
    rmse: StepValues
    """Root mean squared error, unit of the feature."""
    mae: StepValues
    """Mean absolute error, unit of the feature."""
    mase: StepValues
    """Mean absolute scaled error, ratio; below 1 the error is smaller than the naive one in training."""
    smape: StepValues
    """Symmetric mean absolute percentage error as a ratio from 0 to 2."""
    mean_relative_error: StepValues
    """Mean error relative to the value (MAPE), ratio."""
    within_5_percent: StepValues
    """Share of forecasts whose error is within 5 % of the value, ratio."""
    pinball: StepValues
    """Mean of the pinball losses of both ends of the interval, unit of the feature."""
    pinball_lower: StepValues
    """Pinball loss of the lower end at probability 0.1, unit of the feature."""
    pinball_upper: StepValues
    """Pinball loss of the upper end at probability 0.9, unit of the feature."""
    interval_coverage: StepValues
    """Share of values inside the 80 % interval, ratio."""
    interval_width: StepValues
    """Mean width of the 80 % interval, unit of the feature."""
    interval_relative_width: StepValues
    """Mean width of the 80 % interval relative to the mean size of the values, ratio."""
    interval_score: StepValues
    """Winkler score of the 80 % interval, unit of the feature."""

    def by_name(self) -> dict[str, StepValues]:
        """Return every measure by name, in the order of ``QUALITY_MEASURES``."""
        return {name: getattr(self, name) for name in QUALITY_MEASURES}


def quality(
    actual: ArrayLike, forecast_mean: ArrayLike, lower: ArrayLike, upper: ArrayLike, naive_scale: float
) -> Quality:
    """Return every measure of the forecasts of one feature.

    Args:
        actual: (n, horizon) measured values in the unit of the feature; nan: not measured.
        forecast_mean: (n, horizon) forecasts.
        lower: (n, horizon) lower ends of the 80 % intervals, the 0.1 quantiles.
        upper: (n, horizon) upper ends, the 0.9 quantiles.
        naive_scale: scale of MASE, from the function ``naive_scale`` of the training part.

    Raises:
        InputError: if shapes disagree, no value was measured, a forecast that is compared with a measured
            value is not finite, a lower end is above its upper end, or the scale is negative.
    """
    truth, mean, low, high = _checked(actual, forecast_mean=forecast_mean, lower=lower, upper=upper)
    _check_order(truth, low, high)
    at_lower = pinball_loss(truth, low, LOWER_PROBABILITY)
    at_upper = pinball_loss(truth, high, UPPER_PROBABILITY)
    return Quality(
        num_pairs=np.isfinite(truth).sum(axis=0),
        rmse=rmse(truth, mean),
        mae=mae(truth, mean),
        mase=mase(truth, mean, naive_scale),
        smape=smape(truth, mean),
        mean_relative_error=mean_relative_error(truth, mean),
        within_5_percent=share_within(truth, mean, CLOSE),
        pinball=_mean_of(at_lower, at_upper),
        pinball_lower=at_lower,
        pinball_upper=at_upper,
        interval_coverage=interval_coverage(truth, low, high),
        interval_width=interval_width(truth, low, high),
        interval_relative_width=interval_relative_width(truth, low, high),
        interval_score=interval_score(truth, low, high),
    )


def rmse(actual: ArrayLike, mean: ArrayLike) -> StepValues:
    """Return the root mean squared error, in the unit of the feature."""
    truth, forecast = _checked(actual, mean=mean)
    squared = _mean((forecast - truth) ** 2)
    return StepValues(np.sqrt(squared.by_step), math.sqrt(squared.pooled))


def mae(actual: ArrayLike, mean: ArrayLike) -> StepValues:
    """Return the mean absolute error, in the unit of the feature."""
    truth, forecast = _checked(actual, mean=mean)
    return _mean(np.abs(forecast - truth))


def mase(actual: ArrayLike, mean: ArrayLike, scale: float) -> StepValues:
    """Return the mean absolute scaled error (Hyndman and Koehler, 2006).

    Args:
        actual: (n, horizon) measured values; nan: not measured.
        mean: (n, horizon) forecasts.
        scale: from ``naive_scale`` of the training part. At 0 (a training part that never changes) the
            measure is not defined, and every value is nan.
    """
    if not scale >= 0.0 or math.isinf(scale):
        raise InputError(
            f"the scale of MASE is {scale}; it must be finite and at least 0. "
            "Take it from naive_scale(training values)."
        )
    absolute = mae(actual, mean)
    divisor = scale if scale > 0.0 else math.nan
    return StepValues(absolute.by_step / divisor, absolute.pooled / divisor)


def naive_scale(training: ArrayLike, season_length: int = 1) -> float:
    """Return the scale of MASE: the mean absolute error of the naive forecast within the training part.

    Args:
        training: (num_samples,) values of one feature in its unit; nan: not measured. Pairs of which both
            were measured count.
        season_length: samples that the naive forecast looks back: 1 for the last value, a day's samples for
            the seasonal naive forecast. MASE of the two differ; a table must say which it shows.

    Returns:
        The scale in the unit of the feature; 0 if the training part never changes.

    Raises:
        InputError: if no pair of values that far apart was measured.
    """
    values = np.asarray(training, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"training values have shape {values.shape}; pass one feature, (num_samples,)")
    if season_length < 1:
        raise InputError(f"season_length is {season_length}; it is a number of samples, at least 1")
    changes = np.abs(values[season_length:] - values[:-season_length])
    changes = changes[np.isfinite(changes)]
    if not len(changes):
        raise InputError(
            f"the {len(values)} training values hold no two measured ones that are {season_length} samples "
            "apart; give a longer training part or a shorter season_length"
        )
    return float(changes.mean())


def smape(actual: ArrayLike, mean: ArrayLike) -> StepValues:
    """Return the symmetric mean absolute percentage error as a ratio, from 0 to 2.

    The mean of ``2 |forecast - value| / (|value| + |forecast|)``, as in the M3 and M4 competitions (who
    multiply by 100). Where value and forecast are both 0 the forecast is perfect and the term is 0.
    """
    truth, forecast = _checked(actual, mean=mean)
    size = np.abs(truth) + np.abs(forecast)
    error = np.abs(forecast - truth)
    return _mean(2.0 * error / np.where(size == 0.0, 1.0, size))


def mean_relative_error(actual: ArrayLike, mean: ArrayLike) -> StepValues:
    """Return the mean of ``|forecast - value| / |value|`` (MAPE as a ratio).

    Values of 0 are left out, since no error is relative to nothing; where all are 0 the result is nan.
    """
    truth, forecast = _checked(actual, mean=mean)
    return _mean(np.abs(forecast - truth) / np.where(truth == 0.0, math.nan, np.abs(truth)))


def share_within(actual: ArrayLike, mean: ArrayLike, share: float = CLOSE) -> StepValues:
    """Return the share of forecasts with ``|forecast - value| <= share * |value|``.

    A forecast of a value of 0 counts only when it is 0 as well.
    """
    truth, forecast = _checked(actual, mean=mean)
    return _share(truth, np.abs(forecast - truth) <= share * np.abs(truth))


def pinball_loss(actual: ArrayLike, quantile: ArrayLike, probability: float) -> StepValues:
    """Return the mean pinball (quantile) loss, in the unit of the feature.

    The loss is ``probability * (value - quantile)`` above the forecast quantile and
    ``(1 - probability) * (quantile - value)`` below it; its expectation is least at the true quantile. At
    probability 0.5 it would be half the MAE of a forecast median; means are not judged by it here.

    Args:
        actual: (n, horizon) measured values; nan: not measured.
        quantile: (n, horizon) forecast quantiles.
        probability: the probability that they are forecast for, in (0, 1).
    """
    if not 0.0 < probability < 1.0:
        raise InputError(f"the probability of a quantile is {probability}; it must be above 0 and below 1")
    truth, forecast = _checked(actual, quantile=quantile)
    above = truth - forecast
    return _mean(np.maximum(probability * above, (probability - 1.0) * above))


def interval_coverage(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> StepValues:
    """Return the share of values with ``lower <= value <= upper``."""
    truth, low, high = _checked(actual, lower=lower, upper=upper)
    return _share(truth, (low <= truth) & (truth <= high))


def interval_width(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> StepValues:
    """Return the mean of ``upper - lower`` over the pairs that coverage is taken over."""
    truth, low, high = _checked(actual, lower=lower, upper=upper)
    return _mean(np.where(np.isfinite(truth), high - low, math.nan))


def interval_relative_width(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> StepValues:
    """Return the mean width divided by the mean of ``|value|``; nan where all values are 0."""
    width = interval_width(actual, lower, upper)
    size = _mean(np.abs(np.asarray(actual, dtype=np.float64)))
    sizes = np.where(size.by_step == 0.0, math.nan, size.by_step)
    return StepValues(width.by_step / sizes, width.pooled / size.pooled if size.pooled > 0.0 else math.nan)


def interval_score(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> StepValues:
    """Return the mean interval (Winkler) score of 80 % intervals, in the unit of the feature.

    The width, plus 2 / 0.2 times the distance by which a value falls outside: narrow intervals are good as
    long as they hold. It is 20 times the mean pinball loss of the two ends, in a form that reads as a width.
    """
    truth, low, high = _checked(actual, lower=lower, upper=upper)
    miss = 1.0 - (UPPER_PROBABILITY - LOWER_PROBABILITY)
    outside = np.maximum(low - truth, 0.0) + np.maximum(truth - high, 0.0)
    return _mean(high - low + 2.0 / miss * outside)


def _checked(actual: ArrayLike, **forecasts: ArrayLike) -> tuple[Floats, ...]:
    """Return actual values and forecasts as arrays of one shape, (n, horizon)."""
    truth = np.asarray(actual, dtype=np.float64)
    if truth.ndim != 2:
        raise InputError(
            f"actual values have shape {truth.shape}; pass those of one feature, (num_origins, horizon)"
        )
    if np.isinf(truth).any():
        raise InputError("an actual value is infinite; a value that was not measured must be nan")
    measured = np.isfinite(truth)
    if not measured.any():
        raise InputError(
            f"none of the {truth.size} actual values was measured (all nan); choose a part with measurements"
        )
    arrays = [np.asarray(values, dtype=np.float64) for values in forecasts.values()]
    for name, values in zip(forecasts, arrays, strict=True):
        if values.shape != truth.shape:
            raise InputError(f"{name} has shape {values.shape}, but the actual values {truth.shape}")
        bad = np.argwhere(measured & ~np.isfinite(values))
        if len(bad):
            raise InputError(
                f"{name} is not finite for {len(bad)} measured values, first at origin {bad[0, 0]}, step "
                f"{bad[0, 1] + 1}; leave out origins with too little history, or mend the model"
            )
    return (truth, *arrays)


def _check_order(truth: Floats, low: Floats, high: Floats) -> None:
    """Refuse intervals that are upside down: their width, and with it their score, would be a reward."""
    crossed = np.argwhere(np.isfinite(truth) & (low > high))
    if len(crossed):
        raise InputError(
            f"the lower end of {len(crossed)} intervals is above the upper one, first at origin "
            f"{crossed[0, 0]}, step {crossed[0, 1] + 1}; order the two before judging them"
        )


def _mean(losses: Floats) -> StepValues:
    """Return means of losses (n, horizon) over origins and over all pairs; nan: left out."""
    counted = ~np.isnan(losses)
    sums = np.where(counted, losses, 0.0).sum(axis=0)  # (horizon,)
    counts = counted.sum(axis=0)
    total = int(counts.sum())
    by_step = sums / np.where(counts == 0, math.nan, counts)
    return StepValues(by_step, float(sums.sum()) / total if total else math.nan)


def _share(truth: Floats, holds: NDArray[np.bool_]) -> StepValues:
    """Return how often something holds among the measured values."""
    return _mean(np.where(np.isfinite(truth), holds, math.nan))


def _mean_of(first: StepValues, second: StepValues) -> StepValues:
    return StepValues((first.by_step + second.by_step) / 2.0, (first.pooled + second.pooled) / 2.0)


_MEASURES: tuple[Measure, ...] = (
    Measure("rmse", FEATURE_UNIT, "lower", "Root mean squared error of the mean forecast."),
    Measure("mae", FEATURE_UNIT, "lower", "Mean absolute error of the mean forecast."),
    Measure(
        "mase", "1", "lower",
        "Mean absolute error / mean absolute error of the naive forecast within the training part; not "
        "defined if that never changes.",
    ),
    Measure(
        "smape", "1", "lower",
        "Mean of 2 |forecast - value| / (|value| + |forecast|), from 0 to 2; 0 where both are 0.",
    ),
    Measure(
        "mean_relative_error", "1", "lower", "Mean of |forecast - value| / |value|, values of 0 left out."
    ),
    Measure(
        "within_5_percent", "1", "higher", "Share of forecasts with |forecast - value| <= 0.05 |value|."
    ),
    Measure("pinball", FEATURE_UNIT, "lower", "Mean of the pinball losses of the two ends of the interval."),
    Measure(
        "pinball_lower", FEATURE_UNIT, "lower",
        "Pinball loss of the lower end as the 0.1 quantile: 0.1 (value - lower) above, "
        "0.9 (lower - value) below it.",
    ),
    Measure(
        "pinball_upper", FEATURE_UNIT, "lower",
        "Pinball loss of the upper end as the 0.9 quantile: 0.9 (value - upper) above, "
        "0.1 (upper - value) below it.",
    ),
    Measure("interval_coverage", "1", "80 %", "Share of values inside the 80 % interval, ends included."),
    Measure("interval_width", FEATURE_UNIT, "lower", "Mean width of the 80 % interval."),
    Measure(
        "interval_relative_width", "1", "lower", "Mean width of the 80 % interval / mean of |value|."
    ),
    Measure(
        "interval_score", FEATURE_UNIT, "lower",
        "Winkler score: width of the 80 % interval + 10 times the distance of a value outside it.",
    ),
)  # fmt: skip

QUALITY_MEASURES: dict[str, Measure] = {each.name: each for each in _MEASURES}
"""Every measure by name. One definition each: tables, files and documentation take it from here."""

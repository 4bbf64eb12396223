"""Exponential smoothing: a level, a damped trend and a daily season that follow the newest values.

Parameters and states both come from statsmodels. The recursion runs once over a series with the parameters
fixed; its state at a sample looks at earlier samples only, because nothing about the beginning is estimated
from the series at hand: the first level is the first value (less the season) and the first trend is zero.
Sources: Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, chapter 8; Gardner
and McKenzie (1985) for the damped trend.
"""

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.base import Forecaster
from podgym.forecasters.naive import DAY_S
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series

if TYPE_CHECKING:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

SEASON_WIDTHS_S = (0.0, 900.0, 1800.0, 3600.0)
"""Widths of the running mean over the daily profile, of which the best on held-out samples is taken."""

Floats = NDArray[np.float64]

_FEWEST_DAYS = 2  # with fewer, a season cannot be told from chance
_DAMPING_START = 0.95
_LEVEL, _TREND, _SEASON, _DAMPING = range(4)  # columns of the smoothing parameters


class Ewma(Forecaster):
    """Simple exponential smoothing: the exponentially weighted mean of all values so far, held.

    The weight of the newest value is the one with the least squared error one step ahead in training.

    Raises:
        InputError: on ``fit``, when statsmodels is not installed.
    """

    name = "ewma"
    min_context = 1

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        self._weights = np.array([_newest_weight(column) for column in series.values[:fit_stop].T])

    def _means(self, series: Series, origins: NDArray[np.int64]) -> Floats:
        import pandas as pd

        level = np.empty((origins[-1] + 1, series.num_features))  # physical units
        for feature, weight in enumerate(self._weights):
            # Without `adjust` this is the recursion of simple exponential smoothing from the first value.
            values = pd.Series(series.values[: origins[-1] + 1, feature])
            level[:, feature] = values.ewm(alpha=float(weight), adjust=False).mean().to_numpy()
        return np.repeat(level[origins, None, :], self._horizon, axis=1)

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"horizon_minutes": self.horizon_minutes}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"weights": self._weights}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._weights = np.array(arrays["weights"], dtype=np.float64)

    @property
    def _parameters(self) -> int:
        return self._weights.size


class HoltWinters(Forecaster):
    """Additive Holt-Winters: a level, a damped trend and, from two days of training on, a daily season.

    The season starts from the mean profile of the training days and is updated from there on; a forecast for
    another stretch starts from the same profile, put in place by the clock of the series. A profile of few
    days is mostly noise when the step is a minute. So it is smoothed by a running mean around the clock, and
    each feature takes the width in ``SEASON_WIDTHS_S``, or no season at all, that has the least squared error
    on the samples kept for early stopping. A step that does not divide the day gets no season.

    Raises:
        InputError: on ``fit`` or a forecast, when statsmodels is not installed.
    """

    name = "holt_winters"

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        period = _day_steps(series.step_s)
        period = period if fit_stop >= _FEWEST_DAYS * period else 0
        self._smoothing = np.empty((series.num_features, 4))
        self._profiles = np.empty((series.num_features, period))  # physical units by time of day
        for feature, column in enumerate(series.values.T):
            season, smoothing = _best(column, trusted, fit_stop, period, self._horizon)
            self._smoothing[feature] = smoothing
            self._profiles[feature] = np.roll(season, _first_slot(series, period))
            run.progress(feature + 1, series.num_features, series.features[feature])

    def _means(self, series: Series, origins: NDArray[np.int64]) -> Floats:
        first_slot = _first_slot(series, self._profiles.shape[1])
        values = series.values[: origins[-1] + 1]
        features = [
            _forecast(values[:, feature], smoothing, np.roll(profile, -first_slot), origins, self._horizon)
            for feature, (smoothing, profile) in enumerate(zip(self._smoothing, self._profiles, strict=True))
        ]
        return np.stack(features, axis=2)

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"horizon_minutes": self.horizon_minutes}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"smoothing": self._smoothing, "profiles": self._profiles}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._smoothing = np.array(arrays["smoothing"], dtype=np.float64)
        self._profiles = np.array(arrays["profiles"], dtype=np.float64)

    @property
    def _parameters(self) -> int:
        num_features, period = self._profiles.shape
        return num_features * (4 + period if period else 3)


def daily_profile(values: Floats, trusted: NDArray[np.bool_], period: int, width: int) -> Floats:
    """Return by how much a series usually lies above its level at each time of the day.

    Classical decomposition: less the running mean of a day, averaged over the days, then smoothed.

    Args:
        values: (num_samples,) physical units, two periods or more.
        trusted: (num_samples,) False for samples that were not measured.
        period: samples of a day.
        width: odd number of samples that the profile is averaged over, around the clock.

    Returns:
        (period,) physical units, mean 0; element k belongs to samples k, k + period, ...
    """
    import pandas as pd

    level = pd.Series(values).rolling(period, center=True).mean().ffill().bfill().to_numpy()
    slots = np.arange(len(values)) % period
    sums = np.bincount(slots[trusted], weights=(values - level)[trusted], minlength=period)
    counts = np.bincount(slots[trusted], minlength=period)
    seen = np.flatnonzero(counts)
    if not len(seen):
        return np.zeros(period)
    profile = np.interp(np.arange(period), seen, sums[seen] / counts[seen], period=period)
    half = width // 2
    smooth = np.convolve(np.pad(profile, half, mode="wrap"), np.ones(width) / width, mode="valid")
    result: Floats = smooth - smooth.mean()
    return result


def _best(
    values: Floats, trusted: NDArray[np.bool_], fit_stop: int, period: int, horizon: int
) -> tuple[Floats, Floats]:
    """Return the season and the smoothing parameters (4,) that forecast the held-out samples best.

    The season (period,) is that of the first samples; all zeros when none is better.
    """
    learned = values[:fit_stop]
    # Odd numbers of steps, so that the middle of the running mean is a sample.
    widths = sorted({round(width_s * period / DAY_S) // 2 * 2 + 1 for width_s in SEASON_WIDTHS_S})
    profiles = [daily_profile(learned, trusted[:fit_stop], period, width) for width in widths if period]
    candidates = [np.zeros(period), *profiles]
    fits = [(season, _estimate(learned, season)) for season in candidates]
    origins = np.arange(fit_stop - 1, len(values) - horizon)
    targets = origins[:, None] + np.arange(1, horizon + 1)  # (num_origins, horizon) samples
    known = trusted[targets]
    if len(fits) == 1 or not known.any():
        return fits[0]
    errors = [
        float(np.mean((_forecast(values, smoothing, season, origins, horizon) - values[targets])[known] ** 2))
        for season, smoothing in fits
    ]
    return fits[int(np.argmin(errors))]


def _estimate(values: Floats, season: Floats) -> Floats:
    """Return the smoothing parameters (4,) with the least squared error one step ahead."""
    weight = _newest_weight(values)
    if _is_constant(values):
        return np.array([weight, 0.0, 0.0, _DAMPING_START])
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    weight = min(max(weight, 0.01), 0.99)  # the search starts inside its bounds
    scale = values.std()  # the optimiser's tolerances are absolute
    seasonal = bool(season.any())
    # Starting from the best level alone finds what the grid search of statsmodels finds, 20 times faster.
    start = [weight, 0.05 * weight, 0.05 * (1.0 - weight), _DAMPING_START]
    if not seasonal:
        del start[_SEASON]
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # Where the squared error is flat (no trend: any damping is as good) the search need not settle.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _model((values - values.mean()) / scale, season / scale if seasonal else season[:0])
        found = model.fit(start_params=np.array(start), use_brute=False).params
    names = ("smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend")
    result = np.array([found[name] for name in names], dtype=np.float64)
    if not seasonal:
        result[_SEASON] = 0.0  # statsmodels writes nan
    return result


def _forecast(
    values: Floats, smoothing: Floats, season: Floats, origins: NDArray[np.int64], horizon: int
) -> Floats:
    """Return the means (num_origins, horizon) of one feature.

    Args:
        values: (num_samples,) physical units.
        smoothing: (4,) parameters.
        season: (period,) season of the first samples, physical units; empty: none.
        origins: (num_origins,) sample indices.
        horizon: steps ahead, fewer than a period.
    """
    given = {"smoothing_level": smoothing[_LEVEL], "smoothing_trend": smoothing[_TREND]}
    if len(season):
        given["smoothing_seasonal"] = smoothing[_SEASON]
    with np.errstate(divide="ignore", invalid="ignore"):  # information criteria of a perfect fit
        states = _model(values, season).fit(optimized=False, damping_trend=smoothing[_DAMPING], **given)
    ahead = np.arange(1, horizon + 1)
    damped = np.cumsum(smoothing[_DAMPING] ** ahead)  # (horizon,) steps that the trend is worth
    mean: Floats = states.level[origins, None] + states.trend[origins, None] * damped
    if len(season):
        # Element i holds for sample i, and was known at sample i - period.
        seasons = np.concatenate([season, states.season])
        mean += seasons[origins[:, None] + ahead]
    return mean


def _model(values: Floats, season: Floats) -> "ExponentialSmoothing":
    """Return the model of statsmodels, started from the first value and the season given."""
    return _holtwinters().ExponentialSmoothing(
        np.ascontiguousarray(values),
        trend="add",
        damped_trend=True,
        seasonal="add" if len(season) else None,
        seasonal_periods=len(season) or None,
        initialization_method="known",
        initial_level=values[0] - (season[0] if len(season) else 0.0),
        initial_trend=0.0,
        initial_seasonal=season if len(season) else None,
    )


def _newest_weight(values: Floats) -> float:
    """Return the weight of the newest value in simple exponential smoothing, above 0 and at most 1."""
    if _is_constant(values):
        return 1.0  # any weight fits, and this one follows the first change
    scaled = np.ascontiguousarray((values - values.mean()) / values.std())
    model = _holtwinters().SimpleExpSmoothing(scaled, initialization_method="known", initial_level=scaled[0])
    return float(model.fit().params["smoothing_level"])


def _is_constant(values: Floats) -> bool:
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def _holtwinters() -> ModuleType:
    try:
        from statsmodels.tsa import holtwinters
    except ImportError as error:
        raise InputError(
            "exponential smoothing needs statsmodels, which is not installed; run "
            "pip install 'podgym[forecast]'."
        ) from error
    module: ModuleType = holtwinters
    return module


def _day_steps(step_s: float) -> int:
    """Return the steps of a day, 0 when the step does not divide it (or leaves no season within it)."""
    steps = DAY_S / step_s
    return round(steps) if steps >= 2.0 and abs(steps - round(steps)) < 1e-9 * steps else 0


def _first_slot(series: Series, period: int) -> int:
    """Return at which step of the day a series begins."""
    return round(series.start_s / series.step_s) % period if period else 0

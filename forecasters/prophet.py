"""Prophet: a trend and the seasons of day and week, read off the clock.

Source: Taylor and Letham (2018), "Forecasting at Scale", The American Statistician 72(1); the package
``prophet``. It knows the clock only. What the service does at the moment changes none of its forecasts, so
on its own it is a weak guide for the next minutes; a hybrid learns what is left once its part is taken off.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, unknown_name
from podgym.forecasters.base import HORIZON_MINUTES, Forecaster
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.naive import DAY_S, require_seconds
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series

if TYPE_CHECKING:
    import pandas as pd

Growth = Literal["flat", "linear"]
"""``flat``: one level; ``linear``: Prophet's piecewise line, continued at its last slope."""
DAILY_ORDER = 12
"""Pairs of sine and cosine that make up a day; two hours is the shortest wave. Prophet's own 4 are too smooth
for the load of a service."""

_DAYS_FOR_DAILY, _DAYS_FOR_WEEKLY = 2, 14
_MONDAY = "2001-01-01"  # clocks count from Monday 00:00; which one changes no forecast
_GROWTHS = ("flat", "linear")
_LEARNED = ("k", "m", "delta", "beta", "sigma_obs")  # slope, level, slope changes, season, noise
_TALKATIVE = ("prophet", "prophet.models", "prophet.plot", "cmdstanpy")


class ProphetForecaster(Forecaster):
    """Trend and season at the time of each target; the values of the history play no part.

    It cannot react: two histories of the same clock get the same forecast. The daily season needs two days
    of training and the weekly one two weeks; with less than two days the forecast is the trend alone. There
    is no yearly season. Each feature has a model of its own.

    Args:
        growth: ``flat`` (default) or ``linear``. A load that was recorded for days has no slope worth
            continuing, and a flat trend may be asked about any week; with ``linear``, the clock of a history
            must go on where that of the training ended.
        mean_over_s: seconds over which samples are averaged before the fit, at least one sample. Trend and
            season are smooth, and a fit to every minute takes minutes.
        seed: seed of the optimiser; equal seeds give equal fits.
        horizon_minutes: how far ahead, 1 to 60 minutes.
        cleaning: how the training series is cleaned.

    Raises:
        InputError: an option out of its range; on ``fit``, when prophet is not installed or fewer than two
            means are left to learn from.
    """

    name = "prophet"
    min_context = 1

    def __init__(
        self,
        *,
        growth: Growth = "flat",
        mean_over_s: float = 600.0,
        seed: int = 0,
        horizon_minutes: int = HORIZON_MINUTES,
        cleaning: CleaningConfig | None = None,
    ) -> None:
        super().__init__(horizon_minutes=horizon_minutes, cleaning=cleaning)
        if growth not in _GROWTHS:
            raise unknown_name("growth", growth, _GROWTHS)
        self.growth: Growth = growth
        self.mean_over_s = require_seconds("mean_over_s", mean_over_s)
        self.seed = _require_seed(seed)
        self._models: list[Any] = []

    def at(self, clock_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return trend + season at some times, whatever was measured.

        Args:
            clock_s: (n,) clock at the begin of samples, as ``Series.clock_s`` gives it, in any order.

        Returns:
            (n, num_features) physical units; not bounded, so it may lie below 0.

        Raises:
            InputError: the forecaster was neither fitted nor loaded.
        """
        if not self._models:
            self._need()
        times, place = np.unique(clock_s, return_inverse=True)
        with _quiet():
            table = _datestamps(times)
            columns = [model.predict(table)["yhat"].to_numpy(dtype=np.float64) for model in self._models]
        result: NDArray[np.float64] = np.stack(columns, axis=1)[place]
        return result

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        times, means = _means_of_bins(series.slice(0, fit_stop), trusted[:fit_stop], self.mean_over_s)
        days = fit_stop * series.step_s / DAY_S
        texts = []
        for feature, column in enumerate(means.T):
            with _quiet():
                texts.append(self._fit_one(times, column, days))
            run.progress(feature + 1, series.num_features, series.features[feature])
        # What forecasts is what a file holds: a restored forecaster cannot differ from the fitted one.
        self._restore({"models": texts}, {})

    def _fit_one(self, times: NDArray[np.float64], values: NDArray[np.float64], days: float) -> str:
        """Fit one feature and return the model as JSON, without the training data."""
        prophet, serialize = _prophet()
        model = prophet.Prophet(
            growth=self.growth,
            yearly_seasonality=False,
            weekly_seasonality=days >= _DAYS_FOR_WEEKLY,
            daily_seasonality=DAILY_ORDER if days >= _DAYS_FOR_DAILY else False,
            uncertainty_samples=0,
        )
        model.fit(_datestamps(times).assign(y=values), seed=self.seed)
        model.stan_backend.cleanup()  # files of the optimiser
        # A forecast needs neither the training data nor the trend at each of them.
        model.params = {name: part for name, part in model.params.items() if name in _LEARNED}
        model.history = model.history.head(2)
        model.history_dates = model.history_dates.head(2)
        return str(serialize.model_to_json(model))

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        targets = np.arange(origins[0] + 1, origins[-1] + self._horizon + 1)
        values = self.at(series.clock_s(targets))  # (num_targets, num_features): each time once
        ahead = np.arange(self._horizon)
        result: NDArray[np.float64] = values[(origins - origins[0])[:, None] + ahead]
        return result

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "growth": self.growth,
            "mean_over_s": self.mean_over_s,
            "seed": self.seed,
            "horizon_minutes": self.horizon_minutes,
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"models": list(self._texts)}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        with _quiet():
            _, serialize = _prophet()
            self._models = [serialize.model_from_json(text) for text in values["models"]]
        self._texts: list[str] = list(values["models"])

    @property
    def _parameters(self) -> int:
        # A flat trend has neither a slope nor changes of it, though Prophet lists both.
        unused = ("k", "delta") if self.growth == "flat" else ()
        return sum(
            part.size for model in self._models for name, part in model.params.items() if name not in unused
        )


def _means_of_bins(
    series: Series, trusted: NDArray[np.bool_], mean_over_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return clock (num_means,) and mean (num_means, num_features) of each stretch that was measured.

    The clock of a mean is that of its samples on average, so that asking for the clock of a sample needs no
    correction.
    """
    each = max(1, round(mean_over_s / series.step_s))
    measured = np.flatnonzero(trusted)
    bins, place = np.unique(measured // each, return_inverse=True)
    if len(bins) < 2:
        raise InputError(
            f"series {series.name!r} has {len(measured)} usable samples to learn from, {len(bins)} means "
            f"over {each} samples; prophet needs 2 or more. Record a longer series, or lower mean_over_s."
        )
    rows = np.column_stack([series.clock_s(measured), series.values[measured]])
    sums = np.zeros((len(bins), rows.shape[1]))
    np.add.at(sums, place, rows)
    means = sums / np.bincount(place)[:, None]
    return means[:, 0], means[:, 1:]


def _require_seed(seed: object) -> int:
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**31:
        return seed
    raise InputError(f"seed is {seed!r}; it must be a whole number from 0 to {2**31 - 1}.")


def _datestamps(clock_s: NDArray[np.float64]) -> "pd.DataFrame":
    """Return the table that Prophet takes, with days of the week as the clock has them."""
    import pandas as pd

    return pd.DataFrame({"ds": pd.Timestamp(_MONDAY) + pd.to_timedelta(clock_s, unit="s")})


def _prophet() -> tuple[Any, Any]:
    try:
        import prophet
        from prophet import serialize
    except ImportError as error:
        raise InputError(
            "the forecaster 'prophet' needs the package prophet, which is not installed; run "
            "pip install 'podgym[forecast]'."
        ) from error
    return prophet, serialize


def _worth_showing(record: logging.LogRecord) -> bool:
    # Prophet reports a missing plotly as an error, though nothing is plotted here.
    return record.levelno >= logging.ERROR and "plotly" not in record.getMessage()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Prophet and its optimiser from talking, for as long as the block runs.

    Levels of loggers stay as they are; only deprecations in Prophet's own code are left unsaid.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    for logger in loggers:
        logger.addFilter(_worth_showing)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category, module=r"prophet\.")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_worth_showing)

"""Forecasters that are told what to forecast, so that their quality is known in closed form."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.forecasters.base import Forecast, Forecaster
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.evaluation.measures import quality
from podgym.forecasters.evaluation.rolling import ModelResult
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series
from podgym.forecasters.sources import TraceSeries

AS_IS = CleaningConfig(z_threshold=None, anomalies=False)


class Told(Forecaster):
    """Tells the true values plus given errors, (num_samples,) or a number; ``origins_asked`` keeps score."""

    name = "told"
    min_context = 2

    def __init__(self, truth: Series, errors: Any = 0.0, *, horizon_minutes: int = 5) -> None:
        super().__init__(horizon_minutes=horizon_minutes, cleaning=AS_IS)
        wrong = np.nan_to_num(truth.values) + np.reshape(errors, (-1, 1))
        self.told = np.concatenate([wrong, np.repeat(wrong[-1:], 100, axis=0)])
        self.origins_asked: list[NDArray[np.int64]] = []

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        pass

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        self.origins_asked.append(origins)
        return self.told[origins[:, None] + np.arange(1, self._horizon + 1)]

    def options(self) -> dict[str, Any]:
        return {}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        pass


def told(
    data: TraceSeries, errors: Any = 0.0, *, name: str = "told", context: int = 2, horizon_minutes: int = 5
) -> Told:
    """Return a fitted forecaster of a trace, under any name."""
    kind = type(name, (Told,), {"name": name, "min_context": context})
    forecaster: Told = kind(data.series, errors, horizon_minutes=horizon_minutes)
    return forecaster.fit(data.part("train"))


def trace(
    values: Any, *, unit: str = "requests/s", step_s: float = 60.0, start_s: float = 0.0
) -> TraceSeries:
    """Return a trace with the usual parts, 70, 15 and 15 %."""
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    names = ("rate_rps", "memory_percent")[: table.shape[1]]
    units = (unit, "%")[: table.shape[1]]
    size = len(table)
    series = Series("made", names, units, table, step_s, start_s)
    return TraceSeries(series, int(0.7 * size), int(0.85 * size))


def daily(num_samples: int, num_features: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return positive values with a day and noise, (num_samples, num_features)."""
    random = np.random.default_rng(seed)
    day = 20.0 * np.sin(2.0 * np.pi * np.arange(num_samples) / 1440.0)
    return 60.0 + day[:, None] + random.normal(0.0, 1.0, (num_samples, num_features))


def scaled(result: ModelResult, factors: Any) -> ModelResult:
    """Scale the errors of a result of one feature, (horizon, 1) factors."""
    mean = result.actual + factors * (result.forecast.mean - result.actual)
    forecast = Forecast(mean, mean - 1.0, mean + 1.0)
    parts = (result.actual[..., 0], mean[..., 0], mean[..., 0] - 1.0, mean[..., 0] + 1.0)
    return replace(result, forecast=forecast, quality=(quality(*parts, 1.0),))

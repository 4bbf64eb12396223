"""The forecasts that cost nothing: last value, the value a period ago, and the line through first and last.

A model that does not beat them is not worth its keep (Hyndman and Athanasopoulos, "Forecasting: Principles
and Practice", 3rd edition, section 5.2). Nothing is learned, and every forecast is one array expression.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.base import HORIZON_MINUTES, Forecaster
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series

DAY_S = 86_400.0
"""Seconds of a day."""


class _Naive(Forecaster):
    """A forecaster that learns nothing."""

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        pass

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"horizon_minutes": self.horizon_minutes}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        pass


class LastValue(_Naive):
    """Persistence: the newest value stays as it is."""

    name = "last_value"
    min_context = 1

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        # (num_origins, horizon, num_features) physical units
        return np.repeat(series.values[origins, None, :], self._horizon, axis=1)


class SeasonalNaive(_Naive):
    """The value one period before the target, or the last value while the history is shorter than that.

    Args:
        period_s: seconds of a period; one day unless told otherwise.
        horizon_minutes: how far ahead, 1 to 60 minutes.
        cleaning: how the training series is cleaned.

    Raises:
        InputError: a period that is not a positive number of seconds; on ``fit``, one that is not a whole
            number of steps.
    """

    name = "seasonal_naive"
    min_context = 1

    def __init__(
        self,
        *,
        period_s: float = DAY_S,
        horizon_minutes: int = HORIZON_MINUTES,
        cleaning: CleaningConfig | None = None,
    ) -> None:
        super().__init__(horizon_minutes=horizon_minutes, cleaning=cleaning)
        self.period_s = require_seconds("period_s", period_s)

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().options() | {"period_s": self.period_s}

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        self._period(series.step_s)

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        period = self._period(series.step_s)
        ahead = np.arange(1, self._horizon + 1)
        # A period shorter than the horizon is gone back several times, never to a sample after the origin.
        back = period * -(-ahead // period)  # (horizon,) steps
        source = origins[:, None] + ahead - back  # (num_origins, horizon) rows
        return series.values[np.where(source >= 0, source, origins[:, None])]

    def _period(self, step_s: float) -> int:
        steps = self.period_s / step_s
        if steps < 1.0 or abs(steps - round(steps)) > 1e-9 * steps:
            raise InputError(
                f"period_s is {self.period_s:g}, which is not a whole number of steps of {step_s:g} s; "
                "choose a multiple of the step, or resample the series."
            )
        return round(steps)


class Drift(_Naive):
    """The straight line through the first and the newest value, continued.

    ``last + h * (last - first) / (number of samples - 1)``, over the whole history up to the origin.
    """

    name = "drift"

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        last = series.values[origins]  # (num_origins, num_features) physical units
        slope = (last - series.values[0]) / origins[:, None]  # physical units per step
        ahead = np.arange(1.0, self._horizon + 1.0)
        result: NDArray[np.float64] = last[:, None, :] + ahead[:, None] * slope[:, None, :]
        return result


def require_seconds(name: str, value: object) -> float:
    """Return an option that is a time, or refuse it.

    Args:
        name: name of the option, for the message.
        value: seconds as given.

    Raises:
        InputError: not a number, not positive, or not finite.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < math.inf:
        return float(value)
    raise InputError(f"{name} is {value!r}; it must be a positive, finite number of seconds.")

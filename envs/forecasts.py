"""Learned forecasts in the observation: who gives them, and the tables that a step looks them up in."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import EnvConfig, ObservationConfig
from podgym.envs.protocols import FORECAST_PERIOD_S, RateForecaster
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError

_SAMPLES_PER_MINUTE = 12
_REMEDY = (
    'give one, for example forecaster=podgym.forecasters.load_forecaster("model.forecaster") with a file '
    "written by podgym forecast train"
)


def choose_forecast(
    config: EnvConfig, forecaster: RateForecaster | None, changes: Mapping[str, Any] | None = None
) -> EnvConfig:
    """Return the configuration with the forecast "learned" if a forecaster was given.

    Args:
        config: the finished configuration.
        forecaster: what was given to the environment.
        changes: what the caller changed to arrive at ``config``, in the form that ``override`` takes. It
            tells a default that nobody chose from one that was asked for.

    Raises:
        InputError: a forecaster and another forecast were asked for, the forecast is "learned" and there is
            no forecaster, or the forecaster has no ``forecast_rates``.
    """
    forecast = config.observation.forecast
    if forecaster is None:
        if forecast == "learned":
            raise InputError(f'observation.forecast is "learned" but there is no forecaster; {_REMEDY}.')
        return config
    if not callable(getattr(forecaster, "forecast_rates", None)):
        raise InputError(
            f"forecaster is {forecaster!r}; it must have a method forecast_rates (envs/protocols.py); "
            f"{_REMEDY}."
        )
    if forecast == "learned":
        return config
    if forecast != ObservationConfig().forecast or _names_forecast(changes or {}):
        raise InputError(
            f'a forecaster was given, but observation.forecast is "{forecast}": the two contradict each '
            'other. Leave one of them out, or set observation.forecast to "learned".'
        )
    observation = dataclasses.replace(config.observation, forecast="learned")
    return dataclasses.replace(config, observation=observation)


class TrueRates:
    """The true future in the form of a forecaster: what planners can know at best."""

    def forecast_rates(
        self, profile: LoadProfile, duration_s: float, horizon_minutes: int
    ) -> NDArray[np.float64]:
        """Return the mean of each coming minute of the profile, (num_rows, horizon_minutes, 3)."""
        starts_s = np.arange(math.floor(duration_s / FORECAST_PERIOD_S + 1e-9) + 1) * FORECAST_PERIOD_S
        fine_s = (np.arange(_SAMPLES_PER_MINUTE) + 0.5) * (60.0 / _SAMPLES_PER_MINUTE)
        minutes_s = 60.0 * np.arange(horizon_minutes)
        times_s = starts_s[:, None, None] + minutes_s[:, None] + fine_s  # (rows, minutes, samples)
        means = np.interp(times_s, profile.times_s, profile.values).mean(axis=-1)
        return np.repeat(means[:, :, None], 3, axis=2)


def _names_forecast(changes: Mapping[str, Any]) -> bool:
    observation = changes.get("observation")
    return "observation.forecast" in changes or (
        isinstance(observation, Mapping) and "forecast" in observation
    )


class ForecastTables:
    """The forecasts of the present episode of every environment of a batch.

    Without a forecaster there is one row, which nobody reads.
    """

    def __init__(
        self, forecaster: RateForecaster | None, num_envs: int, duration_s: float, horizon_minutes: int
    ) -> None:
        """Allocate the tables.

        Args:
            forecaster: makes the forecasts; None: there are none.
            num_envs: environments of the batch.
            duration_s: length of an episode, seconds.
            horizon_minutes: minutes of forecast.
        """
        self.forecaster = forecaster
        self._duration_s = duration_s
        rows = math.floor(duration_s / FORECAST_PERIOD_S + 1e-9) + 1
        shape = (num_envs, rows, horizon_minutes, 3) if forecaster is not None else (1, 1, 1, 3)
        self.rates = np.zeros(shape)  # mean, lower, upper in requests/s or users
        """(num_envs, rows, horizon_minutes, 3), a row per ``FORECAST_PERIOD_S``."""

    def renew(self, index: int, profile: LoadProfile) -> None:
        """Ask for the forecasts of an episode that begins in one environment.

        Raises:
            InputError: the forecaster returned something else than forecasts.
        """
        if self.forecaster is None:
            return
        table = self.rates[index]  # (rows, horizon_minutes, 3)
        returned = self.forecaster.forecast_rates(profile, self._duration_s, table.shape[1])
        rates = _checked_rates(returned, *table.shape[:2])
        table[: len(rates)] = rates
        table[len(rates) :] = rates[-1]


def _checked_rates(returned: object, most_rows: int, horizon: int) -> NDArray[np.float64]:
    """Return the rows that an episode can need, ``most_rows`` at most."""
    try:
        rates = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the forecaster returned {type(returned).__name__}, not numbers: {error}."
        ) from error
    if rates.ndim != 3 or len(rates) < 1 or rates.shape[1:] != (horizon, 3):
        raise InputError(
            f"the forecaster returned an array of shape {rates.shape}; it must be (1 or more, {horizon}, 3): "
            "rows, minutes, and mean, lower and upper end of the interval."
        )
    rates = rates[:most_rows]
    mean, lower, upper = rates[..., 0], rates[..., 1], rates[..., 2]  # each (rows, horizon)
    # A nan makes every comparison false, so that these four reductions find it too.
    ordered = (lower <= mean).all() and (mean <= upper).all()
    if not (ordered and lower.min() > -math.inf and upper.max() < math.inf):
        good = np.isfinite(rates).all(axis=-1) & (lower <= mean) & (mean <= upper)  # (rows, horizon)
        row, minute = (int(each[0]) for each in np.nonzero(~good))
        raise InputError(
            f"the forecaster returned mean {mean[row, minute]:g}, lower {lower[row, minute]:g} and upper "
            f"{upper[row, minute]:g} in row {row}, minute {minute + 1}; they must be finite, and "
            "lower <= mean <= upper."
        )
    return rates

"""Last value, seasonal naive and drift against slow loops, closed forms and a changed future."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.errors import InputError
from podgym.forecasters.base import Forecaster
from podgym.forecasters.naive import DAY_S, Drift, LastValue, SeasonalNaive
from podgym.forecasters.series import Series

STEP_S = 60.0
FORECASTERS = [LastValue(), SeasonalNaive(period_s=1800.0), SeasonalNaive(period_s=120.0), Drift()]


def make_series(values: Any, step_s: float = STEP_S) -> Series:
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    names = tuple(f"feature_{column}" for column in range(values.shape[1]))
    return Series("made", names, ("1",) * len(names), values, step_s)


def noise(seed: int, num_samples: int = 240, num_features: int = 2) -> Series:
    return make_series(np.random.default_rng(seed).normal(0.0, 1.0, (num_samples, num_features)))


def slow(forecaster: Forecaster, history: np.ndarray, ahead: int) -> np.ndarray:
    """The definitions of Hyndman and Athanasopoulos, 5.2, for one history and one step."""
    last = history[-1]
    if isinstance(forecaster, LastValue):
        return last
    if isinstance(forecaster, Drift):
        return last + ahead * (last - history[0]) / (len(history) - 1)
    assert isinstance(forecaster, SeasonalNaive)
    period = round(forecaster.period_s / STEP_S)
    index = len(history) - 1 + ahead
    while index >= len(history):
        index -= period
    return history[index] if index >= 0 else last


@pytest.mark.parametrize("forecaster", FORECASTERS, ids=lambda forecaster: forecaster.name)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), num_samples=st.integers(2, 60))
def test_means_are_those_of_the_definition(forecaster: Forecaster, seed: int, num_samples: int) -> None:
    forecaster.fit(noise(0))
    series = noise(seed, num_samples)
    result = forecaster.forecast_all(series).mean
    first = forecaster.min_context - 1
    assert result.shape == (num_samples - first, 5, 2)
    for row, origin in enumerate(range(first, num_samples)):
        for ahead in range(1, 6):
            expected = slow(forecaster, series.values[: origin + 1], ahead)
            np.testing.assert_allclose(result[row, ahead - 1], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("forecaster", FORECASTERS, ids=lambda forecaster: forecaster.name)
def test_the_future_changes_nothing(forecaster: Forecaster) -> None:
    forecaster.fit(noise(0))
    series = noise(1)
    changed = series.values.copy()
    changed[101:] += 50.0
    origins = np.arange(60, 101)
    before = forecaster.forecast_all(series, origins).mean
    np.testing.assert_array_equal(forecaster.forecast_all(make_series(changed), origins).mean, before)
    after = forecaster.forecast_all(make_series(changed), np.array([170])).mean
    assert (after != forecaster.forecast_all(series, np.array([170])).mean).all()


@pytest.mark.parametrize("forecaster", FORECASTERS, ids=lambda forecaster: forecaster.name)
def test_restored_forecaster_is_the_same(forecaster: Forecaster) -> None:
    series = noise(0)
    forecaster.fit(series)
    other = type(forecaster)(**forecaster.options())
    values, arrays = forecaster._state()
    other._restore(values, arrays)
    other._fitted, other._horizon = forecaster._fitted, forecaster._horizon
    expected = forecaster.forecast_all(noise(2))
    got = other.forecast_all(noise(2))
    for part in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(got, part), getattr(expected, part))
    assert forecaster.spec.parameters == 0


def test_drift_continues_a_line_exactly() -> None:
    line = make_series(np.column_stack([3.0 + 0.25 * np.arange(240), 90.0 - 0.5 * np.arange(240)]) - 200.0)
    forecast = Drift().fit(line).forecast(line)
    steps = 239 + np.arange(1, 6)
    np.testing.assert_allclose(forecast.mean[:, 0], -197.0 + 0.25 * steps)
    np.testing.assert_allclose(forecast.mean[:, 1], -110.0 - 0.5 * steps)


def test_seasonal_naive_knows_a_season_after_one_period() -> None:
    season = np.sin(2 * np.pi * np.arange(240) / 30)
    forecaster = SeasonalNaive(period_s=1800.0).fit(make_series(season))
    forecast = forecaster.forecast_all(make_series(season))
    truth = np.sin(2 * np.pi * (np.arange(240)[:, None] + np.arange(1, 6)) / 30)
    np.testing.assert_allclose(forecast.mean[29:, :, 0], truth[29:], atol=1e-12)
    np.testing.assert_array_equal(forecast.mean[24, :, 0], season[24])  # all targets lie in the first period
    np.testing.assert_array_equal(forecast.mean[27, :2, 0], season[27])
    np.testing.assert_allclose(forecast.mean[27, 2:, 0], season[:3])


def test_the_period_is_a_day_unless_told_otherwise() -> None:
    assert SeasonalNaive().period_s == DAY_S == 86_400.0


@pytest.mark.parametrize("period_s", [0.0, -60.0, math.inf, math.nan, True, "86400", None])
def test_period_that_is_no_time_is_refused(period_s: Any) -> None:
    with pytest.raises(InputError, match=r"period_s is .* positive, finite number of seconds"):
        SeasonalNaive(period_s=period_s)


@pytest.mark.parametrize("period_s", [90.0, 30.0])
def test_period_between_two_steps_is_refused_when_fitting(period_s: float) -> None:
    with pytest.raises(InputError, match="not a whole number of steps of 60 s"):
        SeasonalNaive(period_s=period_s).fit(noise(0))

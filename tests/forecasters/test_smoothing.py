"""Exponential smoothing against statsmodels, the textbook's recursion, closed forms and a changed future."""

import sys
from typing import Any

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.forecasters.base import Forecaster
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.series import Series
from podgym.forecasters.smoothing import Ewma, HoltWinters, daily_profile

pytest.importorskip("statsmodels")

STEP_S = 600.0
DAY = 144  # steps
HORIZON = 3  # steps
AS_IS = CleaningConfig(z_threshold=None, anomalies=False)
CLASSES = [Ewma, HoltWinters]


def make_series(values: Any, step_s: float = STEP_S, start_s: float = 0.0) -> Series:
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    names = tuple(f"feature_{column}" for column in range(values.shape[1]))
    return Series("made", names, ("1",) * len(names), values, step_s, start_s)


def season(num_samples: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(num_samples) / DAY
    return 10.0 * np.sin(angle) + 4.0 * np.cos(3 * angle)


def load(num_days: int, seed: int, noise: float = 3.0) -> np.ndarray:
    """(num_samples, 2): a season and a level that wanders; a level that wanders alone."""
    rng = np.random.default_rng(seed)
    num_samples = num_days * DAY
    walk = np.cumsum(rng.normal(0.0, 0.3, (num_samples, 2)), axis=0)
    values = walk + rng.normal(0.0, noise, (num_samples, 2))
    values[:, 0] += season(num_samples)
    return values


def build(kind: type[Forecaster]) -> Forecaster:
    return kind(horizon_minutes=30, cleaning=AS_IS)


@pytest.fixture(scope="module")
def fitted() -> dict[type[Forecaster], Forecaster]:
    series = make_series(load(6, seed=1))
    return {kind: build(kind).fit(series) for kind in CLASSES}


def textbook(values: np.ndarray, smoothing: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Hyndman and Athanasopoulos, 8.3, additive season with a damped trend: (num_samples, HORIZON)."""
    alpha, beta, gamma, phi = smoothing
    seasons = list(profile)
    level, trend = values[0] - profile[0], 0.0
    result = np.empty((len(values), HORIZON))
    for index, value in enumerate(values):
        before = level + phi * trend
        newest = alpha * (value - seasons[index]) + (1 - alpha) * before
        trend = beta * (newest - level) + (1 - beta) * phi * trend
        level = newest
        seasons.append(gamma * (value - before) + (1 - gamma) * seasons[index])
        for ahead in range(1, HORIZON + 1):
            damped = sum(phi**power for power in range(1, ahead + 1))
            result[index, ahead - 1] = level + damped * trend + seasons[index + ahead]
    return result


def test_ewma_is_the_simple_smoothing_of_statsmodels(fitted: dict[type[Forecaster], Forecaster]) -> None:
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    forecaster = fitted[Ewma]
    series = make_series(load(3, seed=2))
    result = forecaster.forecast_all(series).mean
    for feature, weight in enumerate(forecaster._weights):
        column = series.values[:, feature].copy()
        model = SimpleExpSmoothing(column, initialization_method="known", initial_level=column[0])
        level = model.fit(smoothing_level=weight, optimized=False).level
        for step in range(HORIZON):
            np.testing.assert_allclose(result[:, step, feature], level, rtol=1e-10)


def test_ewma_weight_has_the_least_error_one_step_ahead(fitted: dict[type[Forecaster], Forecaster]) -> None:
    values = load(6, seed=1)[: int(0.8 * 6 * DAY), 0]

    def error(weight: float) -> float:
        level, total = values[0], 0.0
        for value in values:
            total += (value - level) ** 2
            level += weight * (value - level)
        return total

    weight = float(fitted[Ewma]._weights[0])
    assert error(weight) <= min(error(other) for other in np.linspace(0.01, 1.0, 100)) * (1 + 1e-9)


def test_holt_winters_is_the_recursion_of_the_textbook(fitted: dict[type[Forecaster], Forecaster]) -> None:
    forecaster = build(HoltWinters)
    fit = fitted[HoltWinters]
    forecaster._fitted, forecaster._horizon = fit._fitted, fit._horizon
    rng = np.random.default_rng(5)
    smoothing = np.array([[0.3, 0.1, 0.2, 0.9], [0.6, 0.05, 0.0, 0.98]])
    profiles = rng.normal(0.0, 2.0, (2, DAY))
    forecaster._restore({}, {"smoothing": smoothing, "profiles": profiles})
    series = make_series(load(3, seed=6))
    result = forecaster.forecast_all(series).mean
    for feature in range(2):
        expected = textbook(series.values[:, feature], smoothing[feature], profiles[feature])[1:]
        np.testing.assert_allclose(result[:, :, feature], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("origin", [1, 2, DAY - 1, DAY, 300])
def test_holt_winters_forecasts_as_statsmodels_does(
    fitted: dict[type[Forecaster], Forecaster], origin: int
) -> None:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    forecaster = fitted[HoltWinters]
    series = make_series(load(3, seed=2))
    result = forecaster.forecast_all(series, np.array([origin])).mean[0, :, 0]
    alpha, beta, gamma, phi = forecaster._smoothing[0]
    profile = forecaster._profiles[0]
    history = series.values[: origin + 1, 0].copy()
    model = ExponentialSmoothing(
        history, trend="add", damped_trend=True, seasonal="add", seasonal_periods=DAY,
        initialization_method="known", initial_level=history[0] - profile[0], initial_trend=0.0,
        initial_seasonal=profile,
    )  # fmt: skip
    with np.errstate(divide="ignore"):
        fit = model.fit(smoothing_level=alpha, smoothing_trend=beta, smoothing_seasonal=gamma,
                        damping_trend=phi, optimized=False)  # fmt: skip
    np.testing.assert_allclose(result, fit.forecast(HORIZON), rtol=1e-9)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_future_changes_nothing(
    fitted: dict[type[Forecaster], Forecaster], kind: type[Forecaster]
) -> None:
    values = load(3, seed=3)
    changed = values.copy()
    changed[201:] += 50.0
    origins = np.arange(kind.min_context - 1, 201)
    before = fitted[kind].forecast_all(make_series(values), origins).mean
    np.testing.assert_array_equal(fitted[kind].forecast_all(make_series(changed), origins).mean, before)
    # Asked for together with later origins, the earlier rows stay the same as well.
    together = fitted[kind].forecast_all(make_series(changed)).mean
    np.testing.assert_array_equal(together[: len(origins)], before)
    unchanged = fitted[kind].forecast_all(make_series(values)).mean
    assert (together[len(origins) :] != unchanged[len(origins) :]).all()


@pytest.mark.parametrize("kind", CLASSES)
def test_restored_forecaster_is_the_same(
    fitted: dict[type[Forecaster], Forecaster], kind: type[Forecaster]
) -> None:
    forecaster = fitted[kind]
    values, arrays = forecaster._state()
    other = kind(**forecaster.options())
    other._restore(values, {name: array.copy() for name, array in arrays.items()})
    other._fitted, other._horizon = forecaster._fitted, forecaster._horizon
    series = make_series(load(2, seed=4), start_s=50_400.0)
    expected, got = forecaster.forecast_all(series), other.forecast_all(series)
    for part in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(got, part), getattr(expected, part))
    assert other._parameters == forecaster._parameters == forecaster.spec.parameters


@pytest.mark.parametrize("kind", CLASSES)
def test_features_do_not_mix(fitted: dict[type[Forecaster], Forecaster], kind: type[Forecaster]) -> None:
    alone = build(kind).fit(make_series(load(6, seed=1)).select(["feature_1"]))
    series = make_series(load(2, seed=4))
    expected = alone.forecast_all(series.select(["feature_1"])).mean
    np.testing.assert_array_equal(fitted[kind].forecast_all(series).mean[:, :, 1:], expected)


@pytest.mark.parametrize("kind", CLASSES)
def test_constant_level_is_held(kind: type[Forecaster]) -> None:
    """Trained on a single day, so there is no season."""
    forecaster = build(kind).fit(make_series(load(1, seed=1)))
    forecast = forecaster.forecast(make_series(np.full((50, 2), 7.5)))
    np.testing.assert_allclose(forecast.mean, 7.5, rtol=1e-12)


def test_ewma_lags_behind_a_line_by_the_age_of_its_mean(fitted: dict[type[Forecaster], Forecaster]) -> None:
    slope = 0.25
    line = np.tile(slope * np.arange(1000.0)[:, None], (1, 2))
    mean = fitted[Ewma].forecast(make_series(line)).mean
    weights = fitted[Ewma]._weights
    np.testing.assert_allclose(mean[0], slope * (999 - (1 - weights) / weights), rtol=1e-9)


def test_holt_winters_follows_a_line() -> None:
    line = make_series(-500.0 + 2.0 * np.arange(DAY))
    mean = build(HoltWinters).fit(line).forecast(line).mean[:, 0]
    rise = mean - line.values[-1, 0]
    # Damping costs a little: at most 1 % of the slope per step and power with the 0.995 of statsmodels.
    np.testing.assert_allclose(rise, 2.0 * np.arange(1, HORIZON + 1), rtol=0.03)


def test_pure_season_is_told_exactly_on_any_stretch() -> None:
    values = season(8 * DAY)
    whole = make_series(values, start_s=3 * STEP_S)
    forecaster = build(HoltWinters).fit(whole.slice(0, 5 * DAY))
    for first in (0, 5 * DAY, 6 * DAY + 37):
        stretch = whole.slice(first)
        mean = forecaster.forecast_all(stretch, np.arange(1, stretch.num_samples - HORIZON)).mean[:, :, 0]
        targets = first + 1 + np.arange(len(mean))[:, None] + np.arange(1, HORIZON + 1)
        np.testing.assert_allclose(mean, values[targets], atol=1e-6)


def test_holt_winters_gains_from_a_noisy_season_and_loses_nothing_without_one(
    fitted: dict[type[Forecaster], Forecaster],
) -> None:
    values = np.concatenate([load(6, seed=1), load(3, seed=9)])
    series = make_series(values)
    origins = np.arange(6 * DAY, len(values) - HORIZON)
    targets = values[origins[:, None] + np.arange(1, HORIZON + 1)]
    error = {
        kind: np.sqrt(np.mean((fitted[kind].forecast_all(series, origins).mean - targets) ** 2, axis=(0, 1)))
        for kind in CLASSES
    }
    assert error[HoltWinters][0] < 0.97 * error[Ewma][0]
    assert error[HoltWinters][1] < 1.01 * error[Ewma][1]


def test_season_needs_two_days_before_the_held_out_part() -> None:
    values = load(3, seed=1)
    long, short = make_series(values), make_series(values[: int(2.4 * DAY)])
    assert build(HoltWinters).fit(long)._state()[1]["profiles"].shape == (2, DAY)
    fit = build(HoltWinters).fit(short)
    assert fit._state()[1]["profiles"].shape == (2, 0)
    assert fit.spec.parameters == 2 * 3


def test_step_that_does_not_divide_the_day_gets_no_season() -> None:
    series = make_series(load(6, seed=1), step_s=420.0)
    forecaster = HoltWinters(horizon_minutes=21, cleaning=AS_IS).fit(series)
    assert forecaster._state()[1]["profiles"].shape == (2, 0)
    assert np.isfinite(forecaster.forecast(series).mean).all()


@pytest.mark.parametrize("kind", CLASSES)
def test_units_do_not_matter(fitted: dict[type[Forecaster], Forecaster], kind: type[Forecaster]) -> None:
    scale = np.array([1e6, 1e-4])
    forecaster = build(kind).fit(make_series(load(6, seed=1) * scale))
    series = make_series(load(2, seed=4))
    got = forecaster.forecast_all(make_series(series.values * scale)).mean / scale
    np.testing.assert_allclose(got, fitted[kind].forecast_all(series).mean, atol=2e-3)


@pytest.mark.parametrize("kind", CLASSES)
def test_part_that_never_changed_leaves_the_last_value(kind: type[Forecaster]) -> None:
    values = np.full(2 * DAY, 5.0)
    values[-20:] += np.arange(20.0)
    forecaster = build(kind).fit(make_series(values))
    np.testing.assert_allclose(forecaster.forecast(make_series(values)).mean, 24.0)


@pytest.mark.parametrize("kind", CLASSES)
def test_shortest_history_is_enough(
    fitted: dict[type[Forecaster], Forecaster], kind: type[Forecaster]
) -> None:
    forecast = fitted[kind].forecast(make_series([[3.0, 4.0], [3.5, 4.0]][-kind.min_context :]))
    assert forecast.mean.shape == (HORIZON, 2)
    assert np.isfinite(forecast.mean).all()


def test_profile_of_a_season_is_the_season() -> None:
    profile = daily_profile(season(3 * DAY) + 40.0, np.ones(3 * DAY, dtype=bool), DAY, 1)
    np.testing.assert_allclose(profile, season(DAY), atol=1e-9)


def test_profile_is_smoothed_around_the_clock() -> None:
    values = np.zeros(3 * DAY)
    values[::DAY] = DAY
    profile = daily_profile(values, np.ones(3 * DAY, dtype=bool), DAY, 5)
    expected = np.full(DAY, -1.0)
    expected[[-2, -1, 0, 1, 2]] += DAY / 5
    np.testing.assert_allclose(profile, expected, atol=1e-9)


def test_profile_bridges_times_of_day_that_were_never_measured() -> None:
    trusted = np.ones(3 * DAY, dtype=bool)
    for day in range(3):
        trusted[day * DAY + 10 : day * DAY + 12] = False
    profile = daily_profile(season(3 * DAY), trusted, DAY, 1)
    between = np.linspace(profile[9], profile[12], 4)
    np.testing.assert_allclose(profile[9:13], between, atol=1e-9)
    assert daily_profile(season(3 * DAY), np.zeros(3 * DAY, dtype=bool), DAY, 1).tolist() == [0.0] * DAY


@pytest.mark.parametrize("kind", CLASSES)
def test_missing_statsmodels_is_named(kind: type[Forecaster], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("statsmodels", "statsmodels.tsa", "statsmodels.tools.sm_exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'podgym\[forecast\]'"):
        build(kind).fit(make_series(load(1, seed=1)))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("minutes", [0, 61, 2.5, True, "5"])
def test_bad_horizon_is_refused(kind: type[Forecaster], minutes: Any) -> None:
    with pytest.raises(InputError, match="horizon_minutes"):
        kind(horizon_minutes=minutes)

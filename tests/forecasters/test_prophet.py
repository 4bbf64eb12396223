"""Prophet: what it can tell, what it cannot, and that it keeps quiet."""

import json
import logging
import math
import sys
from typing import Any

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.prophet import ProphetForecaster, _means_of_bins
from podgym.forecasters.series import Series

pytest.importorskip("prophet")

STEP_S = 300.0
DAY = 288  # steps
HORIZON = 2  # steps
DAY_S = 86_400.0
AS_IS = CleaningConfig(z_threshold=None, anomalies=False)


def make_series(values: Any, start_s: float = 0.0) -> Series:
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    names = tuple(f"feature_{column}" for column in range(values.shape[1]))
    return Series("made", names, ("1",) * len(names), values, STEP_S, start_s)


def season(clock_s: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * clock_s / DAY_S
    return 50.0 + 10.0 * np.sin(angle) + 3.0 * np.cos(2 * angle)


def load(num_days: int, seed: int, start_s: float = 0.0) -> Series:
    """Two features: a season with noise, and a level with noise."""
    clock_s = start_s + STEP_S * np.arange(num_days * DAY)
    noise = np.random.default_rng(seed).normal(0.0, 1.0, (len(clock_s), 2))
    return make_series(np.column_stack([season(clock_s), np.full(len(clock_s), 5.0)]) + noise, start_s)


def build(**options: Any) -> ProphetForecaster:
    return ProphetForecaster(horizon_minutes=10, cleaning=AS_IS, **options)


@pytest.fixture(scope="module")
def fitted() -> ProphetForecaster:
    return build().fit(load(5, seed=1, start_s=7200.0))


def test_daily_season_and_level_are_learned(fitted: ProphetForecaster) -> None:
    series = load(2, seed=2, start_s=5 * DAY_S + 7200.0)
    mean = fitted.forecast_all(series).mean
    targets = np.arange(series.num_samples)[:, None] + np.arange(1, HORIZON + 1)
    np.testing.assert_allclose(mean[:, :, 0], season(series.clock_s(targets)), atol=1.0)
    np.testing.assert_allclose(mean[:, :, 1], 5.0, atol=0.4)


def test_flat_trend_may_be_asked_about_any_week(fitted: ProphetForecaster) -> None:
    clock_s = np.array([3600.0, 40_000.0])
    np.testing.assert_allclose(fitted.at(clock_s), fitted.at(clock_s + 20 * DAY_S), rtol=1e-9)


def test_linear_trend_goes_on() -> None:
    line = make_series(10.0 + 0.01 * np.arange(5 * DAY))
    after = make_series(10.0 + 0.01 * np.arange(5 * DAY, 6 * DAY), start_s=5 * DAY_S)
    error = {}
    for growth in ("linear", "flat"):
        forecaster = build(growth=growth).fit(line)
        mean = forecaster.forecast_all(after, np.arange(DAY - HORIZON)).mean[:, 0, 0]
        error[growth] = np.abs(mean - after.values[1 : len(mean) + 1, 0]).max()
    assert error["linear"] < 0.2 < 5.0 < error["flat"]


def test_weekly_season_starts_on_monday() -> None:
    start_s = 3 * DAY_S  # Thursday
    clock_s = start_s + STEP_S * np.arange(21 * DAY)
    weekend = clock_s // DAY_S % 7 >= 5
    forecaster = build().fit(make_series(100.0 - 40.0 * weekend, start_s))
    noon = (np.arange(7) + 0.5) * DAY_S + 70 * DAY_S
    means = forecaster.at(noon)[:, 0]
    assert means[:5].min() > 90.0
    assert means[5:].max() < 70.0
    assert forecaster.spec.parameters > build().fit(load(5, seed=1)).spec.parameters / 2  # one feature of two


def test_values_of_the_history_play_no_part(fitted: ProphetForecaster) -> None:
    series = load(1, seed=3)
    changed = make_series(series.values * 3.0 + 1.0)
    np.testing.assert_array_equal(fitted.forecast_all(changed).mean, fitted.forecast_all(series).mean)


def test_forecast_is_the_curve_at_the_targets(fitted: ProphetForecaster) -> None:
    series = load(1, seed=3, start_s=1800.0)
    mean = fitted.forecast_all(series, np.arange(10, 20)).mean
    for row, origin in enumerate(range(10, 20)):
        clock_s = 1800.0 + STEP_S * (origin + np.arange(1, HORIZON + 1))
        np.testing.assert_allclose(mean[row], fitted.at(clock_s), rtol=1e-12)


def test_times_may_come_in_any_order(fitted: ProphetForecaster) -> None:
    clock_s = np.array([50_000.0, 300.0, 50_000.0, -600.0])
    result = fitted.at(clock_s)
    assert result.shape == (4, 2)
    for row, time_s in enumerate(clock_s):
        np.testing.assert_allclose(result[row], fitted.at(np.array([time_s]))[0], rtol=1e-12)


def test_less_than_two_days_give_the_level() -> None:
    forecaster = build().fit(load(2, seed=1))  # of which four fifths are learned from
    values = forecaster.at(STEP_S * np.arange(0, DAY, 7))
    np.testing.assert_allclose(values, np.tile(values[0], (len(values), 1)))
    np.testing.assert_allclose(values[0, 1], 5.0, atol=0.2)
    assert forecaster.spec.parameters < 10


def test_restored_forecaster_is_the_same(fitted: ProphetForecaster) -> None:
    values, arrays = fitted._state()
    other = ProphetForecaster(**fitted.options())
    other._restore(json.loads(json.dumps(values)), arrays)
    other._fitted, other._horizon = fitted._fitted, fitted._horizon
    series = load(1, seed=4, start_s=3 * DAY_S)
    expected, got = fitted.forecast_all(series), other.forecast_all(series)
    for part in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(got, part), getattr(expected, part))
    assert other._parameters == fitted._parameters == fitted.spec.parameters
    assert other._state() == (values, arrays)


def test_state_holds_no_training_data(fitted: ProphetForecaster) -> None:
    longer = build().fit(load(8, seed=1))
    sizes = [len(text) for model in (fitted, longer) for text in model._state()[0]["models"]]
    assert max(sizes) < 1.1 * min(sizes)


def test_equal_seeds_give_equal_fits(fitted: ProphetForecaster) -> None:
    again = build().fit(load(5, seed=1, start_s=7200.0))
    assert again._state() == fitted._state()


def test_features_do_not_mix(fitted: ProphetForecaster) -> None:
    alone = build().fit(load(5, seed=1, start_s=7200.0).select(["feature_1"]))
    clock_s = STEP_S * np.arange(100)
    np.testing.assert_array_equal(alone.at(clock_s)[:, 0], fitted.at(clock_s)[:, 1])


def test_nothing_is_said_and_nothing_stays_muted(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    names = ("prophet", "prophet.models", "prophet.plot", "cmdstanpy")
    before = [(list(logging.getLogger(name).filters), logging.getLogger(name).level) for name in names]
    with caplog.at_level(logging.DEBUG):
        build().fit(load(1, seed=1))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    after = [(list(logging.getLogger(name).filters), logging.getLogger(name).level) for name in names]
    assert after == before
    logging.getLogger("prophet").warning("said by someone else")
    assert [record.getMessage() for record in caplog.records] == ["said by someone else"]


def test_means_leave_out_what_was_not_measured() -> None:
    series = make_series(np.arange(9.0), start_s=600.0)
    trusted = np.array([True, True, True, False, False, False, True, False, True])
    times, means = _means_of_bins(series, trusted, 3 * STEP_S)
    np.testing.assert_allclose(means[:, 0], [1.0, 7.0])
    np.testing.assert_allclose(times, 600.0 + STEP_S * np.array([1.0, 7.0]))
    times, means = _means_of_bins(series, trusted, 1.0)  # shorter than a step: every sample
    np.testing.assert_allclose(means[:, 0], [0.0, 1.0, 2.0, 6.0, 8.0])


def test_too_few_means_are_refused() -> None:
    with pytest.raises(InputError, match="lower mean_over_s"):
        build(mean_over_s=DAY_S).fit(load(1, seed=1))


def test_missing_prophet_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prophet", None)
    with pytest.raises(InputError, match=r"pip install 'podgym\[forecast\]'"):
        build().fit(load(1, seed=1))


def test_curve_of_no_fit_is_refused() -> None:
    with pytest.raises(InputError, match="was not fitted"):
        build().at(np.zeros(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth": "liner"}, "unknown growth 'liner'; allowed: flat, linear. Did you mean 'linear'"),
        ({"mean_over_s": 0.0}, "mean_over_s is 0.0"),
        ({"mean_over_s": math.nan}, "mean_over_s is nan"),
        ({"mean_over_s": "600"}, "mean_over_s is '600'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"seed": True}, "seed is True"),
        ({"horizon_minutes": 0}, "horizon_minutes is 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ProphetForecaster(**options)

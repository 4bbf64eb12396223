"""What all forecasters share: the split, refusals that name the remedy, bounds, gaps and horizons."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.base import LONGEST_GAP, Forecaster, targets
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.intervals import RUN_IN, SCALE_WINDOW, movement
from podgym.forecasters.naive import Drift, LastValue, SeasonalNaive
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series

NAN = float("nan")
AS_IS = CleaningConfig(z_threshold=None, anomalies=False)


class Spy(Forecaster):
    """Keeps what it is given, and forecasts ever smaller values."""

    name = "spy"
    min_context = 4

    def __init__(self, *, failing: bool = False, **options: Any) -> None:
        super().__init__(cleaning=AS_IS, **options)
        self.failing = failing

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        self.given = series, trusted, fit_stop
        if self.failing:
            raise KeyboardInterrupt

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        assert not np.isnan(series.values).any()
        ahead = np.arange(1, self._horizon + 1)[None, :, None]
        return series.values[origins, None, :] - 100.0 * ahead

    def options(self) -> dict[str, Any]:
        return {}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        pass


# -- what a fit hands on ------------------------------------------------------------------------------------


def test_fit_splits_eight_one_one(make_load) -> None:
    series = make_load(1005, 2)
    forecaster = Spy().fit(series)
    given, trusted, fit_stop = forecaster.given
    assert (fit_stop, given.num_samples, len(trusted)) == (804, 904, 904)
    np.testing.assert_array_equal(given.values, series.values[:904])
    assert trusted.all()


def test_calibration_takes_the_last_tenth_only(make_load) -> None:
    """The scores are those of a slow loop over the origins of the last tenth whose targets are known."""
    series = make_load(400, 2)
    forecaster = Spy().fit(series)
    floor = 1e-3 * series.values.std(axis=0)
    expected = []
    for origin in range(360, 400 - 5):
        changes = np.diff(series.values[origin - 30 : origin + 1], axis=0)
        scale = np.maximum(np.sqrt(np.mean(changes**2, axis=0)), floor)
        mean = np.maximum(series.values[origin] - 100.0 * np.arange(1, 6)[:, None], 0.0)
        expected.append((series.values[origin + 1 : origin + 6] - mean) / scale)
    np.testing.assert_allclose(forecaster.intervals.scores, expected, rtol=1e-10)
    np.testing.assert_allclose(forecaster.intervals.floor, floor, rtol=1e-12)


def test_spec_tells_what_was_learned_from(make_load) -> None:
    series = replace(make_load(400, 2), name="yesterday", units=("%", "bytes"))
    spec = Spy(horizon_minutes=10).fit(series).spec
    assert (spec.features, spec.units) == (series.features, ("%", "bytes"))
    assert (spec.step_s, spec.horizon, spec.parameters) == (60.0, 10, 0)
    assert (spec.trained_on, spec.training_hash) == ("yesterday", series.content_hash)
    assert spec.training_samples == 400
    np.testing.assert_array_equal(spec.low, series.values.min(axis=0))
    np.testing.assert_array_equal(spec.high, series.values.max(axis=0))
    assert 0.0 <= spec.fit_s < 60.0


def test_long_gaps_are_told_and_short_ones_bridged(make_load) -> None:
    series = make_load(1000)
    values = np.array(series.values)
    values[100 : 100 + LONGEST_GAP] = NAN
    values[200 : 200 + LONGEST_GAP + 1] = NAN
    forecaster = Spy().fit(replace(series, values=values))
    given, trusted, _ = forecaster.given
    assert np.flatnonzero(~trusted).tolist() == list(range(200, 200 + LONGEST_GAP + 1))
    line = np.interp(np.arange(99, 111), [99, 110], values[[99, 110], 0])
    np.testing.assert_allclose(given.values[99:111, 0], line)


def test_gaps_in_the_last_tenth_are_not_calibrated_on(make_load) -> None:
    series = make_load(400)
    values = np.array(series.values)
    values[365:380] = NAN
    scores = Spy().fit(replace(series, values=values)).intervals.scores
    # Origins 360 to 394, less those in the gap (365 to 379) and those of which a target was not measured.
    assert len(scores) == 35 - 15 - 5
    values[362:399] = NAN
    with pytest.raises(InputError, match=r"has 0 usable samples in its last tenth.*close its gaps"):
        Spy().fit(replace(series, values=values))


@pytest.mark.parametrize(("interrupted", "error"), [(True, KeyboardInterrupt), (False, InputError)])
def test_a_fit_that_fails_leaves_no_half_fitted_forecaster(interrupted: bool, error: type, make_load) -> None:
    """Neither the spec of the former fit with the new model, nor intervals that rest on nothing."""
    forecaster = Spy().fit(make_load(400))
    forecaster.failing = interrupted
    values = np.array(make_load(400).values)
    values[361:] = NAN  # leaves nothing to calibrate the intervals with
    with pytest.raises(error):
        forecaster.fit(replace(make_load(400), values=values))
    with pytest.raises(InputError, match="was not fitted"):
        forecaster.forecast(make_load(50))


def test_a_series_that_is_refused_leaves_the_former_fit(make_load, make_series) -> None:
    forecaster = LastValue().fit(make_load(400))
    with pytest.raises(InputError, match="constant"):
        forecaster.fit(make_series(np.ones(400)))
    assert forecaster.forecast(make_load(50)).mean.shape == (5, 1)


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("forecaster", "needed"), [(Spy(), 110), (LastValue(), 110), (Drift(), 110)])
def test_as_many_samples_as_the_message_asks_for_are_enough(forecaster, needed: int, make_load) -> None:
    with pytest.raises(InputError, match=rf"has {needed - 1} samples; .* needs {needed} or more. Record a"):
        forecaster.fit(make_load(needed - 1))
    forecaster.fit(make_load(needed))
    assert len(forecaster.intervals.scores) > 5


def test_a_long_window_needs_a_longer_series(make_load) -> None:
    forecaster = Spy()
    forecaster.min_context = 60
    with pytest.raises(InputError, match=r"window of 60 and a horizon of 5 steps needs 650 or more"):
        forecaster.fit(make_load(649))
    forecaster.fit(make_load(650))


def test_useless_features_are_named(make_load) -> None:
    series = make_load(400, 2)
    values = np.array(series.values)
    values[:, 1] = 7.5
    with pytest.raises(
        InputError, match=r"'feature_1' is constant at 7\.5: there is nothing to learn. Leave"
    ):
        Spy().fit(replace(series, values=values))
    values[:, 1] = NAN
    with pytest.raises(InputError, match="'feature_1' has no measured value; leave it out"):
        Spy().fit(replace(series, values=values))


@pytest.mark.parametrize(
    ("minutes", "step_s", "steps"),
    [
        (5, 60.0, 5),
        (30, 60.0, 30),
        (5, 300.0, 1),
        (30, 300.0, 6),
        (60, 3600.0, 1),
        (1, 0.1, 600),
        (10, 7.5, 80),
    ],
)
def test_horizon_in_steps(minutes: int, step_s: float, steps: int) -> None:
    assert LastValue(horizon_minutes=minutes).horizon_steps(step_s) == steps


@pytest.mark.parametrize(("minutes", "step_s"), [(5, 120.0), (5, 301.0), (5, 600.0), (30, 3600.0), (1, 7.0)])
def test_a_step_that_does_not_divide_the_horizon_is_refused(minutes, step_s, make_load) -> None:
    with pytest.raises(InputError, match=r"not a whole number of steps of .*; choose a multiple of the step"):
        LastValue(horizon_minutes=minutes).fit(make_load(2000, step_s=step_s))


@pytest.mark.parametrize("minutes", [0, 61, -5, 1.5, 5.0, True, "5", None])
def test_a_horizon_that_is_no_number_of_minutes_is_refused(minutes: Any) -> None:
    with pytest.raises(InputError, match=r"horizon_minutes is .*; it must be a whole number from 1 to 60"):
        LastValue(horizon_minutes=minutes)


def test_what_was_not_fitted_does_not_forecast(make_load) -> None:
    for use in (
        lambda forecaster: forecaster.forecast(make_load(50)),
        lambda forecaster: forecaster.forecast_all(make_load(50)),
        lambda forecaster: forecaster.spec,
        lambda forecaster: forecaster.intervals,
        lambda forecaster: forecaster.cleaning_report,
    ):
        with pytest.raises(InputError, match="'last_value' was not fitted; call fit"):
            use(LastValue())


@pytest.fixture(scope="module")
def fitted(make_load) -> Spy:
    return Spy().fit(make_load(1000, 2))


@pytest.mark.parametrize("method", ["forecast", "forecast_all"])
def test_series_of_another_kind_are_refused(fitted: Spy, method: str, make_load) -> None:
    series, call = make_load(50, 2), getattr(fitted, method)
    with pytest.raises(
        InputError, match=r"features feature_1, feature_0; .* trained on feature_0, feature_1"
    ):
        call(series.select(["feature_1", "feature_0"]))
    with pytest.raises(InputError, match=r"features feature_0; .*Series.select"):
        call(series.select(["feature_0"]))
    with pytest.raises(InputError, match=r"step of 300 s; .* trained on 60 s\. .*resample"):
        call(make_load(50, 2, step_s=300.0))
    with pytest.raises(InputError, match="has 3 samples; spy needs 4 or more"):
        call(series.slice(0, 3))
    with pytest.raises(InputError, match="has 0 samples"):
        call(series.slice(0, 0))


@pytest.mark.parametrize(
    ("origins", "message"),
    [
        ([], "consecutive"),
        ([10, 12], "consecutive"),
        ([10, 10], "consecutive"),
        ([11, 10], "consecutive"),
        ([[10, 11]], "consecutive"),
        ([2, 3], "from 2 to 3; they must lie from 3 to 49"),
        ([-1, 0], "must lie from 3 to 49"),
        ([49, 50], "from 49 to 50; they must lie from 3 to 49"),
    ],
)
def test_origins_that_are_none_are_refused(fitted: Spy, origins: Any, message: str, make_load) -> None:
    with pytest.raises(InputError, match=message):
        fitted.forecast_all(make_load(50, 2), np.array(origins, dtype=np.int64))


@pytest.mark.parametrize("silent", [10, 11])
def test_silence_at_the_end(fitted: Spy, silent: int, make_load) -> None:
    series = make_load(50, 2)
    values = np.array(series.values)
    values[50 - silent :, 1] = NAN
    history = replace(series, values=values)
    if silent <= LONGEST_GAP:
        held = values[49 - silent, 1]
        assert fitted.forecast(history).mean[0, 1] == held - 100.0
        return
    with pytest.raises(
        InputError, match=r"11 samples in which 'feature_1'.* Mend the monitoring, or fall back"
    ):
        fitted.forecast(history)
    fitted.forecast_all(history)  # past origins may be asked about


def test_a_long_horizon_bears_a_longer_silence(make_load) -> None:
    forecaster = LastValue(horizon_minutes=30).fit(make_load(1000))
    values = np.array(make_load(100).values)
    values[70:] = NAN
    history = replace(make_load(100), values=values)
    np.testing.assert_array_equal(forecaster.forecast(history).mean, np.full((30, 1), values[69]))
    with pytest.raises(InputError, match="31 samples"):
        forecaster.forecast(replace(history, values=np.vstack([values[1:], [[NAN]]])))


def test_a_history_in_which_nothing_was_measured_is_refused(fitted: Spy, make_series) -> None:
    for num_samples in (4, 50):
        with pytest.raises(InputError, match=r"not measured|no measured value"):
            fitted.forecast(make_series(np.full((num_samples, 2), NAN)))


# -- what forecasts are like --------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [60.0, 300.0])
@pytest.mark.parametrize("minutes", [5, 10, 15, 20, 25, 30])
def test_shapes_from_five_to_thirty_minutes(minutes: int, step_s: float, make_load) -> None:
    horizon = round(minutes * 60 / step_s)
    training, series = make_load(900, 2, step_s=step_s), make_load(120, 2, step_s=step_s, seed=1)
    for forecaster in (LastValue(horizon_minutes=minutes), SeasonalNaive(horizon_minutes=minutes)):
        forecaster.fit(training)
        every = forecaster.forecast_all(series)
        one = forecaster.forecast(series)
        for name in ("mean", "lower", "upper"):
            assert getattr(every, name).shape == (120, horizon, 2)
            assert np.isfinite(getattr(every, name)).all()
            np.testing.assert_array_equal(getattr(one, name), getattr(every, name)[-1])


def test_a_feature_that_never_was_negative_is_never_forecast_so(make_load) -> None:
    """The spy forecasts values 100 to 500 lower: below 0 for the first feature, which never was."""
    series = make_load(400, 2)
    values = np.array(series.values)
    values[:, 1] = values[:, 0] - 60.0
    assert values[:, 0].min() > 0.0 > values[:, 1].min()
    forecast = Spy().fit(replace(series, values=values)).forecast_all(replace(series, values=values))
    for name in ("mean", "lower", "upper"):
        assert (getattr(forecast, name)[:, :, 0] >= 0.0).all()
    assert (forecast.mean[:, :, 1] < 0.0).all()
    np.testing.assert_array_equal(forecast.mean[:, :, 0], 0.0)


def test_before_the_first_measurement_nothing_is_told(fitted: Spy, make_load) -> None:
    series = make_load(60, 2)
    values = np.array(series.values)
    values[:6], values[:20, 1] = NAN, NAN
    forecast = fitted.forecast_all(replace(series, values=values))
    for name in ("mean", "lower", "upper"):
        told = getattr(forecast, name)
        assert np.isnan(told[: 20 - 3]).all()
        assert np.isfinite(told[20 - 3 :]).all()


def test_gaps_are_held_at_the_last_measured_value(fitted: Spy, make_load) -> None:
    series = make_load(60, 2)
    values, held = np.array(series.values), np.array(series.values)
    values[30:50, 0], held[30:50, 0] = NAN, held[29, 0]
    got = fitted.forecast_all(replace(series, values=values))
    np.testing.assert_array_equal(got.mean, fitted.forecast_all(replace(series, values=held)).mean)


def test_targets_against_a_slow_loop(make_load) -> None:
    values = make_load(30, 2).values
    got = targets(values, np.arange(20, 30), 4)
    for row, origin in enumerate(range(20, 30)):
        for step in range(4):
            index = origin + 1 + step
            expected = values[index] if index < 30 else np.full(2, NAN)
            np.testing.assert_array_equal(got[row, step], expected)


def test_origins_choose_rows(fitted: Spy, make_load) -> None:
    series = make_load(60, 2)
    some, every = fitted.forecast_all(series, np.arange(20, 31)), fitted.forecast_all(series)
    np.testing.assert_array_equal(some.mean, every.mean[20 - 3 : 31 - 3])
    # The intervals of the first rows rest on the calibration, not on origins that were not given.
    unknown = fitted.intervals.quantiles(np.full((1, 5, 2), NAN))[1][0]  # (horizon, num_features)
    scale = movement(series.values, fitted.intervals.floor)[20]
    np.testing.assert_allclose(some.upper[0], np.maximum(some.mean[0] + unknown * scale, 0.0), rtol=1e-12)
    assert (some.upper[0] != every.upper[17]).any()


def test_a_forecast_is_followed_over_the_newest_day_of_origins(make_load) -> None:
    """It is the last row of as many origins as intervals run in; what came before those changes nothing."""
    forecaster = LastValue().fit(make_load(1000))
    num_samples = RUN_IN + 300
    series = make_load(num_samples, seed=3)
    whole = forecaster.forecast(series)
    newest = forecaster.forecast(series.slice(num_samples - RUN_IN - SCALE_WINDOW))
    every = forecaster.forecast_all(series, np.arange(num_samples - RUN_IN, num_samples))
    for name in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(every, name)[-1])
        np.testing.assert_array_equal(getattr(newest, name), getattr(whole, name))

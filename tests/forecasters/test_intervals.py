"""Intervals against slow loops, and whether they hold the share of values that they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.forecasters import intervals as module
from podgym.forecasters.base import Forecast, Forecaster, targets
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.factory import make_forecaster
from podgym.forecasters.intervals import NEWEST_SCORES, SCALE_WINDOW, ConformalIntervals, movement

NAN = float("nan")
FLOOR = np.array([1e-3, 1e-3])
AS_IS = CleaningConfig(z_threshold=None, anomalies=False)


def slow_quantiles(held: np.ndarray, scores: np.ndarray, newest: int) -> tuple[np.ndarray, np.ndarray]:
    """What was known at each origin, gathered value by value."""
    low, high = np.empty_like(scores), np.empty_like(scores)
    num_origins, horizon, num_features = scores.shape
    for origin in range(num_origins):
        for step in range(1, horizon + 1):
            for feature in range(num_features):
                line = [*held[:, step - 1, feature], *scores[:, step - 1, feature]]
                # The error `step` ahead of origin k is known at k + step.
                known = line[: len(held) + origin - step + 1]
                known = [score for score in known if not np.isnan(score)][-newest:]
                ends = np.quantile(known, [0.1, 0.9])
                low[origin, step - 1, feature] = min(ends[0], 0.0)
                high[origin, step - 1, feature] = max(ends[1], 0.0)
    return low, high


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    num_held=st.integers(4, 12),
    num_origins=st.integers(1, 25),
    newest=st.integers(3, 14),
    bias=st.sampled_from([0.0, 3.0, -3.0]),
    share_missing=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
def test_quantiles_against_a_slow_loop(
    seed: int, num_held: int, num_origins: int, newest: int, bias: float, share_missing: float
) -> None:
    random = np.random.default_rng(seed)
    held = random.normal(bias, 1.0, (num_held, 3, 2))
    scores = random.normal(bias, 2.0, (num_origins, 3, 2))
    scores[random.random(scores.shape) < share_missing] = NAN
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NEWEST_SCORES", newest)
        got = ConformalIntervals(held, FLOOR).quantiles(scores)
    for ends, wanted in zip(got, slow_quantiles(held, scores, newest), strict=True):
        np.testing.assert_allclose(ends, wanted, rtol=1e-12, atol=1e-12)


def test_quantiles_of_many_origins_against_a_slow_loop() -> None:
    random = np.random.default_rng(5)
    held, scores = random.normal(0.0, 1.0, (300, 2, 1)), random.normal(0.0, 5.0, (900, 2, 1))
    got = ConformalIntervals(held, FLOOR[:1]).quantiles(scores)
    for ends, wanted in zip(got, slow_quantiles(held, scores, NEWEST_SCORES), strict=True):
        np.testing.assert_allclose(ends, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["quantiles", "ends"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_error_is_used_once_it_is_known_and_no_earlier(step: int, method: str) -> None:
    """One changed error, `step` ahead of origin 10, moves the ends of that step from 10 + step on."""
    random = np.random.default_rng(1)
    scores = random.normal(0.0, 1.0, (40, 3, 1))
    scores[10] = 0.0
    intervals = ConformalIntervals(random.normal(0.0, 1.0, (5, 3, 1)), FLOOR[:1])
    changed = scores.copy()
    changed[10, step - 1] = 1e9
    before, after = (getattr(intervals, method)(each)[1] for each in (scores, changed))
    origins, steps, _ = np.nonzero(before != after)
    assert set(steps) == {step - 1}
    assert origins.min() == 10 + step


def slow_ends(
    intervals: ConformalIntervals, scores: np.ndarray, most: float, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of one step and feature at a time: stretched after a miss, drawn in after a hit."""
    low, high = intervals.quantiles(scores)
    length = high - low
    ends = -np.minimum(low, -0.02 * length), np.maximum(high, 0.02 * length)  # lengths of both sides
    for step in range(1, scores.shape[1] + 1):
        for feature in range(scores.shape[2]):
            lines, logs = [side[:, step - 1, feature] for side in ends], [0.0, 0.0]
            for origin in range(step, len(scores)):
                outcome = scores[origin - step, step - 1, feature]  # became known just now
                if not np.isnan(outcome):
                    for side, length_needed in enumerate((-outcome, outcome)):
                        logs[side] += 0.027 if length_needed > lines[side][origin - step] else -0.003
                    own, other = (0, 1) if logs[0] < logs[1] else (1, 0)
                    if logs[own] < -least < logs[other]:
                        moved = min(-least - logs[own], logs[other] + least)
                        logs[own], logs[other] = logs[own] + moved, logs[other] - moved
                    logs = [min(max(log, -most), most) for log in logs]
                for line, log in zip(lines, logs, strict=True):
                    line[origin] *= np.exp(log)
    return -ends[0], ends[1]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    num_origins=st.integers(1, 30),
    spread=st.sampled_from([0.01, 1.0, 30.0]),
    bias=st.sampled_from([0.0, 5.0, -5.0]),
    share_missing=st.sampled_from([0.0, 0.3, 1.0]),
    limits=st.sampled_from([(4.0, 0.69), (0.07, 0.69), (4.0, 0.01), (0.03, 0.02)]),
)
def test_ends_against_a_slow_loop(
    seed: int, num_origins: int, spread: float, bias: float, share_missing: float, limits: tuple[float, float]
) -> None:
    random = np.random.default_rng(seed)
    intervals = ConformalIntervals(random.normal(bias, 1.0, (6, 3, 2)), FLOOR)
    scores = random.normal(bias, spread, (num_origins, 3, 2))
    scores[random.random(scores.shape) < share_missing] = NAN
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST", limits[0])
        patch.setattr(module, "_DRAWN_IN", limits[1])
        got = intervals.ends(scores)
    for ends, wanted in zip(got, slow_ends(intervals, scores, *limits), strict=True):
        np.testing.assert_allclose(ends, wanted, rtol=1e-9, atol=1e-12)


def test_static_quantiles_hold_zero() -> None:
    held = np.arange(11.0)[:, None, None] * np.array([1.0, -1.0]) + np.array([5.0, 2.0])
    low, high = ConformalIntervals(held, FLOOR).static_quantiles()
    np.testing.assert_allclose(low, [[0.0, -7.0]])  # the quantile, 6, is above 0
    np.testing.assert_allclose(high, [[14.0, 1.0]])


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), num_samples=st.integers(1, 90))
def test_movement_against_a_slow_loop(seed: int, num_samples: int) -> None:
    values = np.random.default_rng(seed).normal(0.0, 1.0, (num_samples, 2)).cumsum(axis=0)
    values[num_samples // 2 :] += 1e9  # one huge change, of which nothing may be left 30 steps later
    floor = np.array([0.01, 1.5])
    expected = np.empty_like(values)
    for row in range(num_samples):
        first = max(0, row - SCALE_WINDOW)
        changes = [values[k + 1] - values[k] for k in range(first, row)]
        mean_square = np.mean(np.square(changes), axis=0) if changes else np.zeros(2)
        expected[row] = np.maximum(np.sqrt(mean_square), floor)
    np.testing.assert_allclose(movement(values, floor), expected, rtol=1e-9)


def test_movement_of_a_flat_stretch_is_the_floor() -> None:
    np.testing.assert_array_equal(movement(np.full((40, 2), 7.0), FLOOR), np.tile(FLOOR, (40, 1)))


def test_movement_looks_back_only() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, (80, 2))
    np.testing.assert_array_equal(movement(values, FLOOR)[:50], movement(values[:50], FLOOR))


def wild_from_the_middle_on(seed: int, num_samples: int) -> np.ndarray:
    """A level that wanders and noise upon it; both are twice as strong in the second half."""
    random = np.random.default_rng(seed)
    strength = np.where(np.arange(num_samples) < num_samples // 2, 1.0, 2.0)
    wandering = np.cumsum(0.5 * strength * random.normal(0.0, 1.0, num_samples))
    return 500.0 + wandering + strength * random.normal(0.0, 1.0, num_samples)


def coverage(forecast: Forecast, actual: np.ndarray) -> np.ndarray:
    """Share of the values within the interval, (horizon,)."""
    inside = (actual >= forecast.lower) & (actual <= forecast.upper)
    return np.nanmean(np.where(np.isnan(actual), NAN, inside), axis=(0, 2))


@pytest.mark.parametrize("name", ["last_value", "ewma"])
@pytest.mark.parametrize("seed", [1, 2])
def test_four_in_five_values_are_inside(name: str, seed: int, make_series) -> None:
    if name == "ewma":
        pytest.importorskip("statsmodels")
    training = make_series(wild_from_the_middle_on(seed, 4000)[:2000])
    forecaster = make_forecaster(name, cleaning=AS_IS).fit(training)
    series = make_series(wild_from_the_middle_on(seed + 10, 6000))
    origins = np.arange(1, series.num_samples)
    forecast = forecaster.forecast_all(series, origins)
    actual = targets(series.values, origins, 5)
    for part in (slice(0, 3000), slice(3000, 6000)):
        some = Forecast(forecast.mean[part], forecast.lower[part], forecast.upper[part])
        assert np.abs(coverage(some, actual[part]) - 0.8).max() < 0.05


def test_static_quantiles_alone_would_not_keep_the_promise(make_series) -> None:
    """Scores must adapt: with noise of another law than in training, the held-out ones are off."""
    random = np.random.default_rng(4)
    training = make_series(100.0 + random.normal(0.0, 1.0, 2000))
    forecaster = make_forecaster("last_value", cleaning=AS_IS).fit(training)
    series = make_series(100.0 + np.cumsum(random.normal(0.0, 1.0, 6000)) + 1000.0)
    origins = np.arange(1500, series.num_samples)
    forecast, actual = forecaster.forecast_all(series, origins), targets(series.values, origins, 5)
    low, high = forecaster.intervals.static_quantiles()
    scale = movement(series.values, forecaster.intervals.floor)[origins][:, None]
    static = Forecast(forecast.mean, forecast.mean + low * scale, forecast.mean + high * scale)
    assert abs(coverage(forecast, actual)[-1] - 0.8) < 0.05
    assert coverage(static, actual)[-1] < 0.6


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_four_in_five_scores_are_inside_though_all_lie_on_one_side(sign: float) -> None:
    """The end that holds the mean is never missed, so that the other has to be missed for both."""
    random = np.random.default_rng(6)
    wandering = 3.0 + 2.0 * np.sin(np.arange(6000) / 700.0)
    scores = sign * (wandering + random.normal(0.0, 0.3, 6000)).reshape(-1, 1, 1)
    assert (sign * scores > 0.0).all()
    low, high = ConformalIntervals(scores[:480], FLOOR[:1]).ends(scores)
    assert (low <= 0.0).all()
    assert (high >= 0.0).all()
    inside = (low <= scores) & (scores <= high)
    assert abs(inside[1440:].mean() - 0.8) < 0.03


def fitted(values: np.ndarray, make_series) -> Forecaster:
    return make_forecaster("last_value", cleaning=AS_IS).fit(make_series(values))


def test_units_do_not_matter(make_load, make_series) -> None:
    """Scaling by a power of two scales every number of the forecast, to the last bit."""
    training, series = make_load(900, 2, seed=1).values, make_load(400, 2, seed=2).values
    forecast = fitted(training, make_series).forecast_all(make_series(series))
    scaled = fitted(training * 1024.0, make_series).forecast_all(make_series(series * 1024.0))
    for name in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(scaled, name), 1024.0 * getattr(forecast, name))


def test_intervals_hold_the_mean_and_are_wider_further_ahead(make_load, make_series) -> None:
    forecaster = fitted(make_load(2000, 2, seed=1).values, make_series)
    forecast = forecaster.forecast_all(make_load(2000, 2, seed=2))
    assert (forecast.lower <= forecast.mean).all()
    assert (forecast.mean <= forecast.upper).all()
    width = (forecast.upper - forecast.lower).mean(axis=0)  # (horizon, num_features)
    assert (np.diff(width, axis=0) > 0.0).all()

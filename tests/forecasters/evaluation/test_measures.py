"""Measures of forecast quality: worked by hand, against a slow second implementation, and invariances."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from podgym.errors import InputError
from podgym.forecasters.evaluation.measures import (
    QUALITY_MEASURES,
    Quality,
    interval_coverage,
    interval_relative_width,
    interval_score,
    interval_width,
    mae,
    mase,
    mean_relative_error,
    naive_scale,
    pinball_loss,
    quality,
    rmse,
    share_within,
    smape,
)

NAN = math.nan
# Three origins, two steps. Errors are 2, -3, 0 at step 1 and 0, 6 (and one not measured) at step 2.
ACTUAL = np.array([[10.0, 0.0], [20.0, 4.0], [40.0, NAN]])
MEAN = np.array([[12.0, 0.0], [17.0, 10.0], [40.0, 7.0]])
LOWER = np.array([[8.0, -1.0], [14.0, 6.0], [41.0, 5.0]])
UPPER = np.array([[12.0, 1.0], [18.0, 12.0], [45.0, 9.0]])
SCALE = 2.0

# name: (step 1, step 2, pooled)
WORKED = {
    # squares 4, 9, 0 and 0, 36
    "rmse": (math.sqrt(13 / 3), math.sqrt(18), math.sqrt(49 / 5)),
    "mae": (5 / 3, 3.0, 11 / 5),
    "mase": (5 / 6, 1.5, 1.1),
    # 2*2/22, 2*3/37, 0 and 0 (0/0), 2*6/14
    "smape": ((2 / 11 + 6 / 37) / 3, 3 / 7, (2 / 11 + 6 / 37 + 6 / 7) / 5),
    # 2/10, 3/20, 0 and (value 0: left out), 6/4
    "mean_relative_error": (0.35 / 3, 1.5, 1.85 / 4),
    # no, no, yes and yes, no
    "within_5_percent": (1 / 3, 1 / 2, 2 / 5),
    # value - lower 2, 6, -1 and 1, -2: 0.2, 0.6, 0.9 and 0.1, 1.8
    "pinball_lower": (1.7 / 3, 0.95, 3.6 / 5),
    # value - upper -2, 2, -5 and -1, -8: 0.2, 1.8, 0.5 and 0.1, 0.8
    "pinball_upper": (2.5 / 3, 0.45, 3.4 / 5),
    "pinball": (2.1 / 3, 0.7, 3.5 / 5),
    # inside: yes, no, no and yes, no
    "interval_coverage": (1 / 3, 1 / 2, 2 / 5),
    # 4, 4, 4 and 2, 6
    "interval_width": (4.0, 4.0, 4.0),
    # 12 / 70 and 8 / 4; pooled 20 / 74
    "interval_relative_width": (12 / 70, 2.0, 20 / 74),
    # widths, and 10 times a distance of 2, 1 and 2
    "interval_score": ((4 + 24 + 14) / 3, (2 + 26) / 2, (42 + 28) / 5),
}


@pytest.fixture(scope="module")
def worked():
    return quality(ACTUAL, MEAN, LOWER, UPPER, SCALE)


@pytest.mark.parametrize("name", WORKED)
def test_by_hand(worked, name):
    values = getattr(worked, name)
    assert values.by_step == pytest.approx(WORKED[name][:2], rel=1e-14)
    assert values.pooled == pytest.approx(WORKED[name][2], rel=1e-14)


def test_pairs_are_counted(worked):
    assert worked.num_pairs.tolist() == [3, 2]


def test_every_measure_is_worked_by_hand_and_described():
    fields = [field.name for field in dataclasses.fields(Quality) if field.name != "num_pairs"]
    assert fields == list(QUALITY_MEASURES) == [each.name for each in QUALITY_MEASURES.values()]
    assert set(WORKED) == set(fields)
    assert all(each.definition.endswith(".") for each in QUALITY_MEASURES.values())


def test_values_by_name_are_those_of_the_attributes(worked):
    assert list(worked.by_name()) == list(QUALITY_MEASURES)
    assert worked.by_name()["mase"] is worked.mase


def test_table_1_of_the_paper():
    # Actual and forecast CPU and memory utilisation, 1 to 5 minutes ahead: "all errors within 5 %".
    actual = np.array([[71.83, 73.61, 75.94, 78.32, 80.67], [67.98, 67.98, 70.98, 73.21, 74.87]])
    forecast = np.array([[69.31, 71.89, 74.58, 76.12, 79.34], [65.13, 67.54, 68.94, 71.32, 72.65]])
    assert share_within(actual, forecast).pooled == 1.0
    # The largest is the memory one minute ahead: 2.85 / 67.98 = 4.19 %.
    assert share_within(actual, forecast, 0.0419).pooled == 0.9
    assert share_within(actual, forecast, 0.0420).pooled == 1.0
    # CPU errors 2.52, 1.72, 1.36, 2.20, 1.33 add up to 9.13.
    assert mae(actual[:1], forecast[:1]).pooled == pytest.approx(9.13 / 5, rel=1e-12)


def test_naive_scale_by_hand():
    training = [1.0, 4.0, NAN, 6.0, 5.0, 9.0]
    assert naive_scale(training) == pytest.approx((3 + 1 + 4) / 3)  # 1-4, 6-5, 5-9; two pairs miss a value
    assert naive_scale(training, season_length=3) == pytest.approx((5 + 1) / 2)  # 1-6, 4-5


def test_mase_of_the_naive_forecast_within_the_training_part_is_one():
    training = np.random.default_rng(3).normal(size=200).cumsum()
    assert mase(training[1:, None], training[:-1, None], naive_scale(training)).pooled == pytest.approx(1.0)
    season = mase(training[24:, None], training[:-24, None], naive_scale(training, 24))
    assert season.pooled == pytest.approx(1.0)


def test_mase_is_not_defined_for_a_constant_training_part():
    values = mase(ACTUAL, MEAN, naive_scale([5.0, 5.0, 5.0]))
    assert np.isnan(values.by_step).all()
    assert math.isnan(values.pooled)


# A slow second implementation, pair by pair, in the words of the definitions.


def relative_error(value, mean):
    return abs(mean - value) / abs(value) if value else None


def symmetric_error(value, mean):
    return 2 * abs(mean - value) / (abs(value) + abs(mean)) if value or mean else 0.0


def pinball(value, quantile, probability):
    return probability * (value - quantile) if value >= quantile else (1 - probability) * (quantile - value)


def winkler(value, low, high):
    if value < low:
        return high - low + (low - value) * 2 / 0.2
    if value > high:
        return high - low + (value - high) * 2 / 0.2
    return high - low


SLOW = {
    "mae": lambda v, m, _low, _high: abs(v - m),
    "mase": lambda v, m, _low, _high: abs(v - m) / SCALE,
    "smape": lambda v, m, _low, _high: symmetric_error(v, m),
    "mean_relative_error": lambda v, m, _low, _high: relative_error(v, m),
    "within_5_percent": lambda v, m, _low, _high: float(abs(v - m) <= 0.05 * abs(v)),
    "pinball_lower": lambda v, _m, low, _high: pinball(v, low, 0.1),
    "pinball_upper": lambda v, _m, _low, high: pinball(v, high, 0.9),
    "pinball": lambda v, _m, low, high: (pinball(v, low, 0.1) + pinball(v, high, 0.9)) / 2,
    "interval_coverage": lambda v, _m, low, high: float(low <= v <= high),
    "interval_width": lambda _v, _m, low, high: high - low,
    "interval_score": lambda v, _m, low, high: winkler(v, low, high),
}


def slow_mean(function, pairs):
    terms = [term for term in (function(*pair) for pair in pairs) if term is not None]
    return math.fsum(terms) / len(terms) if terms else NAN


def slow_quality(name, pairs):
    if name == "rmse":
        return math.sqrt(slow_mean(lambda v, m, _low, _high: (v - m) ** 2, pairs))
    if name == "interval_relative_width":
        size = slow_mean(lambda v, _m, _low, _high: abs(v), pairs)
        return slow_mean(SLOW["interval_width"], pairs) / size if size else NAN
    return slow_mean(SLOW[name], pairs)


numbers = st.integers(-400, 400).map(lambda k: k / 4)  # exact in binary: what is within 5 % is decided alike


@st.composite
def forecasts(draw):
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 4)))
    actual = draw(arrays(np.float64, shape, elements=st.one_of(numbers, st.just(0.0), st.just(NAN))))
    actual[0, 0] = draw(numbers)  # at least one is measured
    mean, first, second = (draw(arrays(np.float64, shape, elements=numbers)) for _ in range(3))
    return actual, mean, np.minimum(first, second), np.maximum(first, second)


@settings(max_examples=150, deadline=None)
@given(forecasts())
def test_against_a_slow_second_implementation(case):
    actual, mean, lower, upper = case
    got = quality(*case, SCALE)
    columns = [
        [pair for pair in zip(*column, strict=True) if not math.isnan(pair[0])]
        for column in zip(actual.T, mean.T, lower.T, upper.T, strict=True)
    ]
    every = [pair for column in columns for pair in column]
    for name, values in got.by_name().items():
        assert values.pooled == pytest.approx(slow_quality(name, every), rel=1e-12, nan_ok=True), name
        for step, column in enumerate(columns):
            wanted = slow_quality(name, column) if column else NAN
            assert values.by_step[step] == pytest.approx(wanted, rel=1e-12, nan_ok=True), name
    assert got.num_pairs.tolist() == [len(column) for column in columns]


@settings(max_examples=60, deadline=None)
@given(forecasts(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_units_scale_out_or_through(case, factor):
    first = quality(*case, SCALE)
    second = quality(*(factor * values for values in case), factor * SCALE)
    for name, measure in QUALITY_MEASURES.items():
        expected = getattr(first, name).pooled * (1.0 if measure.unit == "1" else factor)
        assert getattr(second, name).pooled == pytest.approx(expected, rel=1e-12, nan_ok=True), name


@settings(max_examples=60, deadline=None)
@given(forecasts())
def test_orders_and_identities(case):
    got = quality(*case, SCALE)
    assert got.mae.pooled <= got.rmse.pooled * (1 + 1e-12)
    assert 0.0 <= got.smape.pooled <= 2.0 + 1e-12
    assert got.interval_score.pooled == pytest.approx(20.0 * got.pinball.pooled, rel=1e-12)
    assert got.interval_score.pooled >= got.interval_width.pooled
    # Pooled over all pairs, so it is the mean of the steps weighted with their pairs.
    known = got.num_pairs > 0
    weighted = np.average(got.mae.by_step[known], weights=got.num_pairs[known])
    assert got.mae.pooled == pytest.approx(weighted, rel=1e-12)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_pinball_loss_is_least_at_the_quantile(probability):
    values = np.random.default_rng(5).gamma(2.0, size=(501, 1))
    quantile = np.quantile(values, probability, method="inverted_cdf")
    least = pinball_loss(values, np.full_like(values, quantile), probability).pooled
    others = [pinball_loss(values, np.full_like(values, each), probability).pooled for each in values[:, 0]]
    assert least == pytest.approx(min(others), rel=1e-12)
    # The other quantiles are worse, and clearly so.
    assert least < 0.99 * pinball_loss(values, np.full_like(values, 1.3 * quantile), probability).pooled


def test_pinball_loss_at_one_half_is_half_the_mean_absolute_error():
    assert pinball_loss(ACTUAL, MEAN, 0.5).pooled == pytest.approx(mae(ACTUAL, MEAN).pooled / 2)


def test_true_quantiles_of_an_evenly_spread_value_cover_80_percent():
    values = (np.arange(1000) + 0.5)[:, None] / 10  # 0.05 to 99.95
    low, high = np.full_like(values, 10.0), np.full_like(values, 90.0)
    assert interval_coverage(values, low, high).pooled == pytest.approx(0.8)
    # Their score is the best of all intervals of equal ends: shifting or stretching them costs.
    best = interval_score(values, low, high).pooled
    for shift, stretch in [(3.0, 0.0), (-3.0, 0.0), (0.0, 3.0), (0.0, -3.0)]:
        assert interval_score(values, low + shift - stretch, high + shift + stretch).pooled > best


def test_ends_of_the_interval_belong_to_it():
    values = np.array([[1.0, 2.0]])
    assert interval_coverage(values, values, values).pooled == 1.0
    assert interval_width(values, values, values).pooled == 0.0


def test_a_step_that_was_never_measured_is_nan_and_does_not_count():
    actual = np.array([[1.0, NAN], [2.0, NAN]])
    mean = np.array([[2.0, 5.0], [4.0, NAN]])  # what is forecast there does not matter either
    values = mae(actual, mean)
    assert values.by_step[0] == values.pooled == 1.5
    assert math.isnan(values.by_step[1])


def test_relative_measures_of_zeros():
    zeros, ones = np.zeros((2, 1)), np.ones((2, 1))
    assert smape(zeros, zeros).pooled == 0.0
    assert smape(zeros, ones).pooled == 2.0
    assert math.isnan(mean_relative_error(zeros, ones).pooled)
    assert math.isnan(interval_relative_width(zeros, zeros, ones).pooled)
    assert share_within(zeros, ones).pooled == 0.0
    assert share_within(zeros, zeros).pooled == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rmse(ACTUAL, MEAN[:2]), r"mean has shape \(2, 2\), but the actual values \(3, 2\)"),
        (lambda: rmse(ACTUAL[:, 0], MEAN[:, 0]), r"actual values have shape \(3,\)"),
        (lambda: rmse(np.full((2, 2), NAN), np.ones((2, 2))), "none of the 4 actual values was measured"),
        (lambda: rmse(np.empty((0, 2)), np.empty((0, 2))), "none of the 0 actual values was measured"),
        (lambda: rmse([[math.inf]], [[1.0]]), "an actual value is infinite"),
        (
            lambda: mae(ACTUAL, np.where(MEAN == 10.0, NAN, MEAN)),
            "1 measured values, first at origin 1, step 2",
        ),
        (lambda: quality(ACTUAL, MEAN, UPPER, LOWER, 1.0), "lower end of 5 intervals is above the upper one"),
        (lambda: quality(ACTUAL, MEAN, LOWER, UPPER[:, :1], 1.0), "upper has shape"),
        (lambda: mase(ACTUAL, MEAN, -1.0), "the scale of MASE is -1.0"),
        (lambda: mase(ACTUAL, MEAN, NAN), "the scale of MASE is nan"),
        (lambda: pinball_loss(ACTUAL, MEAN, 1.0), "probability of a quantile is 1.0"),
        (lambda: naive_scale([1.0, NAN, 2.0]), "no two measured ones that are 1 samples apart"),
        (lambda: naive_scale([1.0, 2.0], season_length=5), "no two measured ones that are 5 samples apart"),
        (lambda: naive_scale([1.0, 2.0], season_length=0), "season_length is 0"),
        (lambda: naive_scale(np.ones((3, 2))), "pass one feature"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()

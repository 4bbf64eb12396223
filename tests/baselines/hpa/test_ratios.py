import math

import pytest

from podgym.baselines.hpa import MetricError, usage_ratio, utilization_ratio
from podgym.baselines.hpa.arithmetic import (
    MAX_INT32,
    MIN_INT32,
    ceil_to_int32,
    divide,
    quotient,
    truncate_to_int32,
)


def test_utilization_is_cut_to_whole_percent_before_the_ratio_is_formed():
    # 199 / 200 is 99.5 %, which counts as 99 %: the ratio to 50 % is 1.98 and not 1.99.
    measured = utilization_ratio({"a": 99, "b": 100}, {"a": 100, "b": 100}, 50)
    assert (measured.utilization_percent, measured.ratio, measured.average_usage_milli) == (99, 1.98, 99)


def test_only_pods_with_usage_and_request_count():
    measured = utilization_ratio({"a": 50, "stranger": 900}, {"a": 100, "idle": 900}, 50)
    assert (measured.ratio, measured.average_usage_milli) == (1.0, 50)


@pytest.mark.parametrize(("usage", "requests"), [({"a": 1}, {"b": 1}), ({"a": 1}, {"a": 0}), ({}, {})])
def test_utilization_of_nothing_is_an_error(usage, requests):
    with pytest.raises(MetricError):
        utilization_ratio(usage, requests, 50)


def test_average_is_cut_before_the_ratio_is_formed():
    measured = usage_ratio({"a": 2, "b": 1}, 2)
    assert (measured.usage_milli, measured.ratio) == (1, 0.5)


def test_average_of_nothing_is_an_error():
    with pytest.raises(MetricError):
        usage_ratio({}, 2)


def test_whole_division_cuts_towards_zero():
    assert [quotient(*pair) for pair in ((7, 2), (-7, 2), (7, -2), (-7, -2))] == [3, -3, -3, 3]


def test_float_division_by_zero_follows_ieee_754():
    assert divide(1.0, 0.0) == math.inf
    assert divide(-1.0, 0.0) == -math.inf
    assert math.isnan(divide(0.0, 0.0))


@pytest.mark.parametrize(
    ("number", "up", "cut"),
    [
        (1.2, 2, 1),
        (-1.2, -1, -1),
        (2.0**31 - 1, MAX_INT32, MAX_INT32),
        (2.0**31 - 1.5, MAX_INT32, MAX_INT32 - 1),
        (math.inf, MAX_INT32, MAX_INT32),
        (-math.inf, MIN_INT32, MIN_INT32),
        (math.nan, 0, 0),
    ],
)
def test_conversions_to_int32_saturate(number, up, cut):
    assert (ceil_to_int32(number), truncate_to_int32(number)) == (up, cut)

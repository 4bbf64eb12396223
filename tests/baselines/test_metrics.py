import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.observations import QUOTA, blind, forecast, pod, service

from podgym.baselines.metrics import (
    DemandEstimate,
    ForecastQuantile,
    HoldDown,
    bounded,
    checked_choice,
    checked_number,
    forecast_peak_rps,
    is_fresh,
    is_recent,
    rate_per_replica_rps,
    replicas_for,
    request_rate_rps,
    requests_in_flight,
    response_time_s,
    serving_pods,
    want,
    with_limit,
)
from podgym.envs.cluster import RateForecast, ServiceDecision
from podgym.errors import InputError


@pytest.mark.parametrize(
    ("time_s", "fresh"),
    [
        (100.0, True),
        (10.0, True),
        (9.9, False),
        (190.0, True),
        (191.0, False),
        (None, False),
        (math.nan, False),
    ],
)
def test_a_time_stamp_is_believed_up_to_its_age(time_s, fresh):
    assert is_recent(time_s, 100.0) == fresh
    assert is_fresh(service(sample_time_s=time_s), 100.0) == fresh


@pytest.mark.parametrize(
    ("read", "field"),
    [
        (request_rate_rps, "request_rate_rps"),
        (requests_in_flight, "in_flight"),
        (response_time_s, "response_time_s"),
    ],
)
def test_a_metric_is_read_only_when_it_is_a_fresh_number(read, field):
    assert read(service(**{field: 7.0}), 0.0) == 7.0
    assert read(service(**{field: 0.0}), 0.0) == 0.0
    for odd in (math.nan, math.inf, -1.0):
        assert read(service(**{field: odd}), 0.0) is None
    assert read(service(**{field: 7.0}), 200.0) is None
    assert read(service(**{field: 7.0}), 200.0, 300.0) == 7.0
    assert read(blind(), 0.0) is None


def test_pods_serve_when_they_are_ready_stay_and_are_measured():
    good = pod(0)
    others = [
        pod(1, ready=False),
        pod(2, deleted=True),
        pod(3, cores=None),
        pod(4, cores=math.nan),
        pod(5, memory_bytes=-1.0),
        pod(6, now_s=-500.0),
    ]
    assert serving_pods(service(pods=(good, *others)), 0.0) == (good,)


def test_what_is_wanted_stays_within_bounds_and_is_silent_when_nothing_changes():
    view = service(4, min_replicas=2, max_replicas=6)
    assert [bounded(count, view) for count in (0, 2, 5, 9)] == [2, 2, 5, 6]
    assert want(4, view) == ServiceDecision()
    assert want(9, view) == ServiceDecision(replicas=6)


@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(0, 20)), max_size=40), st.floats(0.0, 100.0))
def test_a_hold_is_the_maximum_of_its_window(steps, hold_s):
    hold, seen, now_s = HoldDown(hold_s), [], 0.0
    for pause_s, replicas in steps:
        now_s += pause_s
        seen.append((now_s, replicas))
        expected = max([count for time_s, count in seen if time_s > now_s - hold_s], default=replicas)
        assert hold.apply(replicas, now_s) == max(expected, replicas)


def test_the_peak_of_a_forecast_is_that_of_the_next_minutes():
    rising = forecast(10.0, 20.0, 30.0, spread=0.5)
    assert forecast_peak_rps(rising, 1, "mean") == 10.0
    assert forecast_peak_rps(rising, 2, "upper") == 30.0
    assert forecast_peak_rps(rising, 60, "mean") == 30.0
    assert forecast_peak_rps(None, 3, "mean") is None
    assert forecast_peak_rps(RateForecast((), (), ()), 3, "mean") is None
    assert forecast_peak_rps(forecast(10.0, math.nan), 1, "mean") == 10.0
    assert forecast_peak_rps(forecast(10.0, math.nan), 2, "mean") is None
    assert forecast_peak_rps(forecast(-1.0), 1, "mean") is None


def test_the_demand_is_what_the_pods_use_per_request():
    rng = np.random.default_rng(0)
    estimate = DemandEstimate()
    for step in range(40):
        now_s = 15.0 * step
        rate_rps = 40.0 + 30.0 * math.sin(step / 5.0)
        cores = 0.01 * rate_rps / 4.0 * rng.normal(1.0, 0.1)
        estimate.update(service(4, cores, now_s=now_s, request_rate_rps=rate_rps), now_s)
    assert estimate.core_s_per_request == pytest.approx(0.01, rel=0.03)


def test_the_demand_forgets_with_its_half_life():
    estimate = DemandEstimate(half_life_s=100.0)
    estimate.update(service(1, 0.1, request_rate_rps=10.0), 0.0)
    estimate.update(service(1, 0.2, now_s=100.0, request_rate_rps=10.0), 100.0)
    assert estimate.core_s_per_request == pytest.approx((0.1 / 2 + 0.2) / (10.0 / 2 + 10.0))


def test_a_sample_seen_twice_counts_once():
    estimate = DemandEstimate(half_life_s=100.0)
    view = service(1, 0.1, request_rate_rps=10.0)
    estimate.update(view, 0.0)
    estimate.update(dataclasses.replace(view, request_rate_rps=999.0), 15.0)
    assert estimate.core_s_per_request == pytest.approx(0.01)


def test_saturated_pods_give_a_lower_bound_until_there_is_better():
    estimate = DemandEstimate()
    estimate.update(service(2, 0.5, request_rate_rps=200.0), 0.0)
    estimate.update(service(2, 0.5, now_s=15.0, request_rate_rps=150.0), 15.0)
    assert estimate.core_s_per_request == pytest.approx(1.0 / 150.0)
    estimate.update(service(4, 0.3, now_s=30.0, request_rate_rps=100.0), 30.0)
    assert estimate.core_s_per_request == pytest.approx(0.012)
    estimate.update(service(4, 0.5, now_s=45.0, request_rate_rps=50.0), 45.0)
    assert estimate.core_s_per_request == pytest.approx(0.012)


@pytest.mark.parametrize(
    "view",
    [
        blind(),
        service(request_rate_rps=0.0),
        service(request_rate_rps=math.nan),
        service(cores=None),
        service(now_s=-500.0),
        service(request_rate_rps=1e-300, cores=1e10),
    ],
)
def test_nothing_is_learned_from_nothing(view):
    estimate = DemandEstimate()
    estimate.update(view, 0.0)
    assert estimate.core_s_per_request is None


def test_a_replica_serves_its_share():
    view = service(4, max_replicas=20)
    assert rate_per_replica_rps(view, 0.01, 0.8) == pytest.approx(40.0)
    endless = dataclasses.replace(QUOTA, cpu_limit_cores=math.inf)
    assert rate_per_replica_rps(service(quota=endless), 0.01, 0.8) is None
    assert [replicas_for(rate, 40.0, view) for rate in (0.0, 40.0, 40.1, 1e300)] == [1, 1, 2, 20]


def test_a_limit_keeps_its_ratio_and_is_never_below_its_request():
    assert with_limit(2.0, 0.5, 1.0) == (2.0, 4.0)
    assert with_limit(2.0, 0.5, 0.25) == (2.0, 2.0)
    assert with_limit(2.0, math.nan, 1.0) == (2.0, 2.0)
    assert with_limit(2.0, 1e-300, 1e300) == (2.0, 2.0)


def test_options_are_checked():
    assert checked_number("x", 1, 0.0, 2.0) == 1.0
    for value in (True, "1", None, math.nan, math.inf, -0.1, 2.1):
        with pytest.raises(InputError, match=r"^x is .*from 0 to 2\.$"):
            checked_number("x", value, 0.0, 2.0)
    with pytest.raises(InputError, match="above 0 and at most 2"):
        checked_number("x", 0.0, 0.0, 2.0, above=True)
    with pytest.raises(InputError, match="Did you mean 'upper'"):
        checked_choice("quantile", "uper", ForecastQuantile)

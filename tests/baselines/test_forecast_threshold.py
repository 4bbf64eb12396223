import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.observations import blind, forecast, service, wanted

from podgym.baselines.forecast_threshold import ForecastThresholdController
from podgym.errors import InputError

# 0.01 core s per request and a limit of half a core: 50 requests/s at full use.
MEASURED = {"cores": 0.25, "request_rate_rps": 100.0}


def rule(**options):
    return ForecastThresholdController(
        **{"hold_s": 0.0, "safety_margin": 0.0, "target_utilisation": 0.5, **options}
    )


@given(
    rate=st.floats(0.0, 2000.0),
    margin=st.floats(-0.5, 1.0),
    utilisation=st.floats(0.1, 1.0),
)
def test_it_is_the_formula(rate, margin, utilisation):
    controller = rule(safety_margin=margin, target_utilisation=utilisation, use_measured_rate=False)
    (count,) = wanted(controller, service(4, forecast=forecast(rate), **MEASURED))
    exact = rate * (1.0 + margin) / (50.0 * utilisation)
    replicas = 4 if count is None else count
    assert replicas == min(max(math.ceil(exact), 1), 50) or abs(exact - round(exact)) < 1e-9


def test_the_highest_rate_of_the_next_minutes_counts():
    rising = service(4, forecast=forecast(100.0, 130.0, 160.0, spread=0.5), **MEASURED)
    assert wanted(rule(lead_minutes=1), rising) == [None]
    assert wanted(rule(lead_minutes=2), rising) == [6]
    assert wanted(rule(lead_minutes=5), rising) == [7]
    assert wanted(rule(lead_minutes=2, quantile="upper"), rising) == [8]


def test_the_measured_rate_counts_unless_it_is_told_not_to():
    falling = service(4, forecast=forecast(50.0), **MEASURED)
    assert wanted(rule(), falling) == [None]
    assert wanted(rule(use_measured_rate=False), falling) == [2]
    unknown = service(8, 0.2625, request_rate_rps=210.0, replicas_wanted=4)
    assert wanted(rule(target_utilisation=0.8, use_measured_rate=False), unknown) == [6]


def test_less_is_wanted_only_after_the_hold():
    controller = rule(hold_s=60.0, use_measured_rate=False)
    times_s = (0.0, 15.0, 45.0, 60.0)
    counts = [
        wanted(controller, service(4, now_s=t, forecast=forecast(50.0), **MEASURED), now_s=t)[0]
        for t in times_s
    ]
    assert counts == [None, None, None, 2]
    controller.reset()
    late = service(4, now_s=75.0, forecast=forecast(50.0), **MEASURED)
    assert wanted(controller, late, now_s=75.0) == [None]


def test_without_metrics_the_forecast_only_scales_up():
    controller = rule()
    wanted(controller, service(4, **MEASURED))
    assert wanted(controller, blind(4, forecast=forecast(25.0)), now_s=15.0) == [None]
    assert wanted(controller, blind(4, forecast=forecast(150.0)), now_s=30.0) == [6]
    assert wanted(controller, blind(4), now_s=45.0) == [None]
    assert wanted(rule(), blind(4, forecast=forecast(150.0))) == [None]  # nothing known of the demand


def test_the_hold_begins_anew_when_metrics_come_back():
    controller = rule(hold_s=60.0, use_measured_rate=False)
    wanted(controller, service(4, forecast=forecast(100.0), **MEASURED))
    for now_s in (30.0, 60.0, 90.0):
        assert wanted(controller, blind(4), now_s=now_s) == [None]
    low = [
        wanted(controller, service(4, now_s=t, forecast=forecast(50.0), **MEASURED), now_s=t)[0]
        for t in (105.0, 149.0, 150.0)
    ]
    assert low == [None, None, 2]


def test_no_requests_at_all_need_the_minimum():
    controller = rule()
    idle = service(4, 0.0, request_rate_rps=0.0, min_replicas=2)
    wanted(controller, idle)
    assert wanted(
        controller, service(4, 0.0, now_s=15.0, request_rate_rps=0.0, min_replicas=2), now_s=15.0
    ) == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lead_minutes": 0}, "lead_minutes"),
        ({"lead_minutes": 2.0}, "lead_minutes"),
        ({"quantile": "lower"}, "allowed: mean, upper"),
        ({"target_utilisation": 0.0}, "target_utilisation"),
        ({"safety_margin": -0.6}, "safety_margin"),
        ({"hold_s": -1.0}, "hold_s"),
        ({"use_measured_rate": 1}, "use_measured_rate is 1"),
        ({"max_sample_age_s": -1.0}, "max_sample_age_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ForecastThresholdController(**options)

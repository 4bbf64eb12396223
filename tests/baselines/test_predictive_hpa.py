import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.observations import blind, forecast, observe, service, wanted

from podgym.baselines.hpa_controller import HpaController
from podgym.baselines.predictive_hpa import PredictiveHpaController
from podgym.errors import InputError

# 4 * 0.4 cores for 160 requests/s: 0.01 core s per request; 80 % of half a core serves 40 requests/s.
BUSY = {"cores": 0.4, "request_rate_rps": 160.0}


def test_the_larger_proposal_wins():
    controller = PredictiveHpaController()
    assert wanted(controller, service(4, forecast=forecast(100.0), **BUSY)) == [None]
    assert wanted(controller, service(4, forecast=forecast(201.0), **BUSY)) == [6]
    reactive = service(4, 0.45, request_rate_rps=180.0, forecast=forecast(100.0))
    assert wanted(PredictiveHpaController(), reactive) == [5]


def test_lead_and_quantile_choose_what_is_looked_at():
    rising = service(4, forecast=forecast(160.0, 200.0, 240.0, spread=0.5), **BUSY)
    assert wanted(PredictiveHpaController(lead_minutes=1), rising) == [None]
    assert wanted(PredictiveHpaController(lead_minutes=2), rising) == [5]
    assert wanted(PredictiveHpaController(lead_minutes=3), rising) == [6]
    assert wanted(PredictiveHpaController(lead_minutes=1, quantile="upper"), rising) == [6]
    assert wanted(PredictiveHpaController(lead_minutes=3, cpu_target_percent=60), rising) == [8]


def test_tolerance_and_limits_are_the_hpas():
    assert wanted(PredictiveHpaController(), service(4, forecast=forecast(176.0), **BUSY)) == [None]
    assert wanted(PredictiveHpaController(), service(4, forecast=forecast(1e9), **BUSY)) == [8]
    assert wanted(PredictiveHpaController(), service(4, forecast=forecast(1e9), max_replicas=5, **BUSY)) == [
        5
    ]


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=12), st.sampled_from([0.0, 60.0]))
def test_without_a_forecast_it_is_the_hpa(usage_cores, window_s):
    predictive = PredictiveHpaController(downscale_stabilization_s=window_s)
    plain = HpaController(downscale_stabilization_s=window_s)
    replicas = 4
    for step, cores in enumerate(usage_cores):
        seen = observe(service(replicas, cores, now_s=15.0 * step), now_s=15.0 * step)
        decisions = predictive.decide(seen)
        assert decisions == plain.decide(seen)
        replicas = replicas if decisions[0].replicas is None else decisions[0].replicas


def test_a_forecast_keeps_the_replicas_and_without_samples_it_only_scales_up():
    controller = PredictiveHpaController(downscale_stabilization_s=0.0)
    wanted(controller, service(4, forecast=forecast(160.0), **BUSY))
    idle = {"cores": 0.1, "request_rate_rps": 40.0, "now_s": 15.0}
    assert wanted(controller, service(4, forecast=forecast(160.0), **idle), now_s=15.0) == [None]
    assert wanted(controller, service(4, forecast=forecast(40.0), **idle), now_s=16.0) == [1]
    assert wanted(controller, blind(4, forecast=forecast(40.0)), now_s=30.0) == [None]
    assert wanted(controller, blind(4, forecast=forecast(400.0)), now_s=45.0) == [8]
    controller.reset()
    assert wanted(controller, blind(4, forecast=forecast(400.0)), now_s=60.0) == [None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpu_target_percent": 80.5}, "cpu_target_percent"),
        ({"lead_minutes": 0}, "lead_minutes"),
        ({"quantile": "median"}, "allowed: mean, upper"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"downscale_stabilization_s": -1}, "downscale_stabilization_s"),
        ({"max_sample_age_s": "old"}, "max_sample_age_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PredictiveHpaController(**options)

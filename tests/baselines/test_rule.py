"""The nonlinear rule: what it does with weights of zero, with weights, and with missing metrics."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles.observations import blind, forecast, observe, service, wanted

from podgym.baselines.rule import FEATURES, HIDDEN_UNITS, NUM_WEIGHTS, OUTPUTS, NonlinearRuleController
from podgym.errors import InputError

INPUTS = len(FEATURES)


def weights(hidden=(), hidden_bias=(), output=(), output_bias=(0.0, 0.0)):
    """Build the flat weights: (feature, unit, value), (unit, value) and (unit, output, value)."""
    first, second = np.zeros((INPUTS, HIDDEN_UNITS)), np.zeros((HIDDEN_UNITS, len(OUTPUTS)))
    bias = np.zeros(HIDDEN_UNITS)
    for feature, unit, value in hidden:
        first[feature, unit] = value
    for unit, value in hidden_bias:
        bias[unit] = value
    for unit, output_at, value in output:
        second[unit, output_at] = value
    return np.concatenate([first.ravel(), bias, second.ravel(), output_bias])


def rule(**options):
    return NonlinearRuleController(**options)


@given(
    st.integers(1, 20), st.floats(0.02, 0.47), st.floats(1.0, 2000.0), st.floats(0.2, 1.0)
)  # fmt: skip
def test_without_weights_it_is_proportional(replicas, cores, rate_rps, target):
    """Demand is what the pods use; each pod is to use ``target`` of its 0.5 cores."""
    seen = service(replicas, cores, request_rate_rps=rate_rps)
    need = replicas * cores / (target * 0.5)
    assume(abs(need - round(need)) > 1e-6)
    for given_weights in (None, np.zeros(NUM_WEIGHTS), [0] * NUM_WEIGHTS):
        (got,) = wanted(rule(weights=given_weights, target_utilisation=target), seen)
        assert (replicas if got is None else got) == min(math.ceil(need), 50)


def test_what_a_request_costs_is_remembered_when_the_rate_moves():
    controller = rule(target_utilisation=0.5)
    assert wanted(controller, service(4, 0.25, request_rate_rps=100.0)) == [None]  # 1 core, 4 pods of 0.25
    late = service(4, 0.25, now_s=15.0, request_rate_rps=300.0, pods=service(4, None).pods)
    assert wanted(controller, late, now_s=15.0) == [12]


def test_reset_forgets_it():
    controller = rule(target_utilisation=0.5)
    wanted(controller, service(4, 0.25))
    controller.reset()
    assert wanted(controller, service(4, None, request_rate_rps=300.0)) == [None]


@pytest.mark.parametrize(
    ("level", "band", "before", "after"),
    [
        (0.0, 0.0, 9, 5),
        (math.log(2.0), 0.0, 9, 10),
        (-math.log(2.0), 0.0, 9, 3),
        (0.0, math.log(1.6), 7, None),  # stays between 5 and 8
        (0.0, math.log(1.6), 9, 8),
        (0.0, math.log(1.6), 4, 5),
        (0.0, -5.0, 9, 5),  # a band below nothing is none
        (9.0, 0.0, 9, 23),  # cut at 1.5: 5 * 4.48
        (-9.0, 0.0, 9, 2),
    ],
)
def test_the_level_corrects_the_need_and_the_band_holds_above_it(level, band, before, after):
    """Need 5: 1.25 cores at half of 0.5 each."""
    seen = service(before, 1.25 / before, response_time_s=0.1)
    controller = rule(weights=weights(output_bias=(level, band)), target_utilisation=0.5)
    assert wanted(controller, seen) == [after]


# ---------------------------------------------------------------------------------- what it sees


def seen_values(controller, *observations):
    """Return the features of each observation as the network has them."""
    rows = []
    for observation in observations:
        controller.decide(observation)
        rows.append(dict(zip(FEATURES, controller._features[0, 0].tolist(), strict=True)))
    return rows


def test_every_feature_is_what_its_name_says():
    rates_rps = [100.0, 110.0, 120.0, 130.0, 150.0, 170.0, 180.0, 200.0]
    observations = [
        observe(
            service(
                8, 0.2, now_s=15.0 * step, request_rate_rps=rate_rps, in_flight=24.0, error_ratio=0.25,
                response_time_s=0.4 if step else 0.1, forecast=forecast(190.0, 260.0, 240.0, spread=0.5),
            ),
            now_s=15.0 * step,
        )
        for step, rate_rps in enumerate(rates_rps)
    ]  # fmt: skip
    last = seen_values(rule(target_utilisation=0.5), *observations)[-1]
    need = math.exp(2.0 * last["ln(replicas needed) / 2"])
    assert 6.4 < need < 12.8  # requests became cheaper as the rate rose with the same CPU; remembered
    assert last == pytest.approx(
        {
            "ln(request rate / rate one sample before)": math.log(200 / 180),
            "ln(request rate / rate four samples before)": math.log(200 / 130),
            "ln(request rate / rate seven samples before)": math.log(200 / 100),
            "ln(highest mean of the forecast / request rate)": math.log(260 / 200),
            "ln(highest upper end of the forecast / request rate)": math.log(390 / 200),
            "ln(replicas wanted / replicas needed)": math.log(8 / need),
            "ln(replicas ready / replicas needed)": math.log(8 / need),
            "measured CPU / CPU limit - target utilisation": 0.4 - 0.5,
            "ln(1 + requests in the system per ready replica)": math.log(4),
            "ln(response time / shortest one seen)": math.log(4),
            "error ratio": 0.25,
            "ln(replicas needed) / 2": math.log(need) / 2,
        }
    )


def test_a_sample_seen_twice_counts_once():
    first = observe(service(4, request_rate_rps=100.0))
    again = observe(dataclasses.replace(first.services[0]), now_s=5.0)
    later = observe(service(4, now_s=15.0, request_rate_rps=200.0), now_s=15.0)
    last = seen_values(rule(), first, again, later)[-1]
    assert last["ln(request rate / rate one sample before)"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("feature", range(INPUTS))
def test_every_feature_reaches_the_decision_through_the_hidden_layer(feature):
    """One unit hears one feature; the level is then known by hand."""
    observations = [
        observe(
            service(
                12, 0.2, now_s=15.0 * step, request_rate_rps=100.0 + 40.0 * step, error_ratio=0.5,
                response_time_s=0.1 + 0.1 * step, forecast=forecast(400.0), max_replicas=5000,
            ),
            now_s=15.0 * step,
        )
        for step in range(8)
    ]  # fmt: skip
    value = list(seen_values(rule(), *observations)[-1].values())[feature]
    assert value != 0.0
    need = math.exp(2.0 * seen_values(rule(), *observations)[-1]["ln(replicas needed) / 2"])
    controller = rule(
        weights=weights(hidden=[(feature, 2, 0.7)], hidden_bias=[(2, 0.3)], output=[(2, 0, 1.2)])
    )
    for observation in observations:
        (decision,) = controller.decide(observation)
    level = 1.2 * math.tanh(0.7 * min(max(value, -3.0), 3.0) + 0.3)
    expected = math.ceil(need * math.exp(level) - 1e-9)
    assert decision.replicas == (None if expected == 12 else expected)


def test_what_is_not_known_reads_nothing():
    """With no forecast, no completed request and no rate the network sees zeros there."""
    idle = observe(service(4, 0.0, request_rate_rps=0.0, response_time_s=math.nan, error_ratio=math.nan))
    huge = weights(hidden=[(each, 0, 50.0) for each in (0, 1, 2, 3, 4, 9, 10)], output=[(0, 0, 9.0)])
    assert rule(weights=huge).decide(idle) == rule().decide(idle)
    assert rule().decide(idle)[0].replicas == 1


# ------------------------------------------------------------------------- missing and odd metrics


@pytest.mark.parametrize(
    "change",
    [
        {"sample_time_s": None},
        {"sample_time_s": math.nan},
        {"sample_time_s": -200.0},
        {"request_rate_rps": math.nan},
        {"request_rate_rps": -1.0},
        {"request_rate_rps": math.inf},
        {"in_flight": math.nan},
        {"response_time_s": math.nan},
        {"pods": service(9, None).pods},
    ],
)
def test_what_is_missing_never_lowers(change):
    controller = rule()
    assert wanted(controller, service(9, 0.01)) == [1]
    assert wanted(controller, dataclasses.replace(service(9, 0.01), **change)) == [None]


def test_it_raises_without_cpu_samples_once_requests_are_known():
    controller = rule(target_utilisation=0.5)
    wanted(controller, service(4, 0.25))
    risen = service(4, None, request_rate_rps=200.0, in_flight=math.nan, response_time_s=math.nan)
    assert wanted(controller, risen) == [8]


def test_nothing_known_nothing_decided():
    assert wanted(rule(weights=np.ones(NUM_WEIGHTS)), blind()) == [None]


NUMBERS = st.one_of(
    st.floats(0.0, 1e4), st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-300, 1e300])
)


@given(
    st.lists(
        st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), st.booleans()),
        min_size=1, max_size=4,
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 100.0]),
)  # fmt: skip
def test_any_observation_any_weights(rows, seed, size):
    controller = rule(weights=size * np.random.default_rng(seed).standard_normal(NUM_WEIGHTS))
    for step, (rate, response, errors, in_flight, cores, told, stale) in enumerate(rows):
        now_s = 15.0 * step
        seen = service(
            5, cores, now_s=now_s - 300.0 * stale, request_rate_rps=rate, response_time_s=response,
            error_ratio=errors, in_flight=in_flight, min_replicas=2, max_replicas=9,
            forecast=forecast(rate, errors) if told else None,
        )  # fmt: skip
        (got,) = wanted(controller, seen, now_s=now_s)
        assert got is None or got in range(2, 10)
        missing = not all(math.isfinite(each) and each >= 0.0 for each in (rate, in_flight, cores))
        if got is not None and (missing or stale):
            assert got > 5


def test_services_share_the_rule_and_not_their_memory():
    first, second = service(4, 0.25), service(4, 0.1, name="api", request_rate_rps=10.0)
    controller = rule(target_utilisation=0.5)
    assert wanted(controller, first, second) == [None, 2]
    assert wanted(rule(target_utilisation=0.5), second, first) == [2, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [0.0] * 3}, rf"weights is an array of shape \(3,\); {NUM_WEIGHTS} finite numbers"),
        ({"weights": [math.nan] * NUM_WEIGHTS}, "finite numbers are needed"),
        ({"weights": "much"}, "weights must be"),
        ({"weights": [[0.0], [0.0, 1.0]]}, "weights must be"),
        ({"weights": 3.0}, r"shape \(\)"),
        ({"target_utilisation": 0.0}, "target_utilisation is 0.0"),
        ({"target_utilisation": 1.1}, "target_utilisation is 1.1"),
        ({"max_sample_age_s": -1.0}, "max_sample_age_s is -1.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        rule(**options)

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.baselines.capacity import (
    BaseLatencyEstimate,
    queueing_time_s,
    replicas_by_latency,
    replicas_by_utilisation,
)


def erlang_c(servers, load):
    """The textbook sum, in logarithms."""
    terms = [k * math.log(load) - math.lgamma(k + 1) for k in range(servers)]
    last = servers * math.log(load) - math.lgamma(servers + 1) + math.log(servers / (servers - load))
    top = max(*terms, last)
    return math.exp(last - top) / (sum(math.exp(t - top) for t in terms) + math.exp(last - top))


def late(servers, load, service_s, time_s):
    """P(T > t) of M/M/c, by Kleinrock's formula."""
    if time_s < 0:
        return 1.0
    rate, delay, spare = 1.0 / service_s, erlang_c(servers, load), servers - load
    if abs(spare - 1.0) < 1e-9:
        return math.exp(-rate * time_s) * (1.0 + delay * rate * time_s)
    correction = (1.0 - math.exp(-rate * time_s * (spare - 1.0))) / (spare - 1.0)
    return math.exp(-rate * time_s) * (1.0 + delay * correction)


def slow_count(rate_rps, core_s, limit_cores, base_s, slo_s):
    per_pod = max(int(limit_cores), 1)
    service_s = core_s * per_pod / limit_cores
    for pods in range(1, 200):
        servers, load = pods * per_pod, rate_rps * service_s
        if load < servers and late(servers, load, service_s, slo_s - base_s) <= 0.05:
            return pods
    return None


@settings(max_examples=150, deadline=None)
@given(
    rate_rps=st.floats(1.0, 800.0),
    core_s=st.floats(0.002, 0.02),
    limit_cores=st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]),
    base_s=st.floats(0.0, 0.1),
    slo_s=st.floats(0.15, 0.5),
)
def test_the_count_is_that_of_the_textbook(rate_rps, core_s, limit_cores, base_s, slo_s):
    arguments = (rate_rps, core_s, limit_cores, base_s, slo_s)
    count = replicas_by_latency(*arguments, 5000)
    if count is None:
        service_s = core_s * max(limit_cores, 1.0) / limit_cores
        assert math.exp(-max(slo_s - base_s, 0.0) / service_s) > 0.05
        return
    # The simulator's table of delay probabilities is interpolated: a hair's breadth at the boundary.
    near = {slow_count(*arguments[:4], slo_s * factor) for factor in (0.995, 1.0, 1.005)}
    assert count in near


def test_a_count_beyond_the_most_is_the_most_and_an_impossible_objective_has_none():
    assert replicas_by_latency(1000.0, 0.01, 0.5, 0.0, 0.2, 7) == 7
    assert replicas_by_latency(10.0, 0.01, 0.5, 0.3, 0.2, 5000) is None
    assert replicas_by_latency(0.0, 0.01, 0.5, 0.0, 0.2, 5000) == 1


def test_the_count_by_utilisation():
    assert replicas_by_utilisation(100.0, 0.01, 0.5, 0.8) == 3
    assert replicas_by_utilisation(80.0, 0.01, 0.5, 0.8) == 2
    assert replicas_by_utilisation(0.0, 0.01, 0.5, 0.8) == 1
    assert replicas_by_utilisation(1e300, 1e-3, 1e-300, 0.8) == 10**9


def test_the_time_in_the_queue_is_that_of_m_m_1_and_m_m_c():
    assert queueing_time_s(5.0, 0.1, 1.0, 1) == pytest.approx(0.2, rel=1e-3)
    mean_s = 0.1 + erlang_c(3, 2.0) * 0.1 / (3 - 2.0)
    assert queueing_time_s(20.0, 0.1, 1.0, 3) == pytest.approx(mean_s, rel=2e-3)
    assert queueing_time_s(10.0, 0.1, 1.0, 1) is None


def test_the_base_latency_is_what_the_queue_leaves_unexplained():
    estimate = BaseLatencyEstimate()
    assert estimate.base_latency_s == 0.0
    for k, rate_rps in enumerate((10.0, 60.0, 120.0, 160.0)):
        response_s = 0.097 + queueing_time_s(rate_rps, 0.01, 0.5, 4)
        estimate.update(15.0 * k, response_s, rate_rps, 0.01, 0.5, 4)
    assert estimate.base_latency_s == pytest.approx(0.097)


def test_a_queue_that_drains_does_not_disturb_the_base_latency():
    saturated = BaseLatencyEstimate()
    saturated.update(0.0, 9.0, 195.0, 0.01, 0.5, 4)
    assert saturated.base_latency_s == 0.0
    estimate = BaseLatencyEstimate()
    for k in range(20):
        response_s = 3.0 if k in (5, 6, 7) else 0.1 + queueing_time_s(50.0, 0.01, 0.5, 4)
        estimate.update(15.0 * k, response_s, 50.0, 0.01, 0.5, 4)
    estimate.update(285.0, 9.0, 50.0, 0.01, 0.5, 4)  # seen before
    estimate.update(300.0, 9.0, 195.0, 0.01, 0.5, 4)  # nearly saturated
    estimate.update(315.0, 9.0, 50.0, 0.01, 0.5, 0)  # nobody serves
    estimate.update(330.0, math.nan, 50.0, 0.01, 0.5, 4)
    assert estimate.base_latency_s == pytest.approx(0.1)

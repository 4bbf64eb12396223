import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines import vpa
from podgym.baselines.vpa import (
    MAX_AMOUNT,
    AggregateState,
    ContainerPolicy,
    Estimates,
    RecommenderSettings,
    confidence,
    confidence_factor,
    estimate,
    finish_recommendation,
    recommend,
    resolve_policy,
    with_confidence,
    with_margin,
)
from podgym.errors import InputError

DAY_S = 86_400.0
MIB = 2**20


def steady(cores, memory_bytes, *, days=1.0, period_s=600.0):
    """Return the aggregate of a container that always used the same."""
    state = AggregateState()
    for index in range(int(days * DAY_S / period_s) + 1):
        state.apply([vpa.HistogramOperation("cpu", "add", cores, 0.1, index * period_s)])
    state.memory.add(memory_bytes, 1.0, days * DAY_S)
    return state


def constant(cpu, memory):
    amounts = {"cpu": cpu, "memory": memory}
    return Estimates(amounts, amounts, amounts)


def test_the_example_of_the_package():
    assert doctest.testmod(vpa).attempted > 0
    assert doctest.testmod(vpa).failed == 0


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "target"),
    [
        # Targets that people have printed: kubernetes/autoscaler#1182 and #6745.
        (0.09, 5e15, {"cpu": 109, "memory": 1_174_275_820_239}),
        (0.54, 1e6, {"cpu": 627, "memory": 250 * MIB}),
    ],
)
def test_targets_lie_on_the_grid_of_buckets(cores, memory_bytes, target):
    assert recommend({"app": steady(cores, memory_bytes)})["app"].target == target


def test_bounds_narrow_with_history():
    settings = RecommenderSettings()
    day, week = (estimate(steady(1.0, 2e9, days=days, period_s=60.0), settings) for days in (1, 7))
    for resource in ("cpu", "memory"):
        target = day.target[resource]
        assert week.target[resource] == target
        assert day.upper_bound[resource] == int(target * 2.0)
        assert day.lower_bound[resource] == int(target * 1.001**-2)
        assert target < week.upper_bound[resource] == int(target * (1 + 1 / 7))
        assert day.lower_bound[resource] < week.lower_bound[resource] <= target


def test_without_history_the_bounds_are_as_wide_as_can_be():
    state = AggregateState()
    state.apply([vpa.HistogramOperation("cpu", "add", 1.0, 0.1, 0.0)])
    recommended = recommend({"app": state})["app"]
    assert recommended.lower_bound == {"cpu": 25, "memory": 250 * MIB}
    assert recommended.upper_bound == {"cpu": MAX_AMOUNT, "memory": MAX_AMOUNT}
    assert recommended.target["cpu"] > 1000


@pytest.mark.parametrize(
    ("lifespan_s", "samples", "interval_s", "expected"),
    [
        (DAY_S, 1440, DAY_S, 1.0),
        (DAY_S, 720, DAY_S, 0.5),
        (600.0, 10**6, 3600.0, 1 / 6),
        (0.0, 5, DAY_S, 0.0),
    ],
)
def test_confidence_is_the_lesser_of_lifespan_and_samples(lifespan_s, samples, interval_s, expected):
    assert confidence(lifespan_s, samples, interval_s) == pytest.approx(expected)


def test_confidence_factor():
    assert confidence_factor(0.5, 1.0, 1.0) == 3.0
    assert confidence_factor(2.0, 1.0, -2.0) == pytest.approx(1 / 2.25)
    assert with_confidence(0, 0.0, 1.0, 1.0) == MAX_AMOUNT
    assert with_confidence(1000, 0.0, 0.001, -2.0) == 0
    assert with_confidence(1000, 1e-300, 1.0, 2.0) == MAX_AMOUNT  # beyond the largest float
    assert with_confidence(1000, 0.5, -0.5, -1.0) == MAX_AMOUNT  # a division by 0
    assert with_confidence(7, 1.0, 0.5, 1.0) == 10


def test_margin_is_truncated():
    assert [with_margin(amount, 0.15) for amount in (0, 6, 7, 100)] == [0, 6, 8, 115]


@pytest.mark.parametrize(
    ("containers", "minimum"), [(1, (25, 262_144_000)), (2, (12, 131_072_000)), (3, (8, 87_381_333))]
)
def test_containers_share_the_minimum(containers, minimum):
    names = {f"c{index}": AggregateState() for index in range(containers)}
    for each in recommend(names).values():
        assert tuple(each.target.values()) == minimum
        assert tuple(each.lower_bound.values()) == minimum
        assert tuple(each.uncapped_target.values()) == minimum


def test_policies():
    state = steady(1.0, 2e9)
    free = recommend({"app": state})["app"]
    policies = {
        "app": ContainerPolicy(controlled_resources=("cpu",), max_allowed={"cpu": 700, "memory": 5}),
        "low": ContainerPolicy(min_allowed={"cpu": 1500}, controlled_resources=("memory", "cpu")),
        "off": ContainerPolicy(mode="Off"),
        "none": ContainerPolicy(controlled_resources=()),
    }
    recommended = recommend(dict.fromkeys(policies, state), policies)
    assert "off" not in recommended
    assert recommended["app"].target == {"cpu": 700}
    assert recommended["app"].upper_bound == {"cpu": 700}
    assert recommended["app"].uncapped_target == {"cpu": free.target["cpu"]}
    assert recommended["low"].target == {"cpu": 1500, "memory": free.target["memory"]}
    assert recommended["low"].lower_bound["cpu"] == 1500
    assert list(recommended["low"].target) == ["cpu", "memory"]
    assert recommended["none"].target == {}


def test_rounding_comes_after_the_minimum_and_before_the_cap():
    settings = RecommenderSettings(round_cpu_milli=40, round_memory_bytes=1000 * MIB)
    rounded = finish_recommendation(constant(1, 1), settings=settings)
    assert rounded.target == {"cpu": 40, "memory": 1000 * MIB}
    policy = resolve_policy(ContainerPolicy(max_allowed={"cpu": 30}))
    capped = finish_recommendation(constant(1, 1), 1, policy, settings)
    assert (capped.target["cpu"], capped.uncapped_target["cpu"]) == (30, 40)
    assert finish_recommendation(constant(80, 1), settings=settings).target["cpu"] == 80


def test_a_policy_of_its_own_needs_the_gate():
    own = ContainerPolicy(memory_aggregation_interval_s=60.0, memory_aggregation_interval_count=2)
    on, off = resolve_policy(own).usage, resolve_policy(own, per_vpa_config=False).usage
    assert (on.memory_aggregation_interval_s, on.memory_aggregation_interval_count) == (60.0, 2)
    assert off == resolve_policy(None).usage
    assert (off.memory_aggregation_interval_s, off.memory_aggregation_interval_count) == (DAY_S, 8)


amounts = st.floats(0.0, 5.0)


@given(st.lists(st.tuples(amounts, st.integers(0, 4)), min_size=1, max_size=30), st.floats(0.0, 2.0))
def test_more_usage_never_lowers_the_recommendation(samples, more):
    """And the bounds enclose the target, which is never below the median."""
    states = [AggregateState(), AggregateState()]
    for cores, hour in samples:
        for state, usage in zip(states, (cores, cores + more), strict=True):
            state.apply([vpa.HistogramOperation("cpu", "add", usage, 0.1, hour * 3600.0)])
            state.memory.add(usage * 1e9, 1.0, DAY_S)
    low, high = (recommend({"app": state})["app"] for state in states)
    for resource in ("cpu", "memory"):
        assert low.target[resource] <= high.target[resource]
        assert low.lower_bound[resource] <= low.target[resource] <= low.upper_bound[resource]
    assert low.target["cpu"] >= 1000 * sorted(cores for cores, _ in samples)[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecommenderSettings(target_cpu_percentile=1.1), "target_cpu_percentile is 1.1; .* 0 to 1"),
        (lambda: RecommenderSettings(margin_fraction=-0.1), "margin_fraction"),
        (lambda: RecommenderSettings(confidence_interval_cpu_s=0.0), "confidence_interval_cpu_s"),
        (lambda: ContainerPolicy(mode="On"), "mode of a container policy 'On'; allowed: Auto, Off"),
        (lambda: ContainerPolicy(controlled_resources=("gpu",)), "resource .* 'gpu'"),
        (
            lambda: ContainerPolicy(min_allowed={"cpu": 5}, max_allowed={"cpu": 4}),
            "min_allowed cpu 5 is above",
        ),
        (lambda: resolve_policy(ContainerPolicy(oom_bump_up_ratio=-1.0)), "oom_bump_up_ratio"),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()

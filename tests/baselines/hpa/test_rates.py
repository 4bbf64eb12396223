import pytest

from podgym.baselines.hpa import (
    Behavior,
    ScaleEvent,
    ScalingPolicy,
    ScalingRules,
    change_within,
    default_behavior,
    default_rules,
    limit_legacy,
    limit_with_behavior,
    scale_down_limit,
    scale_up_limit,
    store_scale_event,
)
from podgym.errors import InputError

MAX_INT32 = 2**31 - 1


def rules(*policies, select="Max", window_s=None):
    return ScalingRules(select, window_s, tuple(ScalingPolicy(*policy) for policy in policies))


@pytest.mark.parametrize(
    ("current", "desired", "low", "high", "replicas", "reason"),
    [
        (5, 7, 1, 20, 7, "DesiredWithinRange"),
        (5, 11, 1, 20, 10, "ScaleUpLimit"),
        (5, 11, 1, 10, 10, "TooManyReplicas"),  # maximum and limit are both 10: the maximum names it
        (5, 9, 1, 8, 8, "TooManyReplicas"),
        (1, 9, 1, 20, 4, "ScaleUpLimit"),  # four replicas may always be reached
        (0, 9, 0, 20, 4, "ScaleUpLimit"),
        (5, 1, 2, 20, 2, "TooFewReplicas"),
        (50, 1, 1, 90, 1, "DesiredWithinRange"),  # no rate limit downwards
        (1, 2, 6, 20, 6, "TooFewReplicas"),  # the minimum beats the rate
    ],
)
def test_limits_without_behavior(current, desired, low, high, replicas, reason):
    limited = limit_legacy(current, desired, low, high)
    assert (limited.replicas, limited.reason) == (replicas, reason)


def test_the_legacy_factor_is_an_input():
    assert limit_legacy(5, 99, 1, 100, factor=8).replicas == 40
    assert limit_legacy(1, 99, 1, 100, factor=1.5, minimum=0).replicas == 1  # 1.5 is cut, not rounded up


@pytest.mark.parametrize(("current", "limit"), [(1, 5), (4, 8), (5, 10), (10, 20)])
def test_default_rules_double_or_add_four(current, limit):
    limited = limit_with_behavior(
        current, 999, 1, 1000, behavior=Behavior(), scale_up_events=(), scale_down_events=(), now_s=0
    )
    assert (limited.replicas, limited.reason) == (limit, "ScaleUpLimit")


@pytest.mark.parametrize(
    ("policies", "select", "up", "down"),
    [
        ([("Pods", 2, 60), ("Percent", 50, 60)], "Max", 11, 3),
        ([("Pods", 2, 60), ("Percent", 50, 60)], "Min", 9, 5),
        ([("Pods", 2, 60), ("Percent", 50, 60)], "Disabled", 7, 7),
        # 7 * 1.1 = 7.7: rounded up going up, cut going down (7 * 0.9 = 6.3).
        ([("Percent", 10, 60)], "Max", 8, 6),
        ([("Percent", 200, 60)], "Max", 21, -7),
        ([], "Max", -(2**31), MAX_INT32),
        ([], "Min", MAX_INT32, -(2**31)),
    ],
)
def test_policies(policies, select, up, down):
    chosen = rules(*policies, select=select)
    assert scale_up_limit(7, chosen, (), (), 0) == up
    assert scale_down_limit(7, chosen, (), (), 0) == down


def test_the_percentage_is_formed_before_it_is_applied():
    # 100 * (1 + 10/100) is a little above 110 in float64, and rounded up.
    assert scale_up_limit(100, rules(("Percent", 10, 60)), (), (), 0) == 111
    # 1 - 90/100 is a little below 0.1: of ten replicas none has to stay.
    assert scale_down_limit(10, rules(("Percent", 90, 60)), (), (), 0) == 0


def test_a_percentage_saturates():
    assert scale_up_limit(2**30, rules(("Percent", 900, 60)), (), (), 0) == MAX_INT32


def test_each_policy_looks_back_over_its_own_period_in_both_directions():
    up = (ScaleEvent(3, -100), ScaleEvent(2, -30))
    down = (ScaleEvent(1, -60), ScaleEvent(4, -10))
    # 60 s: 20 - 2 + 4 = 22 (the event exactly 60 s old is out); 120 s: 20 - 5 + 5 = 20.
    assert scale_up_limit(20, rules(("Pods", 1, 60)), up, down, 0) == 23
    assert scale_up_limit(20, rules(("Pods", 1, 120)), up, down, 0) == 21
    assert scale_up_limit(20, rules(("Pods", 1, 60), ("Pods", 1, 120), select="Min"), up, down, 0) == 21
    assert scale_down_limit(20, rules(("Percent", 50, 60)), up, down, 0) == 11


def test_a_limit_never_turns_the_direction_around():
    spent = (ScaleEvent(9, -10),)
    slow = Behavior(rules(("Pods", 1, 60)), rules(("Pods", 1, 60)))
    none = ()
    up = limit_with_behavior(
        10, 20, 1, 99, behavior=slow, scale_up_events=spent, scale_down_events=none, now_s=0
    )
    assert (up.replicas, up.reason) == (10, "ScaleUpLimit")
    down = limit_with_behavior(
        10, 5, 1, 99, behavior=slow, scale_up_events=none, scale_down_events=spent, now_s=0
    )
    assert (down.replicas, down.reason) == (10, "ScaleDownLimit")


@pytest.mark.parametrize(
    ("current", "desired", "replicas", "reason"),
    [
        (10, 40, 30, "TooManyReplicas"),
        (10, 1, 5, "TooFewReplicas"),
        (10, 10, 10, "DesiredWithinRange"),
        # Only the bound in the direction of travel is looked at.
        (40, 35, 35, "DesiredWithinRange"),
        (1, 3, 3, "DesiredWithinRange"),
    ],
)
def test_bounds_with_behavior(current, desired, replicas, reason):
    fast = Behavior(rules(("Pods", 100, 60)), rules(("Pods", 100, 60)))
    limited = limit_with_behavior(
        current, desired, 5, 30, behavior=fast, scale_up_events=(), scale_down_events=(), now_s=0
    )
    assert (limited.replicas, limited.reason) == (replicas, reason)


def test_where_rate_and_bound_are_the_same_the_bound_names_it():
    steady = Behavior(rules(("Pods", 5, 60)), rules(("Pods", 5, 60)))
    events = {"scale_up_events": (), "scale_down_events": (), "now_s": 0}
    assert limit_with_behavior(10, 99, 5, 15, behavior=steady, **events).reason == "TooManyReplicas"
    assert limit_with_behavior(10, 1, 5, 15, behavior=steady, **events).reason == "TooFewReplicas"


def test_events_take_the_place_of_the_last_that_no_policy_needs():
    two = rules(("Pods", 1, 30), ("Percent", 1, 60))
    before = (ScaleEvent(1, -61), ScaleEvent(2, -60), ScaleEvent(3, -90), ScaleEvent(4, -5))
    after = store_scale_event(before, two, 9, 0)
    assert after == (ScaleEvent(1, -61, True), ScaleEvent(2, -60), ScaleEvent(9, 0), ScaleEvent(4, -5))
    assert store_scale_event(before[1:2], two, 9, 0) == (ScaleEvent(2, -60), ScaleEvent(9, 0))
    assert [change_within(before, period_s, 0) for period_s in (5, 6, 60, 61, 62)] == [0, 4, 4, 6, 7]


def test_defaults_fill_only_what_is_missing():
    up = default_rules(ScalingRules(tolerance=0.2), "up")
    assert up == ScalingRules(
        "Max", 0, (ScalingPolicy("Pods", 4, 15), ScalingPolicy("Percent", 100, 15)), 0.2
    )
    down = default_rules(ScalingRules("Min", 0, (ScalingPolicy("Pods", 1, 5),)), "down")
    assert down == ScalingRules("Min", 0, (ScalingPolicy("Pods", 1, 5),))
    both = default_behavior(Behavior(scale_up=ScalingRules("Disabled")))
    assert both.scale_up is not None
    assert both.scale_up.select_policy == "Disabled"
    assert both.scale_down == ScalingRules("Max", None, (ScalingPolicy("Percent", 100, 15),))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ScalingPolicy("Percents", 1, 1), "Did you mean 'Percent'"),
        (lambda: ScalingRules("Maximum"), "unknown selectPolicy 'Maximum'; allowed: Disabled, Max, Min"),
        (lambda: ScalingRules(tolerance=-0.1), "tolerance"),
        (lambda: ScalingRules(tolerance=float("nan")), "tolerance"),
    ],
)
def test_rules_that_mean_nothing_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()

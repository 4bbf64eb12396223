import math

import pytest
from oracles.observations import blind, service, wanted

from podgym.baselines.kpa import KpaController, KpaSettings, KpaState, initial_state, scale
from podgym.errors import InputError

CALM = KpaState(None, 1)


def settings(target, up=10.0, down=10.0):
    """What Knative's own tests use: panic at twice the ready pods, windows of 60 s."""
    return KpaSettings(target, 60.0, 2.0, up, down)


@pytest.mark.parametrize(
    ("target", "rates", "state", "ready", "stable", "panic", "pods"),
    [
        (10, {}, CALM, 1, 0, 0, 0),
        (10, {}, CALM, 1, 50, 10, 5),
        (10, {}, CALM, 1, 100, 10, 10),
        (10, {}, CALM, 8, 100, 100, 10),
        (10, {}, CALM, 8, 50, 50, 5),
        (10, {}, CALM, 1, 1, 0, 1),
        (181, {}, CALM, 1, 21, 26, 1),
        (10, {}, CALM, 1, 50, 49, 5),
        (10, {}, CALM, 5, 50, 50, 5),
        (10, {}, CALM, 1, 50, 100, 10),  # the panic window wins
        (10, {}, CALM, 1, 1000, 1001, 10),  # ten times the ready pods at most
        (10, {}, CALM, 10, 1000, 1001, 100),
        (10, {}, CALM, 100, 1, 1, 10),  # a tenth of the ready pods at least
        (10, {}, CALM, 10, 1, 1, 1),
        (10, {}, CALM, 0, 1000, 888, 10),  # no ready pod counts as one
        (1, {"up": 1.1}, CALM, 2, 3, 3.1, 3),  # rounded up, so that it can grow at all
        (10, {"down": 1.1}, CALM, 100, 1, 1, 90),
        (1, {}, KpaState(-5.0, 5), 5, 50, 30, 50),  # in panic the larger window decides
        (1, {}, KpaState(-5.0, 5), 5, 20, 30, 30),
    ],
)
def test_the_cases_of_knatives_own_tests(target, rates, state, ready, stable, panic, pods):
    assert scale(settings(target, **rates), state, ready, stable, panic, 0.0)[0] == pods


def test_panic_ends_a_stable_window_after_the_last_alarm_and_holds_until_then():
    rules = settings(10)
    pods, state = scale(rules, CALM, 1, 100, 100, 0.0)
    assert (pods, state.panic_s) == (10, 0.0)
    pods, state = scale(rules, state, 10, 100, 1000, 0.0)
    assert pods == 100
    pods, state = scale(rules, state, 10, 1, 1, 30.0)
    assert (pods, state.panic_s) == (100, 0.0)
    pods, state = scale(rules, state, 10, 1, 1, 60.0)
    assert pods == 100  # exactly one window later it still holds
    pods, state = scale(rules, state, 10, 1, 1, 61.0)
    assert (pods, state) == (1, KpaState(None, 0))


def test_panic_is_extended_by_a_new_alarm_only():
    rules = settings(1)
    pods, state = scale(rules, CALM, 10, 11, 25, 0.0)
    assert (pods, state.panic_s) == (25, 0.0)
    pods, grown = scale(rules, state, 40, 30, 41, 30.0)
    assert (pods, grown.panic_s) == (41, 0.0)
    assert scale(rules, grown, 55, 50, 56, 62.0) == (50, KpaState(None, 0))
    pods, alarmed = scale(rules, state, 40, 30, 80, 30.0)
    assert (pods, alarmed.panic_s) == (80, 30.0)


def test_growth_is_followed_step_by_step():
    state, ready = CALM, 1
    for load in (6, 36, 216, 1296):
        pods, state = scale(settings(1), state, ready, load, load, 0.0)
        assert pods == load
        ready = pods
    assert scale(settings(1), state, ready, 1296, 1296, 1.0)[0] == 1296


def test_it_starts_in_panic_when_there_is_something_to_lose():
    assert [initial_state(ready, 7.0).panic_s for ready in (0, 1, 2)] == [None, None, 7.0]
    assert initial_state(9, 0.0).most_panic_pods == 9
    assert scale(settings(10), initial_state(9, 0.0), 9, 1, 1, 15.0)[0] == 9


def load(now_s, in_flight, ready=1, **fields):
    return service(ready, now_s=now_s, in_flight=in_flight, **fields)


def test_the_target_is_taken_at_its_utilisation():
    # 14 requests over 0.7 * 10 per pod; one ready pod, so no start in panic.
    assert wanted(KpaController(target=10.0), load(0.0, 14.0)) == [2]
    assert wanted(KpaController(target=10.0), load(0.0, 14.1)) == [3]
    assert wanted(KpaController(target=10.0, target_utilisation=1.0), load(0.0, 14.1)) == [2]


def test_defaults_are_knatives():
    assert wanted(KpaController(), load(0.0, 70.0)) == [None]
    assert wanted(KpaController(), load(0.0, 71.0)) == [2]
    rate = service(1, request_rate_rps=141.0)
    assert wanted(KpaController(metric="rps"), rate) == [2]


def test_the_stable_window_averages_and_the_panic_window_looks_at_the_newest():
    controller = KpaController(target=10.0, target_utilisation=1.0, panic_threshold_percent=1000.0)
    counts = [
        wanted(controller, load(now_s, in_flight), now_s=now_s)[0]
        for now_s, in_flight in (
            (0.0, 10.0),
            (15.0, 10.0),
            (30.0, 70.0),
            (45.0, 70.0),
            (60.0, 70.0),
            (75.0, 70.0),
        )
    ]
    # Means of 10; 10, 10; 10, 10, 70; ...; the sample at -5 s is within the window of 60 s until 55 s.
    assert counts == [None, None, 3, 4, 6, 7]


def test_panic_follows_the_newest_sample_and_scales_down_a_window_later():
    controller = KpaController(target=10.0, target_utilisation=1.0)
    steps = [(0.0, 10.0, 1), (15.0, 10.0, 1), (30.0, 90.0, 1)] + [(45.0 + 15 * k, 10.0, 9) for k in range(8)]
    counts = [
        wanted(controller, load(now_s, in_flight, ready), now_s=now_s)[0] for now_s, in_flight, ready in steps
    ]
    assert counts[:3] == [None, None, 9]
    assert counts[3:7] == [None] * 4  # to 90 s, exactly one window later
    assert counts[7] == 4  # no further than half at once; the spike has left the window


def test_a_delay_holds_back_scaling_down():
    controller = KpaController(
        target=10.0, target_utilisation=1.0, scale_down_delay_s=300.0, panic_threshold_percent=1000.0,
        max_scale_down_rate=10.0, stable_window_s=6.0,
    )  # fmt: skip
    loads = {2.0: 40.0, 300.0: 0.0, 302.0: 0.0}
    counts = [wanted(controller, load(now_s, value), now_s=now_s)[0] for now_s, value in loads.items()]
    assert counts == [4, 4, None]  # None: one replica, the minimum, as there is


def test_without_a_fresh_metric_nothing_is_done():
    controller = KpaController(target=10.0)
    assert wanted(controller, blind(3)) == [None]
    assert wanted(controller, load(0.0, 0.0, ready=9), now_s=500.0) == [None]
    assert wanted(controller, load(0.0, math.nan, ready=9)) == [None]


def test_reset_forgets_the_panic():
    controller = KpaController(target=10.0, target_utilisation=1.0)
    assert wanted(controller, load(0.0, 90.0)) == [9]
    assert wanted(controller, load(15.0, 10.0, 9), now_s=15.0) == [None]
    controller.reset()
    assert wanted(controller, load(30.0, 10.0, 1, replicas_wanted=9), now_s=30.0) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cpu"}, "allowed: concurrency, rps"),
        ({"target": 0.0}, "target is 0.0"),
        ({"target_utilisation": 1.1}, "target_utilisation"),
        ({"stable_window_s": 5.0}, "from 6 to 3600"),
        ({"panic_window_percent": 0.5}, "from 1 to 100"),
        ({"panic_threshold_percent": 100.0}, "from 110 to 1000"),
        ({"max_scale_up_rate": 1.0}, "max_scale_up_rate"),
        ({"max_scale_down_rate": 1.0}, "max_scale_down_rate"),
        ({"scale_down_delay_s": -1.0}, "scale_down_delay_s"),
        ({"max_sample_age_s": math.nan}, "max_sample_age_s"),
    ],
)
def test_options_that_knative_refuses_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        KpaController(**options)

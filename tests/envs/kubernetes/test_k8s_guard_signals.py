"""What the guard promises about bad data and about time, promise by promise."""

import math

import numpy as np
import pytest
from oracles.guard_target import OK, Target, limits, one

from podgym.baselines.hpa_controller import HpaController
from podgym.envs.cluster import ClusterObservation, PodSample, PodView, Quota, ServiceView
from podgym.envs.kubernetes.guard import GuardMemory, Signal, Verdict, guard

NAN = math.nan


# Signals


@pytest.mark.parametrize("state", ["missing", "invalid", "nonsense"])
@pytest.mark.parametrize("wanted", [3, 10, 15])
def test_p13_with_no_usable_metric_nothing_changes_and_the_reason_is_told(state, wanted):
    verdict = one(wanted, signals=(Signal("cpu", state), Signal("requests", state)))
    assert (verdict.replicas, verdict.change, verdict.quotas) == (10, False, "none")
    assert verdict.reasons == ("held_missing" if state == "missing" else "held_invalid", "blind")


def test_p13_without_any_metric_or_proposal_nothing_changes():
    assert one(3, signals=()) == Verdict(10, False, "none", ("blind",))
    assert one(15, signals=()).change is False
    assert Target(10).step() == Verdict(10, False, "none", ("no_proposal",))


@pytest.mark.parametrize("wanted", [NAN, math.inf, -math.inf, -3, "many", np.nan, 3j, True])
def test_p13_p18_with_no_valid_proposal_nothing_changes(wanted):
    verdict = Target(10).step(wanted, wanted)
    assert (verdict.replicas, verdict.quotas) == (10, "none")
    assert verdict.reasons == ("held_invalid", "negative" if wanted == -3 else "not_a_number")


BAD = [
    ("invalid", "held_invalid"),  # P14
    ("stale", "held_stale"),  # P16
    ("missing", "held_missing"),  # P17
    ("partial", "held_partial"),  # P20
]


@pytest.mark.parametrize(("state", "code"), BAD)
def test_p14_p16_p17_p20_one_bad_metric_forbids_shrinking_and_allows_growing(state, code):
    signals = (Signal("cpu", "ok"), Signal("requests", state))
    down, up = one(3, signals=signals), one(15, signals=signals)
    assert down == Verdict(10, False, "up_only", ("down_rate", code))
    assert up == Verdict(15, True, "up_only", (code,))


def test_p16_metrics_that_are_all_stale_never_shrink_a_service():
    target = Target(10)
    for _ in range(100):
        assert target.step(2, signals=(Signal("cpu", "stale"),)).replicas == 10
    assert target.step(15, signals=(Signal("cpu", "stale"),)) == Verdict(15, True, "up_only", ("held_stale",))


@pytest.mark.parametrize("bad", [NAN, math.inf, -1])
def test_p14_p18_one_bad_proposal_forbids_shrinking_and_allows_growing(bad):
    down, up = Target(10).step(3, bad), Target(10).step(15, bad)
    assert (down.replicas, down.change, down.quotas) == (10, False, "up_only")
    assert "held_invalid" in down.reasons
    assert up.replicas == 15


def test_p14_time_with_bad_data_neither_empties_the_window_nor_begins_it_again():
    partial = (Signal("cpu", "partial"),)
    outage, plain, flicker = Target(10), Target(10), Target(10)
    for target in (outage, plain, flicker):
        target.step(10)
    for _ in range(40):
        outage.step(3, signals=partial)
    good_steps = 0
    while plain.replicas == 10:
        plain.step(9)
        outage.step(9)
        good_steps += 1
        assert outage.replicas == plain.replicas
    steps = 0
    while flicker.replicas == 10:
        flicker.step(9, signals=partial if steps % 2 else OK)
        steps += 1
        assert steps <= 2 * good_steps


def test_p14_a_wish_for_more_on_bad_data_counts_and_one_for_less_does_not():
    target = Target(10)
    target.step(12, signals=(Signal("cpu", "partial"),))
    assert target.step(9).reasons == ("down_window",)
    assert target.memory.most_wanted == 12
    target = Target(10)
    target.step(3, signals=(Signal("cpu", "partial"),))
    target.step(15, signals=(Signal("cpu", "missing"),))
    assert target.memory.most_wanted == 0


def hpa_wish(cores):
    """Ask our HPA about pods with a request of 0.5 cores each; those of None have no sample."""
    hpa, quota = HpaController(downscale_stabilization_s=0), Quota(0.5, 0.5, 2.0**29, 2.0**29)
    for now_s in (0.0, 100.0):  # at first it stays where it is
        samples = [None if used is None else PodSample(used, 1e6, now_s, 30.0) for used in cores]
        pods = tuple(
            PodView(f"web-{i}", "Running", True, -1e3, -1e3, False, quota, sample)
            for i, sample in enumerate(samples)
        )
        count = len(pods)
        service = ServiceView(
            "web", count, count, count, 2, 20, quota, now_s, 100.0, 0.1, 0.0, 1.0, pods
        )  # fmt: skip
        wish = hpa.decide(ClusterObservation(now_s, (service,)))[0].replicas
    return wish


@pytest.mark.parametrize(("used_cores", "turns"), [(0.3, "down"), (0.45, "up")])
def test_p15_missing_pods_that_would_turn_the_direction_hold(used_cores, turns):
    # 75 % of the target is too much for a cut once those missing count as full; 112 % is too little for
    # growth once they count as idle.
    assert hpa_wish([used_cores] * 8) == (6 if turns == "down" else 9)
    wish = hpa_wish([used_cores] * 4 + [None] * 4)
    partly = (Signal("cpu", "partial"),)
    assert not Target(8).step(wish, signals=partly).change
    # A controller that is not so careful is held by the guard.
    assert not Target(8).step(4, signals=partly).change


# Time


def test_p23_a_jump_ahead_takes_no_more_than_one_interval_out_of_the_window():
    plain, jumped = Target(10), Target(10)
    for target in (plain, jumped):
        target.step(10)
    jumped.step(9, wait_s=1e9)
    plain.step(9)
    assert jumped.replicas == 10
    steps = {id(plain): 1, id(jumped): 1}
    for target in (plain, jumped):
        while target.replicas == 10:
            target.step(9)
            steps[id(target)] += 1
    assert steps[id(plain)] - 1 <= steps[id(jumped)] <= steps[id(plain)]


@pytest.mark.parametrize("jump_s", [-1e9, -1.0, 0.0, NAN, math.inf, -math.inf])
def test_p23_a_jump_back_neither_empties_nor_freezes_the_window(jump_s):
    target = Target(10)
    target.step(10)
    began_s = target.now_s
    verdict, target.memory = guard([9], 10, 5, OK, target.limits, target.memory, began_s + jump_s)
    assert not verdict.change
    target.now_s = began_s + jump_s if math.isfinite(jump_s) else began_s
    steps = 1
    while target.replicas == 10:
        target.step(9)
        steps += 1
        assert steps <= 6
    assert steps >= 5


def test_p23_a_jump_allows_no_more_growth_than_one_period_does():
    target = Target(10, limits(high=1000))
    target.step(1000, wait_s=1e9)
    assert target.replicas == 20
    target.step(1000, wait_s=-1e9)
    assert target.replicas == 20


def test_p23_a_clock_that_stands_still_changes_no_more_than_one_period_does():
    for broken_s in (NAN, 115.0):
        target = Target(10, limits(high=1000))
        target.now_s = broken_s
        assert [target.step(1000, wait_s=0.0).replicas for _ in range(5)] == [20] * 5
        assert [target.step(2, wait_s=0.0).replicas for _ in range(5)] == [20] * 5


def test_p23_without_an_interval_a_jump_leaves_half_of_the_window():
    assert limits(interval_s=None).longest_step_s == 30.0
    assert limits(interval_s=None, down_window_s=0.0).longest_step_s == 14.0
    assert limits(interval_s=60.0).longest_step_s == 120.0


def test_p24_p12_nothing_shrinks_before_one_window_has_passed_since_the_start():
    target = Target(10, history=False)
    while target.replicas == 10:
        assert target.now_s - 100.0 <= 120.0
        before_s = target.now_s
        verdict = target.step(9)
    assert 60.0 <= target.now_s - 100.0 <= 75.0
    assert before_s - 100.0 < 60.0
    assert verdict.reasons == ()


def test_p24_growing_needs_no_history_and_quotas_do_not_shrink_without():
    target = Target(10, history=False)
    verdict = target.step(15)
    assert verdict == Verdict(15, True, "up_only", ())
    assert target.step(5).reasons == ("no_history", "down_window", "down_rate")


def test_p24_the_history_is_one_of_good_data():
    target = Target(10, history=False)
    for _ in range(20):
        target.step(9, signals=(Signal("cpu", "partial"),))
    for _ in range(3):
        assert target.step(9).reasons == ("no_history",)


@pytest.mark.parametrize("wanted", [3, 10, 15])
@pytest.mark.parametrize("ready", [None, NAN, -1, 2.5])
def test_p25_pods_that_cannot_be_counted_hold(wanted, ready):
    verdict = one(wanted, ready=ready)
    assert (verdict.replicas, verdict.change, verdict.quotas) == (10, False, "none")
    assert verdict.reasons == ("cannot_count_pods",)


@pytest.mark.parametrize("replicas", [None, NAN, -1, 2.5, math.inf, "3", True])
def test_p25_replicas_that_are_not_known_hold(replicas):
    memory = GuardMemory(started_s=0.0)
    verdict, after = guard([15], replicas, 5, OK, limits(), memory, 15.0)
    assert verdict == Verdict(2, False, "none", ("cannot_count_replicas",))
    assert after.present == ()

"""What the guard promises about bounds, rates and windows, promise by promise, and about its arguments."""

import math

import numpy as np
import pytest
from oracles.guard_target import OK, Target, limits, one

from podgym.envs.kubernetes.guard import REASONS, GuardMemory, Limits, Signal, Verdict, describe, guard
from podgym.envs.kubernetes.settings import SafetySettings
from podgym.errors import InputError

NAN = math.nan


# Bounds


@pytest.mark.parametrize(
    "wanted",
    [NAN, math.inf, -math.inf, 1e308, -1e308, -1, 10**400, None, "9", True, np.float32("nan"), 1e-320],
)
@pytest.mark.parametrize("replicas", [1, 2, 10, 20, 50])
def test_p01_the_answer_is_within_the_bounds_whatever_is_wanted(wanted, replicas):
    target = Target(replicas)
    for _ in range(8):
        assert 2 <= target.step(wanted).replicas <= 20


def test_p01_more_than_the_most_is_cut_to_it():
    assert one(1e308, 15) == Verdict(20, True, "any", ("above_max",))
    assert one(10**400, 15).replicas == 20
    assert one(20, 20) == Verdict(20, False, "any", ())


def test_p02_zero_wanted_is_the_minimum():
    assert one(0, 3) == Verdict(2, True, "any", ("below_min",))


def test_p03_a_target_at_zero_is_never_switched_on():
    target = Target(0, history=False)
    for wanted in (5, 1e308, NAN, None):
        assert target.step(wanted) == Verdict(0, False, "none", ("target_at_zero",))


def test_p03_a_target_that_may_be_at_zero_is_no_switched_off_one():
    assert one(3, 0, limits(low=0)).replicas == 3


def test_p03_a_target_switched_on_again_has_no_history():
    target = Target(10)
    for _ in range(6):
        target.step(3)
    target.replicas = 0
    target.step(3)
    target.replicas = 10
    assert target.step(3).reasons == ("no_history", "down_rate")
    assert target.replicas == 10


@pytest.mark.parametrize("wanted", [15, NAN, None, 5])
def test_p04_outside_the_bounds_it_is_brought_to_them_at_once(wanted):
    frozen = limits(allow_scale_up=False, allow_scale_down=False, up_factor=1, up_pods=0, down_factor=1)
    for bounds in (limits(), frozen):
        above = Target(80, bounds, history=False).step(wanted)
        below = Target(1, limits(low=9, high=20), history=False).step(wanted)
        assert (above.replicas, above.change, above.reasons[0]) == (20, True, "replicas_above_max")
        assert (below.replicas, below.change, below.reasons[0]) == (9, True, "replicas_below_min")


def test_p04_bounds_hold_on_bad_data_too():
    blind = Target(80, history=False).step(NAN, signals=(Signal("cpu", "missing"),), ready=None)
    assert blind.replicas == 20
    assert blind.quotas == "none"


@pytest.mark.parametrize(
    ("wanted", "changes"), [(18, False), (22, False), (17, True), (23, True), (20, False)]
)
def test_p05_within_the_tolerance_nothing_is_written(wanted, changes):
    verdict = one(wanted, 20, limits(high=40, tolerance=0.1))
    assert verdict.change is changes
    assert verdict.reasons == (("tolerance",) if wanted in (18, 22) else ())


def test_p05_the_tolerance_is_that_of_the_wish_not_of_the_bounded_one():
    assert one(40, 19, limits(tolerance=0.1)).replicas == 20


def test_p05_the_edge_of_the_tolerance_does_not_depend_on_rounding():
    # 0.29 * 100 is less than 29 in binary fractions.
    assert not one(129, 100, limits(high=200, tolerance=0.29)).change


# Rates


def test_p06_growth_is_at_most_double_or_four_more_in_one_period():
    target = Target(2, limits(high=1000))
    grown = [target.step(1000).replicas for _ in range(5)]
    assert grown == [6, 12, 24, 48, 96]


def test_p06_shorter_steps_do_not_add_up_to_more():
    target = Target(10, limits(high=1000, interval_s=5.0))
    grown = [target.step(1000, wait_s=5.0) for _ in range(6)]
    assert [each.replicas for each in grown] == [20, 20, 20, 40, 40, 40]
    assert grown[0].reasons == ("up_rate",)
    assert grown[1].change is False


def test_p06_one_more_is_always_possible():
    target = Target(10, limits(up_factor=1.0, up_pods=0))
    assert [target.step(20).replicas for _ in range(3)] == [11, 12, 13]


def test_p06_a_change_that_was_not_carried_out_does_not_count_as_growth():
    target = Target(5, limits(high=1000))
    assert [target.step(1000, carried_out=False).replicas for _ in range(4)] == [10] * 4


def test_p06_someone_elses_change_counts_from_when_it_is_seen():
    target = Target(5, limits(high=1000))
    target.replicas = 100
    assert target.step(1000).replicas == 100
    assert target.step(1000).replicas == 200
    target = Target(5, limits(high=1000))
    target.step(1000, carried_out=False)
    target.replicas = 8
    assert target.step(1000).replicas == 10


def test_p06_fractions_of_the_factor_are_cut():
    assert one(1000, 5, limits(high=1000, up_factor=1.5, up_pods=0)).replicas == 7
    # 1.4 * 45 is less than 63 in binary fractions.
    assert one(1000, 45, limits(high=1000, up_factor=1.4, up_pods=0)).replicas == 63


def test_p07_a_cut_leaves_at_least_half_in_one_period():
    target = Target(20, limits(down_window_s=0.0))
    cuts = [target.step(2, wait_s=7.5) for _ in range(8)]
    assert [each.replicas for each in cuts] == [10, 10, 5, 5, 3, 3, 2, 2]
    assert cuts[0].reasons == cuts[1].reasons == ("down_rate",)


def test_p07_the_edge_of_the_rate_does_not_depend_on_rounding():
    # 0.07 * 100 is more than 7 in binary fractions.
    assert one(2, 100, limits(high=100, down_factor=0.07, down_window_s=0.0)).replicas == 7


def test_p07_what_grew_within_the_period_shrinks_no_faster():
    target = Target(5, limits(down_window_s=0.0))
    target.step(20)
    target.step(20)
    assert target.replicas == 20
    assert target.step(2, wait_s=1.0).replicas == 10


def test_p07_one_less_is_always_possible():
    target = Target(10, limits(down_factor=1.0, down_window_s=0.0))
    assert [target.step(2).replicas for _ in range(3)] == [9, 8, 7]


# Windows


def test_p08_p12_the_largest_wish_of_the_window_holds_for_the_window_and_not_longer():
    target = Target(10)
    target.step(10)
    high_until_s = target.now_s
    verdicts = {}
    while target.replicas == 10:
        verdicts[target.now_s] = target.step(9)
        assert target.now_s - high_until_s <= 120.0
    waited_s = target.now_s - high_until_s
    assert 60.0 < waited_s <= 60.0 + 15.0
    assert {each.reasons for each in list(verdicts.values())[:-1]} == {("down_window",)}


def test_p08_a_wish_between_lowers_as_far_as_the_window_allows():
    target = Target(10)
    for wanted in (8, 7, 6, 5, 5):
        target.step(wanted)
    assert target.replicas == 8
    target.step(5)
    assert target.replicas == 7


def test_p08_a_wish_above_what_there_is_does_not_make_it_grow_later():
    target = Target(5, limits(up_factor=1.0, up_pods=0))
    target.step(20)
    assert target.replicas == 6
    assert target.step(4) == Verdict(6, False, "any", ("down_window",))


def test_p09_scaling_up_can_be_switched_off():
    target = Target(10, limits(allow_scale_up=False))
    assert target.step(15) == Verdict(10, False, "any", ("disabled_up",))
    assert target.step(NAN).replicas == 10


def test_p09_scaling_down_can_be_switched_off():
    target = Target(10, limits(allow_scale_down=False))
    for _ in range(10):
        verdict = target.step(5)
        assert (verdict.replicas, verdict.quotas) == (10, "up_only")
        assert "disabled_down" in verdict.reasons
    assert target.step(15).replicas == 15


def test_p10_the_largest_proposal_counts():
    assert one(3, 10).replicas == 5
    assert Target(10).step(3, 14, 9).replicas == 14
    assert Target(10).step(14, None, 3).replicas == 14
    assert Target(10).step(3, 8.2, 7).replicas == 9


# The rest


def test_numbers_of_numpy_count_as_pythons_own():
    memory = GuardMemory(started_s=0.0)
    bounds = Limits.of(SafetySettings(), np.int64(2), np.int32(20))
    for wanted in (np.int64(15), np.uint8(15), np.float32(15.0), np.float64(14.5)):
        verdict, _ = guard([wanted], np.int64(10), np.int32(5), OK, bounds, memory, np.float64(15.0))
        assert verdict == Verdict(15, True, "up_only", ())
        assert type(verdict.replicas) is int
    down, _ = guard([np.uint8(3)], np.uint8(10), np.uint8(5), OK, bounds, memory, 15.0)
    assert down.replicas == 10


def test_no_change_wanted_is_a_wish_for_what_there_is():
    target = Target(10)
    assert target.step(None) == Verdict(10, False, "any", ())
    assert target.memory.most_wanted == 10


def test_quotas_can_be_switched_off_and_are_off_where_nothing_may_change():
    assert one(10).quotas == "any"
    assert one(10, bounds=limits(allow_quotas=False)).quotas == "none"
    assert one(10, bounds=limits(allow_scale_up=False, allow_scale_down=False)).quotas == "none"
    assert one(10, bounds=limits(allow_scale_up=False)).quotas == "any"


def test_the_memory_given_is_left_as_it_was():
    memory = GuardMemory(started_s=0.0)
    first = guard([15], 10, 5, OK, limits(), memory, 15.0)
    assert memory == GuardMemory(started_s=0.0)
    assert guard([15], 10, 5, OK, limits(), memory, 15.0) == first


def test_the_memory_stays_small():
    target = Target(10, limits(high=1000, down_window_s=3600.0, interval_s=1.0), history=False)
    for step in range(3000):
        target.step(500 + 400 * math.sin(step / 50.0), wait_s=1.0)
    assert len(target.memory.present) <= 17
    assert len(target.memory.wanted) <= 1001
    counts = [count.replicas for count in target.memory.wanted]
    assert counts == sorted(set(counts), reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 5, "high": 4}, {"low": -1}, {"high": 0}, {"high": 2.5}, {"high": True}, {"low": "2"},
        {"high": 5001}, {"interval_s": 0.0}, {"interval_s": NAN}, {"interval_s": math.inf},
    ],
)  # fmt: skip
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        limits(**wrong)


def test_reasons_are_told_in_words():
    assert describe(()) == ""
    assert describe(("quota_held", "elsewhere")) == f"{REASONS['quota_held']}; elsewhere"
    assert describe(("held_stale", "above_max")) == f"{REASONS['held_stale']}; {REASONS['above_max']}"

import pytest

from podgym.baselines.hpa import Recommendation, stabilise_legacy, stabilise_with_behavior


def log(*entries):
    return tuple(Recommendation(replicas, time_s) for replicas, time_s in entries)


def test_scaling_up_is_never_delayed_without_behavior():
    assert stabilise_legacy(log((3, -10)), 9, 300, 0).replicas == 9


def test_scaling_down_takes_the_largest_of_the_window():
    assert stabilise_legacy(log((4, -200), (7, -100), (5, -10)), 2, 300, 0).replicas == 7


@pytest.mark.parametrize(("age_s", "replicas"), [(300, 8), (300.001, 2)])
def test_an_entry_of_exactly_one_window_still_counts_without_behavior(age_s, replicas):
    assert stabilise_legacy(log((8, -age_s)), 2, 300, 0).replicas == replicas


@pytest.mark.parametrize(("age_s", "replicas"), [(299.999, 8), (300, 2)])
def test_an_entry_of_exactly_one_window_no_longer_counts_with_behavior(age_s, replicas):
    result = stabilise_with_behavior(
        log((8, -age_s)), 9, 2, scale_up_window_s=0, scale_down_window_s=300, now_s=0
    )
    assert result.replicas == replicas


def test_the_last_expired_slot_is_used_again():
    entries = log((1, -400), (2, -100), (3, -350), (4, -50))
    legacy = stabilise_legacy(entries, 9, 300, 0)
    assert legacy.recommendations == log((1, -400), (2, -100), (9, 0), (4, -50))
    windows = {"scale_up_window_s": 0, "scale_down_window_s": 300, "now_s": 0}
    assert stabilise_with_behavior(entries, 4, 9, **windows).recommendations == legacy.recommendations


def test_a_slot_must_have_left_both_windows():
    entries = log((1, -400))
    windows = {"scale_up_window_s": 500, "scale_down_window_s": 300, "now_s": 0}
    assert stabilise_with_behavior(entries, 4, 9, **windows).recommendations == log((1, -400), (9, 0))
    windows = {"scale_up_window_s": 0, "scale_down_window_s": 400, "now_s": 0}
    assert stabilise_with_behavior(entries, 4, 9, **windows).recommendations == log((1, -400), (9, 0))
    # An entry exactly one window old neither counts nor makes room.
    windows = {"scale_up_window_s": 400, "scale_down_window_s": 300, "now_s": 0}
    result = stabilise_with_behavior(entries, 4, 9, **windows)
    assert (result.replicas, result.recommendations) == (9, log((1, -400), (9, 0)))


@pytest.mark.parametrize(
    ("entries", "current", "desired", "replicas", "reason"),
    [
        # Up only as far as the lowest recommendation, but never below the count there is.
        (((6, -10), (12, -5)), 5, 20, 6, "ScaleUpStabilized"),
        (((3, -10),), 5, 20, 5, "ScaleUpStabilized"),
        # Down only as far as the highest.
        (((8, -10), (3, -5)), 10, 2, 8, "ScaleDownStabilized"),
        (((12, -10),), 10, 2, 10, "ScaleDownStabilized"),
        # Asked to stay, it stays, whatever came before.
        (((1, -10), (30, -5)), 10, 10, 10, "ScaleUpStabilized"),
        ((), 10, 4, 4, "ScaleDownStabilized"),
    ],
)
def test_a_change_goes_as_far_as_all_agree(entries, current, desired, replicas, reason):
    result = stabilise_with_behavior(
        log(*entries), current, desired, scale_up_window_s=60, scale_down_window_s=60, now_s=0
    )
    assert (result.replicas, result.reason) == (replicas, reason)

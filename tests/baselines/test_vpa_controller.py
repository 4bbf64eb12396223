import dataclasses
import json
import math

import pytest
from oracles.busy_service import MINUTE_S, QUICK, busy, follow, with_quota
from oracles.observations import MIB, observe, pod, service

from podgym.baselines.metrics import KEEP
from podgym.baselines.vpa_controller import VpaController
from podgym.envs.cluster import Quota, ServiceDecision
from podgym.errors import InputError


def test_new_pods_get_the_target_and_limits_keep_their_ratio():
    decision = follow(VpaController(), 1)
    # 1 core falls into the bucket that ends at 0.2 * (1.05**37 - 1) = 1.0163 cores; 1016 and 15 % are 1168.
    assert decision.admission.cpu_request_cores == 1.168
    assert decision.admission.cpu_limit_cores == 1.168
    assert decision.admission.memory_request_bytes == pytest.approx(800 * MIB * 1.15, rel=0.05)
    assert decision.admission.memory_limit_bytes == decision.admission.memory_request_bytes * 1.5
    assert decision.replicas is None
    assert decision.cpu_request_cores is None


def test_the_template_is_remembered_while_admissions_hold():
    template = Quota(0.3, 0.7, 100 * MIB, 330 * MIB)
    controller = VpaController(controlled_resources=("memory",))

    def admitted(now_s):
        return with_quota(busy(now_s, memory_bytes=(800 + now_s) * MIB), quota)

    quota = template
    for minutes in range(1, 30):
        decision = follow(controller, minutes, admitted, minutes - 1)
        quota = decision.admission or quota
        assert (quota.cpu_request_cores, quota.cpu_limit_cores) == (0.3, 0.7)
        assert quota.memory_limit_bytes == quota.memory_request_bytes * 3.3
    assert quota.memory_request_bytes > 1500 * MIB


def test_what_new_pods_have_already_is_not_decided_again():
    controller = VpaController(mode="Initial")
    quota = follow(controller, 1).admission
    assert follow(controller, 2, lambda now_s: with_quota(busy(now_s), quota), 1) == KEEP


@pytest.mark.parametrize(
    ("mode", "acts"), [("Off", False), ("Initial", False), ("Recreate", True), ("InPlaceOrRecreate", True)]
)
def test_modes(mode, acts):
    controller = VpaController(mode=mode, **QUICK)
    decision = follow(controller, 5)
    assert (decision.admission is not None) == (mode != "Off")
    assert bool(decision.evict) == (mode == "Recreate")
    assert bool(decision.resize) == (mode == "InPlaceOrRecreate")
    assert bool(decision.evict or decision.resize) == acts
    assert controller.recommendations["web"].target["cpu"] == 1168


def test_with_a_short_history_only_new_pods_are_touched():
    idle = VpaController()
    decision = follow(idle, 30, lambda now_s: busy(now_s, cores=0.1, memory_bytes=100 * MIB))
    assert decision.admission.cpu_request_cores < 0.2
    assert decision.evict == ()
    # Upwards: (1 + 0.001 / confidence)**-2 of 1168 millicores is 395 after two minutes, and 533 after
    # three, more than the half core that is requested.
    assert follow(VpaController(), 3).evict == ()
    assert follow(VpaController(), 4).evict == ("web-0", "web-1")


def test_evictions_stay_within_the_limits():
    assert follow(VpaController(**QUICK), 5).evict == ("web-0", "web-1")
    assert follow(VpaController(eviction_tolerance=0.25, **QUICK), 5).evict == ("web-0",)
    assert follow(VpaController(eviction_tolerance=0.0, **QUICK), 5).evict == ("web-0",)
    assert len(follow(VpaController(eviction_tolerance=1.0, **QUICK), 5).evict) == 4
    assert follow(VpaController(min_replicas=5, **QUICK), 5).evict == ()

    def one_is_missing(now_s):
        return busy(now_s, replicas_wanted=6)

    assert follow(VpaController(**QUICK), 5, one_is_missing).evict == ("web-0",)


def test_pods_that_go_are_not_counted_and_pending_ones_always_evicted():
    def some_gone(now_s):
        view = busy(now_s)
        states = [{"deleted": True}, {"phase": "Failed"}, {"phase": "Pending", "start_time_s": None}, {}]
        pods = tuple(
            dataclasses.replace(each, **state) for each, state in zip(view.pods, states, strict=True)
        )
        return dataclasses.replace(view, pods=pods)

    assert follow(VpaController(**QUICK), 5, some_gone).evict == ("web-2",)


def test_pods_with_the_new_quota_are_left_alone():
    controller = VpaController(**QUICK)
    quota = follow(controller, 5).admission
    mixed = follow(controller, 6, lambda now_s: with_quota(busy(now_s), quota, {"web-0", "web-3"}), 5)
    assert mixed == ServiceDecision(evict=("web-1", "web-2"))
    assert follow(controller, 7, lambda now_s: with_quota(busy(now_s), quota), 6) == KEEP


def test_old_pods_follow_a_change_of_a_tenth():
    """Within their bounds pods are updated only when they are old, and far enough off."""
    options = {"lifetime_threshold_s": 1000.0, "confidence_interval_s": 3600.0}

    def off(share, start_s):
        def make(now_s):
            view = busy(now_s)
            quota = Quota(1.168 * share, 1.168 * share, 975_000_000.0, 975_000_000.0)
            pods = tuple(dataclasses.replace(each, quota=quota, start_time_s=start_s) for each in view.pods)
            return dataclasses.replace(view, pods=pods)

        return make

    assert follow(VpaController(**options), 5, off(1.3, -1000.0)).evict
    assert follow(VpaController(**options), 5, off(1.3, -500.0)).evict == ()
    assert follow(VpaController(**options), 5, off(1.02, -1000.0)).evict == ()
    assert follow(VpaController(update_threshold=0.01, **options), 5, off(1.02, -1000.0)).evict
    assert follow(VpaController(**options), 5, off(1.3, None)).evict == ()


def test_intervals():
    controller = VpaController(recommender_interval_s=120, updater_interval_s=60, **QUICK)
    seen = []
    for step in range(17):
        now_s = 15.0 * step
        (decision,) = controller.decide(observe(busy(now_s, cores=1.0 + step / 10), now_s=now_s))
        seen.append((controller.recommendations["web"].target["cpu"], bool(decision.evict)))
    targets = [target for target, _ in seen]
    assert targets[0] == targets[7] < targets[8] == targets[15] < targets[16]
    assert [step for step, (_, acted) in enumerate(seen) if acted] == [8, 12, 16]
    controller.reset()
    assert controller.recommendations == {}
    assert follow(controller, 1).evict == ()


def test_each_service_has_a_vpa_of_its_own():
    controller = VpaController()
    views = [busy(0.0, cores, name=name) for name, cores in (("a", 1.0), ("b", 2.0))]
    decisions = controller.decide(observe(*views))
    assert [each.admission.cpu_request_cores for each in decisions] == [1.168, pytest.approx(2.3, rel=0.06)]
    assert set(controller.recommendations) == {"a", "b"}


def test_allowed_ranges_and_percentiles():
    low = follow(VpaController(max_allowed_cpu_cores=0.75, min_allowed_memory_bytes=2e9), 1).admission
    assert (low.cpu_request_cores, low.memory_request_bytes) == (0.75, 2e9)
    high = follow(VpaController(min_allowed_cpu_cores=3, max_allowed_memory_bytes=1e8), 1).admission
    assert (high.cpu_request_cores, high.memory_request_bytes) == (3.0, 1e8)

    def uneven(now_s):
        pods = tuple(pod(index, 0.1 + index, now_s=now_s) for index in range(4))
        return dataclasses.replace(busy(now_s), pods=pods)

    targets = [
        follow(VpaController(lower_percentile=0.0, target_percentile=each), 1, uneven).admission
        for each in (0.2, 0.5, 0.9)
    ]
    assert [each.cpu_request_cores for each in targets] == pytest.approx([0.115, 1.265, 3.565], rel=0.1)
    bare = follow(VpaController(margin_fraction=0.0), 1).admission
    assert bare.cpu_request_cores == 1.016


# ---------------------------------------------------------------------------------------------- OOM kills


def killed(now_s, killed_s, ran_s=100.0, memory_bytes=500 * MIB):
    view = busy(now_s, cores=0.4, memory_bytes=memory_bytes)
    first = dataclasses.replace(view.pods[0], oom_killed_s=killed_s, oom_ran_s=ran_s)
    return dataclasses.replace(view, pods=(first, *view.pods[1:]))


def test_an_oom_kill_raises_the_memory_above_the_request():
    calm = follow(VpaController(target_percentile=0.95), 3, lambda now_s: killed(now_s, None)).admission
    hit = follow(VpaController(target_percentile=0.95), 3, lambda now_s: killed(now_s, 50.0)).admission
    assert calm.memory_request_bytes == pytest.approx(500 * MIB * 1.15, rel=0.05)
    # The request is 512 MiB, so 614.4 are needed; one pod of four is the 95th percentile.
    assert hit.memory_request_bytes == pytest.approx(512 * 1.2 * MIB * 1.15, rel=0.05)


def test_a_kill_counts_once_and_a_later_one_again():
    controller = VpaController(target_percentile=0.95)
    first = follow(controller, 3, lambda now_s: killed(now_s, 50.0)).admission
    weights = controller.checkpoint()["web"]["memory_histogram"]["total_weight"]
    again = follow(controller, 6, lambda now_s: killed(now_s, 50.0), 3).admission
    assert again == first
    assert controller.checkpoint()["web"]["memory_histogram"]["total_weight"] == pytest.approx(
        weights, rel=0.01
    )


def test_an_old_kill_says_nothing_of_later_usage():
    def growing(now_s):
        return killed(now_s, 50.0, memory_bytes=(500 if now_s < 100.0 else 900) * MIB)

    controller = VpaController(target_percentile=0.95)
    quota = follow(controller, 6, growing).admission
    assert quota.memory_request_bytes == pytest.approx(900 * MIB * 1.15, rel=0.05)


def test_a_quick_kill_evicts_a_young_pod():
    def young(now_s, ran_s):
        view = killed(now_s, now_s - 1.0, ran_s)
        return dataclasses.replace(
            view, pods=tuple(dataclasses.replace(each, start_time_s=now_s - 200.0) for each in view.pods)
        )

    assert follow(VpaController(), 3, lambda now_s: young(now_s, 100.0)).evict == ("web-0",)
    assert follow(VpaController(), 3, lambda now_s: young(now_s, 700.0)).evict == ()
    assert follow(VpaController(quick_oom_threshold_s=50), 3, lambda now_s: young(now_s, 100.0)).evict == ()
    assert follow(VpaController(), 3, lambda now_s: young(now_s, math.nan)).evict == ()


# ------------------------------------------------------------------------------------- resizing in place


def test_a_resize_that_does_not_happen_gives_way_to_an_eviction():
    controller = VpaController(mode="InPlaceOrRecreate", **QUICK)
    acted = []
    for minute in range(12):
        now_s = minute * MINUTE_S
        (decision,) = controller.decide(observe(busy(now_s), now_s=now_s))
        acted.append((decision.resize, decision.evict))
    begun = next(minute for minute, (resize, _) in enumerate(acted) if resize)
    assert acted[begun] == (("web-0", "web-1"), ())
    # Those two are asked again, and as nothing is known to be disrupted, the others are asked too.
    assert acted[begun + 1][0][:2] == ("web-0", "web-1")
    evicted = next(minute for minute, (_, evict) in enumerate(acted) if evict)
    assert evicted == begun + 6  # more than five minutes later
    assert set(acted[evicted][1]) <= {"web-0", "web-1"}


def test_a_resize_that_happens_is_over():
    controller = VpaController(mode="InPlaceOrRecreate", **QUICK)
    quota = follow(controller, 5).admission

    def resized(now_s):
        return with_quota(busy(now_s), quota)

    assert follow(controller, 20, resized, 5) == KEEP

    def back(now_s):
        return dataclasses.replace(busy(now_s), quota=quota)

    assert follow(controller, 21, back, 20).evict == ()  # a new resize, not a late one


def test_pending_pods_wait_to_be_resized():
    def pending(now_s):
        view = busy(now_s)
        first = dataclasses.replace(view.pods[0], phase="Pending", start_time_s=None)
        return dataclasses.replace(view, pods=(first, *view.pods[1:]))

    controller = VpaController(mode="InPlaceOrRecreate", **QUICK)
    decisions = [follow(controller, minute + 1, pending, minute) for minute in range(5)]
    assert not any(decision.evict for decision in decisions)
    # Of four only three run, and two must stay.
    assert next(decision.resize for decision in decisions if decision.resize) == ("web-1",)
    assert not any("web-0" in decision.resize for decision in decisions)


# ------------------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_starts_another_controller_warm():
    cold = VpaController()
    follow(cold, 60)
    saved = json.loads(json.dumps(cold.checkpoint()))
    assert saved["web"]["last_sample_s"] == -5.0  # of the last minute's samples
    warm = VpaController(checkpoint=saved)
    for _ in range(2):
        (decision,) = warm.decide(observe(service(4, None)))
        assert warm.recommendations["web"].target == cold.recommendations["web"].target
        assert decision.admission.cpu_request_cores == 1.168
        warm.reset()
    # A cold one would not evict on its first sample.
    assert follow(warm, 1).evict == ("web-0", "web-1")


def test_two_halves_are_as_good_as_the_whole():
    def drifting(now_s):
        return busy(now_s, cores=0.5 + now_s / 7200.0)

    whole, first = VpaController(), VpaController()
    follow(whole, 120, drifting)
    follow(first, 60, drifting)
    second = VpaController(checkpoint=first.checkpoint())
    # The clock of the second half starts where the first ended, one minute before its next sample.
    for minute in range(1, 61):
        now_s = minute * MINUTE_S
        view = drifting(now_s + 59 * MINUTE_S)
        pods = tuple(
            dataclasses.replace(each, sample=dataclasses.replace(each.sample, time_s=now_s - 5.0))
            for each in view.pods
        )
        second.decide(observe(dataclasses.replace(view, pods=pods), now_s=now_s))
    mine, theirs = second.recommendations["web"], whole.recommendations["web"]
    assert mine.target["cpu"] == pytest.approx(theirs.target["cpu"], rel=0.06)
    assert mine.upper_bound["cpu"] == pytest.approx(theirs.upper_bound["cpu"], rel=0.06)
    assert (
        second.checkpoint()["web"]["total_samples_count"] == whole.checkpoint()["web"]["total_samples_count"]
    )


def test_a_history_expires():
    controller = VpaController(memory_aggregation_interval_s=60)
    follow(controller, 3)
    (decision,) = controller.decide(observe(service(4, None), now_s=115.0 + 8 * 60))
    assert controller.recommendations == {}
    assert decision == KEEP


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "Auto"}, "mode 'Auto'; allowed: .*Recreate"),
        ({"controlled_resources": ("cpu", "gpu")}, "'gpu'; allowed: cpu, memory"),
        ({"min_allowed_cpu_cores": 0.0}, "min_allowed_cpu_cores is 0.0"),
        ({"max_allowed_memory_bytes": -1}, "max_allowed_memory_bytes is -1"),
        ({"min_allowed_cpu_cores": 2, "max_allowed_cpu_cores": 1}, "above max_allowed"),
        ({"recommender_interval_s": -1}, "recommender_interval_s"),
        ({"updater_interval_s": math.nan}, "updater_interval_s is nan"),
        ({"update_threshold": -0.1}, "min_change_priority is -0.1"),
        ({"min_replicas": "two"}, "min_replicas is 'two'"),
        ({"eviction_tolerance": 1.5}, "eviction_tolerance is 1.5"),
        ({"target_percentile": 1.5}, "target_cpu_percentile is 1.5"),
        ({"target_percentile": 0.4}, "must ascend"),
        ({"upper_percentile": 0.8}, "must ascend"),
        ({"margin_fraction": None}, "margin_fraction is None"),
        ({"confidence_interval_s": 0}, "confidence_interval_cpu_s is 0"),
        ({"half_life_s": 0}, "half_life_s is 0"),
        ({"memory_aggregation_interval_s": 0}, "memory_aggregation_interval_s is 0"),
        ({"max_sample_age_s": -1}, "max_sample_age_s is -1"),
        ({"checkpoint": 3}, "checkpoint is 3"),
        ({"checkpoint": {"web": {"version": "v0"}}}, "version 'v0'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        VpaController(**options)

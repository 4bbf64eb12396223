import functools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.vpa import (
    ContainerRecommendation,
    ContainerRequests,
    GroupPod,
    PodPriority,
    Termination,
    UpdateCandidate,
    UpdateSettings,
    begin_resize,
    can_evict,
    container_requests,
    decide_in_place,
    evict,
    eviction_group,
    is_less_urgent,
    needs_update,
    update_priority,
    updates_in_order,
)
from podgym.errors import InputError

HOUR_S = 3600.0


def container(name="app", request=None, target=None, lower=None, upper=None, status=None):
    return ContainerRequests(name, request or {}, target, lower or {}, upper or {}, status)


# --------------------------------------------------------------------------------------------- priority


def test_differences_are_of_the_pod_and_added_over_resources():
    pod = [
        container("a", {"cpu": 1000, "memory": 4000}, {"cpu": 3000, "memory": 1000}),
        container("b", {"cpu": 3000, "memory": 4000}, {"cpu": 1000, "memory": 4000}),
    ]
    # CPU: 4000 and 4000 cancel out; memory: 8000 against 5000.
    assert update_priority(pod) == (False, True, 3 / 8)


@pytest.mark.parametrize(
    ("request_milli", "outside"), [(99, True), (100, False), (250, False), (300, False), (301, True)]
)
def test_the_range_includes_its_ends(request_milli, outside):
    seen = update_priority(
        [
            container(
                request={"cpu": request_milli}, target={"cpu": 200}, lower={"cpu": 100}, upper={"cpu": 300}
            )
        ]
    )
    assert seen.outside_recommended_range == outside
    assert seen.scale_up == (request_milli < 200)


def test_a_missing_request_is_outside():
    assert update_priority([container(target={"cpu": 500})]) == (True, True, 499.0)
    assert update_priority([container(request={"cpu": 0}, target={"cpu": 500})]) == (False, True, 499.0)


def test_what_is_not_recommended_does_not_count():
    pod = [container(request={"cpu": 10**9}), container("b", {"memory": 100}, {"memory": 150})]
    assert update_priority(pod) == (False, True, 0.5)
    assert update_priority([]) == (False, False, 0.0)


def test_only_observed_containers_count_if_the_annotation_says_which():
    pod = [
        container("a", {"cpu": 100}, {"cpu": 200}, lower={"cpu": 150}),
        container("b", {"cpu": 100}, {"cpu": 90}),
    ]
    assert update_priority(pod, ["b"]) == (False, False, 0.1)
    assert update_priority(pod, []) == (False, False, 0.0)
    assert update_priority(pod, None).outside_recommended_range


def test_the_status_wins_over_the_spec():
    stated = container(request={"cpu": 100}, target={"cpu": 200}, status={"cpu": 200})
    assert update_priority([stated]) == (False, False, 0.0)
    assert update_priority([container(request={"cpu": 200}, target={"cpu": 200}, status={})])[:2] == (
        True,
        True,
    )


def test_amounts_become_milli_units():
    recommended = ContainerRecommendation(
        {"cpu": 500, "memory": 300}, {"cpu": 100, "memory": 200}, {"cpu": 900, "memory": 400}, {}
    )
    seen = container_requests("app", {"cpu": 250, "memory": 150}, recommended)
    assert seen.requests_milli == {"cpu": 250, "memory": 150_000}
    assert seen.target_milli == {"cpu": 500, "memory": 300_000}
    assert update_priority([seen]) == (True, True, 2.0)
    assert container_requests("app", {"cpu": 1}, None).target_milli is None


# --------------------------------------------------------------------------------------------- decision


def candidate(name="pod", *, outside=False, up=False, diff=0.3, age_s=24 * HOUR_S, ended=(), admitted=True):
    return UpdateCandidate(name, PodPriority(outside, up, diff), age_s, tuple(ended), admitted)


QUICK = Termination("OOMKilled", 599.0)


@pytest.mark.parametrize(
    ("pod", "updated"),
    [
        (candidate(age_s=12 * HOUR_S), True),
        (candidate(age_s=12 * HOUR_S - 1), False),
        (candidate(age_s=None), False),
        (candidate(diff=0.1), True),
        (candidate(diff=0.099), False),
        (candidate(outside=True, age_s=0.0, diff=0.0), True),
        (candidate(outside=True, age_s=None), True),
        (candidate(age_s=0.0, ended=[QUICK]), True),
        (candidate(age_s=0.0, ended=[Termination("Completed", 1.0), QUICK]), True),
        (candidate(age_s=0.0, ended=[QUICK._replace(ran_s=600.0)]), False),
        (candidate(age_s=0.0, ended=[QUICK._replace(reason="Error")]), False),
        (candidate(age_s=0.0, ended=[QUICK._replace(observed=False)]), False),
        (candidate(age_s=0.0, ended=[QUICK._replace(mode="Off")]), False),
        (candidate(age_s=0.0, ended=[QUICK], diff=0.0), False),
        (candidate(outside=True, ended=[QUICK], diff=0.0), False),
    ],
)
def test_which_pods_are_updated(pod, updated):
    assert needs_update(pod) == updated


def test_settings_of_the_updater():
    settings = UpdateSettings(0.5, 60.0, 10.0)
    assert needs_update(candidate(age_s=60.0, diff=0.5), settings)
    assert not needs_update(candidate(age_s=60.0, diff=0.4), settings)
    assert not needs_update(candidate(age_s=0.0, ended=[QUICK]), settings)
    with pytest.raises(InputError, match="min_change_priority"):
        UpdateSettings(min_change_priority=-1.0)


def test_order_of_updates():
    pods = [
        candidate("down little", diff=0.2),
        candidate("up little", up=True, diff=0.2),
        candidate("refused", up=True, diff=9.0, admitted=False),
        candidate("down much", diff=5.0),
        candidate("up little too", up=True, diff=0.2),
        candidate("too little", up=True, diff=0.01),
        candidate("up much", up=True, diff=0.4),
    ]
    assert [each.name for each in updates_in_order(pods)] == [
        "up much", "up little", "up little too", "down much", "down little",
    ]  # fmt: skip


priorities = st.builds(PodPriority, st.booleans(), st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 2.0]))


@given(st.lists(priorities, max_size=8))
def test_the_order_is_that_of_the_comparison(given_priorities):
    pods = [UpdateCandidate(str(index), each, math.inf) for index, each in enumerate(given_priorities)]
    settings = UpdateSettings(min_change_priority=0.0)

    def compare(one, other):
        later = is_less_urgent(one.priority, other.priority)
        assert not (later and is_less_urgent(other.priority, one.priority))
        return later - is_less_urgent(other.priority, one.priority)

    expected = sorted(pods, key=functools.cmp_to_key(compare))
    assert list(updates_in_order(pods, settings)) == expected


# --------------------------------------------------------------------------------------------- eviction


def evict_all(pods, group):
    done = []
    for pod in pods:
        evicted, group = evict(group, pod)
        done.append(evicted)
    return done


RUNNING, PENDING = GroupPod("Running"), GroupPod("Pending")


@pytest.mark.parametrize(
    ("pods", "configured", "tolerance", "evicted"),
    [
        ([RUNNING] * 5, 5, 0.5, [True, True, False, False, False]),
        ([RUNNING] * 5, 5, 1.0, [True] * 5),
        ([RUNNING] * 5, 5, 0.0, [True, False, False, False, False]),
        ([RUNNING] * 4, 5, 0.0, [False] * 4),
        ([RUNNING] * 4, 5, 0.5, [True, False, False, False]),
        ([RUNNING, PENDING, RUNNING], 3, 0.0, [False, True, False]),
        ([PENDING] * 3, 3, 0.0, [True] * 3),
        ([RUNNING] * 6, 3, 0.0, [True, True, True, False, False, False]),
        ([RUNNING] * 2, 0, 1.0, [False] * 2),
    ],
)
def test_how_many_pods_are_evicted(pods, configured, tolerance, evicted):
    group = eviction_group(pods, configured, eviction_tolerance=tolerance)
    assert evict_all(pods, group) == evicted


def test_too_few_pods_are_not_touched():
    for pods in ([RUNNING], [PENDING], []):
        group = eviction_group(pods, 3)
        assert group is None
        assert evict_all(pods, group) == [False] * len(pods)
        assert [decide_in_place(group, pod) for pod in pods] == ["wait"] * len(pods)
    assert evict_all([RUNNING], eviction_group([RUNNING], 1, min_replicas=1)) == [True]
    with pytest.raises(InputError, match="eviction_tolerance"):
        eviction_group([RUNNING] * 3, 3, eviction_tolerance=math.nan)


@given(
    st.lists(st.sampled_from([RUNNING, PENDING]), max_size=12),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
)
def test_evictions_never_take_more_than_the_tolerance(pods, configured, tolerance):
    group = eviction_group(pods, configured, eviction_tolerance=tolerance)
    done = evict_all(pods, group)
    running = sum(not pod.pending for pod in pods)
    left = running - sum(gone and not pod.pending for gone, pod in zip(done, pods, strict=True))
    tolerated = int(configured * tolerance)
    assert left >= min(running, configured - max(tolerated, 1))
    if group is not None:
        assert all(gone for gone, pod in zip(done, pods, strict=True) if pod.pending)
        assert left <= max(configured - tolerated, 0) or left == 0


@pytest.mark.parametrize(
    ("pod", "evictable"),
    [
        (GroupPod("Running", "Infeasible"), True),
        (GroupPod("Running", "Error"), True),
        (GroupPod("Running", "Deferred", 300.0), False),
        (GroupPod("Running", "Deferred", 301.0), True),
        (GroupPod("Running", "InProgress", 3600.0), False),
        (GroupPod("Running", "InProgress", 3601.0), True),
    ],
)
def test_a_pod_that_is_resized_is_evicted_once_that_failed(pod, evictable):
    group = eviction_group([pod] + [RUNNING] * 3, 4)
    assert can_evict(group, pod) == evictable
    assert decide_in_place(group, pod) == ("evict" if evictable else "wait")
    short = eviction_group([pod, RUNNING], 4)
    assert not can_evict(short, pod)
    assert decide_in_place(short, pod) == "wait"


def test_resizes_count_as_disruptions():
    group = eviction_group([RUNNING] * 4, 4, eviction_tolerance=0.5)
    assert [decide_in_place(group, pod) for pod in (RUNNING, PENDING)] == ["resize", "wait"]
    group = begin_resize(begin_resize(group))
    assert decide_in_place(group, RUNNING) == "wait"
    assert not can_evict(group, RUNNING)
    with pytest.raises(InputError, match="resize status 'Late'"):
        GroupPod("Running", "Late")

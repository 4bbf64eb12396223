import math

import pytest
from oracles.observations import MIB, QUOTA, pod, service

from podgym.baselines.vpa import AggregateState, UsageSettings
from podgym.baselines.vpa.observed import (
    ServiceHistory,
    group_pod,
    is_quota,
    may_become,
    quota_amounts,
    raised_quota,
    recommended_quota,
    stale_resources,
)
from podgym.envs.cluster import Quota

BIG = Quota(2.0, 4.0, 2e9, 4e9)


def test_pods_that_are_gone_are_forgotten_but_not_their_usage():
    history = ServiceHistory(AggregateState())
    view = service(3, 0.25, now_s=60.0)
    history.learn_samples(view, 60.0, UsageSettings())
    history.learn_samples(view, 60.0, UsageSettings())
    assert set(history.usages) == {"web-0", "web-1", "web-2"}
    history.learn_ooms(service(pods=(pod(7, oom_killed_s=50.0),)), 60.0, UsageSettings())
    assert set(history.oom_killed_s) == {"web-7"}
    history.forget_pods({"web-1", "web-9"})
    assert set(history.usages) == {"web-1"}
    assert history.oom_killed_s == {}
    assert history.state.cpu_samples == 3


@pytest.mark.parametrize(
    ("fields", "stale"),
    [
        ({}, ()),
        ({"cores": math.nan}, ("cpu",)),
        ({"memory_bytes": -1.0}, ("memory",)),
        ({"cores": None}, ("cpu", "memory")),
        ({"deleted": True}, ("cpu", "memory")),
        ({"now_s": -86.0}, ("cpu", "memory")),
        ({"now_s": -85.0}, ()),
    ],
)
def test_stale_resources(fields, stale):
    blind = pod(0, None)
    assert stale_resources(service(pods=(blind, pod(1, **{"cores": 0.2, **fields}))), 0.0) == stale


def test_quotas():
    assert recommended_quota(BIG, {"cpu": 500}) == Quota(0.5, 1.0, 2e9, 4e9)
    assert recommended_quota(BIG, {"memory": 100}) == Quota(2.0, 4.0, 100.0, 200.0)
    assert raised_quota(QUOTA, BIG, ()) == QUOTA
    assert raised_quota(QUOTA, BIG, ("cpu",)) == Quota(2.0, 4.0, 512 * MIB, 768 * MIB)
    assert raised_quota(QUOTA, BIG, ("cpu", "memory")) == BIG
    assert quota_amounts(Quota(0.0301, 1.0, math.nan, 1.0)) == {"cpu": 30}
    assert is_quota(QUOTA)
    for bad in (Quota(0.0, 1.0, 1.0, 1.0), Quota(2.0, 1.0, 1.0, 1.0), Quota(1.0, 1.0, math.nan, 1.0)):
        assert not is_quota(bad)
        assert not is_quota(Quota(bad.memory_request_bytes, bad.memory_limit_bytes, *[1.0, 0.5]))


def test_what_nobody_measures_is_not_lowered():
    assert may_become(BIG, QUOTA, ())
    assert not may_become(BIG, QUOTA, ("memory",))
    assert may_become(QUOTA, BIG, ("memory",))
    assert not may_become(QUOTA, QUOTA, ("memory",))
    assert may_become(Quota(1.0, 1.0, 1e9, 1e9), Quota(0.5, 0.5, 2e9, 2e9), ("memory",))
    assert not may_become(Quota(1.0, 1.0, 1e9, 3e9), Quota(1.0, 1.0, 2e9, 2e9), ("memory",))


def test_a_resize_that_was_asked_for_waits():
    assert group_pod(pod(0), None, 9.0).resize is None
    waiting = group_pod(pod(0), 2.0, 9.0)
    assert (waiting.phase, waiting.resize, waiting.resize_age_s) == ("Running", "Deferred", 7.0)

"""VPA with measurements that are missing, stale or no numbers, and under any observation at all."""

import dataclasses
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.busy_service import MINUTE_S, QUICK, busy, follow
from oracles.observations import MIB, QUOTA, observe, service

from podgym.baselines.kubernetes_default import KubernetesDefaultController
from podgym.baselines.metrics import KEEP
from podgym.baselines.vpa_controller import VpaController
from podgym.envs.cluster import ClusterObservation, PodSample, Quota


def test_without_any_sample_nothing_is_recommended():
    for view in (service(4, None), busy(0.0, cores=math.nan), busy(0.0, cores=-1.0), service(0)):
        controller = VpaController()
        assert controller.decide(observe(view)) == (KEEP,)
        assert controller.recommendations == {}


def test_a_resource_that_was_never_measured_keeps_its_request():
    decision = follow(VpaController(), 1, lambda now_s: busy(now_s, memory_bytes=math.nan))
    assert decision.admission.memory_request_bytes == QUOTA.memory_request_bytes
    assert decision.admission.memory_limit_bytes == QUOTA.memory_limit_bytes
    assert decision.admission.cpu_request_cores == 1.168
    small = Quota(0.5, 0.5, 100 * MIB, 100 * MIB)  # less than the least that is recommended
    decision = follow(VpaController(), 1, lambda now_s: busy(now_s, memory_bytes=math.nan, quota=small))
    assert decision.admission.memory_request_bytes == 100 * MIB


def test_old_and_future_samples_are_no_news():
    controller = VpaController()
    follow(controller, 5)
    weight = controller.checkpoint()["web"]["total_samples_count"]
    for now_s, age_s in ((300.0, 400.0), (360.0, -1e9), (420.0, math.nan)):
        view = busy(now_s - age_s)
        controller.decide(observe(dataclasses.replace(view, sample_time_s=now_s), now_s=now_s))
    assert controller.checkpoint()["web"]["total_samples_count"] == weight
    assert controller.decide(observe(busy(0.0), now_s=math.nan)) == (KEEP,)


idle_minutes = st.integers(1, 4)
numbers = st.floats(0.0, 3.0) | st.sampled_from([math.nan, math.inf, -1.0, 1e300])


@st.composite
def episodes(draw):
    """Services that are measured for some minutes, in any way, and then no longer."""
    observations = []
    for minute in range(draw(st.integers(1, 8))):
        now_s = minute * MINUTE_S
        view = busy(now_s, count=draw(st.integers(0, 4)))
        pods = []
        for each in view.pods:
            quota = draw(st.sampled_from([QUOTA, Quota(2.0, 2.0, 2e9, 3e9), Quota(0.1, 0.2, 1e8, 1e8)]))
            sample = PodSample(
                draw(numbers), 1e9 * draw(numbers), now_s - draw(st.sampled_from([0.0, 5.0, 99.0])), 30.0
            )
            oom_s = draw(st.none() | st.sampled_from([math.nan, now_s - 10.0, now_s + 1e6]))
            pods.append(
                dataclasses.replace(
                    each, quota=quota, sample=draw(st.none() | st.just(sample)), oom_killed_s=oom_s,
                    oom_ran_s=draw(st.sampled_from([None, math.nan, 20.0])), deleted=draw(st.booleans()),
                    phase=draw(st.sampled_from(["Running", "Running", "Pending", "Failed"])),
                    start_time_s=draw(st.sampled_from([None, -1e5, now_s])),
                )
            )  # fmt: skip
        observations.append(ClusterObservation(now_s, (dataclasses.replace(view, pods=tuple(pods)),)))
    return observations


CONTROLLERS = [
    lambda: VpaController(lifetime_threshold_s=0, **QUICK),
    lambda: VpaController(mode="InPlaceOrRecreate", lifetime_threshold_s=0, eviction_tolerance=1.0, **QUICK),
    lambda: KubernetesDefaultController(lifetime_threshold_s=0, **QUICK),
]


def four(quota):
    return (
        quota.cpu_request_cores, quota.cpu_limit_cores, quota.memory_request_bytes, quota.memory_limit_bytes,
    )  # fmt: skip


@pytest.mark.parametrize("make", CONTROLLERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(observations=episodes(), stale=st.booleans())
def test_whatever_is_observed(make, observations, stale):
    """Quotas are usable, only pods of the service are named, and without fresh samples nothing goes down."""
    controller = make()
    last = observations[-1]
    view = last.services[0]
    for index, observation in enumerate([*observations, *[last] * 3]):
        blind = index >= len(observations)
        now_s = observation.time_s
        if blind:
            now_s += MINUTE_S * (index - len(observations) + 1) + (90.0 if stale else 0.0)
            pods = view.pods if stale else [dataclasses.replace(each, sample=None) for each in view.pods]
            view = dataclasses.replace(view, pods=tuple(pods), sample_time_s=0.0 if stale else None)
            observation = ClusterObservation(now_s, (view,))
        seen = observation.services[0]
        (decision,) = controller.decide(observation)
        new = decision.admission or seen.quota
        assert all(math.isfinite(number) and number > 0 for number in four(new))
        assert new.cpu_limit_cores >= new.cpu_request_cores
        assert new.memory_limit_bytes >= new.memory_request_bytes
        touched = {*decision.evict, *decision.resize}
        assert len(touched) == len(decision.evict) + len(decision.resize)
        live = {
            each.name: each for each in seen.pods if not each.deleted and each.phase in ("Running", "Pending")
        }
        assert touched <= live.keys()
        if blind:
            assert decision.replicas is None or decision.replicas >= seen.replicas_wanted
            for present in (seen.quota, *(live[name].quota for name in touched)):
                assert all(mine >= before for mine, before in zip(four(new), four(present), strict=True))
        view = dataclasses.replace(view, quota=new) if blind else view

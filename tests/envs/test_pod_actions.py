"""Admission, eviction and resizing of single pods: what VPA does to a cluster."""

import math

import numpy as np
import pytest

from podgym.envs import AutoscaleEnv, ServiceDecision
from podgym.envs.cluster import PodView, Quota
from podgym.envs.simulator.parameters import MIB
from podgym.errors import InputError

SMALLER = Quota(0.4, 0.4, 400 * MIB, 600 * MIB)


@pytest.fixture
def env() -> AutoscaleEnv:
    made = AutoscaleEnv(workload="family:constant", episode_s=900.0)
    made.reset(seed=0)
    return made


def pods(env: AutoscaleEnv) -> tuple[PodView, ...]:
    return tuple(pod for pod in env.observe().services[0].pods if not pod.deleted)


def decide(env: AutoscaleEnv, *decisions: ServiceDecision) -> None:
    for decision in decisions:
        env.step_decisions([decision])


def test_an_admission_reaches_new_pods_only(env: AutoscaleEnv) -> None:
    before = pods(env)
    decide(env, ServiceDecision(replicas=len(before) + 2, admission=SMALLER), *[ServiceDecision()] * 4)
    after = pods(env)
    old, new = after[: len(before)], after[len(before) :]
    assert [pod.name for pod in old] == [pod.name for pod in before]
    assert {pod.quota for pod in old} == {before[0].quota}
    assert {pod.quota for pod in new} == {SMALLER}
    assert all(pod.ready for pod in after)


def test_a_template_rolls_out_but_an_admission_does_not(env: AutoscaleEnv) -> None:
    names = {pod.name for pod in pods(env)}
    decide(env, ServiceDecision(admission=SMALLER), *[ServiceDecision()] * 8)
    assert {pod.name for pod in pods(env)} == names
    quota = {"cpu_request_cores": 0.3, "cpu_limit_cores": 0.3}
    decide(env, ServiceDecision(**quota), *[ServiceDecision()] * 12)
    assert not {pod.name for pod in pods(env)} & names
    assert {pod.quota.cpu_request_cores for pod in pods(env)} == {0.3}


def test_an_evicted_pod_is_replaced_by_one_with_the_admitted_quota(env: AutoscaleEnv) -> None:
    before = pods(env)
    decide(env, ServiceDecision(admission=SMALLER, evict=(before[0].name,)))
    decide(env, *[ServiceDecision()] * 4)
    after = pods(env)
    assert len(after) == len(before)
    assert before[0].name not in {pod.name for pod in after}
    assert [pod.quota for pod in after].count(SMALLER) == 1


def test_a_resized_pod_keeps_running(env: AutoscaleEnv) -> None:
    before = pods(env)
    decide(env, ServiceDecision(admission=SMALLER, resize=(before[1].name,)))
    after = pods(env)
    assert [pod.name for pod in after] == [pod.name for pod in before]
    assert [pod.quota == SMALLER for pod in after] == [i == 1 for i in range(len(after))]
    assert all(pod.ready for pod in after)
    requested = sum(pod.quota.cpu_request_cores for pod in after)
    decide(env, ServiceDecision())
    assert env.interval["cpu_requested_core_s"][0] == pytest.approx(15.0 * requested)


def test_a_resize_that_the_node_cannot_hold_changes_nothing(env: AutoscaleEnv) -> None:
    huge = Quota(50.0, 50.0, 400 * MIB, 600 * MIB)
    before = pods(env)
    decide(env, ServiceDecision(admission=huge, resize=tuple(pod.name for pod in before)))
    assert {pod.quota for pod in pods(env)} == {before[0].quota}


def test_names_of_pods_that_are_gone_are_passed_over(env: AutoscaleEnv) -> None:
    before = pods(env)
    decide(env, ServiceDecision(evict=("web-999", "nothing"), resize=("web-998",)), ServiceDecision())
    assert pods(env)
    assert {pod.name for pod in pods(env)} == {pod.name for pod in before}


def test_an_empty_decision_about_pods_is_bitwise_no_decision() -> None:
    totals = []
    for decision in (ServiceDecision(), ServiceDecision(evict=(), resize=())):
        env = AutoscaleEnv(workload="family:burst", episode_s=600.0)
        env.reset(seed=3)
        totals.append([env.step_decisions([decision])[4] for _ in range(40)])
    assert totals[0] == totals[1]


def test_a_kill_over_memory_is_seen_on_the_pod() -> None:
    env = AutoscaleEnv(workload="family:constant", episode_s=900.0)
    env.reset(seed=0)
    assert all(pod.oom_killed_s is None and pod.oom_ran_s is None for pod in pods(env))
    tiny = {"memory_request_bytes": 100 * MIB, "memory_limit_bytes": 150 * MIB}
    kills = 0.0
    decide(env, ServiceDecision(**tiny))
    for _ in range(20):
        decide(env, ServiceDecision())
        kills += env.interval["oom_kills"][0]
    assert kills > 0
    killed = [pod for pod in pods(env) if pod.oom_killed_s is not None]
    assert killed
    now_s = env.observe().time_s
    for pod in killed:
        assert pod.oom_killed_s is not None
        assert pod.oom_ran_s is not None
        assert 0.0 <= pod.oom_killed_s <= now_s
        assert 0.0 < pod.oom_ran_s < 60.0
        assert pod.quota.memory_limit_bytes == 150 * MIB


@pytest.mark.parametrize(
    ("decision", "hint"),
    [
        (ServiceDecision(admission=SMALLER, cpu_request_cores=1.0), "give one of them"),
        (ServiceDecision(admission=Quota(1.0, 0.5, 1e8, 1e8)), "limit is below its request"),
        (ServiceDecision(admission=Quota(math.nan, 1.0, 1e8, 1e8)), "cpu_request_cores nan"),
        (ServiceDecision(admission=Quota(1.0, 1.0, -1.0, 1e8)), "memory_request_bytes -1.0"),
    ],
)
def test_a_bad_admission_is_refused_before_anything_changes(
    env: AutoscaleEnv, decision: ServiceDecision, hint: str
) -> None:
    before = pods(env)
    with pytest.raises(InputError, match=hint):
        env.step_decisions([decision])
    assert pods(env) == before
    assert np.isfinite(env.step_decisions([ServiceDecision()])[1])

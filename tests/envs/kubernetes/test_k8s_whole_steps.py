"""Whole steps of the environment, from the answers of both servers over HTTP to what is written."""

import time
from dataclasses import replace

import pytest

pytest.importorskip("kubernetes")

from oracles.prometheus_faults import FAULTS, TIMEOUT_S, TYPICAL_FAULTS
from oracles.prometheus_servers import (
    EVALUATED_S,
    HEALTHY,
    NAMED_QUERIES,
    SAMPLED_S,
    FakePrometheus,
    Reply,
    vector,
    watched,
)
from oracles.simulated_backend import FakeClock

from podgym.envs.cluster import ServiceDecision
from podgym.envs.kubernetes.env import KubernetesEnv
from podgym.envs.kubernetes.prometheus import PrometheusMetrics
from podgym.envs.kubernetes.settings import MetricsSettings, TargetSettings

WEB = "/apis/apps/v1/namespaces/demo/deployments/web"
QUICK = {"down_window_s": 0.0, "down_factor": 0.0, "up_pods": 100}
"""Nothing but bad data holds a decision back."""
YEARS_S = 5e8  # the pods of the server became ready long ago


@pytest.fixture
def fake():
    started = FakePrometheus()
    yield started
    started.close()


def of_pods(pods):
    """Return healthy answers about these pods."""
    pods = list(pods)
    values = {"pod_sample_time_s": SAMPLED_S, "pod_cpu_cores": 0.25, "pod_memory_bytes": 1e8}
    return {name: vector([({"pod": pod}, value) for pod in pods]) for name, value in values.items()}


@pytest.fixture
def begun(api_for, server, fake):
    """Begins an episode with a number of pods, all measured unless said; the rest is safety settings."""

    def begin(replicas, measured=True, max_replicas=None, **safety):
        server.add_deployment("web", replicas=replicas)
        fake.replies.update(of_pods(each["metadata"]["name"] for each in server.pods() if measured))
        services = {"web": TargetSettings(namespace="demo", max_replicas=max_replicas)}
        metrics = MetricsSettings(url=fake.url, queries=NAMED_QUERIES, timeout_s=TIMEOUT_S, history_s=0.0)
        api, clock = api_for(services=services, safety=QUICK | safety, metrics=metrics), FakeClock()
        clock.now_s = YEARS_S
        env = KubernetesEnv(
            api.settings, api=api, metrics=PrometheusMetrics(metrics, now=clock.epoch_s), clock=clock
        )
        env.reset(seed=0)
        return env

    return begin


def wish(env, replicas):
    """Decide once, and return what became of it."""
    env.step_decisions([ServiceDecision(replicas=replicas)])
    return env.log.services[0]


def replicas_of(server):
    return server.deployment()["spec"]["replicas"]


def scalings(server):
    return [call.body["spec"]["replicas"] for call in server.writes if call.path == f"{WEB}/scale"]


def test_p04_too_many_replicas_are_brought_to_the_bound_although_nothing_is_measured(begun, server, fake):
    for name in NAMED_QUERIES:
        fake.replies[name] = vector([])
    step = wish(begun(9, measured=False, max_replicas=3, down_factor=0.9), None)
    assert {"replicas_above_max", "blind"} <= set(step.reasons)
    assert scalings(server) == [3]


def test_p05_no_request_writes_what_is_within_the_tolerance_or_there_already(begun, server):
    env = begun(20, tolerance=0.1)
    for wanted in (20, 21, 22, 19, 18, 20):
        wish(env, wanted)
    assert scalings(server) == []
    wish(env, 23)
    assert scalings(server) == [23]


def healthy(name, **more):
    return vector(HEALTHY[name], **more)


BAD_ANSWERS = {
    **{name: dict.fromkeys(NAMED_QUERIES, FAULTS[name]) for name in TYPICAL_FAULTS},
    "hang": dict.fromkeys(NAMED_QUERIES, Reply(fault="hang")),
    "500 with an answer": {name: replace(healthy(name), status=500) for name in NAMED_QUERIES},
    "warnings": {"request_rate_rps": healthy("request_rate_rps", warnings=["a store is away"])},
    "no sample any more": {"sample_time_s": vector([]), "request_rate_rps": vector([({}, 0)])},
    "a sample too old": {"sample_time_s": vector([({}, EVALUATED_S - 70.0)])},
}


@pytest.mark.parametrize("fault", BAD_ANSWERS)
def test_p16_to_p22_whatever_prometheus_answers_nothing_shrinks(begun, server, fake, fault):
    env = begun(4)
    wish(env, 4)
    good = dict(fake.replies)
    fake.replies.update(BAD_ANSWERS[fault])
    began_s = time.monotonic()
    assert wish(env, 4).problems
    assert time.monotonic() - began_s < 3 * TIMEOUT_S + 1.0
    step = wish(env, 1)
    assert (replicas_of(server), step.replicas_set, step.written) == (4, 4, False)
    assert set(step.reasons) & {"held_invalid", "held_missing", "held_stale", "held_partial"}
    fake.replies = good
    wish(env, 4)
    wish(env, 1)  # it was the answer that held it
    assert replicas_of(server) == 1


def test_p19_a_query_that_cannot_be_executed_leaves_the_others_alone(fake):
    fake.replies["in_flight"] = FAULTS["422"]
    metrics = MetricsSettings(url=fake.url, queries=NAMED_QUERIES, timeout_s=TIMEOUT_S)
    (reading,) = PrometheusMetrics(metrics, now=lambda: EVALUATED_S).read([watched()])
    assert "too many samples" in reading.problems["in_flight"]
    assert set(reading.problems) == {"in_flight"}
    assert len(reading.pods) == 2


def test_p15_a_pod_that_is_not_measured_forbids_shrinking_and_allows_growing(begun, server, fake):
    env = begun(4)
    fake.replies.update(of_pods([server.pods()[0]["metadata"]["name"]]))
    wish(env, 4)  # a decision rests on what was read at the end of the interval before
    assert "held_partial" in wish(env, 1).reasons
    assert replicas_of(server) == 4
    wish(env, 5)
    assert replicas_of(server) == 5


def test_p45_a_conflict_is_read_again_and_decided_again(begun, server):
    env = begun(2)
    server.change("apps/v1/deployments", "demo", "web", {"status": {"observedGeneration": 7}})
    server.calls.clear()
    assert wish(env, 4).written
    lines = [call.line for call in server.calls][:3]
    assert lines == [f"PATCH {WEB}/scale", f"GET {WEB}", f"PATCH {WEB}/scale"]
    versions = [call.body["metadata"]["resourceVersion"] for call in server.writes]
    assert versions[0] != versions[1]
    assert replicas_of(server) == 4


@pytest.mark.parametrize("fault", ["none", "500"])
def test_p54_a_step_makes_no_more_calls_than_declared(begun, server, fault):
    env = begun(2, max_api_calls_per_step=7, max_retries=5)
    wish(env, 2)
    if fault != "none":
        server.fail("*", ".", 500, times=10**6)
    server.calls.clear()
    wish(env, 3)
    assert len(server.calls) == env.api_calls
    assert env.api_calls == 3 if fault == "none" else 3 < env.api_calls <= 7

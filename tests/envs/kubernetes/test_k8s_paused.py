"""A paused Deployment rolls no template out: its replicas are scaled, its quota is not, and that is said."""

import pytest
from oracles.server_rules import DEPLOYMENTS
from oracles.simulated_backend import SAFE, made

from podgym.envs.cluster import Quota, ServiceDecision
from podgym.envs.kubernetes.snapshot import load, restore, save

MORE = ServiceDecision(replicas=11, cpu_request_cores=1.0, cpu_limit_cores=1.0)
PAUSED = "demo/web is paused (spec.paused)"


def decided(paused=True, **options):
    """The log of one service after one decision on replicas and quota, and the backend."""
    env, backend, _ = made(safety=SAFE, **options)
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.paused = paused
    env.step_decisions([ServiceDecision()])
    env.step_decisions([MORE])
    return env, backend


def test_replicas_scale_and_the_quota_is_held_with_its_reason_and_the_remedy():
    env, backend = decided()
    assert backend.replicas == 11
    assert [kind for kind, _ in backend.writes if kind == "quota"] == []
    assert env.log.services[0].reasons == ("quota_paused",)
    (said,) = [problem for problem in env.problems if PAUSED in problem]
    assert "resize: in_place" in said
    assert "kubectl rollout resume -n demo deployment web" in said


def test_it_is_written_once_the_deployment_is_resumed():
    env, backend = decided()
    backend.paused = False
    env.step_decisions([ServiceDecision()])
    env.step_decisions([MORE])
    assert [kind for kind, _ in backend.writes if kind == "quota"] == ["quota"]
    assert not [problem for problem in env.problems if PAUSED in problem]


@pytest.mark.parametrize(("resize", "told"), [("template", True), ("auto", False)])
def test_shadow_mode_tells_it_where_it_knows_how_quotas_change(resize, told):
    env, backend = decided(mode="shadow", resize=resize)
    assert backend.writes == []
    assert ("quota_paused" in env.log.services[0].reasons) == told


def test_pods_that_rolled_out_before_the_pause_get_their_quota_back_in_place(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    saved = save(api, found, (), "run-1")
    other = Quota(1.0, 1.0, 2.0**30, 2.0**30)
    api.set_quota(saved, "app", other)
    for pod in api.pods(saved, "app"):  # what the roll-out does
        api.resize_pod("demo", pod.name, "app", other)
    server.change(DEPLOYMENTS, "demo", "web", {"spec": {"paused": True}})
    words = restore(api, saved, load(saved))
    assert words[0] == (
        "quota of container app restored; the Deployment is paused, so it rolls out when resumed"
    )
    now = api.deployment("demo", "web")
    assert now.quotas == found.quotas
    assert {pod.quota_asked for pod in api.pods(now, "app")} == {found.quotas["app"]}

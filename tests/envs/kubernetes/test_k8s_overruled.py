"""What the API server makes of replicas that were written is looked at: a webhook may change them."""

import pytest
from oracles.simulated_backend import made

from podgym.envs.cluster import ServiceDecision
from podgym.envs.kubernetes.errors import OverruledError
from podgym.envs.kubernetes.objects import ScaleState
from podgym.envs.kubernetes.snapshot import ANNOTATION, load, restore, save


def warmed(**options):
    env, backend, _ = made(**options)
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    return env, backend


def test_other_replicas_than_were_written_end_the_episode_and_what_was_found_is_restored():
    env, backend = warmed()
    backend.overruled = 10
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=14)])
    assert truncated
    said = "demo/web: 14 replicas were written, and the API server made 10 of them"
    assert str(env.ended_because).startswith(said)
    assert any(said in problem for problem in env.problems)
    assert not env.log.services[0].written
    assert [value for kind, value in backend.writes if kind == "replicas"] == [14]
    backend.overruled = None
    env.close()
    assert backend.replicas == 8  # it was our own write that changed it


def test_what_it_makes_of_them_is_no_scaling_of_someone_else_nor_ours():
    env, backend = warmed()
    backend.overruled = 10
    env.step_decisions([ServiceDecision(replicas=14)])
    assert "someone else" not in str(env.ended_because)
    assert env.cluster.states[0].replicas_wanted == 10  # what is there, not what was written
    assert "someone else" not in " ".join(env.problems)


def test_a_dry_run_tells_it_and_goes_on():
    env, backend = warmed(mode="dry_run")

    def checked(deployment, replicas):
        return ScaleState(10, deployment.resource_version)

    backend.set_replicas = checked
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=14)])
    assert not truncated
    assert env.log.services[0].written
    assert any("14 replicas were written, and the API server made 10" in problem for problem in env.problems)


def test_a_restore_that_is_overruled_does_the_rest_says_so_and_keeps_the_note(api_for, server):
    api = api_for()
    saved = save(api, api.deployment("demo", "web"), (), "run-1")
    api.set_replicas(saved, 7)
    original = api.set_replicas
    api.set_replicas = lambda deployment, replicas: original(deployment, 4)
    with pytest.raises(OverruledError, match=rf"the 2 replicas .* made 4 of them.*{ANNOTATION}-"):
        restore(api, saved, load(saved))
    assert ANNOTATION in server.deployment()["metadata"]["annotations"]
    api.set_replicas = original
    assert restore(api, saved, load(saved)) == ("replicas 4 to 2", f"annotation {ANNOTATION} removed")


@pytest.mark.parametrize("made_of_it", [0, 50])
def test_not_even_what_lies_outside_the_bounds_is_written_against(made_of_it):
    env, backend = warmed()
    backend.overruled = made_of_it
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=14)])
    assert truncated
    assert len([kind for kind, _ in backend.writes if kind == "replicas"]) == 1

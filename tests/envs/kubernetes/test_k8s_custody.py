"""Targets are taken whole and given back as they were found, over HTTP."""

import pytest
from oracles.server_rules import HPAS, SCALED_OBJECTS

from podgym.envs.kubernetes.custody import Custody
from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.kubernetes.snapshot import load, restore
from podgym.envs.kubernetes.targets import resolve
from podgym.errors import InputError

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


def put_hpa(server, **behavior):
    spec = {"minReplicas": 1, "maxReplicas": 100, "scaleTargetRef": TARGET, **behavior}
    server.put(HPAS, "demo", "web", {"spec": spec})


def taken(api, run_id="run-1", **changes):
    _, targets = resolve(api.settings, api)
    custody = Custody(api.settings, targets, api, run_id)
    custody.take()
    return custody


def test_p11_a_managed_target_is_refused_before_anything_is_written(api_for, server):
    put_hpa(server)
    for mode in ("act", "dry_run"):
        with pytest.raises(InputError, match="take_over: true"):
            taken(api_for(mode=mode))
    assert server.writes == []


def test_p11_taken_over_and_handed_back(api_for, server):
    put_hpa(server, behavior={"scaleDown": {"stabilizationWindowSeconds": 7}})
    before = server.get(HPAS, "demo", "web")["spec"]
    custody = taken(api_for(take_over=True))
    assert server.get(HPAS, "demo", "web")["spec"]["behavior"]["scaleUp"]["selectPolicy"] == "Disabled"
    custody.release()
    assert server.get(HPAS, "demo", "web")["spec"] == before


def test_what_was_found_is_noted_before_anyone_is_stopped(api_for, server):
    put_hpa(server)
    taken(api_for(take_over=True))
    written = [(call.method, call.path) for call in server.writes]
    assert [path.rsplit("/", 2)[-2] for _, path in written] == ["deployments", "horizontalpodautoscalers"]


def test_a_second_take_of_the_same_run_changes_nothing(api_for, server):
    custody = taken(api_for())
    count = len(server.writes)
    custody.take()
    assert len(server.writes) == count


def test_another_run_is_refused(api_for):
    taken(api_for())
    with pytest.raises(InputError, match="podgym restore"):
        taken(api_for(), run_id="run-2")


@pytest.mark.parametrize("mode", ["shadow", "dry_run"])
def test_p36_other_modes_note_nothing(api_for, server, mode):
    taken(api_for(mode=mode)).release()
    assert server.writes == []


def test_missing_permissions_stop_before_anything_is_read(api_for, monkeypatch):
    api = api_for()
    monkeypatch.setattr(api, "permissions", lambda _: ("patch deployments/scale in namespace demo",))
    with pytest.raises(InputError, match="patch deployments/scale in namespace demo"):
        taken(api)


def test_release_is_not_done_twice(api_for, server):
    custody = taken(api_for())
    assert custody.release()
    count = len(server.calls)
    assert custody.release() == ()
    assert len(server.calls) == count


def test_without_restore_everything_stays(api_for, server):
    custody = taken(api_for(restore=False))
    assert custody.release() == ()
    assert "podgym.dev/before" in server.deployment()["metadata"]["annotations"]


def test_without_restore_the_autoscaler_is_given_back_all_the_same(api_for, server):
    put_hpa(server, behavior={"scaleDown": {"stabilizationWindowSeconds": 7}})
    before = server.get(HPAS, "demo", "web")["spec"]
    api = api_for(restore=False, take_over=True)
    custody = taken(api)
    assert custody.held
    api.set_replicas(api.deployment("demo", "web"), 7)
    assert custody.release() == ("HorizontalPodAutoscaler web given back",)
    assert server.get(HPAS, "demo", "web")["spec"] == before
    assert server.deployment()["spec"]["replicas"] == 7
    count = len(server.calls)
    assert custody.release() == ()
    assert (len(server.calls), custody.held) == (count, False)
    # Who stops it afterwards means it: only the replicas are left to be restored.
    stopped = {each: {"selectPolicy": "Disabled"} for each in ("scaleUp", "scaleDown")}
    server.change(HPAS, "demo", "web", {"spec": {"behavior": stopped}})
    kept = server.get(HPAS, "demo", "web")["spec"]
    found = api.deployment("demo", "web")
    assert restore(api, found, load(found)) == ("replicas 7 to 2", "annotation podgym.dev/before removed")
    assert server.get(HPAS, "demo", "web")["spec"] == kept


def test_without_restore_a_further_episode_does_not_fight_what_was_given_back(api_for, server):
    put_hpa(server)
    custody = taken(api_for(restore=False, take_over=True))
    custody.release()
    with pytest.raises(InputError, match="appeared after the run began"):
        custody.take()


def test_without_restore_an_autoscaler_that_cannot_be_given_back_is_said(api_for, server):
    put_hpa(server)
    before = server.get(HPAS, "demo", "web")["spec"]
    custody = taken(api_for(restore=False, take_over=True, safety={"max_retries": 0}))
    server.fail("PATCH", "/horizontalpodautoscalers/", 500, times=100)
    with pytest.raises(ClusterError, match="podgym restore --namespace demo --deployment web"):
        custody.release()
    server.heal()
    assert custody.release()
    assert server.get(HPAS, "demo", "web")["spec"] == before


@pytest.mark.parametrize(
    "pause", [{"autoscaling.keda.sh/paused": "true"}, {"autoscaling.keda.sh/paused-replicas": "2"}]
)
@pytest.mark.parametrize("take_over", [True, False])
def test_p11_a_pause_that_was_there_before_is_there_afterwards(api_for, server, pause, take_over):
    spec = {"scaleTargetRef": {"name": "web"}}
    server.put(SCALED_OBJECTS, "demo", "web", {"metadata": {"annotations": pause}, "spec": spec})
    taken(api_for(take_over=take_over)).release()
    assert server.get(SCALED_OBJECTS, "demo", "web")["metadata"]["annotations"] == pause
    assert {call.path.rsplit("/", 2)[-2] for call in server.writes} == {"deployments"}


def test_p11_one_that_says_it_is_not_paused_is_taken_over_and_says_so_again(api_for, server):
    spec, note = {"scaleTargetRef": {"name": "web"}}, {"autoscaling.keda.sh/paused": "false"}
    server.put(SCALED_OBJECTS, "demo", "web", {"metadata": {"annotations": note}, "spec": spec})
    with pytest.raises(InputError, match="ScaledObject web"):
        taken(api_for())
    custody = taken(api_for(take_over=True))
    annotations = server.get(SCALED_OBJECTS, "demo", "web")["metadata"]["annotations"]
    assert annotations == {"autoscaling.keda.sh/paused": "true"}
    custody.release()
    assert server.get(SCALED_OBJECTS, "demo", "web")["metadata"]["annotations"] == note


def test_what_cannot_be_given_back_is_said_and_can_be_repeated(api_for, server):
    custody = taken(api_for(safety={"max_retries": 0}))
    server.fail("GET", "/deployments/web", 500, times=100)
    with pytest.raises(ClusterError, match="podgym restore --namespace demo --deployment web"):
        custody.release()
    server.heal()
    assert custody.release()
    assert "podgym.dev/before" not in (server.deployment()["metadata"].get("annotations") or {})


def test_a_target_of_someone_else_keeps_its_replicas(api_for, server):
    api = api_for()
    custody = taken(api)
    api.set_replicas(api.deployment("demo", "web"), 7)
    custody.leave(0)
    custody.release()
    assert server.deployment()["spec"]["replicas"] == 7
    assert "podgym.dev/before" not in (server.deployment()["metadata"].get("annotations") or {})


def test_a_target_made_again_still_gives_back_who_was_stopped(api_for, server):
    put_hpa(server)
    before = server.get(HPAS, "demo", "web")["spec"]
    api = api_for(take_over=True)
    custody = taken(api)
    api.annotate(api.deployment("demo", "web"), {"podgym.dev/before": None})
    assert custody.release()
    assert server.get(HPAS, "demo", "web")["spec"] == before


def test_an_autoscaler_that_appears_after_the_run_began_is_refused(api_for, server):
    custody = taken(api_for(take_over=True))
    put_hpa(server)
    with pytest.raises(InputError, match="appeared after the run began"):
        custody.take()


def test_what_is_stopped_by_this_run_is_no_stranger(api_for, server):
    put_hpa(server)
    custody = taken(api_for(take_over=True))
    count = len(server.writes)
    custody.take()
    assert len(server.writes) == count


def test_a_take_that_fails_leaves_nothing_behind(api_for, server):
    put_hpa(server)
    before = server.get(HPAS, "demo", "web")["spec"]
    server.fail("PATCH", "/horizontalpodautoscalers/web", 500, times=1)
    with pytest.raises(ClusterError):
        taken(api_for(take_over=True, safety={"max_retries": 0}))
    assert server.get(HPAS, "demo", "web")["spec"] == before
    assert "podgym.dev/before" not in (server.deployment()["metadata"].get("annotations") or {})


def test_what_someone_restored_meanwhile_is_left_alone(api_for, server):
    api = api_for()
    custody = taken(api)
    taken_by_hand = api.deployment("demo", "web")
    api.annotate(taken_by_hand, {"podgym.dev/before": None})
    api.set_replicas(api.deployment("demo", "web"), 6)
    assert custody.release() == ()
    assert server.deployment()["spec"]["replicas"] == 6

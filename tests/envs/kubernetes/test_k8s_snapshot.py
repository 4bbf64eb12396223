"""What a Deployment was like, written on it, and made so again."""

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.server_rules import CONTAINER, DEPLOYMENTS, HPAS

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.errors import ConflictError, TargetGoneError, TransientError
from podgym.envs.kubernetes.ownership import Stopped, find_owners, stopped_state, take_over
from podgym.envs.kubernetes.snapshot import ANNOTATION, Snapshot, from_text, load, restore, save, to_text
from podgym.errors import InputError

NAN = math.nan
PARTIAL = {"name": "app", "image": "web:1", "resources": {"requests": {"cpu": "250m"}}}


def spec_of(server):
    """Return everything of the Deployment that a run may change."""
    found = copy.deepcopy(server.deployment())
    annotations = found["metadata"].get("annotations") or {}
    return found["spec"], annotations


def taken(api, run_id="run-1"):
    """Save a Deployment, stop what manages it, and return it."""
    found = api.deployment("demo", "web")
    owners = find_owners(api, found)
    saved = save(api, found, stopped_state(owners), run_id)
    take_over(api, owners)
    return saved


def changed(**fields):
    return json.dumps({**json.loads(to_text(Snapshot(2, {}, (), "r", 0.0))), **fields})


QUOTA_VALUES = st.one_of(st.just(NAN), st.integers(1, 10**6).map(float))


@given(
    st.integers(0, 5000),
    st.dictionaries(
        st.text("abc-", min_size=1),
        st.builds(
            Quota,
            st.one_of(st.just(NAN), st.integers(1, 10**6).map(lambda value: value / 1000)),
            st.just(NAN), QUOTA_VALUES, QUOTA_VALUES,
        ),
    ),
)  # fmt: skip
def test_a_snapshot_goes_there_and_back(replicas, quotas):
    stopped = (Stopped("HorizontalPodAutoscaler", "demo", "web", '{"scaleUp": null}'),)
    snapshot = Snapshot(replicas, quotas, stopped, "run", 1893456000.0)
    back = from_text(to_text(snapshot))
    assert to_text(back) == to_text(snapshot)
    assert (back.replicas, back.stopped, back.run_id, back.time_s) == (replicas, stopped, "run", 1893456000.0)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "5", '{"version": 2}',
     changed(replicas="2"),
     changed(replicas=-1),
     changed(stopped=[{"kind": "x"}]),
     changed(quotas={"a": {"limits": {"cpu": "?"}}})],
)  # fmt: skip
def test_an_annotation_that_cannot_be_read_is_said_with_the_remedy(api_for, server, text):
    server.change(DEPLOYMENTS, "demo", "web", {"metadata": {"annotations": {ANNOTATION: text}}})
    api = api_for()
    with pytest.raises(InputError, match=r"kubectl annotate -n demo deployment web podgym.dev/before-"):
        load(api.deployment("demo", "web"))


def test_what_was_found_is_written_before_anything_else(api_for, server):
    hpa = {"spec": {"maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
    server.put(HPAS, "demo", "web", hpa)
    api = api_for(take_over=True)
    saved = taken(api)
    assert [call.path.rsplit("/", 2)[-2] for call in server.writes] == [
        "deployments",
        "horizontalpodautoscalers",
    ]
    snapshot = load(saved)
    assert (snapshot.replicas, snapshot.run_id) == (2, "run-1")
    assert snapshot.quotas == {"app": Quota(0.5, 0.5, 512 * 2**20, 512 * 2**20)}
    assert [(each.kind, each.name) for each in snapshot.stopped] == [("HorizontalPodAutoscaler", "web")]
    content = json.loads(server.deployment()["metadata"]["annotations"][ANNOTATION])
    assert content["quotas"]["app"]["requests"] == {"cpu": "500m", "memory": "512Mi"}


def test_the_record_of_an_unfinished_run_is_not_overwritten(api_for, server):
    api = api_for()
    taken(api)
    before = spec_of(server)
    with pytest.raises(InputError, match=r"run run-1.* podgym restore --namespace demo --deployment web"):
        taken(api, "run-2")
    assert spec_of(server) == before


def test_of_two_runs_that_begin_at_once_one_wins(api_for, server):
    first, second = api_for(), api_for()
    seen = second.deployment("demo", "web")
    taken(first, "run-1")
    with pytest.raises(InputError, match="run run-1"):
        save(second, seen, (), "run-2")
    assert load(first.deployment("demo", "web")).run_id == "run-1"


def test_a_status_that_changes_meanwhile_does_not_keep_it_from_being_saved(api_for, server):
    api = api_for()
    seen = api.deployment("demo", "web")
    server.change(DEPLOYMENTS, "demo", "web", {"status": {"readyReplicas": 1}, "spec": {"replicas": 3}})
    assert load(save(api, seen, (), "run-1")).replicas == 3
    server.fail("PATCH", "/deployments/web$", 409, times=9)
    server.change(DEPLOYMENTS, "demo", "web", {"metadata": {"annotations": {ANNOTATION: None}}})
    with pytest.raises(ConflictError):
        save(api, api.deployment("demo", "web"), (), "run-1")


def test_a_record_whose_answer_was_lost_is_ours(api_for, server):
    api = api_for()
    seen = api.deployment("demo", "web")
    text = to_text(Snapshot(2, seen.quotas, (), "run-1", 0.0))

    def done_but_not_answered():
        server.change(DEPLOYMENTS, "demo", "web", {"metadata": {"annotations": {ANNOTATION: text}}})

    server.fail("PATCH", "/deployments/web$", kind="reset", before=done_but_not_answered)
    assert load(save(api, seen, (), "run-1")).run_id == "run-1"


@pytest.mark.parametrize("containers", [[CONTAINER], [PARTIAL]], ids=["all set", "partly set"])
def test_everything_is_as_it_was_found(api_for, server, containers):
    server.add_deployment("web", containers=containers, annotations={"kept": "yes"})
    hpa = {"spec": {"maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
    server.put(HPAS, "demo", "web", hpa)
    before, hpa_before = spec_of(server), server.get(HPAS, "demo", "web")["spec"]
    api = api_for(take_over=True)
    saved = taken(api)
    api.set_replicas(saved, 7)
    api.set_quota(saved, "app", Quota(1.0, 2.0, 1e9, 2e9))
    # The process is killed; another one knows nothing but the annotation.
    other = api_for(take_over=True)
    found = other.deployment("demo", "web")
    words = restore(other, found, load(found))
    assert words == (
        "quota of container app restored", "replicas 7 to 2", "HorizontalPodAutoscaler web given back",
        "annotation podgym.dev/before removed",
    )  # fmt: skip
    assert spec_of(server) == before
    assert server.get(HPAS, "demo", "web")["spec"] == hpa_before


def test_restoring_again_changes_nothing(api_for, server):
    api = api_for()
    saved = taken(api)
    api.set_replicas(saved, 7)
    assert restore(api, saved, load(saved)) == ("replicas 7 to 2", "annotation podgym.dev/before removed")
    writes = len(server.writes)
    assert restore(api, saved, load(saved)) == ()
    assert len(server.writes) == writes


@pytest.mark.parametrize("path", ["/scale$", "/horizontalpodautoscalers/", "/deployments/web$"])
def test_after_a_failure_the_record_is_still_there_and_restoring_can_be_repeated(api_for, server, path):
    hpa = {"spec": {"maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
    server.put(HPAS, "demo", "web", hpa)
    before = spec_of(server)
    api = api_for(take_over=True)
    saved = taken(api)
    api.set_replicas(saved, 7)
    server.fail("PATCH", path, 500, times=9)
    with pytest.raises(TransientError):
        restore(api, saved, load(saved))
    assert ANNOTATION in spec_of(server)[1]
    server.heal()
    found = api.deployment("demo", "web")
    restore(api, found, load(found))
    assert spec_of(server) == before


def test_conflicts_do_not_keep_it_from_being_restored(api_for, server):
    api = api_for()
    saved = taken(api)
    api.set_replicas(saved, 7)
    server.fail("PATCH", "/scale$", 409, times=4)
    restore(api, saved, load(saved))
    assert spec_of(server)[0]["replicas"] == 2
    server.fail("PATCH", "/scale$", 409, times=9)
    with pytest.raises(ConflictError):
        restore(api, saved, Snapshot(4, {}, (), "run-1", 0.0))


def test_restoring_is_not_bound_by_the_calls_of_a_step(api_for, server):
    api = api_for(safety={"max_api_calls_per_step": 4})
    saved = taken(api)
    api.set_replicas(saved, 7)
    api.begin_step()
    for _ in range(4):
        api.deployment("demo", "web")
    restore(api, saved, load(saved))
    assert spec_of(server)[0]["replicas"] == 2


def test_pods_that_were_resized_in_place_are_resized_back(api_for, server):
    api = api_for()
    saved = taken(api)
    names = [pod.name for pod in api.pods(saved, "app")]
    api.resize_pod("demo", names[0], "app", Quota(1.0, 1.0, NAN, NAN))
    assert restore(api, saved, load(saved))[0] == f"quota of pod {names[0]} restored"
    assert {pod.quota for pod in api.pods(saved, "app")} == {Quota(0.5, 0.5, 512 * 2**20, 512 * 2**20)}


def test_a_pod_that_cannot_be_resized_back_is_said(api_for, server):
    api = api_for()
    saved = taken(api)
    name = api.pods(saved, "app")[0].name
    api.resize_pod("demo", name, "app", Quota(1.0, 1.0, NAN, NAN))
    server.fail("PATCH", "/resize$", 422)
    words = restore(api, saved, load(saved))
    assert words[0].startswith(f"pod {name} keeps its quota until it is replaced")
    assert ANNOTATION not in spec_of(server)[1]


def test_a_container_that_is_gone_is_said(api_for, server):
    api = api_for()
    saved = taken(api)
    snapshot = load(saved)
    extra = Snapshot(2, {**snapshot.quotas, "gone": Quota(1, 1, 1, 1)}, (), "run-1", 0.0)
    assert restore(api, saved, extra)[0] == "container gone is gone; its quota is left"


def test_a_deleted_target_is_not_made_again(api_for, server):
    api = api_for()
    saved = taken(api)
    server.objects[DEPLOYMENTS, "demo", "web"].delete()
    with pytest.raises(TargetGoneError):
        restore(api, saved, load(saved))
    assert server.lines("POST", "PUT") == []


def test_a_dry_run_leaves_no_record(api_for, server):
    api = api_for(mode="dry_run")
    before = server.deployment()
    taken(api)
    assert server.deployment() == before

"""What is asked of the API server, as it asks for it."""

import math

import numpy as np
import pytest
from oracles.server_rules import CONTAINER, EVENTS, NODES, POD_METRICS, PODS

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.answers import MissingError, RefusedError
from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    ConflictError,
    MetricsUnavailableError,
    TargetGoneError,
    TransientError,
)
from podgym.envs.kubernetes.kinds import HPA, SCALED_OBJECT, VPA
from podgym.envs.kubernetes.objects import NodeState
from podgym.errors import InputError

WEB = "/apis/apps/v1/namespaces/demo/deployments/web"
HALF = Quota(0.5, 0.5, 512 * 2**20, 512 * 2**20)


def test_a_deployment_is_read(api_for):
    found = api_for().deployment("demo", "web")
    assert (found.replicas, found.replicas_present, found.replicas_ready) == (2, 2, 2)
    assert (found.selector, found.match_labels) == ("app=web", {"app": "web"})
    assert found.quotas == {"app": HALF}


def test_pods_are_read_page_by_page(api_for, server):
    api = api_for()
    server.app.page = 1
    found = api.deployment("demo", "web")
    api.begin_step()
    pods = api.pods(found, "app")
    assert [(pod.phase, pod.ready, pod.quota) for pod in pods] == [("Running", True, HALF)] * 2
    assert api.calls == 2


def test_pods_of_another_deployment_with_the_same_labels_do_not_count(api_for, server):
    server.add_deployment("web-other", replicas=3, labels={"app": "web"})
    api = api_for()
    assert len(api.pods(api.deployment("demo", "web"), "app")) == 2


def test_replicas_are_scaled_with_the_version_that_was_read(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    state = api.set_replicas(found, 5)
    (write,) = server.writes
    assert write.line == f"PATCH {WEB}/scale"
    assert write.content_type == "application/merge-patch+json"
    assert write.body == {"metadata": {"resourceVersion": found.resource_version}, "spec": {"replicas": 5}}
    assert write.query["fieldManager"] == "podgym"
    assert (state.replicas, server.deployment()["spec"]["replicas"]) == (5, 5)
    assert state.resource_version == server.deployment()["metadata"]["resourceVersion"]


def test_zero_replicas_which_the_server_leaves_out_are_zero(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    server.fail(
        "PATCH", "/scale$", 200, body={"kind": "Scale", "metadata": {"resourceVersion": "9"}, "spec": {}}
    )
    assert api.set_replicas(found, 0).replicas == 0


@pytest.mark.parametrize("replicas", [np.int64(3), np.int32(3), 3.0, np.float64(3)])
def test_p52_whole_numbers_of_any_type_reach_the_server_as_int(api_for, server, replicas):
    api = api_for()
    api.set_replicas(api.deployment("demo", "web"), replicas)
    assert type(server.writes[0].body["spec"]["replicas"]) is int
    assert server.deployment()["spec"]["replicas"] == 3


@pytest.mark.parametrize("replicas", [-1, 2.5, math.nan, math.inf])
def test_what_is_no_number_of_replicas_is_never_sent(api_for, server, replicas):
    api = api_for()
    with pytest.raises((ValueError, OverflowError)):
        api.set_replicas(api.deployment("demo", "web"), replicas)
    assert server.writes == []


def test_p53_a_foreign_change_is_a_conflict(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    server.change("apps/v1/deployments", "demo", "web", {"spec": {"replicas": 9}})
    with pytest.raises(ConflictError):
        api.set_replicas(found, 5)
    assert server.deployment()["spec"]["replicas"] == 9


def test_p53_an_own_change_whose_answer_was_lost_is_no_foreign_change(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")

    def done_but_not_answered():
        server.change("apps/v1/deployments", "demo", "web", {"spec": {"replicas": 5}})

    server.fail("PATCH", "/scale$", kind="reset", before=done_but_not_answered)
    assert api.set_replicas(found, 5).replicas == 5


def test_p53_a_foreign_change_during_a_retry_is_a_conflict(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    server.fail(
        "PATCH", "/scale$", kind="reset",
        before=lambda: server.change("apps/v1/deployments", "demo", "web", {"spec": {"replicas": 9}}),
    )  # fmt: skip
    with pytest.raises(ConflictError, match="9 replicas, 2 when read, 5 wanted"):
        api.set_replicas(found, 5)


@pytest.mark.parametrize("write", ["set_replicas", "set_quota", "annotate"])
def test_p50_a_deleted_target_is_gone_and_not_made_again(api_for, server, write):
    api = api_for()
    found = api.deployment("demo", "web")
    server.objects["apps/v1/deployments", "demo", "web"].delete()
    arguments = {"set_replicas": (3,), "set_quota": ("app", HALF), "annotate": ({"a": "b"},)}[write]
    with pytest.raises(TargetGoneError, match="web in namespace demo"):
        getattr(api, write)(found, *arguments)
    assert server.lines("POST", "PUT") == []
    with pytest.raises(TargetGoneError):
        api.deployment("demo", "web")


def test_p50_a_404_that_is_no_status_is_not_taken_for_a_deleted_target(api_for, server):
    api = api_for(safety={"max_retries": 0})
    server.fail("GET", WEB, 404, body=b"<html>default backend</html>")
    with pytest.raises(TransientError):
        api.deployment("demo", "web")


@pytest.mark.parametrize("write", ["set_quota", "annotate"])
def test_p50_a_target_that_was_made_again_is_not_the_target(api_for, server, write):
    api = api_for()
    found = api.deployment("demo", "web")
    server.change("apps/v1/deployments", "demo", "web", {"metadata": {"uid": "another"}})
    arguments = {"set_quota": ("app", HALF), "annotate": ({"a": "b"},)}[write]
    with pytest.raises(TargetGoneError, match="made again"):
        getattr(api, write)(found, *arguments)


def test_quotas_are_merged_into_the_template(api_for, server):
    sidecar = {
        "name": "proxy",
        "image": "proxy:1",
        "resources": {"limits": {"cpu": "100m", "nvidia.com/gpu": "1"}},
    }
    server.add_deployment("pair", containers=[CONTAINER, sidecar])
    api = api_for()
    api.set_quota(api.deployment("demo", "pair"), "app", Quota(0.75, 1.5, 300e6, math.nan))
    (write,) = server.writes
    assert write.content_type == "application/strategic-merge-patch+json"
    app, proxy = server.deployment("pair")["spec"]["template"]["spec"]["containers"]
    assert app["image"] == "web:1"
    assert app["resources"] == {
        "requests": {"cpu": "750m", "memory": "300000000"},
        "limits": {"cpu": "1500m"},
    }
    assert proxy == sidecar


def test_an_unknown_container_is_refused_with_the_closest(api_for, server):
    api = api_for()
    with pytest.raises(InputError, match="Did you mean 'app'"):
        api.set_quota(api.deployment("demo", "web"), "ap", HALF)
    assert server.writes == []


def test_resize_is_served_or_not_and_asked_once(api_for, server):
    api = api_for()
    assert api.can_resize()
    assert api.can_resize()
    assert server.lines().count("GET /api/v1") == 1
    server.app.resources[PODS].subresources = {"status"}
    api = api_for()
    assert not api.can_resize()
    with pytest.raises(RefusedError, match="resize: template"):
        api.resize_pod("demo", server.pods()[0]["metadata"]["name"], "app", HALF)


def test_a_pod_is_resized_in_place(api_for, server):
    api = api_for()
    (pod, _) = api.pods(api.deployment("demo", "web"), "app")
    api.resize_pod("demo", pod.name, "app", Quota(0.25, 0.25, math.nan, math.nan))
    (write,) = server.writes
    assert write.line == f"PATCH /api/v1/namespaces/demo/pods/{pod.name}/resize"
    assert write.content_type == "application/strategic-merge-patch+json"
    (again, _) = api.pods(api.deployment("demo", "web"), "app")
    assert again.quota == Quota(0.25, 0.25, HALF.memory_request_bytes, HALF.memory_limit_bytes)


def test_a_pod_is_evicted(api_for, server):
    api = api_for()
    (pod, _) = api.pods(api.deployment("demo", "web"), "app")
    api.evict_pod("demo", pod.name)
    (write,) = server.writes
    assert write.line == f"POST /api/v1/namespaces/demo/pods/{pod.name}/eviction"
    assert write.body["kind"] == "Eviction"
    assert write.body["apiVersion"] == "policy/v1"
    assert len(server.pods()) == 1


def test_a_pod_that_is_gone_is_left_alone(api_for):
    api = api_for()
    api.evict_pod("demo", "web-gone")
    api.resize_pod("demo", "web-gone", "app", HALF)


def test_a_disruption_budget_makes_an_eviction_transient(api_for, server):
    api = api_for(safety={"max_retries": 1})
    server.fail("POST", "/eviction$", 429, times=2, headers={"Retry-After": "1"})
    with pytest.raises(TransientError, match="pods/eviction"):
        api.evict_pod("demo", server.pods()[0]["metadata"]["name"])
    assert len(server.pods()) == 2


def test_an_event_is_told_once(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    server.fail("POST", "/events$", 409)
    api.emit_event(found, "Lost", "an attempt before made it")
    api.emit_event(found, "Scaled", "replicas 2 to 3")
    (event,) = [each.raw for (resource, _, _), each in server.objects.items() if resource.plural == "events"]
    assert (event["reason"], event["message"]) == ("Scaled", "replicas 2 to 3")
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": "demo", "uid": found.uid,
        "resourceVersion": found.resource_version,
    }  # fmt: skip
    assert EVENTS == "v1/events"


def test_annotations_are_set_and_removed(api_for, server):
    api = api_for()
    found = api.annotate(api.deployment("demo", "web"), {"a": "1", "b": "2"})
    found = api.annotate(found, {"a": None})
    assert found.annotations == server.deployment()["metadata"]["annotations"] == {"b": "2"}
    server.settle()
    server.change("apps/v1/deployments", "demo", "web", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(ConflictError):
        api.annotate(found, {"c": "3"}, unchanged=True)


def test_usage_comes_from_metrics_server(api_for, server):
    names = [pod["metadata"]["name"] for pod in server.pods()]
    usage = {"containers": [{"name": "app", "usage": {"cpu": "123456789n", "memory": "2048Ki"}}],
             "timestamp": "2030-01-01T00:00:10Z", "window": "1m0.5s",
             "metadata": {"labels": {"app": "web"}}}  # fmt: skip
    server.put(POD_METRICS, "demo", names[0], usage)
    server.put(POD_METRICS, "demo", names[1], {**usage, "containers": []})
    server.put(POD_METRICS, "demo", "stranger", {**usage, "metadata": {"labels": {"app": "x"}}})
    found = api_for().pod_usage("demo", "app=web", "app")
    assert list(found) == names[:1]
    used = found[names[0]]
    assert (used.cpu_usage_cores, used.memory_usage_bytes, used.window_s) == (0.123456789, 2048 * 1024, 60.5)
    assert used.time_s == 1893456010.0


@pytest.mark.parametrize("status", [404, 503])
def test_without_metrics_server_metrics_are_unavailable(api_for, server, status):
    server.fail("GET", "/apis/metrics.k8s.io/", status, times=9)
    with pytest.raises(MetricsUnavailableError, match="metrics-server"):
        api_for().pod_usage("demo", "app=web", "app")


def test_nodes_are_listed_if_they_may_be(api_for, server):
    server.put(NODES, None, "n1", {"status": {"allocatable": {"cpu": "3920m", "memory": "7Gi"}}})
    api = api_for()
    assert api.nodes() == (NodeState("n1", 3.92, 7 * 2**30, True),)
    server.fail("GET", "/nodes$", 403)
    assert api.nodes() == ()


def test_a_kind_that_is_not_served_has_no_objects(api_for, server):
    api = api_for()
    assert api.list_objects(SCALED_OBJECT, "demo") == ()
    assert api.list_objects(VPA, "demo") == ()
    assert not [line for line in server.lines() if "keda" in line or "verticalpod" in line]
    assert api.find_object(SCALED_OBJECT, "demo", "web") is None
    with pytest.raises(MissingError):
        api.patch_object(SCALED_OBJECT, "demo", "web", {})


def test_a_list_of_something_else_is_no_answer(api_for, server):
    api = api_for(safety={"max_retries": 0})
    for items in ([{"metadata": {"name": "web"}}], [{"spec": {}}], 5):
        server.fail("GET", "/horizontalpodautoscalers$", 200, body={"items": items})
        with pytest.raises(TransientError, match="cannot be used"):
            api.list_objects(HPA, "demo")


def test_missing_permissions_are_named(api_for, server):
    server.app.denied = {("patch", "deployments/scale"), ("list", "pods")}
    assert api_for().permissions(["demo", "demo"]) == (
        "list pods in namespace demo", "patch deployments/scale in namespace demo",
    )  # fmt: skip


def test_shadow_mode_needs_no_right_to_write(api_for, server):
    server.app.denied = {
        (verb, resource)
        for verb in ("patch", "create")
        for resource in ("deployments", "deployments/scale", "pods/resize", "pods/eviction", "events")
    }
    assert api_for(mode="shadow").permissions(["demo"]) == ()
    assert len(api_for().permissions(["demo"])) == 4


def writes(api, found):
    """Return every way to write, by name."""
    return {
        "set_replicas": lambda: api.set_replicas(found, 3),
        "set_quota": lambda: api.set_quota(found, "app", Quota(1.0, 1.0, 1e9, 1e9)),
        "annotate": lambda: api.annotate(found, {"a": "b"}),
        "resize_pod": lambda: api.resize_pod(
            "demo", "web-5d89bdfbf9-00001", "app", Quota(1.0, 1.0, 1e9, 1e9)
        ),
        "evict_pod": lambda: api.evict_pod("demo", "web-5d89bdfbf9-00001"),
        "emit_event": lambda: api.emit_event(found, "Scaled", "text"),
        "patch_object": lambda: api.patch_object(
            SCALED_OBJECT, "demo", "web", {"metadata": {"annotations": {"a": "b"}}}
        ),
    }


@pytest.mark.parametrize("write", list(writes(None, None)))
def test_p36_shadow_mode_writes_nothing(api_for, server, write):
    api = api_for(mode="shadow")
    found = api.deployment("demo", "web")
    with pytest.raises(RuntimeError, match="shadow"):
        writes(api, found)[write]()
    assert server.writes == []


@pytest.mark.parametrize("write", list(writes(None, None)))
def test_p36_dry_run_is_checked_by_the_server_and_keeps_nothing(api_for, server, write):
    server.put("keda.sh/v1alpha1/scaledobjects", "demo", "web", {"spec": {"scaleTargetRef": {"name": "web"}}})
    api = api_for(mode="dry_run")
    found = api.deployment("demo", "web")
    before = {key: dict(each.raw) for key, each in server.objects.items() if not each.deleted}
    writes(api, found)[write]()
    assert [call.query.get("dryRun") for call in server.writes] == ["All"]
    assert {key: dict(each.raw) for key, each in server.objects.items() if not each.deleted} == before


def test_403_names_the_verb_and_the_rule(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    server.fail("PATCH", "/scale$", 403)
    with pytest.raises(AccessDeniedError) as caught:
        api.set_replicas(found, 3)
    assert "patch deployments/scale in namespace demo" in str(caught.value)
    assert '{apiGroups: ["apps"], resources: ["deployments/scale"], verbs: ["patch"]}' in str(caught.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, 'pods "web-1" is forbidden: exceeded quota: team'), (422, "spec: Invalid value"), (400, "bad")],
)
def test_a_refusal_that_no_rbac_rule_would_help_is_told_apart(api_for, server, status, message):
    api = api_for()
    body = {"kind": "Status", "message": message, "code": status}
    server.fail("PATCH", "/resize$", status, body=body)
    with pytest.raises(RefusedError, match=message[-8:]):
        api.resize_pod("demo", "web-5d89bdfbf9-00001", "app", HALF)
    assert len(server.writes) == 1

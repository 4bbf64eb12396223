"""Who else manages a Deployment, stopped and given back (P11)."""

import copy

import pytest
from oracles.server_rules import DEPLOYMENTS, HPAS, SCALED_OBJECTS, VPAS

from podgym.envs.kubernetes.errors import AccessDeniedError, ClusterError
from podgym.envs.kubernetes.ownership import (
    find_owners,
    hand_back,
    refusal,
    require_within,
    stopped_state,
    take_over,
)
from podgym.errors import InputError

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
POLICIES = [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def hpa(server, name="web", *, behavior=None, **spec):
    content = {"minReplicas": 2, "maxReplicas": 10, "scaleTargetRef": TARGET, **spec}
    if behavior is not None:
        content["behavior"] = behavior
    server.put(HPAS, "demo", name, {"spec": content})


def scaled_object(server, name="web", annotations=None, **target):
    content = {
        "metadata": {"annotations": annotations or {}},
        "spec": {"scaleTargetRef": {"name": "web", **target}},
    }
    server.put(SCALED_OBJECTS, "demo", name, content)


def vpa(server, name="web", policy=None):
    content = {"targetRef": TARGET} if policy is None else {"targetRef": TARGET, "updatePolicy": policy}
    server.put(VPAS, "demo", name, {"spec": content})


def found(api):
    return [(owner.kind, owner.name) for owner in find_owners(api, api.deployment("demo", "web"))]


def test_nobody_manages_it(api_for):
    assert found(api_for()) == []


def test_an_hpa_manages_it(api_for, server):
    hpa(server)
    hpa(server, "other", scaleTargetRef={**TARGET, "name": "other"})
    hpa(server, "statefulset", scaleTargetRef={**TARGET, "kind": "StatefulSet"})
    hpa(server, "rollout", scaleTargetRef={**TARGET, "apiVersion": "argoproj.io/v1alpha1"})
    assert found(api_for()) == [("HorizontalPodAutoscaler", "web")]


def test_a_scaled_object_manages_it_and_keda_s_own_hpa_is_not_told_apart(api_for, server):
    scaled_object(server)
    reference = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web", "uid": "u"}
    server.put(
        HPAS, "demo", "keda-hpa-web",
        {"metadata": {"ownerReferences": [reference]}, "spec": {"maxReplicas": 10, "scaleTargetRef": TARGET}},
    )  # fmt: skip
    assert found(api_for()) == [("ScaledObject", "web")]


@pytest.mark.parametrize(
    "annotations",
    [{"autoscaling.keda.sh/paused": "true"}, {"autoscaling.keda.sh/paused-replicas": "3"},
     {"autoscaling.keda.sh/paused": "True"}, {"autoscaling.keda.sh/paused": "1"},
     {"autoscaling.keda.sh/paused": "yes"}, {"autoscaling.keda.sh/paused": ""},
     {"autoscaling.keda.sh/paused": "false", "autoscaling.keda.sh/paused-replicas": "3"}],
)  # fmt: skip
def test_a_paused_scaled_object_does_not_manage_it(api_for, server, annotations):
    scaled_object(server, annotations=annotations)
    scaled_object(server, "jobs", kind="StatefulSet")
    assert found(api_for()) == []


@pytest.mark.parametrize(
    "annotations",
    [{"autoscaling.keda.sh/paused": "false"}, {"autoscaling.keda.sh/paused": "False"},
     {"autoscaling.keda.sh/paused": "0"}, {"autoscaling.keda.sh/paused-scale-in": "true"}],
)  # fmt: skip
def test_one_that_is_not_paused_or_only_half_manages_it(api_for, server, annotations):
    scaled_object(server, annotations=annotations)
    assert found(api_for()) == [("ScaledObject", "web")]


@pytest.mark.parametrize(
    ("policy", "manages"),
    [(None, True), ({}, True), ({"updateMode": "Auto"}, True), ({"updateMode": "Initial"}, True),
     ({"updateMode": "InPlaceOrRecreate"}, True), ({"updateMode": "Off"}, False)],
)  # fmt: skip
def test_a_vpa_manages_it_unless_it_only_recommends(api_for, server, policy, manages):
    vpa(server, policy=policy)
    assert found(api_for()) == ([("VerticalPodAutoscaler", "web")] if manages else [])


@pytest.mark.parametrize("labels", [{"app": "web", "tier": "a"}, {"app": "web"}])
def test_p11_another_deployment_that_takes_the_same_pods_is_reported(api_for, server, labels):
    server.add_deployment("shadow", labels=labels)
    server.add_deployment("apart", labels={"app": "apart"})
    api = api_for()
    owners = find_owners(api, api.deployment("demo", "web"))
    assert [(owner.kind, owner.name) for owner in owners] == [("Deployment", "shadow")]
    text = refusal(api.deployment("demo", "web"), owners)
    assert "take the same pods" in text
    assert "take_over" not in text
    with pytest.raises(InputError, match="Deployment shadow cannot be stopped"):
        take_over(api, owners)
    with pytest.raises(InputError, match="Deployment shadow cannot be stopped"):
        require_within(owners, "web", 1, 10)
    assert server.writes == []


def test_p11_the_refusal_says_who_and_what_to_do(api_for, server):
    hpa(server, "web-hpa")
    scaled_object(server)
    api = api_for()
    web = api.deployment("demo", "web")
    text = refusal(web, find_owners(api, web))
    assert "ScaledObject web" in text
    assert "HorizontalPodAutoscaler web-hpa (2 to 10 replicas)" in text
    assert "take_over: true" in text
    assert "--controller cluster" in text


def test_bounds_that_a_stopped_hpa_enforces_are_respected(api_for, server):
    hpa(server)
    api = api_for()
    owners = find_owners(api, api.deployment("demo", "web"))
    require_within(owners, "web", 2, 10)
    with pytest.raises(
        InputError, match=r"services.web: max_replicas 11 is above what HorizontalPodAutoscaler"
    ):
        require_within(owners, "web", 2, 11)
    with pytest.raises(InputError, match=r"services.web: min_replicas 1 is below"):
        require_within(owners, "web", 1, 10)


def test_if_they_may_not_be_listed_nobody_knows(api_for, server):
    server.fail("GET", "/horizontalpodautoscalers$", 403)
    api = api_for()
    with pytest.raises(AccessDeniedError, match="list horizontalpodautoscalers in namespace demo"):
        find_owners(api, api.deployment("demo", "web"))


def add_hpa_plain(server):
    hpa(server)


def add_hpa_with_behavior(server):
    hpa(server, behavior={"scaleDown": {"selectPolicy": "Max", "policies": POLICIES}})


def add_scaled_object(server):
    scaled_object(server, annotations={"kept": "yes"})


def add_scaled_object_not_paused(server):
    scaled_object(server, annotations={"autoscaling.keda.sh/paused": "false"})


def add_vpa_plain(server):
    vpa(server)


def add_vpa_with_policy(server):
    vpa(server, policy={"updateMode": "Auto", "minReplicas": 2})


WAYS = {
    add_hpa_plain: HPAS, add_hpa_with_behavior: HPAS, add_scaled_object: SCALED_OBJECTS,
    add_scaled_object_not_paused: SCALED_OBJECTS, add_vpa_plain: VPAS, add_vpa_with_policy: VPAS,
}  # fmt: skip


def without_versions(content):
    content = copy.deepcopy(content)
    for key in ("resourceVersion", "generation"):
        content["metadata"].pop(key, None)
    return content


@pytest.mark.parametrize("add", WAYS)
def test_what_was_stopped_is_given_back_exactly_and_once(api_for, server, add):
    add(server)
    before = without_versions(server.get(WAYS[add], "demo", "web"))
    api = api_for(take_over=True)
    owners = find_owners(api, api.deployment("demo", "web"))
    stopped = take_over(api, owners)
    assert stopped == stopped_state(owners)
    assert without_versions(server.get(WAYS[add], "demo", "web")) != before
    (words,) = hand_back(api, stopped)
    assert words.endswith("given back")
    assert without_versions(server.get(WAYS[add], "demo", "web")) == before
    writes = len(server.writes)
    (words,) = hand_back(api, stopped)
    assert words.endswith("is not stopped; left as it is")
    assert len(server.writes) == writes


@pytest.mark.parametrize("add", [add_hpa_plain, add_scaled_object, add_vpa_plain])
def test_stopped_means_that_it_does_nothing(api_for, server, add):
    add(server)
    api = api_for(take_over=True)
    take_over(api, find_owners(api, api.deployment("demo", "web")))
    content = server.get(WAYS[add], "demo", "web")
    if WAYS[add] == HPAS:
        assert {each["selectPolicy"] for each in content["spec"]["behavior"].values()} == {"Disabled"}
    else:
        assert found(api) == []


def test_what_the_server_fills_in_beside_our_change_goes_too(api_for, server):
    hpa(server)
    api = api_for(take_over=True)
    stopped = take_over(api, find_owners(api, api.deployment("demo", "web")))
    filled = {"scaleUp": {"policies": POLICIES, "stabilizationWindowSeconds": 0}}
    server.change(HPAS, "demo", "web", {"spec": {"behavior": filled}})
    hand_back(api, stopped)
    assert "behavior" not in server.get(HPAS, "demo", "web")["spec"]


def test_what_someone_changed_meanwhile_is_left(api_for, server):
    hpa(server)
    api = api_for(take_over=True)
    stopped = take_over(api, find_owners(api, api.deployment("demo", "web")))
    server.change(HPAS, "demo", "web", {"spec": {"behavior": {"scaleUp": {"selectPolicy": "Max"}}}})
    before = server.get(HPAS, "demo", "web")
    hand_back(api, stopped)
    assert server.get(HPAS, "demo", "web") == before


def test_what_is_gone_is_not_given_back(api_for, server):
    hpa(server)
    api = api_for(take_over=True)
    stopped = take_over(api, find_owners(api, api.deployment("demo", "web")))
    server.objects[HPAS, "demo", "web"].delete()
    assert hand_back(api, stopped) == ("HorizontalPodAutoscaler web is gone; nothing to give back",)


def test_if_one_cannot_be_stopped_the_others_are_given_back(api_for, server):
    scaled_object(server)
    vpa(server)
    api = api_for(take_over=True)
    owners = find_owners(api, api.deployment("demo", "web"))
    server.fail("PATCH", "/verticalpodautoscalers/", 403)
    with pytest.raises(AccessDeniedError, match="patch verticalpodautoscalers"):
        take_over(api, owners)
    assert (
        "autoscaling.keda.sh/paused"
        not in server.get(SCALED_OBJECTS, "demo", "web")["metadata"]["annotations"]
    )
    assert len(found(api)) == 2


def test_if_one_cannot_be_given_back_the_others_are(api_for, server):
    scaled_object(server)
    vpa(server)
    api = api_for(take_over=True)
    stopped = take_over(api, find_owners(api, api.deployment("demo", "web")))
    server.fail("PATCH", "/scaledobjects/", 500, times=9)
    with pytest.raises(ClusterError, match="scaledobjects"):
        hand_back(api, stopped)
    assert found(api) == [("VerticalPodAutoscaler", "web")]
    server.heal()
    hand_back(api, stopped)
    assert len(found(api)) == 2


def test_patches_are_of_a_type_that_custom_resources_take(api_for, server):
    for add in (add_hpa_plain, add_scaled_object, add_vpa_plain):
        add(server)
    api = api_for(take_over=True)
    hand_back(api, take_over(api, find_owners(api, api.deployment("demo", "web"))))
    assert {call.content_type for call in server.writes} == {
        "application/merge-patch+json", "application/json-patch+json",
    }  # fmt: skip
    assert DEPLOYMENTS not in {call.path for call in server.writes}

"""Against a real API server: ``KUBECONFIG=... pytest -m cluster``.

Everything happens in namespaces that these tests make and delete. A control plane is enough: nothing needs a
node, a kubelet or a metrics pipeline, and the image of the Deployment is never started where there is none.
Where there are controllers and nodes, they may do what they do.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from cluster.bed import FOUND, OTHER, Bed, without_conflict

from podgym.envs.cluster import ServiceDecision
from podgym.envs.kubernetes.api import KubernetesApi
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.errors import AccessDeniedError, ConflictError, TargetGoneError
from podgym.envs.kubernetes.ownership import find_owners, hand_back, stopped_state, take_over
from podgym.envs.kubernetes.snapshot import load, restore, save
from podgym.errors import InputError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_a_deployment_is_read(testbed: Bed) -> None:
    found = testbed.api().deployment(testbed.namespace, "web")
    assert found.replicas == 2
    assert found.quotas == {"main": FOUND}
    assert found.selector == "app=web"
    with pytest.raises(TargetGoneError):
        testbed.api().deployment(testbed.namespace, "nobody")


def test_scaling_and_a_stale_version(testbed: Bed) -> None:
    api = testbed.api()
    stale = api.deployment(testbed.namespace, "web")
    assert without_conflict(api, testbed, lambda now: api.set_replicas(now, 3)).replicas == 3
    assert testbed.replicas() == 3
    with pytest.raises(ConflictError):
        api.set_replicas(stale, 4)
    assert testbed.replicas() == 3


def test_a_dry_run_changes_nothing(testbed: Bed) -> None:
    api = testbed.api(mode="dry_run")
    before = testbed.read()
    without_conflict(api, testbed, lambda now: api.set_replicas(now, 4))
    without_conflict(api, testbed, lambda now: api.set_quota(now, "main", OTHER))
    after = testbed.read()
    assert after.metadata.generation == before.metadata.generation
    assert after.spec == before.spec


def test_state_is_kept_and_restored(testbed: Bed) -> None:
    api = testbed.api()
    before = api.deployment(testbed.namespace, "web")
    save(api, before, (), "run-1")
    with pytest.raises(InputError, match="podgym restore"):
        save(api, api.deployment(testbed.namespace, "web"), (), "run-2")
    without_conflict(api, testbed, lambda now: api.set_quota(now, "main", OTHER))
    without_conflict(api, testbed, lambda now: api.set_replicas(now, 5))
    changed = api.deployment(testbed.namespace, "web")
    assert changed.quotas["main"] == OTHER
    snapshot = load(changed)
    assert snapshot is not None
    restore(api, changed, snapshot)
    after = api.deployment(testbed.namespace, "web")
    assert (after.replicas, after.quotas) == (before.replicas, before.quotas)
    assert "podgym.dev/before" not in after.annotations


def test_an_hpa_is_found_stopped_and_given_back(testbed: Bed) -> None:
    version = "v2" if testbed.serves("autoscaling", "v2") else "v2beta2"  # before Kubernetes 1.23
    where = "autoscaling", version, testbed.namespace, "horizontalpodautoscalers"
    objects = testbed.client.CustomObjectsApi()
    usage = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": usage}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 123}},
    }
    hpa = {"apiVersion": f"autoscaling/{version}", "kind": "HorizontalPodAutoscaler"}
    objects.create_namespaced_custom_object(*where, {**hpa, "metadata": {"name": "web"}, "spec": spec})

    def behavior() -> Any:
        return objects.get_namespaced_custom_object(*where, "web")["spec"]["behavior"]

    try:
        before = behavior()
        api = testbed.api()
        owners = find_owners(api, api.deployment(testbed.namespace, "web"))
        assert [owner.kind for owner in owners] == ["HorizontalPodAutoscaler"]
        stopped = stopped_state(owners)
        take_over(api, owners)
        assert behavior()["scaleDown"]["selectPolicy"] == "Disabled"
        assert behavior()["scaleUp"]["selectPolicy"] == "Disabled"
        hand_back(api, stopped)
        assert behavior() == before
        with pytest.raises(InputError, match="take_over: true"):
            testbed.env().reset()
    finally:
        objects.delete_namespaced_custom_object(*where, "web")


def test_permissions_are_asked_for_and_missing_ones_are_named(testbed: Bed, tmp_path: Path) -> None:
    assert testbed.api().permissions([testbed.namespace]) == ()
    token = testbed.token_of("nobody")
    settings = testbed.settings(kubeconfig=testbed.kubeconfig_of(token, tmp_path))
    nobody = KubernetesApi(connect(settings), settings)
    missing = nobody.permissions([testbed.namespace])
    if not missing:
        pytest.skip("this server allows everybody everything")
    assert any("deployments/scale" in text and "patch" in text for text in missing)
    with pytest.raises(AccessDeniedError, match="deployments") as caught:
        nobody.deployment(testbed.namespace, "web")
    assert token not in str(caught.value)
    assert token not in repr(nobody.connection)


def test_an_episode_scales_and_gives_back(testbed: Bed) -> None:
    env = testbed.env()
    env.reset(seed=0)
    assert "podgym.dev/before" in testbed.annotations()
    for replicas in (3, 5, 4):
        env.step_decisions([ServiceDecision(replicas=replicas)])
        assert testbed.replicas() == replicas, env.problems
    assert env.log.api_calls <= 12
    env.close()
    assert testbed.replicas() == 2
    assert testbed.annotations() == {}


def test_shadow_mode_leaves_no_trace(testbed: Bed) -> None:
    before = testbed.read().metadata.generation
    env = testbed.env(mode="shadow")
    env.reset(seed=0)
    env.step_decisions([ServiceDecision(replicas=5)])
    env.close()
    assert testbed.read().metadata.generation == before
    assert testbed.annotations() == {}


def test_someone_else_keeps_their_number(testbed: Bed) -> None:
    env = testbed.env()
    env.reset(seed=0)
    env.step_decisions([ServiceDecision(replicas=3)])
    testbed.apps.patch_namespaced_deployment_scale("web", testbed.namespace, {"spec": {"replicas": 1}})
    *_, truncated, _ = env.step_decisions([ServiceDecision()])
    assert truncated
    assert env.ended_because is not None
    env.close()
    assert testbed.replicas() == 1


def test_a_deleted_target_ends_the_episode(testbed: Bed) -> None:
    env = testbed.env()
    env.reset(seed=0)
    testbed.delete()
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=4)])
    assert truncated
    env.close()
    assert not testbed.exists()


def test_a_target_that_was_made_again_is_another_one(testbed: Bed) -> None:
    env = testbed.env()
    env.reset(seed=0)
    testbed.delete()
    testbed.create()
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=4)])
    assert truncated
    env.close()
    assert testbed.replicas() == 2


def test_quotas_change_and_come_back(testbed: Bed) -> None:
    env = testbed.env(resize="template")
    env.reset(seed=0)
    wanted = {field.name: getattr(OTHER, field.name) for field in dataclasses.fields(OTHER)}
    env.step_decisions([ServiceDecision(**wanted)])
    assert testbed.api().deployment(testbed.namespace, "web").quotas["main"] == OTHER, env.log
    env.close()
    assert testbed.api().deployment(testbed.namespace, "web").quotas["main"] == FOUND

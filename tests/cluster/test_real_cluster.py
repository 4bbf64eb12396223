"""Against a real API server: ``KUBECONFIG=... pytest -m cluster``.

Everything happens in a namespace that these tests make and delete. A control plane is enough: nothing needs a
node, a kubelet or a metrics pipeline, and the image of the Deployment is never started where there is none.
"""

import dataclasses
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kubernetes")

from podgym.envs.cluster import Quota, ServiceDecision
from podgym.envs.kubernetes import KubernetesEnv, KubernetesSettings, parse_settings
from podgym.envs.kubernetes.api import KubernetesApi
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.errors import AccessDeniedError, ConflictError, TargetGoneError
from podgym.envs.kubernetes.ownership import find_owners, hand_back, stopped_state, take_over
from podgym.envs.kubernetes.readings import PodUsage, ServiceReading, WatchedService
from podgym.envs.kubernetes.snapshot import load, restore, save
from podgym.errors import InputError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

MIB = 2**20
RESOURCES = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
OTHER = Quota(0.15, 0.3, 96.0 * MIB, 192.0 * MIB)


@dataclass
class Bed:
    """A namespace of our own with a Deployment ``web`` of two pods."""

    namespace: str
    client: Any

    def settings(self, **changes: Any) -> KubernetesSettings:
        return parse_settings(
            {
                "environment": "podgym/FamilyBurst-v0",
                "services": {"web": {"namespace": self.namespace, "max_replicas": 5}},
                "metrics": {"url": "http://nowhere.invalid", "history_s": 0.0},
                "safety": {"down_window_s": 0.0, "rate_period_s": 1.0},
                "changes": {"cluster": {"control_interval_s": 1.0}},
                **changes,
            }
        )

    def api(self, **changes: Any) -> KubernetesApi:
        settings = self.settings(**changes)
        return KubernetesApi(connect(settings), settings)

    @property
    def apps(self) -> Any:
        return self.client.AppsV1Api()

    def replicas(self) -> int:
        return int(self.apps.read_namespaced_deployment_scale("web", self.namespace).spec.replicas)

    def annotations(self) -> dict[str, str]:
        found = self.apps.read_namespaced_deployment("web", self.namespace)
        return dict(found.metadata.annotations or {})


@pytest.fixture(scope="module")
def namespace() -> Iterator[tuple[str, Any]]:
    from kubernetes import client, config

    config.load_kube_config(os.environ.get("KUBECONFIG"))
    name = f"podgym-test-{uuid.uuid4().hex[:8]}"
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": name, "labels": {"podgym.dev/test": "true"}}})
    try:
        yield name, client
    finally:
        core.delete_namespace(name)


@pytest.fixture
def testbed(namespace: tuple[str, Any]) -> Iterator[Bed]:
    name, client = namespace
    bed = Bed(name, client)
    labels = {"app": "web"}
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {"name": "main", "image": "registry.k8s.io/pause:3.10", "resources": RESOURCES},
        ],
    }
    bed.apps.create_namespaced_deployment(
        name,
        {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    )
    try:
        yield bed
    finally:
        bed.apps.delete_namespaced_deployment("web", name, propagation_policy="Background")
        _wait_until(lambda: not _exists(bed), 60.0)


def _exists(bed: Bed) -> bool:
    return any(
        each.metadata.name == "web" for each in bed.apps.list_namespaced_deployment(bed.namespace).items
    )


def _wait_until(condition: Any, limit_s: float) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it took too long"
        time.sleep(0.2)


def test_a_deployment_is_read(testbed: Bed) -> None:
    found = testbed.api().deployment(testbed.namespace, "web")
    assert found.replicas == 2
    assert found.quotas == {"main": Quota(0.1, 0.2, 64.0 * MIB, 128.0 * MIB)}
    assert found.selector == "app=web"
    with pytest.raises(TargetGoneError):
        testbed.api().deployment(testbed.namespace, "nobody")


def test_scaling_and_a_stale_version(testbed: Bed) -> None:
    api = testbed.api()
    found = api.deployment(testbed.namespace, "web")
    assert api.set_replicas(found, 3).replicas == 3
    assert testbed.replicas() == 3
    with pytest.raises(ConflictError):
        api.set_replicas(found, 4)
    assert testbed.replicas() == 3


def test_a_dry_run_changes_nothing(testbed: Bed) -> None:
    api = testbed.api(mode="dry_run")
    found = api.deployment(testbed.namespace, "web")
    api.set_replicas(found, 4)
    api.set_quota(found, "main", OTHER)
    assert testbed.api().deployment(testbed.namespace, "web") == found


def test_state_is_kept_and_restored(testbed: Bed) -> None:
    api = testbed.api()
    before = api.deployment(testbed.namespace, "web")
    save(api, before, (), "run-1")
    with pytest.raises(InputError, match="podgym restore"):
        save(api, api.deployment(testbed.namespace, "web"), (), "run-2")
    api.set_quota(before, "main", OTHER)
    api.set_replicas(api.deployment(testbed.namespace, "web"), 5)
    changed = api.deployment(testbed.namespace, "web")
    assert changed.quotas["main"] == OTHER
    snapshot = load(changed)
    assert snapshot is not None
    restore(api, changed, snapshot)
    after = api.deployment(testbed.namespace, "web")
    assert (after.replicas, after.quotas) == (before.replicas, before.quotas)
    assert "podgym.dev/before" not in after.annotations


def test_an_hpa_is_found_stopped_and_given_back(testbed: Bed) -> None:
    autoscaling = testbed.client.AutoscalingV2Api()
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 5,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 123}},
    }
    autoscaling.create_namespaced_horizontal_pod_autoscaler(
        testbed.namespace, {"metadata": {"name": "web"}, "spec": spec}
    )

    def behavior() -> Any:
        found = autoscaling.read_namespaced_horizontal_pod_autoscaler("web", testbed.namespace)
        return testbed.client.ApiClient().sanitize_for_serialization(found.spec.behavior)

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
            _environment(testbed).reset()
    finally:
        autoscaling.delete_namespaced_horizontal_pod_autoscaler("web", testbed.namespace)


def test_permissions_are_asked_for_and_missing_ones_are_named(testbed: Bed, tmp_path: Path) -> None:
    api = testbed.api()
    assert api.permissions([testbed.namespace]) == ()
    core = testbed.client.CoreV1Api()
    core.create_namespaced_service_account(testbed.namespace, {"metadata": {"name": "nobody"}})
    token = core.create_namespaced_service_account_token(
        "nobody", testbed.namespace, {"spec": {"expirationSeconds": 600}}
    ).status.token
    settings = testbed.settings(kubeconfig=str(_with_token(testbed, token, tmp_path)))
    nobody = KubernetesApi(connect(settings), settings)
    missing = nobody.permissions([testbed.namespace])
    assert any("deployments/scale" in text and "patch" in text for text in missing)
    with pytest.raises(AccessDeniedError, match="deployments") as caught:
        nobody.deployment(testbed.namespace, "web")
    assert token not in str(caught.value)
    assert token not in repr(nobody.connection)


def _with_token(testbed: Bed, token: str, folder: Path) -> Path:
    """Write a kubeconfig of the same server for someone with this token."""
    own = testbed.client.Configuration.get_default_copy()
    cluster: dict[str, Any] = {"server": own.host}
    if own.ssl_ca_cert:
        cluster["certificate-authority"] = own.ssl_ca_cert
    if not own.verify_ssl:
        cluster["insecure-skip-tls-verify"] = True
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "nobody",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "nobody", "user": {"token": token}}],
        "contexts": [{"name": "nobody", "context": {"cluster": "here", "user": "nobody"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    path.chmod(0o600)
    return path


class SteadyMetrics:
    """A monitoring that always sees the same load."""

    def check(self, services: Sequence[WatchedService]) -> None:
        return None

    def read(self, services: Sequence[WatchedService]) -> tuple[ServiceReading, ...]:
        now_s = time.time()
        usage = {"web-0": PodUsage(0.05, 32.0 * MIB, now_s, 30.0)}
        reading = ServiceReading(now_s, 30.0, 10.0, 0.0, 0.05, slow_ratio=0.0, in_flight=0.5, pods=usage)
        return (reading,) * len(services)

    def history(
        self, service: WatchedService, duration_s: float, step_s: float
    ) -> tuple[tuple[float, float], ...]:
        return ()


def _environment(testbed: Bed, **changes: Any) -> KubernetesEnv:
    return KubernetesEnv(testbed.settings(**changes), metrics=SteadyMetrics(), episode_s=60.0)


def test_an_episode_scales_and_gives_back(testbed: Bed) -> None:
    env = _environment(testbed)
    env.reset(seed=0)
    assert "podgym.dev/before" in testbed.annotations()
    for replicas in (3, 5, 4):
        env.step_decisions([ServiceDecision(replicas=replicas)])
        assert testbed.replicas() == replicas, env.problems
    assert env.log.api_calls <= 12
    env.close()
    assert testbed.replicas() == 2
    assert "podgym.dev/before" not in testbed.annotations()


def test_shadow_mode_leaves_no_trace(testbed: Bed) -> None:
    before = testbed.apps.read_namespaced_deployment("web", testbed.namespace).metadata.generation
    env = _environment(testbed, mode="shadow")
    env.reset(seed=0)
    env.step_decisions([ServiceDecision(replicas=5)])
    env.close()
    found = testbed.apps.read_namespaced_deployment("web", testbed.namespace)
    assert found.metadata.generation == before
    assert not [key for key in found.metadata.annotations or {} if key.startswith("podgym.dev")]


def test_someone_else_keeps_their_number(testbed: Bed) -> None:
    env = _environment(testbed)
    env.reset(seed=0)
    env.step_decisions([ServiceDecision(replicas=3)])
    testbed.apps.patch_namespaced_deployment_scale("web", testbed.namespace, {"spec": {"replicas": 1}})
    *_, truncated, _ = env.step_decisions([ServiceDecision()])
    assert truncated
    assert env.ended_because is not None
    env.close()
    assert testbed.replicas() == 1


def test_a_deleted_target_ends_the_episode(testbed: Bed) -> None:
    env = _environment(testbed)
    env.reset(seed=0)
    testbed.apps.delete_namespaced_deployment("web", testbed.namespace, propagation_policy="Background")
    _wait_until(lambda: not _exists(testbed), 60.0)
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=4)])
    assert truncated
    env.close()
    assert not _exists(testbed)
    testbed.apps.create_namespaced_deployment(  # for the fixture to delete
        testbed.namespace,
        {
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]},
                },
            },
        },
    )


def test_quotas_change_and_come_back(testbed: Bed) -> None:
    env = _environment(testbed, resize="template")
    env.reset(seed=0)
    wanted = dict(
        zip((field.name for field in dataclasses.fields(Quota)), dataclasses.astuple(OTHER), strict=True)
    )
    env.step_decisions([ServiceDecision(**wanted)])
    assert testbed.api().deployment(testbed.namespace, "web").quotas["main"] == OTHER, env.log
    env.close()
    assert testbed.api().deployment(testbed.namespace, "web").quotas["main"].cpu_request_cores == 0.1

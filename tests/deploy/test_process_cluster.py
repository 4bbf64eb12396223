"""The local cluster of processes does what a cluster does, under real load and with a real Prometheus."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.source_tree
kubernetes = pytest.importorskip("kubernetes")
pytest.importorskip("kmock")
pytest.importorskip("aiohttp")
if shutil.which("prometheus") is None:
    pytest.skip("needs Prometheus on the PATH", allow_module_level=True)

from deploy.process_api_server import merged  # noqa: E402
from deploy.process_kubelet import ProcessCluster  # noqa: E402
from deploy.process_pods import PodOptions, quantity  # noqa: E402

from podgym.envs.kubernetes.readings import WatchedService  # noqa: E402
from podgym.envs.kubernetes.settings import read_settings  # noqa: E402

WEB = WatchedService("web", "demo", "web", "web", 0.25)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    options = PodOptions(start_up_s=0.1, drain_s=0.1)
    with ProcessCluster(folder, replicas=2, pod_options=options, scrape_interval_s=0.25) as running:
        running.wait_ready(2)
        yield running


@pytest.fixture(scope="module")
def api(cluster: ProcessCluster) -> Iterator[Any]:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as client:
        yield client


def names(cluster: ProcessCluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.pods()}


def settled(cluster: ProcessCluster, count: int) -> None:
    """Wait for the pods, not for Prometheus, which takes up to 5 s more."""
    cluster.wait_until(
        lambda: len(cluster.pods()) == count == cluster.ready_count(), what=f"{count} pods are ready"
    )


def test_podgym_reads_load_and_cpu_of_the_pods_from_prometheus(
    cluster: ProcessCluster, tmp_path: Path
) -> None:
    from podgym.envs.kubernetes.prometheus import PrometheusMetrics

    course = tmp_path / "load.csv"
    course.write_text("time_s,rate_rps\n0,40\n60,40\n")
    source = PrometheusMetrics(read_settings(cluster.settings_file).metrics)
    command = cluster.load_command(
        "--profile", str(course), "--demand-s", "0.004", "--cv", "0", "--output", str(tmp_path / "out")
    )
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:

        def steady() -> bool:
            reading = source.read([WEB])[0]
            return reading.request_rate_rps > 25.0 and reading.error_ratio == 0.0 and not reading.partial

        cluster.wait_until(steady, what="the load is seen")
        source.check([WEB])
        (reading,) = source.read([WEB])
    finally:
        load.terminate()
        _, errors = load.communicate(timeout=240)
    assert load.returncode == 0, errors
    assert reading.problems == {}
    assert 25.0 < reading.request_rate_rps < 60.0
    assert reading.response_time_s > 0.004
    assert set(reading.pods) == names(cluster)
    # 20 requests/s with 4 ms each, and their handling; each pod gets its half.
    for usage in reading.pods.values():
        assert 0.05 < usage.cpu_usage_cores < 0.5
        assert usage.memory_usage_bytes > 10 * 2**20
    assert time.time() - reading.time_s < 5.0
    summary = json.loads((tmp_path / "out" / "load.json").read_text())
    assert summary["failed"] == 0
    assert summary["completed"] == summary["sent"]


def test_it_scales_up_and_down_through_the_api(cluster: ProcessCluster, api: Any) -> None:
    apps = kubernetes.client.AppsV1Api(api)
    before = names(cluster)
    apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 3}})
    settled(cluster, 3)
    assert before < names(cluster)
    status = apps.read_namespaced_deployment("web", "demo").status
    assert (status.replicas, status.ready_replicas) == (3, 3)
    assert len(json.loads(cluster.endpoints_file.read_text())) == 3
    apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 2}})
    settled(cluster, 2)
    assert names(cluster) == before  # the youngest went


def test_a_stale_version_is_a_conflict_and_changes_nothing(cluster: ProcessCluster, api: Any) -> None:
    apps = kubernetes.client.AppsV1Api(api)
    body = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 5}}
    with pytest.raises(kubernetes.client.ApiException) as caught:
        apps.patch_namespaced_deployment_scale("web", "demo", body)
    assert caught.value.status == 409
    assert cluster.deployment()["spec"]["replicas"] == 2


def test_a_dry_run_and_a_fault_change_nothing(cluster: ProcessCluster, api: Any) -> None:
    apps = kubernetes.client.AppsV1Api(api)
    answer = apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 5}}, dry_run="All")
    assert answer.spec.replicas == 5
    path = "patch /apis/apps/v1/namespaces/demo/deployments/web/scale"
    cluster.inject(lambda server: server[path] ** 10 << 500)
    with pytest.raises(kubernetes.client.ApiException) as caught:
        apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 5}})
    assert caught.value.status == 500
    assert cluster.deployment()["spec"]["replicas"] == 2
    assert ("PATCH", path.removeprefix("patch ")) in cluster.requests()
    cluster.inject(lambda server: server.forget_faults())
    answer = apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 2}})
    assert answer.spec.replicas == 2


def test_a_pod_is_resized_in_place(cluster: ProcessCluster, api: Any) -> None:
    core = kubernetes.client.CoreV1Api(api)
    served = {each.name for each in core.get_api_resources().resources}
    assert "pods/resize" in served
    name = min(names(cluster))
    quota = {"requests": {"cpu": "250m"}, "limits": {"cpu": "250m"}}
    body = {"spec": {"containers": [{"name": "web", "resources": quota}]}}
    core.patch_namespaced_pod_resize(name, "demo", body)

    def in_force() -> bool:
        pod = core.read_namespaced_pod(name, "demo")
        return pod.status.container_statuses[0].resources.limits["cpu"] == "250m"

    cluster.wait_until(in_force, what="the new limit is in force")
    assert (cluster.pods_folder / f"{name}.cpu.max").read_text() == "2500 10000\n"
    assert name in names(cluster)
    assert core.read_namespaced_pod(name, "demo").spec.containers[0].resources.limits["memory"] == "512Mi"


def test_an_evicted_pod_is_replaced_and_a_killed_one_restarts(cluster: ProcessCluster, api: Any) -> None:
    core = kubernetes.client.CoreV1Api(api)
    victim, other = sorted(names(cluster))
    body = {"metadata": {"name": victim, "namespace": "demo"}}
    core.create_namespaced_pod_eviction(victim, "demo", body)
    cluster.wait_until(lambda: victim not in names(cluster), what="the pod has gone")
    settled(cluster, 2)
    assert other in names(cluster)
    process = cluster.inject(lambda _: {pod.name: pod.process for pod in cluster._deployment.pods})[other]
    os.kill(process.pid, 9)

    def restarted() -> bool:
        return bool(core.read_namespaced_pod(other, "demo").status.container_statuses[0].restart_count == 1)

    cluster.wait_until(restarted, what="the process was started again")
    settled(cluster, 2)


def test_a_new_template_rolls_out(cluster: ProcessCluster, api: Any) -> None:
    apps = kubernetes.client.AppsV1Api(api)
    before = names(cluster)
    quota = {"requests": {"cpu": "400m"}, "limits": {"cpu": "400m"}}
    body = {"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": quota}]}}}}
    apps.patch_namespaced_deployment("web", "demo", body)
    cluster.wait_until(lambda: not names(cluster) & before, what="the old pods have gone")
    settled(cluster, 2)
    container = cluster.pods()[0]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "400m", "memory": "512Mi"}
    assert container["image"] == "podgym-demo:process"


def test_nothing_is_left_afterwards(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, replicas=1, prometheus=False) as cluster:
        cluster.wait_until(lambda: cluster.ready_count() == 1)
        (process,) = cluster.inject(lambda _: [pod.process for pod in cluster._deployment.pods])
    assert process.poll() is not None
    assert not cluster._thread.is_alive()


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("2", 2.0), ("512Mi", 2.0**29), ("1Gi", 2.0**30), (None, None)]
)
def test_quantities(text: str | None, value: float | None) -> None:
    assert quantity(text) == value


def test_patches_merge_as_kubernetes_does() -> None:
    old = {"a": {"b": 1, "c": 2}, "list": [{"name": "x", "v": 1, "w": 2}, {"name": "y"}], "plain": [1, 2]}
    change = {"a": {"b": None}, "list": [{"name": "x", "v": 3}], "plain": [3]}
    assert merged(old, change) == {
        "a": {"c": 2}, "list": [{"name": "x", "v": 3, "w": 2}, {"name": "y"}], "plain": [3],
    }  # fmt: skip
    assert merged(old, change, by_name=False)["list"] == [{"name": "x", "v": 3}]
    assert old["a"] == {"b": 1, "c": 2}

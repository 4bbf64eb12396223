"""Whole runs against a real API server: the command line, a kill, the Roles and manifests that ship.

See ``test_real_cluster``; the load is that of a monitoring which stands still.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kubernetes")
pytest.importorskip("prometheus_api_client")
pytest.importorskip("prometheus_client")

from cluster.bed import OTHER, Bed, namespace_of_our_own, wait_until
from oracles.prometheus_servers import HEALTHY, NAMED_QUERIES, Asked, FakePrometheus, Reply, vector

from podgym.envs.cluster import ServiceDecision

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

MANIFESTS = Path(__file__).parents[2] / "deploy" / "manifests"
BEGUN_S = 120.0
"""Longest time until a run acts: it may have to compile the simulator's kernels."""


def steady(name: str) -> Callable[[Asked], Reply]:
    """What the monitoring says now: the same as ever, just sampled."""

    def reply(asked: Asked) -> Reply:
        if asked.path.endswith("query_range"):
            return vector([])
        now_s = time.time()
        series = HEALTHY.get(name, [])
        if name.endswith("sample_time_s"):
            series = [(labels, now_s) for labels, _ in series]
        return vector(series, now_s)

    return reply


@pytest.fixture
def monitoring() -> Iterator[FakePrometheus]:
    fake = FakePrometheus()
    fake.replies = {promql: steady(name) for name, promql in NAMED_QUERIES.items()}
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture
def settings_file(testbed: Bed, monitoring: FakePrometheus, tmp_path: Path) -> Path:
    metrics = {"url": monitoring.url, "history_s": 0.0, "queries": dict(NAMED_QUERIES)}
    path = tmp_path / "cluster.yml"
    path.write_text(yaml.safe_dump(testbed.content(metrics=metrics)), encoding="utf-8")
    return path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "podgym", *arguments]


def podgym(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=200)


def scaling(settings_file: Path, folder: Path, *more: str) -> list[str]:
    """The command line of a run that wants four pods."""
    return command(
        "evaluate", "--cluster", str(settings_file), "--controller", "static:replicas=4",
        "--output", str(folder / "live"), *more,
    )  # fmt: skip


def test_a_run_that_was_killed_is_undone_by_restore(
    testbed: Bed, settings_file: Path, tmp_path: Path
) -> None:
    before = testbed.read().spec
    run = subprocess.Popen(
        scaling(settings_file, tmp_path, "--episode-minutes", "5"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: testbed.replicas() == 4, "it scales", BEGUN_S)
    finally:
        run.kill()
        run.wait()
    assert "podgym.dev/before" in testbed.annotations()
    second = subprocess.run(
        scaling(settings_file, tmp_path, "--episode-minutes", "1"),
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert second.returncode == 2, second.stderr
    assert "podgym restore" in second.stderr
    restored = podgym("restore", "--cluster", str(settings_file))
    assert restored.returncode == 0, restored.stderr
    assert testbed.read().spec == before
    assert testbed.annotations() == {}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_gives_the_target_back(
    testbed: Bed, settings_file: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before = testbed.read().spec
    run = subprocess.Popen(
        scaling(settings_file, tmp_path, "--episode-minutes", "5"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: testbed.replicas() == 4, "it scales", BEGUN_S)
        run.send_signal(number)
        _, stderr = run.communicate(timeout=240)
    finally:
        run.kill()
    assert run.returncode == status, stderr
    assert testbed.read().spec == before
    assert testbed.annotations() == {}


def test_a_whole_episode_is_recorded(testbed: Bed, settings_file: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        scaling(settings_file, tmp_path, "--episode-minutes", "0.2"),
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    folder = tmp_path / "live" / "static-seed0"
    lines = (folder / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12  # intervals of one second
    assert (folder / "live.parquet").is_file()
    assert testbed.replicas() == 2
    written = "".join(
        path.read_text(encoding="utf-8", errors="replace") for path in (tmp_path / "live").rglob("*.json*")
    )
    token = (testbed.client.Configuration.get_default_copy().api_key or {}).get("authorization")
    assert token is None or token.split()[-1] not in written


@pytest.mark.source_tree
def test_the_roles_that_ship_are_enough(testbed: Bed, tmp_path: Path) -> None:
    """They are compared with what the code says it needs elsewhere; here a real authoriser judges both."""
    kubeconfig = testbed.kubeconfig_of(testbed.token_of("podgym"), tmp_path)
    access = testbed.client.RbacAuthorizationV1Api()
    for content in yaml.safe_load_all((MANIFESTS / "base" / "podgym-rbac.yaml").read_text(encoding="utf-8")):
        content["metadata"]["namespace"] = testbed.namespace
        for subject in content.get("subjects", ()):
            subject["namespace"] = testbed.namespace
        if content["kind"] == "Role":
            access.create_namespaced_role(testbed.namespace, content)
        elif content["kind"] == "RoleBinding":
            access.create_namespaced_role_binding(testbed.namespace, content)
    changes: dict[str, Any] = {"kubeconfig": kubeconfig, "emit_events": True, "resize": "template"}
    wait_until(
        lambda: testbed.api(**changes).permissions([testbed.namespace]) == (), "the roles are in force"
    )
    env = testbed.env(**changes)
    env.reset(seed=0)
    env.step_decisions([ServiceDecision(replicas=3, cpu_request_cores=OTHER.cpu_request_cores)])
    assert testbed.replicas() == 3, env.problems
    assert env.problems == ()
    env.close()
    assert testbed.replicas() == 2
    reasons = {event.reason for event in testbed.core.list_namespaced_event(testbed.namespace).items}
    assert "Scaled" in reasons


@pytest.mark.source_tree
def test_the_server_accepts_the_manifests(testbed: Bed, client: Any, namespace: str) -> None:
    """All of the demonstration, as a dry run; its pods in a namespace that admits restricted ones alone."""
    if not testbed.serves("autoscaling", "v2"):
        pytest.skip("the manifests are for Kubernetes 1.23 and later")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with namespace_of_our_own(client, f"{namespace}-restricted", labels) as name:
        core, custom = client.CoreV1Api(), client.CustomObjectsApi()
        core.create_namespaced_service_account(name, {"metadata": {"name": "web"}})
        for content in _manifests(name):
            group, _, version = content["apiVersion"].rpartition("/")
            if content["kind"] == "Service":
                content["spec"] |= {"type": "ClusterIP", "ports": [{"name": "http", "port": 80}]}
                core.create_namespaced_service(name, content, dry_run="All")
            elif group:
                plural = _plural(content["kind"])
                custom.create_namespaced_custom_object(group, version, name, plural, content, dry_run="All")
            if content["kind"] == "Deployment" and content["metadata"]["name"] == "web":
                template = content["spec"]["template"]
                pod = {"metadata": {"name": "web", **template["metadata"]}, "spec": template["spec"]}
                core.create_namespaced_pod(name, pod, dry_run="All")


def _manifests(namespace: str) -> Iterator[dict[str, Any]]:
    """What is in a namespace: everything but namespaces, rules of the whole cluster and accounts."""
    for file in (
        "base/demo.yaml",
        "base/network-policies.yaml",
        "base/podgym-rbac.yaml",
        "with-hpa/hpa.yaml",
    ):
        for content in yaml.safe_load_all((MANIFESTS / file).read_text(encoding="utf-8")):
            if content["kind"].startswith("Cluster") or content["kind"] in ("Namespace", "ServiceAccount"):
                continue
            content["metadata"]["namespace"] = namespace
            yield content


def _plural(kind: str) -> str:
    return {"NetworkPolicy": "networkpolicies"}.get(kind, f"{kind.lower()}s")

"""The manifests, without a cluster: valid, pinned, restricted, with no right too many and none too few."""

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from podgym.envs.kubernetes.kinds import needed_access
from podgym.envs.kubernetes.settings import KubernetesSettings, read_settings
from podgym.envs.simulator.parameters import ServiceConfig

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = DEPLOY / "manifests"
Object = dict[str, Any]


def files_of(overlay: str) -> list[Object]:
    """What kustomize makes of an overlay, but for generated names and patches: all files that it names."""
    content = yaml.safe_load((MANIFESTS / overlay / "kustomization.yaml").read_text())
    found: list[Object] = []
    for name in content["resources"]:
        path = MANIFESTS / overlay / name
        if path.is_dir():
            found += files_of(path.name)
        else:
            found += [each for each in yaml.safe_load_all(path.read_text()) if each is not None]
    return found


def rendered(overlay: str) -> list[Object]:
    if shutil.which("kubectl") is None:
        return files_of(overlay)
    result = subprocess.run(
        ["kubectl", "kustomize", str(MANIFESTS / overlay)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """The larger of the two; it holds all of the other."""
    return rendered("with-hpa")


def named(objects: list[Object], kind: str, name: str) -> Object:
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}"
    return found[0]


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for each in objects:
        if each["kind"] == "Deployment":
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def test_they_are_what_kubernetes_takes(objects: list[Object]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for each in objects:
        kubernetes_validate.validate(each, "1.36", strict=True)


def test_images_are_pinned(objects: list[Object]) -> None:
    for _, template in pod_templates(objects):
        for container in template["containers"]:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", container["image"])


def test_base_image_and_packages_of_the_demo_are_pinned() -> None:
    dockerfile = (DEPLOY / "demo" / "Dockerfile").read_text()
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    assert re.search(r"^USER 65534:65534$", dockerfile, re.MULTILINE)
    lines = (DEPLOY / "demo" / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert len(packages) == 2
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", package) for package in packages)
    copied = re.search(r"^COPY (.+) \./$", dockerfile, re.MULTILINE)
    assert copied is not None
    assert set(copied[1].split()) == {path.name for path in (DEPLOY / "demo").glob("*.py")}


def test_pods_run_with_nothing_they_do_not_need(objects: list[Object]) -> None:
    for name, template in pod_templates(objects):
        assert template["securityContext"]["runAsNonRoot"] is True
        assert template["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert template["automountServiceAccountToken"] is (
            name == "prometheus"
        )  # it asks for pods and nodes
        for container in template["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) == {"requests", "limits"}
            assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_namespaces_refuse_anything_else(objects: list[Object]) -> None:
    namespaces = [each for each in objects if each["kind"] == "Namespace"]
    assert {each["metadata"]["name"] for each in namespaces} == {"demo", "monitoring", "podgym"}
    for each in namespaces:
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    used = {each["metadata"].get("namespace") for each in objects} - {None}
    assert used == {"demo", "monitoring", "podgym"}


def test_every_namespace_denies_all_traffic_first(objects: list[Object]) -> None:
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    denied = {each["metadata"]["namespace"] for each in policies if each["metadata"]["name"] == "deny-all"}
    assert denied == {"demo", "monitoring", "podgym"}
    for each in policies:
        if each["metadata"]["name"] == "deny-all":
            spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
            assert each["spec"] == spec
        else:  # what is allowed names its ports
            rules = each["spec"].get("ingress", []) + each["spec"].get("egress", [])
            assert all(rule.get("ports") for rule in rules)


def test_the_demo_has_the_quota_of_the_simulated_service(objects: list[Object]) -> None:
    container = named(objects, "Deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    quota = ServiceConfig().quota
    resources = container["resources"]
    assert resources["requests"]["cpu"] == f"{quota.cpu_request_cores * 1000:g}m"
    assert resources["limits"]["cpu"] == f"{quota.cpu_limit_cores * 1000:g}m"
    assert resources["requests"]["memory"] == f"{quota.memory_request_bytes / 2**20:g}Mi"
    assert resources["limits"]["memory"] == f"{quota.memory_limit_bytes / 2**20:g}Mi"


# RBAC.


def grants(objects: list[Object], *names: str) -> set[tuple[str, str, str, str]]:
    """(verb, group, resource, namespace) that Roles grant."""
    found = set()
    for each in objects:
        if each["kind"] == "Role" and each["metadata"]["name"] in names:
            for rule in each["rules"]:
                for verb in rule["verbs"]:
                    for group in rule["apiGroups"]:
                        for resource in rule["resources"]:
                            found.add((verb, group, resource, each["metadata"]["namespace"]))
    return found


def needed(settings: KubernetesSettings) -> set[tuple[str, str, str, str]]:
    found = set()
    for namespace in {each.namespace for each in settings.services.values()}:
        for access in needed_access(settings, namespace, lambda kind: True):
            found.add((access.verb, access.group, access.resource, namespace))
    return found


@pytest.fixture(scope="module")
def settings() -> KubernetesSettings:
    return read_settings(DEPLOY / "podgym.yml")


def test_no_role_has_a_wildcard_a_secret_or_an_escalation(objects: list[Object]) -> None:
    roles = [each for each in objects if each["kind"] in ("Role", "ClusterRole")]
    assert len(roles) >= 5
    for role in roles:
        for rule in role["rules"]:
            words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert "*" not in words
            assert not {"secrets", "pods/exec", "pods/attach", "serviceaccounts/token"} & set(words)
            assert not {"escalate", "bind", "impersonate", "delete", "deletecollection"} & set(words)


def test_cluster_wide_nothing_can_be_written(objects: list[Object]) -> None:
    verbs = {
        verb
        for role in objects
        if role["kind"] == "ClusterRole"
        for rule in role["rules"]
        for verb in rule["verbs"]
    }
    assert verbs <= {"get", "list", "watch"}


def test_every_binding_names_a_role_and_an_account_that_exist(objects: list[Object]) -> None:
    accounts = {
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in objects
        if each["kind"] == "ServiceAccount"
    }
    for each in objects:
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            named(objects, each["roleRef"]["kind"], each["roleRef"]["name"])
            for subject in each["subjects"]:
                assert (subject["namespace"], subject["name"]) in accounts


def test_shadow_mode_needs_the_watching_role_alone(
    objects: list[Object], settings: KubernetesSettings
) -> None:
    shadow = dataclasses.replace(settings, mode="shadow")
    from_server = dataclasses.replace(
        shadow, metrics=dataclasses.replace(settings.metrics, source="metrics-server")
    )
    assert needed(shadow) | needed(from_server) == grants(objects, "podgym-watch")


def test_acting_needs_both_roles_and_no_right_is_too_many(
    objects: list[Object], settings: KubernetesSettings
) -> None:
    from_server = dataclasses.replace(
        settings, metrics=dataclasses.replace(settings.metrics, source="metrics-server")
    )
    assert settings.mode == "act"
    assert settings.emit_events
    assert needed(settings) | needed(from_server) == grants(objects, "podgym-watch", "podgym-act")


def test_taking_over_the_hpa_needs_its_role_too(objects: list[Object], settings: KubernetesSettings) -> None:
    taking_over = dataclasses.replace(settings, take_over=True)
    missing = needed(taking_over) - grants(objects, "podgym-watch", "podgym-act", "podgym-take-over")
    # The testbed has neither KEDA nor the VPA.
    assert {group for _, group, _, _ in missing} == {"keda.sh", "autoscaling.k8s.io"}
    assert grants(objects, "podgym-take-over") <= needed(taking_over)


def test_the_hpa_scales_the_demo_within_the_bounds_of_the_settings(
    objects: list[Object], settings: KubernetesSettings
) -> None:
    spec = named(objects, "HorizontalPodAutoscaler", "web")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    target = settings.services["web"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (target.min_replicas, target.max_replicas)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl kustomize")
def test_without_an_hpa_there_are_three_replicas_and_with_one_an_apply_leaves_them(
    objects: list[Object],
) -> None:
    base = rendered("base")
    assert named(base, "Deployment", "web")["spec"]["replicas"] == 3
    assert "replicas" not in named(objects, "Deployment", "web")["spec"]
    assert not [each for each in base if each["kind"] == "HorizontalPodAutoscaler"]


# Names and numbers that several files share.


def test_node_ports_settings_and_kind_agree(objects: list[Object], settings: KubernetesSettings) -> None:
    kind = yaml.safe_load((DEPLOY / "kind" / "kind.yaml").read_text())
    roles = [node["role"] for node in kind["nodes"]]
    assert roles == ["control-plane"] + ["worker"] * 4
    images = {node["image"] for node in kind["nodes"]}
    assert len(images) == 1
    assert re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", images.pop())
    ports = {each["containerPort"]: each for each in kind["nodes"][0]["extraPortMappings"]}
    assert all(each["listenAddress"] == "127.0.0.1" for each in ports.values())
    web = named(objects, "Service", "web")["spec"]["ports"][0]
    prometheus = named(objects, "Service", "prometheus")["spec"]["ports"][0]
    assert ports[web["nodePort"]]["hostPort"] == 8080
    assert settings.metrics.url == f"http://localhost:{ports[prometheus['nodePort']]['hostPort']}"


def test_the_window_holds_four_values_of_cadvisor(settings: KubernetesSettings) -> None:
    slowest_s = 15.0  # cAdvisor renews the CPU of a container every 10 to 15 s
    assert settings.metrics.window_s >= 4.0 * slowest_s
    assert settings.metrics.max_age_s >= settings.metrics.window_s + slowest_s


def test_settings_name_the_deployment_and_its_image_is_the_one_that_is_built(
    objects: list[Object], settings: KubernetesSettings
) -> None:
    assert set(settings.services) == {"web"}
    web = named(objects, "Deployment", "web")
    assert web["metadata"]["namespace"] == settings.services["web"].namespace
    script = (DEPLOY / "kind" / "testbed.sh").read_text()
    image = web["spec"]["template"]["spec"]["containers"][0]["image"]
    assert f"image={image}\n" in script
    assert settings.context is not None
    assert f"current-context: {settings.context}\n" in script

"""A namespace of their own for tests against a real API server, and what they find there."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes import KubernetesEnv, KubernetesSettings, parse_settings
from podgym.envs.kubernetes.api import KubernetesApi
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.errors import ConflictError
from podgym.envs.kubernetes.readings import DeploymentState, PodUsage, ServiceReading, WatchedService

T = TypeVar("T")

MIB = 2**20
RESOURCES = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
FOUND = Quota(0.1, 0.2, 64.0 * MIB, 128.0 * MIB)
"""What ``RESOURCES`` say."""
OTHER = Quota(0.15, 0.3, 96.0 * MIB, 192.0 * MIB)
_LABELS = {"app": "web"}
_DEPLOYMENT = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": _LABELS},
        "template": {
            "metadata": {"labels": _LABELS},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {"name": "main", "image": "registry.k8s.io/pause:3.10", "resources": RESOURCES},
                ],
            },
        },
    },
}


@dataclass
class Bed:
    """A namespace of our own with a Deployment ``web`` of two pods."""

    namespace: str
    client: Any
    """Module ``kubernetes.client``, configured."""

    def content(self, **changes: Any) -> dict[str, Any]:
        """Settings as a file would hold them: control intervals of one second, no windows."""
        return {
            "environment": "podgym/FamilyBurst-v0",
            "services": {"web": {"namespace": self.namespace, "max_replicas": 5}},
            "metrics": {"url": "http://nowhere.invalid", "history_s": 0.0},
            "safety": {"down_window_s": 0.0, "rate_period_s": 1.0},
            "changes": {"cluster": {"control_interval_s": 1.0}},
            **changes,
        }

    def settings(self, **changes: Any) -> KubernetesSettings:
        return parse_settings(self.content(**changes))

    def api(self, **changes: Any) -> KubernetesApi:
        settings = self.settings(**changes)
        return KubernetesApi(connect(settings), settings)

    def env(self, **changes: Any) -> KubernetesEnv:
        """The environment, with a monitoring that always sees the same load."""
        return KubernetesEnv(self.settings(**changes), metrics=SteadyMetrics(), episode_s=60.0)

    def serves(self, group: str, version: str) -> bool:
        """Return whether the server knows a version of a group."""
        groups = self.client.ApisApi().get_api_versions().groups
        return any(
            each.version == version for found in groups if found.name == group for each in found.versions
        )

    @property
    def apps(self) -> Any:
        return self.client.AppsV1Api()

    @property
    def core(self) -> Any:
        return self.client.CoreV1Api()

    def create(self) -> None:
        """Make the Deployment, and wait until the controllers that there may be have seen it."""
        self.apps.create_namespaced_deployment(self.namespace, _DEPLOYMENT)
        self.settle()

    def delete(self) -> None:
        self.apps.delete_namespaced_deployment("web", self.namespace, propagation_policy="Background")
        wait_until(lambda: not self.exists(), "the Deployment is gone")

    def exists(self) -> bool:
        items = self.apps.list_namespaced_deployment(self.namespace).items
        return any(each.metadata.name == "web" for each in items)

    def settle(self) -> None:
        """Wait until nothing has changed the Deployment for a second, half a minute at most."""
        end_s, quiet_since_s, last = time.monotonic() + 30.0, time.monotonic(), ""
        while time.monotonic() < end_s and time.monotonic() < quiet_since_s + 1.0:
            version = self.read().metadata.resource_version
            if version != last:
                quiet_since_s, last = time.monotonic(), version
            time.sleep(0.2)

    def read(self) -> Any:
        return self.apps.read_namespaced_deployment("web", self.namespace)

    def replicas(self) -> int:
        return int(self.apps.read_namespaced_deployment_scale("web", self.namespace).spec.replicas)

    def annotations(self) -> dict[str, str]:
        """Of the Deployment, without those of Kubernetes' controllers."""
        found = dict(self.read().metadata.annotations or {})
        return {
            name: text for name, text in found.items() if not name.startswith("deployment.kubernetes.io/")
        }

    def token_of(self, account: str) -> str:
        """Make a ServiceAccount and return a token of it."""
        self.core.create_namespaced_service_account(self.namespace, {"metadata": {"name": account}})
        answer = self.core.create_namespaced_service_account_token(
            account, self.namespace, {"spec": {"expirationSeconds": 600}}
        )
        return str(answer.status.token)

    def kubeconfig_of(self, token: str, folder: Path) -> str:
        """Write a kubeconfig of the same server for someone with this token."""
        own = self.client.Configuration.get_default_copy()
        cluster: dict[str, Any] = {"server": own.host}
        if own.ssl_ca_cert:
            cluster["certificate-authority"] = str(own.ssl_ca_cert)
        if not own.verify_ssl:
            cluster["insecure-skip-tls-verify"] = True
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "token",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "token", "user": {"token": token}}],
            "contexts": [{"name": "token", "context": {"cluster": "here", "user": "token"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        path.chmod(0o600)
        return str(path)


@contextmanager
def namespace_of_our_own(client: Any, name: str, labels: dict[str, str] | None = None) -> Iterator[str]:
    """Make a namespace, and delete it."""
    core = client.CoreV1Api()
    core.create_namespace(
        {"metadata": {"name": name, "labels": {"podgym.dev/test": "true", **(labels or {})}}}
    )
    try:
        yield name
    finally:
        core.delete_namespace(name)


def wait_until(condition: Callable[[], Any], what: str, limit_s: float = 60.0) -> None:
    """Poll until a condition holds."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {limit_s:g} s"
        time.sleep(0.2)


def without_conflict(api: KubernetesApi, bed: Bed, write: Callable[[DeploymentState], T]) -> T:
    """Write to the Deployment as it is now; a controller that changes its status meanwhile is no rival."""
    for _ in range(20):
        try:
            return write(api.deployment(bed.namespace, "web"))
        except ConflictError:
            time.sleep(0.1)
    raise AssertionError("the Deployment changes all the time")


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

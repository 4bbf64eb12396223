"""An API server over HTTP for tests: kmock's emulator, made stricter where a real kube-apiserver is.

    with KmockServer(tmp_path) as server:
        server.add_deployment("web", replicas=2)
        connect(KubernetesSettings(kubeconfig=str(server.kubeconfig), ...))

What is added to the emulator: resourceVersion on every object, and 409 for a stale one; generation; the
``scale``, ``resize`` and ``eviction`` subresources; strategic merge of containers; 415 for a patch type that
the resource does not take; ``dryRun=All``; label selectors; paged lists; access reviews; a bearer token; and
faults, which are decided before anything is stored.

``server.objects`` is kmock's store: ``server.objects["apps/v1/deployments", "demo", "web"]``.
"""

import asyncio
import collections
import copy
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kmock
import yaml

from oracles.server_rules import (
    CONTAINER,
    DEPLOYMENTS,
    NAMESPACE,
    PODS,
    REPLICA_SETS,
    STARTED,
    merged,
)
from oracles.strict_emulator import Call, Fault, StrictEmulator

__all__ = ["CONTAINER", "DEPLOYMENTS", "NAMESPACE", "PODS", "KmockServer"]


class KmockServer:
    """The emulator on a free port of the loopback, in a thread of its own; a context manager.

    Args:
        folder: where the kubeconfig is written.
        token: what requests must carry; None: nobody is asked.
    """

    def __init__(self, folder: Path, *, token: str | None = None) -> None:
        self.app = StrictEmulator()
        self.app.token = token
        self.objects = self.app.objects
        self.calls = self.app.calls
        self.url = ""
        self.kubeconfig = Path(folder) / "kubeconfig.yml"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kmock", daemon=True)
        self._numbers: collections.Counter[str] = collections.Counter()

    def __enter__(self) -> "KmockServer":
        self._thread.start()
        self._started.wait(10.0)
        if self._failure is not None or not self.url:
            raise RuntimeError("the API server for tests did not start") from self._failure
        self.write_kubeconfig(token=self.app.token)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.app.over.set)
        self._thread.join(10.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.app.over = asyncio.Event()
        async with self.app, kmock.Server(self.app, user_agent="") as server:
            self.url = str(server.url).rstrip("/")
            self._started.set()
            await self.app.over.wait()

    def write_kubeconfig(
        self, *, token: str | None = None, user: Mapping[str, Any] | None = None, contexts: Sequence[str] = ()
    ) -> Path:
        """Write the kubeconfig with the contexts ``kmock`` (the current one) and ``contexts``."""
        names = ("kmock", *contexts)
        if user is None:
            user = {} if token is None else {"token": token}
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "kmock",
            "clusters": [{"name": "kmock", "cluster": {"server": self.url}}],
            "users": [{"name": "tester", "user": dict(user)}],
            "contexts": [
                {"name": name, "context": {"cluster": "kmock", "user": "tester", "namespace": NAMESPACE}}
                for name in names
            ],
        }  # fmt: skip
        self.kubeconfig.write_text(yaml.safe_dump(content), encoding="utf-8")
        return self.kubeconfig

    # Faults.

    def fail(self, method: str, path: str, status: int = 500, **fault: Any) -> Fault:
        """Let the next ``times`` requests (default 1) to a path go wrong; see ``Fault``."""
        made = Fault(method.upper(), re.compile(path), status=status, **fault)
        self.app.faults.append(made)
        return made

    def heal(self) -> None:
        """Take all faults back."""
        self.app.faults.clear()

    def lines(self, *methods: str) -> list[str]:
        """Return the requests so far as text, ``PATCH /apis/...``; only of these methods, if any is given."""
        return [call.line for call in self.calls if not methods or call.method in methods]

    @property
    def writes(self) -> list[Call]:
        """The requests that would change something; an access review does not."""
        return [
            call for call in self.calls
            if call.method != "GET" and not call.path.endswith("/selfsubjectaccessreviews")
        ]  # fmt: skip

    # What is in the cluster.

    def put(self, resource: str, namespace: str | None, name: str, content: Mapping[str, Any]) -> None:
        """Store an object, or change one as someone else would: with a new resourceVersion."""
        key = (kmock.resource(resource), namespace, name)
        new = copy.deepcopy(dict(content))
        new["metadata"] = {"name": name, **(new.get("metadata") or {})}
        if namespace is not None:
            new["metadata"].setdefault("namespace", namespace)
        exists = key in self.objects and not self.objects[key].deleted
        former = dict(self.objects[key].raw) if exists else None
        for name_of in ("uid", "creationTimestamp", "generation", "resourceVersion"):
            if former is not None and name_of in former["metadata"]:
                new["metadata"].setdefault(name_of, former["metadata"][name_of])
        self.app.store(key, new, former)

    def get(self, resource: str, namespace: str | None, name: str) -> dict[str, Any]:
        """Return a copy of an object as it is now."""
        return copy.deepcopy(dict(self.objects[resource, namespace, name].raw))

    def deployment(self, name: str = "web", namespace: str = NAMESPACE) -> dict[str, Any]:
        """Return a copy of a Deployment as it is now."""
        return self.get(DEPLOYMENTS, namespace, name)

    def pods(self, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
        """Return the pods of a namespace as they are now."""
        return [
            copy.deepcopy(dict(each.raw)) for (resource, space, _), each in self.objects.items()
            if (resource, space) == (kmock.resource(PODS), namespace) and not each.deleted
        ]  # fmt: skip

    def change(self, resource: str, namespace: str | None, name: str, patch: Mapping[str, Any]) -> None:
        """Change an object as someone else would, by a strategic merge."""
        self.put(
            resource, namespace, name, merged(self.get(resource, namespace, name), patch, strategic=True)
        )

    def add_deployment(
        self,
        name: str = "web",
        namespace: str = NAMESPACE,
        *,
        replicas: int = 2,
        containers: Sequence[Mapping[str, Any]] = (CONTAINER,),
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Add a Deployment with its ReplicaSet and ready pods."""
        labels = dict(labels or {"app": name})
        template = {"metadata": {"labels": labels}, "spec": {"containers": list(containers)}}
        content = {
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"annotations": dict(annotations or {}), "labels": labels},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
            "status": {},
        }  # fmt: skip
        self.put(DEPLOYMENTS, namespace, name, content)
        self.settle(name, namespace)

    def settle(self, name: str = "web", namespace: str = NAMESPACE) -> None:
        """Do what controllers and kubelet do: as many ready pods as ``spec.replicas``, and the status."""
        found = self.deployment(name, namespace)
        self._add_replica_set(found)
        owned = [each for each in self.pods(namespace) if each["metadata"]["labels"].get("owner") == name]
        wanted = found["spec"]["replicas"]
        for pod in owned[wanted:]:
            self.objects[PODS, namespace, pod["metadata"]["name"]].delete()
        for _ in range(wanted - len(owned)):
            self.add_pod(name, namespace)
        found["status"] = {
            "replicas": wanted, "readyReplicas": wanted, "updatedReplicas": wanted,
            "availableReplicas": wanted, "observedGeneration": found["metadata"]["generation"],
        }  # fmt: skip
        self.put(DEPLOYMENTS, namespace, name, found)

    def _add_replica_set(self, deployment: Mapping[str, Any]) -> None:
        metadata = deployment["metadata"]
        name, namespace = f"{metadata['name']}-5d89bdfbf9", metadata["namespace"]
        key = (kmock.resource(REPLICA_SETS), namespace, name)
        if key not in self.objects:
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"],
                     "uid": metadata["uid"], "controller": True}  # fmt: skip
            content = {
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"labels": metadata["labels"], "ownerReferences": [owner]},
                "spec": {"replicas": deployment["spec"]["replicas"]},
            }  # fmt: skip
            self.put(REPLICA_SETS, namespace, name, content)

    def add_pod(self, deployment: str = "web", namespace: str = NAMESPACE, **status: Any) -> str:
        """Add one pod to a Deployment, ready unless ``status`` says otherwise; return its name."""
        found = self.deployment(deployment, namespace)
        self._numbers[deployment] += 1
        owner = f"{deployment}-5d89bdfbf9"
        name = f"{owner}-{self._numbers[deployment]:05d}"
        spec = copy.deepcopy(found["spec"]["template"]["spec"])
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "controller": True,
                     "uid": self.get(REPLICA_SETS, namespace, owner)["metadata"]["uid"]}  # fmt: skip
        content = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "labels": {**found["spec"]["selector"]["matchLabels"], "owner": deployment},
                "ownerReferences": [reference],
            },
            "spec": {**spec, "nodeName": "node-1"},
            "status": {
                "phase": "Running", "startTime": STARTED,
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": STARTED}],
                "containerStatuses": [
                    {"name": each["name"], "ready": True, "restartCount": 0} for each in spec["containers"]
                ],
                **status,
            },
        }  # fmt: skip
        self.put(PODS, namespace, name, content)
        return name

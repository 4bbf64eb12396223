"""The controllers of the local cluster: a Deployment becomes ReplicaSets and Pods, and its status is told."""

import hashlib
import json
import math
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from deploy.process_api_server import ApiServer, now_text
from deploy.process_pods import PodOptions, ProcessPod

HASH_LABEL = "pod-template-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # of the random parts of names in Kubernetes


@dataclass(slots=True)
class ProcessDeployment:
    """Keeps as many processes as a Deployment wants. Belongs to the thread of the API server."""

    server: ApiServer
    namespace: str
    name: str
    options: PodOptions
    folder: Path
    pods: list[ProcessPod] = field(default_factory=list)
    """Oldest first, the terminating ones included."""

    @property
    def alive(self) -> list[ProcessPod]:
        """Pods that are not terminating."""
        return [pod for pod in self.pods if not pod.terminating]

    @property
    def ready(self) -> list[ProcessPod]:
        """Pods that get traffic."""
        return [pod for pod in self.alive if pod.ready]

    async def reconcile(self, session: aiohttp.ClientSession) -> None:
        """Do once what Deployment controller and kubelet do all the time."""
        deployment = self.server.objects.get(("deployments", self.namespace, self.name))
        if deployment is None:
            for pod in self.alive:
                self._delete(pod)
        else:
            self._scale(deployment)
        self.pods = [pod for pod in self.pods if not await pod.tend(session)]
        if deployment is not None:
            self._tell()

    def stop(self) -> None:
        """Kill all processes."""
        for pod in self.pods:
            pod.stop()

    def _scale(self, deployment: dict[str, Any]) -> None:
        wanted = deployment["spec"]["replicas"]
        template = deployment["spec"]["template"]
        revision = _template_hash(template)
        new = [pod for pod in self.alive if f"-{revision}-" in pod.name]
        old = [pod for pod in self.alive if pod not in new]
        # A rolling update with Kubernetes' defaults: a quarter more, rounded up, or less, rounded down.
        room = wanted + (math.ceil(wanted / 4) if old else 0) - len(new) - len(old)
        for _ in range(min(wanted - len(new), room)):
            self._create(deployment, revision)
        spare = len(self.ready) - (wanted - math.floor(wanted / 4))
        for pod in sorted(old, key=lambda each: each.ready):
            if not pod.ready or spare > 0:
                spare -= pod.ready
                self._delete(pod)
        surplus = len(new) - wanted
        newest_first = sorted(reversed(new), key=lambda each: each.ready)
        for pod in newest_first[: max(surplus, 0)]:
            self._delete(pod)

    def _create(self, deployment: dict[str, Any], revision: str) -> None:
        template = deployment["spec"]["template"]
        owner = self._replica_set(deployment, revision)
        name = f"{self.name}-{revision}-{''.join(secrets.choice(_ALPHABET) for _ in range(5))}"
        labels = {**template["metadata"]["labels"], HASH_LABEL: revision}
        pod = {
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": labels,
                "ownerReferences": [_reference(owner)],
            },
            "spec": json.loads(json.dumps({**template["spec"], "nodeName": "process-node"})),
            "status": {"phase": "Pending"},
        }
        self.server.store("pods", pod)
        self.pods.append(ProcessPod(self.server, self.namespace, name, self.options, self.folder))

    def _replica_set(self, deployment: dict[str, Any], revision: str) -> dict[str, Any]:
        name = f"{self.name}-{revision}"
        found = self.server.objects.get(("replicasets", self.namespace, name))
        if found is not None:
            return found
        template = deployment["spec"]["template"]
        return self.server.store(
            "replicasets",
            {
                "metadata": {
                    "name": name,
                    "namespace": self.namespace,
                    "labels": {**template["metadata"]["labels"], HASH_LABEL: revision},
                    "ownerReferences": [_reference(deployment)],
                },
                "spec": {"selector": deployment["spec"]["selector"], "template": template},
            },
        )

    def _delete(self, pod: ProcessPod) -> None:
        self.server.terminate("pods", self.namespace, pod.name)

    def _tell(self) -> None:
        deployment = self.server.named("deployments", self.namespace, self.name)
        ready = len(self.ready)
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self.alive),
            "updatedReplicas": len(self.alive),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        if deployment != self.server.objects["deployments", self.namespace, self.name]:
            self.server.store("deployments", deployment)


def _template_hash(template: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def _reference(owner: dict[str, Any]) -> dict[str, Any]:
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }


def deployment_object(
    namespace: str, name: str, *, replicas: int, cpu_cores: float, memory_mib: int
) -> dict[str, Any]:
    """Return a Deployment of the demo service whose pods have one quota, requests = limits."""
    quota = {"cpu": f"{round(cpu_cores * 1000)}m", "memory": f"{memory_mib}Mi"}
    labels = {"app": name}
    container = {
        "name": name,
        "image": "podgym-demo:process",
        "resources": {"requests": dict(quota), "limits": dict(quota)},
    }
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "creationTimestamp": now_text()},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def node_object() -> dict[str, Any]:
    """Return the one node, which is this machine."""
    capacity = {"cpu": str(os.cpu_count()), "memory": "16Gi", "pods": "110"}
    return {
        "metadata": {"name": "process-node"},
        "status": {"capacity": capacity, "allocatable": capacity},
    }

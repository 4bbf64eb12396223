"""What a real kube-apiserver does with objects, as pure functions, and names; see ``strict_emulator``."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

NAMESPACE = "demo"
DEPLOYMENTS = "apps/v1/deployments"
REPLICA_SETS = "apps/v1/replicasets"
PODS = "v1/pods"
NODES = "v1/nodes"
EVENTS = "v1/events"
HPAS = "autoscaling/v2/horizontalpodautoscalers"
SCALED_OBJECTS = "keda.sh/v1alpha1/scaledobjects"
VPAS = "autoscaling.k8s.io/v1/verticalpodautoscalers"
POD_METRICS = "metrics.k8s.io/v1beta1/pods"

STARTED = "2030-01-01T00:00:00Z"
CONTAINER = {
    "name": "app",
    "image": "web:1",
    "resources": {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    },
}
_MERGED_BY_NAME = ("containers", "initContainers", "env", "volumes")


class AnswerError(Exception):
    """A Status object with its HTTP status."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


def shown(found: dict[str, Any], request: Any) -> dict[str, Any]:
    if request.subresource != "scale":
        return found
    metadata = found["metadata"]
    labels = found["spec"]["selector"]["matchLabels"]
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        },
        "spec": {"replicas": found["spec"]["replicas"]},
        "status": {
            "replicas": found.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }  # fmt: skip


def selected(item: Mapping[str, Any], selector: str) -> bool:
    labels = item.get("metadata", {}).get("labels") or {}
    for part in re.split(r",(?![^(]*\))", selector):
        part = part.strip()
        if " in " in part or " notin " in part:
            key, verb, values = re.fullmatch(r"(\S+) (in|notin) \((.*)\)", part).groups()
            if (labels.get(key) in [value.strip() for value in values.split(",")]) != (verb == "in"):
                return False
        elif "!=" in part:
            key, value = part.split("!=")
            if labels.get(key) == value:
                return False
        elif "=" in part:
            key, value = part.split("=")
            if labels.get(key) != value:
                return False
        elif part and (part.lstrip("!") in labels) == part.startswith("!"):
            return False
    return True


def merged(base: Any, patch: Any, *, strategic: bool, key: str = "") -> Any:
    if isinstance(patch, Mapping):
        result = dict(base) if isinstance(base, Mapping) else {}
        for name, value in patch.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = merged(result.get(name), value, strategic=strategic, key=name)
        return result
    if strategic and key in _MERGED_BY_NAME and isinstance(patch, Sequence):
        result = [dict(each) for each in base or []]
        for each in patch:
            index = next((i for i, item in enumerate(result) if item["name"] == each["name"]), None)
            if index is None:
                result.append(dict(each))
            else:
                result[index] = merged(result[index], each, strategic=True)
        return result
    return copy.deepcopy(patch)


def check_containers(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Validate as the server does: a container has an image; empty maps of resources are left out."""
    if old.get("kind") not in ("Deployment", "Pod"):
        return
    spec = new["spec"]["template"]["spec"] if old["kind"] == "Deployment" else new["spec"]
    for container in spec["containers"]:
        if "image" not in container:
            raise AnswerError(422, f"containers[{container['name']}].image: Required value", "Invalid")
        resources = container.get("resources") or {}
        for kind in ("requests", "limits"):
            values = resources.get(kind) or {}
            if not all(isinstance(value, str) for value in values.values()):
                raise AnswerError(422, "resources: quantities must be text", "Invalid")
            if not values:
                resources.pop(kind, None)


def resized(pod: dict[str, Any]) -> None:
    """Do what the kubelet does after a resize: show the new resources as those in force."""
    for container in pod["spec"]["containers"]:
        for status in pod.get("status", {}).get("containerStatuses", ()):
            if status["name"] == container["name"]:
                status["resources"] = copy.deepcopy(container.get("resources") or {})

"""An API server in this process, on kmock: what controllers need of Kubernetes, kept in memory.

kmock's own emulator keeps objects too, but it applies a change even when a fault was injected for it, never
rejects a stale ``resourceVersion``, ignores selectors and knows no subresources. This one keeps to what a
real server does there, and faults are injected the same way, in kmock's language:

    server["patch /apis/apps/v1/namespaces/demo/deployments/web/scale"] ** 10 << 409
    server.forget_faults()
"""

import copy
import datetime
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from kmock import KubernetesError, KubernetesScaffold

Object = dict[str, Any]
Key = tuple[str, str | None, str]
"""Plural of the kind, namespace, name."""

KINDS = {
    ("", "namespaces"): "Namespace",
    ("", "nodes"): "Node",
    ("", "pods"): "Pod",
    ("", "events"): "Event",
    ("apps", "deployments"): "Deployment",
    ("apps", "replicasets"): "ReplicaSet",
    ("autoscaling", "horizontalpodautoscalers"): "HorizontalPodAutoscaler",
}
VERSIONS = {"": "v1", "apps": "apps/v1", "autoscaling": "autoscaling/v2"}
SUBRESOURCES = {"pods": ["resize", "eviction", "status"], "deployments": ["scale", "status"]}
STATUS_REASONS = {404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict", 422: "Invalid"}


def now_text() -> str:
    """Return the time as the API writes it: whole seconds."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def failure(status: int, message: str) -> KubernetesError:
    """Build the error that the server answers with."""
    return KubernetesError(status, STATUS_REASONS[status], message, {})


@attrs.define(kw_only=True)
class ApiServer(KubernetesScaffold):
    """The handler; to be served with ``kmock.Server``. All methods belong to its event loop's thread."""

    objects: dict[Key, Object] = attrs.field(factory=dict, init=False)
    revision: int = attrs.field(default=0, init=False)
    _faultless: list[Any] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for (group, plural), kind in KINDS.items():
            self.resources[f"{VERSIONS[group]}/{plural}"] = {
                "kind": kind,
                "namespaced": plural not in ("nodes", "namespaces"),
                "singular": kind.lower(),
                "verbs": ["create", "delete", "get", "list", "patch", "update"],
                "shortnames": [],
                "categories": [],
                "subresources": SUBRESOURCES.get(plural, []),
            }
        self.fallback["get", re.compile(r"/(api/v1|apis/[^/]+/[^/]+)/")] << self._serve_version
        for method in ("get", "post", "put", "patch", "delete"):
            # Not the addresses that end with the version: those are discovery.
            self.fallback[method, re.compile(r"/(api/v1|apis/[^/]+/[^/]+)/.+")] << self._serve
        self._faultless = list(self._payloads)

    def forget_faults(self) -> None:
        """Answer truly again, whatever was injected."""
        self._payloads[:] = self._faultless

    # What the kubelet and tests do without HTTP.

    def store(self, plural: str, content: Object) -> Object:
        """Store an object, new or changed; the server fills in what servers fill in."""
        meta = content["metadata"]
        key = (plural, meta.get("namespace"), meta["name"])
        before = self.objects.get(key)
        group = next(each for each, name in KINDS if name == plural)
        content = {"apiVersion": VERSIONS[group], "kind": KINDS[group, plural], **content}
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", now_text())
        meta.setdefault("generation", 1)
        if before is not None and before.get("spec") != content.get("spec"):
            meta["generation"] = before["metadata"]["generation"] + 1
        if content != before:
            self.revision += 1
            meta["resourceVersion"] = str(self.revision)
        self.objects[key] = content
        return content

    def named(self, plural: str, namespace: str | None, name: str) -> Object:
        """Return a copy of one object.

        Raises:
            KubernetesError: there is none (404).
        """
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise failure(404, f'{plural} "{name}" not found')
        return copy.deepcopy(found)

    def listed(self, plural: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """Return copies of the objects of a kind whose labels match, in the order of their creation."""
        return [
            copy.deepcopy(each)
            for (kind, space, _), each in self.objects.items()
            if kind == plural and namespace in (None, space) and _matches(each, selector)
        ]

    def remove(self, plural: str, namespace: str | None, name: str) -> None:
        """Forget an object at once."""
        self.objects.pop((plural, namespace, name), None)

    def terminate(self, plural: str, namespace: str | None, name: str) -> Object:
        """Delete an object; a pod stays until its kubelet has ended it."""
        found = self.named(plural, namespace, name)
        if plural != "pods":
            self.remove(plural, namespace, name)
            return found
        found["metadata"].setdefault("deletionTimestamp", now_text())
        return self.store(plural, found)

    # HTTP.

    async def _serve(self, request: Any) -> Any:
        plural, method = request.resource.plural, request.method.value
        if plural == "selfsubjectaccessreviews":
            return {**request.data, "status": {"allowed": True}}
        if (request.resource.group, plural) not in KINDS:
            raise failure(404, "the server could not find the requested resource")
        if request.name is None:
            return self._serve_collection(request, plural, method)
        if request.subresource not in (None, *SUBRESOURCES.get(plural, [])):
            raise failure(404, "the server could not find the requested resource")
        before = self.named(plural, request.namespace, request.name)
        if method == "GET":
            return _scale(before) if request.subresource == "scale" else before
        dry = request.params.get("dryRun") == "All"
        if method == "DELETE" or request.subresource == "eviction":
            return before if dry else self.terminate(plural, request.namespace, request.name)
        if method not in ("PATCH", "PUT"):
            raise failure(405, "method not allowed")
        after = self._changed(request, before, method)
        if not dry:
            after = copy.deepcopy(self.store(plural, after))
        return _scale(after) if request.subresource == "scale" else after

    def _serve_collection(self, request: Any, plural: str, method: str) -> Object:
        if method == "GET":
            items = self.listed(plural, request.namespace, request.params.get("labelSelector", ""))
            kind = KINDS[request.resource.group, plural]
            return {
                "kind": f"{kind}List",
                "apiVersion": VERSIONS[request.resource.group],
                "metadata": {"resourceVersion": str(self.revision)},
                "items": items,
            }
        if method != "POST":
            raise failure(405, "method not allowed")
        content = copy.deepcopy(request.data)
        meta = content["metadata"]
        if meta.get("name") is None:
            meta["name"] = f"{meta.get('generateName', '')}{uuid.uuid4().hex[:5]}"
        if request.namespace is not None:
            meta["namespace"] = request.namespace
        if (plural, meta.get("namespace"), meta["name"]) in self.objects:
            raise failure(409, f'{plural} "{meta["name"]}" already exists')
        return content if request.params.get("dryRun") == "All" else self.store(plural, content)

    def _changed(self, request: Any, before: Object, method: str) -> Object:
        body = json.loads(request.body)
        if isinstance(body, list):
            body = _from_json_patch(body)
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in (None, "", before["metadata"]["resourceVersion"]):
            raise failure(409, f'the object "{request.name}" has been modified; read it again')
        if request.subresource == "scale":
            replicas = body.get("spec", {}).get("replicas")
            if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
                raise failure(422, f"spec.replicas is {replicas!r}")
            return merged(before, {"spec": {"replicas": replicas}})
        if method == "PUT":
            return {**body, "metadata": {**before["metadata"], **body["metadata"]}}
        by_name = "strategic" in request.headers.get("Content-Type", "")
        after = merged(before, body, by_name=by_name)
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation"):
            after["metadata"][field] = before["metadata"][field]
        return after


def merged(old: Any, change: Any, *, by_name: bool = True) -> Any:
    """Return ``old`` with a patch applied: null removes, and lists of named things merge by their name."""
    if isinstance(change, Mapping):
        result = dict(old) if isinstance(old, Mapping) else {}
        for key, value in change.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merged(result.get(key), value, by_name=by_name)
        return result
    if by_name and _named_list(change) and _named_list(old):
        result = {each["name"]: each for each in old}
        for each in change:
            result[each["name"]] = merged(result.get(each["name"]), each)
        return list(result.values())
    return copy.deepcopy(change)


def _named_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) and "name" in each for each in value)


def _from_json_patch(operations: list[Object]) -> Object:
    """Return a merge patch for a JSON patch that sets or removes fields of mappings."""
    result: Object = {}
    for operation in operations:
        *path, last = (
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].strip("/").split("/")
        )
        place = result
        for part in path:
            place = place.setdefault(part, {})
        place[last] = None if operation["op"] == "remove" else operation["value"]
    return result


def _scale(deployment: Object) -> Object:
    meta = deployment["metadata"]
    labels = deployment["spec"]["selector"]["matchLabels"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        },
        "spec": {"replicas": deployment["spec"]["replicas"]},
        "status": {
            "replicas": deployment.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
        },
    }


def _matches(content: Object, selector: str) -> bool:
    labels = content["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in _terms(selector))


def _terms(selector: str) -> Iterator[tuple[str, str]]:
    for term in filter(None, selector.split(",")):
        key, _, value = term.partition("=")
        yield key, value.removeprefix("=")

"""kmock's emulator of an API server, made stricter where a real kube-apiserver is; see ``kmock_server``."""

import asyncio
import copy
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp.web
import jsonpatch
import kmock

from oracles.server_rules import (
    DEPLOYMENTS,
    EVENTS,
    HPAS,
    NODES,
    POD_METRICS,
    PODS,
    REPLICA_SETS,
    STARTED,
    AnswerError,
    check_containers,
    merged,
    resized,
    selected,
    shown,
)

RESOURCES: dict[str, Any] = {
    name: kmock.ResourceInfo(
        kind=kind, namespaced=name != NODES, subresources=set(subresources), verbs={"get", "list", "patch"}
    )
    for name, kind, subresources in (
        (DEPLOYMENTS, "Deployment", ("status", "scale")),
        (REPLICA_SETS, "ReplicaSet", ("status", "scale")),
        (PODS, "Pod", ("status", "eviction", "resize", "log")),
        (NODES, "Node", ("status",)),
        (EVENTS, "Event", ()),
        (HPAS, "HorizontalPodAutoscaler", ("status",)),
        (POD_METRICS, "PodMetrics", ()),
    )
}
"""What the server serves; KEDA's and VPA's resources only once an object of theirs is put."""

_BUILT_IN_GROUPS = ("", "apps", "autoscaling", "policy", "batch", "events.k8s.io")


@dataclass
class Fault:
    """What goes wrong with the requests that match, ``times`` times."""

    method: str
    path: re.Pattern[str]
    times: int = 1
    status: int = 500
    body: bytes | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Pause before the answer."""
    kind: str = "answer"
    """``answer``; ``hang``: none ever comes; ``reset``: the connection is cut; ``cut``: half a body only;
    ``drip``: a byte of the body now and then."""
    before: Callable[[], None] | None = None
    """What someone else does meanwhile."""


@dataclass(frozen=True)
class Call:
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    time_s: float

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


class StrictEmulator(kmock.KubernetesEmulator):
    """kmock's emulator with the rules of a real server; runs in the thread of ``KmockServer``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.token: str | None = None
        self.denied: set[tuple[str, str]] = set()
        self.page: int | None = None
        self.version = 100
        self.over: asyncio.Event | None = None
        self.resources.update(copy.deepcopy(RESOURCES))

    async def __call__(self, raw_request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        # The client asks for /apis/, which a real server takes as /apis.
        raw_request = raw_request.clone(
            rel_url=str(raw_request.rel_url).replace("/?", "?").rstrip("/") or "/"
        )
        body = await raw_request.json() if await raw_request.read() else None
        call = Call(
            raw_request.method, raw_request.path, dict(raw_request.query), dict(raw_request.headers), body,
            time.monotonic(),
        )  # fmt: skip
        self.calls.append(call)
        fault = self._next_fault(call)
        if fault is not None:
            if fault.before is not None:
                fault.before()
            response = await self._fail(fault, raw_request)
            if response is not None:
                return response
        if self.token is not None and call.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(AnswerError(401, "Unauthorized", "Unauthorized"))
        return await super().__call__(raw_request)

    def _next_fault(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method in ("*", call.method) and fault.path.search(call.path):
                fault.times -= 1
                return fault
        return None

    async def _fail(
        self, fault: Fault, request: aiohttp.web.BaseRequest
    ) -> aiohttp.web.StreamResponse | None:
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.kind == "hang":
            await self.over.wait()
        if fault.kind in ("reset", "hang"):
            if request.transport is not None:
                request.transport.close()
            return aiohttp.web.Response()
        if fault.kind in ("cut", "drip"):
            return await self._slow(fault, request)
        if fault.kind == "pass":
            return None
        if isinstance(fault.body, bytes):
            return aiohttp.web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        if fault.body is not None:
            return aiohttp.web.json_response(fault.body, status=fault.status, headers=fault.headers)
        response = _status(AnswerError(fault.status, "injected fault"))
        response.headers.update(fault.headers)
        return response

    async def _slow(self, fault: Fault, request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        if fault.kind == "cut":
            await response.write(b'{"kind": ')
            request.transport.close()
            return response
        for _ in range(1000):
            try:
                await response.write(b" ")
                await asyncio.wait_for(self.over.wait(), 0.05)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        return response

    async def _handle(self, request: Any) -> aiohttp.web.StreamResponse:
        try:
            answer = self._answer(request)
        except AnswerError as error:
            return _status(error)
        if answer is None:
            return await super()._handle(request)
        status, content = answer
        return aiohttp.web.json_response(content, status=status)

    # The rest runs without awaiting: one request at a time.

    def _answer(self, request: Any) -> tuple[int, Any] | None:
        method, resource = request.method.value, request.resource
        if resource is None or resource.plural is None or request.params.get("watch") in ("true", "1"):
            return None
        if resource.plural == "selfsubjectaccessreviews":
            return 201, self._review(request.data)
        if request.subresource is not None and not self._served(resource, request.subresource):
            raise AnswerError(404, "the server could not find the requested resource", "NotFound")
        if method == "POST" and request.subresource == "eviction":
            return self._evict(request)
        if method == "GET" and request.name is None:
            return self._list(request)
        if method == "GET":
            return 200, shown(self._found(request), request)
        if method in ("PATCH", "PUT"):
            return 200, self._change(request)
        if method == "POST":
            return self._create(request)
        return None

    def _served(self, resource: Any, subresource: str) -> bool:
        return resource in self.resources and subresource in self.resources[resource].subresources

    def _found(self, request: Any) -> dict[str, Any]:
        key = (request.resource, request.namespace, request.name)
        if key not in self.objects or self.objects[key].deleted:
            plural = request.resource.plural
            raise AnswerError(404, f'{plural} "{request.name}" not found', "NotFound")
        return copy.deepcopy(dict(self.objects[key].raw))

    def _review(self, review: Mapping[str, Any]) -> dict[str, Any]:
        asked = review["spec"]["resourceAttributes"]
        resource = "/".join(part for part in (asked["resource"], asked.get("subresource")) if part)
        return {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": review["spec"], "status": {"allowed": (asked["verb"], resource) not in self.denied},
        }  # fmt: skip

    def _evict(self, request: Any) -> tuple[int, Any]:
        self._found(request)
        if request.data.get("kind") != "Eviction" or request.data["metadata"]["name"] != request.name:
            raise AnswerError(400, "name in URL does not match name in Eviction object", "BadRequest")
        dry = request.params.get("dryRun") or (request.data.get("deleteOptions") or {}).get("dryRun")
        if not dry:
            self.objects[request.resource, request.namespace, request.name].delete()
        return 201, {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}

    def _list(self, request: Any) -> tuple[int, Any] | None:
        if request.resource not in self._get_resources():
            raise AnswerError(404, "the server could not find the requested resource", "NotFound")
        items = [
            dict(each.raw)
            for (resource, namespace, _), each in self.objects.items()
            if resource == request.resource and not each.deleted
            and request.namespace in (None, namespace)
            and selected(each.raw, request.params.get("labelSelector", ""))
        ]  # fmt: skip
        limit = int(request.params.get("limit", 0)) or len(items) or 1
        limit = min(limit, self.page or limit)
        first = int(request.params.get("continue") or 0)
        metadata: dict[str, Any] = {"resourceVersion": str(self.version)}
        if first + limit < len(items):
            metadata |= {"continue": str(first + limit), "remainingItemCount": len(items) - first - limit}
        return 200, {"kind": "List", "metadata": metadata, "items": items[first : first + limit]}

    def _create(self, request: Any) -> tuple[int, Any]:
        made = copy.deepcopy(request.data)
        metadata = made.setdefault("metadata", {})
        if request.namespace is not None and metadata.setdefault("namespace", request.namespace) != (
            request.namespace
        ):
            raise AnswerError(400, "the namespace of the object does not match the request", "BadRequest")
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{self.version:05x}"
        key = (request.resource, request.namespace, metadata["name"])
        if key in self.objects and not self.objects[key].deleted:
            raise AnswerError(409, f'"{metadata["name"]}" already exists', "AlreadyExists")
        if "dryRun" not in request.params:
            self.store(key, made)
        return 201, made

    def _change(self, request: Any) -> dict[str, Any]:
        old = self._found(request)
        body = request.data
        scale = request.subresource == "scale"
        wanted = ((body.get("metadata") or {}) if isinstance(body, dict) else {}).get("resourceVersion")
        if wanted is not None and wanted != old["metadata"]["resourceVersion"]:
            raise AnswerError(
                409,
                "the object has been modified; please apply your changes to the latest version",
                "Conflict",
            )
        uid = ((body.get("metadata") or {}) if isinstance(body, dict) else {}).get("uid")
        if uid is not None and not scale and uid != old["metadata"]["uid"]:
            raise AnswerError(422, f'metadata.uid: Invalid value: "{uid}": field is immutable', "Invalid")
        if scale and request.method.value == "PUT" and body["metadata"].get("name") != request.name:
            raise AnswerError(400, "the name of the object does not match the name on the URL", "BadRequest")
        base = shown(old, request)
        changed = body if request.method.value == "PUT" else self._patched(base, request)
        if scale:
            replicas = changed["spec"].get("replicas", 0)
            if type(replicas) is not int or replicas < 0:
                raise AnswerError(422, "spec.replicas: Invalid value", "Invalid")
            new = {**old, "spec": {**old["spec"], "replicas": replicas}}
        else:
            new = changed
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            check_containers(old, new)
        if request.subresource == "resize":
            resized(new)
        key = (request.resource, request.namespace, request.name)
        if "dryRun" in request.params:
            return shown(new, request)
        return shown(self.store(key, new, old), request)

    def _patched(self, base: dict[str, Any], request: Any) -> dict[str, Any]:
        kind = request.headers.get("Content-Type", "").partition(";")[0]
        if kind == "application/json-patch+json":
            try:
                return dict(jsonpatch.apply_patch(base, request.data))
            except jsonpatch.JsonPatchException as error:
                raise AnswerError(422, str(error), "Invalid") from error
        if kind == "application/merge-patch+json":
            return merged(base, request.data, strategic=False)
        if kind == "application/strategic-merge-patch+json" and request.resource.group in _BUILT_IN_GROUPS:
            return merged(base, request.data, strategic=True)
        raise AnswerError(415, f"the body of the request was in an unknown format: {kind}")

    def store(
        self, key: tuple[Any, str | None, str], new: dict[str, Any], old: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Keep an object, with a new resourceVersion if it differs, and a new generation if its spec does."""
        if old is not None and new == old:
            return new
        self.version += 1
        metadata = new["metadata"] = dict(new.get("metadata") or {})
        metadata.setdefault("uid", f"uid-{self.version}")
        metadata.setdefault("creationTimestamp", STARTED)
        metadata["resourceVersion"] = str(self.version)
        if old is None or new.get("spec") != old.get("spec"):
            metadata["generation"] = (metadata.get("generation") or 0) + 1
        if key in self.objects:
            self.objects[key].history.append(new)
        else:
            self.objects[key] = new
        return new


def _status(error: AnswerError) -> aiohttp.web.Response:
    content = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": error.message, "reason": error.reason, "code": error.status,
    }  # fmt: skip
    return aiohttp.web.json_response(content, status=error.status)

"""From the API server's JSON to plain data, and back to what a patch says. Pure functions.

They raise ``KeyError``, ``TypeError`` or ``ValueError`` for what is no such object; ``answers.parsed`` makes
one error of these.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.readings import NAN, DeploymentState, PodState, PodUsage
from podgym.errors import InputError, unknown_name

Json = Mapping[str, Any]

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?)")
_GO_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_DURATION = re.compile(r"([0-9.]+)(h|ms|us|µs|ns|m|s)")

_LONGEST_EVENT = 1024

QUOTA_FIELDS: Mapping[str, tuple[str, str]] = {
    "cpu_request_cores": ("requests", "cpu"),
    "cpu_limit_cores": ("limits", "cpu"),
    "memory_request_bytes": ("requests", "memory"),
    "memory_limit_bytes": ("limits", "memory"),
}
"""Where each field of a ``Quota`` is in ``resources``."""


@dataclass(frozen=True, slots=True)
class ScaleState:
    """The ``scale`` subresource of a Deployment."""

    replicas: int
    """``spec.replicas``."""
    resource_version: str
    """That of the Deployment itself, which the subresource shares."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node, and what pods may have of it."""

    name: str
    cpu_cores: float
    """Allocatable cores."""
    memory_bytes: float
    """Allocatable bytes."""
    schedulable: bool = True
    """False: the node is cordoned."""


def quantity(text: object) -> float:
    """Return a quantity of Kubernetes as a number: ``500m`` is 0.5, ``1Ki`` is 1024; nan for None.

    Raises:
        ValueError: it is no quantity.
    """
    if text is None:
        return NAN
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None:
        raise ValueError("not a quantity")
    number, suffix = found.groups()
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise ValueError("not a quantity") from None
    return float(value * _BINARY[suffix]) if suffix in _BINARY else float(value.scaleb(_DECIMAL[suffix]))


def cpu_text(cores: float) -> str:
    """Return cores as the API takes them: whole millicores, rounded up, as no finer ones are allowed."""
    millicores = int((Decimal(repr(float(cores))) * 1000).to_integral_value(ROUND_CEILING))
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def memory_text(size_bytes: float) -> str:
    """Return bytes as the API takes them, rounded up, with the largest suffix that keeps the number whole."""
    whole = math.ceil(size_bytes)
    for suffix, unit in reversed(_BINARY.items()):
        if whole and whole % unit == 0:
            return f"{whole // unit}{suffix}"
    return str(whole)


def quota_of(resources: Json | None) -> Quota:
    """Return ``resources`` of a container; nan where nothing is set."""
    return Quota(
        **{
            name: quantity(((resources or {}).get(kind) or {}).get(resource))
            for name, (kind, resource) in QUOTA_FIELDS.items()
        }
    )


def resources_of(quota: Quota, *, keep_unset: bool) -> dict[str, dict[str, str | None]]:
    """Return the patch of ``resources`` that sets a quota.

    Args:
        quota: what is wanted.
        keep_unset: whether nan leaves a value as it is; otherwise it removes it.
    """
    patch: dict[str, dict[str, str | None]] = {}
    for name, (kind, resource) in QUOTA_FIELDS.items():
        value = float(getattr(quota, name))
        if not math.isnan(value):
            text = cpu_text(value) if resource == "cpu" else memory_text(value)
            patch.setdefault(kind, {})[resource] = text
        elif not keep_unset:
            patch.setdefault(kind, {})[resource] = None
    return patch


def same_quota(left: Quota, right: Quota) -> bool:
    """Return whether two quotas ask for the same; nan equals nan."""
    return resources_of(left, keep_unset=False) == resources_of(right, keep_unset=False)


def time_s(text: str | None) -> float | None:
    """Return an RFC 3339 time as seconds since the Unix epoch; None for None."""
    if not text:
        return None
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()


def duration_s(text: str) -> float:
    """Return a duration as Go writes it: ``1m0.5s`` is 60.5."""
    parts = _GO_DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ValueError("not a duration")
    return float(sum(float(number) * _GO_UNITS_S[unit] for number, unit in parts))


def selector_text(selector: Json) -> str:
    """Return ``spec.selector`` as a label selector of a list: ``app=web,tier in (a,b)``.

    Raises:
        ValueError: it is empty: it would select every pod of the namespace.
    """
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        key, operator = each["key"], each["operator"]
        values = ",".join(each.get("values") or ())
        texts = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(texts[operator])
    if not parts:
        raise ValueError("empty selector")
    return ",".join(parts)


def selects(selector: Json, labels: Json) -> bool:
    """Return whether ``spec.selector`` of a Deployment takes pods with these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or ():
        value, values = labels.get(each["key"]), each.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[each["operator"]]:
            return False
    return True


def deployment_state(content: Json) -> DeploymentState:
    """Return a Deployment as plain data."""
    metadata, spec, status = content["metadata"], content["spec"], content.get("status") or {}
    return DeploymentState(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=int(metadata.get("generation") or 0),
        # The server sets 1 where nothing is said.
        replicas=int(spec.get("replicas", 1)),
        replicas_present=int(status.get("replicas") or 0),
        replicas_ready=int(status.get("readyReplicas") or 0),
        selector=selector_text(spec["selector"]),
        match_labels=dict(spec["selector"].get("matchLabels") or {}),
        quotas={
            each["name"]: quota_of(each.get("resources")) for each in spec["template"]["spec"]["containers"]
        },
        annotations=dict(metadata.get("annotations") or {}),
        paused=bool(spec.get("paused", False)),
    )


def scale_state(content: Json) -> ScaleState:
    """Return the ``scale`` subresource as plain data; zero replicas are left out by the server."""
    return ScaleState(int(content["spec"].get("replicas", 0)), str(content["metadata"]["resourceVersion"]))


def container_name(deployment: DeploymentState, wanted: str | None) -> str:
    """Return the container whose quota is scaled: the one named, or the only one.

    Raises:
        InputError: no such container, or several and none named.
    """
    names = list(deployment.quotas)
    where = f"Deployment {deployment.name} in namespace {deployment.namespace}"
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise InputError(f"{where} has the containers {', '.join(names)}; name one: container: {names[0]}.")
    if wanted not in names:
        raise InputError(f"{where}: {unknown_name('container', wanted, names)}")
    return wanted


def belongs_to(pod: Json, deployment: DeploymentState) -> bool:
    """Return whether a pod that the selector takes is one of the Deployment's.

    The controller names a ReplicaSet after the Deployment and the hash of the template, so no ReplicaSet has
    to be asked for. A pod without any controller counts: the ReplicaSet will adopt it.
    """
    owners = [each for each in pod["metadata"].get("ownerReferences") or () if each.get("controller")]
    if not owners:
        return True
    template_hash = (pod["metadata"].get("labels") or {}).get("pod-template-hash")
    last = "[a-z0-9]+" if template_hash is None else re.escape(template_hash)
    expected = f"{re.escape(deployment.name)}-{last}"
    return any(
        each["kind"] == "ReplicaSet" and re.fullmatch(expected, each["name"]) is not None for each in owners
    )


def pod_state(content: Json, container: str) -> PodState:
    """Return a pod as plain data.

    Args:
        content: the pod.
        container: whose quota and restarts are meant.
    """
    metadata, status = content["metadata"], content.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    own = _named(status.get("containerStatuses") or (), container)
    ready = conditions.get("Ready", {})
    created_s = time_s(metadata.get("creationTimestamp"))
    killed: Json = next(
        (
            ended
            for ended in ((own.get(key) or {}).get("terminated") for key in ("state", "lastState"))
            if ended and ended.get("reason") == "OOMKilled"
        ),
        {},
    )
    killed_s, began_s = time_s(killed.get("finishedAt")), time_s(killed.get("startedAt"))
    scheduled = conditions.get("PodScheduled", {})
    return PodState(
        name=metadata["name"],
        phase=str(status.get("phase") or "Unknown"),
        ready=ready.get("status") == "True",
        start_time_s=time_s(status.get("startTime")),
        ready_transition_time_s=_first_number(time_s(ready.get("lastTransitionTime")), created_s),
        deleted=bool(metadata.get("deletionTimestamp")),
        quota=_quota_in_force(content, own, container),
        restarts=int(own.get("restartCount") or 0),
        oom_killed_s=killed_s,
        oom_ran_s=killed_s - began_s if killed_s is not None and began_s is not None else None,
        unschedulable=scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable",
        quota_asked=quota_of(_named(content["spec"]["containers"], container).get("resources")),
    )


def _quota_in_force(pod: Json, status: Json, container: str) -> Quota:
    """Return the resources that the kubelet applies, where it shows them; else those asked for."""
    spec = _named(pod["spec"]["containers"], container)
    if not spec:
        raise KeyError(container)
    return quota_of(status.get("resources") or spec.get("resources"))


def _named(items: Sequence[Json], name: str) -> Json:
    return next((each for each in items if each["name"] == name), {})


def _first_number(*values: float | None) -> float:
    return next((value for value in values if value is not None), NAN)


def node_state(content: Json) -> NodeState:
    """Return a node as plain data."""
    allocatable = content["status"]["allocatable"]
    return NodeState(
        content["metadata"]["name"],
        quantity(allocatable["cpu"]),
        quantity(allocatable["memory"]),
        not (content.get("spec") or {}).get("unschedulable", False),
    )


def pod_usage(content: Json, container: str) -> PodUsage | None:
    """Return what metrics-server says of a pod; None: nothing of this container yet."""
    own = _named(content.get("containers") or (), container)
    when_s = time_s(content.get("timestamp"))
    if not own or when_s is None:
        return None
    usage = own["usage"]
    return PodUsage(
        quantity(usage.get("cpu")), quantity(usage.get("memory")), when_s, duration_s(content["window"])
    )


def event_of(deployment: DeploymentState, reason: str, message: str, now_s: float, component: str) -> Json:
    """Return a core Event on a Deployment, with a name of its own so that sending it twice makes one."""
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{deployment.name}.{int(now_s * 1e9):x}", "namespace": deployment.namespace},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": deployment.name,
            "namespace": deployment.namespace,
            "uid": deployment.uid,
            "resourceVersion": deployment.resource_version,
        },
        "type": "Normal",
        "reason": reason,
        "message": message[:_LONGEST_EVENT],
        "count": 1,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "source": {"component": component},
    }

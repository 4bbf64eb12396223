"""Who else manages a Deployment, how it is stopped for a run, and how it is given back.

An HPA is stopped by ``behavior.*.selectPolicy: Disabled`` and still enforces its own minimum and maximum; a
ScaledObject by KEDA's annotation ``paused``; a VPA by ``updateMode: "Off"``, with which it only recommends.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from podgym.envs.kubernetes.api import JSON_PATCH, MERGE_PATCH
from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.kubernetes.kinds import DEPLOYMENT, HPA, SCALED_OBJECT, VPA, Kind
from podgym.envs.kubernetes.objects import Json, selects
from podgym.envs.kubernetes.readings import DeploymentState
from podgym.errors import InputError

PAUSED = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
_NOT_PAUSED = ("0", "f", "F", "false", "FALSE", "False")  # in Go; KEDA takes anything else for a pause
_KINDS = {kind.name: kind for kind in (HPA, SCALED_OBJECT, VPA)}
_DIRECTIONS = ("scaleUp", "scaleDown")


class OwnerApi(Protocol):
    """What is needed of ``KubernetesApi``."""

    def list_objects(self, kind: Kind, namespace: str) -> tuple[Json, ...]:
        """Return every object of a kind in a namespace; none where the kind is not served."""
        ...

    def find_object(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return one object; None: there is none."""
        ...

    def patch_object(
        self, kind: Kind, namespace: str, name: str, body: Json | list[Json], content_type: str = MERGE_PATCH
    ) -> None:
        """Patch an object."""
        ...


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was stopped, and what has to be put back. It holds nothing secret."""

    kind: str
    namespace: str
    name: str
    former: str
    """JSON of the former ``spec.behavior``, annotation or ``spec.updatePolicy``; ``null``: there was none."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Something that manages a Deployment beside us."""

    kind: str
    """``HorizontalPodAutoscaler``, ``ScaledObject``, ``VerticalPodAutoscaler``; ``Deployment``: another one
    whose selector takes the same pods, which cannot be stopped."""
    namespace: str
    name: str
    target: str
    """Deployment that it manages."""
    former: str
    """See ``Stopped``."""
    min_replicas: int | None = None
    """Least replicas that it enforces even when stopped; None: none."""
    max_replicas: int | None = None
    """Most replicas that it enforces even when stopped; None: none."""

    def __str__(self) -> str:
        bounds = (
            "" if self.max_replicas is None else f" ({self.min_replicas} to {self.max_replicas} replicas)"
        )
        return f"{self.kind} {self.name}{bounds}"


def find_owners(api: OwnerApi, deployment: DeploymentState) -> tuple[Owner, ...]:
    """Return what manages a Deployment now; what is paused or only recommends does not.

    Raises:
        AccessDeniedError: they may not be listed, so nobody knows.
        InputError: the server serves HPAs in no version that is known here.
        MissingError: the same, of a server that hides what it serves.
    """
    namespace = deployment.namespace
    scaled = [
        Owner(SCALED_OBJECT.name, namespace, _name(each), deployment.name, _former_pause(each))
        for each in api.list_objects(SCALED_OBJECT, namespace)
        if _targets(each["spec"].get("scaleTargetRef"), deployment.name) and not _paused(each)
    ]
    keda_hpas = {(SCALED_OBJECT.name, owner.name) for owner in scaled}
    hpas = [
        _hpa_owner(each, deployment)
        for each in api.list_objects(HPA, namespace)
        if _targets(each["spec"].get("scaleTargetRef"), deployment.name)
        # KEDA makes an HPA for a ScaledObject, and would undo what is done to it.
        and not any((ref["kind"], ref["name"]) in keda_hpas for ref in _references(each))
    ]
    vpas = [
        Owner(VPA.name, namespace, _name(each), deployment.name, json.dumps(each["spec"].get("updatePolicy")))
        for each in api.list_objects(VPA, namespace)
        if _targets(each["spec"].get("targetRef"), deployment.name) and _update_mode(each) != "Off"
    ]
    return (*scaled, *hpas, *vpas, *_rivals(api.list_objects(DEPLOYMENT, namespace), deployment))


def refusal(deployment: DeploymentState, owners: Sequence[Owner]) -> str:
    """Return why a run does not act on a Deployment that others manage, and what to do."""
    where = f"Deployment {deployment.name} in namespace {deployment.namespace}"
    rivals = [owner.name for owner in owners if owner.kind == DEPLOYMENT.name]
    if rivals:
        return (
            f"{where}: its selector {deployment.selector!r} and that of Deployment {', '.join(rivals)} take "
            "the same pods, so neither can be counted; give their pods and selectors labels of their own."
        )
    return (
        f"{where} is already managed by {', '.join(map(str, owners))}, and two that scale one target fight. "
        "Say take_over: true to stop it for the run and give it back at the end, or only watch what it does: "
        "--controller cluster."
    )


def require_within(owners: Sequence[Owner], service: str, min_replicas: int, max_replicas: int) -> None:
    """Refuse what taking over would not help: bounds that a stopped HPA does not let pass, shared pods.

    Raises:
        InputError: which, and the remedy.
    """
    for owner in owners:
        _require_stoppable(owner)
        if owner.max_replicas is not None and max_replicas > owner.max_replicas:
            raise InputError(
                f"services.{service}: max_replicas {max_replicas} is above what {owner} enforces even when "
                "stopped; lower ours or raise its maxReplicas."
            )
        if owner.min_replicas is not None and min_replicas < owner.min_replicas:
            raise InputError(
                f"services.{service}: min_replicas {min_replicas} is below what {owner} enforces even when "
                "stopped; raise ours or lower its minReplicas."
            )


def stopped_state(owners: Sequence[Owner]) -> tuple[Stopped, ...]:
    """Return what has to be put back once the owners are stopped; it is to be saved before they are."""
    return tuple(
        Stopped(owner.kind, owner.namespace, owner.name, owner.former)
        for owner in owners
        if owner.kind in _KINDS
    )


def take_over(api: OwnerApi, owners: Sequence[Owner]) -> tuple[Stopped, ...]:
    """Stop the owners; if one cannot be stopped, those that were are given back.

    Save ``stopped_state(owners)`` first: a run killed between the two can then be undone.

    Raises:
        InputError: another Deployment is among them, which cannot be stopped; or the server did not keep the
            change that stops one.
    """
    for owner in owners:
        if owner.kind not in _KINDS:
            raise InputError(
                f"{owner} cannot be stopped: it takes the pods of Deployment {owner.target} too."
            )
    done: list[Stopped] = []
    try:
        for stopped in stopped_state(owners):
            # First, as a patch whose answer was lost may have been done.
            done.append(stopped)
            _stop(api, stopped)
    except (ClusterError, InputError) as error:
        _undo(api, done, error)
        raise
    return tuple(done)


def _stop(api: OwnerApi, stopped: Stopped) -> None:
    kind = _KINDS[stopped.kind]
    api.patch_object(kind, stopped.namespace, stopped.name, _STOPPING[stopped.kind], MERGE_PATCH)
    now = api.find_object(kind, stopped.namespace, stopped.name)
    if now is not None and not _STILL_STOPPED[stopped.kind](now):
        raise InputError(  # fields that a server does not know are dropped without an error
            f"{stopped.kind} {stopped.name} goes on: the API server accepted the change that stops it and "
            "did not keep it, as releases before 1.18 do and webhooks may; remove it for the run."
        )


def _require_stoppable(owner: Owner) -> None:
    if owner.kind not in _KINDS:
        raise InputError(
            f"{owner} cannot be stopped: it and {owner.target} take the same pods; give their pods and "
            "selectors labels of their own."
        )


def _undo(api: OwnerApi, done: Sequence[Stopped], error: Exception) -> None:
    try:
        hand_back(api, done)
    except ClusterError as second:
        error.add_note(f"nor could those already stopped be given back: {second}")


def hand_back(api: OwnerApi, stopped: Sequence[Stopped]) -> tuple[str, ...]:
    """Put back what was stopped; what is gone or was changed by someone since is left alone.

    It can be repeated. Every one is tried, even if one before it failed.

    Returns:
        What was done, in words.

    Raises:
        ClusterError: the first that failed.
    """
    words: list[str] = []
    failures: list[ClusterError] = []
    for each in stopped:
        try:
            words.append(_give_back(api, each))
        except ClusterError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return tuple(words)


def _give_back(api: OwnerApi, stopped: Stopped) -> str:
    what = f"{stopped.kind} {stopped.name}"
    kind = _KINDS[stopped.kind]
    now = api.find_object(kind, stopped.namespace, stopped.name)
    if now is None:
        return f"{what} is gone; nothing to give back"
    if not _STILL_STOPPED[stopped.kind](now):
        return f"{what} is not stopped; left as it is"
    former = json.loads(stopped.former)
    if kind is SCALED_OBJECT:
        body: Json | list[Json] = {"metadata": {"annotations": {PAUSED: former}}}
        api.patch_object(kind, stopped.namespace, stopped.name, body)
        return f"{what} given back"
    # A merge would keep what the server filled in beside our change, so the whole part is replaced.
    path = "/spec/behavior" if kind is HPA else "/spec/updatePolicy"
    test = {"op": "test", "path": "/metadata/uid", "value": now["metadata"]["uid"]}
    put = {"op": "remove", "path": path} if former is None else {"op": "add", "path": path, "value": former}
    api.patch_object(kind, stopped.namespace, stopped.name, [test, put], JSON_PATCH)
    return f"{what} given back"


def _name(item: Json) -> str:
    return str(item["metadata"]["name"])


def _references(item: Json) -> Sequence[Json]:
    return item["metadata"].get("ownerReferences") or ()


def _targets(reference: Json | None, deployment: str) -> bool:
    """Return whether a reference means the Deployment; KEDA's defaults are Deployment and apps/v1."""
    if not reference or reference.get("name") != deployment:
        return False
    group = str(reference.get("apiVersion") or "apps/v1").partition("/")[0]
    return (reference.get("kind") or "Deployment") == "Deployment" and group in ("apps", "extensions")


def _hpa_owner(item: Json, deployment: DeploymentState) -> Owner:
    spec = item["spec"]
    return Owner(
        HPA.name,
        deployment.namespace,
        _name(item),
        deployment.name,
        json.dumps(spec.get("behavior")),
        int(spec.get("minReplicas", 1)),
        int(spec["maxReplicas"]),
    )


def _disabled(item: Json) -> bool:
    behavior = item["spec"].get("behavior") or {}
    return all((behavior.get(each) or {}).get("selectPolicy") == "Disabled" for each in _DIRECTIONS)


def _annotations(item: Json) -> Json:
    return item["metadata"].get("annotations") or {}


def _paused(item: Json) -> bool:
    """Return whether KEDA leaves the target alone; ``paused-scale-in`` stops only one direction."""
    annotations = _annotations(item)
    return PAUSED_REPLICAS in annotations or annotations.get(PAUSED, "false") not in _NOT_PAUSED


def _former_pause(item: Json) -> str:
    return json.dumps(_annotations(item).get(PAUSED))


def _update_mode(item: Json) -> str:
    return str((item["spec"].get("updatePolicy") or {}).get("updateMode") or "Auto")


def _rivals(deployments: Sequence[Json], deployment: DeploymentState) -> list[Owner]:
    """Return other Deployments whose selector takes our pods, or ours theirs."""
    ours = next((each for each in deployments if _name(each) == deployment.name), None)
    if ours is None:
        return []
    return [
        Owner(DEPLOYMENT.name, deployment.namespace, _name(each), deployment.name, "null")
        for each in deployments
        if each is not ours and (_takes(each, ours) or _takes(ours, each))
    ]


def _takes(one: Json, other: Json) -> bool:
    labels = (other["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return selects(one["spec"]["selector"], labels)


_STOPPING: dict[str, Json] = {
    HPA.name: {"spec": {"behavior": {each: {"selectPolicy": "Disabled"} for each in _DIRECTIONS}}},
    SCALED_OBJECT.name: {"metadata": {"annotations": {PAUSED: "true"}}},
    VPA.name: {"spec": {"updatePolicy": {"updateMode": "Off"}}},
}
_STILL_STOPPED: dict[str, Callable[[Json], bool]] = {
    HPA.name: _disabled,
    SCALED_OBJECT.name: lambda item: _annotations(item).get(PAUSED) == "true",
    VPA.name: lambda item: _update_mode(item) == "Off",
}

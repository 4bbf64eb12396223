"""What a Deployment was like before a run, kept in an annotation on it until it is so again.

The annotation is the only record that survives a killed process, so it is written before anything else and
removed after everything else.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.answers import RefusedError
from podgym.envs.kubernetes.errors import ConflictError, OverruledError
from podgym.envs.kubernetes.kinds import VPA
from podgym.envs.kubernetes.objects import (
    QUOTA_FIELDS,
    ScaleState,
    quota_of,
    resources_of,
    same_quota,
)
from podgym.envs.kubernetes.ownership import OwnerApi, Stopped, hand_back
from podgym.envs.kubernetes.readings import DeploymentState, PodState
from podgym.errors import InputError

ANNOTATION = "podgym.dev/before"
_VERSION = 1
_ATTEMPTS = 5


class SnapshotApi(OwnerApi, Protocol):
    """What is needed of ``KubernetesApi``."""

    def end_steps(self) -> None:
        """Allow as many calls as it takes."""
        ...

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        """Read a Deployment."""
        ...

    def pods(self, deployment: DeploymentState, container: str) -> tuple[PodState, ...]:
        """Read its pods."""
        ...

    def annotate(
        self, deployment: DeploymentState, changes: Mapping[str, str | None], *, unchanged: bool = False
    ) -> DeploymentState:
        """Set annotations."""
        ...

    def set_replicas(self, deployment: DeploymentState, replicas: int) -> ScaleState:
        """Scale it; return what holds now."""
        ...

    def set_quota(self, deployment: DeploymentState, container: str, quota: Quota) -> None:
        """Change its template."""
        ...

    def can_resize(self) -> bool:
        """Tell whether pods can be resized in place."""
        ...

    def resize_pod(self, namespace: str, pod: str, container: str, quota: Quota) -> None:
        """Resize a pod in place."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a Deployment was like before a run."""

    replicas: int
    """``spec.replicas``."""
    quotas: Mapping[str, Quota]
    """Requests and limits in the pod template by container; nan where none was set."""
    stopped: tuple[Stopped, ...]
    """What was stopped for the run."""
    run_id: str
    """Which run."""
    time_s: float
    """When, seconds since the Unix epoch."""


def to_text(snapshot: Snapshot) -> str:
    """Return a snapshot as JSON."""
    content = {
        "version": _VERSION,
        "run": snapshot.run_id,
        "time": datetime.fromtimestamp(snapshot.time_s, UTC).isoformat(timespec="seconds"),
        "replicas": snapshot.replicas,
        "quotas": {name: resources_of(each, keep_unset=False) for name, each in snapshot.quotas.items()},
        "stopped": [
            {"kind": each.kind, "namespace": each.namespace, "name": each.name, "former": each.former}
            for each in snapshot.stopped
        ],
    }
    return json.dumps(content, sort_keys=True)


def from_text(text: str) -> Snapshot:
    """Return the snapshot that ``to_text`` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        content: Any = json.loads(text)
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']!r}")
        snapshot = Snapshot(
            replicas=content["replicas"],
            quotas={str(name): quota_of(each) for name, each in content["quotas"].items()},
            stopped=tuple(Stopped(**each) for each in content["stopped"]),
            run_id=str(content["run"]),
            time_s=datetime.fromisoformat(content["time"]).timestamp(),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None
    if type(snapshot.replicas) is not int or snapshot.replicas < 0:
        raise ValueError(f"replicas {snapshot.replicas!r}")
    return snapshot


def load(deployment: DeploymentState) -> Snapshot | None:
    """Return the snapshot that a Deployment carries; None: no run is unfinished.

    Raises:
        InputError: the annotation cannot be read.
    """
    text = deployment.annotations.get(ANNOTATION)
    if text is None:
        return None
    try:
        return from_text(text)
    except ValueError as error:
        name, namespace = deployment.name, deployment.namespace
        raise InputError(
            f"Deployment {name} in namespace {namespace}: annotation {ANNOTATION} cannot be read ({error}). "
            "Set replicas and resources by hand, then remove it: "
            f"kubectl annotate -n {namespace} deployment {name} {ANNOTATION}-"
        ) from None


def save(
    api: SnapshotApi,
    deployment: DeploymentState,
    stopped: Sequence[Stopped],
    run_id: str,
    *,
    now: Callable[[], float] = time.time,
) -> DeploymentState:
    """Write what a Deployment is like into its annotation, before anything of it is changed.

    Args:
        api: the API server.
        deployment: as it was read.
        stopped: what is going to be stopped, see ``ownership.stopped_state``.
        run_id: which run.
        now: seconds since the Unix epoch.

    Returns:
        The Deployment with the annotation.

    Raises:
        InputError: it carries that of an unfinished run.
        ConflictError: it changes faster than it can be written.
    """
    failures = 0
    while True:
        _require_finished(deployment)
        snapshot = Snapshot(deployment.replicas, deployment.quotas, tuple(stopped), run_id, now())
        try:
            # Two runs that begin at once: the second one conflicts, reads again, and sees the first.
            return api.annotate(deployment, {ANNOTATION: to_text(snapshot)}, unchanged=True)
        except ConflictError:
            failures += 1
            if failures == _ATTEMPTS:
                raise
        deployment = api.deployment(deployment.namespace, deployment.name)
        found = load(deployment)
        if found is not None and found.run_id == run_id:
            return deployment  # written by an attempt whose answer was lost


def _require_finished(deployment: DeploymentState) -> None:
    found = load(deployment)
    if found is not None:
        since = datetime.fromtimestamp(found.time_s, UTC)
        raise InputError(
            f"Deployment {deployment.name} in namespace {deployment.namespace} is in use by run "
            f"{found.run_id}, or was left behind by it ({since:%Y-%m-%d %H:%M} UTC; it had {found.replicas} "
            f"replicas). If that run is over, undo it: podgym restore --namespace {deployment.namespace} "
            f"--deployment {deployment.name}"
        )


def restore(api: SnapshotApi, deployment: DeploymentState, snapshot: Snapshot) -> tuple[str, ...]:
    """Make a Deployment what it was, give back what was stopped, and remove the annotation last.

    It can be repeated: what is so already is not touched, and after a failure the annotation is still there.

    Args:
        api: the API server.
        deployment: as it was read, at any time.
        snapshot: what it was like.

    Returns:
        What was done, in words.

    Raises:
        TargetGoneError: the Deployment was deleted, or deleted and made again.
        OverruledError: the API server set other replicas; everything else was done.
        ClusterError: something could not be done; do it again.
    """
    api.end_steps()
    current = api.deployment(deployment.namespace, deployment.name)
    changed = _restore_template(api, current, snapshot)
    current, scaled, replicas = _restore_replicas(api, current, snapshot)
    words = changed + scaled
    rolls_out = changed and not current.paused
    # A roll-out replaces every pod; a VPA gives pods quotas of its own.
    if not rolls_out and not any(each.kind == VPA.name for each in snapshot.stopped):
        words += _restore_pods(api, current, snapshot)
    words += hand_back(api, snapshot.stopped)
    if replicas != snapshot.replicas:
        raise OverruledError(
            f"{current.namespace}/{current.name}: the {snapshot.replicas} replicas that were found were "
            f"written, and the API server made {replicas} of them, as an admission webhook does; the note of "
            f"what was found stays. To leave it so: kubectl annotate -n {current.namespace} deployment "
            f"{current.name} {ANNOTATION}-"
        )
    if ANNOTATION in current.annotations:
        api.annotate(current, {ANNOTATION: None})
        words += (f"annotation {ANNOTATION} removed",)
    return words


def give_owners_back(api: SnapshotApi, deployment: DeploymentState, snapshot: Snapshot) -> tuple[str, ...]:
    """Give back what was stopped and note that it was; replicas, quotas and the annotation stay.

    Args:
        api: the API server.
        deployment: as it was read, at any time.
        snapshot: what it was like.

    Returns:
        What was done, in words.

    Raises:
        ClusterError: something could not be done; do it again.
    """
    words = hand_back(api, snapshot.stopped)
    api.annotate(deployment, {ANNOTATION: to_text(dataclasses.replace(snapshot, stopped=()))})
    return words


def _restore_template(api: SnapshotApi, current: DeploymentState, snapshot: Snapshot) -> tuple[str, ...]:
    words: list[str] = []
    for container, quota in snapshot.quotas.items():
        if container not in current.quotas:
            words.append(f"container {container} is gone; its quota is left")
        elif not same_quota(current.quotas[container], quota):
            api.set_quota(current, container, quota)
            later = "; the Deployment is paused, so it rolls out when resumed" if current.paused else ""
            words.append(f"quota of container {container} restored{later}")
    return tuple(words)


def _restore_replicas(
    api: SnapshotApi, current: DeploymentState, snapshot: Snapshot
) -> tuple[DeploymentState, tuple[str, ...], int]:
    """Return the Deployment, what was done, and the replicas that hold now."""
    failures = 0
    while True:
        current = api.deployment(current.namespace, current.name)
        if current.replicas == snapshot.replicas:
            return current, (), current.replicas
        try:
            answer = api.set_replicas(current, snapshot.replicas)
        except ConflictError:
            # Its status changes while it rolls out; the replicas are to be these whatever they are now.
            failures += 1
            if failures == _ATTEMPTS:
                raise
        else:
            return current, (f"replicas {current.replicas} to {answer.replicas}",), answer.replicas


def _restore_pods(api: SnapshotApi, current: DeploymentState, snapshot: Snapshot) -> tuple[str, ...]:
    """Resize pods that were resized in place."""
    words: list[str] = []
    for container, quota in snapshot.quotas.items():
        if container not in current.quotas or not api.can_resize():
            continue
        for pod in api.pods(current, container):
            asked = pod.quota if pod.quota_asked is None else pod.quota_asked  # a resize may be under way
            if pod.deleted or pod.phase != "Running" or _within(quota, asked):
                continue
            try:
                api.resize_pod(current.namespace, pod.name, container, quota)
                words.append(f"quota of pod {pod.name} restored")
            except RefusedError as error:
                words.append(f"pod {pod.name} keeps its quota until it is replaced: {error}")
    return tuple(words)


def _within(wanted: Quota, now: Quota) -> bool:
    """Return whether a pod has what is set in ``wanted``; what is not set cannot be removed in place."""
    filled = {
        name: getattr(now if math.isnan(getattr(wanted, name)) else wanted, name) for name in QUOTA_FIELDS
    }
    return same_quota(Quota(**filled), now)

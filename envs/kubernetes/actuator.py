"""Carries what is wanted of one service to the API server, through the guard."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Protocol

from podgym.envs.cluster import Quota, ServiceDecision
from podgym.envs.kubernetes.errors import ConflictError, ForeignChangeError
from podgym.envs.kubernetes.guard import (
    GuardMemory,
    Limits,
    Signal,
    Verdict,
    guard,
    guard_quota,
    quota_refusal,
)
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.readings import DeploymentState
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.kubernetes.targets import Target
from podgym.errors import InputError

_SAME = 1e-9


class Writer(Protocol):
    """What an actuator needs of ``KubernetesApi``."""

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        """Read a Deployment."""
        ...

    def set_replicas(self, deployment: DeploymentState, replicas: int) -> object:
        """Scale it."""
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

    def evict_pod(self, namespace: str, pod: str) -> None:
        """Evict a pod."""
        ...

    def emit_event(self, deployment: DeploymentState, reason: str, message: str) -> None:
        """Tell of a change as a Kubernetes Event."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceStep:
    """What was asked of one service, what became of it, and why."""

    service: str
    replicas_before: int
    """``spec.replicas`` before the decision."""
    replicas_asked: float | None
    """What the controller asked for; None: to leave them."""
    replicas_set: int
    """What the guard let pass."""
    written: bool
    """Whether the API server was told; never in shadow mode."""
    quota_set: Quota | None
    """Quota that was written; None: none."""
    reasons: tuple[str, ...]
    """Codes of the guard, see ``podgym.envs.kubernetes.guard``."""
    problems: tuple[str, ...] = ()
    """What could not be read or written."""


class Actuator:
    """Scales one service."""

    def __init__(
        self,
        target: Target,
        settings: KubernetesSettings,
        api: Writer,
        *,
        started_s: float,
        interval_s: float,
    ) -> None:
        """Begin without history, so that nothing shrinks before one window has passed.

        Args:
            target: the service.
            settings: of the cluster.
            api: writes.
            started_s: monotonic seconds.
            interval_s: time between two decisions, seconds.
        """
        self._target, self._settings, self._api = target, settings, api
        service = target.service
        self._limits = Limits.of(
            settings.safety, service.min_replicas, service.max_replicas, interval_s=interval_s
        )
        self._memory = GuardMemory(started_s=started_s)
        self._pod_quota: Quota | None = None  # what pods are resized to in place

    @property
    def pod_quota(self) -> Quota | None:
        """What pods are kept at by resizing them in place; None: at the template's."""
        return self._pod_quota

    def carry_out(
        self,
        decision: ServiceDecision,
        state: ServiceState,
        deployment: DeploymentState,
        signals: tuple[Signal, ...],
        *,
        pods_known: bool,
        now_s: float,
    ) -> ServiceStep:
        """Let the guard judge a decision and write what it lets pass.

        Args:
            decision: what is wanted; None fields stay.
            state: the service as it was last seen.
            deployment: its Deployment as it was last read.
            signals: how far its metrics can be trusted.
            pods_known: whether its pods could be listed.
            now_s: monotonic seconds.

        Raises:
            InputError: the decision needs VPA's webhook.
            ForeignChangeError: someone else scales the target.
            ClusterError: see ``podgym.envs.kubernetes.errors``.
        """
        if decision.admission is not None:
            raise InputError(
                f"{self._target.name}: the decision gives new pods another quota than the template's, which "
                "needs VPA's admission webhook; take a controller that changes the template, or let the "
                "cluster's VPA decide and only watch it (--controller cluster)."
            )
        ready = state.replicas_ready if pods_known else None
        before = self._memory
        for attempt in range(self._settings.safety.max_retries + 1):
            # Remembered even if the write fails: what was wanted counts for the down window.
            verdict, self._memory = guard(
                [decision.replicas], deployment.replicas, ready, signals, self._limits, before, now_s
            )
            try:
                written = verdict.change and self._write_replicas(deployment, verdict)
                break
            except ConflictError:
                if attempt == self._settings.safety.max_retries:
                    raise
                deployment = self._reread(deployment)
        wanted = _wanted_quota(decision, state.quota)
        refusal = quota_refusal(wanted, state.quota, verdict)
        quota = self._write_quota(wanted, state, deployment, verdict)
        self._evict(decision, verdict)
        reasons = verdict.reasons if refusal in (None, "quota_not_wanted") else (*verdict.reasons, refusal)
        return ServiceStep(
            self._target.name, deployment.replicas, _as_number(decision.replicas), verdict.replicas, written,
            quota, tuple(filter(None, reasons)),
        )  # fmt: skip

    @property
    def _writes(self) -> bool:
        return self._settings.mode != "shadow"

    def _write_replicas(self, deployment: DeploymentState, verdict: Verdict) -> bool:
        if not self._writes:
            return False
        self._api.set_replicas(deployment, verdict.replicas)
        if self._settings.emit_events:
            why = f" ({', '.join(verdict.reasons)})" if verdict.reasons else ""
            message = f"replicas {deployment.replicas} to {verdict.replicas}{why}"
            self._api.emit_event(deployment, "Scaled", message)
        return True

    def _reread(self, deployment: DeploymentState) -> DeploymentState:
        """Read the Deployment again after a conflict; a change of its status alone is no rival."""
        fresh = self._api.deployment(deployment.namespace, deployment.name)
        if fresh.replicas != deployment.replicas:
            raise ForeignChangeError(
                f"{deployment.namespace}/{deployment.name}: someone else changed the replicas from "
                f"{deployment.replicas} to {fresh.replicas}."
            )
        return fresh

    def _write_quota(
        self, wanted: Quota | None, state: ServiceState, deployment: DeploymentState, verdict: Verdict
    ) -> Quota | None:
        wanted = guard_quota(wanted, state.quota, verdict)
        in_place = self._in_place
        if wanted is not None and self._writes:
            if in_place:
                self._pod_quota = wanted
            else:
                self._api.set_quota(deployment, self._target.container, wanted)
        if in_place and self._writes and verdict.quotas != "none":
            self._resize_pods(state)
        return wanted if self._writes else None

    @property
    def _in_place(self) -> bool:
        choice = self._settings.resize
        return choice == "in_place" or (choice == "auto" and self._writes and self._api.can_resize())

    def _resize_pods(self, state: ServiceState) -> None:
        """Bring pods to the wanted quota, new ones among them; as many as half the step's calls allow."""
        quota = self._pod_quota
        if quota is None:
            return
        others = [pod for pod in state.alive if pod.start_time_s is not None and not _same(pod.quota, quota)]
        for pod in others[: max(self._settings.safety.max_api_calls_per_step // 2, 1)]:
            self._api.resize_pod(self._target.watched.namespace, pod.name, self._target.container, quota)

    def _evict(self, decision: ServiceDecision, verdict: Verdict) -> None:
        if self._writes and verdict.quotas == "any":  # the data are good and there is a history
            for pod in decision.evict[: max(self._settings.safety.max_api_calls_per_step // 4, 1)]:
                self._api.evict_pod(self._target.watched.namespace, pod)


def _as_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _wanted_quota(decision: ServiceDecision, now: Quota) -> Quota | None:
    """Return the quota that a decision leads to; None: it changes none."""
    fields = {field.name: getattr(decision, field.name) for field in dataclasses.fields(Quota)}
    given = {name: value for name, value in fields.items() if value is not None}
    return dataclasses.replace(now, **given) if given else None


def _same(one: Quota, other: Quota) -> bool:
    pairs = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
    return all(math.isclose(a, b, rel_tol=_SAME) or (math.isnan(a) and math.isnan(b)) for a, b in pairs)

"""Carries what is wanted of one service to the API server, through the guard."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from podgym.envs.cluster import Quota, ServiceDecision
from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    ClusterError,
    ConflictError,
    ForeignChangeError,
    OverruledError,
    TargetGoneError,
)
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
from podgym.envs.kubernetes.objects import ScaleState
from podgym.envs.kubernetes.pod_quotas import PodQuotas
from podgym.envs.kubernetes.readings import DeploymentState
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.kubernetes.targets import Target
from podgym.errors import InputError


class Writer(Protocol):
    """What an actuator needs of ``KubernetesApi``."""

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        """Read a Deployment."""
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
        calls = settings.safety.max_api_calls_per_step
        self._evictions = max(calls // 6, 1)
        self.pod_quotas = PodQuotas(api, target.watched.namespace, target.container, max(calls // 3, 1))
        """Pods that are resized in place."""
        self.expected: frozenset[int] = frozenset()
        """``spec.replicas`` that our own writes may have led to; empty: whatever was read last."""

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
            OverruledError: the API server set other replicas than those that were written.
            ClusterError: see ``podgym.envs.kubernetes.errors``.
        """
        if decision.admission is not None:
            raise InputError(
                f"{self._target.name}: the decision gives new pods another quota than the template's, which "
                "needs VPA's admission webhook; take a controller that changes the template, or let the "
                "cluster's VPA decide and only watch it (--controller cluster)."
            )
        problems: list[str] = []
        ready = state.replicas_ready if pods_known else None
        verdict, deployment, written = self._scale(
            decision.replicas, deployment, ready, signals, now_s, problems
        )
        if written and self._settings.emit_events:
            self._tried(problems, partial(self._tell, deployment, verdict))
        now = _as_set(state.quota, deployment.quotas.get(self._target.container))
        wanted = _wanted_quota(decision, now)
        refusal = quota_refusal(wanted, now, verdict)
        if refusal is None and self._is_stuck(deployment):
            refusal = "quota_paused"
            problems.append(_paused_words(deployment))
        quota = guard_quota(wanted, now, verdict) if self._writes and refusal is None else None
        if quota is not None and not self._tried(problems, partial(self._set_quota, deployment, quota)):
            quota = None
        if self._writes and self._in_place:
            problems += self.pod_quotas.reconcile(state, verdict.quotas)
        self._evict(decision, verdict, problems)
        reasons = verdict.reasons if refusal in (None, "quota_not_wanted") else (*verdict.reasons, refusal)
        return ServiceStep(
            self._target.name, deployment.replicas, _as_number(decision.replicas), verdict.replicas, written,
            quota, tuple(filter(None, reasons)), tuple(problems),
        )  # fmt: skip

    def _scale(
        self,
        wanted: int | None,
        deployment: DeploymentState,
        ready: int | None,
        signals: tuple[Signal, ...],
        now_s: float,
        problems: list[str],
    ) -> tuple[Verdict, DeploymentState, bool]:
        """Judge and write the replicas; a conflict is read anew and judged anew."""
        before = self._memory
        for attempt in range(self._settings.safety.max_retries + 1):
            # Remembered even if the write fails: what was wanted counts for the down window.
            verdict, self._memory = guard(
                [wanted], deployment.replicas, ready, signals, self._limits, before, now_s
            )
            if not verdict.change or not self._writes:
                break
            # An error may hide a write that was done, so until the next reading either may be true.
            self.expected = frozenset((deployment.replicas, verdict.replicas))
            try:
                answer = self._api.set_replicas(deployment, verdict.replicas)
                self._note_answer(answer, deployment, verdict, problems)
                return verdict, deployment, True
            except ConflictError:
                self.expected = frozenset((deployment.replicas,))
                if attempt == self._settings.safety.max_retries:
                    raise
                deployment = self._reread(deployment)
        return verdict, deployment, False

    def _note_answer(
        self, answer: ScaleState, deployment: DeploymentState, verdict: Verdict, problems: list[str]
    ) -> None:
        """Look at what the API server made of the replicas that were written."""
        acts = self._settings.mode == "act"
        if acts:
            self.expected = frozenset((answer.replicas,))
        if answer.replicas == verdict.replicas:
            return
        overruled = OverruledError(
            f"{deployment.namespace}/{deployment.name}: {verdict.replicas} replicas were written, and the "
            f"API server made {answer.replicas} of them, as an admission webhook does; keep min_replicas and "
            "max_replicas within what it allows, or exempt this Deployment."
        )
        if acts:  # no decision holds any more: neither the guard's bounds nor its rates
            raise overruled
        problems.append(str(overruled))

    @property
    def _writes(self) -> bool:
        return self._settings.mode != "shadow"

    @staticmethod
    def _tried(problems: list[str], write: Callable[[], None]) -> bool:
        """Write; note what failed, unless the run cannot go on. The replicas are written already."""
        try:
            write()
        except (AccessDeniedError, TargetGoneError):
            raise
        except ClusterError as error:
            problems.append(str(error))
            return False
        return True

    def _tell(self, deployment: DeploymentState, verdict: Verdict) -> None:
        why = f" ({', '.join(verdict.reasons)})" if verdict.reasons else ""
        message = f"replicas {deployment.replicas} to {verdict.replicas}{why}"
        self._api.emit_event(deployment, "Scaled", message)

    def _reread(self, deployment: DeploymentState) -> DeploymentState:
        """Read the Deployment again after a conflict; a change of its status alone is no rival."""
        fresh = self._api.deployment(deployment.namespace, deployment.name)
        if fresh.uid != deployment.uid:
            raise TargetGoneError(f"{deployment.namespace}/{deployment.name} was deleted and made again.")
        if fresh.replicas != deployment.replicas:
            raise ForeignChangeError(
                f"{deployment.namespace}/{deployment.name}: someone else changed the replicas from "
                f"{deployment.replicas} to {fresh.replicas}."
            )
        return fresh

    def _set_quota(self, deployment: DeploymentState, quota: Quota) -> None:
        if not self._in_place:
            self._api.set_quota(deployment, self._target.container, quota)
        elif self._settings.mode == "act":
            self.pod_quotas.wanted = quota

    @property
    def _in_place(self) -> bool:
        choice = self._settings.resize
        return choice == "in_place" or (choice == "auto" and self._writes and self._api.can_resize())

    def _is_stuck(self, deployment: DeploymentState) -> bool:
        """Whether a changed template would reach no pod; shadow mode does not ask whether pods can resize."""
        known = self._writes or self._settings.resize == "template"
        return deployment.paused and known and not self._in_place

    def _evict(self, decision: ServiceDecision, verdict: Verdict, problems: list[str]) -> None:
        """Evict pods, if the data are good and there is a history."""
        if not self._writes or verdict.quotas != "any":
            return
        for pod in decision.evict[: self._evictions]:
            self._tried(problems, partial(self._api.evict_pod, self._target.watched.namespace, pod))


def _paused_words(deployment: DeploymentState) -> str:
    where = f"{deployment.namespace}/{deployment.name}"
    return (
        f"{where} is paused (spec.paused), so a changed template would reach no pod: its quota stays. Set "
        f"resize: in_place, or kubectl rollout resume -n {deployment.namespace} deployment {deployment.name}."
    )


def _as_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _wanted_quota(decision: ServiceDecision, now: Quota) -> Quota | None:
    """Return the quota that a decision leads to; None: it changes none. Limits that are not set stay so."""
    fields = {field.name: getattr(decision, field.name) for field in dataclasses.fields(Quota)}
    given = {
        name: value
        for name, value in fields.items()
        if value is not None
        and (name.endswith(("request_cores", "request_bytes")) or getattr(now, name) > 0.0)
    }
    return dataclasses.replace(now, **given) if given else None


def _as_set(quota: Quota, template: Quota | None) -> Quota:
    """Return a quota without the limits that the template does not set, so that none is ever written."""
    if template is None:
        return quota
    unset = {
        name: math.nan
        for name in ("cpu_limit_cores", "memory_limit_bytes")
        if not getattr(template, name) > 0.0
    }
    return dataclasses.replace(quota, **unset)

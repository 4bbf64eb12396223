"""``KubernetesCluster``: a real cluster behind the *observe / apply / advance* protocol.

Every call has a bounded time. What cannot be read or written makes the step hold, and its log says so; what
cannot be mended ends the episode or stops the run. Nothing shrinks on bad data.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podgym.envs.cluster import ClusterObservation, Quota, ServiceDecision
from podgym.envs.kubernetes.actuator import Actuator, ServiceStep, Writer
from podgym.envs.kubernetes.clock import Clock, Pacer
from podgym.envs.kubernetes.custody import Custody, Keeper
from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    ClusterError,
    ConflictError,
    ForeignChangeError,
    OverruledError,
    TargetGoneError,
)
from podgym.envs.kubernetes.interval import ServiceState, interval_report
from podgym.envs.kubernetes.readings import DeploymentState, MetricsSource, PodState, PodUsage, ServiceReading
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.kubernetes.signals import carried_forward, signals_of
from podgym.envs.kubernetes.targets import Target
from podgym.envs.kubernetes.views import service_view
from podgym.envs.simulator.cluster import Ahead


class ClusterApi(Writer, Keeper, Protocol):
    """What a cluster needs of ``KubernetesApi``."""

    def begin_step(self) -> None:
        """Renew the budgets of calls."""
        ...

    def charge(self, service: str) -> None:
        """Let a service pay for the calls from here on."""
        ...

    @property
    def calls(self) -> int:
        """Calls since the step began."""
        ...

    def pods(self, deployment: DeploymentState, container: str) -> tuple[PodState, ...]:
        """List the pods of a Deployment."""
        ...

    def pod_usage(self, namespace: str, selector: str, container: str) -> dict[str, PodUsage]:
        """Read what pods use from metrics-server."""
        ...


@dataclass(frozen=True, slots=True)
class StepLog:
    """One step as it happened."""

    number: int
    """From 1; 0 before the first."""
    time_s: float
    """End of the interval, seconds since the episode began."""
    duration_s: float
    """How long it was."""
    late_s: float
    """How late its end came."""
    api_calls: int
    """Calls of the API server."""
    services: tuple[ServiceStep, ...]
    """What became of the decisions, one per service."""


class KubernetesCluster:
    """Some Deployments of one cluster, scaled together."""

    def __init__(
        self,
        settings: KubernetesSettings,
        targets: Sequence[Target],
        api: ClusterApi,
        metrics: MetricsSource,
        clock: Clock,
        *,
        interval_s: float,
        run_id: str,
    ) -> None:
        """Prepare; nothing is read or changed yet.

        Args:
            settings: of the cluster.
            targets: what is scaled.
            api: the API server.
            metrics: the monitoring.
            clock: tells the time and waits.
            interval_s: control interval.
            run_id: stands in the annotation that holds the state found.
        """
        self.targets = tuple(targets)
        self._settings, self._api, self._metrics, self._clock = settings, api, metrics, clock
        self._interval_s = interval_s
        self._custody = Custody(settings, self.targets, api, run_id)
        self._failures = 0
        self._actuators: list[Actuator] = []
        self.ended_because: str | None = None
        """Why the episode cannot go on; None: it can."""

    def begin(self) -> None:
        """Start an episode: take the targets into custody, read everything, start the clock.

        Raises:
            InputError: a target is managed by someone else, or an earlier run did not finish.
            ClusterError: something cannot be read.
        """
        self._api.end_steps()
        self._custody.take()
        now_s = self._clock.monotonic_s()
        self._actuators = self._new_actuators(now_s)
        self._deployments = [self._read_deployment(target) for target in self.targets]
        self._pods = [
            self._api.pods(deployment, target.container)
            for deployment, target in zip(self._deployments, self.targets, strict=True)
        ]
        self._pods_known = [True] * len(self.targets)
        self._readings = self._metrics.read([target.watched for target in self.targets])
        self._problems: list[list[str]] = [_texts(reading) for reading in self._readings]
        self.states = self._states()
        self._before = self.states
        self._steps: tuple[ServiceStep, ...] = ()
        self._failures = 0
        self.ended_because = None
        self.start_epoch_s = self._clock.epoch_s()
        self._pacer = Pacer(self._clock, self._interval_s)
        self._number, self._last_s = 0, 0.0
        self.log = StepLog(0, 0.0, 0.0, 0.0, self._api.calls, ())

    def observe(self, ahead: Sequence[Ahead] | None = None) -> ClusterObservation:
        """Return what is seen now, and what is known of the future if it is given, one per service."""
        known: Sequence[Ahead] = ahead if ahead is not None else [(None, None)] * len(self.targets)
        views = [
            service_view(target.service, state, future, self.start_epoch_s)
            for target, state, future in zip(self.targets, self.states, known, strict=True)
        ]
        return ClusterObservation(time_s=self._last_s, services=tuple(views))

    def apply(self, decisions: Sequence[ServiceDecision]) -> None:
        """Carry out one decision per service, each through the guard.

        Raises:
            InputError: a decision that no real cluster can carry out.
            AccessDeniedError: the credentials do not allow it.
        """
        self._api.begin_step()
        now_s = self._clock.monotonic_s()
        epoch_s = self._clock.epoch_s()
        self._before = self.states
        steps: list[ServiceStep] = []
        for index, decision in enumerate(decisions[: len(self.targets)]):
            if self.ended_because is not None:  # nothing more is written once the episode is over
                held = self._deployments[index].replicas
                steps.append(_held(self.targets[index].name, held, self.ended_because))
            else:
                steps.append(self._carried_out(index, decision, now_s, epoch_s))
        self._steps = tuple(steps)

    def advance(self) -> StepLog:
        """Wait for the end of the control interval, and read everything anew.

        Raises:
            AccessDeniedError: the credentials do not allow it.
            ClusterError: for too many steps in a row nothing could be read.
        """
        late_s = self._pacer.wait()
        self._refresh()
        self._number += 1
        time_s = self._pacer.elapsed_s
        duration_s, self._last_s = time_s - self._last_s, time_s
        steps = tuple(
            dataclasses.replace(step, problems=step.problems + tuple(problems))
            for step, problems in zip(self._steps, self._problems, strict=False)
        )
        self.log = StepLog(self._number, time_s, duration_s, late_s, self._api.calls, steps)
        return self.log

    def reports(self) -> list[Mapping[str, float]]:
        """Return the report of the last interval, one per service."""
        return [
            interval_report(before, now, self.log.time_s, self.log.duration_s)
            for before, now in zip(self._before, self.states, strict=True)
        ]

    @property
    def held(self) -> bool:
        """Whether ``close`` has anything to give back."""
        return self._custody.held

    def close(self) -> tuple[str, ...]:
        """Restore what was found, see ``Custody.release``; return what was done, in words.

        Raises:
            ClusterError: something could not be restored; the text says what and how to do it later.
        """
        words = self._custody.release()
        self._actuators = []  # pods that were resized are as the template says
        return words

    def _new_actuators(self, now_s: float) -> list[Actuator]:
        """Begin without history; what pods were resized to in the episode before still holds."""
        made = [
            Actuator(each, self._settings, self._api, started_s=now_s, interval_s=self._interval_s)
            for each in self.targets
        ]
        for new, old in zip(made, self._actuators, strict=False):
            new.pod_quotas.wanted = old.pod_quotas.wanted
        return made

    def _carried_out(
        self, index: int, decision: ServiceDecision, now_s: float, epoch_s: float
    ) -> ServiceStep:
        deployment, state = self._deployments[index], self.states[index]
        self._api.charge(self.targets[index].name)
        try:
            step = self._actuators[index].carry_out(
                decision, state, deployment, signals_of(state, self._settings.metrics, epoch_s),
                pods_known=self._pods_known[index], now_s=now_s,
            )  # fmt: skip
        except AccessDeniedError:
            raise
        except (ForeignChangeError, OverruledError, TargetGoneError) as error:
            self._end(index, error)
            return _held(self.targets[index].name, deployment.replicas, str(error))
        except ClusterError as error:  # conflicts that do not end, a spent budget, what may pass: hold
            return _held(self.targets[index].name, deployment.replicas, str(error))
        if step.written and self._settings.mode == "act":
            self._deployments[index] = dataclasses.replace(deployment, replicas=step.replicas_set)
        return step

    def _end(self, index: int, error: ClusterError) -> None:
        self.ended_because = str(error)
        if isinstance(error, ForeignChangeError):
            self._custody.leave(index)

    def _refresh(self) -> None:
        answered = False
        for index, target in enumerate(self.targets):
            self._problems[index] = []
            try:
                self._refresh_target(index, target)
                answered = True
            except AccessDeniedError:
                raise
            except (ForeignChangeError, TargetGoneError) as error:
                self._end(index, error)
                self._problems[index].append(str(error))
            except ClusterError as error:
                self._problems[index].append(str(error))
        readings = self._metrics.read([target.watched for target in self.targets])
        for index, reading in enumerate(readings):
            self._problems[index] += _texts(reading)
        self._readings = tuple(map(carried_forward, readings, self._readings))
        self.states = self._states()
        self._failures = 0 if answered or self.ended_because else self._failures + 1
        if self._failures >= self._settings.safety.stop_after_failures:
            raise ClusterError(
                f"the API server gave no usable answer in {self._failures} steps in a row "
                f"({self._problems[0][0]}); the replicas stay as they are."
            )

    def _refresh_target(self, index: int, target: Target) -> None:
        self._pods_known[index] = False
        self._api.charge(target.name)
        deployment = self._read_deployment(target)
        if self._settings.mode == "act":
            self._require_ours(index, target, deployment)
            self._actuators[index].expected = frozenset()
        self._deployments[index] = deployment
        self._pods[index] = self._api.pods(deployment, target.container)
        self._pods_known[index] = True

    def _require_ours(self, index: int, target: Target, deployment: DeploymentState) -> None:
        """Notice that the Deployment is another one, or that someone else scales or released it."""
        where = f"{target.watched.namespace}/{deployment.name}"
        last = self._deployments[index]
        if deployment.uid != last.uid:
            raise TargetGoneError(f"{where} was deleted and made again.")
        if not self._custody.holds(deployment):
            raise ForeignChangeError(f"{where}: someone else removed or replaced the note of this run.")
        if deployment.replicas not in (self._actuators[index].expected or (last.replicas,)):
            raise ForeignChangeError(
                f"{where}: someone else set the replicas to {deployment.replicas}; they were left at "
                f"{last.replicas}."
            )

    def _read_deployment(self, target: Target) -> DeploymentState:
        try:
            return self._api.deployment(target.watched.namespace, target.watched.deployment)
        except ConflictError as error:  # no read conflicts; a proxy may say so nevertheless
            raise ClusterError(str(error)) from error

    def _states(self) -> tuple[ServiceState, ...]:
        return tuple(
            ServiceState(deployment.replicas, self._quota(target, deployment, actuator), pods, reading)
            for target, deployment, actuator, pods, reading in zip(
                self.targets, self._deployments, self._actuators, self._pods, self._readings, strict=True
            )
        )

    @staticmethod
    def _quota(target: Target, deployment: DeploymentState, actuator: Actuator) -> Quota:
        """Return what pods are to have; where the template says nothing, what was found counts."""
        found = target.service.quota
        template = actuator.pod_quotas.wanted or deployment.quotas.get(target.container)
        if template is None:
            return found
        return Quota(
            *(
                value if value > 0.0 else fallback
                for value, fallback in zip(
                    dataclasses.astuple(template), dataclasses.astuple(found), strict=True
                )
            )
        )


def _texts(reading: ServiceReading) -> list[str]:
    return [f"{name}: {problem}" for name, problem in reading.problems.items()]


def _held(service: str, replicas: int, problem: str) -> ServiceStep:
    return ServiceStep(service, replicas, None, replicas, False, None, ("held",), (problem,))

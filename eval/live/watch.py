"""An environment that is written down while it runs: every decision, sample, pod and problem."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.config import EnvConfig
from podgym.envs.kubernetes.errors import AccessDeniedError, ClusterError
from podgym.envs.simulator.constants import Provenance
from podgym.envs.workloads.profile import LoadProfile
from podgym.eval.environment import EpisodeEnd, Step
from podgym.eval.live.environment import LiveEnvironment
from podgym.eval.live.stopping import StopGate, Stopped, signal_name
from podgym.files import to_json


class Curves(Protocol):
    """Takes the numbers of every interval, as TensorBoard does."""

    def add(self, interval: int, observation: ClusterObservation, info: Mapping[str, float]) -> None:
        """Take the numbers of one interval."""

    def close(self) -> None:
        """Write out what was taken."""


@dataclass(slots=True)
class PodLife:
    """One pod, seconds since the episode began."""

    start_s: float | None = None
    """When the kubelet took it; None: it was never seen on a node."""
    ready_s: float | None = None
    """When it was first ready; None: it was never seen so."""


@dataclass(slots=True)
class Notes:
    """What is known of an episode beyond its record."""

    first: ClusterObservation | None = None
    """What was seen before anything was decided."""
    scrapes: list[tuple[str, float, float]] = field(default_factory=list)
    """Service, time of the observation and of the newest sample in it; nan: there was none."""
    pods: dict[tuple[str, str], PodLife] = field(default_factory=dict)
    """By service and name, in the order in which they were seen."""
    problems: list[tuple[int, str]] = field(default_factory=list)
    """Interval, from 1, and what went wrong in it."""
    api_calls: list[int] = field(default_factory=list)
    """Calls of the API server, by interval."""
    late_s: list[float] = field(default_factory=list)
    """How late the end of each interval came, seconds."""
    ended_because: str | None = None
    """Why the episode ended before its time; None: it did not."""
    load_failure: str | None = None
    """Why the load failed; None: it did not."""
    started: datetime | None = None
    """When the episode began, with its load under way; None: it did not."""
    finished: datetime | None = None
    """When the last interval was over, before anything was given back."""
    denied: str | None = None
    """Permission that was missing; None: none was."""
    generator: Mapping[str, Any] = field(default_factory=dict)
    """What the generator of the load says of itself: asked, sent, failed, fell_behind; empty: nothing."""

    @property
    def age_s(self) -> float:
        """Median age of the newest sample when it was looked at, seconds; 0 where none was seen."""
        ages_s = [time_s - sample_s for _, time_s, sample_s in self.scrapes if math.isfinite(sample_s)]
        return max(float(np.median(ages_s)), 0.0) if ages_s else 0.0


class DecisionLog:
    """A file of one JSON object per interval, each on the disk before the next interval begins."""

    def __init__(self, path: Path) -> None:
        """Begin the file anew."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an object."""
        text = to_json(entry)
        self._file.write(json.dumps(json.loads(text)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WatchedEnvironment:
    """A live environment with someone who writes down what happens.

    Attributes:
        notes: what was written down.
    """

    def __init__(
        self,
        env: LiveEnvironment,
        gate: StopGate,
        *,
        log: DecisionLog | None = None,
        curves: Curves | None = None,
        on_begin: Callable[[], None] = lambda: None,
        load_failure: Callable[[], str | None] = lambda: None,
        on_interval: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Watch an environment.

        Args:
            env: what is watched.
            gate: lets signals end a step.
            log: where decisions are written to.
            curves: where numbers are written to.
            on_begin: called when the environment is ready and before the first decision: starts the load.
            load_failure: says why the load failed; None: it did not.
            on_interval: called with the number of each interval that is over.
        """
        self._env = env
        self._gate = gate
        self._log = log
        self._curves = curves
        self._on_begin = on_begin
        self._load_failure = load_failure
        self._on_interval = on_interval
        self._seen: ClusterObservation | None = None
        self.notes = Notes()
        self.config: EnvConfig = env.config

    @property
    def service_names(self) -> tuple[str, ...]:
        """Names of the services."""
        return self._env.service_names

    @property
    def slo_response_time_s(self) -> NDArray[np.float64]:
        """(num_services,) s."""
        return self._env.slo_response_time_s

    @property
    def entry_share(self) -> NDArray[np.float64]:
        """(num_services,)."""
        return self._env.entry_share

    @property
    def visits(self) -> NDArray[np.float64]:
        """(num_services,)."""
        return self._env.visits

    @property
    def episode_steps(self) -> int:
        """Most steps of an episode."""
        return self._env.episode_steps

    @property
    def profile(self) -> LoadProfile | None:
        """The load as measured so far."""
        return self._env.profile

    def provenance(self) -> list[Provenance]:
        """Return every constant."""
        return self._env.provenance()

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Start an episode, and its load."""
        self.notes = Notes()
        first = self._env.reset(seed=seed)
        self._look()
        self.notes.first = self._seen
        self._on_begin()
        self.notes.started = datetime.now(UTC)
        return first

    def step(self, action: Any) -> Step:  # noqa: ANN401  (whatever the environment takes)
        """Apply an action and let one control interval pass."""
        return self._run({"action": np.asarray(action).tolist()}, lambda: self._env.step(action))

    def step_decisions(self, decisions: Sequence[ServiceDecision]) -> Step:
        """Apply decisions and let one control interval pass."""
        named = zip(self.service_names, decisions, strict=True)
        written = {name: _written(decision) for name, decision in named}
        return self._run({"decisions": written}, lambda: self._env.step_decisions(decisions))

    def observe(self) -> ClusterObservation:
        """Return what was seen at the end of the last step; the cluster is not asked again."""
        return self._seen if self._seen is not None else self._look()

    def report(self) -> NDArray[np.float64]:
        """Return the report of the last interval."""
        return self._env.report()

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the masks of the next action."""
        return self._env.action_masks()

    def _run(self, decided: Mapping[str, Any], step: Callable[[], Step]) -> Step:
        """Let an interval pass and write down what happened.

        Raises:
            EpisodeEnd: a signal, the cluster or the load ended the episode before the interval was over.
        """
        notes = self.notes
        try:
            with self._gate.interruptible():
                result = step()
        except Stopped:
            number = self._gate.received
            notes.ended_because = "a signal" if number is None else signal_name(number)
            raise EpisodeEnd(notes.ended_because) from None
        except ClusterError as error:
            notes.ended_because = f"{type(error).__name__}: {error}"
            notes.denied = str(error) if isinstance(error, AccessDeniedError) else None
            raise EpisodeEnd(notes.ended_because) from error
        notes.load_failure = self._load_failure()
        if notes.load_failure is not None:
            notes.ended_because = notes.load_failure
            raise EpisodeEnd(notes.load_failure)
        self._write_down(decided, result)
        return result

    def _write_down(self, decided: Mapping[str, Any], result: Step) -> None:
        observation = self._look()
        _, reward, _, truncated, info = result
        notes, problems = self.notes, self._env.problems
        log = self._env.log
        notes.api_calls.append(log.api_calls)
        notes.late_s.append(log.late_s)
        interval = len(notes.api_calls)
        notes.problems += [(interval, text) for text in problems]
        if truncated:
            notes.ended_because = self._env.ended_because
        if self._curves is not None:
            self._curves.add(interval, observation, info)
        if self._log is not None:
            ready = {each.name: each.replicas_ready for each in observation.services}
            self._log.add(
                {"interval": interval, "time_s": info["time_s"], "late_s": log.late_s, **decided,
                 "carried_out": [asdict(each) for each in log.services], "replicas_ready": ready,
                 "reward": reward, "problems": list(problems), "api_calls": log.api_calls}
            )  # fmt: skip
        self._on_interval(interval)

    def _look(self) -> ClusterObservation:
        self._seen = seen = self._env.observe()
        for service in seen.services:
            sample_s = math.nan if service.sample_time_s is None else service.sample_time_s
            self.notes.scrapes.append((service.name, seen.time_s, sample_s))
            for pod in service.pods:
                life = self.notes.pods.setdefault((service.name, pod.name), PodLife())
                if life.start_s is None:
                    life.start_s = pod.start_time_s
                if life.ready_s is None and pod.ready:
                    life.ready_s = pod.ready_transition_time_s
        return seen


def _written(decision: ServiceDecision) -> dict[str, Any]:
    """Return what a decision changes."""
    return {name: value for name, value in asdict(decision).items() if value is not None and value != ()}

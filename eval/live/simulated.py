"""The simulator beside a live episode: the recorded load, with the recorded decisions or with its own.

What was decided is read off the record: the replicas and the quota that were in force at the end of each
interval. So it does not matter whether they came from here, from an HPA in the cluster, or were held back by
the guard.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.agents.running import load_actor, policy_environment
from podgym.baselines import make_controller
from podgym.envs.cluster import ClusterObservation, Quota, ServiceDecision
from podgym.envs.config import EnvConfig, override
from podgym.envs.randomisation import RandomisationConfig
from podgym.envs.workloads.profile import LoadKind, LoadProfile, resample
from podgym.errors import InputError
from podgym.eval.contenders import Contender
from podgym.eval.episode import EpisodeRecord
from podgym.eval.runner import make_environment, run_episode, run_policy

REPLAYED, ALONE = "replayed", "simulated"
"""End of the label of a simulated row: with the recorded decisions, and with the controller's own."""
_SAME = 1e-6  # relative: a quota that differs by less is the same, so nothing rolls out
_SAMPLE_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLoad:
    """A workload of one episode: a load that was measured."""

    profile: LoadProfile
    """The load."""
    name: str = "recorded"
    """Short name."""

    @property
    def kind(self) -> LoadKind:
        """Requests/s."""
        return self.profile.kind

    @property
    def step_s(self) -> float:
        """Seconds between two samples."""
        return self.profile.step_s

    @property
    def max_duration_s(self) -> float:
        """Longest episode."""
        return self.profile.duration_s

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load; nothing is drawn.

        Raises:
            InputError: the episode is longer than the load.
        """
        if duration_s > self.max_duration_s * (1.0 + 1e-9):
            raise InputError(
                f"the recorded load lasts {self.max_duration_s:g} s; the episode asks for {duration_s:g} s."
            )
        return self.profile


def recorded_load(profile: LoadProfile, duration_s: float) -> RecordedLoad:
    """Return a measured load that lasts long enough: its last value holds to the end.

    Args:
        profile: as measured.
        duration_s: least length, seconds.
    """
    if profile.duration_s >= duration_s:
        return RecordedLoad(profile)
    finer = profile if profile.step_s <= _SAMPLE_S else resample(profile, _SAMPLE_S)
    missing = math.ceil((duration_s - finer.duration_s) / finer.step_s - 1e-9)
    values = np.concatenate([finer.values, np.full(missing, finer.values[-1])])
    return RecordedLoad(replace(finer, values=values))


class RecordedDecisions:
    """A controller that repeats what was in force in a live episode, each at its time."""

    name = "recorded"

    def __init__(self, record: EpisodeRecord, first: ClusterObservation) -> None:
        """Take a record and what was seen before anything was decided.

        Args:
            record: the live episode.
            first: its first observation, for what the columns do not hold: the memory limit.
        """
        columns = record.columns
        self._ends_s = np.cumsum(columns["duration_s"][:, 0])  # (num_steps,) s
        self._half_s = 0.5 * record.metadata.control_interval_s
        self._replicas = columns["replicas_wanted"]  # (num_steps, num_services)
        names = ("cpu_request_cores", "cpu_limit_cores", "memory_request_bytes")
        self._quotas = np.stack([columns[name] for name in names], axis=-1)  # (num_steps, num_services, 3)
        self._first = [service.quota for service in first.services]
        self.reset()

    def reset(self) -> None:
        """Begin with what was found."""
        self._present = list(self._first)

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Return what was in force in the middle of the coming interval."""
        middle_s = observation.time_s + self._half_s
        at = min(int(np.searchsorted(self._ends_s, middle_s)), len(self._ends_s) - 1)
        return tuple(self._decision(at, s) for s in range(len(self._first)))

    def _decision(self, at: int, s: int) -> ServiceDecision:
        wanted = self._replicas[at, s]
        replicas = int(wanted) if math.isfinite(wanted) and wanted >= 1.0 else None
        quota = self._quota(self._quotas[at, s], s)
        if quota is None:
            return ServiceDecision(replicas=replicas)
        self._present[s] = quota
        return ServiceDecision(
            replicas,
            quota.cpu_request_cores,
            quota.cpu_limit_cores,
            quota.memory_request_bytes,
            quota.memory_limit_bytes,
        )

    def _quota(self, row: NDArray[np.float64], s: int) -> Quota | None:
        """Return a quota that is to be set; None: it is unknown, or in force."""
        if not (np.isfinite(row) & (row > 0.0)).all():
            return None
        now, first = self._present[s], self._first[s]
        present = np.array([now.cpu_request_cores, now.cpu_limit_cores, now.memory_request_bytes])
        if np.allclose(row, present, rtol=_SAME, atol=0.0):
            return None
        request, limit, memory_bytes = (float(value) for value in row)
        ratio = max(first.memory_limit_bytes / first.memory_request_bytes, 1.0)
        return Quota(request, max(limit, request), memory_bytes, memory_bytes * ratio)


def simulated_config(config: EnvConfig, record: EpisodeRecord, first: ClusterObservation) -> EnvConfig:
    """Return the configuration that repeats a live episode in the simulator.

    Every service begins as it was found. The noise of the arrivals is left out: the recorded load has it.

    Args:
        config: of the live environment.
        record: the live episode.
        first: what was seen before anything was decided.
    """
    interval_s = config.cluster.control_interval_s
    steps = max(round(record.duration_s / interval_s), 1)
    services: dict[str, Any] = {}
    for service, seen in zip(config.cluster.services, first.services, strict=True):
        replicas = min(max(seen.replicas_wanted, service.min_replicas), service.max_replicas)
        services[service.name] = {"initial_replicas": replicas, **_quota_changes(seen.quota)}
    changes: dict[str, Any] = {
        "cluster": {"services": services, "load": {"rate_noise_cv": 0.0}},
        "episode_s": steps * interval_s,
        "randomisation": RandomisationConfig(),
    }
    if config.observation.forecast == "learned":  # whoever is given a forecaster gets it anew
        changes["observation"] = {"forecast": "naive"}
    return override(config, changes)


def _quota_changes(quota: Quota) -> dict[str, float]:
    """Return the fields of a service that give its pods a quota; none where part of it is unknown."""
    pairs = {
        "cpu": (quota.cpu_request_cores, quota.cpu_limit_cores, "cpu_request_cores"),
        "memory": (quota.memory_request_bytes, quota.memory_limit_bytes, "memory_request_bytes"),
    }
    changes: dict[str, float] = {}
    for resource, (request, limit, name) in pairs.items():
        if request > 0.0 and math.isfinite(request):
            known = math.isfinite(limit) and limit >= request
            changes |= {name: request, f"{resource}_limit_ratio": limit / request if known else 1.0}
    return changes


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """What the simulator made of a live episode."""

    replayed: EpisodeRecord
    """With the recorded decisions."""
    alone: EpisodeRecord | None
    """With the decisions of the same controller in the simulator; None: it decides in the cluster alone."""


def run_beside(
    contender: Contender,
    config: EnvConfig,
    record: EpisodeRecord,
    profile: LoadProfile,
    first: ClusterObservation,
    *,
    forecaster: str | None = None,
) -> Beside:
    """Run the simulator on the load of a live episode.

    Args:
        contender: who decided.
        config: of the live environment.
        record: the live episode.
        profile: its load.
        first: what was seen before anything was decided.
        forecaster: see ``podgym.eval.runner.Job``.

    Raises:
        InputError: the controller or the simulator cannot be run so.
    """
    own = simulated_config(config, record, first)
    load = recorded_load(profile, float(own.episode_s or 0.0))
    replayed = run_episode(
        make_environment(own, RecordedDecisions(record, first), None, load),
        RecordedDecisions(record, first),
        record.metadata.seed,
    )
    alone = None if contender.controller == "cluster" else _alone(contender, own, load, record, forecaster)
    return Beside(
        _labelled(replayed, record, REPLAYED), None if alone is None else _labelled(alone, record, ALONE)
    )


def _alone(
    contender: Contender, config: EnvConfig, load: RecordedLoad, record: EpisodeRecord, forecaster: str | None
) -> EpisodeRecord:
    """Run the same controller or policy in the simulator."""
    seed = record.metadata.seed
    if contender.policy is not None:
        policy = load_actor(contender.policy)
        env = policy_environment(policy, config=config, forecaster=forecaster, workload=load)
        return run_policy(env, policy, seed)
    controller = make_controller(contender.controller, **contender.options)
    return run_episode(make_environment(config, controller, forecaster, load), controller, seed)


def _labelled(simulated: EpisodeRecord, record: EpisodeRecord, how: str) -> EpisodeRecord:
    """Return a simulated record under the name of the live one and how it came about."""
    own: Mapping[str, Any] = record.metadata.controller_options
    metadata = replace(
        simulated.metadata,
        environment=record.metadata.environment,
        workload=record.metadata.workload,
        controller=f"{record.metadata.controller} {how}",
        controller_options={**own, "simulated": how},
    )
    return replace(simulated, metadata=metadata)

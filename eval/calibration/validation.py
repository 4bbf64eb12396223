"""The fitted simulator against a recording: recorded load, recorded replicas, what then happens.

The simulator gets the requests that arrived and the replicas and quotas that were wanted, each when it was
so. Pods start in its own time. What it says of response time, CPU and ready replicas is compared.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.config import EnvConfig
from podgym.envs.env import AutoscaleEnv
from podgym.envs.simulator.parameters import LoadParameters, ServiceConfig
from podgym.envs.workloads.profile import LoadKind, LoadProfile
from podgym.eval.calibration.recording import Recording
from podgym.eval.calibration.replay import fluctuating
from podgym.eval.calibration.series import service_series
from podgym.eval.episode import EpisodeRecord
from podgym.eval.runner import run_episode

Floats = NDArray[np.float64]

_MOST_REPLICAS = 5000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of one service: recorded against simulated."""

    service: str
    measure: str
    """``response_time_mean_s`` (over all requests of the run), ``cpu_cores`` or ``replicas_ready`` (means
    over time)."""
    recorded: float
    simulated: float
    error: float
    """Simulated / recorded - 1."""
    interval_error: float
    """Mean over the intervals of the absolute relative error."""


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """One run of the simulator beside a recording."""

    comparisons: tuple[Comparison, ...]
    simulated: EpisodeRecord
    """The episode that the simulator ran."""

    def error(self, measure: str, service: str | None = None) -> float:
        """Return the error of a measure; the largest of all services unless one is named."""
        errors = [
            each.error
            for each in self.comparisons
            if each.measure == measure and service in (None, each.service)
        ]
        return max(errors, key=abs, default=math.nan)


class RecordedLoad:
    """The workload of a recorded run: external requests/s, or users where the load was closed.

    Its means over each interval are the recorded ones. Within an interval it fluctuates as ``noise`` says;
    the environment must not disturb it once more.
    """

    name = "recorded"

    def __init__(
        self, values: Floats, ends_s: Floats, step_s: float, noise: LoadParameters, kind: LoadKind = "open"
    ) -> None:
        """Lay the values (n,) of intervals that end at ``ends_s`` on samples every ``step_s``."""
        self.kind = kind
        self.step_s = step_s
        self.max_duration_s = float(ends_s[-1])
        self._interval_values = values
        self._noise = noise
        times_s = np.arange(math.ceil(self.max_duration_s / step_s) + 1) * step_s
        at = np.searchsorted(ends_s, times_s + 1e-9, side="right")
        self._interval_of = np.minimum(at, len(values) - 1)

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the recorded load from its beginning."""
        samples = fluctuating(self._interval_values, self._interval_of, self.step_s, self._noise, rng)
        count = math.ceil(duration_s / self.step_s - 1e-9) + 1
        return LoadProfile(samples[:count], self.step_s, self.kind, 0.0, "recorded load")


class RecordedDecisions:
    """A controller that decides what was decided in a recording, at the time when it was."""

    name = "recorded"

    def __init__(self, recording: Recording) -> None:
        """Look the wanted replicas and quotas up."""
        record = recording.record
        self._ends_s = np.cumsum(record.columns["duration_s"][:, 0])
        self._replicas = np.rint(record.columns["replicas_wanted"])
        self._cpu_cores = record.columns["cpu_request_cores"]
        self._limit_cores = record.columns["cpu_limit_cores"]

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Return what was wanted in the interval that begins now."""
        at = min(
            int(np.searchsorted(self._ends_s, observation.time_s + 1e-6, side="right")), len(self._ends_s) - 1
        )
        return tuple(self._decision(at, s) for s in range(len(observation.services)))

    def _decision(self, at: int, s: int) -> ServiceDecision:
        replicas = int(max(self._replicas[at, s], 1)) if np.isfinite(self._replicas[at, s]) else None
        request, limit = float(self._cpu_cores[at, s]), float(self._limit_cores[at, s])
        if not 0.0 < request <= limit < math.inf:
            return ServiceDecision(replicas)
        return ServiceDecision(replicas, request, limit)


def validate(recording: Recording, config: EnvConfig, seed: int = 0) -> Validation:
    """Run the simulator on the recorded load and replicas and compare.

    Args:
        recording: the run, of which the fit may or may not know.
        config: environment with the constants to judge.
        seed: of the simulated episode (start-up times).

    Raises:
        InputError: the recording is too short, or cannot be simulated in this environment.
    """
    record = recording.record
    services = _in_recorded_order(recording, config)
    env = AutoscaleEnv(_config(recording, config, services), workload=_load(recording, config, services))
    simulated = run_episode(env, RecordedDecisions(recording), seed, environment="recorded load")
    comparisons = [
        each for s, service in enumerate(services) for each in _compare(record, simulated, service.name, s)
    ]
    return Validation(tuple(comparisons), simulated)


def _load(recording: Recording, config: EnvConfig, services: list[ServiceConfig]) -> RecordedLoad:
    """Return the users of a closed load, as its profile says; else the requests that came from outside."""
    record = recording.record
    series = [service_series(recording, each.name, each.quota.cpu_limit_cores) for each in services]
    ends_s, tick_s, noise = series[0].ends_s, config.cluster.tick_s, config.cluster.load
    if record.metadata.profile_kind == "closed":
        return RecordedLoad(record.load, ends_s, tick_s, noise, "closed")
    entering = [s for s, share in enumerate(record.metadata.entry_share) if share > 0.0]
    rates_rps = np.stack([series[s].arrived / series[s].durations_s for s in entering]).sum(axis=0)
    return RecordedLoad(rates_rps * _from_outside(record, entering), ends_s, tick_s, noise)


def _from_outside(record: EpisodeRecord, entering: list[int]) -> float:
    """Return the share of the requests of the entry services that comes from outside, not from each other."""
    visits, share = np.array(record.metadata.visits), np.array(record.metadata.entry_share)
    return float(share[entering].sum() / visits[entering].sum())


def _in_recorded_order(recording: Recording, config: EnvConfig) -> list[ServiceConfig]:
    by_name = {service.name: service for service in config.cluster.services}
    return [by_name[name] for name in recording.record.metadata.service_names]


def _config(recording: Recording, config: EnvConfig, services: list[ServiceConfig]) -> EnvConfig:
    """Return the environment in the state in which the recording begins, without noise in the arrivals."""
    record = recording.record
    changed = [
        _first_state(service, {name: values[:, s] for name, values in record.columns.items()})
        for s, service in enumerate(services)
    ]
    cluster = replace(
        config.cluster,
        services=tuple(changed),
        load=replace(config.cluster.load, rate_noise_cv=0.0),
        control_interval_s=_whole_ticks(record.metadata.control_interval_s, config.cluster.tick_s),
    )
    ends_s = float(record.columns["duration_s"][:, 0].sum())
    episode_s = math.floor(ends_s / cluster.control_interval_s + 1e-6) * cluster.control_interval_s
    observation = replace(config.observation, forecast="none")
    return replace(config, cluster=cluster, episode_s=episode_s, observation=observation)


def _whole_ticks(interval_s: float, tick_s: float) -> float:
    return max(round(interval_s / tick_s), 1) * tick_s


def _first_state(service: ServiceConfig, columns: Mapping[str, Floats]) -> ServiceConfig:
    """Return a service with the replicas and the quota with which the recording begins."""
    wanted = columns["replicas_wanted"]
    change = float(np.nan_to_num(columns["replica_change"][0]))
    first = int(min(max(round(float(wanted[0]) - change), 1), _MOST_REPLICAS))
    most = int(max(np.nanmax(wanted), service.max_replicas, first))
    fields: dict[str, Any] = {
        "initial_replicas": first, "min_replicas": 1, "max_replicas": most, "scale_replicas": None
    }  # fmt: skip
    request, limit = float(columns["cpu_request_cores"][0]), float(columns["cpu_limit_cores"][0])
    if 0.0 < request <= limit < math.inf:
        fields |= {"cpu_request_cores": request, "cpu_limit_ratio": limit / request}
    memory_bytes = float(columns["memory_request_bytes"][0])
    if 0.0 < memory_bytes < math.inf:
        fields["memory_request_bytes"] = memory_bytes
    return replace(service, **fields)


def _compare(record: EpisodeRecord, simulated: EpisodeRecord, service: str, s: int) -> list[Comparison]:
    """Compare one service, interval by interval of the simulated run and over all of it."""
    middles_s = simulated.columns["time_s"][:, 0] - 0.5 * simulated.columns["duration_s"][:, 0]
    ends_s = np.cumsum(record.columns["duration_s"][:, 0])
    at = np.minimum(np.searchsorted(ends_s, middles_s), len(ends_s) - 1)
    own = {name: values[at, s] for name, values in record.columns.items()}
    others = {name: values[:, s] for name, values in simulated.columns.items()}
    pairs = {
        "response_time_mean_s": (_response(own), _response(others)),
        "cpu_cores": (_cpu(own), _cpu(others)),
        "replicas_ready": (_ready(own), _ready(others)),
    }
    return [_comparison(service, measure, first, second) for measure, (first, second) in pairs.items()]


Weighted = tuple[Floats, Floats]
"""Values and weights, (n,) each; nan where something was not measured."""


def _response(columns: Mapping[str, Floats]) -> Weighted:
    return np.where(columns["completed"] > 0.0, columns["response_time_mean_s"], np.nan), columns["completed"]


def _cpu(columns: Mapping[str, Floats]) -> Weighted:
    used = columns["cpu_used_core_s"]
    return np.where(used > 0.0, used / columns["duration_s"], np.nan), columns["duration_s"]


def _ready(columns: Mapping[str, Floats]) -> Weighted:
    return columns["ready_replica_s"] / columns["duration_s"], columns["duration_s"]


def _comparison(service: str, measure: str, recorded: Weighted, simulated: Weighted) -> Comparison:
    known = np.isfinite(recorded[0]) & np.isfinite(simulated[0])
    if not known.any():
        return Comparison(service, measure, math.nan, math.nan, math.nan, math.nan)
    first = float(np.average(recorded[0][known], weights=recorded[1][known]))
    second = float(np.average(simulated[0][known], weights=simulated[1][known]))
    positive = known & (recorded[0] > 0.0)
    each = np.abs(simulated[0][positive] / recorded[0][positive] - 1.0)
    return Comparison(service, measure, first, second, second / first - 1.0, float(each.mean()))

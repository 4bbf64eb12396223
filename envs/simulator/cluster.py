"""The simulated cluster: a batch for training, and one of it behind the ``Cluster`` protocol."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import ClusterObservation, PodSample, PodView, Quota, ServiceDecision, ServiceView
from podgym.envs.simulator.compile import MachineCode
from podgym.envs.simulator.engine import advance, decide_all
from podgym.envs.simulator.nodes import DEAD_ENDPOINT
from podgym.envs.simulator.parameters import LARGEST_CPU_CORES, ClusterConfig, ServiceConfig
from podgym.envs.simulator.pod_actions import act_on_pods
from podgym.envs.simulator.records import (
    BACKOFF,
    EMPTY,
    NEVER,
    PENDING,
    PULLING,
    READY,
    STARTING,
    TERMINATING,
    UNREACHABLE,
    Records,
)
from podgym.envs.simulator.streams import STATE_WORDS, STREAMS
from podgym.envs.simulator.world import first_moment, make_world, start_episode
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError

_LARGEST = (LARGEST_CPU_CORES, LARGEST_CPU_CORES, 1e15, 1e15)  # of the columns of a quota


def stream_seeds(rng: np.random.Generator) -> NDArray[np.uint64]:
    """Draw the seeds of one cluster's random streams for one episode, shape (STREAMS, 4)."""
    return rng.integers(1, 2**64 - 1, size=(STREAMS, STATE_WORDS), dtype=np.uint64)


class SimulatedClusters:
    """``num_clusters`` independent clusters of one configuration, stepped together.

    Cluster i of a batch equals the same cluster alone: each has its own random stream and nothing is
    shared but constants.
    """

    def __init__(self, config: ClusterConfig, num_clusters: int = 1) -> None:
        """Allocate the batch.

        Raises:
            InputError: ``num_clusters`` is below 1.
        """
        if num_clusters < 1:
            raise InputError(f"num_clusters is {num_clusters}; it must be 1 or more.")
        self.config = config
        self.world = make_world(config, num_clusters, profile_samples=2)
        self._first = first_moment(config)
        self._start = MachineCode(start_episode)

    @property
    def num_clusters(self) -> int:
        """Number of clusters in the batch."""
        return len(self.world.clusters)

    def reset(self, index: int, profile: LoadProfile, words: NDArray[np.uint64]) -> None:
        """Start an episode in one cluster.

        Args:
            index: which cluster.
            profile: its load.
            words: seeds of the cluster's random streams, from ``stream_seeds``.
        """
        samples = len(profile.values)
        if samples > self.world.profile.shape[1]:
            longer = np.zeros((self.num_clusters, samples))
            longer[:, : self.world.profile.shape[1]] = self.world.profile
            self.world = self.world._replace(profile=longer)
        arguments = (
            self.world, self._first, index, profile.values, profile.step_s, profile.kind == "closed",
            profile.start_time_s, words,
        )  # fmt: skip
        self._start(*arguments)

    def decide(self, replicas: NDArray[np.int64], quotas: NDArray[np.float64]) -> None:
        """Set what is wanted of every service of every cluster.

        Args:
            replicas: (num_clusters, num_services).
            quotas: (num_clusters, num_services, 4) CPU request and limit in cores, memory request and
                limit in bytes.
        """
        decide_all(self.world, replicas, quotas)

    def advance(self) -> Records:
        """Let one control interval pass; return its report, (num_clusters, num_services) records."""
        advance(self.world)
        return self.world.interval

    def wanted(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what is wanted now, in the form that ``decide`` takes."""
        services = self.world.services
        quotas = np.stack(
            [
                services["cpu_request_cores"],
                services["cpu_limit_cores"],
                services["memory_request_bytes"],
                services["memory_limit_bytes"],
            ],
            axis=-1,
        )
        return services["wanted"].copy(), quotas

    def observe(self, index: int = 0) -> ClusterObservation:
        """Return what the monitoring pipeline shows of one cluster."""
        return ClusterObservation(
            time_s=float(self.world.clusters[index]["time_s"]),
            services=tuple(self._service_view(index, s) for s in range(len(self.config.services))),
        )

    def _service_view(self, index: int, s: int) -> ServiceView:
        service = self.config.services[s]
        state = self.world.services[index, s]
        time_s = float(state["seen_time_s"])
        return ServiceView(
            name=service.name,
            replicas_wanted=int(state["wanted"]),
            replicas=int(state["alive"]),
            replicas_ready=int(state["ready"] + state["dead_endpoints"]),
            min_replicas=service.min_replicas,
            max_replicas=service.max_replicas,
            quota=_quota(state),
            sample_time_s=None if np.isnan(time_s) else time_s,
            request_rate_rps=float(state["seen_rate_rps"]),
            response_time_s=float(state["seen_response_s"]),
            error_ratio=float(state["seen_error_ratio"]),
            in_flight=float(state["seen_in_flight"]),
            pods=self._pod_views(index, s),
        )

    def _pod_views(self, index: int, s: int) -> tuple[PodView, ...]:
        state = self.world.services[index, s]
        slots = int(state["slots"])
        phases = self.world.phase[index, s, :slots].tolist()
        pods = self.world.pods[index, s, :slots].tolist()
        names = self.world.pods.dtype.names or ()
        place = {name: position for position, name in enumerate(names)}
        views = []
        for phase, pod in zip(phases, pods, strict=True):
            if phase == EMPTY:
                continue
            quota = Quota(
                pod[place["cpu_request_milli"]] / 1000,
                pod[place["cpu_limit_milli"]] / 1000,
                float(pod[place["memory_request_bytes"]]),
                float(pod[place["memory_limit_bytes"]]),
            )
            start_s, endpoint = pod[place["start_s"]], pod[place["endpoint"]]
            killed = pod[place["oom_s"]] < NEVER
            views.append(
                PodView(
                    name=f"{self.config.services[s].name}-{pod[place['serial']]}",
                    phase="Pending" if phase in (PENDING, PULLING) else "Running",
                    ready=phase == READY or (phase == UNREACHABLE and endpoint == DEAD_ENDPOINT),
                    start_time_s=None if phase == PENDING else start_s,
                    ready_transition_time_s=pod[place["ready_change_s"]],
                    deleted=phase == TERMINATING,
                    quota=quota,
                    sample=self._sample(index, s, phase, start_s),
                    oom_killed_s=pod[place["oom_s"]] if killed else None,
                    oom_ran_s=pod[place["oom_ran_s"]] if killed else None,
                )
            )
        return tuple(views)

    def _sample(self, index: int, s: int, phase: int, start_s: float) -> PodSample | None:
        """The metrics API's answer for one pod: nothing until it has run for a whole scrape interval."""
        state = self.world.services[index, s]
        time_s = float(state["seen_time_s"])
        if np.isnan(time_s) or phase not in (READY, STARTING, BACKOFF):
            return None
        if start_s > time_s - self.config.monitoring.scrape_interval_s:
            return None
        physics = self.config.services[s].parameters
        if phase != READY:
            cpu = physics.start_up_cpu_cores if phase == STARTING else 0.0
            return PodSample(cpu, physics.base_memory_bytes, time_s, float(state["seen_window_s"]))
        cpu, memory = float(state["seen_cpu_cores"]), float(state["seen_memory_bytes"])
        if np.isnan(cpu) or np.isnan(memory):
            return None
        return PodSample(cpu, memory, time_s, float(state["seen_window_s"]))


def _quota(state: Records) -> Quota:
    return Quota(
        float(state["cpu_request_cores"]),
        float(state["cpu_limit_cores"]),
        float(state["memory_request_bytes"]),
        float(state["memory_limit_bytes"]),
    )


class SimulatedCluster:
    """One cluster behind the ``Cluster`` protocol: observe, apply, advance.

    Decisions are bounded by the service's minimum and maximum replicas; what is not a number is refused
    before it can reach the state.
    """

    def __init__(self, config: ClusterConfig, profile: LoadProfile, seed: int = 0) -> None:
        """Make a cluster and start an episode under ``profile``."""
        self.clusters = SimulatedClusters(config)
        self.clusters.reset(0, profile, stream_seeds(np.random.default_rng(seed)))

    def observe(self) -> ClusterObservation:
        """Return what the monitoring pipeline shows."""
        return self.clusters.observe(0)

    def apply(self, decisions: Sequence[ServiceDecision]) -> None:
        """Set what is wanted.

        Raises:
            InputError: not one decision per service, or a value that is not a positive finite number.
        """
        replicas, quotas = self.clusters.wanted()
        merge_decisions(self.clusters.config, decisions, replicas[0], quotas[0])
        act_on_pods(self.clusters.world, 0, decisions)
        self.clusters.decide(replicas, quotas)

    def advance(self) -> Records:
        """Let one control interval pass; return its report, (num_services,) records."""
        report: Records = self.clusters.advance()[0]
        return report


def merge_decisions(
    config: ClusterConfig,
    decisions: Sequence[ServiceDecision],
    replicas: NDArray[np.int64],
    quotas: NDArray[np.float64],
) -> None:
    """Write decisions over what is wanted, in place, after checking them.

    Args:
        config: the cluster.
        decisions: one per service.
        replicas: (num_services,) wanted replicas.
        quotas: (num_services, 4) as in ``SimulatedClusters.decide``.

    Raises:
        InputError: not one decision per service, a value that is not a positive finite number, a limit
            below its request, or a quota for both the template and the admission.
    """
    if len(decisions) != len(config.services):
        raise InputError(f"got {len(decisions)} decisions; there are {len(config.services)} services.")
    for s, (service, decision) in enumerate(zip(config.services, decisions, strict=True)):
        if not isinstance(decision, ServiceDecision):
            raise InputError(f"{service.name}: {decision!r} is not a ServiceDecision.")
        if decision.replicas is not None:
            replicas[s] = _bounded_replicas(service, decision.replicas)
        for column, (name, value) in enumerate(_quota_values(service, decision)):
            if value is None:
                continue
            if not _is_number(value) or not 0.0 < value <= _LARGEST[column]:
                raise InputError(
                    f"{service.name}: {name} {value!r} must be a positive number up to {_LARGEST[column]:g}."
                )
            quotas[s, column] = value
        if quotas[s, 1] < quotas[s, 0] or quotas[s, 3] < quotas[s, 2]:
            raise InputError(f"{service.name}: a limit is below its request: {quotas[s].tolist()}.")


def _quota_values(service: ServiceConfig, decision: ServiceDecision) -> list[tuple[str, float | None]]:
    """Return the decided quota by name, in the order of the columns: the template's or the admission's."""
    names = ("cpu_request_cores", "cpu_limit_cores", "memory_request_bytes", "memory_limit_bytes")
    values = [(name, getattr(decision, name)) for name in names]
    if decision.admission is None:
        return values
    if any(value is not None for _, value in values):
        raise InputError(
            f"{service.name}: the decision has an admission and a quota of the template; give one of them."
        )
    return [(name, getattr(decision.admission, name)) for name in names]


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and math.isfinite(cast(float, value))


def _bounded_replicas(service: ServiceConfig, replicas: object) -> int:
    if not _is_number(replicas) or cast(float, replicas) % 1 != 0:
        raise InputError(f"{service.name}: replicas {replicas!r} is not a whole number.")
    return min(max(int(cast(float, replicas)), service.min_replicas), service.max_replicas)

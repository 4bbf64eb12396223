"""The simulated cluster: a batch for training, and one of it behind the ``Cluster`` protocol."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import (
    ClusterObservation,
    PodSample,
    PodView,
    Quota,
    RateForecast,
    ServiceDecision,
    ServicePlan,
    ServiceView,
)
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
    POD,
    PULLING,
    READY,
    SERVICE,
    STARTING,
    TERMINATING,
    UNREACHABLE,
    Records,
)
from podgym.envs.simulator.streams import STATE_WORDS, STREAMS
from podgym.envs.simulator.world import (
    first_moment,
    make_world,
    nominal_parameters,
    scale_parameters,
    start_episode,
)
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError

_LARGEST = (LARGEST_CPU_CORES, LARGEST_CPU_CORES, 1e15, 1e15)  # of the columns of a quota
_NUMBERS = (int, float, np.integer, np.floating)

Ahead: TypeAlias = tuple[RateForecast | None, ServicePlan | None]
"""What is known of the future of one service; None: nothing."""


class _ServiceState(NamedTuple):
    """What an observation shows of the record of a service; the names are those of its fields."""

    wanted: int
    alive: int
    ready: int
    dead_endpoints: int
    slots: int
    cpu_request_cores: float
    cpu_limit_cores: float
    memory_request_bytes: float
    memory_limit_bytes: float
    seen_time_s: float
    seen_window_s: float
    seen_rate_rps: float
    seen_response_s: float
    seen_error_ratio: float
    seen_in_flight: float
    seen_cpu_cores: float
    seen_memory_bytes: float


# A record array seen through one of these shows some of its fields, and ``tolist`` reads no others.
_SERVICE_STATE = SERVICE[list(_ServiceState._fields)]
_POD_STATE = POD[
    [
        "serial", "endpoint", "start_s", "ready_change_s", "oom_s", "oom_ran_s",
        "cpu_request_milli", "cpu_limit_milli", "memory_request_bytes", "memory_limit_bytes",
    ]
]  # fmt: skip
_WITHOUT_CONTAINER = (PENDING, PULLING)


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
        self._nominal = nominal_parameters(self.world)
        self._first = first_moment(config)
        self._start = MachineCode(start_episode)

    @property
    def num_clusters(self) -> int:
        """Number of clusters in the batch."""
        return len(self.world.clusters)

    def scale_parameters(self, index: int, factors: Mapping[str, NDArray[np.float64]]) -> None:
        """Give one cluster the configured parameters times factors, from its next ``reset`` on.

        Args:
            index: which cluster.
            factors: (num_services,) each, by name; see ``world.scale_parameters``.
        """
        scale_parameters(self.world, index, self._nominal, **factors)

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

    def observe(self, index: int = 0, ahead: Sequence[Ahead] | None = None) -> ClusterObservation:
        """Return what the monitoring pipeline shows of one cluster.

        Args:
            index: which cluster.
            ahead: what the observation is to show of the future of each service; None: nothing.
        """
        if ahead is None:
            ahead = [(None, None)] * len(self.config.services)
        rows = self.world.services[index].view(_SERVICE_STATE).tolist()
        return ClusterObservation(
            time_s=float(self.world.clusters[index]["time_s"]),
            services=tuple(
                self._service_view(index, s, _ServiceState(*row), ahead[s]) for s, row in enumerate(rows)
            ),
        )

    def _service_view(self, index: int, s: int, state: _ServiceState, ahead: Ahead) -> ServiceView:
        service = self.config.services[s]
        forecast, plan = ahead
        return ServiceView(
            name=service.name,
            replicas_wanted=state.wanted,
            replicas=state.alive,
            replicas_ready=state.ready + state.dead_endpoints,
            min_replicas=service.min_replicas,
            max_replicas=service.max_replicas,
            quota=Quota(
                state.cpu_request_cores,
                state.cpu_limit_cores,
                state.memory_request_bytes,
                state.memory_limit_bytes,
            ),
            sample_time_s=None if math.isnan(state.seen_time_s) else state.seen_time_s,
            request_rate_rps=state.seen_rate_rps,
            response_time_s=state.seen_response_s,
            error_ratio=state.seen_error_ratio,
            in_flight=state.seen_in_flight,
            pods=self._pod_views(index, s, state),
            forecast=forecast,
            plan=plan,
        )

    def _pod_views(self, index: int, s: int, state: _ServiceState) -> tuple[PodView, ...]:
        service = self.config.services[s]
        phases: list[int] = self.world.phase[index, s, : state.slots].tolist()
        pods = self.world.pods[index, s, : state.slots].view(_POD_STATE).tolist()
        # Pods in the same phase use alike. None is scraped until it has run for a whole scrape interval.
        samples = {phase: _sample(service, state, phase) for phase in set(phases)}
        last_start_s = state.seen_time_s - self.config.monitoring.scrape_interval_s
        views = []
        for phase, pod in zip(phases, pods, strict=True):
            if phase == EMPTY:
                continue
            serial, endpoint, start_s, ready_change_s, oom_s, oom_ran_s, *quota = pod
            ready = phase == READY or (phase == UNREACHABLE and endpoint == DEAD_ENDPOINT)
            sample = None if start_s > last_start_s else samples[phase]
            killed = (oom_s, oom_ran_s) if oom_s < NEVER else (None, None)
            views.append(
                PodView(  # by position: names would cost a third more, for every pod in every interval
                    f"{service.name}-{serial}",
                    "Pending" if phase in _WITHOUT_CONTAINER else "Running",
                    ready,
                    None if phase == PENDING else start_s,
                    ready_change_s,
                    phase == TERMINATING,
                    _pod_quota(*quota),
                    sample,
                    *killed,
                )
            )
        return tuple(views)


def _sample(service: ServiceConfig, state: _ServiceState, phase: int) -> PodSample | None:
    """The metrics API's answer for a pod in a phase; None where it has none."""
    if math.isnan(state.seen_time_s):
        return None
    cpu_cores, memory_bytes = state.seen_cpu_cores, state.seen_memory_bytes
    if phase in (STARTING, BACKOFF):
        cpu_cores = service.parameters.start_up_cpu_cores if phase == STARTING else 0.0
        memory_bytes = service.parameters.base_memory_bytes
    elif phase != READY or math.isnan(cpu_cores) or math.isnan(memory_bytes):
        return None
    return PodSample(cpu_cores, memory_bytes, state.seen_time_s, state.seen_window_s)


@lru_cache(maxsize=1024)  # pods of one template share theirs
def _pod_quota(
    cpu_request_milli: int, cpu_limit_milli: int, memory_request_bytes: int, memory_limit_bytes: int
) -> Quota:
    return Quota(
        cpu_request_milli / 1000,
        cpu_limit_milli / 1000,
        float(memory_request_bytes),
        float(memory_limit_bytes),
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
    number = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    return number and math.isfinite(cast(float, value))


def _bounded_replicas(service: ServiceConfig, replicas: object) -> int:
    if not _is_number(replicas) or cast(float, replicas) % 1 != 0:
        raise InputError(f"{service.name}: replicas {replicas!r} is not a whole number.")
    return min(max(int(cast(float, replicas)), service.min_replicas), service.max_replicas)

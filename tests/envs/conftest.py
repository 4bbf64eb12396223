"""What the tests of the environments and of the simulator share: small clusters under glass."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from podgym.envs import AutoscaleEnv, EnvConfig
from podgym.envs.cluster import ClusterObservation, PodView, ServiceDecision, ServiceView
from podgym.envs.config import override
from podgym.envs.simulator import ClusterConfig, SimulatedCluster
from podgym.envs.simulator.records import EMPTY
from podgym.envs.workloads.profile import LoadProfile

QUIET: dict[str, Any] = {
    "control_interval_s": 1.0,
    "tick_s": 1.0,
    "load": {"rate_noise_cv": 0.0},
    "monitoring": {"sampling_noise": False},
    "services": {"web": {"parameters": {"start_up_cv": 0.0}}},
}
"""No randomness, and a look at the cluster after every second."""


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = merged(result[key], value) if both else value
    return result


class Lab:
    """One simulated cluster under a load, with a look at its insides."""

    def __init__(
        self,
        config: ClusterConfig,
        load: float | Sequence[float],
        *,
        kind: str = "open",
        step_s: float = 1.0,
        seed: int = 0,
    ) -> None:
        values = np.full(2, load) if np.isscalar(load) else np.asarray(load, dtype=np.float64)
        profile = LoadProfile(values, step_s, kind, 0.0, "test")  # type: ignore[arg-type]
        self.config = config
        self.cluster = SimulatedCluster(config, profile, seed)

    def want(self, service: int = 0, **fields: Any) -> None:
        """Decide about one service and leave the others as they are."""
        decisions = [ServiceDecision() for _ in self.config.services]
        decisions[service] = ServiceDecision(**fields)
        self.cluster.apply(decisions)

    def want_quota(self, cpu: float, memory: float, ratio: float = 1.0, service: int = 0) -> None:
        """Decide requests, and limits in a fixed ratio."""
        self.want(
            service,
            cpu_request_cores=cpu,
            cpu_limit_cores=cpu * ratio,
            memory_request_bytes=memory,
            memory_limit_bytes=memory * ratio,
        )

    def advance(self, intervals: int = 1) -> np.ndarray:
        """Let intervals pass; return the reports, (intervals, num_services) records."""
        return np.array([self.cluster.advance().copy() for _ in range(intervals)])

    def observe(self) -> ClusterObservation:
        return self.cluster.observe()

    def service(self, index: int = 0) -> ServiceView:
        return self.observe().services[index]

    def pods(self, index: int = 0) -> tuple[PodView, ...]:
        return self.service(index).pods

    @property
    def nodes(self) -> np.ndarray:
        """(num_nodes,) records of the nodes."""
        return self.cluster.clusters.world.nodes[0]

    def placed(self) -> list[tuple[int, int, float, float]]:
        """Service, node, CPU and memory request of every pod that holds a place on a node."""
        world = self.cluster.clusters.world
        found = []
        for s in range(len(self.config.services)):
            nodes = world.pods[0, s]["node"][world.phase[0, s] != EMPTY]
            for node, pod in zip(nodes, self.pods(s), strict=True):  # both in the order of the slots
                if node >= 0:
                    found.append((s, int(node), pod.quota.cpu_request_cores, pod.quota.memory_request_bytes))
        return found

    def pods_per_node(self) -> list[int]:
        counts = [0] * len(self.nodes)
        for _, node, _, _ in self.placed():
            counts[node] += 1
        return counts


@pytest.fixture(scope="session")
def quiet_config() -> Callable[..., ClusterConfig]:
    """Return a function that makes a cluster without randomness, one service, and one-second intervals."""

    def make(*, web: dict[str, Any] | None = None, physics: dict[str, Any] | None = None, **changes: Any):
        service = {**(web or {}), "parameters": physics or {}}
        changed = merged(changes, {"services": {"web": service}})
        return override(ClusterConfig(), merged(QUIET, changed))

    return make


@pytest.fixture(scope="session")
def lab() -> type[Lab]:
    """One simulated cluster under a load, with a look at its insides."""
    return Lab


@pytest.fixture(scope="session")
def quiet_lab(quiet_config: Callable[..., ClusterConfig]) -> Callable[..., Lab]:
    """Return a function that starts a cluster without randomness: load, then changes of its configuration."""

    def start(
        load: float | Sequence[float] = 0.0, /, *, kind: str = "open", seed: int = 0, **changes: Any
    ) -> Lab:
        return Lab(quiet_config(**changes), load, kind=kind, seed=seed)

    return start


class SameLoad:
    """A workload that is the same in every episode."""

    name, max_duration_s = "test", math.inf

    def __init__(self, values: Sequence[float], kind: str, start_time_s: float) -> None:
        self.values, self.kind, self.start_time_s, self.step_s = values, kind, start_time_s, 60.0

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        return LoadProfile(np.array(self.values), self.step_s, self.kind, self.start_time_s, "test")  # type: ignore[arg-type]


class TwoPlans:
    """A planner with one plan for the first five minutes and another one for the rest."""

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> np.ndarray:
        plans = ((6, 1.0, 768 * 2**20), (2, 0.25, 384 * 2**20))  # replicas, cores, bytes
        return np.array([[plan] * len(config.services) for plan in plans])


@pytest.fixture(scope="session")
def make_env() -> Callable[..., AutoscaleEnv]:
    """Return a function that makes an environment of ten minutes: load at every minute, then changes."""

    def make(
        load: Sequence[float] = (60.0, 60.0, 250.0, 250.0, 60.0),
        /,
        *,
        kind: str = "open",
        start_time_s: float = 30_000.0,
        planned: bool = False,
        **changes: Any,
    ) -> AutoscaleEnv:
        changes.setdefault("episode_s", 600.0)
        planner = TwoPlans() if planned else None
        return AutoscaleEnv(workload=SameLoad(load, kind, start_time_s), planner=planner, **changes)

    return make


@pytest.fixture(scope="session")
def two_services() -> dict[str, Any]:
    """Changes of the cluster that put a second service, ``other``, beside the first, ``web``."""
    (web,) = EnvConfig().cluster.services
    return {"services": [web, override(web, {"parameters": {"name": "other"}, "initial_replicas": 5})]}

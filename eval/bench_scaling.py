"""How the cost of a step grows: with the services, with their pods, and with the ticks of a step.

Each series varies one number and keeps the rest, then fits a straight line. The load is constant and no
episode ends while the clock runs, so nothing but the step is measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import ActionConfig, EnvConfig
from podgym.envs.simulator.parameters import (
    GIB,
    MIB,
    ClusterConfig,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)
from podgym.envs.vector_env import AutoscaleVectorEnv
from podgym.envs.workloads.profile import LoadKind, LoadProfile
from podgym.eval.bench import Loop, best_ns, check_effort, time_rounds

SERVICES = (1, 2, 4, 8, 11)
PODS = (4, 8, 16, 32, 64)
TICKS = (1, 5, 15, 30)

_EPISODE_S = 9e8  # never ends while it is measured
_CHUNK_STEPS = 20  # even, because some actions alternate
_RATE_PER_REPLICA_RPS = 10.0  # a third of what a replica can serve, so that half the replicas are enough
_DEMAND_CORE_S = 0.008


@dataclass(frozen=True, slots=True)
class Series:
    """Cost against one number."""

    name: str
    """What was done."""
    variable: str
    """What was varied."""
    values: tuple[int, ...]
    """The values it took."""
    ns_per_step: tuple[float, ...]
    """CPU nanoseconds per environment step at each of them, best round."""

    @property
    def line(self) -> tuple[float, float]:
        """Intercept and slope of the least-squares line, ns per step and ns per step and unit."""
        slope, intercept = np.polyfit(self.values, self.ns_per_step, 1)
        return float(intercept), float(slope)

    @property
    def deviation(self) -> float:
        """Largest distance of a measured cost from the line, as a fraction of the mean cost."""
        intercept, slope = self.line
        fitted = intercept + slope * np.array(self.values)
        return float(np.abs(fitted - self.ns_per_step).max() / np.mean(self.ns_per_step))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        intercept, slope = self.line
        return {
            "name": self.name,
            "variable": self.variable,
            "values": list(self.values),
            "ns_per_step": list(self.ns_per_step),
            "intercept_ns": intercept,
            "slope_ns": slope,
            "deviation": self.deviation,
        }


@dataclass(frozen=True, slots=True)
class ConstantLoad:
    """The same rate for ever, in two samples whatever the length of the episode."""

    rate_rps: float
    """External requests per second."""
    name: str = "constant"
    kind: LoadKind = "open"
    step_s: float = _EPISODE_S
    max_duration_s: float = float("inf")

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load of one episode; nothing is drawn."""
        return LoadProfile(np.full(2, self.rate_rps), duration_s, self.kind, 0.0, self.name)


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration of a series and what is done to it."""

    cluster: ClusterConfig
    actions: tuple[tuple[int, ...], ...]
    """Absolute actions of one environment, in turns."""


Make = Callable[[int], Point]

_KEEP_CPU, _MORE_CPU = 0, 1  # indices of the levels below
_CPU_LEVELS = (0.25, 0.26)


def _service(index: int, *, replicas: int, most: int, calls: dict[str, float], entry: float) -> ServiceConfig:
    return ServiceConfig(
        parameters=ServiceParameters(
            name=f"s{index}",
            cpu_demand_core_s=_DEMAND_CORE_S,
            base_latency_s=0.002,
            base_memory_bytes=64 * MIB,
        ),
        initial_replicas=replicas,
        max_replicas=most,
        cpu_request_cores=_CPU_LEVELS[_KEEP_CPU],
        memory_request_bytes=512 * MIB,
        cpu_levels_cores=_CPU_LEVELS,
        memory_levels_bytes=(512 * MIB,),
        entry_share=entry,
        calls=calls,
    )


_WIDE_NODES = NodeParameters(count=4, cpu_cores=64.0, memory_bytes=256 * GIB)
"""Nodes on which everything fits, the same for every point."""


def _services(count: int, *, chain: bool) -> Point:
    """``count`` services of 4 replicas; each enters its own load, or the first calls the second and so on."""
    services = tuple(
        _service(
            index, replicas=4, most=8,
            calls={f"s{index + 1}": 1.0} if chain and index + 1 < count else {},
            entry=float(index == 0 or not chain),
        )
        for index in range(count)
    )  # fmt: skip
    return Point(ClusterConfig(services=services, nodes=_WIDE_NODES), ((3, 0, 0) * count,))


def _pods(most: int, *, ready: int | None = None, step: int = 0, roll: bool = False) -> Point:
    """One service with ``ready`` of ``most`` replicas, of which every other decision takes ``step`` away."""
    replicas = most if ready is None else ready
    service = _service(0, replicas=replicas, most=most, calls={}, entry=1.0)
    second = (replicas - 1 - step, _MORE_CPU if roll else _KEEP_CPU, 0)
    return Point(
        ClusterConfig(services=(service,), nodes=_WIDE_NODES), ((replicas - 1, _KEEP_CPU, 0), second)
    )


def _halves(most: int) -> Point:
    return _pods(most, step=most // 2)


def _ticks(count: int) -> Point:
    service = _service(0, replicas=8, most=28, calls={}, entry=1.0)
    cluster = ClusterConfig(services=(service,), nodes=_WIDE_NODES, control_interval_s=float(count))
    return Point(cluster, ((7, 0, 0),))


SERIES: tuple[tuple[str, str, Make, tuple[int, ...]], ...] = (
    ("no calls", "services", partial(_services, chain=False), SERVICES),
    ("a chain of calls", "services", partial(_services, chain=True), SERVICES),
    ("all ready, nothing changes", "pods", _pods, PODS),
    ("4 ready, room for all", "pods", partial(_pods, ready=4), PODS),
    ("half go, half come back", "pods", _halves, PODS),
    ("a new quota each step", "pods", partial(_pods, roll=True), PODS),
    ("one service, 8 pods", "ticks", _ticks, TICKS),
)
"""Name, what is varied, what makes a point, and the values."""


def constant_load(cluster: ClusterConfig) -> ConstantLoad:
    """Return a load under which each service of a point receives the same rate per first replica."""
    entering = sum(service.entry_share for service in cluster.services)
    return ConstantLoad(_RATE_PER_REPLICA_RPS * cluster.services[0].initial_replicas * entering)


def _loop(point: Point, num_envs: int) -> Loop:
    load = constant_load(point.cluster)
    config = EnvConfig(cluster=point.cluster, action=ActionConfig(mode="absolute"), episode_s=_EPISODE_S)
    env = AutoscaleVectorEnv(num_envs, config, workload=load)
    batches = [np.tile(np.array(action, dtype=np.int64), (num_envs, 1)) for action in point.actions]
    actions = [batches[index % len(batches)] for index in range(_CHUNK_STEPS)]
    env.reset(seed=0)
    run = partial(_run, env, actions)
    run()  # until what alternates has settled
    return run


def _run(env: AutoscaleVectorEnv, actions: Sequence[NDArray[np.int64]]) -> int:
    for action in actions:
        env.step(action)
    return len(actions) * env.num_envs


def bench_scaling(
    num_envs: int = 1024,
    *,
    seconds: float = 0.5,
    repeats: int = 3,
    values: int | None = None,
    on_series: Callable[[], None] = lambda: None,
) -> list[Series]:
    """Measure every series.

    Args:
        num_envs: environments in a batch.
        seconds: CPU time for each point, over all rounds.
        repeats: rounds; each visits every point of a series once.
        values: only so many values of each series, at least 2; default: all.
        on_series: called after each series.

    Raises:
        InputError: ``seconds`` or ``repeats`` is not above 0.
    """
    check_effort(seconds, repeats)
    result = []
    for name, variable, make, all_values in SERIES:
        taken = all_values[:values]
        loops = [_loop(make(value), num_envs) for value in taken]
        timings = time_rounds(loops, seconds, repeats)
        result.append(Series(name, variable, taken, tuple(best_ns(rounds) for rounds in timings)))
        on_series()
    return result

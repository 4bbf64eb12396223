"""What the planner knows of a cluster whatever the load: choices, queues, memory and room on the nodes."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.queues import Queues, joined, queues_of
from podgym.envs.simulator.parameters import GIB, ClusterConfig, ServiceConfig
from podgym.envs.simulator.queueing import delay_table
from podgym.envs.simulator.world import log_sigma, visits_per_request
from podgym.errors import InputError, unknown_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MemoryBound = Literal["request", "limit"]
"""Below what the memory of a pod has to stay: its request, or its limit."""

MOST_CELLS = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class ClusterModel:
    """Choices and constants of S services; a *cell* is a service with a number of pods of a CPU level.

    Only levels that fit a node are choices, and only as many pods as the nodes could hold if they had no
    other service and the smallest quota.
    """

    config: ClusterConfig
    """The cluster."""
    memory_bound: MemoryBound
    """Below what the memory of a pod has to stay."""
    min_replicas: Ints
    """(S,) fewest pods."""
    max_replicas: Ints
    """(S,) most pods."""
    cpu_choices: Ints
    """(S,) number of CPU levels that fit a node: the smallest ones."""
    memory_choices: Ints
    """(S,) number of memory levels that fit a node."""
    cpu_milli: Ints
    """(S, most levels) CPU request of each level, millicores; unused places repeat the last level."""
    memory_bytes: Ints
    """(S, most levels) memory request of each level, bytes."""
    memory_room_bytes: Floats
    """(S, most levels) bytes that a pod of each level may use."""
    first_cell: Ints
    """(S,) index of the first cell of each service; pods vary more slowly than CPU levels."""
    queues: Queues
    """Of all cells."""
    service_of_cell: Ints
    """(cells,) service of each cell."""
    visits: Floats
    """(S,) calls of each service per external request."""
    under_way: Floats
    """(S, S) calls of each service, direct and further down, that a request of a service waits for."""
    base_memory_bytes: Floats
    """(S,) working set of a pod without requests."""
    memory_per_request_bytes: Floats
    """(S,) working set added by a request in the pod."""
    concurrency_per_pod: Floats
    """(S,) requests that a pod works on at once."""
    node_room: tuple[int, int, int]
    """Millicores, bytes and pods of a node."""
    num_nodes: int
    """Nodes."""
    noise_sigma: float
    """Standard deviation of the logarithm of the rate's disturbance."""
    think_s: float
    """Closed users: time outside the queues per request, think time and base latencies, seconds."""

    @property
    def num_services(self) -> int:
        """Services."""
        return len(self.visits)

    @property
    def cpu_levels_cores(self) -> tuple[tuple[float, ...], ...]:
        """CPU levels that are choices, per service."""
        levels = [service.cpu_levels_cores for service in self.config.services]
        return tuple(each[:count] for each, count in zip(levels, self.cpu_choices.tolist(), strict=True))

    @property
    def memory_levels_bytes(self) -> tuple[tuple[float, ...], ...]:
        """Memory levels that are choices, per service."""
        levels = [service.memory_levels_bytes for service in self.config.services]
        return tuple(each[:count] for each, count in zip(levels, self.memory_choices.tolist(), strict=True))

    def cells(self, genes: Ints) -> Ints:
        """Return the cells of plans.

        Args:
            genes: (plans, S, 3) pods, index of the CPU level, index of the memory level.

        Returns:
            (plans, S).
        """
        return np.asarray(
            self.first_cell + (genes[:, :, 0] - self.min_replicas) * self.cpu_choices + genes[:, :, 1]
        )


def cluster_model(config: ClusterConfig, memory_bound: MemoryBound = "request") -> ClusterModel:
    """Return what the planner knows of a cluster.

    Args:
        config: the cluster.
        memory_bound: "request" keeps the memory of a pod within its request, as the paper's single quota and
            as nodes need that are not to run out of memory; "limit" only within its limit.

    Raises:
        InputError: a service of which no quota fits a node, or of which the minimum of pods cannot be placed.
    """
    if memory_bound not in get_args(MemoryBound):
        raise unknown_name("memory_bound", memory_bound, get_args(MemoryBound))
    nodes, services = config.nodes, config.services
    room = (
        math.floor(nodes.allocatable_cpu_cores * 1000 + 1e-6),
        math.floor(nodes.allocatable_memory_bytes),
        nodes.max_pods,
    )
    milli = [_fitting(service, _milli(service), room[0], "CPU") for service in services]
    memory = [_fitting(service, _bytes(service), room[1], "memory") for service in services]
    most = [
        _most_pods(service, milli[s][0], memory[s][0], room, nodes.count)
        for s, service in enumerate(services)
    ]
    visits = visits_per_request(config)
    counts = np.array([len(levels) for levels in milli], dtype=np.int64)
    fewest = np.array([service.min_replicas for service in services], dtype=np.int64)
    cells = (np.array(most) - fewest + 1) * counts  # (S,) cells of each service
    if cells.sum() > MOST_CELLS:
        raise InputError(
            f"the planner would compare {int(cells.sum())} combinations of pods and CPU levels, more than "
            f"{MOST_CELLS}; lower max_replicas or give fewer cpu_levels_cores."
        )
    physics = [service.parameters for service in services]
    network_s = float(visits @ [each.base_latency_s for each in physics])
    return ClusterModel(
        config=config,
        memory_bound=memory_bound,
        min_replicas=fewest,
        max_replicas=np.array(most, dtype=np.int64),
        cpu_choices=counts,
        memory_choices=np.array([len(levels) for levels in memory], dtype=np.int64),
        cpu_milli=_padded(milli),
        memory_bytes=_padded(memory),
        memory_room_bytes=_memory_room(services, _padded(memory), memory_bound),
        first_cell=np.concatenate([[0], np.cumsum(cells)[:-1]]),
        queues=joined([_queues(service, milli[s], most[s]) for s, service in enumerate(services)]),
        service_of_cell=np.repeat(np.arange(len(services)), cells),
        visits=visits,
        under_way=_under_way(config),
        base_memory_bytes=np.array([each.base_memory_bytes for each in physics]),
        memory_per_request_bytes=np.array([each.memory_per_request_bytes for each in physics]),
        concurrency_per_pod=np.array([float(each.concurrency_per_pod) for each in physics]),
        node_room=room,
        num_nodes=nodes.count,
        noise_sigma=log_sigma(config.load.rate_noise_cv),
        think_s=max(config.load.think_time_s + network_s, 1e-3),
    )


def _milli(service: ServiceConfig) -> list[int]:
    return [to_milli(level) for level in service.cpu_levels_cores]


def _bytes(service: ServiceConfig) -> list[int]:
    return [math.ceil(level) for level in service.memory_levels_bytes]


def to_milli(cores: float) -> int:
    """Return whole millicores, rounded up as a Kubernetes quantity is."""
    return math.ceil(cores * 1000.0 - 1e-6)


def _fitting(service: ServiceConfig, levels: list[int], room: int, resource: str) -> list[int]:
    """Return the levels, ascending, that fit a node.

    Raises:
        InputError: none does.
    """
    fitting = [level for level in levels if level <= room]
    if fitting:
        return fitting
    unit, name = (1000.0, "cores") if resource == "CPU" else (GIB, "GiB")
    field = "cpu_levels_cores" if resource == "CPU" else "memory_levels_bytes"
    raise InputError(
        f"service {service.name!r} fits no node: its smallest {resource} level is {levels[0] / unit:g} "
        f"{name}, a node has {room / unit:g} to give; add a smaller level to {field}, or use larger nodes."
    )


def _most_pods(
    service: ServiceConfig, milli: int, memory: int, room: tuple[int, int, int], nodes: int
) -> int:
    """Return the most pods that nodes can hold at the smallest quota.

    Raises:
        InputError: fewer than the service's minimum.
    """
    held = nodes * min(room[0] // milli, room[1] // memory, room[2])
    if held < service.min_replicas:
        raise InputError(
            f"service {service.name!r} has min_replicas {service.min_replicas}, but the nodes hold {held} "
            "of its pods at its smallest quota; lower min_replicas, add smaller levels, or use more nodes."
        )
    return min(held, service.max_replicas)


def _padded(rows: list[list[int]]) -> Ints:
    width = max(len(row) for row in rows)
    return np.array([row + row[-1:] * (width - len(row)) for row in rows], dtype=np.int64)


def _memory_room(services: tuple[ServiceConfig, ...], memory: Ints, bound: MemoryBound) -> Floats:
    if bound == "request":
        return memory.astype(np.float64)
    ratios = np.array([service.memory_limit_ratio for service in services])
    return np.asarray(memory * ratios[:, None])


@lru_cache(maxsize=1)
def _delays() -> Floats:
    return delay_table()


def _queues(service: ServiceConfig, milli: list[int], most: int) -> Queues:
    """Queues of every number of pods and every CPU level of a service; the level varies fastest."""
    limits = [0.001 * to_milli(level * service.cpu_limit_ratio) for level in service.cpu_levels_cores]
    chosen = np.array(limits[: len(milli)], dtype=np.float64)
    replicas = np.arange(service.min_replicas, most + 1, dtype=np.float64)
    return queues_of(
        service.parameters,
        service.slo_response_time_s,
        np.repeat(replicas, len(chosen)),
        np.tile(chosen, len(replicas)),
        _delays(),
    )


def _under_way(config: ClusterConfig) -> Floats:
    names = [service.name for service in config.services]
    calls = np.zeros((len(names), len(names)))
    for s in reversed(config.call_order()):  # callees first
        for callee, count in config.services[s].calls.items():
            k = names.index(callee)
            calls[s] += count * calls[k]
            calls[s, k] += count
    return calls

"""One planning problem: a cluster, the forecast of its load and what runs now; and plans that solve it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.model import ClusterModel, MemoryBound, cluster_model
from podgym.baselines.planner.packing import unplaced_pods
from podgym.baselines.planner.performance import (
    ARRIVALS,
    CPU,
    HELD,
    HELD_PEAK,
    MINUTE_S,
    RESPONSE,
    RESPONSE_PEAK,
    SLOW,
    closed_performance,
    disturbances,
    open_performance,
)
from podgym.baselines.planner.settings import Objective
from podgym.envs.config import REWARD_TERMS
from podgym.envs.simulator.parameters import GIB, ClusterConfig
from podgym.envs.workloads.profile import LoadKind
from podgym.errors import InputError, unknown_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_MINUTES = 1440
_TERM = {name: index for index, name in enumerate(REWARD_TERMS)}


@dataclass(frozen=True, slots=True)
class Plan:
    """Pods and quotas of every service, in the order of the configuration."""

    replicas: tuple[int, ...]
    """(S,) pods."""
    cpu_request_cores: tuple[float, ...]
    """(S,) CPU request of each pod."""
    memory_request_bytes: tuple[float, ...]
    """(S,) memory request of each pod."""
    fitness: float = math.nan
    """Value of the objective; nan: not judged."""

    def as_array(self) -> Floats:
        """Return (S, 3) replicas, cores, bytes."""
        columns = (self.replicas, self.cpu_request_cores, self.memory_request_bytes)
        return np.array(columns, dtype=np.float64).T


@dataclass(frozen=True, slots=True, eq=False)
class PlanningProblem:
    """A cluster under a forecast load; made by ``planning_problem``."""

    model: ClusterModel
    """The cluster."""
    kind: LoadKind
    """What ``rates`` counts."""
    rates: Floats
    """(minutes,) external requests/s, or users of a closed workload."""
    present_replicas: tuple[int, ...] | None
    """(S,) pods that run now; None: the change does not count."""
    table: Floats | None
    """(cells, columns, minutes) performance of each cell; None: it depends on the cells of the other
    services, as that of closed users of several services does."""

    @property
    def genes_of_choices(self) -> tuple[Ints, Ints]:
        """Smallest and largest gene, each (S, 3): pods, index of the CPU level, index of the memory level."""
        zeros = np.zeros_like(self.model.min_replicas)
        low = np.stack([self.model.min_replicas, zeros, zeros], axis=1)
        high = [self.model.max_replicas, self.model.cpu_choices - 1, self.model.memory_choices - 1]
        return low, np.stack(high, axis=1)

    def performance(self, genes: Ints) -> Floats:
        """Return (plans, S, columns, minutes) for plans (plans, S, 3); see ``performance``."""
        cells = self.model.cells(genes)
        if self.table is not None:
            return np.asarray(self.table[cells])
        return closed_performance(self.model, cells, self.rates)

    def memory_need_bytes(self, genes: Ints, performance: Floats) -> Floats:
        """Most memory that a pod of each service will use, (plans, S)."""
        model = self.model
        peak = disturbances(model.noise_sigma)[0][-1]
        waiting = peak * performance[:, :, ARRIVALS] * (model.under_way @ performance[:, :, RESPONSE_PEAK])
        worst = (performance[:, :, HELD_PEAK] + waiting).max(axis=2) / genes[:, :, 0]  # requests in a pod
        held = np.minimum(worst, model.concurrency_per_pod)
        return np.asarray(model.base_memory_bytes + model.memory_per_request_bytes * held)

    def terms(self, genes: Ints, performance: Floats) -> Floats:
        """Raw terms of the reward per second, (plans, 7) in the order of ``REWARD_TERMS``.

        Args:
            genes: (plans, S, 3) pods, index of the CPU level, index of the memory level.
            performance: (plans, S, columns, minutes) of the same plans.
        """
        arrivals, response = performance[:, :, ARRIVALS], performance[:, :, RESPONSE]  # (plans, S, minutes)
        requested_cores, requested_bytes = self._requested(genes)
        slow = (arrivals * performance[:, :, SLOW]).sum(axis=1) / np.maximum(arrivals.sum(axis=1), 1e-12)
        terms = np.zeros((len(genes), len(REWARD_TERMS)))
        terms[:, _TERM["slo_violation"]] = slow.mean(axis=1)
        terms[:, _TERM["cpu_cost"]] = requested_cores
        terms[:, _TERM["memory_cost"]] = requested_bytes / GIB
        if self.present_replicas is not None:
            changed = np.abs(genes[:, :, 0] - np.array(self.present_replicas)).sum(axis=1)
            terms[:, _TERM["churn"]] = changed / (len(self.rates) * MINUTE_S)
        terms[:, _TERM["cpu_utilisation"]] = performance[:, :, CPU].sum(axis=1).mean(axis=1) / requested_cores
        terms[:, _TERM["memory_utilisation"]] = self._used_bytes(genes, performance) / requested_bytes
        terms[:, _TERM["response_time"]] = (self.model.visits @ response).mean(axis=1)
        return terms

    def _used_bytes(self, genes: Ints, performance: Floats) -> Floats:
        """Mean memory that all pods use, (plans,)."""
        model = self.model
        replicas = genes[:, :, 0]
        waiting = performance[:, :, ARRIVALS] * (model.under_way @ performance[:, :, RESPONSE])
        room = (replicas * model.concurrency_per_pod)[:, :, None]
        held = np.minimum(performance[:, :, HELD] + waiting, room).mean(axis=2)  # (plans, S) requests
        return np.asarray(replicas @ model.base_memory_bytes + held @ model.memory_per_request_bytes)

    def _requested(self, genes: Ints) -> tuple[Floats, Floats]:
        """Cores and bytes that plans request in all, each (plans,)."""
        services = np.arange(self.model.num_services)
        milli = genes[:, :, 0] * self.model.cpu_milli[services, genes[:, :, 1]]
        memory = genes[:, :, 0] * self.model.memory_bytes[services, genes[:, :, 2]]
        return 0.001 * milli.sum(axis=1), memory.sum(axis=1).astype(np.float64)

    def memory_levels_needed(self, need_bytes: Floats) -> Ints:
        """Smallest memory level that is enough, (plans, S); the number of choices where none is.

        Args:
            need_bytes: (plans, S) memory of a pod.
        """
        enough = self.model.memory_room_bytes >= need_bytes[:, :, None]  # (plans, S, levels)
        level = np.where(enough.any(axis=2), enough.argmax(axis=2), enough.shape[2])
        return np.asarray(np.minimum(level, self.model.memory_choices))

    def unplaced_pods(self, genes: Ints) -> Ints:
        """Pods of each service that find no place on the nodes, (plans, S)."""
        services = np.arange(self.model.num_services)
        return unplaced_pods(
            genes[:, :, 0],
            self.model.cpu_milli[services, genes[:, :, 1]],
            self.model.memory_bytes[services, genes[:, :, 2]],
            self.model.node_room,
            self.model.num_nodes,
        )

    def feasible(self, genes: Ints, performance: Floats) -> NDArray[np.bool_]:
        """Whether plans keep within memory and fit the nodes, (plans,)."""
        need = self.memory_levels_needed(self.memory_need_bytes(genes, performance))
        placed = self.unplaced_pods(genes) == 0
        return np.asarray(((genes[:, :, 2] >= need) & placed).all(axis=1))

    def plan(self, genes: Sequence[int], fitness: float) -> Plan:
        """Return the plan of one individual, (3 * S,) genes service by service."""
        chosen = [genes[3 * s : 3 * s + 3] for s in range(self.model.num_services)]
        cores, memory = self.model.cpu_levels_cores, self.model.memory_levels_bytes
        return Plan(
            tuple(int(each[0]) for each in chosen),
            tuple(float(cores[s][each[1]]) for s, each in enumerate(chosen)),
            tuple(float(memory[s][each[2]]) for s, each in enumerate(chosen)),
            float(fitness),
        )


def planning_problem(
    cluster: ClusterConfig | ClusterModel,
    rates: Sequence[float] | Floats,
    kind: LoadKind = "open",
    *,
    present_replicas: Sequence[int] | None = None,
    memory_bound: MemoryBound = "request",
) -> PlanningProblem:
    """Return a planning problem with its tables, built once.

    Args:
        cluster: the cluster, or what ``cluster_model`` made of it.
        rates: (minutes,) forecast external requests/s, or users of a closed workload.
        kind: which of the two.
        present_replicas: (S,) pods that run now; None: the change does not count.
        memory_bound: see ``cluster_model``; of a finished model its own counts.

    Raises:
        InputError: bad rates or replicas, or a cluster that cannot be planned for.
    """
    model = cluster if isinstance(cluster, ClusterModel) else cluster_model(cluster, memory_bound)
    if kind not in ("open", "closed"):
        raise unknown_name("kind of load", kind, ("open", "closed"))
    checked = _checked_rates(rates)
    table = None
    if kind == "open":
        table = open_performance(model, checked)
    elif model.num_services == 1:
        every = np.arange(len(model.service_of_cell))[:, None]
        table = closed_performance(model, every, checked)[:, 0]
    return PlanningProblem(model, kind, checked, _checked_present(model, present_replicas), table)


def _checked_rates(rates: Sequence[float] | Floats) -> Floats:
    try:
        checked = np.array(rates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the rates of a planning problem must be numbers: {error}.") from error
    if checked.ndim != 1 or not 1 <= len(checked) <= MOST_MINUTES:
        raise InputError(
            f"the rates of a planning problem have the shape {checked.shape}; give one per minute of the "
            f"forecast, 1 to {MOST_MINUTES} in one row."
        )
    if not (checked.min() >= 0.0 and checked.max() <= 1e12):  # nan fails both
        raise InputError(f"the rates of a planning problem are {checked}; they must be finite and 0 or more.")
    checked.setflags(write=False)
    return checked


def _checked_present(model: ClusterModel, present: Sequence[int] | None) -> tuple[int, ...] | None:
    if present is None:
        return None
    try:
        counts = np.array(present, dtype=np.float64)
    except (TypeError, ValueError):
        counts = np.array([np.nan])
    if counts.shape != (model.num_services,) or not (np.floor(counts) == counts).all() or counts.min() < 0:
        raise InputError(
            f"present_replicas is {present!r}; give a whole number of 0 or more for each of the "
            f"{model.num_services} services, or None."
        )
    return tuple(counts.astype(np.int64).tolist())


def fitness_of(objective: Objective, terms: Floats) -> Floats:
    """Return the value of the objective for each plan, (plans,); higher is better."""
    return np.asarray(terms @ objective.weights)


def mean_utilisation_of(objective: Objective, terms: Floats) -> Floats:
    """Return ``alpha U_cpu + beta U_mem`` of each plan with alpha + beta = 1, (plans,)."""
    alpha, beta = objective.utilisation_weights
    return np.asarray(
        alpha * terms[:, _TERM["cpu_utilisation"]] + beta * terms[:, _TERM["memory_utilisation"]]
    )

"""Many planning problems of one cluster, solved one after the other or in parallel processes."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.genetic import PlanningRun, plan_with_ga
from podgym.baselines.planner.model import ClusterModel, MemoryBound, cluster_model
from podgym.baselines.planner.problem import planning_problem
from podgym.baselines.planner.settings import GaSettings, Objective
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.workloads.profile import LoadKind
from podgym.processes import worker_pool

Floats = NDArray[np.float64]

OnDone = Callable[[int, int], None]
"""Called with plans done and plans to do."""


@dataclass(frozen=True, slots=True)
class Task:
    """What all problems have in common; plain data, so that it can go to another process."""

    config: ClusterConfig
    memory_bound: MemoryBound
    kind: LoadKind
    objective: Objective
    settings: GaSettings


@dataclass(frozen=True, slots=True)
class Batch:
    """Problems that one process solves in order."""

    indices: tuple[int, ...]
    """Their places, for whoever asked."""
    rates: tuple[tuple[float, ...], ...]
    """Rates of each, one per minute."""
    present: tuple[int, ...] | None
    """(S,) replicas before the first; None: its change does not count."""
    chained: bool
    """Whether each plan is what is present for the next one."""


def plan_one(
    model: ClusterModel, task: Task, rates: Sequence[float] | Floats, present: Sequence[int] | None
) -> PlanningRun:
    """Solve one problem. The random numbers depend on the seed and the problem, not on its place."""
    problem = planning_problem(model, rates, kind=task.kind, present_replicas=present)
    content = repr((problem.rates.tolist(), problem.present_replicas)).encode()
    words = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint32).tolist()
    rng = np.random.default_rng([task.settings.seed, *words])
    return plan_with_ga(problem, task.objective, task.settings, rng)


def solve(
    task: Task, batches: Sequence[Batch], processes: int, on_done: OnDone | None
) -> dict[int, tuple[Floats, tuple[int, ...] | None]]:
    """Solve batches of problems; the results do not depend on the number of processes.

    Returns:
        By index, the plan (S, 3) and the replicas that were present.

    Raises:
        InputError: a problem without a feasible plan, or a process that died.
    """
    results: dict[int, tuple[Floats, tuple[int, ...] | None]] = {}
    total = sum(len(batch.indices) for batch in batches)
    if processes == 1 or len(batches) <= 1:
        for batch in batches:
            results.update(_solve_batch(task, batch))
            if on_done is not None:
                on_done(len(results), total)
        return results
    with worker_pool(min(processes, len(batches))) as pool:
        for future in as_completed([pool.submit(_solve_batch, task, batch) for batch in batches]):
            results.update(future.result())
            if on_done is not None:
                on_done(len(results), total)
    return results


def _solve_batch(task: Task, batch: Batch) -> dict[int, tuple[Floats, tuple[int, ...] | None]]:
    model = cluster_model(task.config, task.memory_bound)
    present = batch.present
    results = {}
    for index, rates in zip(batch.indices, batch.rates, strict=True):
        plan = plan_one(model, task, rates, present).plan
        results[index] = (plan.as_array(), present)
        present = plan.replicas if batch.chained else present
    return results


def keeping_quotas(config: ClusterConfig) -> ClusterConfig:
    """Return the cluster with the quotas that each service begins with as the only choice."""
    services = tuple(
        replace(
            service,
            cpu_levels_cores=(service.cpu_request_cores,),
            memory_levels_bytes=(service.memory_request_bytes,),
        )
        for service in config.services
    )
    return replace(config, services=services)

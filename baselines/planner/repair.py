"""Making plans feasible: more memory where a pod needs it, fewer or smaller pods where nodes are full.

Repair changes a plan as little as it can, and raises the number of pods only where no memory level is enough
for the requests that each would hold. What is not feasible after a few rounds is reported as such, and
whoever asked takes another plan: nothing infeasible is ever judged.
"""

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.problem import PlanningProblem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDS = 12


def repaired(problem: PlanningProblem, genes: Ints) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Return feasible plans near the given ones.

    Args:
        problem: what they are for.
        genes: (plans, S, 3) pods, index of the CPU level, index of the memory level, within the choices.

    Returns:
        The plans, their performance (plans, S, columns, minutes), and whether they are feasible, (plans,).
    """
    genes = genes.copy()
    performance = problem.performance(genes)
    feasible = np.zeros(len(genes), dtype=np.bool_)
    waiting = np.arange(len(genes))
    for _ in range(_ROUNDS):
        part = genes[waiting]
        need = problem.memory_levels_needed(problem.memory_need_bytes(part, performance[waiting]))
        lacking = need >= problem.model.memory_choices  # no level is enough
        part[:, :, 2] = np.minimum(np.maximum(part[:, :, 2], need), problem.model.memory_choices - 1)
        unplaced = problem.unplaced_pods(part)
        fine = ~(lacking.any(axis=1) | unplaced.any(axis=1))
        genes[waiting] = part
        feasible[waiting] = fine
        if fine.all():
            break
        waiting, part = waiting[~fine], part[~fine]
        _make_room(problem, part, unplaced[~fine])
        _share_requests(problem, part, lacking[~fine])
        genes[waiting] = part
        performance[waiting] = problem.performance(part)
    return genes, performance, feasible


def _make_room(problem: PlanningProblem, genes: Ints, unplaced: Ints) -> None:
    """Take away the pods that found no place; where that would break a minimum, let the largest user give."""
    least = problem.model.min_replicas
    fewer = np.maximum(genes[:, :, 0] - unplaced, least)
    stuck = (unplaced - (genes[:, :, 0] - fewer)).sum(axis=1)  # (plans,) pods without a place at the minimum
    genes[:, :, 0] = fewer
    rows = np.flatnonzero(stuck)
    if len(rows) == 0:
        return
    part = genes[rows]
    services = np.arange(problem.model.num_services)
    milli = part[:, :, 0] * problem.model.cpu_milli[services, part[:, :, 1]] / problem.model.node_room[0]
    memory = part[:, :, 0] * problem.model.memory_bytes[services, part[:, :, 2]] / problem.model.node_room[1]
    by_memory = memory.sum(axis=1) > milli.sum(axis=1)
    removable = np.where(part[:, :, 0] > least, np.where(by_memory[:, None], memory, milli), -1.0)
    smaller = np.where((part[:, :, 1] > 0) & ~by_memory[:, None], milli, -1.0)  # services with a lower level
    shrink = smaller.max(axis=1) >= np.maximum(removable.max(axis=1), 0.0)
    every = np.arange(len(rows))
    giver = np.where(shrink, smaller.argmax(axis=1), removable.argmax(axis=1))
    spare = part[every, giver, 0] - least[giver]
    part[every, giver, 1] -= shrink
    part[every, giver, 0] -= np.where(shrink, 0, np.minimum(spare, np.maximum(stuck[rows] // 2, 1)))
    part[:, :, 2] = 0  # the next round gives what is needed
    genes[rows] = part


def _share_requests(problem: PlanningProblem, genes: Ints, lacking: NDArray[np.bool_]) -> None:
    """Share the requests among more pods, a quarter more and at least one, where no memory level will do."""
    more = genes[:, :, 0] + np.maximum(genes[:, :, 0] // 4, 1)
    genes[:, :, 0] = np.where(lacking, np.minimum(more, problem.model.max_replicas), genes[:, :, 0])

"""The best plan of all, by looking at every one: for small instances, and to judge the algorithm by."""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.problem import Plan, PlanningProblem, fitness_of
from podgym.baselines.planner.settings import Objective
from podgym.errors import InputError

MOST_COMBINATIONS = 3_000_000
_CHUNK = 16_384


def plan_exhaustively(problem: PlanningProblem, objective: Objective) -> Plan:
    """Return the best feasible plan, the first among equals.

    Raises:
        InputError: more than ``MOST_COMBINATIONS`` plans, or none is feasible.
    """
    low, high = problem.genes_of_choices
    sizes = (high - low + 1).ravel()
    combinations = math.prod(sizes.tolist())
    if combinations > MOST_COMBINATIONS:
        raise InputError(
            f"the problem has {combinations:.3g} plans; at most {MOST_COMBINATIONS} can be compared. "
            "Lower max_replicas or give fewer levels, or use plan_with_ga."
        )
    best: tuple[float, NDArray[np.int64]] | None = None
    for start in range(0, combinations, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, combinations))
        genes = np.stack(np.unravel_index(numbers, sizes), axis=1).reshape(len(numbers), -1, 3) + low
        performance = problem.performance(genes)
        fitness = fitness_of(objective, problem.terms(genes, performance))
        fitness[~problem.feasible(genes, performance)] = -np.inf
        place = int(fitness.argmax())
        if fitness[place] > -np.inf and (best is None or fitness[place] > best[0]):
            best = (float(fitness[place]), genes[place])
    if best is None:
        raise InputError(
            "no plan of this problem is feasible; plan_with_ga says which service is in the way."
        )
    return problem.plan(best[1].ravel().tolist(), best[0])

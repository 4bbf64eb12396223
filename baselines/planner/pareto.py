"""Plans that cannot be better in one respect without being worse in another: NSGA-II, by DEAP's ``selNSGA2``.

Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002).
"""

import random
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.initial import initial_population
from podgym.baselines.planner.operators import (
    Judge,
    choices_of,
    clone,
    individual_type,
    nudge,
    offspring,
    swap,
)
from podgym.baselines.planner.performance import MINUTE_S
from podgym.baselines.planner.problem import Plan, PlanningProblem
from podgym.baselines.planner.settings import GaSettings
from podgym.envs.config import REWARD_PRESETS, REWARD_TERMS
from podgym.errors import InputError, unknown_name

Floats = NDArray[np.float64]

Third = Literal["response_time", "churn"]
"""What plans are compared by beside SLO violations and cost."""

_TERM = {name: index for index, name in enumerate(REWARD_TERMS)}
_CORES_PER_GIB = REWARD_PRESETS["slo_cost"]["memory_cost"] / REWARD_PRESETS["slo_cost"]["cpu_cost"]


@dataclass(frozen=True, slots=True)
class ParetoPlan:
    """A feasible plan that no other one found beats in every respect."""

    plan: Plan
    """The plan; its fitness is nan."""
    slo_violation_ratio: float
    """Share of the requests that violate their SLO."""
    cost_cores: float
    """Requested cores, and requested memory as the cores of the same price."""
    response_time_s: float
    """Mean response time of an external request."""
    replicas_changed: float
    """Pods more or fewer than now; 0 when the problem does not say what runs now."""


def pareto_front(
    problem: PlanningProblem,
    settings: GaSettings | None = None,
    *,
    third: Third = "response_time",
    rng: np.random.Generator | None = None,
) -> tuple[ParetoPlan, ...]:
    """Return the best trade-offs between SLO violations, cost and a third respect; all of them feasible.

    Args:
        problem: what to plan for.
        settings: population, probabilities and limits; it stops when the front has stayed as it is for
            ``patience`` generations.
        third: "response_time", or "churn" for the pods changed; the problem must say then what runs now.
        rng: source of everything random; None: one with the seed of the settings.

    Returns:
        At most as many plans as the population has individuals, in the order of their cost.

    Raises:
        InputError: there is no feasible plan, or nothing to compare churn with.
    """
    if third not in get_args(Third):
        raise unknown_name("third objective of the Pareto front", third, get_args(Third))
    if third == "churn" and problem.present_replicas is None:
        raise InputError("churn needs to know what runs now; give present_replicas to planning_problem.")
    settings = settings if settings is not None else GaSettings()
    rng = rng if rng is not None else np.random.default_rng(settings.seed)
    population = _evolved(problem, settings, third, rng)
    front = {tuple(each): each for each in _first_front(population)}
    genes = np.array(list(front), dtype=np.int64).reshape(len(front), -1, 3)
    terms = problem.terms(genes, problem.performance(genes))
    minutes_s = len(problem.rates) * MINUTE_S
    found = [
        ParetoPlan(
            plan=problem.plan(genome, float("nan")),
            slo_violation_ratio=float(row[_TERM["slo_violation"]]),
            cost_cores=float(_cost(row[None])[0]),
            response_time_s=float(row[_TERM["response_time"]]),
            replicas_changed=float(row[_TERM["churn"]] * minutes_s),
        )
        for genome, row in zip(front, terms, strict=True)
    ]
    return tuple(sorted(found, key=lambda each: (each.cost_cores, each.slo_violation_ratio)))


def _cost(terms: Floats) -> Floats:
    return np.asarray(terms[:, _TERM["cpu_cost"]] + _CORES_PER_GIB * terms[:, _TERM["memory_cost"]])


def _evolved(
    problem: PlanningProblem, settings: GaSettings, third: Third, rng: np.random.Generator
) -> list[Any]:
    """Return the last population."""
    from deap import base, tools

    def value(terms: Floats) -> tuple[Floats, Floats]:
        respects = (terms[:, _TERM["slo_violation"]], _cost(terms), terms[:, _TERM[third]])
        return np.stack(respects, axis=1), np.zeros(len(terms))

    started = time.perf_counter()
    chance = random.Random(int(rng.integers(2**63)))
    judge, size = Judge(problem, value), settings.population
    toolbox = base.Toolbox()
    toolbox.register("clone", clone)
    toolbox.register("select", tools.selNSGA2, k=size)
    toolbox.register("mate", swap, chance=chance)
    toolbox.register("mutate", nudge, choices=choices_of(problem), chance=chance)
    new = individual_type((-1.0, -1.0, -1.0))
    genes = initial_population(problem, size, rng)
    population = [new(each) for each in genes.reshape(size, -1).tolist()]
    judge(population)
    population = toolbox.select(_distinct(population))
    unchanged, front = 0, {tuple(each) for each in _first_front(population)}
    for _ in range(settings.max_generations):
        late = settings.time_limit_s is not None and time.perf_counter() - started >= settings.time_limit_s
        if unchanged >= settings.patience or late:
            break
        chosen = [_stronger(population, chance) for _ in range(size)]
        known = {tuple(each) for each in population}
        children = offspring(chosen, toolbox, settings.crossover, settings.mutation, chance, known)
        alive = [child for child, good in zip(children, judge(children), strict=True) if good]
        population = toolbox.select(_distinct(population + alive))
        before, front = front, {tuple(each) for each in _first_front(population)}
        unchanged = unchanged + 1 if front == before else 0
    return list(population)


def _distinct(population: list[Any]) -> list[Any]:
    return list({tuple(each): each for each in population}.values())


def _stronger(population: list[Any], chance: random.Random) -> Any:  # noqa: ANN401
    """Return the better of two: the one that dominates, else the one with fewer others around it."""
    first, second = chance.choice(population), chance.choice(population)
    if first.fitness.dominates(second.fitness):
        return first
    if second.fitness.dominates(first.fitness):
        return second
    return first if first.fitness.crowding_dist >= second.fitness.crowding_dist else second


def _first_front(population: list[Any]) -> list[Any]:
    """Return the individuals that no other one dominates."""
    return [
        each for each in population if not any(other.fitness.dominates(each.fitness) for other in population)
    ]

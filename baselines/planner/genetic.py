"""The paper's genetic algorithm, on DEAP: roulette wheel, crossover, mutation, until nothing improves.

An individual is a list of 3 genes per service: pods, index of the CPU level, index of the memory level. One
generation:

1. *Selection*: roulette wheel on normalised fitness. The objective may be negative and has no lower bound
   (a plan in overload has a response time of minutes), so the fitness is normalised to what lies between the
   lower quartile of the population, 0, and the best, 1. Every individual keeps a small slot of the wheel.
2. *Crossover* of neighbouring pairs: the two swap the counts, the quotas, or both, of some services.
3. *Mutation*: one to three genes of an individual move by a small step; when a CPU quota does, the count
   often follows, so that the capacity stays. A child that equals one before it is mutated too: twins teach
   nothing.
4. *Repair*: see ``repair``. A child that cannot be repaired, or is worse than all of the generation before,
   dies, and the parent that it was cloned from lives on. So the mean of a population says how far it has
   come, rather than how bad its worst accident is.
5. *Elitism*: the best individual so far replaces the worst.

It stops when the best has not changed for some generations.
"""

import random
import time
from dataclasses import dataclass
from typing import Any

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
    spin,
    swap,
)
from podgym.baselines.planner.problem import (
    Plan,
    PlanningProblem,
    fitness_of,
    mean_utilisation_of,
)
from podgym.baselines.planner.settings import GaSettings, Objective

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Generation:
    """A population in numbers."""

    generation: int
    """0 is the initial population."""
    mean_fitness: float
    """Mean over the population."""
    best_fitness: float
    """Best of the population, and of all before it."""
    mean_utilisation: float
    """Mean over the population of ``alpha U_cpu + beta U_mem`` with alpha + beta = 1."""


@dataclass(frozen=True, slots=True)
class PlanningRun:
    """A plan and how it was found."""

    plan: Plan
    """The best plan."""
    history: tuple[Generation, ...]
    """Every generation from the initial one on."""
    evaluations: int
    """Distinct individuals that were judged."""
    seconds: float
    """Wall time."""


def plan_with_ga(
    problem: PlanningProblem,
    objective: Objective,
    settings: GaSettings | None = None,
    rng: np.random.Generator | None = None,
) -> PlanningRun:
    """Search for the best feasible plan.

    Args:
        problem: what to plan for.
        objective: what a plan is judged by.
        settings: of the algorithm; None: the paper's.
        rng: source of everything random; None: one with the seed of the settings.

    Returns:
        The best plan found, always feasible, also when the time is up at once.

    Raises:
        InputError: there is no feasible plan; the message names the service and a remedy.
    """
    started = time.perf_counter()
    settings = settings if settings is not None else GaSettings()
    rng = rng if rng is not None else np.random.default_rng(settings.seed)
    search = _Search(problem, objective, settings, random.Random(int(rng.integers(2**63))))
    population = search.first(initial_population(problem, settings.population, rng))
    best = _best(population)
    history = [_numbers(0, population)]
    unchanged = 0
    while unchanged < settings.patience and len(history) <= settings.max_generations:
        if settings.time_limit_s is not None and time.perf_counter() - started >= settings.time_limit_s:
            break
        population = search.next_generation(population, best)
        found = _best(population)
        unchanged = 0 if found.fitness > best.fitness else unchanged + 1
        best = found if unchanged == 0 else best
        history.append(_numbers(len(history), population))
    return PlanningRun(
        plan=problem.plan(best, best.fitness.values[0]),
        history=tuple(history),
        evaluations=search.judge.evaluations,
        seconds=time.perf_counter() - started,
    )


class _Search:
    """One run: the operators in a DEAP toolbox, and the judge of all individuals."""

    def __init__(
        self, problem: PlanningProblem, objective: Objective, settings: GaSettings, chance: random.Random
    ) -> None:
        from deap import base

        def value(terms: Floats) -> tuple[Floats, Floats]:
            return fitness_of(objective, terms)[:, None], mean_utilisation_of(objective, terms)

        self._settings, self._chance = settings, chance
        self.judge = Judge(problem, value)
        self.toolbox = base.Toolbox()
        self.toolbox.register("individual", individual_type((1.0,)))
        self.toolbox.register("clone", clone)
        self.toolbox.register("select", spin, chance=chance)
        self.toolbox.register("mate", swap, chance=chance)
        self.toolbox.register("mutate", nudge, choices=choices_of(problem), chance=chance)

    def first(self, genes: NDArray[np.int64]) -> list[Any]:
        """Return the initial population, judged; ``genes`` are (population, S, 3), feasible."""
        population = [self.toolbox.individual(each) for each in genes.reshape(len(genes), -1).tolist()]
        self.judge(population)
        return population

    def next_generation(self, parents: list[Any], elite: Any) -> list[Any]:  # noqa: ANN401
        """Return the population after this one."""
        chosen = self.toolbox.select(parents, len(parents))
        children = offspring(
            chosen,
            self.toolbox,
            self._settings.crossover,
            self._settings.mutation,
            self._chance,
            {tuple(elite)},
        )
        feasible = self.judge(children)
        worst = min(each.fitness.wvalues[0] for each in parents)
        population = [
            child if alive and child.fitness.wvalues[0] >= worst else parent
            for child, alive, parent in zip(children, feasible, chosen, strict=True)
        ]
        weakest = min(range(len(population)), key=lambda i: population[i].fitness.wvalues[0])
        population[weakest] = elite
        return population


def _best(population: list[Any]) -> Any:  # noqa: ANN401
    """Return the fittest individual, the first among equals."""
    return max(population, key=lambda each: each.fitness.wvalues[0])


def _numbers(generation: int, population: list[Any]) -> Generation:
    """Return a population in numbers."""
    fitness = [each.fitness.wvalues[0] for each in population]
    utilisation = sum(each.utilisation for each in population) / len(population)
    return Generation(generation, sum(fitness) / len(fitness), max(fitness), utilisation)

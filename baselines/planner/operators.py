"""Individuals and the operators on them, for DEAP's toolbox.

An individual is a list of 3 genes per service: pods, index of the CPU level, index of the memory level. All
chance comes from a generator that is handed in, so that DEAP's use of Python's global one does not matter.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.problem import PlanningProblem
from podgym.baselines.planner.repair import repaired

Floats = NDArray[np.float64]
Genome = tuple[int, ...]

_SMALLEST_SLOT = 0.05  # of the wheel, relative to the best individual's
_COUNT_STEPS = (-3, -2, -1, -1, 1, 1, 2, 3)
_LEVEL_STEPS = (-1, 1)
_MOST_CHANGED = 3  # genes


@dataclass(frozen=True, slots=True)
class Choices:
    """What the genes of an individual can be; plain numbers, as they are read one by one."""

    low: list[int]
    """(3 * S,) smallest value of each gene."""
    high: list[int]
    """(3 * S,) largest."""
    cpu_milli: list[list[int]]
    """CPU levels of each service, millicores."""


def choices_of(problem: PlanningProblem) -> Choices:
    """Return what the genes can be."""
    low, high = (each.ravel().tolist() for each in problem.genes_of_choices)
    return Choices(low, high, problem.model.cpu_milli.tolist())


@lru_cache(maxsize=4)
def individual_type(weights: tuple[float, ...]) -> Any:  # noqa: ANN401  (DEAP is untyped)
    """Return the type of individuals: lists of genes with DEAP's fitness, outside its registry of types.

    Args:
        weights: sign of each value of the fitness.
    """
    from deap import base

    fitness = type("PlanFitness", (base.Fitness,), {"weights": weights})

    class Individual(list[int]):
        """Genes, their fitness and the utilisation of the plan."""

        def __init__(self, genes: Sequence[int]) -> None:
            super().__init__(genes)
            self.fitness = fitness()
            self.utilisation = 0.0

    return Individual


class Judge:
    """Repairs and judges individuals, new ones all in one pass, and remembers all that it has seen."""

    def __init__(self, problem: PlanningProblem, value: Callable[[Floats], tuple[Floats, Floats]]) -> None:
        """Set what to judge by.

        Args:
            problem: what the plans are for.
            value: from terms (plans, 7) to values (plans, k) of the fitness and the utilisation (plans,).
        """
        self._problem, self._value = problem, value
        self._known: dict[Genome, tuple[Genome, tuple[float, ...] | None, float]] = {}

    @property
    def evaluations(self) -> int:
        """Distinct individuals so far."""
        return len(self._known)

    def __call__(self, population: list[Any]) -> list[bool]:
        """Give a fitness to every individual without one; return which ones are feasible."""
        genomes = [tuple(each) for each in population]
        unknown = [genome for genome in dict.fromkeys(genomes) if genome not in self._known]
        if unknown:
            self._learn(unknown)
        feasible = []
        for each, genome in zip(population, genomes, strict=True):
            genes, values, each.utilisation = self._known[genome]
            each[:] = genes
            feasible.append(values is not None)
            if values is not None and not each.fitness.valid:
                each.fitness.values = values
        return feasible

    def _learn(self, genomes: list[Genome]) -> None:
        drawn = np.array(genomes, dtype=np.int64).reshape(len(genomes), -1, 3)
        genes, performance, feasible = repaired(self._problem, drawn)
        values, utilisation = self._value(self._problem.terms(genes, performance))
        rows = genes.reshape(len(genes), -1).tolist()
        for i, genome in enumerate(genomes):
            judged = tuple(values[i].tolist()) if feasible[i] else None
            self._known[genome] = (tuple(rows[i]), judged, float(utilisation[i]))


def clone(individual: Any) -> Any:  # noqa: ANN401
    """Return a copy with the same fitness."""
    copy = type(individual)(individual)
    copy.fitness.wvalues = individual.fitness.wvalues
    copy.utilisation = individual.utilisation
    return copy


def spin(population: list[Any], count: int, chance: random.Random) -> list[Any]:
    """Select by roulette wheel on normalised fitness: 0 at the lower quartile, 1 at the best."""
    fitness = [each.fitness.wvalues[0] for each in population]
    quartile, best = sorted(fitness)[len(fitness) // 4], max(fitness)
    if best <= quartile:
        return chance.choices(population, k=count)
    slots = [max((value - quartile) / (best - quartile), _SMALLEST_SLOT) for value in fitness]
    return chance.choices(population, weights=slots, k=count)


def swap(first: Any, second: Any, chance: random.Random) -> None:  # noqa: ANN401
    """Let two individuals swap the counts, the quotas, or both, of some services, in place."""
    services = len(first) // 3
    if services == 1:  # swapping everything would change nothing
        parts: Sequence[slice] = (slice(0, 1), slice(1, 2), slice(2, 3))
        chosen = [0]
    else:
        parts = (slice(0, 3), slice(0, 3), slice(0, 1), slice(1, 3))
        chosen = [s for s in range(services) if chance.random() < 0.5]
        if len(chosen) in (0, services):
            chosen = [int(chance.random() * services)]
    part = parts[int(chance.random() * len(parts))]
    for s in chosen:
        for gene in range(3 * s + part.start, 3 * s + part.stop):
            first[gene], second[gene] = second[gene], first[gene]
    del first.fitness.values, second.fitness.values


def nudge(individual: Any, choices: Choices, chance: random.Random) -> None:  # noqa: ANN401
    """Move one to three genes by a small step, in place: up to three pods, or one level.

    In every other case a changed CPU level keeps the capacity: the number of pods changes with it.
    """
    for _ in range(1 + int(chance.random() * _MOST_CHANGED)):
        gene = int(chance.random() * len(individual))
        steps = _COUNT_STEPS if gene % 3 == 0 else _LEVEL_STEPS
        before, step = individual[gene], steps[int(chance.random() * len(steps))]
        individual[gene] = min(max(before + step, choices.low[gene]), choices.high[gene])
        if gene % 3 == 1 and chance.random() < 0.5:
            levels, count = choices.cpu_milli[gene // 3], gene - 1
            pods = round(individual[count] * levels[before] / levels[individual[gene]])
            individual[count] = min(max(pods, choices.low[count]), choices.high[count])
    del individual.fitness.values


def offspring(
    chosen: list[Any],
    toolbox: Any,  # noqa: ANN401
    crossover: float,
    mutation: float,
    chance: random.Random,
    known: set[Genome],
) -> list[Any]:
    """Return children of the chosen parents: clones, crossed in pairs, mutated; twins are mutated again.

    Args:
        chosen: parents, neighbours are a pair.
        toolbox: with ``clone``, ``mate`` and ``mutate``.
        crossover: probability that a pair is crossed.
        mutation: probability that a child is mutated.
        chance: random numbers.
        known: genomes that count as twins beside the children themselves.
    """
    children = [toolbox.clone(each) for each in chosen]
    for first, second in zip(children[::2], children[1::2], strict=True):
        if chance.random() < crossover:
            toolbox.mate(first, second)
    seen = set(known)
    for child in children:
        if chance.random() < mutation:
            toolbox.mutate(child)
        if tuple(child) in seen:
            toolbox.mutate(child)
        seen.add(tuple(child))
    return children

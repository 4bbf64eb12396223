"""Reports of one planning run: a table in the form of the paper's, and a figure of its convergence."""

from dataclasses import dataclass
from pathlib import Path

from podgym.baselines.planner.genetic import PlanningRun

GENERATIONS = (10, 20, 50, 100)
"""Generations in the paper's table 2."""

PAPER_FITNESS: dict[int, tuple[float, float]] = {
    10: (0.6176, 0.6457),
    20: (0.6524, 0.6819),
    50: (0.7141, 0.7528),
    100: (0.7436, 0.7809),
}
"""The paper's table 2: mean and best fitness of its run at each generation, on a testbed of its own."""

PAPER_UTILISATION = (0.5874, 0.7312)
"""The paper's mean utilisation of the population before and after its run."""


@dataclass(frozen=True, slots=True)
class FitnessRow:
    """A row of the table."""

    generation: int
    """As in the paper's table."""
    mean_fitness: float
    """Mean of the population."""
    best_fitness: float
    """Best individual so far."""
    reached: bool
    """False: the run had stopped before, and the numbers are those of its last generation."""


@dataclass(frozen=True, slots=True)
class Table2:
    """One run in the form of the paper's table 2."""

    rows: tuple[FitnessRow, ...]
    """One per entry of ``GENERATIONS``."""
    utilisation_before: float
    """Mean utilisation of the initial population, ``alpha U_cpu + beta U_mem`` with alpha + beta = 1."""
    utilisation_after: float
    """The same of the last one."""
    last_generation: int
    """The last generation of the run."""


def table_2(run: PlanningRun) -> Table2:
    """Return a run in the form of the paper's table 2."""
    last = run.history[-1]
    rows = []
    for generation in GENERATIONS:
        reached = generation <= last.generation
        numbers = run.history[generation] if reached else last
        rows.append(FitnessRow(generation, numbers.mean_fitness, numbers.best_fitness, reached))
    return Table2(
        rows=tuple(rows),
        utilisation_before=run.history[0].mean_utilisation,
        utilisation_after=last.mean_utilisation,
        last_generation=last.generation,
    )


def convergence_figure(run: PlanningRun, path: str | Path) -> Path:
    """Write a figure of a run as PNG: fitness and utilisation of the population over the generations.

    The axis leaves the worst tenth of the means out: a first population in overload would flatten the rest.

    Args:
        run: what to show.
        path: where to write; an existing file is replaced.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    from podgym.forecasters.evaluation.drawing import (
        BLUE,
        GREEN,
        ORANGE,
        panel_figure,
        save_figure,
        write_title,
    )

    generations = [each.generation for each in run.history]
    figure, (fitness, utilisation) = panel_figure(5.0, (2.0, 1.0))
    means = [each.mean_fitness for each in run.history]
    fitness.plot(generations, [each.best_fitness for each in run.history], color=BLUE, label="best so far")
    fitness.plot(generations, means, color=ORANGE, label="population mean")
    worst = min(run.history[0].best_fitness, *sorted(means)[len(means) // 10 :])
    margin = 0.05 * (run.plan.fitness - worst) or 1.0
    fitness.set_ylim(worst - margin, run.plan.fitness + margin)
    fitness.set_ylabel("fitness")
    fitness.legend(loc="lower right", frameon=False)
    write_title(
        fitness,
        f"Planning run: {generations[-1]} generations, {run.evaluations} plans judged, "
        f"best fitness {run.plan.fitness:.4f}",
    )
    utilisation.plot(generations, [100.0 * each.mean_utilisation for each in run.history], color=GREEN)
    utilisation.set_ylabel("mean utilisation, %")
    utilisation.set_xlabel("generation")
    utilisation.xaxis.set_major_locator(MaxNLocator(integer=True))
    return save_figure(path, figure)

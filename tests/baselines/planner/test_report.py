"""The table in the paper's form, and the figure."""

import pytest

from podgym.baselines.planner import (
    GaSettings,
    convergence_figure,
    objective,
    plan_with_ga,
    planning_problem,
    table_2,
)
from podgym.baselines.planner.report import GENERATIONS, PAPER_FITNESS
from podgym.errors import InputError


@pytest.fixture(scope="module")
def run(four):
    problem = planning_problem(four, [300.0, 340.0, 350.0])
    return plan_with_ga(problem, objective("paper"), GaSettings(seed=1))


def test_table(run):
    table = table_2(run)
    assert tuple(row.generation for row in table.rows) == GENERATIONS == tuple(PAPER_FITNESS)
    assert table.last_generation == len(run.history) - 1
    for row in table.rows:
        numbers = run.history[min(row.generation, table.last_generation)]
        assert (row.mean_fitness, row.best_fitness) == (numbers.mean_fitness, numbers.best_fitness)
        assert row.reached == (row.generation <= table.last_generation)
    assert table.rows[0].reached
    assert not table.rows[-1].reached
    assert table.utilisation_before == run.history[0].mean_utilisation < table.utilisation_after


def test_figure(run, tmp_path):
    first = convergence_figure(run, tmp_path / "new" / "run.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert convergence_figure(run, tmp_path / "again.png").read_bytes() == first
    with pytest.raises(InputError, match="cannot be written"):
        convergence_figure(run, tmp_path / "again.png" / "run.png")

"""The Pareto front: nobody in it is beaten, everybody is feasible, and it reaches the best of each kind."""

import numpy as np
import pytest

from podgym.baselines.planner import (
    GaSettings,
    objective,
    pareto_front,
    plan_exhaustively,
    planning_problem,
    violations,
)
from podgym.errors import InputError

RATES = [200.0, 240.0, 260.0]


def respects(front, third):
    return np.array([[each.slo_violation_ratio, each.cost_cores, getattr(each, third)] for each in front])


@pytest.mark.parametrize(
    ("third", "column"), [("response_time", "response_time_s"), ("churn", "replicas_changed")]
)
def test_front(two, third, column):
    problem = planning_problem(two, RATES, present_replicas=[5, 5])
    front = pareto_front(problem, GaSettings(max_generations=40), third=third)
    assert 5 <= len(front) <= 50
    assert len({each.plan for each in front}) == len(front)
    for each in front:
        assert violations(problem, each.plan) == ()
        changed = sum(abs(count - 5) for count in each.plan.replicas)
        assert each.replicas_changed == pytest.approx(changed)
    values = respects(front, column)
    for row in values:
        beaten = (values <= row + 1e-12).all(axis=1) & (values < row - 1e-9).any(axis=1)
        assert not beaten.any()
    assert (np.diff(values[:, 1]) >= 0.0).all()


def test_front_reaches_the_best_compromise(two):
    """The plan of least cost and violations together is on the front of both, or as good as on it."""
    problem = planning_problem(two, RATES, present_replicas=[5, 5])
    best = plan_exhaustively(problem, objective("slo_cost", churn=0.0)).fitness
    front = pareto_front(problem, GaSettings(population=100, max_generations=60))
    found = max(-20.0 * each.slo_violation_ratio - each.cost_cores for each in front)
    assert best - 0.03 * abs(best) <= found <= best + 1e-9


def test_equal_seeds_give_equal_fronts(two):
    problem = planning_problem(two, RATES)
    settings = GaSettings(max_generations=5, seed=3)
    assert str(pareto_front(problem, settings)) == str(pareto_front(problem, settings))


def test_time_limit(two):
    problem = planning_problem(two, RATES)
    front = pareto_front(problem, GaSettings(time_limit_s=0.0))
    assert all(violations(problem, each.plan) == () for each in front)


def test_bad_third_objective(two):
    with pytest.raises(InputError, match="Did you mean 'response_time'"):
        pareto_front(planning_problem(two, RATES), third="response")
    with pytest.raises(InputError, match="present_replicas"):
        pareto_front(planning_problem(two, RATES), third="churn")

"""The genetic algorithm against the best plan of all, and its promises: repeatable, monotone, in time."""

import random
from dataclasses import replace

import numpy as np
import pytest

from podgym.baselines.planner import (
    GaSettings,
    objective,
    plan_exhaustively,
    plan_with_ga,
    planning_problem,
    violations,
)
from podgym.baselines.planner.genetic import _Search
from podgym.baselines.planner.initial import initial_population
from podgym.baselines.planner.operators import choices_of, individual_type, nudge, spin, swap
from podgym.baselines.planner.performance import ARRIVALS
from podgym.baselines.planner.problem import fitness_of
from podgym.errors import InputError

SEEDS = 8
RATES = [400.0, 420.0, 440.0, 450.0, 460.0]


@pytest.fixture(scope="module")
def problems(one, two):
    """Instances small enough to look at every plan."""
    return {
        "one": planning_problem(one, RATES, present_replicas=[3]),
        "one, much load": planning_problem(one, [2.0 * rate for rate in RATES], present_replicas=[3]),
        "one, closed": planning_problem(one, [600.0, 700.0, 650.0], kind="closed", present_replicas=[3]),
        "two": planning_problem(two, [0.5 * rate for rate in RATES], present_replicas=[3, 3]),
        "two, closed": planning_problem(two, [300.0] * 3, kind="closed", present_replicas=[3, 3]),
        "two, little room": planning_problem(
            replace(two, nodes=replace(two.nodes, count=1, cpu_cores=3.0)),
            [0.4 * rate for rate in RATES],
            present_replicas=[3, 3],
        ),
    }


@pytest.mark.parametrize("preset", ["paper", "slo_cost"])
def test_against_the_best_plan_of_all(problems, preset):
    """Measured over 40 seeds: within 1 % of the optimum in 97 to 100 % of the runs of each instance."""
    near = []
    for name, problem in problems.items():
        best = plan_exhaustively(problem, objective(preset))
        assert violations(problem, best) == ()
        gaps = []
        for seed in range(SEEDS):
            found = plan_with_ga(problem, objective(preset), GaSettings(seed=seed)).plan.fitness
            assert found <= best.fitness + 1e-9
            gaps.append((best.fitness - found) / abs(best.fitness))
        near.append(np.mean(np.array(gaps) <= 0.01))
        assert near[-1] >= 0.75, name
    assert np.mean(near) >= 0.95


def test_the_best_plan_of_all_is_the_best(two):
    """Every plan judged by itself, the infeasible ones left out by the independent checker."""
    small = replace(
        two, services=tuple(replace(s, max_replicas=3, cpu_levels_cores=(0.1, 0.5)) for s in two.services)
    )
    problem = planning_problem(replace(small, nodes=replace(two.nodes, count=1, cpu_cores=2.0)), [60.0, 90.0])
    low, high = problem.genes_of_choices
    choices = np.stack(
        np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(low.flat, high.flat, strict=True)]), -1
    )
    genes = choices.reshape(-1, *low.shape)
    fitness = fitness_of(objective("slo_cost"), problem.terms(genes, problem.performance(genes)))
    plans = [problem.plan(g.ravel().tolist(), f) for g, f in zip(genes, fitness, strict=True)]
    allowed = [plan for plan in plans if not violations(problem, plan)]
    assert 10 < len(allowed) < len(plans)
    best = max(plan.fitness for plan in allowed)
    assert plan_exhaustively(problem, objective("slo_cost")).fitness == pytest.approx(best, rel=1e-12)


def test_too_many_plans_to_look_at(four):
    with pytest.raises(InputError, match="use plan_with_ga"):
        plan_exhaustively(planning_problem(four, [100.0]), objective("paper"))


def test_equal_seeds_give_equal_runs_and_leave_global_chance_alone(four):
    problem = planning_problem(four, RATES)
    random.seed(1)
    state, legacy = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [plan_with_ga(problem, objective("paper"), GaSettings(seed=seed)) for seed in (5, 5, 6)]
    assert random.getstate() == state
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002
    assert runs[0].plan == runs[1].plan
    assert runs[0].history == runs[1].history
    assert runs[0].history != runs[2].history


def test_history_tells_the_run(four):
    settings = GaSettings()
    run = plan_with_ga(planning_problem(four, RATES), objective("paper"), settings)
    best = [each.best_fitness for each in run.history]
    assert [each.generation for each in run.history] == list(range(len(run.history)))
    assert best == sorted(best)
    assert best[-1] == run.plan.fitness
    assert best[-settings.patience - 1] == best[-1]  # it stopped as nothing had changed for that long
    assert len(best) == settings.patience + 1 or best[-settings.patience - 2] < best[-1]
    assert all(each.mean_fitness <= each.best_fitness for each in run.history)
    assert run.history[-1].mean_utilisation > run.history[0].mean_utilisation
    assert run.evaluations > settings.population


def test_the_best_is_kept_and_the_worst_never_gets_worse(four):
    problem = planning_problem(four, RATES)
    search = _Search(problem, objective("paper"), GaSettings(mutation=1.0), random.Random(0))
    population = search.first(initial_population(problem, 50, np.random.default_rng(0)))
    for _ in range(15):
        elite = max(population, key=lambda each: each.fitness)
        worst = min(each.fitness.wvalues[0] for each in population)
        population = search.next_generation(population, elite)
        assert len(population) == 50
        assert any(each is elite for each in population)
        assert min(each.fitness.wvalues[0] for each in population) >= worst


@pytest.mark.parametrize("limits", [{"max_generations": 0}, {"time_limit_s": 0.0}])
def test_no_time_at_all(four, limits):
    problem = planning_problem(four, RATES)
    run = plan_with_ga(problem, objective("paper"), GaSettings(**limits))
    assert len(run.history) == 1
    assert violations(problem, run.plan) == ()


def test_limits_end_a_run(four):
    problem = planning_problem(four, RATES)
    run = plan_with_ga(problem, objective("paper"), GaSettings(max_generations=7, patience=100))
    assert len(run.history) == 8


def test_initial_population_can_serve_the_forecast(one):
    problem = planning_problem(one, RATES)
    genes = initial_population(problem, 50, np.random.default_rng(0))
    performance = problem.performance(genes)
    assert problem.feasible(genes, performance).all()
    capacity = problem.model.queues.rate_rps[problem.model.cells(genes)][:, 0]
    load = performance[:, 0, ARRIVALS].max(axis=1) / capacity
    assert load.max() < 1.0
    assert load.min() < 0.6
    assert load.max() > 0.8
    assert len(np.unique(genes.reshape(50, -1), axis=0)) > 25


def test_churn_holds_plans_back(two):
    rates = [200.0] * 5
    free = plan_with_ga(planning_problem(two, rates, present_replicas=[9, 9]), objective("slo_cost")).plan
    held = plan_with_ga(
        planning_problem(two, rates, present_replicas=[9, 9]), objective("slo_cost", churn=-1000.0)
    ).plan
    assert held.replicas == (9, 9)
    assert free.replicas != (9, 9)


def individuals(genomes, fitness):
    new = individual_type((1.0,))
    population = [new(genes) for genes in genomes]
    for each, value in zip(population, fitness, strict=True):
        each.fitness.values = (value,)
    return population


def test_roulette_wheel_prefers_the_fit_also_below_zero():
    population = individuals([[i, 0, 0] for i in range(8)], [-50.0, -9.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0])
    chosen = spin(population, 40_000, random.Random(0))
    counts = np.bincount([each[0] for each in chosen], minlength=8)
    slots = np.maximum((np.array([-50.0, -9, -8, -7, -6, -5, -4, -3]) + 8.0) / 5.0, 0.05)
    np.testing.assert_allclose(counts / 40_000, slots / slots.sum(), atol=0.01)


def test_roulette_wheel_among_equals():
    chosen = spin(individuals([[i, 0, 0] for i in range(4)], [1.0] * 4), 4000, random.Random(0))
    assert np.bincount([each[0] for each in chosen]).min() > 900


def test_crossover_swaps_and_loses_nothing():
    chance = random.Random(0)
    seen = set()
    for _ in range(200):
        first, second = individuals([[1] * 9, [2] * 9], [0.0, 0.0])
        swap(first, second, chance)
        assert [a + b for a, b in zip(first, second, strict=True)] == [3] * 9
        assert not first.fitness.valid
        seen.add(tuple(first))
    assert (2, 2, 2, 1, 1, 1, 1, 1, 1) in seen  # a whole service
    assert (2, 1, 1, 2, 1, 1, 1, 1, 1) in seen  # the counts of two
    assert (1, 1, 1, 1, 2, 2, 1, 1, 1) in seen  # the quotas of one
    assert (1,) * 9 not in seen
    assert (2,) * 9 not in seen


def test_crossover_of_one_service_swaps_one_gene():
    first, second = individuals([[1, 1, 1], [2, 2, 2]], [0.0, 0.0])
    swap(first, second, random.Random(0))
    assert sum(first) == 4


def test_mutation_is_small_and_within_bounds(one):
    choices = choices_of(planning_problem(one, RATES))
    chance = random.Random(0)
    moved = set()
    for _ in range(500):
        (individual,) = individuals([[10, 2, 5]], [0.0])
        nudge(individual, choices, chance)
        assert all(a <= b <= c for a, b, c in zip(choices.low, individual, choices.high, strict=True))
        assert abs(individual[1] - 2) <= 3
        assert individual[2] in (2, 3, 4, 5)
        moved.add(individual[0] - 10)
    assert {-3, -2, -1, 1, 2, 3} <= moved


def test_operators_are_in_a_toolbox_and_probabilities_are_used(four):
    problem = planning_problem(four, RATES)
    settings = GaSettings(crossover=0.0, mutation=0.0)
    search = _Search(problem, objective("paper"), settings, random.Random(0))
    population = search.first(initial_population(problem, 50, np.random.default_rng(0)))
    calls = {"mate": 0, "mutate": 0}

    def counting(name):
        operator = getattr(search.toolbox, name)

        def call(*individuals):
            calls[name] += 1
            operator(*individuals)

        search.toolbox.register(name, call)

    counting("mate")
    counting("mutate")
    elite = max(population, key=lambda each: each.fitness)
    search.next_generation(population, elite)
    assert calls["mate"] == 0
    twins = calls["mutate"]
    assert 0 < twins < 50
    search._settings = GaSettings(crossover=1.0, mutation=1.0)
    search.next_generation(population, elite)
    assert calls["mate"] == 25
    assert calls["mutate"] >= twins + 50

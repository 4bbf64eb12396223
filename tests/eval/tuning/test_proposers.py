"""What proposes candidates, and for which controllers."""

import sys

import numpy as np
import pytest
from oracles.tuning_problem import DEFAULTS, EPISODE_STEPS, SPACE

from podgym.baselines import CONTROLLERS, controller_options, make_controller
from podgym.baselines.rule import NUM_WEIGHTS
from podgym.baselines.search_spaces import SEARCH_SPACES, Parameter
from podgym.errors import InputError
from podgym.eval.tuning import proposers
from podgym.eval.tuning.cross_entropy import CrossEntropy, CrossEntropySettings
from podgym.eval.tuning.proposers import (
    GenerationProposer,
    Method,
    TpeProposer,
    WeightProposer,
    method_of,
)

MIXED = (
    Parameter("x", "float", 0.0, 10.0),
    Parameter("y", "float", 0.01, 100.0, log=True),
    Parameter("n", "int", 1, 30),
    Parameter("c", "choice", choices=("mean", "upper", None)),
)


def cost(options):
    return (
        (options["x"] - 7.0) ** 2
        + np.log(options["y"] / 0.3) ** 2
        + abs(options["n"] - 12)
        + 3.0 * (options["c"] != "upper")
    )


def tried(seed, batches=15, known=()):
    proposer = TpeProposer(MIXED, known, seed)
    asked = []
    for _ in range(batches):
        batch = proposer.ask(proposer.batch_size)
        proposer.tell([cost(options) for options in batch])
        asked += batch
    return asked


def test_tpe_proposes_values_of_the_space_and_gets_better():
    pytest.importorskip("optuna")
    asked = tried(0)
    for options in asked:
        assert 0.0 <= options["x"] <= 10.0
        assert 0.01 <= options["y"] <= 100.0
        assert isinstance(options["n"], int)
        assert options["n"] in range(1, 31)
        assert options["c"] in ("mean", "upper", None)
    costs = [cost(options) for options in asked]
    assert np.median(costs[-24:]) < 0.25 * np.median(costs[:24])


def test_tpe_depends_on_its_seed_alone():
    pytest.importorskip("optuna")
    assert tried(1, 4) == tried(1, 4)
    assert tried(1, 4) != tried(2, 4)


def test_tpe_begins_with_what_is_known_and_leaves_out_what_is_outside():
    pytest.importorskip("optuna")
    known = [(options, cost(options)) for options in tried(0)]
    outside = [({"x": 11.0, "y": 1.0, "n": 3, "c": "mean"}, -1e9), ({"x": None}, -1e9)]
    asked = tried(5, 1, [*known, *outside, ({**known[0][0]}, float("inf"))])
    ignorant = tried(5, 1)
    assert np.median([*map(cost, asked)]) < 0.3 * np.median([*map(cost, ignorant)])


def test_tpe_can_be_told_that_a_candidate_could_not_be_run():
    pytest.importorskip("optuna")
    proposer = TpeProposer(MIXED, (), 0)
    for _ in range(12):
        batch = proposer.ask(8)
        proposer.tell([float("inf") if options["x"] < 5.0 else cost(options) for options in batch])
    assert np.mean([options["x"] >= 5.0 for options in proposer.ask(8)]) > 0.7


def test_tpe_widens_a_range_whose_optimum_lies_outside(search):
    pytest.importorskip("optuna")
    method = Method("tpe", SPACE, [], 100, {}, TpeProposer)
    steps = 200 * EPISODE_STEPS
    run = search(
        lambda options, seed: (options["x"] - 17.0) ** 2 + abs(options["n"] - 2),
        method=method, budget=steps, further=steps,
    )  # fmt: skip
    assert run.found.rounds[0].space[0].high == 10.0
    assert run.found.rounds[-1].space[0].high == 20.0
    assert run.found.best.options["x"] == pytest.approx(17.0, abs=1.0)


def test_tpe_is_continued_to_the_same_result(search, tmp_path):
    pytest.importorskip("optuna")
    method = Method("tpe", SPACE, [], 100, {}, TpeProposer)
    budget = 60 * EPISODE_STEPS
    whole = search(path=tmp_path / "whole.jsonl", method=method, budget=budget)
    with pytest.raises(KeyboardInterrupt):
        search(path=tmp_path / "cut.jsonl", method=method, budget=budget, stop_after=29)
    resumed = search(path=tmp_path / "cut.jsonl", method=method, budget=budget, resume=True)
    assert (resumed.lines, resumed.found.best.options) == (whole.lines, whole.found.best.options)
    assert whole.found.best.options != DEFAULTS


@pytest.mark.parametrize("name", sorted(SEARCH_SPACES))
def test_every_published_space_is_of_options_that_the_controller_takes(name):
    pytest.importorskip("optuna")
    if name not in CONTROLLERS:
        pytest.skip(f"{name} is not registered")
    method = method_of(name)
    assert {each.name for each in method.space} <= set(controller_options(name))
    proposer = method.make(method.space, [], 0)
    made = [make_controller(name, **options) for options in proposer.ask(20)]
    assert len(made) == 20


def test_the_rule_is_tuned_by_the_cross_entropy_method():
    method = method_of("rule")
    assert (method.name, method.space) == ("cross_entropy", ())
    assert method.document[0]["count"] == NUM_WEIGHTS
    proposer = method.make((), [], 0)
    assert proposer.batch_size == CrossEntropySettings().population
    first = proposer.ask(2)
    assert first[0] == {"weights": (0.0,) * NUM_WEIGHTS}
    assert method.make((), [], 0).ask(2) == first
    assert method.make((), [], 1).ask(2) != first


def test_weights_are_proposed_with_four_decimals():
    proposer = method_of("rule").make((), [], 0)
    for generation in range(3):
        drawn = [options["weights"] for options in proposer.ask(40)]
        assert [tuple(round(number, 4) for number in weights) for weights in drawn] == drawn
        assert generation == 0 or any(drawn[0])
        assert "-0.0," not in repr(drawn)
        proposer.tell([sum(weights) for weights in drawn])


def test_the_guesses_are_means_and_their_averages():
    method = CrossEntropy(3, 0, CrossEntropySettings(population=2))
    proposer = WeightProposer(method)
    assert proposer.guesses(5) == [{"weights": (0.0, 0.0, 0.0)}]
    means = [np.zeros(3)]
    for _ in range(12):
        proposer.ask(2)
        proposer.tell([1.0, 0.0])
        means.append(method.mean)
    expected = [means[-1], np.mean(means[-5:], axis=0), np.mean(means[-10:], axis=0), *means[-2::-1]]
    guesses = [options["weights"] for options in proposer.guesses(16)]
    assert guesses == [tuple(np.round(each, 4).tolist()) for each in expected]
    assert [options["weights"] for options in proposer.guesses(4)] == guesses[:4]


def test_a_large_budget_has_many_small_generations():
    small, large = method_of("rule", 4831), method_of("rule", 4832)
    assert small.schedule is None
    assert small.document == method_of("rule").document
    assert (large.schedule.generations, large.schedule.candidates) == (50, 1000)
    proposer = large.make((), [], 0)
    assert isinstance(proposer, GenerationProposer)
    assert proposer.batch_size == large.document[0]["population"] == 20


def test_only_vectors_have_generations():
    pytest.importorskip("optuna")
    assert method_of("hpa", 10**6).schedule is None


def test_controllers_that_cannot_be_tuned(monkeypatch):
    with pytest.raises(InputError, match=r"unknown controller 'hpaa'.*Did you mean 'hpa'\?"):
        method_of("hpaa")
    monkeypatch.setattr(proposers, "SEARCH_SPACES", {"hpa": SEARCH_SPACES["hpa"]})
    with pytest.raises(
        InputError, match=r"'static' has no search space, so there is nothing to tune; .* hpa, rule"
    ):
        method_of("static")
    monkeypatch.setattr(proposers, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"tuning needs Optuna; install it with pip install 'podgym\[tune\]'"
    ):
        method_of("hpa")
    assert method_of("rule").name == "cross_entropy"


def test_the_tuner_imports_optuna_only_when_it_proposes():
    code = "import sys, podgym.eval.tuning.run; sys.exit('optuna' in sys.modules)"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

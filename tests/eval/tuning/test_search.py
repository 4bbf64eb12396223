"""The search, on objectives that cost nothing."""

import math

import numpy as np
import pytest
from oracles.tuning_problem import DEFAULTS, EPISODE_STEPS, SPACE, UniformProposer, bowl, uniform_method

from podgym.baselines.search_spaces import Parameter
from podgym.envs.splits import DEV_SEEDS, TRAIN_SEEDS
from podgym.errors import InputError
from podgym.eval.tuning.proposers import Method
from podgym.eval.tuning.schedule import Schedule


def evaluations_of(run):
    return [line for line in run.lines if line.get("kind") == "evaluation"]


@pytest.mark.parametrize("episodes", [1, 3, 4, 7, 25, 60, 201, 1000])
def test_the_budget_is_never_exceeded_and_accounted_to_the_step(search, episodes):
    run = search(budget=episodes * EPISODE_STEPS + 59)
    lines = evaluations_of(run)
    ran = EPISODE_STEPS * len(run.evaluations.episodes)
    assert ran == run.spent_steps == sum(line["steps"] for line in lines) == lines[-1]["spent_steps"]
    assert ran <= episodes * EPISODE_STEPS
    screen_episodes = max(run.found.rounds[0].schedule.screen_episodes, 1)
    assert ran > (episodes - screen_episodes) * EPISODE_STEPS
    assert np.array_equal(
        np.cumsum([line["steps"] for line in lines]), [line["spent_steps"] for line in lines]
    )
    assert run.reports == [line["spent_steps"] for line in lines]


def test_it_finds_what_is_better_than_the_default_options(search):
    run = search(budget=400 * EPISODE_STEPS)
    best = run.found.best
    assert best.options["n"] == 2
    assert best.options["x"] == pytest.approx(4.0, abs=0.5)
    assert best.mean(run.found.dev_seeds) < run.found.default.mean(run.found.dev_seeds)


def test_all_candidates_of_a_stage_face_the_same_episodes_of_the_right_part(search):
    run = search()
    for stage, part, seeds in (("screen", "train", TRAIN_SEEDS), ("promote", "train", TRAIN_SEEDS),
                               ("choose", "dev", DEV_SEEDS)):  # fmt: skip
        lines = [line for line in evaluations_of(run) if line["stage"] == stage]
        assert len(lines) > 1
        assert {line["part"] for line in lines} == {part}
        assert {tuple(line["seeds"]) for line in lines} == {tuple(lines[0]["seeds"])}
        assert set(lines[0]["seeds"]) <= set(seeds)
    by_stage = {line["stage"]: set(line["seeds"]) for line in evaluations_of(run)}
    assert not by_stage["screen"] & by_stage["promote"]


def test_only_the_best_of_a_stage_reach_the_next(search):
    run = search()
    lines = evaluations_of(run)

    def means(stage):
        return {line["candidate"]: line["mean"] for line in lines if line["stage"] == stage}

    screen, promoted, chosen = means("screen"), means("promote"), means("choose")
    assert max(screen[each] for each in promoted) <= min(screen[each] for each in set(screen) - set(promoted))
    assert 0 in chosen
    assert set(chosen) - {0} <= set(promoted)
    assert run.found.best.number == min(chosen, key=chosen.get)
    trained = {each: run.found.candidates[each].mean(run.found.train_seeds) for each in promoted}
    finalists = sorted(set(promoted) - {0}, key=trained.get)[: len(chosen) - 1]
    assert set(finalists) == set(chosen) - {0}


def test_the_mean_of_a_line_is_that_of_its_episodes(search):
    for line in evaluations_of(search()):
        own = [bowl({**DEFAULTS, **line["options"]}, seed) for seed in line["seeds"]]
        assert line["values"] == pytest.approx(own)
        assert line["mean"] == pytest.approx(np.mean(own))


def test_the_tuned_options_are_never_worse_on_dev_than_the_default(search):
    run = search(lambda options, seed: (options["x"] - 2.0) ** 2 + abs(options["n"] - 3))
    assert run.found.best.number == 0
    assert run.found.best.options == {}


def test_more_is_better_when_the_objective_is_the_reward(search):
    run = search(lambda options, seed: -bowl(options, seed), objective="reward")
    lines = [line for line in evaluations_of(run) if line["stage"] == "choose"]
    assert run.found.best.number == max(lines, key=lambda line: line["mean"])["candidate"]
    assert lines[0]["mean"] == pytest.approx(np.mean([bowl(DEFAULTS, seed) for seed in lines[0]["seeds"]]))


# ------------------------------------------------------------------------------------- generations

RACE = Schedule(12, 3, 5, 6, 3, 7, generations=3)


class Walker:
    """Three generations of four; the first of each was proposed before, as a mean that does not move."""

    batch_size = 4

    def __init__(self, space, known, seed):
        self.asked, self.told = [], []

    def ask(self, count):
        assert count == 4
        drawn = [2.6, *(1.0 + len(self.asked) + part for part in (0.25, 0.5, 0.25))]
        self.asked.append([{"x": x, "n": 2} for x in drawn])
        return self.asked[-1]

    def tell(self, costs):
        self.told.append(list(costs))

    def guesses(self, count):
        guessed = [{"x": 3.9, "n": 2}, {"x": 4.6, "n": 2}, {"x": 3.25, "n": 2}, {"x": 4.2, "n": 2}]
        return [*guessed, {"x": 3.9, "n": 2}][:count]


def walked(search, cost=bowl, **options):
    made = []

    def make(*arguments):
        made.append(Walker(*arguments))
        return made[0]

    run = search(cost, method=Method("walk", SPACE, [], 50, {}, make, RACE), **options)
    return run, made[0]


def test_every_generation_faces_episodes_of_its_own(search):
    run, walker = walked(search)
    screened = [line for line in evaluations_of(run) if line["stage"] == "screen"]
    assert [tuple(line["seeds"]) for line in screened] == [(0, 1, 2)] * 3 + [(3, 4, 5)] * 3 + [(6, 7, 8)] * 3
    for generation, (asked, told) in enumerate(zip(walker.asked, walker.told, strict=True)):
        seeds = range(3 * generation, 3 * generation + 3)
        assert told == pytest.approx([np.mean([bowl(each, seed) for seed in seeds]) for each in asked])


def test_what_the_generations_arrived_at_is_compared_with_the_default(search):
    run, _ = walked(search)
    stages = {
        stage: [line for line in evaluations_of(run) if line["stage"] == stage]
        for stage in ("promote", "choose")
    }
    assert [line["options"]["x"] for line in stages["promote"]] == [3.9, 4.6, 3.25, 4.2]
    assert {tuple(line["seeds"]) for line in stages["promote"]} == {tuple(range(9, 15))}
    assert [line["options"].get("x") for line in stages["choose"]] == [None, 3.9, 4.2]
    assert run.found.best.options["x"] == 3.9
    assert run.found.train_seeds == tuple(range(15))
    assert run.found.promotion_seeds == tuple(range(9, 15))
    assert run.spent_steps == EPISODE_STEPS * (9 * 3 + 4 * 6 + 3 * 7) <= RACE.episodes * EPISODE_STEPS
    for line in evaluations_of(run):
        own = [bowl({**DEFAULTS, **line["options"]}, seed) for seed in line["seeds"]]
        assert line["values"] == pytest.approx(own)


def test_generations_are_continued_to_the_same_result(search, tmp_path):
    whole, _ = walked(search, path=tmp_path / "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        walked(search, path=tmp_path / "cut.jsonl", stop_after=31)
    resumed, _ = walked(search, path=tmp_path / "cut.jsonl", resume=True)
    assert resumed.lines == whole.lines
    assert len(resumed.evaluations.episodes) < len(whole.evaluations.episodes) - 20


def test_refused_candidates_of_a_generation_are_told_so(search):
    run, walker = walked(search, lambda options, seed: None if options["x"] == 2.25 else bowl(options, seed))
    assert [math.inf in told for told in walker.told] == [False, True, False]
    assert run.found.best.options["x"] == 3.9


def test_generations_need_a_proposer_that_has_some(search):
    with pytest.raises(TypeError, match="UniformProposer has no generations"):
        search(method=Method("uniform", SPACE, [], 50, {}, UniformProposer, RACE))


# ------------------------------------------------------------------------------------ wider ranges


def far(options, seed):
    """Least at x = 33, outside of the declared 0 to 10, and of 0 to 20."""
    return (options["x"] - 33.0) ** 2 + 5.0 * abs(options["n"] - 2)


def test_a_best_value_at_the_edge_widens_its_range_and_searches_again(search):
    run = search(far, budget=300 * EPISODE_STEPS, further=300 * EPISODE_STEPS)
    first, second, third = run.found.rounds
    assert [each.space[0].high for each in run.found.rounds] == [10.0, 20.0, 40.0]
    assert "x" in [edge.parameter for edge in first.edges]
    assert run.found.best.options["x"] == pytest.approx(33.0, abs=4.0)
    assert "x" not in [edge.parameter for edge in third.edges]
    assert third.space[1].name == SPACE[1].name
    widenings = [line for line in run.lines if line.get("kind") == "widening"]
    assert [edge["after"] for line in widenings for edge in line["edges"] if edge["parameter"] == "x"] == [
        [0.0, 20.0],
        [0.0, 40.0],
    ]
    assert first.spent_steps <= 300 * EPISODE_STEPS
    assert second.spent_steps + third.spent_steps <= 300 * EPISODE_STEPS
    assert sum(each.spent_steps for each in run.found.rounds) == run.spent_steps


def test_a_further_search_faces_the_same_episodes(search):
    run = search(far, budget=300 * EPISODE_STEPS, further=300 * EPISODE_STEPS)
    for stage in ("screen", "promote", "choose"):
        lines = [line for line in evaluations_of(run) if line["stage"] == stage]
        assert {line["round"] for line in lines} == {0, 1, 2}
        assert len({tuple(line["seeds"]) for line in lines}) == 1


def test_no_further_budget_no_further_search(search):
    run = search(far, further=0)
    assert len(run.found.rounds) == 1
    assert run.found.rounds[0].edges[0].widens
    assert not any(line.get("kind") == "widening" for line in run.lines)


def test_a_hard_bound_is_not_searched_beyond(search):
    run = search(lambda options, seed: options["x"] + options["n"], further=300 * EPISODE_STEPS)
    assert len(run.found.rounds) == 1
    assert {(edge.parameter, edge.side, edge.widens) for edge in run.found.rounds[0].edges} == {
        ("x", "low", False),
        ("n", "low", False),
    }


def test_a_further_search_knows_what_was_found_before(search):
    made = []

    class Remembering(UniformProposer):
        def __init__(self, space, known, seed):
            super().__init__(space, known, seed)
            made.append(self)

    method = Method("uniform", SPACE, [], 50, {}, Remembering)
    run = search(far, further=200 * EPISODE_STEPS, method=method)
    first, second = made[0], made[1]
    assert [options for options, _ in first.known] == [DEFAULTS]
    screened = [
        line["options"] for line in evaluations_of(run) if (line["round"], line["stage"]) == (0, "screen")
    ]
    assert [options for options, _ in second.known] == [{**DEFAULTS, **options} for options in screened]
    seeds = range(run.found.rounds[0].schedule.screen_episodes)
    for options, cost in second.known:
        assert cost == pytest.approx(np.mean([far(options, seed) for seed in seeds]))


# ------------------------------------------------------------------------------ what cannot be run


def test_refused_candidates_are_charged_what_they_ran_and_never_win(search):
    def cost(options, seed):
        return None if options["x"] > 5.0 else bowl(options, seed)

    run = search(cost, budget=100 * EPISODE_STEPS)
    refused = [line for line in evaluations_of(run) if line["refusal"]]
    assert refused
    assert {line["steps"] for line in refused} == {7 * len(refused[0]["seeds"])}
    assert {(line["mean"], line["values"]) for line in refused} == {(None, None)}
    assert run.spent_steps <= 100 * EPISODE_STEPS
    assert run.found.best.options.get("x", 2.0) <= 5.0
    assert all(math.isnan(each.mean(run.found.dev_seeds)) for each in run.found.candidates if each.refusal)


def test_default_options_that_are_refused_still_leave_the_others(search):
    run = search(lambda options, seed: None if options["x"] == 2.0 else bowl(options, seed))
    assert run.found.default.refusal == "refused in the middle"
    assert run.found.best.number > 0


def test_nothing_that_can_be_run_is_an_error(search):
    with pytest.raises(
        InputError, match="no candidate could be run; the default options: refused in the middle"
    ):
        search(lambda options, seed: None)


def test_an_exhausted_space_ends_the_search_without_running_anything_twice(search):
    space = (Parameter("n", "int", 1, 5),)
    run = search(method=uniform_method(space), budget=1000 * EPISODE_STEPS)
    assert len(run.found.candidates) == 6
    assert run.found.best.options == {"n": 2}
    pairs = [(tuple(each.options.items()), each.seed) for each in run.evaluations.episodes]
    assert len(pairs) == len(set(pairs))


def test_too_small_a_budget_runs_nothing(search):
    with pytest.raises(InputError, match="the least is 60 steps"):
        search(budget=EPISODE_STEPS - 1)

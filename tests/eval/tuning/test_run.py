"""Tuning a controller on an environment, from the request to the files."""

import dataclasses
import json

import numpy as np
import pytest

from podgym.baselines import make_controller
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.errors import InputError
from podgym.eval.runner import run_episode
from podgym.eval.tuning.episodes import (
    Episode,
    EpisodeRunner,
    cost_of,
    objective_config,
    objective_value,
)
from podgym.eval.tuning.evaluators import evaluating
from podgym.eval.tuning.ledger import read_ledger
from podgym.eval.tuning.run import Request, configuration_sha256, read_result, tune

STEPS = 8  # of an episode


def short(scenario="burst", **changes):
    return override(scenario_config(scenario), {"episode_s": 15.0 * STEPS, **changes})


def request(controller="static", budget=30 * STEPS, **fields):
    given = {"config": short(), "further_budget_steps": 0, **fields}
    return Request(controller, "podgym/Burst-v0", budget_steps=budget, **given)


@pytest.fixture(autouse=True)
def _optuna():
    pytest.importorskip("optuna")


def test_result_and_ledger_do_not_depend_on_the_number_of_processes(tmp_path):
    asked = request(budget=20 * STEPS, seed=3)
    alone = tune(asked, tmp_path / "one")
    together = tune(asked, tmp_path / "two", processes=2)
    assert alone == together
    for name in ("ledger.jsonl", "result.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_result_says_what_was_done(tmp_path):
    spent = []
    document = tune(request("hpa"), tmp_path, on_spent=spent.append)
    lines = read_ledger(tmp_path / "ledger.jsonl")
    assert json.loads((tmp_path / "result.json").read_text()) == read_result(tmp_path / "result.json")
    assert document["spent_steps"] == lines[-1]["spent_steps"] == spent[-1] <= 30 * STEPS
    assert document["candidates"] == 1 + max(line["candidate"] for line in lines[1:])
    assert document["best"]["dev_mean"] <= document["default"]["dev_mean"]
    assert document["default"]["options"] == document["default_options"]
    assert document["default_options"]["cpu_target_percent"] == 80
    assert document["objective"] == {"name": "slo_cost", "better": "lower"}
    assert document["versions"]["optuna"]
    assert document["command"] == (
        "podgym tune hpa --env podgym/Burst-v0 --budget 240 --further-budget 0 --seed 0 --objective slo_cost "
        "--forecast naive"
    )
    assert [each["name"] for each in document["search_space"]] == [
        "cpu_target_percent", "downscale_stabilization_s", "tolerance"
    ]  # fmt: skip
    assert {each["candidate"] for each in document["finalists"]} >= {0, document["best"]["candidate"]}


def test_the_scores_are_those_of_the_ordinary_runner(tmp_path):
    document = tune(request("hpa"), tmp_path)
    env = AutoscaleEnv(short(reward={"preset": "slo_cost"}))
    controller = make_controller("hpa", **document["best"]["options"])
    costs = [-run_episode(env, controller, seed).totals["reward"].sum() for seed in document["dev_seeds"]]
    assert document["best"]["dev_values"] == pytest.approx(costs)
    assert document["best"]["dev_mean"] == pytest.approx(np.mean(costs))


def test_killed_and_resumed(tmp_path):
    whole = tune(request(), tmp_path / "whole")
    content = (tmp_path / "whole" / "ledger.jsonl").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "ledger.jsonl").write_bytes(content[: len(content) // 2])
    assert tune(request(), tmp_path / "cut", resume=True) == whole
    with pytest.raises(InputError, match="continue it with --resume"):
        tune(request(), tmp_path / "cut")
    with pytest.raises(InputError, match=r"of another search .*budget_steps: 240 there, 480 now"):
        tune(request(budget=60 * STEPS), tmp_path / "cut", resume=True)


def test_another_configuration_is_another_search(tmp_path):
    tune(request(budget=STEPS), tmp_path)
    dearer = short(cluster={"nodes": {"count": 5}})
    with pytest.raises(InputError, match="configuration_sha256"):
        tune(request(budget=STEPS, config=dearer), tmp_path, resume=True)
    assert configuration_sha256(short()) == configuration_sha256(short()) != configuration_sha256(dearer)


@pytest.mark.parametrize("part", ["test", "all"])
def test_opening_the_test_part_is_an_error_and_nothing_is_written(tmp_path, part):
    config = short(workload="family:burst", workload_options={"part": part})
    with pytest.raises(InputError, match=f"part is '{part}'"):
        tune(request(config=config), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_dev_part_of_the_workload_is_what_the_choice_is_made_on(tmp_path):
    config = short(workload="family:variable")
    document = tune(request("hpa", config=config, budget=4 * STEPS), tmp_path)
    dev = override(config, {"workload_options": {"part": "dev"}, "reward": {"preset": "slo_cost"}})
    for seed, cost in zip(document["dev_seeds"], document["default"]["dev_values"], strict=True):
        own = run_episode(AutoscaleEnv(dev), make_controller("hpa"), seed)
        assert cost == pytest.approx(-own.totals["reward"].sum())


def test_too_small_a_budget_names_the_least(tmp_path):
    for budget in (0, STEPS - 1):
        with pytest.raises(InputError, match=f"the least is {STEPS} steps"):
            tune(request(budget=budget), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="budget is -1; it must be a whole number from 0"):
        request(budget=-1)
    least = tune(request(budget=STEPS), tmp_path / "out")
    assert (least["spent_steps"], least["best"]) == (STEPS, least["default"])


def test_candidates_that_a_service_refuses_are_passed_over(tmp_path):
    few = short(cluster={"services": {"web": {"max_replicas": 9}}})
    document = tune(request("static", config=few, budget=60 * STEPS), tmp_path)
    assert document["refused_candidates"] > 0
    assert document["best"]["options"].get("replicas") in (None, *range(1, 10))
    refusals = {line.get("refusal") for line in read_ledger(tmp_path / "ledger.jsonl")[1:]}
    assert any("allows 1 to 9" in refusal for refusal in refusals)


# ------------------------------------------------------------------------------------- episodes


def test_an_episode_does_not_depend_on_those_before():
    runner = EpisodeRunner("hpa", objective_config(short(), "slo_cost"))
    first = runner.run(Episode({"cpu_target_percent": 40}, "train", 5))
    runner.run(Episode({"cpu_target_percent": 90}, "dev", 100_000))
    assert runner.run(Episode({"cpu_target_percent": 40}, "train", 5)) == first
    assert first.steps == STEPS
    assert not first.refusal


def test_options_that_the_controller_refuses_cost_nothing():
    outcome = EpisodeRunner("hpa", short()).run(Episode({"cpu_target_percent": 0}, "train", 0))
    assert outcome.steps == 0
    assert "cpu_target_percent is 0" in outcome.refusal


def test_objectives():
    paper = short(reward={"preset": "paper"})
    assert objective_config(paper, "slo_cost").reward.preset == "slo_cost"
    assert objective_config(paper, "reward") is paper
    assert (objective_value("slo_cost", -7.0), cost_of("slo_cost", 7.0)) == (7.0, 7.0)
    assert (objective_value("reward", -7.0), cost_of("reward", -7.0)) == (-7.0, 7.0)
    with pytest.raises(InputError, match=r"unknown objective 'cost'.*slo_cost"):
        objective_config(paper, "cost")


def test_processes_are_checked():
    with pytest.raises(InputError, match="processes is 0"), evaluating(EpisodeRunner("hpa", short()), 0):
        pass


def test_parts_of_different_lengths_are_refused(tmp_path):
    config = dataclasses.replace(scenario_config("trace"), episode_s=3600.0 * 48)
    with pytest.raises(InputError, match="longer than what workload"):
        tune(request("static", config=config, budget=10**6), tmp_path / "out")


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}'])
def test_another_file_is_no_result(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json is not"):
        read_result(tmp_path / "result.json")

"""``podgym evaluate --agent``: policies beside controllers, in every table, figure and file."""

import json

import pytest
from oracles.policies import describe, planning, random_policy, zero_policy

from podgym.agents import shipped
from podgym.agents.policy_file import save_policy
from podgym.baselines import CONTROLLERS
from podgym.cli import main
from podgym.eval.measures import MEASURES

BURST = ["--env", "podgym/Burst-v0", "--episode-hours", "0.05"]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Where a policy ships for podgym/Burst-v0."""
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    save_policy(zero_policy(planning()), tmp_path / "pretrained" / "Burst-v0" / "seed0.policy")
    return tmp_path


@pytest.fixture
def mine(tmp_path):
    return str(save_policy(random_policy(describe()), tmp_path / "mine.policy"))


def run_json(capsys, *argv):
    assert main(["evaluate", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def labels(document):
    return [result["controller"] for result in document["results"]]


def test_rows_of_their_own_in_the_table(capsys, mine):
    argv = [*BURST, "--agent", mine, "--agent", "pretrained", "--controller", "hpa", "--tuned", "no"]
    assert main(["evaluate", *argv]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    out = " ".join(out.split())
    for words in ("mine", "ppo", "hpa", "SLO violations, %", "--seed 200000"):
        assert words in out


def test_all_measures_on_the_same_episodes(capsys, mine, tmp_path):
    argv = [*BURST, "--agent", mine, "pretrained", "--controller", "hpa", "--episodes", "2", "--seed", "7"]
    document = run_json(capsys, *argv, "--output", str(tmp_path / "out"))
    assert labels(document) == ["hpa", "hpa tuned", "mine", "ppo"]
    for result in document["results"]:
        assert set(result["mean"]) == {each.name for each in MEASURES}
        assert [each["seed"] for each in result["episodes"]] == [7, 8]
        loads = [each["profile_sha256"] for each in result["episodes"]]
        assert loads == [each["profile_sha256"] for each in document["results"][0]["episodes"]]
    assert document["results"][2]["controller_options"]["policy"] == "mine.policy"
    assert document["results"][3]["controller_options"]["forecaster"] == "oracle"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"Burst-v0-mine-seed7.parquet", "Burst-v0-ppo-seed8.parquet", "results.json"} <= names
    assert any(name.endswith(".png") and "mine" in name for name in names)


def test_without_a_controller_only_the_policies_run(capsys, mine):
    document = run_json(capsys, *BURST, "--agent", mine)
    assert labels(document) == ["mine"]
    assert document["remarks"][-1].startswith("Policies were chosen on episodes like these")
    assert run_json(capsys, *BURST, "--agent", mine, "--seed", "200000")["remarks"] == []


def test_a_forecaster_that_is_given_is_for_everybody(capsys):
    longer = [*BURST[:3], "0.2"]
    argv = [*longer, "--agent", "pretrained", "--controller", "lstm_ga", "--tuned", "no", "--forecaster"]
    naive, oracle = (run_json(capsys, *argv, each)["results"] for each in ("naive", "oracle"))
    for row in (0, 1):
        assert naive[row]["mean"]["reward"] != oracle[row]["mean"]["reward"]
    own = run_json(capsys, *longer, "--agent", "pretrained")["results"][0]
    assert own["mean"] == oracle[1]["mean"]


def test_all_takes_the_policy_that_ships(capsys, monkeypatch):
    few = {name: CONTROLLERS[name] for name in ("static", "lstm_ga")}
    monkeypatch.setattr("podgym.baselines.CONTROLLERS", few)
    argv = [*BURST[2:], "--controller", "all", "--tuned", "no", "--forecaster", "naive"]
    assert labels(run_json(capsys, *BURST[:2], *argv)) == ["static", "lstm_ga", "ppo"]
    assert labels(run_json(capsys, *BURST[:2], *argv, "--agent", "pretrained")) == [
        "static",
        "lstm_ga",
        "ppo",
    ]
    assert labels(run_json(capsys, "--env", "podgym/HighLoad-v0", *argv)) == ["static", "lstm_ga"]


def test_the_problem_is_that_of_the_command(capsys, mine):
    """Another load and another reward; the policy brings its actions and observation alone."""
    changes = ["--set", "reward.preset=paper", "--set", "workload_options.user_variation=0.3"]
    document = run_json(capsys, *BURST, "--agent", mine, "--controller", "static", "--tuned", "no", *changes)
    first, second = (result["episodes"][0]["profile_sha256"] for result in document["results"])
    assert first == second
    assert abs(document["results"][1]["mean"]["reward"]) < 1000.0


ERRORS = {
    "no such file": (["--agent", "none.policy"], "there is no file none.policy"),
    "none ships": (["--agent", "pretrained"], "podgym train --env podgym/HighLoad-v0"),
    "not a policy": (["--agent", __file__], "cannot be read as a policy"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_agents(name, capsys, tmp_path):
    argv, words = ERRORS[name]
    out = tmp_path / "out"
    assert main(["evaluate", "--env", "podgym/HighLoad-v0", *argv, "--output", str(out)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not out.exists()


def test_a_policy_for_another_environment(capsys, mine, tmp_path):
    argv = ["--env", "podgym/Boutique-v0", "--agent", mine, "--output", str(tmp_path / "out")]
    assert main(["evaluate", *argv]) == 2
    assert "trained in podgym/Burst-v0, does not fit" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""``podgym plan`` and ``podgym paper``: what a user types, gets and may get wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podgym.baselines.planner import planning_problem, violations
from podgym.baselines.planner.problem import Plan
from podgym.cli import main
from podgym.cli.settings import environment_config

PLAN = ["plan", "--env", "podgym/HighLoad-v0", "--forecaster", "naive"]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_plan_in_the_form_of_table_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAN, "--minute", "15"]) == 0
    out = capsys.readouterr().out
    assert "generation   mean fitness   best fitness" in out
    table = out[out.index("generation   mean") :].splitlines()[1:5]
    assert [line.split()[0] for line in table] == ["10", "20", "50", "100"]
    assert "mean utilisation of the population" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_plan_is_feasible_and_follows_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    config = environment_config("podgym/HighLoad-v0").cluster
    pods = []
    for minute in ("0", "15"):
        document = run_json(capsys, *PLAN, "--minute", minute)
        ((replicas, cores, memory_bytes),) = np.array(document["plan"])
        plan = Plan((int(replicas),), (cores,), (memory_bytes,), 0.0)
        problem = planning_problem(config, np.array(document["rates"]), kind="closed")
        assert violations(problem, plan) == ()
        pods.append(replicas * cores)
    assert pods[1] > 2.0 * pods[0]  # 200 users, then about 1000


def test_gamma_buys_response_time(capsys: pytest.CaptureFixture[str]) -> None:
    cores = []
    for gamma in ("0.5", "50"):
        document = run_json(capsys, *PLAN, "--minute", "15", "--gamma", gamma)
        cores.append(sum(row[0] * row[1] for row in document["plan"]))
    assert cores[1] > cores[0]


def test_all_plans_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = run_json(capsys, *PLAN, "--all", "--processes", "1", "--output", str(tmp_path / "out"))
    assert np.array(document["plans"]).shape == (6, 1, 3)  # 30 minutes
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == document
    assert main([*PLAN, "--output", str(tmp_path / "one")]) == 0
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"plan.json", "convergence.png"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([*PLAN, "--minute", "99"], "--minute is 99; it must be 0 to 29"),
        ([*PLAN, "--objective", "cheap"], "unknown objective"),
        ([*PLAN, "--headroom", "-1"], "headroom"),
        (["plan"], "give either --env ID or --workload"),
        (["plan", "--workload", "google2019"], "no forecaster for google2019"),
        ([*PLAN, "--set", "cluster.nodes.memory_bytes=700000000"], "web"),
        (["paper", "--episodes", "1"], "needs 2 or more"),
        (["paper", "--scheme", "lstmga"], "Did you mean 'lstm_ga'"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_the_papers_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    argv = ["paper", "--forecaster", "naive", "--episodes", "2", "--processes", "1"]
    assert main([*argv, "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in ("Table 3, higher load", "Table 4, burst", "Table 5, lower load", "180.8", "seeds 0 to 1"):
        assert words in out
    assert max(map(len, out.splitlines()[:-1])) <= 100
    document = json.loads((folder / "results.json").read_text())
    assert set(document["tables"]) == {"3", "4", "5"}
    for rows in document["tables"].values():
        for row in rows:
            assert row["change"]["low"] <= row["change"]["mean"] <= row["change"]["high"]
    assert len(list(folder.glob("table-*.png"))) == 3

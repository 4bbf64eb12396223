"""``podgym tune``: what a user types, gets and may get wrong."""

import argparse
import json

import pytest

from podgym.cli import tune
from podgym.errors import InputError
from podgym.eval.tuning.ledger import read_ledger

ENV = "podgym/Burst-v0"
SHORT = ["--set", "episode_s=120"]  # 8 steps


def parse(*argv):
    parser = argparse.ArgumentParser(exit_on_error=False)
    tune.add_arguments(parser)
    return parser.parse_args(argv)


def requested(*argv):
    return tune.make_request(parse(*argv))


def run(*argv):
    return tune.run(parse(*argv))


@pytest.fixture(autouse=True)
def _optuna():
    pytest.importorskip("optuna")


def test_table_for_people(capsys, tmp_path):
    folder = tmp_path / "out"
    assert run("hpa", "--env", ENV, "--budget", "160", *SHORT, "--output", str(folder)) == 0
    out = capsys.readouterr().out
    assert f"hpa on {ENV}:" in out
    assert "of 160 steps." in out
    assert "Compared on 1 dev episode:" in out
    assert max(map(len, out.splitlines()[:-2])) <= 80
    for words in ("default: cpu_target_percent=80", "tuned: cpu_target_percent=", "lower is better"):
        assert words in " ".join(out.replace("│", " ").split())
    assert f"wrote {folder}/result.json" in out
    assert f"wrote {folder}/ledger.jsonl" in out
    assert read_ledger(folder / "ledger.jsonl")[0]["controller"] == "hpa"


def test_json_is_the_result_file(capsys, tmp_path):
    argv = ["hpa", "--env", ENV, "--budget", "80", *SHORT, "--output", str(tmp_path), "--json"]
    assert run(*argv) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "result.json").read_text())
    assert document["changes"] == ["episode_s=120"]
    assert run(*argv, "--resume") == 0
    assert json.loads(capsys.readouterr().out) == document
    with pytest.raises(InputError, match="continue it with --resume"):
        run(*argv)


def test_the_command_in_the_result_repeats_it():
    options = "--budget 80 --forecast oracle --seed 3 --objective reward"
    changes = "--set workload=family:burst --set reward.preset=paper"
    asked = requested("hpa", "--env", ENV, *options.split(), *changes.split())
    assert requested(*asked.command.split()[2:]) == asked


def test_what_is_asked_for():
    asked = requested("hpa", "--env", ENV, "--budget", "100")
    assert (asked.budget_steps, asked.further_budget_steps, asked.seed) == (100, 50, 0)
    assert (asked.objective, asked.forecaster) == ("slo_cost", None)
    assert asked.config.observation.forecast == "naive"
    assert (
        requested("hpa", "--env", ENV, "--budget", "100", "--further-budget", "0").further_budget_steps == 0
    )


@pytest.mark.parametrize("forecast", tune.FORECASTS)
def test_the_forecast_reaches_the_environment_and_the_record(forecast):
    asked = requested("hpa", "--env", ENV, "--budget", "100", "--forecast", forecast)
    assert asked.config.observation.forecast == forecast
    assert f"--forecast {forecast}" in asked.command


def test_a_new_workload_starts_with_options_of_its_own():
    trace = ["hpa", "--env", "podgym/Trace-v0", "--budget", "100"]
    kept = requested(*trace, "--set", "workload_options.peak_rate_rps=500").config
    assert dict(kept.workload_options) == {"part": "train", "peak_rate_rps": 500}
    fresh = requested(*trace, "--set", "workload=family:flash").config
    assert (fresh.workload, dict(fresh.workload_options)) == ("family:flash", {})


def test_default_folder():
    assert str(tune.default_folder(ENV, "hpa")) == "tuning/Burst-v0-hpa"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["hpaa", "--env", ENV], r"unknown controller 'hpaa'.*Did you mean 'hpa'\?"),
        (["hpa", "--env", "podgym/Brust-v0"], r"unknown environment.*Did you mean 'podgym/Burst-v0'\?"),
        (["hpa", "--env", ENV, "--objective", "slocost"], r"unknown objective.*Did you mean 'slo_cost'\?"),
        (["hpa", "--env", ENV, "--forecast", "learned"], "unknown forecast 'learned'; allowed: naive, noisy"),
        (["hpa", "--env", ENV, "--forecast", "naive", "--forecaster", "oracle"], "not both"),
        (["hpa", "--env", ENV, "--forecaster", "none.forecaster"], "there is no file none.forecaster"),
        (["hpa", "--env", ENV, "--seed", "-1"], "seed is -1; it must be a whole number from 0"),
        (["hpa", "--env", ENV, "--further-budget", "-5"], "further budget is -5"),
        (["hpa", "--env", ENV, "--processes", "0"], "processes is 0; it must be 1 or more"),
        (["hpa", "--env", ENV, "--set", "clutser.nodes.count=3"], "Did you mean 'cluster'"),
        (
            ["hpa", "--env", "podgym/Trace-v0", "--set", "workload_options.part=test"],
            "part is 'test'; tuning",
        ),
        (["hpa", "--env", "podgym/Trace-v0", "--set", "workload_options.part=all"], "part is 'all'; tuning"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, argv, message):
    with pytest.raises(InputError, match=message):
        run(*argv, "--budget", "1000", "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("budget", ["0", "59"])
def test_the_least_budget_is_named(tmp_path, budget):
    with pytest.raises(InputError, match="the least is 60 steps"):
        run("hpa", "--env", ENV, "--budget", budget, "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_edges_are_told(tmp_path, capsys):
    edge = {"parameter": "x", "value": 9.9, "side": "high", "before": [0.0, 10.0], "after": [0.0, 20.0]}
    document = {
        "further_spent_steps": 40, "further_budget_steps": 60,
        "searches": [
            {"edges": [{**edge, "widens": True}]},
            {"edges": [{**edge, "widens": True, "before": [0.0, 20.0]},
                       {**edge, "parameter": "y", "after": [0.0, 10.0], "widens": False}]},
        ],
    }  # fmt: skip
    assert tune._edge_lines(document) == [
        "x=9.9 sits at the edge of 0 to 10; searched again in 0 to 20.",
        "x=9.9 sits at the edge of 0 to 20: the budget allows no wider search.",
        "y=9.9 sits at the edge of 0 to 10: a hard bound.",
        "Further searches: 40 of 60 further steps.",
    ]


def test_help_teaches_with_examples(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    out = capsys.readouterr().out
    assert out.count("podgym tune ") >= 5

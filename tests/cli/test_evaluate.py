"""``podgym evaluate``: what a user types, gets and may get wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from podgym.baselines.tuned import tuned_options
from podgym.cli import main
from podgym.cli.evaluate import duration_text, file_stem
from podgym.cli.settings import make_target, parse_changes, parse_scalar
from podgym.errors import InputError
from podgym.eval.episode import read_episode
from podgym.eval.measures import MEASURES, measure

SHORT = ["--episode-hours", "0.05"]  # 12 steps


def write_trace(path, rates, step_s=60.0, times=None):
    times = np.arange(len(rates)) * step_s if times is None else times
    pd.DataFrame({"t_seconds": times, "rate_rps": rates}).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def trace(tmp_path):
    rates = 200.0 + 100.0 * np.sin(np.arange(41) / 5.0)
    return write_trace(tmp_path / "requests.csv", rates)


def run_json(capsys, *argv):
    assert main(["evaluate", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_table_for_people(capsys):
    assert main(["evaluate", "--env", "podgym/HighLoad-v0", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "podgym/HighLoad-v0: 1 episode (seed 0) of 3 min" in out
    for words in ("response p95, ms", "SLO violations, %", "core-hours", "under-prov., %", "SLO 250 ms"):
        assert words in out
    assert "wrote" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_holds_every_measure_and_all_that_is_needed_to_repeat(capsys):
    document = run_json(capsys, "--env", "podgym/Burst-v0", "--controller", "static", "--replicas", "9",
                        "--episodes", "2", "--seed", "4", *SHORT)  # fmt: skip
    (result,) = document["results"]
    assert set(result["mean"]) == {each.name for each in MEASURES} == set(document["measures"])
    assert [episode["seed"] for episode in result["episodes"]] == [4, 5]
    assert result["controller_options"] == {"replicas": 9}
    environment = document["environments"]["podgym/Burst-v0"]
    assert environment["configuration"]["workload"] == "burst"
    assert any(entry["name"] == "cluster.nodes.count" for entry in environment["constants"])
    assert result["by_service"]["web"]["core_hours"] == pytest.approx(result["mean"]["core_hours"])


def test_equal_seeds_equal_results(capsys):
    argv = ["--env", "podgym/LowLoad-v0", "--seed", "7", *SHORT]
    assert run_json(capsys, *argv) == run_json(capsys, *argv)


def test_output_is_what_was_printed(capsys, tmp_path):
    folder = tmp_path / "new" / "out"
    argv = ["--env", "podgym/HighLoad-v0", "--controller", "hpa", "static", "--replicas", "6", *SHORT,
            "--tuned", "no"]  # fmt: skip
    document = run_json(capsys, *argv, "--output", str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "HighLoad-v0-hpa-seed0.parquet",
        "HighLoad-v0-hpa-static-seed0.png",
        "HighLoad-v0-static-seed0.parquet",
        "results.json",
    ]
    assert json.loads((folder / "results.json").read_text()) == document
    record = read_episode(folder / "HighLoad-v0-static-seed0.parquet")
    assert measure(record) == pytest.approx(document["results"][1]["mean"])


def test_paths_are_printed(capsys, tmp_path):
    argv = ["--env", "podgym/HighLoad-v0", *SHORT, "--tuned", "no", "--output", str(tmp_path / "o")]
    assert main(["evaluate", *argv]) == 0
    out = capsys.readouterr().out
    assert f"wrote {tmp_path / 'o' / 'results.json'}" in out
    assert f"wrote {tmp_path / 'o' / 'HighLoad-v0-hpa-seed0.png'}" in out


def test_default_and_tuned_are_both_shown(capsys, tmp_path):
    """Beside each other in tables, figures and files, with a word on which episodes the tuner has seen."""
    document = run_json(capsys, "--env", "podgym/HighLoad-v0", *SHORT, "--output", str(tmp_path))
    assert [each["controller"] for each in document["results"]] == ["hpa", "hpa tuned"]
    default, tuned = (each["controller_options"] for each in document["results"])
    assert default == {}
    assert tuned == tuned_options("hpa", "podgym/HighLoad-v0")
    assert (tmp_path / "HighLoad-v0-hpa-hpa-tuned-seed0.png").is_file()
    assert "--seed 200000" in document["remarks"][-1]
    unseen = run_json(capsys, "--env", "podgym/HighLoad-v0", *SHORT, "--seed", "200000")
    assert unseen["remarks"] == []
    train = run_json(capsys, "--env", "podgym/Trace-v0", *SHORT, "--seed", "200000")
    assert "--part test" in train["remarks"][-1]


def test_a_controller_with_options_of_its_own_has_no_tuned_row(capsys):
    document = run_json(capsys, "--env", "podgym/HighLoad-v0", *SHORT, "--controller", "hpa:tolerance=0.2")
    assert [each["controller"] for each in document["results"]] == ["hpa"]
    assert document["results"][0]["controller_options"] == {"tolerance": 0.2}


def test_many_controllers_are_ranked(capsys):
    argv = ["--env", "podgym/HighLoad-v0", *SHORT, "--controller", "hpa", "keda", "kpa"]
    assert main(["evaluate", *argv]) == 0
    out = capsys.readouterr().out
    assert "kpa tuned" in out
    assert "scaling" in out
    assert max(map(len, out.splitlines())) <= 80


def test_plans_reach_the_controller(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path))
    argv = ["--env", "podgym/HighLoad-v0", "--controller", "lstm_ga", "--tuned", "no"]
    results = [
        run_json(capsys, *argv, "--forecaster", each)["results"][0]["mean"] for each in ("naive", "oracle")
    ]
    assert results[0]["scaling_events"] >= 3
    assert results[0]["response_time_mean_s"] > 1.2 * results[1]["response_time_mean_s"]


def test_every_controller_is_listed(capsys):
    assert main(["evaluate", "--list"]) == 0
    out = capsys.readouterr().out
    for words in (
        "hpa",
        "cpu_target_percent",
        "lstm_ga",
        "gamma",
        "kubernetes_default",
        "forecast_threshold",
    ):
        assert words in out


def test_a_file_is_run_from_end_to_end(capsys, trace):
    document = run_json(capsys, "--workload", trace, "--controller", "static", "--replicas", "12")
    (result,) = document["results"]
    assert result["duration_s"] == 40 * 60.0
    assert result["mean"]["throughput_rps"] == pytest.approx(200.0, rel=0.2)
    assert document["remarks"] == ["Request rate: rate_rps in requests/s."]


def test_peak_rps_scales_the_file(capsys, trace):
    plain = run_json(capsys, "--workload", trace, "--controller", "static", "--replicas", "20", *SHORT)
    scaled = run_json(capsys, "--workload", trace, "--controller", "static", "--replicas", "20", *SHORT,
                      "--peak-rps", "600")  # fmt: skip
    ratio = [each["results"][0]["mean"]["throughput_rps"] for each in (plain, scaled)]
    assert ratio[1] / ratio[0] == pytest.approx(2.0, rel=0.02)
    assert "times 2" in scaled["remarks"][0]


@pytest.mark.parametrize(("peak", "words"), [(5000, "exceeds"), (2, "far below")])
def test_a_load_out_of_proportion_is_remarked(trace, peak, words):
    target = make_target(workload=trace, peak_rps=peak)
    assert words in target.remarks[1]


def test_packaged_trace_is_scaled_to_the_cluster_and_parts_differ():
    whole = make_target(workload="alibaba2018", episode_hours=1.0)
    assert whole.config.workload_options == {"peak_rate_rps": 1000.0, "part": "all"}
    test = make_target(workload="alibaba2018", part="test", peak_rps=500.0)
    assert test.config.workload_options == {"peak_rate_rps": 500.0, "part": "test"}
    assert test.config.episode_s is not None
    assert test.config.episode_s > 86400.0


def test_generated_workload_runs_for_an_hour_unless_told():
    assert make_target(workload="family:burst").env.episode_steps == 240
    assert make_target(workload="family:burst", part="dev").config.workload_options == {"part": "dev"}


def test_target_cpu_changes_what_hpa_does(capsys):
    argv = ["--env", "podgym/HighLoad-v0", "--episode-hours", "0.2"]
    cores = [run_json(capsys, *argv, "--target-cpu", target)["results"][0]["mean"]["core_hours"]
             for target in ("80", "40")]  # fmt: skip
    assert cores[1] > 1.2 * cores[0]


def test_set_reaches_the_configuration(capsys):
    document = run_json(capsys, "--env", "podgym/HighLoad-v0", *SHORT, "--set", "cluster.nodes.count=2",
                        "--set", "cluster.services.web.max_replicas=5", "--set", "reward.preset=paper",
                        "--set", "workload_options.offset_s=0")  # fmt: skip
    configuration = document["environments"]["podgym/HighLoad-v0"]["configuration"]
    assert configuration["cluster"]["nodes"]["count"] == 2
    assert configuration["cluster"]["services"][0]["max_replicas"] == 5
    assert configuration["reward"]["preset"] == "paper"
    assert configuration["workload_options"] == {"offset_s": 0}


def test_several_services_are_listed(capsys):
    assert main(["evaluate", "--env", "podgym/Boutique-v0", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "by service" in out
    assert "…" not in out
    assert "redis-cart" in out
    assert "SLO 100 ms per service" in out


BURST = ["--env", "podgym/Burst-v0"]
ERRORS = {
    "unknown id": (["--env", "podgym/Brst-v0"], "Did you mean 'podgym/Burst-v0'?"),
    "neither env nor workload": ([], "give either --env ID or --workload"),
    "both": ([*BURST, "--workload", "burst"], "give either --env ID or --workload"),
    "unknown controller": ([*BURST, "--controller", "hpaa"], "Did you mean 'hpa'?"),
    "controller twice": ([*BURST, "--controller", "hpa", "hpa"], "named twice"),
    "unknown workload": (["--workload", "alibaba"], "Did you mean 'alibaba2018'?"),
    "missing file": (["--workload", "no/such.csv"], "no/such.csv"),
    "unknown part": (["--workload", "alibaba2018", "--part", "tets"], "Did you mean 'test'?"),
    "part of a scenario": ([*BURST, "--part", "test"], "unknown option of workload"),
    "unknown key": ([*BURST, "--set", "reward.prest=paper"], "Did you mean 'preset'?"),
    "unknown value": ([*BURST, "--set", "reward.preset=papr"], "Did you mean 'paper'?"),
    "unknown service": ([*BURST, "--set", "cluster.services.wob.max_replicas=3"], "Did you mean 'web'?"),
    "no equals sign": ([*BURST, "--set", "episode_s"], "key=value is needed"),
    "key twice": ([*BURST, "--set", "episode_s=60", "--set", "episode_s=90"], "given twice"),
    "wrong kind": ([*BURST, "--set", "cluster.services=5"], "cluster.services is 5"),
    "not a number": ([*BURST, "--set", "episode_s=NaN"], "episode_s is nan"),
    "fraction of a node": ([*BURST, "--set", "cluster.nodes.count=2.5"], "2.5"),
    "replicas 0": ([*BURST, "--controller", "static", "--replicas", "0"], "got 0"),
    "replicas -1": ([*BURST, "--controller", "static", "--replicas", "-1"], "got -1"),
    "too many replicas": ([*BURST, "--controller", "static", "--replicas", "99"], "1 to 28"),
    "option of no use": ([*BURST, "--replicas", "3"], "replicas=3 is of no use"),
    "target 0": ([*BURST, "--target-cpu", "0"], "cpu_target_percent is 0"),
    "seed": ([*BURST, "--seed", "-1"], "seed is -1"),
    "episodes": ([*BURST, "--episodes", "0"], "episodes is 0"),
    "processes": ([*BURST, "--processes", "0"], "processes is 0"),
    "hours": ([*BURST, "--episode-hours", "nan"], "--episode-hours is nan"),
    "longer than the scenario": ([*BURST, "--episode-hours", "9"], "32400 s is longer"),
    "peak": (["--workload", "alibaba2018", "--peak-rps", "-5"], "peak_rate_rps is -5"),
}


def refuse(capsys, tmp_path, argv, words):
    """The command fails with one line on stderr, status 2, and writes nothing."""
    folder = tmp_path / "out"
    assert main(["evaluate", *argv, "--output", str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("podgym: error: ")
    assert words in captured.err
    assert captured.out == ""
    assert not folder.exists()


@pytest.mark.parametrize("name", ERRORS)
def test_bad_arguments(name, capsys, tmp_path):
    refuse(capsys, tmp_path, *ERRORS[name])


FLAT = [10.0] * 20
TRACES = {
    "negative rate": ([*FLAT[:5], -3.0, *FLAT[6:]], None, "row 5"),
    "NaN rate": ([*FLAT[:5], float("nan"), *FLAT[6:]], None, "row 5"),
    "infinite rate": ([*FLAT[:5], float("inf"), *FLAT[6:]], None, "row 5"),
    "irregular steps": (FLAT, [60.0 * i + 20.0 * (i > 9) for i in range(20)], "irregular time steps"),
    "time goes back": (FLAT, [60.0 * i if i != 9 else 60.0 for i in range(20)], "row 9"),
    "a single sample": ([5.0], None, "2 or more"),
}


@pytest.mark.parametrize("name", TRACES)
def test_bad_traces(name, capsys, tmp_path):
    rates, times, words = TRACES[name]
    refuse(capsys, tmp_path, ["--workload", write_trace(tmp_path / "t.csv", rates, times=times)], words)


def test_trace_shorter_than_the_episode(capsys, tmp_path, trace):
    refuse(capsys, tmp_path, ["--workload", trace, "--episode-hours", "1"], "3600 s is longer")


def test_not_a_table(capsys, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\x00\xff\x00")
    refuse(capsys, tmp_path, ["--workload", str(tmp_path / "t.csv")], "t.csv")


def test_output_that_is_a_file(capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert main(["evaluate", *BURST, "--output", str(tmp_path / "taken")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("No", False), ("null", None), ("paper", "paper"),
     ("[1, 2]", [1, 2]), ('{"a": 1}', {"a": 1}), ("1e3", 1000.0), ('"5"', "5")],
)  # fmt: skip
def test_scalars(text, value):
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_changes_nest():
    assert parse_changes(["a.b=1", "a.c.d=x=y", "e="]) == {"a": {"b": 1, "c": {"d": "x=y"}}, "e": ""}
    with pytest.raises(InputError, match="was given a value before"):
        parse_changes(["a=1", "a.b=2"])


@pytest.mark.parametrize(
    ("name", "stem"),
    [("podgym/Burst-v0", "Burst-v0"), ("workload /data/my trace.csv.gz", "my-trace"),
     ("workload family:burst", "family-burst"), ("workload ../x.parquet", "x")],
)  # fmt: skip
def test_file_stem(name, stem):
    assert file_stem(name) == stem


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(15, "15 s"), (60, "1 min"), (900, "15 min"), (86400, "24 h"), (530400, "6.14 days")],
)
def test_duration_text(seconds, text):
    assert duration_text(seconds) == text


def test_money_at_prices_of_ones_own(capsys):
    argv = ["evaluate", "--env", "podgym/Burst-v0", "--episode-hours", "0.05", "--tuned", "no", "--json"]
    assert main([*argv, "--prices", "2,1,EUR"]) == 0
    document = json.loads(capsys.readouterr().out)
    mean = document["results"][0]["mean"]
    assert mean["money"] == pytest.approx(2 * mean["core_hours"] + mean["gib_hours"])
    assert document["measures"]["money"]["unit"] == "EUR"
    assert main([*argv, "--prices", "2"]) == 2
    assert "price of a core hour" in capsys.readouterr().err

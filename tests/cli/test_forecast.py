"""``podgym forecast``: what a user types, gets and may get wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
pytest.importorskip("statsmodels")

from podgym.cli import main
from podgym.forecasters import load_forecaster

STEP_S = 1800.0


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A CSV of 40 days of half hours: a day with noise, counted in requests."""
    rng = np.random.default_rng(0)
    time_s = np.arange(1920) * STEP_S
    counts = rng.poisson(3000 + 2000 * np.sin(2 * np.pi * time_s / 86_400.0))
    path = tmp_path / "web.csv"
    pd.DataFrame({"t_seconds": time_s, "requests": counts}).to_csv(path, index=False)
    return str(path)


def train(trace: str, output: Path, *more: str) -> int:
    return main(["forecast", "train", "--trace", trace, "--output", str(output), *more])


def test_train_writes_a_forecaster_and_says_how_good_it_is(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "web.forecaster"
    assert train(trace, path, "--model", "lstm", "--epochs", "2", "--logdir", str(tmp_path / "runs")) == 0
    out = capsys.readouterr().out
    assert "first 70 %" in out
    assert "last value" in out
    assert f"wrote {path}" in out
    forecaster = load_forecaster(path)
    assert forecaster.spec.features == ("rate_rps",)
    assert forecaster.spec.training_samples == 1344
    assert list((tmp_path / "runs").glob("events.out.tfevents.*"))
    assert not list(tmp_path.glob(".*"))  # the checkpoint is gone


def test_an_interrupted_training_goes_on(
    trace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from podgym.forecasters import training

    whole = tmp_path / "whole.forecaster"
    assert train(trace, whole, "--epochs", "3") == 0
    one_epoch, count = training._one_epoch, 0

    def interrupted(*arguments: Any) -> float:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    again = tmp_path / "again.forecaster"
    with monkeypatch.context() as patch:
        patch.setattr(training, "_one_epoch", interrupted)
        assert train(trace, again, "--epochs", "3") == 130
    assert not again.exists()
    assert train(trace, again, "--epochs", "3") == 0
    assert load_forecaster(again).fingerprint == load_forecaster(whole).fingerprint


def test_evaluate_writes_tables_files_and_figures_and_fits_nothing_twice(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    command = ["forecast", "evaluate", "--trace", trace, "--models", "last_value", "ewma", "gru",
               "--epochs", "1", "--output", str(folder)]  # fmt: skip
    assert main(command) == 0
    out = capsys.readouterr().out
    for words in ("best naive", "cover-", "RMSE", "forecasts.csv"):
        assert words in out
    table = pd.read_csv(folder / "forecasts.csv")
    assert {"rmse", "mae", "mase", "smape", "fit_s", "parameters"} <= set(table["measure"])
    assert set(table["model"].dropna()) == {"last_value", "ewma", "gru"}
    assert "Table 1" in (folder / "forecasts.md").read_text()
    assert len(list(folder.glob("*.png"))) == 4
    document = json.loads((folder / "results.json").read_text())
    assert document["comparisons"][0]["part"] == "test"

    from podgym.forecasters import base

    monkeypatch.setattr(base.Forecaster, "fit", lambda *arguments: pytest.fail("fitted again"))
    assert main([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    first, second = (each["comparisons"][0]["features"] for each in (document, again))
    assert first == second


def test_processes_do_not_change_the_result(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = []
    for processes in ("1", "2"):
        assert main(["forecast", "evaluate", "--trace", trace, "--models", "last_value", "drift", "--json",
                     "--processes", processes, "--output", str(tmp_path / processes)]) == 0  # fmt: skip
        results.append(json.loads(capsys.readouterr().out)["comparisons"][0]["features"])
    assert results[0] == results[1]


def test_export_and_plot(trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "web.forecaster"
    assert train(trace, path, "--model", "paper_lstm", "--epochs", "1") == 0
    assert main(["forecast", "export", str(path), "--json"]) == 0
    lines = capsys.readouterr().out
    manifest = json.loads(lines[lines.index("{") :])
    assert manifest["spec"]["features"] == ["rate_rps"]
    assert len(manifest["sha256"]) == 64
    exported = tmp_path / "web.onnx"
    assert exported.is_file()
    assert (
        main(["forecast", "plot", str(exported), "--trace", trace, "--output", str(tmp_path / "f.png")]) == 0
    )
    assert main(["forecast", "plot", str(path), "--trace", trace, "--fan", "--output",
                 str(tmp_path / "fan.png")]) == 0  # fmt: skip
    assert {"f.png", "fan.png"} <= {each.name for each in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--trace", "{trace}", "--model", "lstmm"], "Did you mean 'lstm'"),
        (["train", "--trace", "{trace}", "--set", "windw=3"], "Did you mean 'window'"),
        (["train", "--trace", "{trace}", "--set", "training.epoch=3"], "Did you mean 'epochs'"),
        (["train", "--trace", "{trace}", "--set", "cleaning.z_treshold=3"], "Did you mean 'z_threshold'"),
        (["train", "--trace", "{trace}", "--horizon", "7"], "whole number of steps"),
        (["train", "--trace", "{trace}", "--horizon", "90"], "1 to 60"),
        (["train", "--trace", "{trace}", "--features", "request"], "Did you mean 'requests'"),
        (["train", "--trace", "alibaba2081"], "alibaba2018"),
        (["train", "--trace", "{trace}", "--output", "m.onnx"], "export"),
        (["train", "--trace", "{trace}", "--output", "."], "is a folder"),
        (["train", "--trace", "{trace}", "--modle", "lstm"], "Did you mean '--model'"),
        (["evaluate", "--trace", "{trace}", "--models", "lstm"], "naive"),
        (["evaluate", "--trace", "{trace}", "--models", "ewma", "emwa"], "Did you mean 'ewma'"),
        (["evaluate", "--trace", "{trace}", "--part", "train"], "dev, test and holdout"),
        (["evaluate", "--trace", "{trace}", "--trace", "{trace}"], "twice"),
        (["evaluate", "--trace", "{trace}", "--models", "naive", "--set", "units=3"], "no model among"),
        (["evaluate", "--trace", "{trace}", "--processes", "0"], "--processes"),
        (["export", "nothing.forecaster"], "there is no file"),
        (["plot", "nothing.forecaster"], "there is no file"),
        (["evaluat"], "evaluate"),
        ([], "SUBCOMMAND"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], words: str, trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["forecast", *(each.format(trace=trace) for each in arguments)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["web.csv"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,1\n60,2\n60,3\n", "repeats the time"),
        ("0,1\n120,2\n60,3\n", "lies before"),
        ("".join(f"{60 * row},\n" for row in range(2000)), "no measured value"),
        ("".join(f"{60 * row},7\n" for row in range(2000)), "constant"),
        ("".join(f"{60 * row},{row % 7}\n" for row in range(40)), "Record a longer series"),
        ("".join(f"{60 * row},{row % 7}\n" for row in range(600)) + "36000,word\n", "must be a number"),
    ],
)
def test_a_bad_series_is_refused_and_nothing_written(
    rows: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("t_seconds,cpu_percent\n" + rows)
    assert train(str(path), tmp_path / "m.forecaster", "--features", "cpu_percent") == 2
    assert words in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize("subcommand", ["train", "evaluate", "export", "plot"])
def test_help_teaches_by_example(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", subcommand, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"podgym forecast {subcommand}" in out
    assert "example" in out

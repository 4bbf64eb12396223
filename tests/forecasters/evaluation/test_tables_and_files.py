"""Tables, sentences and files of a comparison whose numbers are known."""

import csv
import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.told_forecasters import daily, scaled, told, trace
from rich.console import Console

from podgym.errors import InputError
from podgym.files import to_json
from podgym.forecasters.evaluation.comparison import Comparison, compare
from podgym.forecasters.evaluation.files import CSV_COLUMNS, comparison_document, tidy_rows, write_csv
from podgym.forecasters.evaluation.findings import findings
from podgym.forecasters.evaluation.measures import QUALITY_MEASURES
from podgym.forecasters.evaluation.rolling import evaluate_forecaster, sample_forecast
from podgym.forecasters.evaluation.significance import Resampling
from podgym.forecasters.evaluation.tables import (
    ahead_text,
    claim_table,
    model_table,
    sample_table,
    step_table,
)
from podgym.forecasters.evaluation.text import (
    TextTable,
    clock_text,
    column_text,
    share_percent,
    short_text,
    signed_percent,
)
from podgym.forecasters.sources import TraceSeries

SIZE = 4000
FEW = Resampling(num_resamples=200)
NAMES = ("last_value", "holt_winters", "lstm", "gru", "prophet")


def comparison_of(data: TraceSeries, scales: dict[str, float], **options: Any) -> Comparison:
    """Return a comparison of models whose errors have given deviations."""
    results = []
    for seed, (name, scale) in enumerate(scales.items()):
        errors = np.random.default_rng(seed).normal(0.0, scale, data.series.num_samples)
        results.append(evaluate_forecaster(told(data, errors, name=name, **options), data, timed=False))
    return compare(results, resampling=FEW)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    scales = dict(zip(NAMES, (2.0, 1.0, 0.8, 1.0, 1.3), strict=True))
    return comparison_of(trace(daily(SIZE, 2)), scales)


@pytest.fixture(scope="module")
def naive_only() -> Comparison:
    return comparison_of(trace(daily(SIZE), step_s=300.0), {"ewma": 1.0, "drift": 2.0})


def column(table: TextTable, heading: str) -> dict[str, str]:
    place = [each.replace("\n", " ") for each in table.headings].index(heading)
    return {row[0]: row[place] for row in table.rows}


# -- tables -------------------------------------------------------------------------------------------


def test_models_are_sorted_by_rmse_and_the_best_naive_is_marked(compared: Comparison) -> None:
    table = model_table(compared, "rate_rps", 5)
    names = [row[0] for row in table.rows]
    assert names[0] == "lstm"
    assert set(names[1:3]) == {"holt_winters *", "gru"}
    assert names[3:] == ["prophet", "last_value"]
    shown = [float(text) for text in column(table, "RMSE").values()]
    assert shown == sorted(shown)
    assert column(table, "RMSE")["lstm"] == f"{compared.result('lstm').measure('rmse', 'rate_rps', 5):.3f}"
    verdicts = column(table, "verdict")
    assert verdicts == {
        "lstm": "better", "holt_winters *": "-", "gru": "undecided", "prophet": "worse", "last_value": "-"
    }  # fmt: skip
    gains = column(table, "% below best naive [95 %]")
    found = compared.feature("rate_rps").models["lstm"].at(5).improvement
    assert (
        gains["lstm"] == f"+{100 * found.estimate:.1f} [+{100 * found.lower:.1f}, +{100 * found.upper:.1f}]"
    )
    assert gains["holt_winters *"] == "-"


def test_the_mark_goes_to_the_best_naive_model_of_the_step() -> None:
    comparison = comparison_of(trace(daily(SIZE)), {"ewma": 1.0, "drift": 1.0, "lstm": 1.0})
    near, far, learned = comparison.results
    rising = np.array([0.5, 0.5, 3.0, 3.0, 3.0])[:, None]
    crossed = compare([scaled(near, rising), scaled(far, 1.0), learned], resampling=FEW)
    assert {"ewma *", "drift"} <= {row[0] for row in model_table(crossed, "rate_rps", 1).rows}
    assert {"ewma", "drift *"} <= {row[0] for row in model_table(crossed, "rate_rps").rows}
    assert column(model_table(crossed, "rate_rps", 1), "% below best naive [95 %]")["ewma *"] == "-"


def test_every_measure_that_was_asked_for_has_a_column(compared: Comparison) -> None:
    heads = [
        heading.replace("-\n", "").replace("\n", " ")
        for heading in model_table(compared, "rate_rps").headings
    ]
    assert heads == [
        "model", "RMSE", "% below best naive [95 %]", "verdict", "MAE", "MASE", "sMAPE, %", "pinball",
        "coverage, %", "width", "width, % level", "fit, s", "batch, µs", "single, ms", "parameters",
    ]  # fmt: skip
    result = compared.result("lstm")
    covered = column(model_table(compared, "rate_rps"), "cover- age, %")["lstm"]
    assert covered == f"{100 * result.quality[0].interval_coverage.pooled:.1f}"


@pytest.mark.parametrize("group", ["accuracy", "intervals"])
@pytest.mark.parametrize("feature", ["rate_rps", "memory_percent"])
def test_each_group_of_columns_fits_a_terminal(compared: Comparison, feature: str, group: Any) -> None:
    text = StringIO()
    console = Console(file=text, width=80, color_system=None)
    console.print(model_table(compared, feature, group=group).rich())
    console.print(step_table(compared, feature).rich())
    console.print(claim_table(compared, feature).rich())
    console.print(sample_table(sample_forecast(compared.result("lstm"))).rich())
    assert "…" not in text.getvalue()
    assert text.getvalue().count("holt_winters") == 3


def test_the_step_table_tells_gain_and_verdict(compared: Comparison) -> None:
    table = step_table(compared, "rate_rps")
    assert [heading.replace("\n", " ") for heading in table.headings] == [
        "model", "1 min", "2 min", "3 min", "4 min", "5 min", "all",
    ]  # fmt: skip
    cells = column(table, "3 min")
    gain = 100 * compared.feature().models["lstm"].at(3).improvement.estimate
    assert cells["lstm"] == f"+{gain:.1f}!"
    assert cells["gru"].endswith("?")
    assert cells["prophet"].startswith("-")
    assert cells["holt_winters"].endswith("*")
    assert float(cells["holt_winters"][:-1]) == pytest.approx(1.0, abs=0.1)


def test_a_single_step_has_one_column(naive_only: Comparison) -> None:
    assert step_table(naive_only, "rate_rps").headings == ("model", "5\nmin")
    assert ahead_text(naive_only, None) == ahead_text(naive_only, 1) == "5 min ahead"


def test_the_claim_table_says_no_unless_all_are_within() -> None:
    data = trace(daily(SIZE))
    table = claim_table(comparison_of(data, {"ewma": 0.1, "lstm": 5.0}), "rate_rps")
    assert column(table, "all within") == {"ewma": "yes", "lstm": "no"}
    assert column(table, "all")["ewma"] == "100"
    assert float(column(table, "all")["lstm"]) < 70.0


def test_the_form_of_the_paper_s_table_1() -> None:
    values = np.full((1000, 2), 50.0) + 0.01 * np.arange(1000)[:, None]
    values[900:905, 0] = [71.83, 73.61, 75.94, 78.32, 80.67]
    values[900:905, 1] = [67.98, 67.98, 70.98, 73.21, 74.87]
    values[905:] = 60.0
    data = trace(values)
    result = evaluate_forecaster(told(data, -2.0), data, timed=False)
    table = sample_table(sample_forecast(result))
    assert table.headings == (
        "time", "rate_rps\nactual, requests/s", "forecast", "error,\n%", "memory_percent\nactual, %",
        "forecast", "error,\n%",
    )  # fmt: skip
    assert table.rows[0] == ("15:00", "71.8", "69.8", "-2.8", "68.0", "66.0", "-2.9")
    assert table.rows[4] == ("15:04", "80.7", "78.7", "-2.5", "74.9", "72.9", "-2.7")
    assert "day 1 15:00" in table.title


def test_markdown_is_one_line_per_row_with_names_kept(compared: Comparison) -> None:
    lines = model_table(compared, "memory_percent").markdown().splitlines()
    assert lines[0].startswith("**made (test), memory\\_percent in %")
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(NAMES)
    assert len({line.count("|") for line in rows}) == 1
    assert "coverage, %" in rows[0]
    assert "holt\\_winters" in "".join(rows)


def test_a_model_that_knew_the_answers_is_marked() -> None:
    data = trace(daily(SIZE))
    results = [
        evaluate_forecaster(told(data, np.random.default_rng(1).normal(0, 1, SIZE), name=name), data, "train")
        for name in ("ewma", "lstm")
    ]
    table = model_table(compare(results, resampling=FEW), "rate_rps")
    assert all(row[0].endswith("†") for row in table.rows)
    assert "fitted to samples that it is judged on" in " ".join(table.notes)


# -- numbers ------------------------------------------------------------------------------------------


def test_numbers_of_a_column_share_their_decimals() -> None:
    assert column_text([0.6123, 12.3456, math.nan, 0.0]) == ["0.612", "12.346", "-", "0.000"]
    assert column_text([5123.4, 10_000.0]) == ["5123", "10000"]
    assert column_text([]) == []
    assert column_text([1e-12]) == ["0.000000"]


def test_single_numbers() -> None:
    assert [short_text(value) for value in (0.0, 0.0887, 5.123, 12.34, 99.96, 17_930.0, math.nan)] == [
        "0", "0.09", "5.12", "12.3", "100", "17930", "-",
    ]  # fmt: skip
    assert [signed_percent(value) for value in (0.0412, -0.0004, -1.977, math.nan)] == [
        "+4.1",
        "0.0",
        "-198",
        "-",
    ]
    assert [share_percent(value) for value in (1.0, 0.99999, 0.5, 1e-6, 0.0)] == [
        "100",
        "99.9",
        "50.0",
        "0.1",
        "0",
    ]
    assert clock_text(86_400.0 * 12 + 36_420.0) == "day 13 10:07"
    assert clock_text(30.0) == "day 1 00:00:30"


# -- sentences ----------------------------------------------------------------------------------------


def test_the_finding_names_winner_size_and_noise(compared: Comparison) -> None:
    told_text = findings(compared, "rate_rps")[0]
    gain = compared.feature("rate_rps").models["lstm"].at(5).improvement
    assert (
        f"5 min ahead, lstm is {100 * gain.estimate:.1f} % [{100 * gain.lower:.1f}, {100 * gain.upper:.1f}] "
        "below holt_winters (RMSE " in told_text
    )
    assert "requests/s): better" in told_text
    assert "No learned model" not in told_text
    # The models know the noise here, so what cannot be beaten from the past is beaten.
    assert "refuted: lstm is lower" in told_text
    assert "holds for no model" in told_text
    assert len(findings(compared)) == 2


def test_the_finding_says_so_when_nothing_beats_the_naive_model() -> None:
    data = trace(daily(SIZE))
    worse = findings(comparison_of(data, {"ewma": 1.0, "lstm": 1.5}))[0]
    assert "above ewma" in worse
    assert "): worse" in worse
    assert "No learned model is shown to beat the naive ones." in worse
    alike = findings(comparison_of(data, {"ewma": 3.0, "lstm": 3.0}))[0]
    assert "): undecided" in alike
    assert "No learned model is shown to beat the naive ones." in alike


def test_the_ends_of_an_interval_above_the_reference_are_in_order() -> None:
    data = trace(daily(SIZE))
    comparison = comparison_of(data, {"ewma": 1.0, "lstm": 1.5})
    gain = comparison.feature().models["lstm"].pooled.improvement
    expected = f"{-100 * gain.estimate:.1f} % [{-100 * gain.upper:.1f}, {-100 * gain.lower:.1f}] above ewma"
    assert f"1 to 5 min ahead, lstm is {expected}" in findings(comparison)[0]


def test_without_learned_models_the_finding_names_the_best_naive_one(naive_only: Comparison) -> None:
    told_text = findings(naive_only)[0]
    assert "5 min ahead, ewma (RMSE " in told_text
    assert "no learned one was judged" in told_text


# -- files --------------------------------------------------------------------------------------------


def test_csv_round_trip(compared: Comparison, naive_only: Comparison, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "new" / "forecasts.csv", [compared, naive_only])
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == CSV_COLUMNS
    written = [row for comparison in (compared, naive_only) for row in tidy_rows(comparison)]
    assert [{name: str(value) for name, value in row.items()} for row in written] == read
    keys = [tuple(row[name] for name in CSV_COLUMNS[:7]) for row in read[: len(tidy_rows(compared))]]
    assert len(set(keys)) == len(keys)
    for result in compared.results:
        for feature in ("rate_rps", "memory_percent"):
            for name in QUALITY_MEASURES:
                for step in (None, 1, 5):
                    value = value_of(read, result.label, feature, "all" if step is None else str(step), name)
                    assert value == result.measure(name, feature, step)


def value_of(rows: list[dict[str, str]], model: str, feature: str, step: str, measure: str) -> float:
    found = [
        row for row in rows
        if (row["model"], row["feature"], row["step"], row["measure"]) == (model, feature, step, measure)
    ]  # fmt: skip
    assert len(found) == 1
    return float(found[0]["value"])


def test_csv_holds_improvements_tests_floors_and_costs(compared: Comparison) -> None:
    rows = [{name: str(value) for name, value in row.items()} for row in tidy_rows(compared)]
    against = compared.feature("rate_rps").models["lstm"].at(2)
    wanted = ("lstm", "rate_rps", "2", "rmse_improvement")
    names = ("model", "feature", "step", "measure")
    row = next(row for row in rows if tuple(row[name] for name in names) == wanted)
    assert (float(row["value"]), float(row["low"]), float(row["high"])) == (
        against.improvement.estimate, against.improvement.lower, against.improvement.upper,
    )  # fmt: skip
    assert float(row["ahead_s"]) == 120.0
    assert value_of(rows, "lstm", "rate_rps", "2", "p_value_holm") == against.adjusted_p
    assert value_of(rows, "lstm", "", "all", "fit_s") == compared.result("lstm").fit_s
    floor = value_of(rows, "", "rate_rps", "all", "noise_floor_interpolation")
    assert floor == compared.feature("rate_rps").noise.interpolation
    tested = {row["model"] for row in rows if row["measure"] == "p_value"}
    assert tested == {"lstm", "gru", "prophet"}


def test_the_document_is_json_and_complete(compared: Comparison) -> None:
    document = json.loads(to_json(comparison_document(compared)))
    json.dumps(comparison_document(compared), allow_nan=False)
    assert document["tested_steps"] == [1, 2, 3, 4, 5]
    assert document["models"]["holt_winters"]["naive"] is True
    feature = document["features"]["memory_percent"]
    assert feature["best_naive"] == "holt_winters"
    lstm = feature["models"]["lstm"]
    assert set(lstm["measures"]) == set(QUALITY_MEASURES)
    assert len(lstm["measures"]["rmse"]["by_step"]) == 5
    low, high = lstm["measures"]["rmse"]["interval_all"]
    assert low < lstm["measures"]["rmse"]["all"] < high
    assert lstm["against_best_naive"]["all"]["verdict"] == "better"
    assert lstm["all_within_5_percent"] is False
    assert "assumption" in feature["noise_floor"]["interpolation"]


def test_a_csv_that_cannot_be_written_leaves_nothing(naive_only: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(tmp_path / "file" / "forecasts.csv", [naive_only])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

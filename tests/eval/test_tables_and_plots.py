"""Tables and figures: everything shown, nothing wider than a terminal, nothing drawn twice."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from podgym.envs.render import MOST_POINTS
from podgym.errors import InputError
from podgym.eval.measures import MEASURES, measure_by_service
from podgym.eval.plots import episode_figure, save_figure
from podgym.eval.summary import result_document, summarise
from podgym.eval.tables import (
    ROWS,
    comparison_table,
    format_number,
    format_value,
    plain_rows,
    ranking_table,
    service_table,
)


def printed(table, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_every_measure_has_a_row():
    assert [row.measure for row in ROWS] != []
    assert {row.measure for row in ROWS} == {each.name for each in MEASURES}
    assert len(ROWS) == len(MEASURES)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.0, 2, "0"), (0.004, 2, "0.00"), (12.345, 1, "12.3"), (1234.5, 1, "1234"), (math.nan, 1, "-"),
     (123456.0, 0, "1.2e5"), (-13232.6, 0, "-13233"), (7.0, None, "7"), (7.5, None, "7.5"), (3.0, 1, "3.0")],
)  # fmt: skip
def test_format_number(value, decimals, text):
    assert format_number(value, decimals) == text


def test_format_value_scales_to_the_unit_shown():
    row = next(row for row in ROWS if row.measure == "response_time_p95_s")
    assert format_value(row, 0.1417) == "142"
    assert format_value(row, 0.1417, 0.0021) == "142 ± 2"


def test_eight_columns_fit_in_eighty_characters(worked):
    summaries = [
        summarise([worked], group, controller)
        for group in ("week", "high", "burst", "low")
        for controller in ("hpa\n", "static\n18")
    ]
    text = printed(comparison_table(summaries))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    p95 = next(line for line in text.splitlines() if line.strip().startswith("response p95"))
    assert p95.split().count("761") == 8  # the worked record's p95 in ms


def test_a_ranking_has_the_highest_reward_first(worked):
    whole = summarise([worked])
    summaries = [
        replace(whole, controller=name, mean={**whole.mean, "reward": reward})
        for name, reward in (("worst", -900.0), ("best", -100.0), ("kubernetes_default tuned", -500.0))
    ]
    out = printed(ranking_table(summaries))
    assert out.index("best") < out.index("kubernetes_default tuned") < out.index("worst")
    assert max(map(len, out.splitlines())) <= 80
    assert "-100" in out


def test_five_long_names_fit_in_eighty_characters(worked):
    whole = summarise([worked])
    names = (
        "lstm_ga",
        "lstm_ga tuned",
        "kubernetes_default",
        "kubernetes_default tuned",
        "forecast_threshold",
    )
    out = printed(comparison_table([replace(whole, controller=name) for name in names]))
    assert "…" not in out
    assert "response mean, ms" in out
    assert max(map(len, out.splitlines())) <= 80


def test_spread_is_shown_for_several_episodes_only(worked):
    assert "±" not in printed(comparison_table([summarise([worked])]))
    assert "±" in printed(comparison_table([summarise([worked, worked])]))


def test_service_table_names_the_services(make_record):
    record = make_record({"completed": [[10, 20]]}, services=("front", "back"))
    text = printed(service_table(summarise([record])))
    assert "front" in text
    assert "back" in text
    assert "…" not in text


def test_plain_rows_are_flat(worked):
    (row,) = plain_rows([summarise([worked], "g", "c")])
    assert row["environment"] == "g"
    assert row["episodes"] == 1.0
    assert row["slo_violation_ratio"] == pytest.approx(0.15)


def test_document_has_definitions_constants_and_every_episode(worked):
    summary = summarise([worked, worked], "podgym/Hand-v0")
    document = result_document([summary], [worked], {})
    assert document["measures"]["core_hours"]["unit"] == "core h"
    assert len(document["results"][0]["episodes"]) == 2
    assert document["results"][0]["episodes"][0]["profile_sha256"] == "0" * 64
    assert document["results"][0]["standard_deviation"]["slo_violation_ratio"] == 0.0


def test_single_service_is_measured_once_and_means_the_same(worked):
    assert summarise([worked]).by_service == measure_by_service(worked)


def test_summary_of_nothing_is_refused():
    with pytest.raises(InputError, match="no episode"):
        summarise([])


def long_record(make_record, steps=5000, worst_s=0.2):
    rng = np.random.default_rng(0)
    mean_s = rng.uniform(0.1, 0.12, steps)
    totals = {
        "offered_rps": rng.uniform(0, 500, steps),
        "completed_rps": rng.uniform(0, 500, steps),
        "response_time_mean_s": mean_s,
        "response_time_p95_s": np.where(np.arange(steps) == 7, worst_s, mean_s),
        "cpu_utilisation": rng.uniform(0, 1, steps),
        "replicas_ready": np.full(steps, 4.0),
    }
    return make_record({"required_replicas": np.full(steps, 3.0)}, totals)


def test_one_column_per_record_and_no_line_is_too_long(make_record):
    record = long_record(make_record)
    figure = episode_figure(record, record)
    axes = np.array(figure.axes).reshape(4, 2)
    assert max(len(line.get_xdata()) for panel in axes.flat for line in panel.get_lines()) <= MOST_POINTS
    assert all(panel.get_legend() is None for panel in axes[:, 0])
    legends = [panel.get_legend() for panel in axes[:, 1]]
    assert [[text.get_text() for text in each.get_texts()] for each in legends] == [
        ["offered", "completed"],
        ["required", "ready", "wanted"],
        ["p95", "mean", "SLO"],
        ["memory", "CPU"],
    ]


def test_response_time_axis_is_logarithmic_only_where_it_must_be(make_record):
    assert episode_figure(long_record(make_record)).axes[2].get_yscale() == "linear"
    assert episode_figure(long_record(make_record, worst_s=9.0)).axes[2].get_yscale() == "log"


def test_scale_grows_with_every_record_of_a_row(make_record):
    low = long_record(make_record)
    high = make_record({"required_replicas": [3.0, 3.0]}, {"replicas_ready": [40.0, 40.0]})
    bottom, top = episode_figure(low, high).axes[2].get_ylim()  # second row, first column
    assert bottom == 0.0
    assert top >= 40.0


@pytest.mark.parametrize(("steps", "unit"), [(240, "minutes"), (1000, "hours"), (30_000, "days")])
def test_time_axis_follows_the_length(make_record, steps, unit):
    assert episode_figure(long_record(make_record, steps)).axes[-1].get_xlabel() == f"time, {unit}"


def test_closed_load_shows_its_users(make_record):
    record = make_record({"completed": [1, 1]}, load=[500.0, 600.0], kind="closed")
    labels = episode_figure(record).axes[0].get_legend_handles_labels()[1]
    assert "users" in labels


def test_same_record_same_bytes(worked, tmp_path):
    first = save_figure(tmp_path / "a.png", worked).read_bytes()
    assert first == save_figure(tmp_path / "b.png", worked).read_bytes()
    assert first.startswith(b"\x89PNG")


def test_a_heading_names_the_options_that_fit(worked):
    headings = []
    for options in ({"replicas": 16, "share": 0.123456789}, {f"option_{i}": i for i in range(12)}):
        record = replace(worked, metadata=replace(worked.metadata, controller_options=options))
        headings.append(episode_figure(record).axes[0].get_title(loc="left"))
    name = worked.metadata.controller
    assert headings == [f"{name} (replicas 16, share 0.1235)", name]


def test_figure_of_nothing_is_refused():
    with pytest.raises(InputError, match="one episode"):
        episode_figure()

"""Figures: the lines they claim to draw, readable labels, and whole files."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from oracles.told_forecasters import daily, told, trace

from podgym.errors import InputError
from podgym.forecasters.evaluation.comparison import Comparison, compare
from podgym.forecasters.evaluation.drawing import busy_stretch, spread
from podgym.forecasters.evaluation.plots import (
    FANS,
    WINDOW,
    coverage_figure,
    fan_figure,
    forecast_figure,
    improvement_figure,
    save_figures,
)
from podgym.forecasters.evaluation.rolling import evaluate_forecaster
from podgym.forecasters.evaluation.significance import Resampling

SIZE = 4000
RISE = 3700


def comparison_of(
    scales: dict[str, float], *, step_s: float = 60.0, values: Any = None, **options: Any
) -> Comparison:
    data = trace(with_a_rise() if values is None else values, step_s=step_s)
    results = [
        evaluate_forecaster(
            told(data, np.random.default_rng(seed).normal(0.0, scale, SIZE), name=name, **options),
            data,
            timed=False,
        )
        for seed, (name, scale) in enumerate(scales.items())
    ]
    return compare(results, resampling=Resampling(num_resamples=100))


def with_a_rise() -> Any:
    values = daily(SIZE)
    values[RISE : RISE + 30] += 60.0
    return values


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return comparison_of({"last_value": 2.0, "ewma": 1.0, "drift": 1.1, "lstm": 0.8, "gru": 1.0})


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def lines_of(axes: Axes, *, colour: str | None = None) -> list[Line2D]:
    return [
        line for line in axes.get_lines()
        if line.get_label() != "_leader" and (colour is None or line.get_color() == colour)
    ]  # fmt: skip


def labelled(axes: Axes, label: str) -> Line2D:
    found = [line for line in axes.get_lines() if line.get_label() == label]
    assert len(found) == 1
    return found[0]


# -- forecasts against actual load --------------------------------------------------------------------


def test_forecast_figure_draws_actual_load_both_models_interval_and_misses(compared: Comparison) -> None:
    top, bottom = forecast_figure(compared, "rate_rps").axes
    learned, naive = compared.result("lstm"), compared.result("ewma")
    drawn = np.asarray(labelled(top, "lstm").get_ydata())
    assert len(drawn) == WINDOW
    row = int(np.flatnonzero(learned.forecast.mean[:, 4, 0] == drawn[0])[0])
    rows = slice(row, row + WINDOW)
    actual = learned.actual[rows, 4, 0]
    np.testing.assert_array_equal(drawn, learned.forecast.mean[rows, 4, 0])
    np.testing.assert_array_equal(labelled(top, "ewma").get_ydata(), naive.forecast.mean[rows, 4, 0])
    np.testing.assert_array_equal(lines_of(top)[0].get_ydata(), actual)
    targets = learned.origins[rows] + 5
    np.testing.assert_allclose(lines_of(top)[0].get_xdata(), (targets + 0.5) / 60.0)
    assert targets[0] < RISE < targets[-1] - 30
    outside = (actual < learned.forecast.lower[rows, 4, 0]) | (actual > learned.forecast.upper[rows, 4, 0])
    dots = next(line for line in top.get_lines() if line.get_marker() == "o")
    np.testing.assert_array_equal(dots.get_ydata(), actual[outside])
    band = next(each for each in top.collections if isinstance(each, PolyCollection))
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].max() == learned.forecast.upper[rows, 4, 0].max()
    np.testing.assert_allclose(labelled(bottom, "lstm").get_ydata(), drawn - actual)
    assert set(texts(top)) == {"actual", "lstm", "ewma", "80 % interval", "● outside of it"}
    assert bottom.get_xlabel().startswith("time of day, day 3")
    assert top.get_ylabel() == "rate_rps, requests/s"
    assert all(label.get_text()[2] == ":" for label in bottom.get_xticklabels())


def test_forecast_figure_of_another_step(compared: Comparison) -> None:
    top, _ = forecast_figure(compared, "rate_rps", 1, num_samples=50).axes
    drawn = np.asarray(labelled(top, "lstm").get_ydata())
    assert len(drawn) == 50
    assert np.isin(drawn, compared.result("lstm").forecast.mean[:, 0, 0]).all()
    assert "1 min ahead" in top.get_title(loc="left")
    with pytest.raises(InputError, match="step"):
        forecast_figure(compared, "rate_rps", 6)


def test_what_was_not_measured_is_not_drawn() -> None:
    values = with_a_rise()
    values[RISE + 50 : RISE + 90] = np.nan
    comparison = comparison_of({"ewma": 1.0, "lstm": 0.8}, values=values)
    top, _ = forecast_figure(comparison, "rate_rps").axes
    actual, told_values = lines_of(top)[0].get_ydata(), labelled(top, "lstm").get_ydata()
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(told_values))


# -- fans ---------------------------------------------------------------------------------------------


def test_fan_figure_draws_whole_trajectories(compared: Comparison) -> None:
    (axes,) = fan_figure(compared, "rate_rps").axes
    result = compared.result("lstm")
    actual, *fans = lines_of(axes)
    assert len(fans) == FANS
    assert len([each for each in axes.collections if isinstance(each, PolyCollection)]) == FANS
    first = int(np.flatnonzero(result.forecast.mean[:, 0, 0] == fans[0].get_ydata()[0])[0])
    for place, fan in enumerate(fans):
        row = first + 8 * place
        np.testing.assert_array_equal(fan.get_ydata(), result.forecast.mean[row, :, 0])
        np.testing.assert_allclose(fan.get_xdata(), (result.origins[row] + np.arange(1, 6) + 0.5) / 60.0)
    assert set(actual.get_ydata()) <= set(result.series.values[:, 0])


def test_fan_figure_of_a_chosen_model(compared: Comparison) -> None:
    (axes,) = fan_figure(compared, "rate_rps", label="drift", every=20).axes
    assert "drift" in texts(axes)
    with pytest.raises(InputError, match="drift"):
        fan_figure(compared, "rate_rps", label="drifft")
    with pytest.raises(InputError, match="every"):
        fan_figure(compared, "rate_rps", every=0)


# -- by time ahead ------------------------------------------------------------------------------------


def test_improvement_figure_draws_estimates_intervals_and_verdicts(compared: Comparison) -> None:
    (axes,) = improvement_figure(compared, "rate_rps").axes
    against = compared.feature().models["lstm"].by_step
    expected = [100.0 * each.improvement.estimate for each in against]
    curves = {tuple(np.round(np.asarray(line.get_ydata(), dtype=float), 9)) for line in lines_of(axes)}
    assert tuple(np.round(expected, 9)) in curves
    ends = [
        segment[:, 1]
        for each in axes.collections
        if isinstance(each, LineCollection)
        for segment in each.get_segments()
    ]
    for each in against:
        bounds = 100.0 * np.array([each.improvement.lower, each.improvement.upper])
        assert any(np.allclose(bounds, found) for found in ends)
    hollow = [line for line in lines_of(axes) if line.get_markerfacecolor() == "white"]
    assert (
        len(hollow)
        == sum(each.verdict == "undecided" for each in compared.feature().models["gru"].by_step)
        > 0
    )
    assert {"lstm", "gru", "ewma", "drift"} <= set(texts(axes))
    assert any(text.startswith("off the scale") and "last_value" in text for text in texts(axes))


def test_long_horizons_get_bands_instead_of_bars() -> None:
    comparison = comparison_of({"ewma": 1.0, "lstm": 0.8}, horizon_minutes=30)
    (axes,) = improvement_figure(comparison, "rate_rps").axes
    assert len([each for each in axes.collections if isinstance(each, PolyCollection)]) == 2
    assert axes.get_xticks().tolist() == [1, 5, 10, 15, 20, 25, 30]


def test_coverage_figure_draws_every_model_and_the_band(compared: Comparison) -> None:
    (axes,) = coverage_figure(compared, "rate_rps").axes
    for result in compared.results:
        shares = 100.0 * result.quality[0].interval_coverage.by_step
        np.testing.assert_array_equal(labelled(axes, result.label).get_ydata(), shares)
        np.testing.assert_array_equal(labelled(axes, result.label).get_xdata(), [1, 2, 3, 4, 5])
    low, high = axes.get_ylim()
    assert low < 75.0 < 85.0 < high
    assert len({labelled(axes, name).get_marker() for name in ("last_value", "ewma", "drift")}) == 3
    assert len({labelled(axes, name).get_color() for name in ("lstm", "gru", "ewma")}) == 3


# -- files and pieces ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"scales": {"ewma": 1.0, "lstm": 0.8}},
        {"scales": {"ewma": 1.0, "drift": 2.0}},
        {"scales": {"ewma": 1.0, "lstm": 0.8}, "step_s": 300.0},
    ],
    ids=["learned", "naive only", "one step"],
)
def test_figures_are_written_without_warnings(options: dict[str, Any], tmp_path: Path) -> None:
    from matplotlib.image import imread

    paths = save_figures(comparison_of(**options), tmp_path / "figures", "made")
    assert [path.name for path in paths] == [
        f"made-rate_rps-{name}.png" for name in ("forecast", "fan", "improvement", "coverage")
    ]
    for path in paths:
        pixels = imread(path)
        assert pixels.shape[1] == 900
        assert pixels[..., :3].std() > 0.02
    assert sorted((tmp_path / "figures").iterdir()) == sorted(paths)


def test_labels_do_not_overlap(compared: Comparison) -> None:
    for figure in (coverage_figure(compared, "rate_rps"), forecast_figure(compared, "rate_rps")):
        boxes = label_boxes(figure)
        assert len(boxes) >= 5
        for place, box in enumerate(boxes):
            assert box.x1 <= figure.bbox.x1 + 1.0
            assert not any(box.overlaps(other) for other in boxes[:place])


def label_boxes(figure: Figure) -> Sequence[Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    return [text.get_window_extent() for axes in figure.axes for text in axes.texts]


@given(
    places=st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=12).map(sorted),
    gap=st.floats(0.001, 0.08),
)
def test_spread_keeps_order_gap_and_bounds(places: list[float], gap: float) -> None:
    moved = spread(places, gap)
    assert (np.diff(moved) >= gap - 1e-9).all()
    assert moved[0] >= 0.0
    assert moved[-1] <= 1.0 + 1e-9
    untouched = all(b - a >= gap for a, b in pairwise(places))
    if untouched and places[0] >= 0.0 and places[-1] <= 1.0:
        np.testing.assert_allclose(moved, places, atol=1e-12)


def test_spread_moves_least() -> None:
    np.testing.assert_allclose(spread([0.5, 0.5], 0.1), [0.45, 0.55])
    np.testing.assert_allclose(spread([0.2, 0.5, 0.52, 0.54], 0.1), [0.2, 0.42, 0.52, 0.62])
    np.testing.assert_allclose(spread([-0.2, 0.0], 0.1), [0.0, 0.1])


def test_the_busy_stretch_holds_the_rise_and_no_gap() -> None:
    values = with_a_rise()[:, 0]
    first = busy_stretch(values, 200)
    assert first + 33 <= RISE < first + 200 - 33
    values[RISE - 300 : RISE + 300][np.random.default_rng(0).random(600) < 0.4] = np.nan  # the steps remain
    first = busy_stretch(values, 200)
    assert not np.isnan(values[first : first + 200]).any()
    assert np.isnan(values[RISE : RISE + 200]).any()


@pytest.mark.parametrize("size", [1, 2, 3, 17, 300])
def test_a_stretch_of_any_size_lies_inside(size: int) -> None:
    first = busy_stretch(daily(300)[:, 0], size)
    assert 0 <= first <= 300 - size

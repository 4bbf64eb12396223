"""Figures of evaluated forecasters: against the actual load, as fans, and by time ahead."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, require_whole
from podgym.forecasters.evaluation.comparison import Comparison, FeatureComparison, ModelComparison
from podgym.forecasters.evaluation.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    busy_stretch,
    clock_axis,
    label_ends,
    panel_figure,
    save_figure,
    write_title,
)
from podgym.forecasters.evaluation.noise_floor import room
from podgym.forecasters.evaluation.rolling import ModelResult, clock_s
from podgym.forecasters.evaluation.tables import ahead_text
from podgym.forecasters.evaluation.text import share_percent, signed_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

WINDOW = 240
"""Samples that are drawn of forecasts against actual values: four hours of minutes."""
FANS = 16
"""Trajectories in the fan figure."""
COVERAGE_BAND = (0.75, 0.85)
"""Coverage that is good enough for an interval meant to hold 80 %."""

_LEARNED_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
_NAIVE_MARKERS = ("o", "s", "^", "v", "D")
_BAND_TEXT = "#5B9BC8"  # the colour of the band, dark enough to read
_OFF_SCALE = {True: 0.15, False: 0.25}  # by naive: worse than the best naive one by more, at every step
_FAR_LIMIT = 0.3  # a possible improvement beyond this is no limit that matters
_MOST_ERROR_BARS = 8  # with more steps, intervals are drawn as bands


def forecast_figure(
    comparison: Comparison, feature: str, step: int | None = None, num_samples: int = WINDOW
) -> "Figure":
    """Draw forecasts of one step ahead against what was measured, and their errors beneath.

    The best learned model with its 80 % interval, the best naive one beside it, and the measured values
    outside of the interval marked; over the stretch of the part with the steepest rise and the highest load.

    Args:
        comparison: from ``compare``.
        feature: which feature.
        step: steps ahead, from 1 on; the last one unless given.
        num_samples: samples to draw.

    Raises:
        InputError: a step beyond the horizon.
    """
    require_whole("num_samples", num_samples, 1, 10**9)
    ahead = comparison.horizon if step is None else step
    require_whole("step", ahead, 1, comparison.horizon)
    found = comparison.feature(feature)
    naive = comparison.result(found.reference(ahead))
    shown = comparison.best_learned(feature, ahead) or naive
    rows = _busy_rows(shown, feature, ahead, num_samples)
    main = _told(shown, feature, ahead, rows)
    figure, (top, bottom) = panel_figure(6.2, (3, 1))
    top.fill_between(main.time_h, main.lower, main.upper, color=BLUE, alpha=0.18, linewidth=0)
    top.plot(main.time_h, main.actual, color=BLACK, linewidth=1.0)
    drawn = [(main, shown.label, BLUE)]
    if naive is not shown:
        drawn.insert(0, (_told(naive, feature, ahead, rows), naive.label, ORANGE))
    for told, label, colour in drawn:
        top.plot(told.time_h, told.mean, color=colour, linewidth=1.6, label=label)
        bottom.plot(told.time_h, told.mean - told.actual, color=colour, linewidth=1.1, label=label)
    missed = main.missed
    top.plot(main.time_h[missed], main.actual[missed], "o", color=VERMILLION, markersize=3.6)
    labels = [(_last(told.mean), label, colour) for told, label, colour in drawn]
    labels += [(_last(main.actual), "actual", BLACK), (_last(main.upper), "80 % interval", _BAND_TEXT)]
    if missed.any():
        labels.append((_last(main.actual[missed]), "● outside of it", VERMILLION))
    label_ends(top, labels)
    bottom.axhline(0.0, color=BLACK, linewidth=0.8)
    label_ends(
        bottom,
        [
            (_last(told.mean - told.actual), f"RMSE {told.rmse:.3g} {found.unit}", colour)
            for told, _, colour in drawn
        ],
    )
    top.set_ylabel(f"{feature}, {found.unit}")
    bottom.set_ylabel(f"error, {found.unit}")
    clock_axis(bottom, main.time_h)
    held = share_percent(1.0 - float(missed.sum()) / max(int(np.isfinite(main.actual).sum()), 1))
    write_title(
        top,
        f"{_where(comparison)}: forecast {ahead_text(comparison, ahead)}; {held} % within the interval here",
    )
    return figure


def fan_figure(
    comparison: Comparison, feature: str, *, label: str | None = None, every: int | None = None
) -> "Figure":
    """Draw whole trajectories with their 80 % intervals from every k-th origin.

    Args:
        comparison: from ``compare``.
        feature: which feature.
        label: which model; the best learned one (else the best naive one) unless given.
        every: origins from one trajectory to the next; one and a half horizons unless given.

    Raises:
        InputError: an unknown model, or ``every`` below 1.
    """
    found = comparison.feature(feature)
    best = comparison.best_learned(feature) or comparison.result(found.best_naive)
    result = best if label is None else comparison.result(label)
    column, horizon = result.feature(feature), result.horizon
    stride = horizon + (horizon + 1) // 2 if every is None else every
    require_whole("every", stride, 1, 10**9)
    rows = _busy_rows(result, feature, 1, FANS * stride)
    figure, (axes,) = panel_figure(4.4, (1,))
    samples = np.arange(int(result.origins[rows[0]]) + 1, int(result.origins[rows[-1]]) + horizon + 1)
    actual = result.series.values[samples, column]
    axes.plot(_hours(result, samples), actual, color=GREY, linewidth=0.9)
    ends = [(_last(actual), "actual", GREY)]
    for row in rows[::stride]:
        if np.isfinite(result.actual[row, :, column]).any():
            ends[1:] = _draw_fan(axes, result, int(row), column)
    label_ends(axes, ends)
    axes.set_ylabel(f"{feature}, {found.unit}")
    clock_axis(axes, _hours(result, samples))
    what = f"forecasts {ahead_text(comparison, None)}, one every {stride} samples"
    write_title(axes, f"{_where(comparison)}: {what}")
    return figure


def improvement_figure(comparison: Comparison, feature: str) -> "Figure":
    """Draw how far below the best naive model's RMSE every model is, by time ahead, with 95 % intervals.

    Filled markers of learned models are differences beyond chance. Models that are far above the best naive
    one at every step are named beneath instead of drawn. The limit by the noise is drawn when it is near:
    the estimate by interpolation, see ``NoiseFloor``.
    """
    found = comparison.feature(feature)
    ranked = comparison.ranked(feature)
    gains = {each.label: _ends(found.models[each.label]) for each in ranked}
    drawn = [
        each
        for each in ranked
        if np.nanmax(gains[each.label][:, 0], initial=-np.inf) > -_OFF_SCALE[each.naive]
    ]
    figure, (axes,) = panel_figure(4.8, (1,))
    axes.axhline(0.0, color=BLACK, linewidth=1.2)
    labels = []
    for place, result in enumerate(drawn):
        style = _style(comparison, result)
        offset = (place - (len(drawn) - 1) / 2.0) * 0.08 * comparison.step_s / 60.0
        _draw_gain(axes, comparison, found.models[result.label], style, offset)
        labels.append((100.0 * float(gains[result.label][-1, 0]), result.label, style.colour))
    limit = _limit(comparison, found)
    if limit is not None:
        axes.plot(
            _minutes(comparison),
            100.0 * limit,
            color=GREEN,
            linestyle=":",
            marker="_",
            markersize=12.0 if comparison.horizon == 1 else 0.0,
            linewidth=1.5,
        )
        labels.append((100.0 * float(limit[-1]), "estimated limit", GREEN))
    names = " or ".join(dict.fromkeys(found.best_naive_by_step))
    _note_left_out(axes, found, [each.label for each in ranked if each not in drawn])
    label_ends(axes, labels)
    _step_axis(axes, comparison)
    axes.set_ylabel(f"RMSE of {feature}\nbelow the best naive, %")
    write_title(axes, f"{_where(comparison)}: 0 is {names}; bars: 95 %; filled: beyond chance")
    return figure


def coverage_figure(comparison: Comparison, feature: str) -> "Figure":
    """Draw the share of values inside the 80 % interval by time ahead, with the band from 75 to 85 %."""
    figure, (axes,) = panel_figure(4.4, (1,))
    low, high = (100.0 * end for end in COVERAGE_BAND)
    axes.axhspan(low, high, color=GREEN, alpha=0.14, linewidth=0)
    axes.axhline(80.0, color=GREEN, linewidth=1.2)
    labels, lowest, highest = [], low, high
    for result in comparison.ranked(feature):
        style = _style(comparison, result)
        shares = 100.0 * result.quality[result.feature(feature)].interval_coverage.by_step
        axes.plot(
            _minutes(comparison), shares, color=style.colour, linestyle=style.line, marker=style.marker,
            markersize=_marker_size(comparison), linewidth=1.5, label=result.label,
        )  # fmt: skip
        labels.append((float(shares[-1]), result.label, style.colour))
        lowest, highest = min(lowest, float(np.nanmin(shares))), max(highest, float(np.nanmax(shares)))
    axes.set_ylim(max(lowest - 3.0, -2.0), min(highest + 3.0, 102.0))
    label_ends(axes, labels)
    _step_axis(axes, comparison)
    axes.set_ylabel("inside the 80 % interval, %")
    write_title(axes, f"{_where(comparison)}: {feature}; green: {low:g} to {high:g} %")
    return figure


def save_figures(comparison: Comparison, folder: str | Path, stem: str) -> list[Path]:
    """Write all four figures of every feature as ``<stem>-<feature>-<figure>.png``.

    Raises:
        InputError: a file cannot be written.
    """
    written = []
    for found in comparison.by_feature:
        for name, draw in (
            ("forecast", forecast_figure), ("fan", fan_figure), ("improvement", improvement_figure),
            ("coverage", coverage_figure),
        ):  # fmt: skip
            path = Path(folder) / f"{stem}-{found.feature}-{name}.png"
            written.append(save_figure(path, draw(comparison, found.feature)))
    return written


# -- what is drawn ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Forecasts of one step ahead over a stretch, each (num_samples,) and nan where not judged."""

    time_h: Floats
    actual: Floats
    mean: Floats
    lower: Floats
    upper: Floats

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Measured values outside of the interval."""
        result: NDArray[np.bool_] = (self.actual < self.lower) | (self.actual > self.upper)
        return result

    @property
    def rmse(self) -> float:
        return math.sqrt(float(np.nanmean((self.mean - self.actual) ** 2)))


@dataclass(frozen=True, slots=True)
class _Style:
    colour: str
    line: str
    marker: str


def _told(result: ModelResult, feature: str, step: int, rows: NDArray[np.int64]) -> _Told:
    column = result.feature(feature)
    actual = result.actual[rows, step - 1, column]
    judged = np.isfinite(actual)
    mean, lower, upper = (
        np.where(judged, values[rows, step - 1, column], np.nan)
        for values in (result.forecast.mean, result.forecast.lower, result.forecast.upper)
    )
    return _Told(_hours(result, result.origins[rows] + step), actual, mean, lower, upper)


def _busy_rows(result: ModelResult, feature: str, step: int, num_samples: int) -> NDArray[np.int64]:
    """Return the rows of a stretch that is worth a look."""
    actual = result.actual[:, step - 1, result.feature(feature)]
    if not np.isfinite(actual).any():
        raise InputError(
            f"{result.label}: nothing was measured {step} steps ahead; there is nothing to draw."
        )
    size = min(num_samples, len(actual))
    return busy_stretch(actual, size) + np.arange(size)


def _where(comparison: Comparison) -> str:
    return f"{comparison.trace} ({comparison.part})"


def _ends(model: ModelComparison) -> Floats:
    """Return estimate, lower and upper end of the improvement at each step, (horizon, 3) shares."""
    gains = [each.improvement for each in model.by_step]
    return np.array([(gain.estimate, gain.lower, gain.upper) for gain in gains])


def _hours(result: ModelResult, samples: NDArray[np.int64]) -> Floats:
    """Return the middle of some samples in hours since the midnight before the trace."""
    hours: Floats = (clock_s(result.series, samples) + 0.5 * result.series.step_s) / 3600.0
    return hours


def _minutes(comparison: Comparison) -> Floats:
    return np.arange(1.0, comparison.horizon + 1.0) * (comparison.step_s / 60.0)


def _last(values: Floats) -> float:
    """Return the last value that is known, 0 if none is."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else 0.0


# -- how it is drawn ----------------------------------------------------------------------------------


def _draw_fan(axes: "Axes", result: ModelResult, row: int, column: int) -> list[tuple[float, str, str]]:
    """Draw one trajectory and return what to write at its end: height, text and colour."""
    time_h = _hours(result, result.origins[row] + np.arange(1, result.horizon + 1))
    mean, lower, upper = (
        values[row, :, column]
        for values in (result.forecast.mean, result.forecast.lower, result.forecast.upper)
    )
    if len(mean) > 1:
        axes.fill_between(time_h, lower, upper, color=BLUE, alpha=0.25, linewidth=0)
    else:
        axes.vlines(time_h, lower, upper, color=BLUE, alpha=0.35, linewidth=3.0)
    axes.plot(time_h, mean, color=BLUE, linewidth=2.0, marker="o", markersize=4.0, markevery=[0])
    return [(float(mean[-1]), result.label, BLUE), (float(upper[-1]), "80 % interval", _BAND_TEXT)]


def _step_axis(axes: "Axes", comparison: Comparison) -> None:
    minutes = _minutes(comparison)
    margin = 0.5 * float(minutes[0])
    axes.set_xlim(float(minutes[0]) - margin, float(minutes[-1]) + margin)
    axes.set_xticks([step * comparison.step_s / 60.0 for step in comparison.steps])
    axes.set_xlabel("time ahead, minutes")


def _style(comparison: Comparison, result: ModelResult) -> _Style:
    """Return colours for learned models and grey dashes with markers for naive ones, by place in the list."""
    alike = [each.label for each in comparison.results if each.naive == result.naive]
    place = alike.index(result.label)
    if result.naive:
        return _Style(GREY, "--", _NAIVE_MARKERS[place % len(_NAIVE_MARKERS)])
    return _Style(_LEARNED_COLOURS[place % len(_LEARNED_COLOURS)], "-", "o")


def _marker_size(comparison: Comparison) -> float:
    return 5.0 if comparison.horizon <= _MOST_ERROR_BARS else 2.5


def _draw_gain(
    axes: "Axes", comparison: Comparison, model: ModelComparison, style: _Style, offset: float
) -> None:
    """Draw estimates with error bars if there are few, else with a band; markers tell the verdict."""
    minutes = _minutes(comparison)
    estimate, lower, upper = 100.0 * _ends(model).T
    few = comparison.horizon <= _MOST_ERROR_BARS
    minutes = minutes + offset if few else minutes
    axes.plot(minutes, estimate, color=style.colour, linestyle=style.line, linewidth=1.5)
    if few:
        axes.vlines(minutes, lower, upper, color=style.colour, linewidth=1.0)
    else:
        axes.fill_between(minutes, lower, upper, color=style.colour, alpha=0.14, linewidth=0)
    for step in comparison.steps:
        sure = model.by_step[step - 1].verdict in (None, "better", "worse")
        axes.plot(
            minutes[step - 1], estimate[step - 1], style.marker, color=style.colour, markersize=6.0,
            markerfacecolor=style.colour if sure else "white",
        )  # fmt: skip


def _limit(comparison: Comparison, found: FeatureComparison) -> Floats | None:
    """Return the largest improvement at each step by the estimated noise, None if unknown or far off."""
    floor = found.noise.interpolation
    if floor is None:
        return None
    naive = [
        comparison.result(found.reference(step)).measure("rmse", found.feature, step)
        for step in range(1, comparison.horizon + 1)
    ]
    limit = np.array([room(floor, rmse) for rmse in naive])
    return limit if limit.max() <= _FAR_LIMIT else None


def _note_left_out(axes: "Axes", found: FeatureComparison, labels: list[str]) -> None:
    if not labels:
        return
    told = [
        f"{label} {signed_percent(found.models[label].pooled.improvement.estimate)} %" for label in labels
    ]
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.08 * (high - low), high)  # room for the note
    axes.text(
        0.01, 0.02, f"off the scale, over all steps: {', '.join(told)}", transform=axes.transAxes,
        fontsize=9, color=GREY,
    )  # fmt: skip

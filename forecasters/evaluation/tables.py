"""Comparisons of forecasters as tables: all measures, step by step, and in the forms of the paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from podgym.forecasters.evaluation.comparison import Comparison, FeatureComparison, Verdict
from podgym.forecasters.evaluation.rolling import ModelResult, SampleForecast, paper_claim
from podgym.forecasters.evaluation.significance import Interval
from podgym.forecasters.evaluation.text import (
    MISSING,
    TextTable,
    clock_text,
    column_text,
    share_percent,
    short_text,
    signed_percent,
    time_text,
)

Group = Literal["accuracy", "intervals"]

_MARKS: dict[Verdict | None, str] = {"better": "!", "worse": "!", "undecided": "?", None: ""}


@dataclass(frozen=True, slots=True)
class _View:
    """What a column is drawn from besides the results."""

    comparison: Comparison
    found: FeatureComparison
    step: int | None
    """Steps ahead, from 1 on; None: all steps."""


Cells = Callable[[_View, Sequence[ModelResult]], list[str]]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the model table; all its cells are made at once, so that they share their decimals."""

    heading: str
    group: Group
    cells: Cells


def model_table(
    comparison: Comparison, feature: str, step: int | None = None, group: Group | None = None
) -> TextTable:
    """Return the table of all models, smallest RMSE first.

    Args:
        comparison: from ``compare``.
        feature: which feature.
        step: steps ahead, from 1 on; None: over all steps.
        group: "accuracy" or "intervals" (with cost), each of which fits a terminal of 80 columns; None: both
            in one table.
    """
    view = _View(comparison, comparison.feature(feature), step)
    chosen = [column for column in _COLUMNS if group in (None, column.group)]
    ranked = comparison.ranked(feature, step)
    columns = [column.cells(view, ranked) for column in chosen]
    names = [marked_name(result, view.found.reference(step)) for result in ranked]
    return TextTable(
        title=f"{where_text(comparison, view.found)}, {ahead_text(comparison, step)}",
        headings=("model", *(column.heading for column in chosen)),
        rows=tuple(zip(names, *columns, strict=True)),
        notes=_notes(comparison, {column.group for column in chosen}),
    )


def step_table(comparison: Comparison, feature: str) -> TextTable:
    """Return how far below the best naive model of each step ahead every model is, in % of its RMSE."""
    found = comparison.feature(feature)
    ranked = comparison.ranked(feature)
    columns = []
    for step in _places(comparison):
        errors = column_text([result.measure("rmse", feature, step) for result in ranked])
        columns.append(
            [_step_cell(found, each.label, step, error) for each, error in zip(ranked, errors, strict=True)]
        )
    return TextTable(
        title=f"{where_text(comparison, found)}: % below the best naive RMSE, by time ahead",
        headings=("model", *_step_headings(comparison)),
        rows=tuple(zip([marked_name(result) for result in ranked], *columns, strict=True)),
        notes=("* RMSE of the best naive model there; ! better or worse beyond chance; ? undecided.",),
    )


def claim_table(comparison: Comparison, feature: str) -> TextTable:
    """Return the share of forecasts within 5 % of the value, step by step: the paper states all of them."""
    found = comparison.feature(feature)
    rows = []
    for result in comparison.ranked(feature):
        claim = paper_claim(result, feature)
        shares = [share_percent(float(claim.share_by_step[step - 1])) for step in comparison.steps]
        largest = short_text(100.0 * claim.largest_relative_error)
        rows.append(
            (
                marked_name(result),
                *shares,
                share_percent(claim.share),
                largest,
                "yes" if claim.holds else "no",
            )
        )
    return TextTable(
        title=f"{where_text(comparison, found)}: % of the forecasts within 5 % of the value",
        headings=("model", *_step_headings(comparison), "largest\nerror, %", "all\nwithin"),
        rows=tuple(rows),
    )


def sample_table(sample: SampleForecast) -> TextTable:
    """Return actual values and forecasts of a few steps, in the form of the paper's Table 1."""
    headings = ["time"]
    columns = [[clock_text(float(clock_s)).split()[-1] for clock_s in sample.clock_s]]
    for feature, (name, unit) in enumerate(zip(sample.features, sample.units, strict=True)):
        headings += [f"{name}\nactual, {unit}", "forecast", "error,\n%"]
        count = len(sample.actual)
        both = column_text([*sample.actual[:, feature].tolist(), *sample.mean[:, feature].tolist()])
        errors = [signed_percent(float(error)) for error in sample.relative_error[:, feature]]
        columns += [both[:count], both[count:], errors]
    origin = clock_text(float(sample.clock_s[0]))
    return TextTable(
        title=f"{sample.label}, forecast when {origin} began (sample {sample.origin} was the newest)",
        headings=tuple(headings),
        rows=tuple(zip(*columns, strict=True)),
    )


def where_text(comparison: Comparison, found: FeatureComparison) -> str:
    """Return trace, part, feature and unit."""
    return f"{comparison.trace} ({comparison.part}), {found.feature} in {found.unit}"


def ahead_text(comparison: Comparison, step: int | None) -> str:
    """Return how far ahead a step is, ``5 min ahead``; for None all steps, ``1 to 5 min ahead``."""
    last = time_text((step or comparison.horizon) * comparison.step_s)
    if step is not None or comparison.horizon == 1:
        return f"{last} ahead"
    first, unit = time_text(comparison.step_s).split()
    return f"{first} to {last} ahead" if last.endswith(unit) else f"{first} {unit} to {last} ahead"


def marked_name(result: ModelResult, best_naive: str | None = None) -> str:
    """Return the label of a model, with * for the best naive one and † for one that knew the answers."""
    return result.label + " *" * (result.label == best_naive) + " †" * result.in_sample


def _measured(name: str, factor: float = 1.0) -> Cells:
    def cells(view: _View, ranked: Sequence[ModelResult]) -> list[str]:
        return column_text([factor * each.measure(name, view.found.feature, view.step) for each in ranked])

    return cells


def _coverage(view: _View, ranked: Sequence[ModelResult]) -> list[str]:
    return [
        share_percent(each.measure("interval_coverage", view.found.feature, view.step)) for each in ranked
    ]


def _cost(name: str, factor: float = 1.0) -> Cells:
    return lambda view, ranked: [short_text(factor * getattr(result, name)) for result in ranked]


def _gains(view: _View, ranked: Sequence[ModelResult]) -> list[str]:
    reference = view.found.reference(view.step)
    return [
        MISSING if each.label == reference else _gain(view.found.models[each.label].at(view.step).improvement)
        for each in ranked
    ]


def _verdicts(view: _View, ranked: Sequence[ModelResult]) -> list[str]:
    return [view.found.models[each.label].at(view.step).verdict or MISSING for each in ranked]


_COLUMNS = (
    _Column("RMSE", "accuracy", _measured("rmse")),
    _Column("% below best\nnaive [95 %]", "accuracy", _gains),
    _Column("verdict", "accuracy", _verdicts),
    _Column("MAE", "accuracy", _measured("mae")),
    _Column("MASE", "accuracy", _measured("mase")),
    _Column("sMAPE,\n%", "accuracy", _measured("smape", 100.0)),
    _Column("pin-\nball", "intervals", _measured("pinball")),
    _Column("cover-\nage, %", "intervals", _coverage),
    _Column("width", "intervals", _measured("interval_width")),
    _Column("width,\n% level", "intervals", _measured("interval_relative_width", 100.0)),
    _Column("fit,\ns", "intervals", _cost("fit_s")),
    _Column("batch,\nµs", "intervals", _cost("batch_s", 1e6)),
    _Column("single,\nms", "intervals", _cost("single_s", 1e3)),
    _Column("para-\nmeters", "intervals", _cost("parameters")),
)


def _notes(comparison: Comparison, groups: set[Group]) -> tuple[str, ...]:
    notes = [f"{comparison.results[0].num_judged} origins; * best naive model here."]
    if "accuracy" in groups:
        notes.append("MASE is relative to the last value, in training.")
    if "intervals" in groups:
        notes.append("Intervals are meant to cover 80 %; batch: per forecast of many at once.")
    if any(result.in_sample for result in comparison.results):
        notes.append("† was, or may have been, fitted to samples that it is judged on.")
    return tuple(notes)


def _gain(gain: Interval) -> str:
    ends = f"{signed_percent(gain.lower)}, {signed_percent(gain.upper)}"
    return f"{signed_percent(gain.estimate)} [{ends}]"


def _step_cell(found: FeatureComparison, label: str, step: int | None, error: str) -> str:
    against = found.models[label].at(step)
    if label == against.reference:
        return f"{error}*"
    return f"{signed_percent(against.improvement.estimate)}{_MARKS[against.verdict]}"


def _places(comparison: Comparison) -> tuple[int | None, ...]:
    """Return the steps that have a column, and None for all of them if they are more than one."""
    return (*comparison.steps, None) if comparison.horizon > 1 else comparison.steps


def _step_headings(comparison: Comparison) -> tuple[str, ...]:
    return tuple(
        "all" if step is None else time_text(step * comparison.step_s).replace(" ", "\n")
        for step in _places(comparison)
    )

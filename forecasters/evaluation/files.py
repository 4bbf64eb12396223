"""Comparisons of forecasters as files: tidy CSV and plain JSON data."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from podgym.files import write_atomically
from podgym.forecasters.evaluation.comparison import Against, Comparison, FeatureComparison
from podgym.forecasters.evaluation.measures import FEATURE_UNIT, QUALITY_MEASURES
from podgym.forecasters.evaluation.noise_floor import ASSUMPTIONS, room
from podgym.forecasters.evaluation.rolling import ModelResult, paper_claim
from podgym.forecasters.evaluation.significance import Interval

CSV_COLUMNS = (
    "trace", "part", "feature", "model", "step", "ahead_s", "measure", "unit", "value", "low", "high",
)  # fmt: skip
"""Columns of the CSV. ``step`` counts from 1 on, or is "all"; ``ahead_s`` is its time ahead in seconds,
empty for all steps; ``low`` and ``high`` are the ends of the bootstrap interval, if there is one."""
ALL_STEPS = "all"
"""What ``step`` is for a value over all steps."""

_COSTS = (("fit_s", "s"), ("batch_s", "s"), ("single_s", "s"), ("parameters", "1"))

CsvRow = dict[str, str | float]


def tidy_rows(comparison: Comparison) -> list[CsvRow]:
    """Return one row per feature, model, step and measure, with the keys of ``CSV_COLUMNS``.

    Besides the measures of ``QUALITY_MEASURES`` there are ``rmse_improvement`` against the best naive model
    and, where it was tested, ``p_value`` and ``p_value_holm``; per model ``fit_s``, ``batch_s``, ``single_s``
    and ``parameters`` without a feature; per feature ``noise_floor_...`` without a model. What is not defined
    has an empty value.
    """
    rows: list[CsvRow] = []
    for found in comparison.by_feature:
        for result in comparison.results:
            for step in (*range(1, comparison.horizon + 1), None):
                rows += _measure_rows(comparison, found, result, step)
        for name, floor in found.noise.by_name.items():
            rows.append(_row(comparison, found.feature, "", None, f"noise_floor_{name}", found.unit, floor))
    for result in comparison.results:
        for name, unit in _COSTS:
            rows.append(_row(comparison, "", result.label, None, name, unit, float(getattr(result, name))))
    return rows


def write_csv(path: str | Path, comparisons: Sequence[Comparison]) -> Path:
    """Write the rows of all comparisons, of one trace after the other.

    Raises:
        InputError: the file cannot be written; nothing of it is left behind.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for comparison in comparisons:
        writer.writerows(tidy_rows(comparison))
    return write_atomically(Path(path), lambda draft: _write(draft, text.getvalue()))


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return everything as plain values for JSON; what is not defined is None."""
    first = comparison.results[0]
    return {
        "trace": comparison.trace,
        "part": comparison.part,
        "step_s": comparison.step_s,
        "horizon": comparison.horizon,
        "tested_steps": list(comparison.steps),
        "origins": {
            "first": int(first.origins[0]), "last": int(first.origins[-1]), "judged": first.num_judged
        },
        "models": {
            result.label: {
                "model": result.model,
                "naive": result.naive,
                "in_sample": result.in_sample,
                **{name: _plain(float(getattr(result, name))) for name, _ in _COSTS},
            }
            for result in comparison.results
        },
        "features": {found.feature: _feature(comparison, found) for found in comparison.by_feature},
    }  # fmt: skip


def _feature(comparison: Comparison, found: FeatureComparison) -> dict[str, Any]:
    naive = comparison.result(found.best_naive).measure("rmse", found.feature)
    return {
        "unit": found.unit,
        "best_naive": found.best_naive,
        "best_naive_by_step": list(found.best_naive_by_step),
        "noise_floor": {
            name: {
                "rmse": floor,
                "largest_improvement": room(floor, naive),
                "assumption": ASSUMPTIONS.get(name),
            }
            for name, floor in found.noise.by_name.items()
        },
        "models": {result.label: _model(found, result) for result in comparison.results},
    }


def _model(found: FeatureComparison, result: ModelResult) -> dict[str, Any]:
    column = result.feature(found.feature)
    compared = found.models[result.label]
    claim = paper_claim(result, found.feature)
    measures: dict[str, dict[str, Any]] = {
        name: {"by_step": [_plain(value) for value in values.by_step.tolist()], "all": _plain(values.pooled)}
        for name, values in result.quality[column].by_name().items()
    }
    measures["rmse"]["interval_by_step"] = [_ends(each) for each in compared.rmse.by_step]
    measures["rmse"]["interval_all"] = _ends(compared.rmse.pooled)
    return {
        "measures": measures,
        "against_best_naive": {
            "by_step": [_against(each) for each in compared.by_step],
            "all": _against(compared.pooled),
        },
        "largest_relative_error": _plain(claim.largest_relative_error),
        "all_within_5_percent": claim.holds,
    }


def _against(against: Against) -> dict[str, Any]:
    test = against.test
    return {
        "reference": against.reference,
        "improvement": _plain(against.improvement.estimate),
        "interval": _ends(against.improvement),
        "p_value": None if test is None else test.p_value,
        "p_value_holm": _plain(against.adjusted_p),
        "verdict": against.verdict,
    }


def _measure_rows(
    comparison: Comparison, found: FeatureComparison, result: ModelResult, step: int | None
) -> list[CsvRow]:
    compared = found.models[result.label]
    against = compared.at(step)
    intervals = {"rmse": compared.rmse.pooled if step is None else compared.rmse.by_step[step - 1]}
    rows = []

    def add(name: str, unit: str, value: float, interval: Interval | None = None) -> None:
        rows.append(_row(comparison, found.feature, result.label, step, name, unit, value, interval))

    for name, measure in QUALITY_MEASURES.items():
        unit = found.unit if measure.unit == FEATURE_UNIT else measure.unit
        add(name, unit, result.measure(name, found.feature, step), intervals.get(name))
    if result.label != against.reference:
        add("rmse_improvement", "1", against.improvement.estimate, against.improvement)
    if against.test is not None:
        add("p_value", "1", against.test.p_value)
        add("p_value_holm", "1", against.adjusted_p)
    return rows


def _row(
    comparison: Comparison, feature: str, model: str, step: int | None, measure: str, unit: str, value: float,
    interval: Interval | None = None,
) -> CsvRow:  # fmt: skip
    return {
        "trace": comparison.trace, "part": comparison.part, "feature": feature, "model": model,
        "step": ALL_STEPS if step is None else step,
        "ahead_s": "" if step is None else step * comparison.step_s,
        "measure": measure, "unit": unit, "value": _cell(value),
        "low": "" if interval is None else _cell(interval.lower),
        "high": "" if interval is None else _cell(interval.upper),
    }  # fmt: skip


def _cell(value: float) -> str | float:
    return value if math.isfinite(value) else ""


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(interval: Interval) -> list[float | None]:
    return [_plain(interval.lower), _plain(interval.upper)]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

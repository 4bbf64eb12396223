"""Comparison of forecasters: each against the best naive one, with what chance alone could do.

The opponent is the naive model with the smallest error on the judged part itself. Nobody could have chosen it
beforehand, so it is a hard opponent: what a learned model gains is rather told too low than too high.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, unknown_name
from podgym.forecasters.evaluation.noise_floor import NoiseFloor, noise_floor
from podgym.forecasters.evaluation.rolling import ModelResult
from podgym.forecasters.evaluation.significance import (
    DieboldMariano,
    Interval,
    Resampling,
    StepIntervals,
    bootstrap_rmse,
    bootstrap_rmse_improvement,
    diebold_mariano,
    holm,
    politis_white_length,
)

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "undecided"]

SIGNIFICANCE = 0.05
"""A difference counts when its p-value, adjusted after Holm, is below."""


@dataclass(frozen=True, slots=True)
class Against:
    """One model against the best naive one, at one step or over all steps."""

    reference: str
    """Label of the best naive model there."""
    improvement: Interval
    """1 - RMSE / RMSE of the reference, with its bootstrap interval."""
    test: DieboldMariano | None
    """Test of equal squared errors; None for naive models and for steps that are not reported."""
    adjusted_p: float
    """Its p-value after Holm, over all learned models and reported steps of the feature; nan without test."""
    verdict: Verdict | None
    """"better" or "worse" when the interval excludes 0 and the adjusted p-value is below 0.05, else
    "undecided"; None without test."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """One model and one feature."""

    rmse: StepIntervals
    """RMSE with bootstrap intervals, unit of the feature."""
    by_step: tuple[Against, ...]
    """Against the best naive model of each step, one per step ahead."""
    pooled: Against
    """Against the best naive model over all steps."""

    def at(self, step: int | None) -> Against:
        """Return the comparison at a step, from 1 on, or over all steps (None)."""
        return self.pooled if step is None else self.by_step[step - 1]


@dataclass(frozen=True, slots=True)
class FeatureComparison:
    """All models and one feature."""

    feature: str
    """Name of the feature."""
    unit: str
    """Its unit."""
    best_naive_by_step: tuple[str, ...]
    """Label of the naive model with the smallest RMSE at each step."""
    best_naive: str
    """Likewise over all steps."""
    models: dict[str, ModelComparison]
    """By label, in the order given."""
    noise: NoiseFloor
    """How low the RMSE could get on the judged part."""

    def reference(self, step: int | None) -> str:
        """Return the label of the best naive model at a step, from 1 on, or over all steps (None)."""
        return self.best_naive if step is None else self.best_naive_by_step[step - 1]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All models and all features on one part of one trace."""

    results: tuple[ModelResult, ...]
    """What each model told, in the order given."""
    steps: tuple[int, ...]
    """Steps ahead that are reported and tested, from 1 on."""
    by_feature: tuple[FeatureComparison, ...]
    """One per feature."""

    @property
    def trace(self) -> str:
        """Name of the trace."""
        return self.results[0].series.name

    @property
    def part(self) -> str:
        """Part that was judged."""
        return self.results[0].part

    @property
    def step_s(self) -> float:
        """Seconds between two samples."""
        return self.results[0].series.step_s

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return self.results[0].horizon

    def result(self, label: str) -> ModelResult:
        """Return the result of a model.

        Raises:
            InputError: a label that is not among the results.
        """
        labels = [result.label for result in self.results]
        if label not in labels:
            raise unknown_name("model of the comparison", label, labels)
        return self.results[labels.index(label)]

    def feature(self, name: str | None = None) -> FeatureComparison:
        """Return the comparison of a feature, of the first one unless named."""
        return self.by_feature[0 if name is None else self.results[0].feature(name)]

    def ranked(self, feature: str | None = None, step: int | None = None) -> list[ModelResult]:
        """Return the results by RMSE of a feature at a step or over all steps (None), smallest first."""
        name = feature if feature is not None else self.results[0].series.features[0]
        return sorted(self.results, key=lambda result: result.measure("rmse", name, step))

    def best_learned(self, feature: str | None = None, step: int | None = None) -> ModelResult | None:
        """Return the learned model with the smallest RMSE, None if there is no learned one."""
        return next((result for result in self.ranked(feature, step) if not result.naive), None)


def compare(
    results: Sequence[ModelResult],
    *,
    steps: Sequence[int] | None = None,
    resampling: Resampling | None = None,
) -> Comparison:
    """Compare the results of several models on the same part of the same trace.

    Every model is set against the naive one that is best there, step by step and over all steps: how much
    smaller its RMSE is, with a block-bootstrap interval over origins. For learned models a Diebold-Mariano
    test of squared errors (over all steps: of their mean at each origin) decides together with the interval.
    Its p-values are adjusted after Holm over all learned models, reported steps and the pooled steps of a
    feature.

    The test takes autocovariances up to the larger of horizon - 1 and the block length of Politis and White,
    since bad hours come in runs: for differences with a persistent part (AR(1), coefficient 0.9, 1,700
    origins, heavy-tailed noise on top) horizon - 1 lags reject true equality at 5 % in 22 % of the series,
    this many in 6 %; at 0.98 still in 11 % (of 57 %), which the interval and Holm make up for in part.

    Args:
        results: one per model, among them a naive one; labels must differ.
        steps: steps ahead to report and test; default: ``reported_steps``.
        resampling: how the bootstrap draws.

    Raises:
        InputError: no results, no naive one, a label twice, results of different parts, or a bad step.
    """
    _check_results(results)
    first = results[0]
    chosen = tuple(steps) if steps is not None else reported_steps(first.horizon, first.series.step_s)
    bad = [step for step in chosen if not 1 <= step <= first.horizon]
    if bad or not chosen:
        raise InputError(f"steps to report are {chosen}; allowed: 1 to {first.horizon}, one or more.")
    draws = resampling if resampling is not None else Resampling()
    features = tuple(_compare_feature(results, name, chosen, draws) for name in first.series.features)
    return Comparison(tuple(results), chosen, features)


def reported_steps(horizon: int, step_s: float) -> tuple[int, ...]:
    """Return the steps to report: each minute of up to five, else every fifth; also first and last step."""
    every_s = 60.0 if horizon * step_s <= 300.0 else 300.0
    whole = [step for step in range(1, horizon + 1) if abs(math.remainder(step * step_s, every_s)) < 1e-6]
    return tuple(sorted({1, horizon, *whole}))


def _compare_feature(
    results: Sequence[ModelResult], feature: str, steps: tuple[int, ...], draws: Resampling
) -> FeatureComparison:
    first = results[0]
    column = first.feature(feature)
    errors = {result.label: result.squared_errors(feature) for result in results}
    best = [_best_naive(results, feature, step) for step in (*range(1, first.horizon + 1), None)]
    improvements = {label: _improvements(own, errors, best, draws) for label, own in errors.items()}
    tested = [result.label for result in results if not result.naive]
    tests = _tests(errors, tested, best, steps)
    low, high = int(first.origins[0]) + 1, int(first.origins[-1]) + first.horizon + 1
    return FeatureComparison(
        feature=feature,
        unit=first.series.units[column],
        best_naive_by_step=tuple(best[:-1]),
        best_naive=best[-1],
        models={
            label: _model_comparison(bootstrap_rmse(errors[label], draws), improvements[label], best, {
                step: tests[label, step] for step in (*steps, None) if label in tested
            })
            for label in errors
        },
        noise=noise_floor(first.series.values[low:high, column], first.series.units[column],
                          first.series.step_s),
    )  # fmt: skip


def _improvements(
    own: Floats, errors: dict[str, Floats], best: list[str], draws: Resampling
) -> list[Interval]:
    """Return the improvement against the best naive model at each step, then over all steps."""
    by_reference = {label: bootstrap_rmse_improvement(own, errors[label], draws) for label in set(best)}
    steps = [by_reference[label].by_step[step] for step, label in enumerate(best[:-1])]
    return [*steps, by_reference[best[-1]].pooled]


def _tests(
    errors: dict[str, Floats], labels: list[str], best: list[str], steps: tuple[int, ...]
) -> dict[tuple[str, int | None], tuple[DieboldMariano, float]]:
    """Return test and adjusted p-value by label and step (None: all steps)."""
    horizon = len(best) - 1
    # A single step is all steps: testing it twice would only weaken the adjustment.
    places: list[int | None] = [*steps, None] if horizon > 1 else [1]
    tests: dict[tuple[str, int | None], DieboldMariano] = {}
    for label in labels:
        for step in places:
            reference = errors[best[-1] if step is None else best[step - 1]]
            tests[label, step] = _test(errors[label], reference, horizon, step)
    adjusted = holm([test.p_value for test in tests.values()])
    found = {key: (test, float(p)) for (key, test), p in zip(tests.items(), adjusted, strict=True)}
    return found if horizon > 1 else found | {(label, None): found[label, 1] for label in labels}


def _test(own: Floats, reference: Floats, horizon: int, step: int | None) -> DieboldMariano:
    if step is None:
        losses = [_row_means(values) for values in (own, reference)]
    else:
        losses = [values[:, step - 1] for values in (own, reference)]
    ahead = horizon if step is None else step
    difference = losses[0] - losses[1]
    known = np.isfinite(difference)
    num_lags = ahead - 1
    if known.sum() >= 2:
        centred = np.where(known, difference - difference[known].mean(), 0.0)
        # Not beyond what the test takes when few origins are known.
        longest = max(int(known.sum()) // 3, ahead - 1)
        num_lags = min(max(num_lags, math.ceil(politis_white_length(centred))), longest)
    return diebold_mariano(losses[0], losses[1], ahead, num_lags)


def _row_means(values: Floats) -> Floats:
    """Return the mean of the known values of each row, nan where there are none."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    means: Floats = np.where(known, values, 0.0).sum(axis=1) / np.where(counts > 0, counts, np.nan)
    return means


def _model_comparison(
    rmse: StepIntervals,
    improvements: list[Interval],
    best: list[str],
    tests: dict[int | None, tuple[DieboldMariano, float]],
) -> ModelComparison:
    places: list[int | None] = [*range(1, len(best)), None]
    every = []
    for step, reference, improvement in zip(places, best, improvements, strict=True):
        test, p = tests.get(step, (None, math.nan))
        verdict = verdict_of(improvement, p) if test is not None else None
        every.append(Against(reference, improvement, test, p, verdict))
    return ModelComparison(rmse, tuple(every[:-1]), every[-1])


def verdict_of(improvement: Interval, adjusted_p: float) -> Verdict:
    """Return what interval and test say together: they must agree that it is no chance."""
    if adjusted_p < SIGNIFICANCE and improvement.lower > 0.0:
        return "better"
    if adjusted_p < SIGNIFICANCE and improvement.upper < 0.0:
        return "worse"
    return "undecided"


def _best_naive(results: Sequence[ModelResult], feature: str, step: int | None) -> str:
    naive = [result for result in results if result.naive]
    return min(naive, key=lambda result: result.measure("rmse", feature, step)).label


def _check_results(results: Sequence[ModelResult]) -> None:
    if not any(result.naive for result in results):
        raise InputError(
            f"{len(results)} results, none of a naive model; judge last_value, ewma or holt_winters as well."
        )
    first = results[0]
    labels = [result.label for result in results]
    for place, result in enumerate(results):
        if result.label in labels[:place]:
            raise InputError(f"model {result.label!r} is there twice; give one of them another label.")
        same = (
            (result.series.name, result.series.features, result.series.step_s, result.part)
            == (first.series.name, first.series.features, first.series.step_s, first.part)
            and np.array_equal(result.origins, first.origins)
            and np.array_equal(result.actual, first.actual, equal_nan=True)
        )
        if not same:
            raise InputError(
                f"models {first.label!r} and {result.label!r} were judged on different values (trace, part, "
                "features, horizon or origins differ); judge them on the same."
            )

"""Rolling origins and comparison against closed forms, slow loops and planted truths."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracles.told_forecasters import daily, scaled, told, trace

from podgym.errors import InputError
from podgym.forecasters.base import LONGEST_GAP, Forecast
from podgym.forecasters.evaluation.comparison import Comparison, compare, reported_steps, verdict_of
from podgym.forecasters.evaluation.noise_floor import noise_floor
from podgym.forecasters.evaluation.rolling import (
    CONTEXT,
    ModelResult,
    evaluate_forecaster,
    paper_claim,
    sample_forecast,
)
from podgym.forecasters.evaluation.significance import Interval, Resampling, holm
from podgym.forecasters.intervals import RUN_IN
from podgym.forecasters.naive import LastValue
from podgym.forecasters.sources import TraceSeries

NAN = float("nan")
SIZE = 4000
FEW = Resampling(num_resamples=300)


@pytest.fixture(scope="module")
def data() -> TraceSeries:
    return trace(daily(SIZE))


def noise(seed: int, scale: float = 1.0) -> Any:
    return np.random.default_rng(seed).normal(0.0, scale, SIZE)


def judged(data: TraceSeries, errors: Any = 0.0, part: Any = "test", **options: Any) -> ModelResult:
    return evaluate_forecaster(told(data, errors, **options), data, part, timed=False)


# -- rolling origin -----------------------------------------------------------------------------------


def test_an_oracle_makes_no_error_and_is_covered(data: TraceSeries) -> None:
    result = judged(data)
    quality = result.quality[0]
    assert quality.rmse.pooled == 0.0
    assert quality.interval_coverage.pooled == 1.0
    assert paper_claim(result, "rate_rps").holds


@pytest.mark.parametrize("shift", [3.0, -0.5])
def test_a_constant_error_is_the_rmse(data: TraceSeries, shift: float) -> None:
    result = judged(data, shift)
    np.testing.assert_allclose(result.quality[0].rmse.by_step, abs(shift), rtol=1e-12)
    np.testing.assert_allclose(result.quality[0].mae.pooled, abs(shift), rtol=1e-12)
    np.testing.assert_allclose(result.squared_errors("rate_rps"), shift**2, rtol=1e-9)
    assert result.measure("rmse", "rate_rps", 5) == pytest.approx(abs(shift))
    training = data.part("train").values[:, 0]
    assert result.quality[0].mase.pooled == pytest.approx(abs(shift) / np.abs(np.diff(training)).mean())


def test_intervals_of_noisy_forecasts_cover_80_percent(data: TraceSeries) -> None:
    result = judged(data, noise(1, 2.0))
    assert result.quality[0].rmse.pooled == pytest.approx(2.0, rel=0.07)
    assert result.quality[0].interval_coverage.pooled == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("part", ["dev", "test", "holdout"])
def test_origins_are_those_whose_horizon_fills_the_part(data: TraceSeries, part: Any) -> None:
    first, stop = data.bounds(part)
    result = judged(data, part=part)
    targets = result.origins[:, None] + np.arange(1, 6)
    assert (targets.min(), targets.max()) == (first, stop - 1)
    np.testing.assert_array_equal(result.actual[..., 0], data.series.values[targets, 0])
    assert result.num_judged == stop - first - 4


def test_forecasts_are_those_of_the_forecaster(data: TraceSeries) -> None:
    forecaster = LastValue().fit(data.part("train"))
    result = evaluate_forecaster(forecaster, data)
    np.testing.assert_array_equal(result.forecast.mean[:, 2, 0], data.series.values[result.origins, 0])
    origins = np.arange(data.train_stop - 1, SIZE - 5)
    every = forecaster.forecast_all(data.series, origins)
    np.testing.assert_array_equal(result.origins, origins[600:])
    np.testing.assert_array_equal(result.forecast.lower, every.lower[600:])
    np.testing.assert_array_equal(result.forecast.upper, every.upper[600:])


@pytest.mark.parametrize(("part", "before"), [("dev", 0), ("test", 600), ("holdout", 0)])
def test_intervals_adapt_on_what_lies_before_the_part_but_not_on_training(
    data: TraceSeries, part: Any, before: int
) -> None:
    forecaster = told(data, noise(2))
    forecaster.origins_asked.clear()
    evaluate_forecaster(forecaster, data, part)
    run = forecaster.origins_asked[-1]  # after single forecasts, which are timed
    assert run[0] == data.bounds(part)[0] - 1 - before


def test_the_first_forecast_is_the_one_that_was_made_at_that_moment() -> None:
    """With enough samples between training and part, run-in and intervals are those of a single forecast."""
    long = trace(daily(12_000))
    forecaster = LastValue().fit(long.part("train"))
    result = evaluate_forecaster(forecaster, long)
    single = forecaster.forecast(long.series.slice(0, int(result.origins[0]) + 1))
    assert long.dev_stop - long.train_stop > RUN_IN
    for batch, own in zip(fields(result.forecast), fields(single), strict=True):
        np.testing.assert_allclose(batch[0], own, rtol=1e-12)


def fields(forecast: Forecast) -> tuple[Any, ...]:
    return forecast.mean, forecast.lower, forecast.upper


def test_origins_near_long_gaps_are_left_out_for_all_models_alike() -> None:
    values = daily(SIZE)
    long, short = SIZE - 400, SIZE - 200
    values[long : long + LONGEST_GAP + 1] = NAN
    values[short : short + LONGEST_GAP] = NAN
    gappy = trace(values)
    results = [judged(gappy, context=context) for context in (2, 10, 90)]
    for result in results:
        np.testing.assert_array_equal(result.origins, results[0].origins)
        np.testing.assert_array_equal(result.actual, results[0].actual)
    result = results[0]
    for row, origin in enumerate(result.origins):
        newest = range(origin - CONTEXT + 1, origin + 1)
        left_out = any(long <= sample < long + LONGEST_GAP + 1 for sample in newest)
        expected = np.full(5, NAN) if left_out else values[origin + 1 : origin + 6, 0]
        np.testing.assert_array_equal(result.actual[row, :, 0], expected)
    assert result.quality[0].rmse.pooled == 0.0


def test_a_trace_that_begins_unmeasured_is_judged_from_its_first_value_on() -> None:
    values = daily(SIZE)
    values[:65] = NAN
    late = trace(values)
    result = judged(late, part="all")
    assert result.origins[0] == CONTEXT - 1
    assert result.origins[np.isfinite(result.actual).any(axis=(1, 2))][0] == 65 + CONTEXT - 1


def test_being_judged_on_the_training_samples_is_noticed(data: TraceSeries) -> None:
    assert not judged(data).in_sample
    assert judged(data, part="train").in_sample
    everything = TraceSeries(data.series, SIZE - 100, SIZE)
    cheating = told(everything)
    assert evaluate_forecaster(cheating, data, timed=False).in_sample
    # Of another series of the same name it cannot be told what was seen; one of another name is another.
    other = trace(daily(SIZE, seed=5))
    assert evaluate_forecaster(cheating, other, timed=False).in_sample
    renamed = TraceSeries(replace(other.series, name="elsewhere"), other.train_stop, other.dev_stop)
    assert not evaluate_forecaster(cheating, renamed, timed=False).in_sample


def test_costs_and_names(data: TraceSeries) -> None:
    forecaster = LastValue().fit(data.part("train"))
    result = evaluate_forecaster(forecaster, data, label="persistence")
    assert (result.label, result.model, result.naive, result.parameters) == (
        "persistence", "last_value", True, 0,
    )  # fmt: skip
    assert 0.0 < result.batch_s < result.single_s < 1.0
    assert result.fit_s == forecaster.spec.fit_s
    assert math.isnan(evaluate_forecaster(forecaster, data, timed=False).single_s)


def test_a_forecaster_of_one_feature_is_judged_on_a_trace_of_two() -> None:
    both = trace(daily(SIZE, 2))
    one = TraceSeries(both.series.select(["memory_percent"]), both.train_stop, both.dev_stop)
    result = evaluate_forecaster(told(one, 2.0), both)
    assert result.series.features == ("memory_percent",)
    assert result.quality[0].rmse.pooled == pytest.approx(2.0)


def test_parts_that_cannot_be_judged_are_refused(data: TraceSeries) -> None:
    with pytest.raises(InputError, match="longer part"):
        evaluate_forecaster(told(data), TraceSeries(data.series, SIZE - 8, SIZE - 4))
    with pytest.raises(InputError, match="looks back on 70"):
        judged(data, part="train", context=70)
    with pytest.raises(InputError, match="was not fitted"):
        evaluate_forecaster(LastValue(), data)
    values = daily(SIZE)
    values[-700:] = NAN
    with pytest.raises(InputError, match="none of its 596 origins"):
        judged(trace(values))


# -- samples and the paper's claim --------------------------------------------------------------------


def test_the_paper_s_table_1_from_the_steepest_rise() -> None:
    values = np.full(1000, 50.0) + 0.01 * np.arange(1000)
    values[900:905] = [71.83, 73.61, 75.94, 78.32, 80.67]
    values[905:] = 60.0
    values[950:990] = np.minimum(60.0 + 3.0 * np.arange(40), 99.0)  # higher, but not steeper
    paper = np.zeros(1000)
    paper[900:905] = np.array([69.31, 71.89, 74.58, 76.12, 79.34]) - values[900:905]
    data = trace(values, unit="%", start_s=36_000.0 + 3 * 86_400.0)
    result = judged(data, paper)
    sample = sample_forecast(result)
    assert sample.origin == 899
    np.testing.assert_array_equal(sample.actual[:, 0], [71.83, 73.61, 75.94, 78.32, 80.67])
    np.testing.assert_allclose(sample.mean[:, 0], [69.31, 71.89, 74.58, 76.12, 79.34])
    errors = [-0.0351, -0.0234, -0.0179, -0.0281, -0.0165]
    np.testing.assert_allclose(sample.relative_error[:, 0], errors, atol=5e-5)
    np.testing.assert_array_equal(sample.clock_s, 36_000.0 + 60.0 * np.arange(900, 905))
    claim = paper_claim(result, "rate_rps")
    assert claim.holds
    assert claim.largest_relative_error == pytest.approx(2.52 / 71.83)


def test_a_typical_sample_has_the_median_error(data: TraceSeries) -> None:
    result = judged(data, noise(3))
    errors = result.squared_errors("rate_rps").mean(axis=1)
    row = sample_forecast(result, "typical").origin - result.origins[0]
    assert errors[row] == np.quantile(errors, 0.5, method="inverted_cdf")


def test_a_sample_from_a_chosen_origin_and_a_long_horizon() -> None:
    data = trace(daily(SIZE, 2))
    result = judged(data, 1.0, horizon_minutes=30)
    origin = int(result.origins[11])
    sample = sample_forecast(result, origin)
    np.testing.assert_array_equal(sample.actual, data.series.values[origin + 1 : origin + 6])
    np.testing.assert_allclose(sample.mean - sample.actual, 1.0)
    with pytest.raises(InputError, match="allowed: "):
        sample_forecast(result, int(result.origins[-1]) + 1)
    with pytest.raises(InputError, match="memory_percent"):
        sample_forecast(result, feature="memory")


def test_one_forecast_beyond_5_percent_refutes_the_claim() -> None:
    values = daily(SIZE)
    values[-50] = 0.0
    data = trace(values)
    wrong = np.zeros(SIZE)
    wrong[-80] = 0.051 * values[-80, 0]
    claim = paper_claim(judged(data, wrong), "rate_rps")
    assert not claim.holds
    assert claim.largest_relative_error == pytest.approx(0.051)
    assert claim.share == pytest.approx(1.0 - 5 / (596 * 5))
    wrong[-50] = 1e-9
    assert paper_claim(judged(data, wrong), "rate_rps").largest_relative_error == math.inf


# -- comparison ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(data: TraceSeries) -> Comparison:
    """Two naive models and three learned ones with planted errors: 30 % smaller, alike, and 40 % larger."""
    errors = {
        "ewma": noise(10, 1.5), "last_value": noise(11), "sharp": noise(12, 0.7), "alike": noise(13),
        "blunt": noise(14, 1.4),
    }  # fmt: skip
    return compare([judged(data, values, name=name) for name, values in errors.items()], resampling=FEW)


def test_every_model_is_set_against_the_best_naive_one(compared: Comparison) -> None:
    found = compared.feature()
    assert found.best_naive == "last_value"
    assert set(found.best_naive_by_step) == {"last_value"}
    reference = compared.result("last_value")
    for result in compared.results:
        for step in (None, 1, 5):
            against = found.models[result.label].at(step)
            ratio = result.measure("rmse", "rate_rps", step) / reference.measure("rmse", "rate_rps", step)
            assert against.improvement.estimate == pytest.approx(1.0 - ratio, abs=1e-12)
            assert against.improvement.lower <= 1.0 - ratio + 1e-12 <= against.improvement.upper + 2e-12
    ranked = [result.label for result in compared.ranked()]
    assert (ranked[0], set(ranked[1:3]), ranked[3:]) == ("sharp", {"alike", "last_value"}, ["blunt", "ewma"])
    assert compared.best_learned() is compared.result("sharp")


def test_verdicts_find_what_was_planted(compared: Comparison) -> None:
    models = compared.feature().models
    for step in (None, *compared.steps):
        assert models["sharp"].at(step).verdict == "better"
        assert models["alike"].at(step).verdict == "undecided"
        assert models["blunt"].at(step).verdict == "worse"
        assert models["ewma"].at(step).verdict is None
        assert models["last_value"].at(step).test is None


@pytest.mark.parametrize(
    ("lower", "upper", "adjusted_p", "expected"),
    [
        (0.01, 0.2, 0.049, "better"),
        (0.01, 0.2, 0.05, "undecided"),
        (-0.01, 0.2, 0.001, "undecided"),
        (-0.2, -0.01, 0.049, "worse"),
        (-0.2, -0.01, 0.2, "undecided"),
        (NAN, NAN, 0.0, "undecided"),
    ],
)
def test_interval_and_test_must_agree(lower: float, upper: float, adjusted_p: float, expected: str) -> None:
    assert verdict_of(Interval(0.5 * (lower + upper), lower, upper), adjusted_p) == expected


def test_p_values_are_adjusted_over_models_and_reported_steps(compared: Comparison) -> None:
    models = compared.feature().models
    family = [
        models[name].at(step) for name in ("sharp", "alike", "blunt") for step in (*compared.steps, None)
    ]
    assert len(family) == 18
    raw = [against.test.p_value for against in family if against.test is not None]
    np.testing.assert_allclose([against.adjusted_p for against in family], holm(raw))


def test_the_best_naive_model_may_differ_from_step_to_step(data: TraceSeries) -> None:
    """Two results whose errors cross: each is the reference where it is better."""
    near, far = judged(data, noise(20), name="ewma"), judged(data, noise(21), name="drift")
    growing, falling = np.linspace(0.5, 1.5, 5)[:, None], np.linspace(1.4, 0.4, 5)[:, None]
    results = [scaled(near, growing), scaled(far, falling), judged(data, noise(22), name="learned")]
    found = compare(results, resampling=FEW, steps=(1, 5)).feature()
    assert (found.best_naive_by_step[0], found.best_naive_by_step[-1]) == ("ewma", "drift")
    assert found.best_naive == "drift"
    learned = found.models["learned"]
    assert (learned.at(1).reference, learned.at(5).reference) == ("ewma", "drift")
    assert learned.at(1).verdict == "worse"
    assert learned.at(3).verdict is None
    assert found.models["ewma"].at(1).improvement.estimate == 0.0


def test_persistent_differences_are_not_mistaken_for_a_finding(data: TraceSeries) -> None:
    """Errors that grow and fall over hours, with equal expectation: hardly ever a verdict."""
    wrong = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        slow = np.repeat(random.uniform(0.2, 1.8, (2, SIZE // 100)), 100, axis=1)
        errors = slow * random.normal(0.0, 1.0, (2, SIZE))
        results = [judged(data, errors[0], name="ewma"), judged(data, errors[1], name="learned")]
        wrong += compare(results, resampling=FEW).feature().models["learned"].pooled.verdict != "undecided"
    assert wrong <= 1


def test_a_horizon_of_one_step_is_tested_once() -> None:
    coarse = trace(daily(SIZE), step_s=300.0)
    results = [judged(coarse, noise(30), name="ewma"), judged(coarse, noise(31, 0.8), name="learned")]
    comparison = compare(results, resampling=FEW)
    learned = comparison.feature().models["learned"]
    assert comparison.steps == (1,)
    assert learned.pooled.test is not None
    assert learned.pooled.adjusted_p == learned.pooled.test.p_value == learned.at(1).adjusted_p


@pytest.mark.parametrize(
    ("horizon", "step_s", "expected"),
    [
        (5, 60.0, (1, 2, 3, 4, 5)),
        (30, 60.0, (1, 5, 10, 15, 20, 25, 30)),
        (7, 60.0, (1, 5, 7)),
        (1, 300.0, (1,)),
        (30, 10.0, (1, 6, 12, 18, 24, 30)),
        (6, 300.0, (1, 2, 3, 4, 5, 6)),
    ],
)
def test_reported_steps(horizon: int, step_s: float, expected: tuple[int, ...]) -> None:
    assert reported_steps(horizon, step_s) == expected


def test_results_that_cannot_be_compared_are_refused(data: TraceSeries) -> None:
    naive, learned = judged(data, noise(1), name="ewma"), judged(data, noise(2), name="learned")
    with pytest.raises(InputError, match="none of a naive model"):
        compare([learned])
    with pytest.raises(InputError, match="there twice"):
        compare([naive, learned, learned])
    with pytest.raises(InputError, match="different values"):
        compare([naive, judged(data, noise(2), "dev", name="learned")])
    with pytest.raises(InputError, match="different values"):
        compare([naive, judged(trace(daily(SIZE, seed=9)), noise(2), name="learned")])
    with pytest.raises(InputError, match="allowed: 1 to 5"):
        compare([naive, learned], steps=(1, 6))
    with pytest.raises(InputError, match="learned"):
        compare([naive, learned], resampling=FEW).result("learnt")


def test_the_floor_is_that_of_the_judged_part(data: TraceSeries, compared: Comparison) -> None:
    expected = noise_floor(data.part("test").values[:, 0], "requests/s", 60.0)
    assert compared.feature().noise == expected
    assert expected.second_differences == pytest.approx(1.0, rel=0.1)

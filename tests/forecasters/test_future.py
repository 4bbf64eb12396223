"""Never the future: no forecast of any model depends on what comes after its origin.

Steps of 20 minutes make days of 72 samples, so that three of them fit into a short series.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.forecasters.base import Forecast, Forecaster
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.factory import MODELS, NETWORK_MODELS, make_forecaster
from podgym.forecasters.series import Series

for _package in ("torch", "prophet", "statsmodels"):
    pytest.importorskip(_package)

STEP_S = 1200.0
DAY = 72  # samples
HORIZON = 3  # steps, an hour
WINDOW = 12
SHORT, LONG = 30, 260  # origins: with little history, and with all three days that networks look back
AS_IS = CleaningConfig(z_threshold=None, anomalies=False)

OPTIONS: dict[str, dict[str, object]] = {
    name: {"training": {"epochs": 1}} | ({} if name == "paper_lstm" else {"window": WINDOW})
    for name in NETWORK_MODELS
}
REPLACEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "huge": lambda values: np.full_like(values, 1e15),
    "negative": lambda values: -1e6 * values,
    "nan": lambda values: np.full_like(values, np.nan),
    "other": lambda values: values[::-1] * 1.3,
}


def build(name: str) -> Forecaster:
    return make_forecaster(name, horizon_minutes=60, cleaning=AS_IS, **OPTIONS.get(name, {}))


@dataclass(frozen=True)
class Case:
    forecaster: Forecaster
    full: Series
    """Every sample was measured."""
    gaps: Series
    """A tenth of the samples is missing, the first 7, and a stretch of 20."""

    def row(self, origin: int) -> int:
        return origin - (self.forecaster.min_context - 1)


@pytest.fixture(scope="module", params=[(name, width) for name in MODELS for width in (1, 2)], ids=str)
def case(request, make_load) -> Case:
    name, num_features = request.param
    training = make_load(8 * DAY, num_features, step_s=STEP_S, seed=1)
    full = make_load(6 * DAY, num_features, step_s=STEP_S, start_s=8 * DAY * STEP_S, seed=2)
    holes = np.array(full.values)
    holes[np.random.default_rng(3).random(holes.shape) < 0.1] = np.nan
    holes[:7] = np.nan
    holes[100:120] = np.nan
    holes[[SHORT, LONG]] = full.values[[SHORT, LONG]]
    return Case(build(name).fit(training), full, replace(full, values=holes))


def assert_same(got: Forecast, wanted: Forecast, rows: slice) -> None:
    for name in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(got, name)[rows], getattr(wanted, name)[rows], err_msg=name)


def differs(got: Forecast, wanted: Forecast, name: str) -> np.ndarray:
    """Where two forecasts differ, (num_origins, horizon, num_features); nan is equal to nan."""
    first, second = getattr(got, name), getattr(wanted, name)
    return (first != second) & ~(np.isnan(first) & np.isnan(second))


@pytest.mark.parametrize("kind", ["full", "gaps"])
@pytest.mark.parametrize("origin", [SHORT, LONG])
def test_what_comes_later_changes_nothing(case: Case, kind: str, origin: int) -> None:
    series: Series = getattr(case, kind)
    before = case.forecaster.forecast_all(series)
    assert np.isfinite(before.mean[case.row(SHORT)]).all()
    for replacement in REPLACEMENTS.values():
        values = np.array(series.values)
        values[origin + 1 :] = replacement(values[origin + 1 :])
        after = case.forecaster.forecast_all(replace(series, values=values))
        assert_same(after, before, slice(0, case.row(origin) + 1))


@pytest.mark.parametrize("kind", ["full", "gaps"])
def test_the_newest_sample_changes_what_follows_and_nothing_before(case: Case, kind: str) -> None:
    """The counterpart, without which a test of the future could not fail."""
    series: Series = getattr(case, kind)
    values = np.array(series.values)
    values[LONG] *= 1.4
    before, after = (case.forecaster.forecast_all(each) for each in (series, replace(series, values=values)))
    row = case.row(LONG)
    assert_same(after, before, slice(0, row))
    for name in ("lower", "upper"):  # the newest sample is part of the scale of the interval
        assert differs(after, before, name)[row].any(axis=0).all()
    changed = np.flatnonzero(differs(after, before, "mean").any(axis=(1, 2)))
    reacts_at = {"prophet": [], "seasonal_naive": [row + DAY - HORIZON]}.get(case.forecaster.name, [row])
    assert changed[:1].tolist() == reacts_at


def test_yesterday_reaches_the_models_that_look_back_a_day(case: Case) -> None:
    values = np.array(case.full.values)
    values[LONG - DAY : LONG - DAY + HORIZON + 1] *= 1.4
    before = case.forecaster.forecast_all(case.full)
    after = case.forecaster.forecast_all(replace(case.full, values=values))
    changed = bool(differs(after, before, "mean")[case.row(LONG)].any())
    if case.forecaster.name in ("seasonal_naive", "lstm", "gru"):
        assert changed
    elif case.forecaster.name not in ("ewma", "holt_winters"):  # these forget step by step
        assert not changed


@pytest.mark.parametrize("kind", ["full", "gaps"])
def test_forecast_is_the_last_row_of_all(case: Case, kind: str) -> None:
    series: Series = getattr(case, kind)
    forecaster = case.forecaster
    everything = forecaster.forecast_all(series)
    scale = np.nanstd(series.values, axis=0)
    first = forecaster.min_context - 1 if kind == "full" else SHORT
    for origin in (first, SHORT, LONG):
        one = forecaster.forecast(series.slice(0, origin + 1))
        known = forecaster.forecast_all(series, np.arange(forecaster.min_context - 1, origin + 1))
        for name in ("mean", "lower", "upper"):
            got = getattr(one, name)
            np.testing.assert_array_equal(got, getattr(known, name)[-1], err_msg=name)
            # Another batch may sum float32 in another order.
            np.testing.assert_allclose(
                got / scale, getattr(everything, name)[case.row(origin)] / scale, rtol=0, atol=2e-6
            )


def test_a_history_that_ends_in_silence_is_refused(case: Case) -> None:
    with pytest.raises(InputError, match="ends with 20 samples in which 'feature_0' was not measured"):
        case.forecaster.forecast(case.gaps.slice(0, 120))


@pytest.mark.parametrize("name", MODELS)
def test_what_calibrates_the_intervals_teaches_the_model_nothing(name: str, make_load) -> None:
    training = make_load(8 * DAY, step_s=STEP_S, seed=1)
    values = np.array(training.values)
    values[int(0.9 * len(values)) :] *= 1.7
    first, second = (build(name).fit(each) for each in (training, replace(training, values=values)))
    assert (first.intervals.scores != second.intervals.scores).any()
    for part, other in zip(first._state(), second._state(), strict=True):
        assert sorted(part) == sorted(other)
        for key in part:
            np.testing.assert_array_equal(part[key], other[key], err_msg=key)

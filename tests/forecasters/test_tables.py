"""Learned forecasts in environments: the right rows, from the past alone, computed once."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import podgym  # noqa: F401  (registers the ids)
from podgym.envs.workloads import LoadProfile, make_workload, open_trace
from podgym.errors import InputError
from podgym.forecasters import tables
from podgym.forecasters.base import Forecaster
from podgym.forecasters.factory import make_forecaster
from podgym.forecasters.sources import RATE_FEATURE, open_series
from podgym.forecasters.tables import LearnedForecasts

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def data() -> object:
    return open_series("alibaba2018", features=[RATE_FEATURE])


@pytest.fixture(scope="module")
def forecaster(data: object) -> Forecaster:
    return make_forecaster("last_value").fit(data.part("train"))  # type: ignore[attr-defined]


@pytest.fixture
def learned(forecaster: Forecaster, tmp_path: Path) -> LearnedForecasts:
    return LearnedForecasts(forecaster, cache=tmp_path)


def test_rows_are_the_forecasts_of_the_whole_trace(
    learned: LearnedForecasts, forecaster: Forecaster, data: object
) -> None:
    series = data.series  # type: ignore[attr-defined]
    every = forecaster.forecast_all(series)
    first = forecaster.min_context - 1
    workload = open_trace("alibaba2018", part="dev", peak_rate_rps=500.0)
    for seed in range(20):
        profile = workload.sample(np.random.default_rng(seed), HOUR_S)
        rows = learned.forecast_rates(profile, HOUR_S, 5)
        assert rows.shape == (61, 5, 3)
        start_s = profile.trace_start_s
        assert start_s is not None
        newest = int(start_s // 60) - 1  # the last minute that is over when the episode begins
        for row in (0, 17, 60):
            mean = every.mean[newest + row - first, :, 0] * profile.scale
            if start_s % 60 == 0.0:
                np.testing.assert_allclose(rows[row, :, 0], mean, rtol=1e-9)
            else:  # half a minute later the forecast for the minute after next is the nearer one
                np.testing.assert_allclose(rows[row, :4, 0], mean[1:], rtol=1e-9)


def test_a_forecast_of_the_last_value_is_the_minute_before(learned: LearnedForecasts) -> None:
    profile = open_trace("alibaba2018", part="test").sample(np.random.default_rng(1), HOUR_S)
    rows = learned.forecast_rates(profile, HOUR_S, 5)
    whole = open_trace("alibaba2018", part="all")
    piece = max(index for index, start in enumerate(whole.piece_starts_s) if start <= profile.trace_start_s)
    offset = round((profile.trace_start_s - whole.piece_starts_s[piece]) / 30.0)
    own = whole.rates_rps[whole.pieces[piece][0] :]
    phase = round(profile.trace_start_s / 30.0) % 2
    for row in range(1, 60):
        at = offset + 2 * row - phase  # first half-minute of the minute that is not over yet
        assert rows[row, 0, 0] == pytest.approx(own[at - 2 : at].mean(), rel=1e-9)


def test_the_trace_is_computed_once_and_kept(
    forecaster: Forecaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    computed = tables._as_table

    def counted(*args: object) -> object:
        calls.append(args)
        return computed(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "_as_table", counted)
    workload = open_trace("alibaba2018", part="train")
    first, second = (LearnedForecasts(forecaster, cache=tmp_path) for _ in range(2))
    for seed in range(5):
        profile = workload.sample(np.random.default_rng(seed), HOUR_S)
        np.testing.assert_array_equal(
            first.forecast_rates(profile, HOUR_S, 5), second.forecast_rates(profile, HOUR_S, 5)
        )
    assert len(calls) == 1
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])  # a damaged table is made again
    third = LearnedForecasts(forecaster, cache=tmp_path)
    np.testing.assert_array_equal(
        third.forecast_rates(profile, HOUR_S, 5), first.forecast_rates(profile, HOUR_S, 5)
    )
    assert len(calls) == 2
    longer = make_forecaster("last_value", horizon_minutes=10).fit(open_series(
        "alibaba2018", features=[RATE_FEATURE]).part("train"))  # fmt: skip
    LearnedForecasts(longer, cache=tmp_path).forecast_rates(profile, HOUR_S, 10)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path))
    assert tables.cache_folder() == tmp_path / "forecasts"
    monkeypatch.delenv("PODGYM_CACHE")
    assert tables.cache_folder() == Path.home() / ".cache" / "podgym" / "forecasts"


def test_a_generated_load_is_forecast_from_its_own_past(forecaster: Forecaster) -> None:
    learned = LearnedForecasts(forecaster, cache=None)
    profile = make_workload("family:variable").sample(np.random.default_rng(0), HOUR_S)
    rows = learned.forecast_rates(profile, HOUR_S, 5)
    minutes = np.interp(np.arange(0, HOUR_S + 1), profile.times_s, profile.values)
    for row in range(1, 60):
        second = slice(60 * (row - 1), 60 * row + 1)
        mean = np.trapezoid(minutes[second]) / 60.0
        assert rows[row, 0, 0] == pytest.approx(mean, rel=1e-6)
    np.testing.assert_array_equal(rows[0], profile.values[0])
    changed = profile.values.copy()
    late = profile.times_s > 1800.0
    changed[late] *= 3.0
    other = LoadProfile(changed, profile.step_s, profile.kind, profile.start_time_s, "changed")
    rows_of_other = learned.forecast_rates(other, HOUR_S, 5)
    np.testing.assert_array_equal(rows[:31], rows_of_other[:31])
    assert not np.array_equal(rows[40:], rows_of_other[40:])


def test_a_file_is_found_when_it_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lines = [f"{60 * index},{600 + rng.integers(300)}" for index in range(3000)]
    path = tmp_path / "web.csv"
    path.write_text("t_seconds,requests\n" + "\n".join(lines) + "\n")
    own = make_forecaster("last_value").fit(open_series(path).part("train"))
    workload = open_trace(path, part="test", peak_rate_rps=90.0)
    profile = workload.sample(rng, HOUR_S / 2)
    with pytest.raises(InputError, match="trace=PATH"):
        own.forecast_rates(profile, HOUR_S / 2, 5)
    rows = LearnedForecasts(own, trace=path, cache=None).forecast_rates(profile, HOUR_S / 2, 5)
    np.testing.assert_allclose(rows[1:, 0, 0], profile.values[: len(rows) - 1], rtol=1e-9)
    path.write_text("t_seconds,requests\n" + "\n".join(reversed(lines[:0])) + "".join(
        f"{60 * index},{index}\n" for index in range(3000)))  # fmt: skip
    with pytest.raises(InputError, match="not a multiple"):
        LearnedForecasts(own, trace=path, cache=None).forecast_rates(profile, HOUR_S / 2, 5)


def test_what_does_not_fit_is_refused(forecaster: Forecaster, learned: LearnedForecasts) -> None:
    rng = np.random.default_rng(0)
    profile = open_trace("alibaba2018").sample(rng, HOUR_S)
    with pytest.raises(InputError, match="--horizon"):
        learned.forecast_rates(profile, HOUR_S, 6)
    with pytest.raises(InputError, match="users"):
        learned.forecast_rates(make_workload("burst").sample(rng, 600.0), 600.0, 5)
    with pytest.raises(InputError, match="was not fitted"):
        LearnedForecasts(make_forecaster("last_value"))
    both = make_forecaster("last_value").fit(open_series("alibaba2018").part("train"))
    with pytest.raises(InputError, match="--features rate_rps"):
        LearnedForecasts(both)


def test_a_forecaster_goes_straight_into_an_environment(
    forecaster: Forecaster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path))
    env = gym.make("podgym/Trace-v0", forecaster=forecaster)
    observation, _ = env.reset(seed=3)
    names = env.unwrapped.observation_names  # type: ignore[attr-defined]
    means = [observation[names.index(f"web.forecast_mean[+{minute}min]")] for minute in range(1, 6)]
    assert min(means) > 0.0
    assert len(set(means)) == 1  # the last value, for every minute
    plain, _ = gym.make("podgym/Trace-v0").reset(seed=3)
    shown = [index for index, name in enumerate(names) if "forecast" not in name]
    np.testing.assert_array_equal(observation[shown], plain[shown])

"""Learned forecasts in environments: the right rows, from the past alone, computed once."""

import math
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import podgym  # noqa: F401  (registers the ids)
from podgym.envs.workloads import LoadProfile, make_workload, open_trace
from podgym.errors import InputError
from podgym.forecasters import tables
from podgym.forecasters.base import Forecaster, targets
from podgym.forecasters.factory import make_forecaster
from podgym.forecasters.series import Series
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


class Clairvoyant(Forecaster):
    """Tells the samples that follow, which is what a table can at best hold."""

    name = "clairvoyant"
    min_context = 2

    def _fit(self, series: Series, trusted: object, fit_stop: int, run: object) -> None:
        self.whole = WHOLE[self.horizon_minutes]

    def _means(self, series: Series, origins: np.ndarray) -> np.ndarray:
        return np.nan_to_num(targets(self.whole.values, origins, self._horizon), nan=1.0)

    def options(self) -> dict[str, object]:
        return {"horizon_minutes": self.horizon_minutes}

    def _state(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        return {}, {}

    def _restore(self, values: object, arrays: object) -> None: ...


WHOLE: dict[int, Series] = {}


@pytest.mark.parametrize(
    ("source", "horizon", "most", "held"),
    [("alibaba2018", 5, 0.3, 0.5), ("azure_v2", 10, 0.001, 0.5)],
)
def test_what_is_told_is_the_load_that_the_environment_plays(
    source: str, horizon: int, most: float, held: float
) -> None:
    """Told the true samples, a table gives the minutes that an episode plays; holding the load seen does not.

    Alibaba's minutes are means of two half minutes, so a little is lost between them.
    """
    data = open_series(source, features=[RATE_FEATURE])
    WHOLE[horizon] = data.series
    learned = LearnedForecasts(Clairvoyant(horizon_minutes=horizon).fit(data.part("train")), cache=None)
    workload = open_trace(source, part="dev", peak_rate_rps=500.0)
    errors, errors_held = [], []
    for seed in range(30):
        profile = workload.sample(np.random.default_rng(seed), 2 * HOUR_S)
        rows = learned.forecast_rates(profile, HOUR_S, 5)
        second = np.interp(np.arange(0.0, 2 * HOUR_S + 1), profile.times_s, profile.values)
        for row in range(5, 60):
            for minute in range(5):
                at = 60 * (row + minute)
                played = np.trapezoid(second[at : at + 61]) / 60.0
                errors.append(rows[row, minute, 0] - played)
                errors_held.append(second[60 * row] - played)
    told, naive = (math.sqrt(np.mean(np.square(each))) for each in (errors, errors_held))
    assert told < most * naive
    assert naive > held


def test_a_row_knows_the_samples_that_are_complete_and_no_later_one(
    learned: LearnedForecasts, data: object
) -> None:
    """A forecast of the last value says which sample was the newest."""
    values = data.series.values[:, 0]  # type: ignore[attr-defined]
    for seed in range(20):
        workload = open_trace("alibaba2018", part="dev", peak_rate_rps=500.0)
        profile = workload.sample(np.random.default_rng(seed), HOUR_S)
        rows = learned.forecast_rates(profile, HOUR_S, 5)
        assert rows.shape == (61, 5, 3)
        assert profile.trace_start_s is not None
        for row in (0, 17, 60):
            moment_s = profile.trace_start_s + 60.0 * row
            newest = int((moment_s - 30.0) // 60.0)  # its second half minute is reached by then
            np.testing.assert_allclose(rows[row, 1:, 0], values[newest] * profile.scale, rtol=1e-9)


def test_after_a_long_silence_a_service_knows_what_it_sees(tmp_path: Path) -> None:
    times = [*range(0, 3000 * 60, 60), *range(6000 * 60, 9000 * 60, 60)]
    rng = np.random.default_rng(0)
    lines = [f"{t},{(100 if t < 200_000 else 300) + rng.normal():.6f}" for t in times]
    path = tmp_path / "web.csv"
    path.write_text("t_seconds,rate_rps\n" + "\n".join(lines) + "\n")
    whole = open_series(path)
    forecaster = make_forecaster("last_value").fit(whole.series.slice(0, 2500))
    workload = open_trace(path, part="all")
    start_s = workload.piece_starts_s[1]
    profile = LoadProfile(workload.rates_rps[3000:3061], 60.0, "open", 0.0, "after", workload.name, start_s)
    rows = LearnedForecasts(forecaster, trace=path, cache=None).forecast_rates(profile, HOUR_S, 5)
    assert rows[:, :, 0].min() > 290.0
    assert rows[:, :, 0].max() < 310.0
    assert rows[:, :, 2].max() < 1000.0  # a step of 200 widens intervals for a while, but not by millions


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
        assert rows[row, 4, 0] == pytest.approx(mean, rel=1e-6)
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
    np.testing.assert_allclose(rows[:, 0, 0], profile.values[: len(rows)], rtol=1e-9)
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

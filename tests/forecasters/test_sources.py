"""Series from traces, files and workloads: the right values at the right places, cut where envs cut."""

from pathlib import Path

import numpy as np
import pytest

from podgym.envs.workloads import open_trace
from podgym.errors import InputError
from podgym.forecasters.sources import RATE_FEATURE, USERS_FEATURE, open_series


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(values: list[object], step_s: float = 60.0, column: str = "requests") -> str:
    lines = [f"{index * step_s:g},{value}" for index, value in enumerate(values)]
    return "\n".join([f"t_seconds,{column}", *lines]) + "\n"


def test_alibaba_is_minutes_with_its_hidden_cut_left_open() -> None:
    data = open_series("alibaba2018")
    series = data.series
    assert series.features == ("cpu_util_percent", "mem_util_percent")
    assert series.units == ("%", "%")
    assert series.step_s == 60.0
    assert series.num_samples == 8 * 1440
    missing = np.isnan(series.values).any(axis=1)
    gap = np.flatnonzero(missing)
    assert 5.2 * 60 <= missing.sum() <= 5.4 * 60  # minutes
    assert (np.diff(gap) == 1).all()


def test_two_half_minutes_make_their_mean() -> None:
    fine = open_series("alibaba2018", step_s=30.0).series.values
    coarse = open_series("alibaba2018").series.values
    pairs = fine[: 2 * len(coarse)].reshape(len(coarse), 2, -1)
    np.testing.assert_allclose(coarse[:2300], pairs[:2300].mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("source", ["alibaba2018", "google2019"])
@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_parts_end_where_those_of_the_environments_end(source: str, part: str) -> None:
    data = open_series(source, features=[RATE_FEATURE])
    own = open_trace(source, part=part)
    first, stop = data.bounds(part)
    step_s = data.series.step_s
    begins_s = own.piece_starts_s[0]
    ends_s = own.piece_starts_s[-1] + (own.pieces[-1][1] - own.pieces[-1][0]) * own.step_s
    assert abs(first * step_s - begins_s) <= step_s
    assert abs(stop * step_s - ends_s) <= step_s
    # No sample of the train part reaches into what dev and test are made of.
    assert data.train_stop * step_s <= open_trace(source, part="dev").piece_starts_s[0]


def test_the_request_rate_is_that_of_the_environment() -> None:
    series = open_series("google2019", features=[RATE_FEATURE]).series
    rates = open_trace("google2019", part="all").rates_rps
    np.testing.assert_allclose(series.values[:, 0], rates, rtol=1e-12)
    assert series.units == ("requests/s",)


def test_a_count_becomes_a_rate_and_an_empty_cell_a_gap(tmp_path: Path) -> None:
    counts = write(tmp_path / "web.csv", rows([60, 120, 180, 240] * 5))
    assert open_series(counts).series.values[:4, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    gaps = write(tmp_path / "cpu.csv", rows([1, "", 3, 4] * 5, column="cpu_percent"))
    series = open_series(gaps).series
    assert np.isnan(series.values[1, 0])
    assert series.units == ("%",)
    assert series.num_samples == 20


def test_missing_rows_are_gaps_on_the_grid(tmp_path: Path) -> None:
    lines = [f"{60 * index},{index}" for index in range(40) if index not in (7, 8)]
    path = write(tmp_path / "gap.csv", "t_seconds,cpu_percent\n" + "\n".join(lines) + "\n")
    values = open_series(path).series.values[:, 0]
    assert len(values) == 40
    assert np.flatnonzero(np.isnan(values)).tolist() == [7, 8]
    assert values[9] == 9.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t_seconds,requests\n0,1\n60,2\n60,3\n120,4\n", "repeats the time"),
        ("t_seconds,requests\n0,1\n120,2\n60,3\n180,4\n", "lies before"),
        ("t_seconds,requests\n0,1\n60,2\n75,3\n135,4\n", "irregular"),
        ("t_seconds,requests\n0,1\n", "2 or more"),
        ("t_seconds,requests\n", "no rows"),
        ("t_seconds,requests\n0,1\n60,many\n", "must be a number"),
    ],
)
def test_an_unusable_clock_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_series(write(tmp_path / "bad.csv", text))


def test_unknown_names_are_refused_with_the_closest(tmp_path: Path) -> None:
    path = write(tmp_path / "web.csv", rows([1, 2, 3, 4] * 5))
    with pytest.raises(InputError, match="Did you mean 'requests'"):
        open_series(path, features=["request"])
    with pytest.raises(InputError, match="Did you mean 'cpu_util_percent'"):
        open_series("alibaba2018", features=["cpu_utl_percent"])
    with pytest.raises(InputError, match="stands alone"):
        open_series("alibaba2018", features=["rate_rps", "mem_util_percent"])
    with pytest.raises(InputError, match="unknown part"):
        open_series(path).part("tets")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"web\.csv"):
        open_series(tmp_path / "weeb.csv")


def test_generated_loads_are_drawn_and_short_ones_kept_apart() -> None:
    diurnal = open_series("family:diurnal", days=2.0, seed=3)
    assert diurnal.series.features == (RATE_FEATURE,)
    lengths = np.diff(np.flatnonzero(np.diff(np.isnan(diurnal.series.values[:, 0]).astype(int)) != 0))
    assert set(lengths) == {10 + 60, 20}  # minutes: hours of many levels, not days of one
    assert diurnal.series.content_hash == open_series("family:diurnal", days=2.0, seed=3).series.content_hash
    assert diurnal.series.content_hash != open_series("family:diurnal", days=2.0, seed=4).series.content_hash
    burst = open_series("burst", days=1.0)
    assert burst.series.features == (USERS_FEATURE,)
    missing = np.isnan(burst.series.values[:, 0])
    lengths = np.diff(np.flatnonzero(np.diff(missing.astype(int)) != 0))
    assert set(lengths) == {10 + 15, 20}  # minutes: a lead, an episode, and the gap after it
    first = burst.series.values[:11, 0]
    assert set(first[:10]) == {first[0]}  # the lead stands at the first value of its episode
    with pytest.raises(InputError, match="unknown feature"):
        open_series("burst", features=["cpu"])
    with pytest.raises(InputError, match="days"):
        open_series("burst", days=0.0)

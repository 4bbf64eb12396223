"""Series: clock, slices, hashes and refusals; holding and marking of gaps against slow loops."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from podgym.errors import InputError
from podgym.forecasters.series import (
    Series,
    first_measured,
    gap_rows,
    hold_missing,
    require_measured_lately,
    require_variation,
)

NAN = float("nan")
VALUES = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
SERIES = Series("pods", ("cpu_percent", "memory_percent"), ("%", "%"), VALUES, 60.0, 3600.0)

tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 25), st.integers(1, 3)),
    elements=st.one_of(st.just(NAN), st.floats(-1e6, 1e6)),
)


def test_values_are_a_copy_that_cannot_be_written() -> None:
    values = VALUES.copy()
    series = replace(SERIES, values=values)
    values[0, 0] = 99.0
    assert series.values[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        series.values[0, 0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        series.slice(1).values[0, 0] = 5.0


def test_one_feature_may_be_a_line() -> None:
    series = Series("line", ("rate_rps",), ("requests/s",), np.arange(3.0), 60.0)
    assert series.values.shape == (3, 1)
    assert (series.num_samples, series.num_features, series.duration_s) == (3, 1, 180.0)


def test_slice_moves_the_clock() -> None:
    part = SERIES.slice(1, 3)
    np.testing.assert_array_equal(part.values, VALUES[1:3])
    assert part.start_s == 3660.0
    np.testing.assert_array_equal(part.clock_s(np.arange(2)), SERIES.clock_s(np.array([1, 2])))
    assert SERIES.slice(-1).start_s == 3600.0 + 3 * 60.0
    assert SERIES.slice(0, 99).content_hash == SERIES.content_hash
    assert SERIES.slice(4).num_samples == 0


def test_select_orders_features_with_their_units() -> None:
    series = replace(SERIES, units=("%", "bytes")).select(["memory_percent", "cpu_percent"])
    assert (series.features, series.units) == (("memory_percent", "cpu_percent"), ("bytes", "%"))
    np.testing.assert_array_equal(series.values, VALUES[:, ::-1])
    with pytest.raises(InputError, match="Did you mean 'cpu_percent'"):
        SERIES.select(["cpu_percnt"])


def test_equal_series_have_equal_hashes() -> None:
    same = Series("another name", ["cpu_percent", "memory_percent"], ["%", "%"], VALUES.tolist(), 60, 3600)
    also = replace(SERIES, step_s=np.float64(60.0), start_s=np.float64(3600.0))
    assert same.content_hash == also.content_hash == SERIES.content_hash
    assert (same.features, type(same.step_s)) == (SERIES.features, float)


@pytest.mark.parametrize(
    "change",
    [
        {"values": VALUES + 1e-9},
        {"values": np.where(VALUES == 3.0, NAN, VALUES)},
        {"step_s": 61.0},
        {"start_s": 0.0},
        {"features": ("cpu_percent", "memory")},
        {"units": ("%", "bytes")},
        {"values": VALUES[:, ::-1]},
    ],
)
def test_any_difference_is_another_hash(change: dict[str, Any]) -> None:
    assert replace(SERIES, **change).content_hash != SERIES.content_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": VALUES[:, :1]}, r"shape \(4, 1\) for 2 features"),
        ({"values": VALUES[None]}, r"\(num_samples, num_features\)"),
        ({"features": (), "units": (), "values": np.zeros((4, 0))}, "one feature or more"),
        ({"features": ("cpu_percent", "cpu_percent")}, "needs its own name"),
        ({"units": ("%",)}, "one unit"),
        (
            {"values": np.where(VALUES == 30.0, np.inf, VALUES)},
            "sample 2, feature 'memory_percent' is infinite; write nan",
        ),
        ({"step_s": 0.0}, "positive number of seconds"),
        ({"step_s": NAN}, "positive number of seconds"),
        ({"step_s": float("inf")}, "positive number of seconds"),
        ({"start_s": NAN}, "start_s is nan; it must be a finite number"),
    ],
)
def test_what_is_no_series_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(SERIES, **change)


@given(tables)
def test_holding_against_a_slow_loop(values: np.ndarray) -> None:
    if np.isnan(values).all(axis=0).any():
        with pytest.raises(InputError, match="no measured value at all; leave it out"):
            hold_missing(values)
        return
    expected = values.copy()
    for column in expected.T:
        measured = [value for value in column if not np.isnan(value)]
        last = measured[0]
        for row, value in enumerate(column):
            last = last if np.isnan(value) else value
            column[row] = last
    np.testing.assert_array_equal(hold_missing(values), expected)


def test_holding_without_gaps_is_nothing() -> None:
    assert hold_missing(SERIES.values) is SERIES.values


@given(tables, st.integers(0, 6))
def test_long_gaps_against_a_slow_loop(values: np.ndarray, longest: int) -> None:
    missing = [bool(np.isnan(row).any()) for row in values]
    expected = []
    for row in range(len(missing)):
        first = stop = row
        while first > 0 and missing[first - 1]:
            first -= 1
        while stop < len(missing) and missing[stop]:
            stop += 1
        expected.append(missing[row] and stop - first > longest)
    assert gap_rows(values, longest).tolist() == expected


def test_everything_was_measured_once_from_the_last_first_measurement_on() -> None:
    values = np.array([[NAN, 1.0], [NAN, NAN], [3.0, NAN], [NAN, 4.0]])
    assert first_measured(values) == 2
    assert first_measured(VALUES) == 0


def test_a_feature_is_silent_by_itself(make_series) -> None:
    """Features that are measured in turns are both measured lately, though no row holds both."""
    values = np.full((12, 2), NAN)
    values[::2, 0], values[1::2, 1] = 1.0, 2.0
    require_measured_lately(make_series(values), 1)
    with pytest.raises(InputError, match="ends with 1 samples in which 'feature_0' was not measured"):
        require_measured_lately(make_series(values), 0)
    values[4:, 1] = NAN
    require_measured_lately(make_series(values), 8)
    with pytest.raises(InputError, match=r"8 samples in which 'feature_1' .* among the newest 8\. Mend"):
        require_measured_lately(make_series(values), 7)


@pytest.mark.parametrize("constant", [0.0, 5.0, -1e9, 1e9 * (1.0 + 1e-13 * np.arange(5.0))], ids=str)
def test_a_constant_feature_is_refused(constant: Any, make_series) -> None:
    values = np.column_stack([np.arange(5.0), np.broadcast_to(constant, 5)])
    with pytest.raises(
        InputError, match=r"'feature_1' is constant at .* in the first days: there is nothing"
    ):
        require_variation(make_series(values), " in the first days")


@pytest.mark.parametrize("values", [[0.0, 1e-9, 0.0], [1e9, 1e9 + 1.0, 1e9], [-1e9, -1e9 + 1.0, -1e9]])
def test_a_feature_that_hardly_changes_is_not_constant(values: list[float], make_series) -> None:
    require_variation(make_series(values))

"""Where a value sits in its range, and wider ranges."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.search_spaces import SEARCH_SPACES, Parameter
from podgym.eval.tuning.spaces import contains, edges, space_document, widened

LINEAR = Parameter("x", "float", 0.0, 10.0)
LOG = Parameter("y", "float", 1.0, 100.0, log=True)
WHOLE = Parameter("n", "int", 1, 5, hard_low=1, hard_high=8)


@pytest.mark.parametrize(
    ("parameter", "value", "side", "after"),
    [
        (LINEAR, 10.0, "high", (0.0, 20.0)),
        (LINEAR, 9.81, "high", (0.0, 20.0)),
        (LINEAR, 9.79, None, None),
        (LINEAR, 0.19, "low", (-10.0, 10.0)),
        (LINEAR, 0.21, None, None),
        (LOG, 100.0 ** (1 - 0.019), "high", (1.0, 10_000.0)),
        (LOG, 100.0 ** (1 - 0.021), None, None),
        (LOG, 1.05, "low", (0.01, 100.0)),
        (WHOLE, 5, "high", (1, 8)),
        (WHOLE, 4, None, None),
        (WHOLE, 1, "low", (1, 5)),
        (Parameter("n", "int", 2, 28, log=True, hard_low=1), 28, "high", (2, 392)),
        (Parameter("n", "int", 2, 28, log=True, hard_low=1), 2, "low", (1, 28)),
        (Parameter("x", "float", 0.0, 10.0, hard_low=-3.0), 0.0, "low", (-3.0, 10.0)),
    ],
)
def test_an_edge_doubles_the_range_in_its_scale_up_to_the_hard_bound(parameter, value, side, after):
    found = edges([parameter], {parameter.name: value})
    assert [edge.side for edge in found] == ([] if side is None else [side])
    if found:
        assert found[0].after == pytest.approx(after)
        assert found[0].widens == (after != (parameter.low, parameter.high))
        (wider,) = widened([parameter], found)
        assert (wider.low, wider.high) == found[0].after
        assert (wider.name, wider.kind, wider.log) == (parameter.name, parameter.kind, parameter.log)


@pytest.mark.parametrize("value", [None, True, "mean", 11.0, -1.0])
def test_what_is_no_number_of_the_range_is_at_no_edge(value):
    assert edges([LINEAR], {"x": value}) == ()
    assert edges([LINEAR], {}) == ()


def test_a_choice_has_no_edge():
    assert edges([Parameter("c", "choice", choices=(1, 2))], {"c": 1}) == ()


@given(st.sampled_from(sorted(SEARCH_SPACES)), st.sampled_from(["low", "high"]))
def test_published_ranges_widen_to_ranges_that_hold_them(name, end):
    space = [each for each in SEARCH_SPACES[name] if each.kind != "choice"]
    ends = {each.name: getattr(each, end) for each in space}
    for wide, narrow in zip(widened(space, edges(space, ends)), space, strict=True):
        assert wide.low <= narrow.low < narrow.high <= wide.high
        assert math.isfinite(wide.low)
        assert math.isfinite(wide.high)
        if narrow.kind == "int":
            assert wide.low == int(wide.low)
            assert wide.high == int(wide.high)


def test_contains():
    space = [LINEAR, WHOLE, Parameter("c", "choice", choices=("a", None))]
    assert contains(space, {"x": 3, "n": 5, "c": None, "other": 1})
    for wrong in ({"x": 11.0}, {"n": 2.0}, {"n": True}, {"c": "b"}, {"x": None}):
        assert not contains(space, {"x": 3.0, "n": 5, "c": "a", **wrong})
    assert not contains(space, {"x": 3.0, "n": 5})


def test_a_space_as_plain_data():
    choice, number = space_document([Parameter("c", "choice", choices=("a", "b")), LOG])
    assert choice == {"name": "c", "kind": "choice", "choices": ["a", "b"]}
    assert number == {"name": "y", "kind": "float", "low": 1.0, "high": 100.0, "log": True} | {
        "hard_low": None,
        "hard_high": None,
    }

"""Regret and the share of a gap that is closed."""

import math

import pytest

from podgym.errors import InputError
from podgym.eval.bounds import gap_closed, regret


def test_regret_is_what_was_paid_beyond_the_bound():
    assert regret(12.5, 10.0) == 2.5
    assert regret(10.0, 10.0) == 0.0
    assert regret(10.0 - 1e-10, 10.0) == 0.0  # rounding


def test_gap_closed_is_1_at_the_bound_0_at_the_reference_and_negative_beyond():
    assert gap_closed(10.0, 14.0, 10.0) == 1.0
    assert gap_closed(11.0, 14.0, 10.0) == 0.75
    assert gap_closed(14.0, 14.0, 10.0) == 0.0
    assert gap_closed(16.0, 14.0, 10.0) == -0.5
    assert math.isnan(gap_closed(12.0, 10.0, 10.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9.0, 10.0), "the cost 9 is below the lower bound 10; .* same environment, reward and seed"),
        ((math.nan, 10.0), "cost is nan; it must be a finite number"),
        ((10.0, math.inf), "bound is inf"),
        (("10", 5.0), "cost is '10'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        regret(*arguments)


def test_a_reference_below_the_bound_is_refused():
    with pytest.raises(InputError, match="the cost 9 is below"):
        gap_closed(11.0, 9.0, 10.0)

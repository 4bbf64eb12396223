"""Two methods on the same episodes, as they are and at equal violation: oracles, hand cases, simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linprog

from podgym.errors import InputError
from podgym.eval.statistics import (
    Bootstrap,
    cost_at_violation,
    equal_violation_difference,
    holm,
    paired_difference,
    probability_of_improvement,
)

FEW = Bootstrap(4000)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# --- paired differences


def test_difference_is_students_paired_test():
    other = 10.0 + 5.0 * normal(0, 60)
    own = other - 0.2 + 0.8 * normal(1, 60)
    got = paired_difference(own, other, Bootstrap(40_000))
    expected = stats.ttest_rel(own, other)
    low, high = expected.confidence_interval(0.95)
    assert got.difference.estimate == pytest.approx((own - other).mean())
    assert got.difference.lower == pytest.approx(low, abs=0.03)
    assert got.difference.upper == pytest.approx(high, abs=0.03)
    assert got.p_value == pytest.approx(expected.pvalue, abs=0.01)
    assert got.p_value_sign_flip == pytest.approx(expected.pvalue, abs=0.01)
    assert got.num_episodes == 60


def test_pairing_takes_out_what_episodes_have_in_common():
    other = 100.0 + 50.0 * normal(2, 40)
    got = paired_difference(other - 1.0 + 0.1 * normal(3, 40), other, FEW)
    assert -1.1 < got.difference.lower < got.difference.upper < -0.9
    assert got.relative.estimate == pytest.approx(got.difference.estimate / other.mean())
    assert got.p_value == pytest.approx(2 / 4001)


def test_turned_round_the_difference_changes_its_sign():
    own, other = normal(4, 30), normal(5, 30)
    there, back = paired_difference(own, other, FEW), paired_difference(other, own, FEW)
    assert there.difference.lower == pytest.approx(-back.difference.upper)
    assert there.p_value == back.p_value


def test_of_equal_methods_no_difference_is_shown():
    values = normal(6, 5, 30) + 4.0
    same = paired_difference(values[0], values[0], FEW)
    assert (same.difference.lower, same.difference.upper, same.p_value) == (0.0, 0.0, 1.0)


def test_training_seeds_count_in_the_bootstrap_and_not_in_the_flips():
    """Two of five seeds are far better: beyond doubt for these policies, not for the method."""
    seeds = np.array([-9.0, -8.0, 1.0, 1.0, 1.0])[:, None]
    got = paired_difference(10.0 + seeds + 0.1 * normal(7, 5, 200), 10.0 + 0.1 * normal(8, 200), FEW)
    assert got.p_value_sign_flip < 0.001
    assert got.p_value > 0.05
    assert got.difference.upper > 0.0


def test_a_cost_that_is_not_above_zero_has_no_relative_difference():
    got = paired_difference([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], FEW)
    assert np.isnan([got.relative.estimate, got.relative.lower]).all()


@pytest.mark.parametrize("function", [paired_difference, probability_of_improvement])
def test_other_episodes_cannot_be_paired(function):
    with pytest.raises(InputError, match="3 and 2 episodes"):
        function([1.0, 2.0, 3.0], [1.0, 2.0], FEW)
    with pytest.raises(InputError, match="not a finite number"):
        function([1.0, np.nan], [1.0, 2.0], FEW)


def test_p_values_of_five_seeds_reject_a_true_hypothesis_seldom_enough():
    rng = np.random.default_rng(9)
    rejected = 0
    for number in range(500):
        own = rng.normal(size=(5, 1)) + 0.5 * rng.normal(size=(5, 20)) + 3.0
        rejected += paired_difference(own, np.full(20, 3.0), Bootstrap(400, seed=number)).p_value <= 0.05
    assert rejected / 500 <= 0.075


def test_holm_is_at_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


# --- probability of improvement


def test_probability_of_improvement_by_hand():
    got = probability_of_improvement([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0], FEW)
    assert got.estimate == 0.375
    assert 0.0 <= got.lower < 0.375 < got.upper <= 1.0
    two = probability_of_improvement([[1.0, 3.0], [3.0, 3.0]], [[2.0, 2.0], [4.0, 2.0]], FEW)
    assert two.estimate == 0.375  # three of four pairs in the first episode, none in the second


def test_probability_of_improvement_counts_every_pair_of_seeds():
    own, other = normal(10, 3, 50), normal(11, 4, 50)
    wins = [own[s, e] < other[t, e] for s in range(3) for t in range(4) for e in range(50)]
    assert probability_of_improvement(own, other, FEW).estimate == pytest.approx(np.mean(wins))


def test_probability_of_improvement_is_paired():
    load = 100.0 * normal(12, 50)
    assert probability_of_improvement(load - 0.1, load, FEW).estimate == 1.0


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_probability_of_one_or_zero_has_the_exact_binomial_interval(shift):
    values = normal(13, 20)
    got = probability_of_improvement(values + shift, values, FEW)
    wins = 20 if shift < 0 else 0
    expected = stats.binomtest(wins, 20).proportion_ci(0.95, method="exact")
    assert (got.lower, got.upper) == pytest.approx((expected.low, expected.high))


# --- fronts


def test_cost_at_a_violation_by_hand():
    got = cost_at_violation([1.0, 2.0, 3.0], [5.0, 9.0, 1.0], [1.0, 2.0, 2.5, 3.0])
    assert got.tolist() == [5.0, 3.0, 2.0, 1.0]  # the second point is no good and not used
    assert np.isnan(cost_at_violation([1.0, 2.0], [5.0, 4.0], [0.99, 2.01])).all()


def test_a_laxer_variant_that_costs_more_is_not_used():
    assert cost_at_violation([1.0, 2.0], [5.0, 9.0], 1.5) == 5.0


points = st.lists(
    st.tuples(st.integers(0, 20), st.integers(-20, 20)), min_size=2, max_size=6, unique_by=lambda p: p[0]
)


@given(points, st.floats(0.0, 1.0))
def test_cost_at_a_violation_is_the_cheapest_mixture(front, where):
    v, c = (np.array(column, dtype=float) for column in zip(*front, strict=True))
    at = v.min() + where * (v.max() - v.min())
    best = linprog(c, A_ub=[v], b_ub=[at + 1e-12], A_eq=[np.ones(len(v))], b_eq=[1.0], bounds=(0, 1))
    assert cost_at_violation(v, c, at) == pytest.approx(best.fun, abs=1e-6)


def front_of(violation, cost):
    """A strict, a middling and a lax variant, whose points lie on a straight line."""
    return [(violation + 0.1 * step, cost - 5.0 * step) for step in (-1.0, 0.0, 1.0)]


def test_difference_at_equal_violation_by_hand():
    violation, cost = 0.3 + 0.02 * normal(14, 50), 20.0 + normal(15, 50)
    own = (violation + 0.05, cost - 2.5 - 0.7)  # half a step laxer, and 0.7 cheaper than the front there
    got = equal_violation_difference(own, front_of(violation, cost), FEW)
    assert got.comparable
    assert got.violation == pytest.approx(violation.mean() + 0.05)
    assert got.front_range == pytest.approx((violation.mean() - 0.1, violation.mean() + 0.1))
    ends = (got.difference.estimate, got.difference.lower, got.difference.upper)
    assert ends == pytest.approx((-0.7, -0.7, -0.7))  # all that varies is common to both
    assert got.p_value == pytest.approx(2 / 4001)


def test_outside_the_front_nothing_is_said():
    violation, cost = 0.3 + 0.02 * normal(16, 50), 20.0 + normal(17, 50)
    for shift in (-0.11, 0.11):
        got = equal_violation_difference((violation + shift, cost), front_of(violation, cost), FEW)
        assert not got.comparable
        assert np.isnan(got.difference.estimate)
        assert got.p_value == 1.0


def test_at_the_end_of_a_front_the_interval_is_not_known():
    violation, cost = 0.3 + 0.02 * normal(18, 50), 20.0 + normal(19, 50)
    noise = normal(20, 50)
    own = (violation + 0.095 + 0.05 * (noise - noise.mean()), cost)
    got = equal_violation_difference(own, front_of(violation, cost), FEW)
    assert got.front_range[0] < got.violation
    assert not got.comparable
    assert got.p_value > 0.05


def test_an_advantage_that_is_only_laxness_disappears():
    """A method that is cheaper than the middle of a front because it is laxer, and lies on the front."""
    rng = np.random.default_rng(21)
    violation, cost = 0.3 + 0.05 * rng.normal(size=100), 20.0 + 3.0 * rng.normal(size=100)
    own = (violation + 0.05 + 0.01 * rng.normal(size=100), cost - 2.5 + 0.5 * rng.normal(size=100))
    front = front_of(violation, cost)
    assert paired_difference(own[1], front[1][1], FEW).difference.upper < 0.0
    got = equal_violation_difference(own, front, FEW)
    assert got.difference.lower < 0.0 < got.difference.upper
    assert got.p_value > 0.05


def test_fronts_that_cannot_be_used():
    own = ([0.1, 0.2], [1.0, 2.0])
    with pytest.raises(InputError, match="front of 1 point"):
        equal_violation_difference(own, [own], FEW)
    with pytest.raises(InputError, match="different numbers of episodes"):
        equal_violation_difference(own, [own, ([0.1], [1.0])], FEW)
    with pytest.raises(InputError, match="both must be alike"):
        equal_violation_difference(([0.1], [1.0, 2.0]), [own, own], FEW)

"""The vectorised tail against the simulator's own, and quantiles of mixtures against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.simulator.sojourn import SojournLaw, tail
from podgym.eval.mixture import Laws, mixture_mean_s, mixture_quantile_s, tails

positive = st.floats(1e-4, 10.0)
law_fields = st.tuples(
    st.floats(0.0, 1.0), positive, st.floats(0.0, 4.0), st.floats(0.0, 1.0), positive, st.floats(0.0, 1.0)
)


def as_laws(rows):
    """Rows of (shift, mean, variation, wait probability, wait mean, wait std / mean)."""
    table = np.array(rows, dtype=np.float64)
    table[:, 5] *= table[:, 4]
    return Laws(*table.T)


def exponentials(*means_s):
    none = np.zeros(len(means_s))
    return Laws(none, np.array(means_s), none + 1.0, none, none, none)


@given(st.lists(law_fields, min_size=1, max_size=5), st.floats(0.0, 30.0))
def test_tails_are_those_of_the_simulator(rows, time_s):
    laws = as_laws(rows)
    expected = [tail(time_s, SojournLaw(*(float(values[i]) for values in laws))) for i in range(len(rows))]
    np.testing.assert_allclose(tails(time_s, laws), expected, rtol=1e-5, atol=1e-9)


@given(law_fields, st.sampled_from([0.5, 0.95, 0.99]))
def test_quantile_of_one_law_is_where_its_tail_says(row, probability):
    laws = as_laws([row])
    law = SojournLaw(*(float(values[0]) for values in laws))
    got = mixture_quantile_s(probability, laws, np.array([7.0]))
    assert tail(got * (1 + 1e-6), law) <= (1 - probability) * (1 + 1e-5)
    assert tail(got * (1 - 1e-6), law) >= (1 - probability) * (1 - 1e-5)


def test_many_small_and_few_large():
    """1 % of the requests take ever longer: p95 does not see them, p99.5 is their median."""
    laws = exponentials(0.1, 1000.0)
    weights = np.array([99.0, 1.0])
    # exp(-t/1000) is nearly 1 at the p95, so 0.99 exp(-t/0.1) = 0.05 - 0.01
    assert mixture_quantile_s(0.95, laws, weights) == pytest.approx(-0.1 * math.log(0.04 / 0.99), rel=1e-2)
    assert mixture_quantile_s(0.995, laws, weights) == pytest.approx(1000.0 * math.log(2.0), rel=1e-6)


def test_quantile_matches_drawn_requests():
    rng = np.random.default_rng(4)
    laws = Laws(*(np.array(each) for each in ([0.1, 0.2], [0.05, 0.1], [1.0, 0.5], [0.3, 0.9],
                                              [0.2, 3.0], [0.2, 0.3])))  # fmt: skip
    draws = []
    for i, count in ((0, 300_000), (1, 100_000)):
        shift, mean, variation, waits, wait, spread = (float(values[i]) for values in laws)
        service = mean * (1 - variation) + rng.exponential(mean * variation, count)
        waited = (rng.random(count) < waits) * (wait - spread + rng.exponential(spread, count))
        draws.append(shift + service + waited)
    sample = np.concatenate(draws)
    weights = np.array([3.0, 1.0])
    for probability in (0.5, 0.95, 0.99):
        got = mixture_quantile_s(probability, laws, weights)
        assert got == pytest.approx(np.quantile(sample, probability), rel=0.01)
    assert mixture_mean_s(laws, weights) == pytest.approx(sample.mean(), rel=0.01)


def test_weights_count_only_relative_to_each_other():
    laws = exponentials(0.1, 0.4)
    small = mixture_quantile_s(0.95, laws, np.array([1e-9, 2e-9]))
    assert small == pytest.approx(mixture_quantile_s(0.95, laws, np.array([1e6, 2e6])), rel=1e-9)


def test_no_requests_no_quantile():
    laws = exponentials(0.1)
    assert math.isnan(mixture_quantile_s(0.95, laws, np.zeros(1)))
    assert math.isnan(mixture_mean_s(laws, np.zeros(1)))

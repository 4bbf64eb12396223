"""Replicates, intervals and p-values: against scipy, by hand, and by simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from podgym.errors import InputError
from podgym.eval.statistics import (
    Bootstrap,
    Interval,
    checked_values,
    interval_of,
    mean_estimate,
    mean_replicates,
    sign_flip_p_value,
    two_sided_p_value,
)

FEW = Bootstrap(2000)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# --- replicates


def test_equal_settings_draw_equal_bits_and_other_seeds_do_not():
    values = normal(0, 3, 20)
    first = mean_replicates(values, FEW)
    assert np.array_equal(first, mean_replicates(values, FEW))
    assert not np.array_equal(first, mean_replicates(values, Bootstrap(2000, seed=1)))


def test_measures_share_their_draws():
    values = normal(1, 3, 20)
    both = mean_replicates(np.stack([values, 5.0 - 2.0 * values]), FEW)
    assert both.shape == (2000, 2)
    np.testing.assert_allclose(both[:, 1], 5.0 - 2.0 * both[:, 0])


def correlation(first, second):
    return float(np.corrcoef(first, second)[0, 1])


def test_episodes_are_drawn_alike_for_two_methods_but_not_for_two_strata():
    values = normal(2, 1, 40)
    own = mean_replicates(values, FEW, side=1)
    assert np.array_equal(own, mean_replicates(values, FEW, side=2))
    assert abs(correlation(own, mean_replicates(values, Bootstrap(2000, stratum=1)))) < 0.1


def test_training_seeds_are_drawn_apart_unless_the_policies_are_the_same_everywhere():
    values = np.tile(np.arange(20.0)[:, None], (1, 5))  # twenty seeds that differ, episodes that do not
    here, there = (Bootstrap(2000, stratum=number) for number in (0, 1))
    own = mean_replicates(values, here, side=1)
    assert abs(correlation(own, mean_replicates(values, here, side=2))) < 0.1
    assert abs(correlation(own, mean_replicates(values, there, side=1))) < 0.1
    shared = [mean_replicates(values, each, side=1, shared_seeds=True) for each in (here, there)]
    assert correlation(*shared) > 0.99


def test_both_sources_are_in_the_replicates_and_neither_is_pooled():
    """Five seeds far apart on a thousand episodes: pooled, the interval would be 14 times too narrow."""
    seeds = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    estimate = mean_estimate(np.tile(seeds, (1, 1000)), FEW)
    assert estimate.between_seeds == pytest.approx(np.sqrt(2.5))
    assert estimate.between_episodes == 0.0
    assert estimate.mean.upper == pytest.approx(stats.t.ppf(0.975, 4) * np.sqrt(2.5 / 5), rel=0.2)
    one = mean_estimate(np.linspace(-2, 2, 1000), FEW)
    assert one.between_episodes == pytest.approx(np.linspace(-2, 2, 1000).std(ddof=1))
    assert np.isnan(one.between_seeds)
    assert one.mean.upper < 0.1


def test_of_one_episode_nothing_can_be_told():
    estimate = mean_estimate([3.0], FEW)
    assert estimate.mean.estimate == 3.0
    assert np.isnan([estimate.mean.lower, estimate.mean.upper, estimate.between_episodes]).all()
    assert np.isnan(mean_estimate([[3.0], [4.0]], FEW).mean.lower)


@pytest.mark.parametrize("count", [20, 200])
def test_interval_of_the_mean_is_students(count):
    values = normal(3, count)
    interval = mean_estimate(values, Bootstrap(40_000)).mean
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert interval.estimate == pytest.approx(values.mean())
    half = (high - low) / 2
    assert interval.lower == pytest.approx(low, abs=0.06 * half)
    assert interval.upper == pytest.approx(high, abs=0.06 * half)


def crossed(rng, seeds, episodes, between_seeds, between_episodes, rest):
    """Results of which the truth is 0."""
    return (
        between_seeds * rng.normal(size=(seeds, 1))
        + between_episodes * rng.normal(size=(1, episodes))
        + rest * rng.normal(size=(seeds, episodes))
    )


@pytest.mark.parametrize(
    ("shape", "spreads"),
    [
        ((5, 30), (1.0, 2.0, 1.0)),
        ((5, 30), (1.0, 0.1, 0.1)),
        ((1, 8), (0.0, 1.0, 0.0)),
        ((3, 60), (0.2, 3.0, 1.0)),
    ],
    ids=["both sources", "seeds", "few episodes", "episodes"],
)
def test_intervals_cover_the_truth_as_often_as_they_say(shape, spreads):
    rng = np.random.default_rng(4)
    hits = 0
    for number in range(400):
        mean = mean_estimate(crossed(rng, *shape, *spreads), Bootstrap(800, seed=number)).mean
        hits += mean.lower <= 0.0 <= mean.upper
    assert 0.93 <= hits / 400 <= 0.995


def test_a_plain_percentile_bootstrap_of_five_seeds_would_not():
    """The test above can tell the difference."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        seeds = rng.normal(size=5)
        low, high = np.quantile(seeds[rng.integers(5, size=(800, 5))].mean(axis=1), [0.025, 0.975])
        hits += low <= 0.0 <= high
    assert hits / 400 < 0.9


@pytest.mark.parametrize(
    ("values", "words"),
    [([], "shape"), (np.zeros((2, 2, 2)), "shape"), ([1.0, np.nan], "not a finite"), ([np.inf], "not a fin")],
)
def test_results_that_are_none(values, words):
    with pytest.raises(InputError, match=words):
        checked_values(values)


@pytest.mark.parametrize("options", [{"num_resamples": 0}, {"level": 1.0}, {"seed": -1}, {"stratum": 0.5}])
def test_a_bootstrap_that_cannot_be(options):
    with pytest.raises(InputError):
        Bootstrap(**options)


# --- intervals and p-values


def test_interval_by_hand():
    replicates = np.arange(101.0)
    got = interval_of(7.0, replicates, 0.5)
    assert (got.estimate, got.lower, got.upper) == (7.0, 25.0, 75.0)


def test_unknown_replicates_count_against_both_ends():
    replicates = np.concatenate([np.arange(98.0), [np.nan] * 3])
    got = interval_of(0.0, replicates, 0.5)
    assert (got.lower, got.upper) == (22.0, 75.0)
    many = interval_of(0.0, np.concatenate([np.arange(70.0), [np.nan] * 31]), 0.5)
    assert np.isnan([many.lower, many.upper]).all()


def test_two_sided_p_by_hand():
    assert two_sided_p_value(np.array([-1.0, 1.0, 2.0, 3.0])) == pytest.approx(0.8)
    assert two_sided_p_value(np.ones(99)) == pytest.approx(0.02)
    assert two_sided_p_value(np.zeros(99)) == 1.0
    assert two_sided_p_value(np.array([np.nan, *np.ones(98)])) == pytest.approx(0.04)


@pytest.mark.parametrize("count", [5, 12])
def test_sign_flips_of_few_episodes_are_exact(count):
    differences = normal(6, count) + 0.5
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert sign_flip_p_value(differences, FEW) == pytest.approx(expected)


def test_sign_flips_of_many_episodes_are_drawn():
    differences = normal(7, 60) + 0.25
    assert sign_flip_p_value(differences, Bootstrap(20_000)) == pytest.approx(
        stats.ttest_1samp(differences, 0.0).pvalue, abs=0.01
    )
    assert sign_flip_p_value(differences + 5.0, Bootstrap(999)) == pytest.approx(0.001)
    assert sign_flip_p_value(np.zeros(60), Bootstrap(500)) == 1.0
    assert sign_flip_p_value(np.zeros(6), Bootstrap(500)) == 1.0


def test_sign_flips_reject_a_true_hypothesis_as_often_as_they_say():
    rng = np.random.default_rng(8)
    p_values = np.array([sign_flip_p_value(rng.normal(size=10), FEW) for _ in range(800)])
    assert 0.03 <= (p_values <= 0.05).mean() <= 0.07


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ((-2.0, 5.0), (0.0, 1.0)),
        ((0.2, 0.7), (0.2, 0.7)),
        ((-0.1, 0.7), (0.0, 0.7)),
        ((math.nan, 3.0), (math.nan, 1.0)),
        ((math.nan, math.nan), (math.nan, math.nan)),
    ],
)
def test_an_interval_within_what_there_can_be(ends, wanted):
    found = Interval(0.5, *ends).within(0.0, 1.0)
    assert (found.lower, found.upper) == pytest.approx(wanted, nan_ok=True)
    assert found.estimate == 0.5
    assert Interval(0.5, -1.0, 7.0).within(0.0, math.inf) == Interval(0.5, 0.0, 7.0)

"""Interquartile mean and performance profiles: against scipy and rliable, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from podgym.errors import InputError
from podgym.eval.statistics import (
    Bootstrap,
    interval_of,
    iqm,
    iqm_interval,
    mean_estimate,
    mean_replicates,
    performance_profile,
)
from podgym.eval.statistics.estimates import _trimmed_means

FEW = Bootstrap(1000)


def test_iqm_by_hand():
    assert iqm([9.0, 1.0, 2.0, 3.0, 100.0, -50.0, 4.0, 5.0]) == pytest.approx(3.5)
    assert iqm([[1.0, 2.0]]) == 1.5


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_iqm_is_scipys_trimmed_mean(values):
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-9, abs=1e-6)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 4)), min_size=1, max_size=20))
def test_counts_stand_for_repeated_values(pairs):
    pairs = sorted(pairs)
    values = np.array([value for value, _ in pairs], dtype=float)
    counts = np.array([count for _, count in pairs])
    if counts.sum() == 0:
        counts[0] = 1
    got = _trimmed_means(values, counts[None, :])[0]
    assert got == pytest.approx(stats.trim_mean(np.repeat(values, counts), 0.25))


def test_iqm_of_one_stratum_varies_as_the_mean_of_the_middle_does():
    """The standard error of a trimmed mean is known: scipy's, by Tukey and McLaughlin."""
    values = np.random.default_rng(0).normal(size=300)
    got = iqm_interval([values], Bootstrap(4000))
    low, high = stats.mstats.trimmed_mean_ci(values, (0.25, 0.25), alpha=0.05)
    assert got.estimate == pytest.approx(stats.trim_mean(values, 0.25))
    assert got.upper - got.lower == pytest.approx(high - low, rel=0.15)
    assert got.lower < low + 0.3 * (high - low)


def test_iqm_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = 0
    for number in range(300):
        values = rng.normal(size=(5, 1)) + rng.normal(size=(1, 25)) + 0.5 * rng.normal(size=(5, 25))
        got = iqm_interval([values], Bootstrap(400, seed=number))
        hits += got.lower <= 0.0 <= got.upper
    assert 0.92 <= hits / 300 <= 0.995


def test_strata_are_drawn_from_on_their_own():
    """Two strata far apart: drawn from a pool of both, their shares would vary and the interval be wide."""
    low, high = np.random.default_rng(2).normal(size=(2, 100)) + np.array([[0.0], [100.0]])
    got = iqm_interval([low, high], FEW)
    assert got.upper - got.lower < 2.0
    pooled = iqm_interval([np.concatenate([low, high])], FEW)
    assert pooled.upper - pooled.lower > 10.0


def test_iqm_of_training_seeds_knows_their_spread():
    values = np.tile(np.arange(6.0)[:, None], (1, 50))
    assert iqm_interval([values], FEW).upper > iqm_interval([values[:1] + 2.5], FEW).upper + 1.0
    assert np.isnan(iqm_interval([[1.0]], FEW).lower)
    with pytest.raises(InputError, match="no stratum"):
        iqm_interval([], FEW)


def test_profile_by_hand():
    profile = performance_profile([[1.0, 2.0, 3.0, 4.0], [[2.0, 2.0], [9.0, 9.0]]], [1.0, 2.0, 5.0], FEW)
    assert profile.share.tolist() == [0.125, 0.5, 0.75]
    assert (profile.lower <= profile.share).all()
    assert (profile.share <= profile.upper).all()
    assert profile.lower.min() >= 0.0
    assert profile.upper.max() <= 1.0


def test_band_of_a_profile_is_that_of_a_share():
    scores = np.random.default_rng(3).uniform(size=400)
    profile = performance_profile([scores], [0.3], FEW)
    expected = mean_estimate((scores <= 0.3).astype(float), FEW).mean
    assert profile.share[0] == expected.estimate
    assert profile.lower[0] == pytest.approx(expected.lower, abs=0.01)
    assert profile.upper[0] == pytest.approx(expected.upper, abs=0.01)


def test_environments_of_a_profile_are_drawn_from_on_their_own():
    """So what varies in both is known better from two than from one, by a factor of sqrt(2)."""
    scores = np.random.default_rng(4).uniform(size=100)
    one, two = (performance_profile([scores] * count, [0.5], Bootstrap(4000)) for count in (1, 2))
    narrower = (one.upper - one.lower) / (two.upper - two.lower)
    assert narrower[0] == pytest.approx(np.sqrt(2.0), rel=0.1)


@pytest.mark.parametrize(
    ("strata", "thresholds", "words"),
    [([], [1.0], "no scores"), ([[1.0]], [], "ascending"), ([[1.0]], [2.0, 1.0], "ascending")],
)
def test_profiles_of_nothing(strata, thresholds, words):
    with pytest.raises(InputError, match=words):
        performance_profile(strata, thresholds, FEW)


# --- rliable 1.2.0 (with pandas 2.3.3, arch 7.2.0), 20,000 replicates, scores (100 runs, 5 tasks)

SCORES = np.random.default_rng(42).gamma(3.0, 2.0, size=(100, 5)) * np.array([1.0, 1.5, 2.0, 0.5, 1.2])
RLIABLE_IQM = (6.219809619583209, 5.855513, 6.60989918)
RLIABLE_MEAN = (7.32293071086246, 6.94031686, 7.73675795)
RLIABLE_PROFILE = ((0.08, 0.406, 0.646, 0.832), (0.058, 0.37, 0.61, 0.802), (0.104, 0.444, 0.682, 0.862))


def test_stratified_iqm_is_rliables():
    got = iqm_interval(list(SCORES.T), Bootstrap(4000))
    assert got.estimate == pytest.approx(RLIABLE_IQM[0])
    assert (got.lower, got.upper) == pytest.approx(RLIABLE_IQM[1:], abs=0.04)


def test_stratified_mean_is_rliables():
    strata = [mean_replicates(task[None, :], Bootstrap(4000, stratum=i)) for i, task in enumerate(SCORES.T)]
    got = interval_of(SCORES.mean(), np.mean(strata, axis=0), 0.95)
    assert got.estimate == pytest.approx(RLIABLE_MEAN[0])
    assert (got.lower, got.upper) == pytest.approx(RLIABLE_MEAN[1:], abs=0.04)


def test_profile_is_rliables():
    """Which gives the share above a threshold; these are the shares at or below."""
    got = performance_profile(list(SCORES.T), [2.0, 5.0, 8.0, 12.0], Bootstrap(4000))
    share, lower, upper = RLIABLE_PROFILE
    assert got.share == pytest.approx(share)
    assert got.lower == pytest.approx(lower, abs=0.008)
    assert got.upper == pytest.approx(upper, abs=0.008)

"""Quantiles, spread and shares of a histogram against closed forms and a second, slow way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.kubernetes.histograms import Histogram

INF = math.inf


def uniform(count: int = 10, width: float = 1.0) -> Histogram:
    """As many observations in each of ``count`` buckets from 0 on, so that they lie evenly."""
    finite = [(width * (i + 1), 7.0 * (i + 1)) for i in range(count)]
    return Histogram.of([*finite, (INF, 7.0 * count)])


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    bounds = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True))
    counts = draw(st.lists(st.integers(0, 50), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    edges = [*(bound / 16.0 for bound in sorted(bounds)), INF]
    return Histogram.of(zip(edges, np.cumsum(counts).astype(float), strict=True))


def spread_out(histogram: Histogram, per_observation: int = 400) -> np.ndarray:
    """The observations as points, laid evenly into their buckets; the infinite one at its lower bound."""
    points = []
    before, lower = 0.0, 0.0
    for bound, count in zip(histogram.upper_bounds, histogram.cumulative, strict=True):
        upper = lower if bound == INF else bound
        number = round(count - before) * per_observation
        points.append(lower + (upper - lower) * (np.arange(number) + 0.5) / max(number, 1))
        before, lower = count, upper
    return np.concatenate(points)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.5, 0.95, 0.99, 1.0])
def test_quantiles_of_an_even_spread_are_the_levels(level: float) -> None:
    assert uniform().quantile(level) == pytest.approx(10.0 * level, abs=1e-12)


def test_spread_of_an_even_spread() -> None:
    assert uniform().std() == pytest.approx(10.0 / math.sqrt(12.0), rel=1e-12)
    assert uniform(1000, 0.01).std() == pytest.approx(10.0 / math.sqrt(12.0), rel=1e-12)


@pytest.mark.parametrize(("limit", "share"), [(-1.0, 1.0), (0.0, 1.0), (2.5, 0.75), (10.0, 0.0), (99.0, 0.0)])
def test_share_above_an_even_spread(limit: float, share: float) -> None:
    assert uniform().share_above(limit) == pytest.approx(share, abs=1e-12)


@given(histograms())
def test_same_as_counting_points(histogram: Histogram) -> None:
    points = spread_out(histogram)
    if not len(points):
        assert math.isnan(histogram.quantile(0.5))
        assert math.isnan(histogram.std())
        assert math.isnan(histogram.share_above(1.0))
        return
    widest = max(np.diff([0.0, *histogram.upper_bounds[:-1]]))
    # Points at the middle of their cells: off by the square of the cell, widest / 400 at most.
    assert histogram.std() == pytest.approx(points.std(), rel=1e-4, abs=widest / 100)
    for limit in (0.03, 1.0, 7.7, histogram.upper_bounds[-2]):
        if limit <= histogram.upper_bounds[-2]:
            tolerance = 1.0 / 400
            # What overflowed lies at the highest bound here, and counts as above it.
            above = np.count_nonzero(points >= limit) / len(points)
            assert histogram.share_above(limit) == pytest.approx(above, abs=tolerance)


@given(histograms(), st.floats(0.01, 0.99))
def test_share_above_a_quantile_is_what_is_left(histogram: Histogram, level: float) -> None:
    if histogram.total == 0.0 or level * histogram.total > histogram.cumulative[-2]:
        return
    assert histogram.share_above(histogram.quantile(level)) == pytest.approx(1.0 - level, abs=1e-9)


@given(histograms())
def test_quantiles_never_fall(histogram: Histogram) -> None:
    values = [histogram.quantile(level) for level in np.linspace(0.01, 1.0, 25)]
    if histogram.total:
        assert values == sorted(values)
        assert all(0.0 <= value <= histogram.upper_bounds[-2] for value in values)


def test_overflow_is_the_highest_finite_bound() -> None:
    histogram = Histogram.of([(0.1, 1.0), (1.0, 2.0), (INF, 10.0)])
    assert histogram.quantile(0.5) == 1.0
    assert histogram.share_above(1.0) == pytest.approx(0.8)
    # Nobody knows on which side of 2 s the 8 of them lie.
    assert math.isnan(histogram.share_above(2.0))


def test_equal_bounds_are_added_and_falling_counts_lifted() -> None:
    histogram = Histogram.of([(INF, 5.0), (1.0, 2.0), (1.0, 2.0), (2.0, 3.0)])
    assert histogram.upper_bounds == (1.0, 2.0, INF)
    assert histogram.cumulative == (4.0, 4.0, 5.0)
    assert histogram.quantile(0.4) == pytest.approx(0.5)


def test_levels_outside_and_bounds_below_zero() -> None:
    histogram = Histogram.of([(-1.0, 4.0), (0.0, 6.0), (INF, 6.0)])
    assert histogram.quantile(-0.1) == -INF
    assert histogram.quantile(1.1) == INF
    assert math.isnan(histogram.quantile(math.nan))
    assert histogram.quantile(0.5) == -1.0
    assert histogram.quantile(1.0) == 0.0


@pytest.mark.parametrize(
    ("buckets", "reason"),
    [
        ([], "missing"),
        ([(1.0, 2.0)], "missing"),
        ([(INF, 2.0)], "no bucket but"),
        ([(1.0, math.nan), (INF, 2.0)], "holds nan"),
        ([(1.0, INF), (INF, INF)], "holds inf"),
        ([(1.0, -1.0), (INF, 2.0)], "holds -1"),
        ([(math.nan, 1.0), (INF, 2.0)], "le=nan"),
    ],
)
def test_what_is_no_histogram_is_refused(buckets: list[tuple[float, float]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Histogram.of(buckets)

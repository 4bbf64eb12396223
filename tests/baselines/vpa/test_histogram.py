import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.vpa import (
    CPU_BUCKETS,
    MEMORY_BUCKETS,
    ZERO_TIME_S,
    DecayingHistogram,
    ExponentialBuckets,
    Histogram,
    HistogramCheckpoint,
    LinearBuckets,
    nearest_reference_s,
)
from podgym.errors import InputError

TEN = LinearBuckets(10.0, 1.0, 1e-15)
HOUR_S = 3600.0
START_S = 1_234_569_600.0  # a whole number of hours since the year 1


def filled(*samples, histogram=None):
    histogram = Histogram(TEN) if histogram is None else histogram
    for sample in samples:
        histogram.add(*sample)
    return histogram


def decaying(*samples):
    return filled(*samples, histogram=DecayingHistogram(TEN, HOUR_S))


class SlowHistogram:
    """All samples in a list, exact numbers, and percentiles straight from their definition."""

    def __init__(self, buckets, half_life_s=None):
        self.starts = [buckets.start(bucket) for bucket in range(buckets.num_buckets)]
        self.half_life_s = half_life_s
        self.samples = []

    def add(self, value, weight, time_s):
        self.samples.append((value, Fraction(weight), Fraction(time_s)))

    def subtract(self, value, weight, time_s):
        self.samples.remove((value, Fraction(weight), Fraction(time_s)))

    def percentile(self, fraction):
        if not self.samples:
            return 0.0
        weights = {}
        for value, weight, time_s in self.samples:
            bucket = max(index for index, start in enumerate(self.starts) if start <= value or index == 0)
            if self.half_life_s is not None:
                half_lives = (time_s - Fraction(START_S)) / Fraction(self.half_life_s)
                assert half_lives.denominator == 1
                weight *= Fraction(2) ** int(half_lives)
            weights[bucket] = weights.get(bucket, 0) + weight
        total = sum(weights.values())
        reached = [
            bucket
            for bucket in weights
            if sum(weight for other, weight in weights.items() if other <= bucket) >= fraction * total
        ]
        bucket = min(reached, default=max(weights))
        return self.starts[min(bucket + 1, len(self.starts) - 1)]


sixteenths = st.integers(-2, 18).map(lambda number: number / 16)


@st.composite
def operations(draw, hours):
    """Samples with whole weights and times, some of which are taken away again: exact in float64."""
    samples = draw(
        st.lists(
            st.tuples(
                st.integers(0, 12).map(lambda value: value + 0.5),
                st.integers(1, 100).map(float),
                st.integers(-hours, hours).map(lambda hour: START_S + hour * HOUR_S),
            ),
            max_size=12,
        )
    )
    taken = draw(st.lists(st.sampled_from(range(len(samples))), unique=True)) if samples else []
    return [("add", *sample) for sample in samples] + [("subtract", *samples[index]) for index in taken]


@given(operations(0), sixteenths)
def test_percentiles_are_those_of_the_definition(steps, fraction):
    fast, slow = Histogram(TEN), SlowHistogram(TEN)
    for name, *sample in steps:
        getattr(fast, name)(*sample)
        getattr(slow, name)(*sample)
        assert fast.percentile(fraction) == slow.percentile(fraction)
        assert fast.is_empty == (not slow.samples)


@given(operations(12), sixteenths)
def test_decayed_percentiles_are_those_of_the_definition(steps, fraction):
    fast, slow = DecayingHistogram(TEN, HOUR_S), SlowHistogram(TEN, HOUR_S)
    for name, *sample in steps:
        getattr(fast, name)(*sample)
        getattr(slow, name)(*sample)
        assert fast.percentile(fraction) == slow.percentile(fraction)


@given(operations(12), operations(12), st.sampled_from([Histogram(TEN), DecayingHistogram(TEN, HOUR_S)]))
def test_merging_is_adding_everything(mine, others, kind):
    together, one, other = kind.copy(), kind.copy(), kind.copy()
    for steps, histogram in ((mine, one), (others, other)):
        for name, *sample in steps:
            getattr(histogram, name)(*sample)
            getattr(together, name)(*sample)
    untouched = other.copy()
    one.merge(other)
    assert untouched == other
    assert untouched.total_weight == other.total_weight
    for number in range(17):
        assert one.percentile(number / 16) == together.percentile(number / 16)
    if isinstance(one, DecayingHistogram) and mine and others:
        scale = math.exp2((one.reference_s - together.reference_s) / HOUR_S)
        assert one.total_weight * scale == together.total_weight


# ---------------------------------------------------------------------------------------------- buckets


def test_linear_buckets():
    buckets = LinearBuckets(5.0, 0.3, 0.001)
    assert buckets.num_buckets == 18  # 16.7 rounded up, and one without an end
    assert [buckets.start(bucket) for bucket in (0, 1, 17)] == [0.0, 0.3, 17 * 0.3]
    found = [buckets.find(value) for value in (-1.0, 0.0, 0.29, 0.31, 5.0, 5.2, 99.0, math.inf, -math.inf)]
    assert found == [0, 0, 0, 1, 16, 17, 17, 17, 0]
    assert [TEN.find(value) for value in (9.9, 10.0, 11.0, 12.0)] == [9, 10, 10, 10]


def test_exponential_buckets():
    buckets = ExponentialBuckets(100.0, 10.0, 2.0, 0.001)
    # 0, 10, 10 + 20, 10 + 20 + 40, ... until one begins at 100 or above
    assert [buckets.start(bucket) for bucket in range(buckets.num_buckets)] == [0, 10, 30, 70, 150]
    found = [buckets.find(value) for value in (-5.0, 9.999, 10.0, 29.0, 31.0, 149.0, 1e9, 1e308, math.inf)]
    assert found == [0, 0, 1, 1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("buckets", [CPU_BUCKETS, MEMORY_BUCKETS])
def test_default_buckets_contain_their_values(buckets):
    assert buckets.num_buckets == 176
    assert buckets.start(175) > 0.99 * buckets.max_value
    for bucket in range(175):
        low, high = buckets.start(bucket), buckets.start(bucket + 1)
        assert buckets.find(low + 0.5 * (high - low)) == bucket
        assert high - low == pytest.approx(buckets.first_bucket_size * 1.05**bucket, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearBuckets(0.0, 1.0, 1.0), "max_value"),
        (lambda: LinearBuckets(1.0, -1.0, 1.0), "bucket_size"),
        (lambda: LinearBuckets(1.0, 1.0, 0.0), "epsilon"),
        (lambda: ExponentialBuckets(1.0, 0.0, 2.0, 1.0), "first_bucket_size"),
        (lambda: ExponentialBuckets(1.0, 1.0, 1.0, 1.0), "ratio"),
        (lambda: ExponentialBuckets(math.nan, 1.0, 2.0, 1.0), "max_value is nan"),
        (lambda: TEN.find(math.nan), "nan"),
        (lambda: TEN.start(11), "0 to 10"),
        (lambda: CPU_BUCKETS.start(-1), "no bucket -1"),
        (lambda: DecayingHistogram(TEN, 0.0), "half_life_s"),
        (lambda: Histogram(TEN).add(1.0, -1.0), "weight"),
        (lambda: Histogram(TEN).subtract(1.0, math.nan), "weight"),
        (lambda: decaying((1.0, 1.0, math.nan)), "time of a sample"),
        (lambda: Histogram(TEN).merge(Histogram(CPU_BUCKETS)), "different buckets"),
        (lambda: decaying().merge(DecayingHistogram(TEN, 60.0)), "half-lives 3600.0 and 60.0"),
    ],
)
def test_what_makes_no_histogram_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


# ------------------------------------------------------------------------------------------- operations


def test_percentile_is_the_end_of_its_bucket():
    histogram = filled((2.5, 1.0), (4.5, 3.0))
    assert [histogram.percentile(fraction) for fraction in (0.0, 0.25, 0.26, 1.0)] == [3.0, 3.0, 5.0, 5.0]
    assert [histogram.percentile(fraction) for fraction in (-7.0, 7.0)] == [3.0, 5.0]
    assert filled((99.0, 1.0)).percentile(0.5) == 10.0  # the last bucket has no end
    assert Histogram(TEN).percentile(0.5) == 0.0


def test_a_bucket_counts_from_epsilon_on():
    histogram = Histogram(LinearBuckets(10.0, 1.0, 0.5))
    histogram.add(3.0, 0.4)
    assert histogram.is_empty
    assert histogram.percentile(1.0) == 0.0
    assert histogram.total_weight == 0.4
    histogram.add(3.0, 0.1)
    assert not histogram.is_empty
    assert histogram.bucket_range == (3, 3)
    histogram.add(7.0, 0.4)  # in the total, but out of the range
    assert histogram.percentile(1.0) == 4.0


def test_taking_away_what_is_nearly_all_takes_all():
    histogram = Histogram(LinearBuckets(10.0, 1.0, 0.5))
    histogram.add(3.0, 2.0)
    histogram.add(5.0, 2.0)
    histogram.subtract(5.0, 1.4)
    assert histogram.bucket_weights == {3: 2.0, 5: pytest.approx(0.6)}
    histogram.subtract(5.0, 0.2)  # 0.4 would be left, below epsilon
    assert histogram.bucket_weights == {3: 2.0}
    assert histogram.bucket_range == (3, 3)
    histogram.subtract(3.0, 9.0)
    assert histogram.is_empty
    assert histogram.total_weight == pytest.approx(0.0)
    assert histogram.bucket_range == (10, 0)


def test_equality():
    assert filled((1.0, 1.0), (2.0, 3.0)) == filled((2.0, 2.0), (1.0, 1.0), (2.0, 1.0))
    assert filled((1.0, 1.0)) != filled((1.0, 1.0 + 1e-9))
    assert filled((1.0, 1.0)) != filled((1.0, 1.0), (2.0, 1.0))
    assert Histogram(TEN) != Histogram(CPU_BUCKETS)
    assert Histogram(TEN) != DecayingHistogram(TEN, HOUR_S)
    assert DecayingHistogram(TEN, HOUR_S) != Histogram(TEN)
    assert filled((1.0, 1.0)) != "a histogram"
    copy = filled((1.0, 1.0))
    assert copy.copy() == copy
    with pytest.raises(TypeError):
        hash(copy)
    assert "total_weight=1.0" in repr(copy)


# ------------------------------------------------------------------------------------------------ decay


def test_weights_halve():
    histogram = decaying((1.0, 2.0, START_S), (2.0, 1.0, START_S + HOUR_S))
    weights = histogram.bucket_weights
    assert weights[1] == weights[2]
    histogram.add(3.0, 1.0, START_S + 2.5 * HOUR_S)
    assert histogram.bucket_weights[3] / weights[2] == pytest.approx(2**1.5)


def test_the_reference_begins_in_the_year_1_and_moves_after_100_half_lives():
    histogram = DecayingHistogram(TEN, HOUR_S)
    assert histogram.reference_s == ZERO_TIME_S
    histogram.add(1.0, 1.0, ZERO_TIME_S + 100 * HOUR_S)
    assert histogram.reference_s == ZERO_TIME_S
    assert histogram.bucket_weights == {1: 2.0**100}
    histogram.add(1.0, 1.0, ZERO_TIME_S + 100.5 * HOUR_S)  # halves are rounded up
    assert histogram.reference_s == ZERO_TIME_S + 101 * HOUR_S
    assert histogram.bucket_weights == {1: pytest.approx(2**-1 + 2**-0.5)}


def test_moving_the_reference_drops_what_has_become_nothing():
    histogram = decaying((5.0, 1.0, START_S), (3.0, 1.0, START_S + 1000 * HOUR_S))
    assert histogram.bucket_range == (3, 3)
    assert histogram.total_weight == pytest.approx(1.0)
    assert histogram.percentile(1.0) == 4.0


def test_references_are_aligned_by_merging_and_must_agree():
    fine = LinearBuckets(10.0, 1.0, 1e-60)
    older = filled((1.0, 1.0, START_S), histogram=DecayingHistogram(fine, HOUR_S))
    younger = filled((2.0, 1.0, START_S + 101 * HOUR_S), histogram=DecayingHistogram(fine, HOUR_S))
    assert older.reference_s < younger.reference_s
    for one, other in ((older.copy(), younger), (younger.copy(), older)):
        one.merge(other)
        assert one.reference_s == younger.reference_s
        assert one.bucket_weights == {1: 2.0**-101, 2: 1.0}
    twin = older.copy()
    assert twin == older
    twin.reference_s += HOUR_S
    assert twin != older


def test_nearest_reference():
    assert nearest_reference_s(0.0, 86400.0) == 0.0  # 1970 began on a whole day since the year 1
    assert nearest_reference_s(43_199.0, 86400.0) == 0.0
    assert nearest_reference_s(43_200.0, 86400.0) == 86400.0
    assert nearest_reference_s(-43_201.0, 86400.0) == -86400.0


# ------------------------------------------------------------------------------------------ checkpoints


def test_checkpoint_keeps_ten_thousandths():
    saved = filled((1.0, 1.0), (2.0, 3.0), (3.0, 0.00014), (4.0, 0.00016)).save()
    assert saved.total_weight == pytest.approx(4.0003)
    assert saved.bucket_weights == {1: 3333, 2: 10000, 4: 1}  # 0.47 is dropped, 0.53 rounded up
    assert Histogram(TEN).save() == HistogramCheckpoint(0.0, {})


def test_loading_spreads_the_total():
    histogram = filled((1.0, 5.0))
    histogram.load(HistogramCheckpoint(10.0, {1: 1, 3: 4}))
    assert histogram.bucket_weights == {1: 7.0, 3: 8.0}
    assert histogram.total_weight == 15.0
    assert histogram.bucket_range == (1, 3)


def test_a_checkpoint_of_nothing_loads_nothing():
    histogram = Histogram(TEN)
    histogram.load(HistogramCheckpoint(9.0, {}))
    histogram.load(HistogramCheckpoint(9.0, {3: 0}))
    assert histogram.total_weight == 0.0
    assert histogram.is_empty


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (None, "no checkpoint"),
        (HistogramCheckpoint(-1.0, {1: 1}), "total weight is -1.0"),
        (HistogramCheckpoint(math.nan, {1: 1}), "total weight is nan"),
        (HistogramCheckpoint(1.0, {1: 1, -1: 1}), "bucket -1"),
        (HistogramCheckpoint(1.0, {1: 1, 11: 1}), "bucket 11; they are 0 to 10"),
        (HistogramCheckpoint(1.0, {1: -1}), "weighs -1"),
    ],
)
def test_a_bad_checkpoint_is_refused_and_changes_nothing(checkpoint, message):
    for histogram in (filled((2.0, 1.0)), decaying((2.0, 1.0, START_S))):
        before = histogram.copy()
        with pytest.raises(InputError, match=message):
            histogram.load(checkpoint)
        assert histogram == before


@given(operations(12), st.sampled_from([0.5, 0.9, 1.0]))
def test_a_checkpoint_gives_nearly_the_same_percentiles(steps, fraction):
    original = DecayingHistogram(TEN, HOUR_S)
    for name, *sample in steps:
        getattr(original, name)(*sample)
    loaded = DecayingHistogram(TEN, HOUR_S)
    loaded.load(original.save())
    assert loaded.total_weight == pytest.approx(0.0 if original.is_empty else original.total_weight)
    # Rounding moves each of at most 11 buckets by half a ten-thousandth of the heaviest.
    below, above = original.percentile(fraction - 0.001), original.percentile(fraction + 0.001)
    assert below <= loaded.percentile(fraction) <= above or original.is_empty
    assert loaded.reference_s == original.reference_s

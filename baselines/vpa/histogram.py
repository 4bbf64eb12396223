"""Histograms of usage: weights in buckets, optionally with a half-life, and their checkpoints.

Upstream: ``recommender/util/histogram.go`` and ``decaying_histogram.go``. A percentile is the end of its
bucket, so it never lies below the sample; there is no interpolation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from podgym.baselines.vpa.buckets import Buckets
from podgym.errors import InputError

LARGEST_CHECKPOINT_WEIGHT = 10_000
"""Weight of the heaviest bucket in a checkpoint."""
ZERO_TIME_S = -62_135_596_800.0
"""Go's zero time, the beginning of the year 1, in Unix seconds. References are counted from it."""
MAX_DECAY_EXPONENT = 100
"""A reference more half-lives old than this is moved, so that no weight overflows."""

_WEIGHT_TOLERANCE = 1e-15  # absolute, as upstream's; beside the relative one for the last digits
_RELATIVE_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class HistogramCheckpoint:
    """A histogram as it is stored, with some loss: relative weights in whole numbers."""

    total_weight: float
    """Sum of all weights."""
    bucket_weights: Mapping[int, int] = field(default_factory=dict)
    """Weight per bucket, relative to ``LARGEST_CHECKPOINT_WEIGHT``."""
    reference_s: float = ZERO_TIME_S
    """Reference of the decay, Unix seconds; of no meaning to a histogram without decay."""


class Histogram:
    """Weights of samples by bucket. Times are ignored."""

    __slots__ = ("_first", "_last", "_total", "_weights", "buckets")

    def __init__(self, buckets: Buckets) -> None:
        """Begin empty.

        Args:
            buckets: the partition of the values.
        """
        self.buckets = buckets
        self._weights = [0.0] * buckets.num_buckets  # (num_buckets,)
        self._total = 0.0
        self._first = buckets.num_buckets - 1  # occupied range; crossed when there is nothing
        self._last = 0

    @property
    def total_weight(self) -> float:
        """Sum of all weights, those of nearly empty buckets included."""
        return self._total

    @property
    def is_empty(self) -> bool:
        """Whether no bucket holds a weight worth counting."""
        return self._weights[self._first] < self.buckets.epsilon

    @property
    def bucket_weights(self) -> dict[int, float]:
        """Weight of each bucket that has one."""
        return {bucket: weight for bucket, weight in enumerate(self._weights) if weight != 0.0}

    @property
    def bucket_range(self) -> tuple[int, int]:
        """First and last occupied bucket; of an empty histogram the last and the first there are."""
        return self._first, self._last

    def add(self, value: float, weight: float, time_s: float = 0.0) -> None:
        """Add a sample.

        Args:
            value: in the unit of the buckets.
            weight: 0 or more.
            time_s: Unix seconds; matters to a decaying histogram only.

        Raises:
            InputError: the value is not a number, or the weight is negative.
        """
        self._add(value, _checked_weight(weight))

    def subtract(self, value: float, weight: float, time_s: float = 0.0) -> None:
        """Take away a sample that was added; a bucket never falls below 0.

        Args:
            value: in the unit of the buckets.
            weight: 0 or more.
            time_s: time of the sample, Unix seconds.

        Raises:
            InputError: the value is not a number, or the weight is negative.
        """
        self._subtract(value, _checked_weight(weight))

    def percentile(self, fraction: float) -> float:
        """Return the end of the bucket in which the running weight reaches a fraction of the total.

        The last bucket has no end and gives its start; an empty histogram gives 0. A fraction outside 0
        to 1 gives the first or the last occupied bucket.
        """
        if self.is_empty:
            return 0.0
        threshold = fraction * self._total
        running = 0.0
        bucket = self._first
        while bucket < self._last:
            running += self._weights[bucket]
            if running >= threshold:
                break
            bucket += 1
        return self.buckets.start(min(bucket + 1, self.buckets.num_buckets - 1))

    def merge(self, other: Self) -> None:
        """Add all samples of another histogram, which stays as it is.

        Raises:
            InputError: its buckets are others.
        """
        if self.buckets != other.buckets:
            raise InputError("histograms of different buckets cannot be merged.")
        for bucket in range(other._first, other._last + 1):
            self._weights[bucket] += other._weights[bucket]
        self._total += other._total
        self._first = min(self._first, other._first)
        self._last = max(self._last, other._last)

    def save(self) -> HistogramCheckpoint:
        """Return a checkpoint: the heaviest bucket weighs 10000, the lightest are dropped."""
        occupied = range(self._first, self._last + 1)
        heaviest = max((self._weights[bucket] for bucket in occupied), default=0.0)
        if heaviest <= 0.0:
            return HistogramCheckpoint(self._total)
        ratio = LARGEST_CHECKPOINT_WEIGHT / heaviest
        scaled = {bucket: _round_half_up(self._weights[bucket] * ratio) for bucket in occupied}
        return HistogramCheckpoint(
            self._total, {bucket: weight for bucket, weight in scaled.items() if weight > 0}
        )

    def load(self, checkpoint: HistogramCheckpoint | None) -> None:
        """Add what a checkpoint holds.

        Raises:
            InputError: there is no checkpoint, a weight is negative, or a bucket does not exist.
        """
        total, weights = _checked_checkpoint(checkpoint, self.buckets.num_buckets)
        amount = sum(weights.values())
        if amount == 0:
            return
        ratio = total / amount
        for bucket, weight in weights.items():
            self._weights[bucket] += weight * ratio
            self._first = min(self._first, bucket)
            self._last = max(self._last, bucket)
        self._total += total

    def copy(self) -> Self:
        """Return a histogram of its own with the same contents."""
        twin = object.__new__(type(self))
        Histogram.__init__(twin, self.buckets)
        twin._weights = self._weights.copy()
        twin._total, twin._first, twin._last = self._total, self._first, self._last
        return twin

    def __eq__(self, other: object) -> bool:
        """Whether buckets, occupied range and weights are the same, up to rounding."""
        if not isinstance(other, Histogram) or type(self) is not type(other):
            return NotImplemented
        return (
            self.buckets == other.buckets
            and self.bucket_range == other.bucket_range
            and all(
                math.isclose(mine, theirs, rel_tol=_RELATIVE_TOLERANCE, abs_tol=_WEIGHT_TOLERANCE)
                for mine, theirs in zip(
                    self._weights[self._first : self._last + 1],
                    other._weights[self._first : self._last + 1],
                    strict=True,
                )
            )
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(total_weight={self._total!r}, bucket_weights={self.bucket_weights!r})"

    def _add(self, value: float, weight: float) -> None:
        bucket = self.buckets.find(value)
        self._weights[bucket] += weight
        self._total += weight
        if self._weights[bucket] >= self.buckets.epsilon:
            self._first = min(self._first, bucket)
            self._last = max(self._last, bucket)

    def _subtract(self, value: float, weight: float) -> None:
        bucket = self.buckets.find(value)
        held = self._weights[bucket]
        taken = held if weight > held - self.buckets.epsilon else weight
        self._total -= taken
        self._weights[bucket] -= taken
        self._shrink()

    def _scale(self, factor: float) -> None:
        for bucket in range(self._first, self._last + 1):
            self._weights[bucket] *= factor
        self._total *= factor
        self._shrink()

    def _shrink(self) -> None:
        """Move both ends of the occupied range past buckets that hold next to nothing."""
        while self._first < len(self._weights) - 1 and self._weights[self._first] < self.buckets.epsilon:
            self._first += 1
        while self._last > 0 and self._weights[self._last] < self.buckets.epsilon:
            self._last -= 1


class DecayingHistogram(Histogram):
    """A histogram in which a sample weighs half as much as one that is younger by the half-life.

    Younger samples are entered with more weight, older ones stay as they are: only ratios matter.
    """

    __slots__ = ("half_life_s", "reference_s")

    def __init__(self, buckets: Buckets, half_life_s: float) -> None:
        """Begin empty, with Go's zero time as the reference.

        Args:
            buckets: the partition of the values.
            half_life_s: above 0.

        Raises:
            InputError: the half-life is not a positive number.
        """
        if not (math.isfinite(half_life_s) and half_life_s > 0.0):
            raise InputError(f"half_life_s is {half_life_s!r}; a finite number above 0 is needed.")
        super().__init__(buckets)
        self.half_life_s = half_life_s
        self.reference_s = ZERO_TIME_S

    def add(self, value: float, weight: float, time_s: float = 0.0) -> None:
        """Add a sample of a time, Unix seconds; see ``Histogram.add``."""
        self._add(value, _checked_weight(weight) * self._factor(time_s))

    def subtract(self, value: float, weight: float, time_s: float = 0.0) -> None:
        """Take away a sample of a time, Unix seconds; see ``Histogram.subtract``."""
        self._subtract(value, _checked_weight(weight) * self._factor(time_s))

    def merge(self, other: Self) -> None:
        """Add all samples of another histogram, after moving the older reference to the younger.

        Raises:
            InputError: its buckets or its half-life are others.
        """
        if self.half_life_s != other.half_life_s:
            raise InputError(
                f"histograms of half-lives {self.half_life_s!r} and {other.half_life_s!r} s cannot be merged."
            )
        if self.reference_s < other.reference_s:
            self._move_reference(other.reference_s)
        elif other.reference_s < self.reference_s:
            other = other.copy()
            other._move_reference(self.reference_s)
        super().merge(other)

    def save(self) -> HistogramCheckpoint:
        """Return a checkpoint with the reference of the decay."""
        plain = super().save()
        return HistogramCheckpoint(plain.total_weight, plain.bucket_weights, self.reference_s)

    def load(self, checkpoint: HistogramCheckpoint | None) -> None:
        """Add what a checkpoint holds and take its reference; see ``Histogram.load``."""
        super().load(checkpoint)
        if checkpoint is not None:
            self.reference_s = checkpoint.reference_s

    def copy(self) -> Self:
        """Return a histogram of its own with the same contents."""
        twin = super().copy()
        twin.half_life_s, twin.reference_s = self.half_life_s, self.reference_s
        return twin

    def __eq__(self, other: object) -> bool:
        """Whether half-life, reference, buckets, occupied range and weights are the same."""
        if not isinstance(other, DecayingHistogram):
            return NotImplemented
        same_clock = (self.half_life_s, self.reference_s) == (other.half_life_s, other.reference_s)
        return same_clock and super().__eq__(other)

    __hash__ = None  # it changes

    def _factor(self, time_s: float) -> float:
        if not math.isfinite(time_s):
            raise InputError(f"the time of a sample is {time_s!r}; a finite number of seconds is needed.")
        if time_s > self.reference_s + MAX_DECAY_EXPONENT * self.half_life_s:
            self._move_reference(time_s)
        return math.exp2((time_s - self.reference_s) / self.half_life_s)

    def _move_reference(self, time_s: float) -> None:
        """Move the reference to the multiple of the half-life nearest to a later time."""
        moved_s = nearest_reference_s(time_s, self.half_life_s)
        exponent = _round_half_up((self.reference_s - moved_s) / self.half_life_s)
        self._scale(math.ldexp(1.0, exponent))
        self.reference_s = moved_s


def nearest_reference_s(time_s: float, half_life_s: float) -> float:
    """Round a time to a multiple of the half-life since Go's zero time, halves up; Unix seconds."""
    return ZERO_TIME_S + _round_half_up((time_s - ZERO_TIME_S) / half_life_s) * half_life_s


def _round_half_up(number: float) -> int:
    return math.floor(number + 0.5)


def _checked_weight(weight: float) -> float:
    if not (math.isfinite(weight) and weight >= 0.0):
        raise InputError(f"the weight of a sample is {weight!r}; a finite number of 0 or more is needed.")
    return weight


def _checked_checkpoint(
    checkpoint: HistogramCheckpoint | None, num_buckets: int
) -> tuple[float, Mapping[int, int]]:
    if checkpoint is None:
        raise InputError("there is no checkpoint to load a histogram from.")
    total = checkpoint.total_weight
    if not (math.isfinite(total) and total >= 0.0):
        raise InputError(f"the checkpoint's total weight is {total!r}; a number of 0 or more is needed.")
    for bucket, weight in checkpoint.bucket_weights.items():
        if not 0 <= bucket < num_buckets:
            raise InputError(f"the checkpoint has a bucket {bucket!r}; they are 0 to {num_buckets - 1}.")
        if weight < 0:
            raise InputError(f"the checkpoint's bucket {bucket} weighs {weight!r}; 0 or more is needed.")
    return total, checkpoint.bucket_weights

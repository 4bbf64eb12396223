"""Where the buckets of a histogram begin, and into which of them a value falls.

Upstream: ``recommender/util/histogram_options.go``. The last bucket has no end: it holds everything above.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

from podgym.baselines.vpa.checks import require_positive
from podgym.errors import InputError


class Buckets(Protocol):
    """A partition of the values from 0 upwards."""

    @property
    def num_buckets(self) -> int:
        """Number of buckets."""
        ...

    @property
    def epsilon(self) -> float:
        """Weight below which a bucket counts as empty."""
        ...

    def find(self, value: float) -> int:
        """Return the bucket of a value; one outside the range falls into the first or the last."""
        ...

    def start(self, bucket: int) -> float:
        """Return the smallest value of a bucket."""
        ...


@dataclass(frozen=True, slots=True)
class LinearBuckets:
    """Buckets of equal size; the last begins at ``max_value`` or above."""

    max_value: float
    """In the unit of the values."""
    bucket_size: float
    """In the unit of the values."""
    epsilon: float
    """Weight below which a bucket counts as empty."""
    num_buckets: int = field(init=False)

    def __post_init__(self) -> None:
        require_positive(self, "max_value", "bucket_size", "epsilon")
        object.__setattr__(self, "num_buckets", math.ceil(self.max_value / self.bucket_size) + 1)

    def find(self, value: float) -> int:
        """Return the bucket of a value.

        Raises:
            InputError: the value is not a number.
        """
        return _clamped(_number(value) / self.bucket_size, self.num_buckets)

    def start(self, bucket: int) -> float:
        """Return the smallest value of a bucket.

        Raises:
            InputError: there is no such bucket.
        """
        return _existing(bucket, self.num_buckets) * self.bucket_size


@dataclass(frozen=True, slots=True)
class ExponentialBuckets:
    """Buckets that grow by a constant ratio; the last begins at ``max_value`` or above."""

    max_value: float
    """In the unit of the values."""
    first_bucket_size: float
    """In the unit of the values."""
    ratio: float
    """Size of a bucket over the size of the one before; above 1."""
    epsilon: float
    """Weight below which a bucket counts as empty."""
    num_buckets: int = field(init=False)

    def __post_init__(self) -> None:
        require_positive(self, "max_value", "first_bucket_size", "epsilon")
        if not (math.isfinite(self.ratio) and self.ratio > 1.0):
            raise InputError(f"ratio of the buckets is {self.ratio!r}; a finite number above 1 is needed.")
        object.__setattr__(self, "num_buckets", math.ceil(self._position(self.max_value)) + 1)

    def find(self, value: float) -> int:
        """Return the bucket of a value; one on a boundary can fall below it, through rounding.

        Raises:
            InputError: the value is not a number.
        """
        if _number(value) < self.first_bucket_size:
            return 0
        return _clamped(self._position(value), self.num_buckets)

    def start(self, bucket: int) -> float:
        """Return the smallest value of a bucket.

        Raises:
            InputError: there is no such bucket.
        """
        if _existing(bucket, self.num_buckets) == 0:
            return 0.0
        return self.first_bucket_size * (math.pow(self.ratio, bucket) - 1.0) / (self.ratio - 1.0)

    def _position(self, value: float) -> float:
        """Return the bucket of a value with its fraction, in upstream's order of operations."""
        return math.log(value * (self.ratio - 1.0) / self.first_bucket_size + 1.0) / math.log(self.ratio)


def _number(value: float) -> float:
    if math.isnan(value):
        raise InputError("a value for a histogram is nan; a number is needed.")
    return value


def _clamped(position: float, num_buckets: int) -> int:
    if position >= num_buckets:  # before truncation: the position may be infinite
        return num_buckets - 1
    return int(max(position, 0.0))


def _existing(bucket: int, num_buckets: int) -> int:
    if not 0 <= bucket < num_buckets:
        raise InputError(f"there is no bucket {bucket!r}; the buckets are 0 to {num_buckets - 1}.")
    return bucket


EPSILON = 1e-4
"""A thousandth of the weight of one CPU sample."""
CPU_BUCKETS = ExponentialBuckets(1000.0, 0.01, 1.05, EPSILON)
"""Cores: the first bucket ends at 0.01 cores, the last begins above 1000."""
MEMORY_BUCKETS = ExponentialBuckets(1e12, 1e7, 1.05, EPSILON)
"""Bytes: the first bucket ends at 1e7 bytes, the last begins above 1e12."""

"""A response-time histogram as Prometheus keeps it, and what can be read off it.

Within a bucket the observations are taken to lie evenly between its bounds, as ``histogram_quantile`` takes
them; the first bucket begins at 0. Source: https://prometheus.io/docs/prometheus/latest/querying/functions/
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative buckets with ascending bounds; the counts may be rates, only their proportions matter."""

    upper_bounds: tuple[float, ...]
    """Upper bounds, ascending (s for response times); the last is infinite."""
    cumulative: tuple[float, ...]
    """Observations at or below each bound, never falling; the last is the number of all."""

    @classmethod
    def of(cls, buckets: Iterable[tuple[float, float]]) -> "Histogram":
        """Return the histogram of (upper bound, cumulative count) pairs in any order.

        Equal bounds are added up (one exporter writes ``le="1"`` and another ``le="1.0"``). Counts that fall
        from one bound to the next, as they do when pods have different bounds, are lifted to the former one.

        Raises:
            ValueError: fewer than two different bounds, no infinite one, or a count that is not finite and 0
                or more.
        """
        counts: dict[float, float] = {}
        for bound, count in buckets:
            if math.isnan(bound) or not math.isfinite(count) or count < 0.0:
                raise ValueError(f"the bucket le={bound:g} holds {count:g}")
            counts[bound] = counts.get(bound, 0.0) + count
        bounds = tuple(sorted(counts))
        if not bounds or bounds[-1] != math.inf:
            raise ValueError('the bucket le="+Inf" is missing')
        if len(bounds) < 2:
            raise ValueError('there is no bucket but le="+Inf"')
        cumulative = []
        highest = 0.0
        for bound in bounds:
            highest = max(highest, counts[bound])
            cumulative.append(highest)
        return cls(bounds, tuple(cumulative))

    @property
    def total(self) -> float:
        """Number of all observations."""
        return self.cumulative[-1]

    def quantile(self, level: float) -> float:
        """Return the quantile exactly as ``histogram_quantile`` does.

        A quantile in the infinite bucket is the highest finite bound, which is then too low.

        Args:
            level: 0 to 1; outside it the answer is an infinity of its sign.

        Returns:
            In the unit of the bounds; nan where there is no observation.
        """
        if not 0.0 <= level <= 1.0:
            return math.nan if math.isnan(level) else math.copysign(math.inf, level)
        if self.total == 0.0:
            return math.nan
        rank = level * self.total
        finite = len(self.upper_bounds) - 1
        index = next((i for i in range(finite) if self.cumulative[i] >= rank), finite)
        if index == finite:
            return self.upper_bounds[finite - 1]
        upper = self.upper_bounds[index]
        if index == 0 and upper <= 0.0:
            return upper
        lower, below = (self.upper_bounds[index - 1], self.cumulative[index - 1]) if index else (0.0, 0.0)
        inside = self.cumulative[index] - below
        return lower + (upper - lower) * ((rank - below) / inside) if inside else math.nan

    def share_above(self, limit: float) -> float:
        """Return the share of the observations above a limit, 0 to 1.

        Returns:
            nan where there is no observation, and where the limit lies above the highest finite bound while
            the infinite bucket holds some: on which side of the limit those are is not known.
        """
        if self.total == 0.0 or math.isnan(limit):
            return math.nan
        if limit > self.upper_bounds[-2]:
            return 0.0 if self.cumulative[-2] == self.total else math.nan
        below = 0.0
        for lower, upper, count in self._finite_buckets():
            if limit >= upper:
                below += count
            elif limit > lower:
                below += count * (limit - lower) / (upper - lower)
        return min(max(1.0 - below / self.total, 0.0), 1.0)

    def std(self) -> float:
        """Return the standard deviation, in the unit of the bounds; nan where there is no observation.

        What lies in the infinite bucket counts as the highest finite bound, so it is then too low.
        """
        if self.total == 0.0:
            return math.nan
        overflow = self.total - self.cumulative[-2]
        buckets = [*self._finite_buckets(), (self.upper_bounds[-2], self.upper_bounds[-2], overflow)]
        mean = sum(count * (lower + upper) / 2.0 for lower, upper, count in buckets) / self.total
        # The variance about the mean, bucket by bucket: nothing cancels, as it would in E[x^2] - E[x]^2.
        variance = sum(
            count * (((lower + upper) / 2.0 - mean) ** 2 + (upper - lower) ** 2 / 12.0)
            for lower, upper, count in buckets
        )
        return math.sqrt(variance / self.total)

    def _finite_buckets(self) -> list[tuple[float, float, float]]:
        """(lower bound, upper bound, observations) of every bucket but the infinite one."""
        first = self.upper_bounds[0]
        buckets = [(min(0.0, first), first, self.cumulative[0])]
        edges = zip(pairwise(self.upper_bounds[:-1]), pairwise(self.cumulative[:-1]), strict=True)
        return buckets + [(lower, upper, after - before) for (lower, upper), (before, after) in edges]

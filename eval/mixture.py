"""Percentiles over a whole episode: of the mixture of the response time laws of its intervals.

An average of percentiles is not a percentile. The requests of an episode follow the mixture of the laws of
its intervals, weighted by the requests completed in each; its tail is the weighted mean of their tails,
and a percentile is where that tail crosses one minus the share.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SMALLEST_VARIATION = 0.02
_DOUBLINGS = 200
_BISECTIONS = 60


class Laws(NamedTuple):
    """Response time laws of n intervals, arrays (n,), as ``podgym.envs.simulator.sojourn.SojournLaw``."""

    shift_s: Floats
    service_mean_s: Floats
    service_cv: Floats
    wait_probability: Floats
    wait_mean_s: Floats
    wait_std_s: Floats

    def means_s(self) -> Floats:
        """Mean of each law, (n,) s."""
        return self.shift_s + self.service_mean_s + self.wait_probability * self.wait_mean_s

    def where(self, chosen: NDArray[np.bool_]) -> "Laws":
        """Return the chosen laws."""
        return Laws(*(values[chosen] for values in self))


LAW_COLUMNS = (
    "service_shift_s", "service_mean_s", "service_cv", "wait_probability", "wait_mean_s", "wait_std_s",
)  # fmt: skip
"""Columns of the interval report that hold the fields of ``Laws``, in order."""


def _sum_tails(time_s: Floats, first_s: Floats, second_s: Floats) -> Floats:
    """P(E1 + E2 > time) for exponentials of the two means; 1 before 0."""
    time_s = np.maximum(time_s, 0.0)
    larger, smaller = np.maximum(first_s, second_s), np.minimum(first_s, second_s)
    scaled = np.exp(-time_s / larger)
    equal = larger - smaller < 1e-6 * larger
    negligible = smaller < 1e-9 * larger
    quick = np.exp(-time_s / np.where(negligible, larger, smaller))
    gap = np.where(equal, 1.0, larger - smaller)
    distinct = (larger * scaled - smaller * quick) / gap
    tails = np.where(equal, (1.0 + time_s / larger) * scaled, np.where(negligible, scaled, distinct))
    return np.asarray(tails, dtype=np.float64)


def _branch_tails(time_s: Floats, service_s: Floats, laws: Laws) -> Floats:
    """Tails of X + W for exponential X of means ``service_s``."""
    alone = np.exp(-np.maximum(time_s, 0.0) / service_s)
    waits = (laws.wait_probability > 0.0) & (laws.wait_mean_s > 0.0)
    mean_s = np.where(waits, laws.wait_mean_s, 1.0)
    spread_s = np.clip(np.where(waits, laws.wait_std_s, 1.0), _SMALLEST_VARIATION * mean_s, mean_s)
    waited = _sum_tails(time_s - (mean_s - spread_s), service_s, spread_s)
    return alone + np.where(waits, laws.wait_probability, 0.0) * (waited - alone)


def tails(time_s: float, laws: Laws) -> Floats:
    """Return P(T > time_s) under each law, (n,); ``sojourn.tail`` for many laws at once."""
    mean_s = laws.service_mean_s
    served = mean_s > 0.0
    variation = np.clip(np.where(served, laws.service_cv, 1.0), _SMALLEST_VARIATION, 1.0)
    constant_s = np.where(served, mean_s * (1.0 - variation), 0.0)
    time = time_s - laws.shift_s - constant_s
    exponential_s = np.where(served, mean_s * variation, 1e-12)
    varied = served & (laws.service_cv > 1.0)
    if not varied.any():
        return _branch_tails(time, exponential_s, laws)
    squared = np.where(varied, laws.service_cv, 1.0) ** 2
    first = 0.5 * (1.0 + np.sqrt((squared - 1.0) / (squared + 1.0)))
    share = np.where(varied, first, 1.0)
    quick = _branch_tails(time, np.where(varied, 0.5 * mean_s / first, exponential_s), laws)
    slow = _branch_tails(
        time, np.where(varied, 0.5 * mean_s / np.maximum(1.0 - first, 1e-12), exponential_s), laws
    )
    return np.asarray(share * quick + (1.0 - share) * slow, dtype=np.float64)


def mixture_mean_s(laws: Laws, weights: Floats) -> float:
    """Return the mean of the mixture; nan without any weight.

    Args:
        laws: n laws.
        weights: (n,) requests that follow each.
    """
    counted = weights > 0.0
    if not counted.any():
        return float("nan")
    return float(np.average(laws.where(counted).means_s(), weights=weights[counted]))


def mixture_quantile_s(probability: float, laws: Laws, weights: Floats) -> float:
    """Return t with P(T > t) = 1 - probability under the mixture, to a relative 1e-9.

    Args:
        probability: share of the requests that are at most that slow, above 0 and below 1.
        laws: n laws.
        weights: (n,) requests that follow each.

    Returns:
        The quantile in seconds; nan without any weight.
    """
    counted = weights > 0.0
    if not counted.any():
        return float("nan")
    laws, weights = laws.where(counted), weights[counted] / weights[counted].sum()
    goal = 1.0 - probability
    low, high = 0.0, float(laws.means_s().max()) + 1e-9
    for _ in range(_DOUBLINGS):
        if float(weights @ tails(high, laws)) <= goal:
            break
        low, high = high, 2.0 * high
    for _ in range(_BISECTIONS):
        if high - low <= 1e-10 * high:
            break
        middle = 0.5 * (low + high)
        if float(weights @ tails(middle, laws)) > goal:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)

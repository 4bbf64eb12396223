"""The law of the response time of the requests completed in an interval, and its tail and quantiles.

``T = shift + X + W``: a constant (base latency), the time in service X, and the wait W, which is zero
with probability ``1 - wait_probability`` and otherwise a shifted exponential with the given mean and
standard deviation. X is a shifted exponential for a coefficient of variation up to 1 and a two-phase
hyperexponential with balanced means above. With variation 1 and standard deviation = mean this is the
exact law of M/M/c; with a small standard deviation it is the nearly equal wait of an overloaded queue.
"""

import math
from typing import NamedTuple

from podgym.envs.simulator.compile import kernel

_SMALLEST_VARIATION = 0.02
_NEARLY = 1e-6
_NEVER_WAITS = 1e-12
_PRECISION = 2e-3  # relative, of the tail before a last Newton step, which leaves about its square
_FAR = 1e12
_QUANTILE_ITERATIONS = 100


class SojournLaw(NamedTuple):
    """Parameters of the response time of one interval; times in seconds."""

    shift_s: float
    """Constant part."""
    service_mean_s: float
    """Mean of the time in service."""
    service_cv: float
    """Its coefficient of variation."""
    wait_probability: float
    """Share of the requests that waited."""
    wait_mean_s: float
    """Mean wait of those that waited."""
    wait_std_s: float
    """Standard deviation of the wait of those that waited, at most the mean."""


@kernel
def _sum_tail(time: float, first: float, second: float) -> tuple[float, float]:
    """Tail and density at ``time`` of E1 + E2 for exponentials of the two means; 1 and 0 before 0."""
    if time <= 0.0:
        return 1.0, 0.0
    larger = max(first, second)
    smaller = min(first, second)
    slow = math.exp(-time / larger)
    if smaller < 1e-6 * larger:
        return slow, slow / larger
    if larger - smaller < 1e-6 * larger:
        ratio = time / larger
        return (1.0 + ratio) * slow, ratio / larger * slow
    quick = math.exp(-time / smaller)
    scale = 1.0 / (larger - smaller)
    return (larger * slow - smaller * quick) * scale, (slow - quick) * scale


@kernel
def _branch(time: float, service: float, law: SojournLaw) -> tuple[float, float]:
    """Tail and density of X + W for an exponential X of mean ``service``."""
    alone = 1.0
    density = 0.0
    if time > 0.0:
        alone = math.exp(-time / service)
        density = alone / service
    if law.wait_probability < _NEVER_WAITS or law.wait_mean_s <= 0.0:
        return alone, density
    spread = min(max(law.wait_std_s, _SMALLEST_VARIATION * law.wait_mean_s), law.wait_mean_s)
    waited, waited_density = _sum_tail(time - (law.wait_mean_s - spread), service, spread)
    return (
        alone + law.wait_probability * (waited - alone),
        density + law.wait_probability * (waited_density - density),
    )


@kernel
def tail_and_density(time_s: float, law: SojournLaw) -> tuple[float, float]:
    """Return P(T > time_s) and the density of T there."""
    mean = law.service_mean_s
    if mean <= 0.0:
        return _branch(time_s - law.shift_s, 1e-12, law)
    if law.service_cv <= 1.0 + _NEARLY:
        variation = min(max(law.service_cv, _SMALLEST_VARIATION), 1.0)
        return _branch(time_s - law.shift_s - mean * (1.0 - variation), mean * variation, law)
    squared = law.service_cv * law.service_cv
    first = 0.5 * (1.0 + math.sqrt((squared - 1.0) / (squared + 1.0)))
    time = time_s - law.shift_s
    quick, quick_density = _branch(time, 0.5 * mean / first, law)
    slow, slow_density = _branch(time, 0.5 * mean / (1.0 - first), law)
    return (
        first * quick + (1.0 - first) * slow,
        first * quick_density + (1.0 - first) * slow_density,
    )


@kernel
def tail(time_s: float, law: SojournLaw) -> float:
    """Return P(T > time_s)."""
    return tail_and_density(time_s, law)[0]


@kernel
def quantile(probability: float, law: SojournLaw, guess_s: float) -> float:
    """Return t with P(T > t) = 1 - probability, with a tail right to a relative 1e-3.

    Newton's steps on the logarithm of the tail, which is nearly straight, so that a few suffice; a step
    that leaves the bracket around the root is replaced by bisection.

    Args:
        probability: between 0 and 1.
        law: the law.
        guess_s: where to begin; any number above the law's shift will do.
    """
    target = 1.0 - probability
    low = law.shift_s
    high = _FAR
    time = max(guess_s, law.shift_s)
    for _ in range(_QUANTILE_ITERATIONS):
        value, density = tail_and_density(time, law)
        if value > target:
            low = time
        else:
            high = time
        step = 0.0
        if density > 0.0:
            error = math.log(value / target)
            step = error * value / density
            if abs(error) <= _PRECISION:
                return time + step
        following = time + step
        if step == 0.0 or following <= low or following >= high:
            following = 0.5 * (low + high) if high < _FAR else 2.0 * time + law.wait_mean_s + 1e-9
        if high - low <= 1e-12 * high:
            return time
        time = following
    return time

"""Generated workloads: five families of request rates over a documented grid.

A family has a shape; the grid says between which bounds the parameters of one episode are drawn. With the
default grid the long-run mean over all episodes is ``mean_rate_rps`` for every family, so that families are
comparable. Arrival noise is not in here: the simulator adds it.

| family | relative rate | step |
|---|---|---|
| constant | 1 | 15 s |
| diurnal | 1 + amplitude * sin(2 pi t / period), random phase | 15 s |
| variable | log-normal levels of relative deviation ``amplitude``, one per ``change_interval_s`` | 15 s |
| burst | 1, and ``burst_height`` during rectangular bursts that start at random (Poisson) | 5 s |
| flash | 1, and one flash crowd per ``flash_spacing_s``: linear rise, exponential decay | 5 s |

15 s is the default control interval, and nothing in the first three families is faster. Bursts begin within
one step and flash crowds rise in as little as 10 s: at 15 s both would be smeared over a control interval.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads.profile import LoadKind, LoadProfile, require_number, sample_count
from podgym.errors import InputError, unknown_name

Part = Literal["train", "dev", "test"]
"""Episodes of different parts never coincide."""

Range = tuple[float, float]
"""Lowest and highest value that an episode can draw."""

_NOISE_INTERVAL_S = 60.0
_FLASH_DECAYS = 12.0  # a crowd is followed until it is e^-12 of its peak


@dataclass(frozen=True, slots=True)
class FamilyGrid:
    """Bounds between which the parameters of an episode are drawn, uniformly.

    All bounds are ours, chosen to span what the public request traces show: they are not from the paper.
    Equal bounds fix a parameter.

    Raises:
        InputError: bounds that are not two ascending numbers of the allowed range.
    """

    level: Range = (0.5, 1.5)
    """Mean rate of an episode relative to ``mean_rate_rps``: level_rps = level * mean_rate_rps."""
    noise: Range = (0.0, 0.1)
    """Relative deviation of a slow wobble: independent every minute, linear in between."""
    amplitude: Range = (0.2, 0.8)
    """Diurnal: relative height of the wave, at most 1. Variable: relative deviation of the levels."""
    period_s: Range = (1800.0, 14_400.0)
    """Diurnal: length of the (compressed) day, seconds."""
    change_interval_s: Range = (120.0, 900.0)
    """Variable: seconds between two levels, which are joined by straight lines."""
    burst_height: Range = (2.0, 5.0)
    """Burst: rate during a burst relative to the rate between bursts."""
    burst_length_s: Range = (30.0, 300.0)
    """Burst: length of one burst, seconds."""
    burst_rate_per_hour: Range = (2.0, 8.0)
    """Burst: mean number of bursts that start in an hour; an episode may have none."""
    flash_height: Range = (3.0, 10.0)
    """Flash: peak relative to the rate between flash crowds."""
    flash_rise_s: Range = (10.0, 60.0)
    """Flash: seconds from the onset to the peak."""
    flash_decay_s: Range = (60.0, 300.0)
    """Flash: time constant of the decay, seconds."""
    flash_spacing_s: float = 3600.0
    """Flash: each stretch of this length has one flash crowd, at a random place; seconds, at least 12 of the
    longest decay, so that no more than two crowds meet."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            if entry.name != "flash_spacing_s":
                self._check_range(entry.name)
        if self.amplitude[1] > 1.0:
            raise InputError(f"grid.amplitude is {self.amplitude!r}; it must not exceed 1.")
        for name in ("burst_height", "flash_height"):
            if getattr(self, name)[0] < 1.0:
                raise InputError(f"grid.{name} is {getattr(self, name)!r}; it must be at least 1.")
        require_number(
            "grid.flash_spacing_s", self.flash_spacing_s, low=_FLASH_DECAYS * self.flash_decay_s[1]
        )

    def _check_range(self, name: str) -> None:
        bounds = getattr(self, name)
        if not isinstance(bounds, tuple | list) or len(bounds) != 2:
            raise InputError(f"grid.{name} is {bounds!r}; it must be two numbers: lowest and highest.")
        zero_allowed = name in ("noise", "amplitude")
        for bound in bounds:
            require_number(f"grid.{name}", bound, **({"low": 0.0} if zero_allowed else {"above": 0.0}))
        if bounds[0] > bounds[1]:
            raise InputError(f"grid.{name} is {bounds!r}; the lowest value comes first.")


def _draw(rng: np.random.Generator, bounds: Range) -> float:
    low, high = bounds
    return low + (high - low) * rng.random()


def _knots(rng: np.random.Generator, times_s: NDArray[np.float64], interval_s: float) -> NDArray[np.float64]:
    """Return (n,) standard normal draws every ``interval_s`` seconds, joined by straight lines."""
    count = int(times_s[-1] / interval_s) + 3
    draws = rng.standard_normal(count)  # (count,)
    first = rng.random()  # random phase, so that no knot is tied to the start of the episode
    return np.interp(times_s / interval_s + first, np.arange(count), draws)


# A shape takes (generator, times in s (n,), grid) and returns the rate relative to its long-run mean (n,).
_Shape = Callable[[np.random.Generator, NDArray[np.float64], FamilyGrid], NDArray[np.float64]]


def _constant(
    rng: np.random.Generator, times_s: NDArray[np.float64], grid: FamilyGrid
) -> NDArray[np.float64]:
    return np.ones_like(times_s)


def _diurnal(rng: np.random.Generator, times_s: NDArray[np.float64], grid: FamilyGrid) -> NDArray[np.float64]:
    amplitude, period_s, phase = _draw(rng, grid.amplitude), _draw(rng, grid.period_s), rng.random()
    return 1.0 + amplitude * np.sin(2.0 * np.pi * (times_s / period_s + phase))


def _variable(
    rng: np.random.Generator, times_s: NDArray[np.float64], grid: FamilyGrid
) -> NDArray[np.float64]:
    amplitude, interval_s = _draw(rng, grid.amplitude), _draw(rng, grid.change_interval_s)
    variance = math.log1p(amplitude**2)
    count = int(times_s[-1] / interval_s) + 3
    # The levels, not their logarithms, are joined by lines: then the mean is 1 everywhere.
    levels = np.exp(math.sqrt(variance) * rng.standard_normal(count) - 0.5 * variance)  # (count,)
    return np.interp(times_s / interval_s + rng.random(), np.arange(count), levels)


def _first_sample_from(moment_s: float, step_s: float) -> int:
    """Return the index of the first sample that is not before a moment."""
    return max(0, math.ceil(moment_s / step_s))


def _burst(rng: np.random.Generator, times_s: NDArray[np.float64], grid: FamilyGrid) -> NDArray[np.float64]:
    height, length_s = _draw(rng, grid.burst_height), _draw(rng, grid.burst_length_s)
    rate_per_s = _draw(rng, grid.burst_rate_per_hour) / 3600.0
    end_s = float(times_s[-1])
    # Bursts that started before the episode count too: the first second is like any other.
    starts_s = rng.uniform(-length_s, end_s, rng.poisson(rate_per_s * (end_s + length_s)))  # (bursts,) s
    step_s = float(times_s[1])
    relative = np.ones_like(times_s)  # (n,)
    for start_s in starts_s.tolist():  # bursts that overlap do not add up
        first, stop = (_first_sample_from(at_s, step_s) for at_s in (start_s, start_s + length_s))
        relative[first:stop] = height
    # Share of time in a burst, overlaps counted once: the busy share of an M/D/infinity queue.
    share = -math.expm1(-rate_per_s * length_s)
    return relative / (1.0 + (height - 1.0) * share)


def _flash(rng: np.random.Generator, times_s: NDArray[np.float64], grid: FamilyGrid) -> NDArray[np.float64]:
    height, rise_s = _draw(rng, grid.flash_height), _draw(rng, grid.flash_rise_s)
    decay_s, spacing_s = _draw(rng, grid.flash_decay_s), grid.flash_spacing_s
    # One onset in each stretch, starting with the stretch before the episode, whose crowd may still be there.
    stretches = int(times_s[-1] / spacing_s) + 2
    onsets_s = (np.arange(-1.0, stretches - 1.0) + rng.random(stretches)) * spacing_s  # (stretches,) s
    step_s = float(times_s[1])
    crowd = np.zeros_like(times_s)  # (n,) 0..1, how full the flash crowd is
    for onset_s in onsets_s.tolist():
        peak_s = onset_s + rise_s
        onset, peak = _first_sample_from(onset_s, step_s), _first_sample_from(peak_s, step_s)
        stop = _first_sample_from(peak_s + _FLASH_DECAYS * decay_s, step_s)
        crowd[onset:peak] += (times_s[onset:peak] - onset_s) / rise_s
        crowd[peak:stop] += np.exp((peak_s - times_s[peak:stop]) / decay_s)
    mean_crowd = (0.5 * rise_s + decay_s) / spacing_s
    return (1.0 + (height - 1.0) * crowd) / (1.0 + (height - 1.0) * mean_crowd)


_SHAPES: dict[str, tuple[_Shape, float]] = {  # family -> shape, sample step in s
    "constant": (_constant, 15.0),
    "diurnal": (_diurnal, 15.0),
    "variable": (_variable, 15.0),
    "burst": (_burst, 5.0),
    "flash": (_flash, 5.0),
}

FAMILIES = tuple(_SHAPES)
"""Names of the generated families."""

_PART_KEYS = {"train": 1, "dev": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class GeneratedWorkload:
    """Request rates of one family; each episode draws its parameters from the grid.

    The three parts draw from the same grid but from disjoint random streams: the key of the counter-based
    generator (Philox) that makes an episode holds the part, so equal seeds in two parts are two episodes.

    Raises:
        InputError: an unknown family or part, or a mean rate that is not positive.
    """

    family: str
    """One of ``FAMILIES``."""
    mean_rate_rps: float
    """Mean over all episodes, requests/s (times the middle of ``grid.level``, which is 1 by default)."""
    part: Part = "train"
    """Which random streams: train, dev or test."""
    grid: FamilyGrid = field(default_factory=FamilyGrid)
    """Bounds of the parameters of an episode."""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise unknown_name("family of workloads", self.family, FAMILIES)
        if self.part not in _PART_KEYS:
            raise unknown_name("part of a workload", self.part, _PART_KEYS)
        require_number("mean_rate_rps", self.mean_rate_rps, above=0.0)
        if not isinstance(self.grid, FamilyGrid):
            raise InputError(f"grid is {self.grid!r}; it must be a FamilyGrid.")

    @property
    def name(self) -> str:
        """The name under which ``make_workload`` makes it."""
        return f"family:{self.family}"

    @property
    def kind(self) -> LoadKind:
        """The load is a request rate."""
        return "open"

    @property
    def step_s(self) -> float:
        """Seconds between two samples: 15, and 5 for burst and flash."""
        return _SHAPES[self.family][1]

    @property
    def max_duration_s(self) -> float:
        """An episode can be as long as wanted."""
        return math.inf

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the request rate of one episode; takes one 64-bit draw from ``rng``."""
        shape, step_s = _SHAPES[self.family]
        count = sample_count(duration_s, step_s, max_duration_s=math.inf, name=self.name)
        key = np.array((_PART_KEYS[self.part], rng.integers(2**64, dtype=np.uint64)), dtype=np.uint64)
        episode_rng = np.random.Generator(np.random.Philox(key=key))
        times_s = np.arange(count, dtype=np.float64) * step_s  # (n,) s
        level_rps = self.mean_rate_rps * _draw(episode_rng, self.grid.level)
        noise = _draw(episode_rng, self.grid.noise)
        wobble = 1.0 + noise * _knots(episode_rng, times_s, _NOISE_INTERVAL_S)  # (n,)
        rate_rps = level_rps * shape(episode_rng, times_s, self.grid) * np.maximum(wobble, 0.0)
        label = f"{self.name} {self.part}, level {level_rps:.4g} requests/s"
        return LoadProfile(rate_rps, step_s, "open", 0.0, label)

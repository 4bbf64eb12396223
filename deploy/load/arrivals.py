"""The load over time, and the moments at which its requests arrive. Nothing here sends anything."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RateProfile:
    """A request rate over time, linear between its points.

    Raises:
        ValueError: fewer than two points, times that do not ascend from 0, or a rate that is negative or not
            finite.
    """

    times_s: Array
    """(n,) s, ascending, the first 0."""
    rates_rps: Array
    """(n,) requests/s."""
    label: str
    """What it is, in words."""

    def __post_init__(self) -> None:
        times_s, rates_rps = self.times_s, self.rates_rps
        if times_s.ndim != 1 or times_s.shape != rates_rps.shape or len(times_s) < 2:
            raise ValueError(f"{self.label}: a load needs two or more points, each with time_s and rate_rps.")
        if not np.isfinite(times_s).all() or times_s[0] != 0.0 or not (np.diff(times_s) > 0.0).all():
            raise ValueError(f"{self.label}: time_s must begin at 0 and ascend.")
        if not (np.isfinite(rates_rps) & (rates_rps >= 0.0)).all():
            raise ValueError(f"{self.label}: every rate_rps must be a number of 0 or more.")

    @property
    def duration_s(self) -> float:
        """Length, seconds."""
        return float(self.times_s[-1])

    def cumulative(self) -> Array:
        """Return (n,) requests expected up to each point."""
        pieces = np.diff(self.times_s) * 0.5 * (self.rates_rps[1:] + self.rates_rps[:-1])
        return np.concatenate([[0.0], np.cumsum(pieces)])

    def cut(self, duration_s: float) -> "RateProfile":
        """Return the first ``duration_s`` seconds; the whole, if it is shorter."""
        if duration_s >= self.duration_s:
            return self
        inside = self.times_s < duration_s
        times_s = np.append(self.times_s[inside], duration_s)
        return RateProfile(times_s, np.interp(times_s, self.times_s, self.rates_rps), self.label)

    def scaled(self, factor: float) -> "RateProfile":
        """Return the same course with all rates multiplied."""
        return self if factor == 1.0 else RateProfile(
            self.times_s, self.rates_rps * factor, f"{self.label}, x{factor:g}"
        )  # fmt: skip


def read_profile(path: Path) -> RateProfile:
    """Read a CSV file with the columns ``time_s`` and ``rate_rps``; others are ignored.

    Times are counted from the first one.

    Raises:
        ValueError: no such file or columns, or values that are no load.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"time_s", "rate_rps"} - set(reader.fieldnames or ())
        if missing:
            found = ", ".join(reader.fieldnames or ())
            raise ValueError(f"{path} has no column {' and '.join(sorted(missing))}; it has {found}.")
        rows = [(_number(path, row, "time_s"), _number(path, row, "rate_rps")) for row in reader]
    points = np.array(rows, dtype=np.float64).reshape(-1, 2)  # (n, 2) s, requests/s
    times_s = points[:, 0] - points[0, 0] if len(points) else points[:, 0]
    return RateProfile(times_s, points[:, 1], path.name)


def _number(path: Path, row: dict[str, str], name: str) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError):
        return math.nan


def arrival_times(profile: RateProfile, random_numbers: np.random.Generator) -> Array:
    """Draw the arrivals of a Poisson process whose rate is that of the profile.

    Given their number, the arrivals of a Poisson process are independent draws whose distribution is the
    normalised cumulative rate; that is inverted exactly, piece by piece (a quadratic where the rate is
    linear).

    Returns:
        (requests,) s from the start of the profile, ascending.
    """
    cumulative = profile.cumulative()
    expected = cumulative[-1]
    if expected <= 0.0:
        return np.zeros(0)
    level = np.sort(random_numbers.uniform(0.0, expected, random_numbers.poisson(expected)))
    piece = np.clip(np.searchsorted(cumulative, level, side="right") - 1, 0, len(cumulative) - 2)
    rest = level - cumulative[piece]  # requests into the piece
    rate = profile.rates_rps[piece]  # requests/s at its start
    slope = np.diff(profile.rates_rps)[piece] / np.diff(profile.times_s)[piece]  # requests/s^2
    # rest = rate t + slope t^2 / 2, in the form that keeps its digits for slope -> 0.
    root = np.sqrt(np.maximum(rate**2 + 2.0 * slope * rest, 0.0))
    into = 2.0 * rest / np.maximum(rate + root, 1e-300)
    return np.minimum(profile.times_s[piece] + into, profile.duration_s)

"""The paper's Tables 3 to 5: its scheme against Kubernetes' default, its figures beside ours.

Both schemes face the same episodes, so changes are paired. Intervals are percentile bootstraps over
episodes: they tell how much the result would vary with other episodes, not with another simulator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.eval.summary import Summary

SCHEME, DEFAULT = "lstm_ga", "kubernetes_default"
RESAMPLES = 10_000
LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True, slots=True)
class PaperMeasure:
    """One column of the paper's tables, and the measure of ours that stands beside it."""

    heading: str
    measure: str
    """Name in ``MEASURES``."""
    factor: float
    """From the measure's unit to the paper's."""
    points: bool
    """Whether a change is given in percentage points, or in percent."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table of the paper."""

    number: int
    title: str
    environment: str
    """Id of the environment that stands for its scenario."""
    scheme: tuple[float, ...]
    """Figures of LSTM+GA, in the order of ``PAPER_MEASURES``."""
    default: tuple[float, ...]
    """Figures of Kubernetes' default."""


PAPER_MEASURES = (
    PaperMeasure("response time, ms", "response_time_mean_s", 1e3, points=False),
    PaperMeasure("CPU utilisation, %", "cpu_utilisation", 100.0, points=True),
    PaperMeasure("memory utilisation, %", "memory_utilisation", 100.0, points=True),
    PaperMeasure("mean of both, %", "mean_utilisation", 100.0, points=True),
    PaperMeasure("throughput, requests/s", "throughput_busiest_rps", 1.0, points=False),
)
"""Throughput is that of the busiest phase, see docs/calibration.md; the rest is of the whole episode."""

PAPER_TABLES = (
    PaperTable(
        3, "higher load", "podgym/HighLoad-v0",
        (121.52, 82.47, 75.32, 78.89, 580.43), (180.76, 73.81, 66.45, 70.13, 526.38),
    ),
    PaperTable(
        4, "burst", "podgym/Burst-v0",
        (183.21, 85.23, 80.34, 82.79, 635.12), (279.43, 73.34, 70.16, 71.75, 578.24),
    ),
    PaperTable(
        5, "lower load", "podgym/LowLoad-v0",
        (90.17, 76.89, 73.27, 75.08, 185.43), (134.78, 68.32, 62.57, 65.44, 172.54),
    ),
)  # fmt: skip
"""Its Tables 3, 4 and 5."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over episodes and where it lies with a probability of 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One measure of one scenario: the paper's figures and ours."""

    measure: PaperMeasure
    paper_scheme: float
    paper_default: float
    scheme: Interval
    default: Interval
    change: Interval
    """Of the scheme against the default: percentage points or percent, as ``measure.points`` says."""

    @property
    def paper_change(self) -> float:
        """The change that the paper's figures amount to."""
        if self.measure.points:
            return self.paper_scheme - self.paper_default
        return 100.0 * (self.paper_scheme / self.paper_default - 1.0)

    @property
    def verdict(self) -> str:
        """What our interval says of the paper's claim: its sign, at least its size, or neither."""
        claimed = np.sign(self.paper_change)
        low, high = sorted((claimed * self.change.low, claimed * self.change.high))
        if low >= abs(self.paper_change):
            return "holds, and more"
        if low > 0.0:
            return "holds" if high >= abs(self.paper_change) else "holds in part"
        return "undecided" if high > 0.0 else "does not hold"


def paper_rows(table: PaperTable, scheme: Summary, default: Summary, *, seed: int = 0) -> list[PaperRow]:
    """Return the rows of one table.

    Args:
        table: which.
        scheme: episodes of LSTM+GA.
        default: the same episodes under Kubernetes' default.
        seed: of the bootstrap.

    Raises:
        InputError: the two did not face the same episodes, or there are fewer than two.
    """
    if scheme.profile_sha256 != default.profile_sha256 or scheme.seeds != default.seeds:
        raise InputError("the two schemes did not face the same episodes; give both the same seeds.")
    count = len(scheme.seeds)
    if count < 2:
        raise InputError(f"{count} episode has no interval; run two or more, ten for the paper's tables.")
    draws = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    rows = []
    for column, measure in enumerate(PAPER_MEASURES):
        own = measure.factor * _values(scheme, measure.measure)  # (episodes,)
        other = measure.factor * _values(default, measure.measure)
        rows.append(
            PaperRow(
                measure,
                table.scheme[column],
                table.default[column],
                _interval(own.mean(), own[draws].mean(axis=1)),
                _interval(other.mean(), other[draws].mean(axis=1)),
                _change(measure, own, other, draws),
            )
        )
    return rows


def _values(summary: Summary, measure: str) -> NDArray[np.float64]:
    return np.array([each[measure] for each in summary.by_episode])


def _change(
    measure: PaperMeasure, own: NDArray[np.float64], other: NDArray[np.float64], draws: NDArray[np.int64]
) -> Interval:
    """Change of the mean, the same episodes drawn for both."""
    own_means, other_means = own[draws].mean(axis=1), other[draws].mean(axis=1)  # (resamples,)
    if measure.points:
        return _interval(own.mean() - other.mean(), own_means - other_means)
    return _interval(100.0 * (own.mean() / other.mean() - 1.0), 100.0 * (own_means / other_means - 1.0))


def _interval(mean: float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(resampled, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(float(mean), float(low), float(high))


def markdown(tables: Mapping[int, Sequence[PaperRow]]) -> str:
    """Return the tables as Markdown, by number of the table."""
    return "\n\n".join(_markdown_table(number, rows) for number, rows in tables.items()) + "\n"


def _markdown_table(number: int, rows: Sequence[PaperRow]) -> str:
    title = next(table.title for table in PAPER_TABLES if table.number == number)
    lines = [
        f"**Table {number}, {title}**",
        "",
        "| | paper: LSTM+GA | default | change | here: LSTM+GA | default | change, 95 % interval | claim |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [f"| {' | '.join(cells)} |" for cells in map(row_cells, rows)]
    return "\n".join(lines)


def row_cells(row: PaperRow) -> tuple[str, ...]:
    """Return the cells of a row as text: measure, the paper's three, ours three, verdict."""
    unit = " pt" if row.measure.points else " %"
    change = row.change
    return (
        row.measure.heading,
        f"{row.paper_scheme:.1f}",
        f"{row.paper_default:.1f}",
        f"{row.paper_change:+.1f}{unit}",
        f"{row.scheme.mean:.1f}",
        f"{row.default.mean:.1f}",
        f"{change.mean:+.1f}{unit} [{change.low:+.1f}, {change.high:+.1f}]",
        row.verdict,
    )

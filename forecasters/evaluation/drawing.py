"""Pieces of figures: panels in one style, a clock axis, and names beside the ends of lines.

Drawn without matplotlib's global state, so they work beside a user's own plots and in threads. Colours are
those of Okabe and Ito, "Color universal design" (2008), which colour-blind people can tell apart.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podgym.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

BLACK, GREY = "#222222", "#767676"
BLUE, ORANGE, VERMILLION, GREEN, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
)  # fmt: skip
DPI = 100
"""Dots per inch of the files: figures are 900 wide."""

_WIDTH_INCHES = 9.0
_PALE = "#DDDDDD"
_LABEL_POINTS = 9.0
_TICKS_H = (1 / 60, 1 / 12, 1 / 6, 1 / 4, 1 / 2, 1, 2, 3, 6, 12, 24, 48, 120, 240)
_MOST_TICKS = 9


def panel_figure(height_inches: float, ratios: Sequence[float]) -> tuple["Figure", Sequence["Axes"]]:
    """Return a figure with panels of some relative heights, one above the other, on one time axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=list(ratios))[:, 0]
    for axes in panels:
        axes.grid(True, color=_PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.0)
    figure.align_ylabels(panels)
    return figure, list(panels)


def save_figure(path: str | Path, figure: "Figure") -> Path:
    """Write a figure as PNG, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """

    def write(draft: Path) -> None:
        # No version in the file: the same result gives the same bytes.
        figure.savefig(draft, format="png", dpi=DPI, metadata={"Software": None})

    return write_atomically(Path(path), write)


def write_title(axes: "Axes", text: str) -> None:
    """Write a title that starts at the left edge."""
    axes.set_title(text, loc="left", fontsize=10.5)


def clock_axis(axes: "Axes", time_h: Floats) -> None:
    """Write hours since midnight as times of day, and name the days."""
    first, last = float(time_h[0]), float(time_h[-1])
    span = max(last - first, 1e-9)
    step = next((each for each in _TICKS_H if span / each <= _MOST_TICKS), span / _MOST_TICKS)
    ticks = np.arange(math.ceil(first / step), math.floor(last / step) + 1) * step
    minutes = np.rint(60.0 * ticks).astype(np.int64)
    axes.set_xticks(ticks, [f"{minute // 60 % 24:02d}:{minute % 60:02d}" for minute in minutes.tolist()])
    days = sorted({math.floor(first / 24.0) + 1, math.floor(last / 24.0) + 1})
    axes.set_xlabel(f"time of day, day {' to '.join(map(str, days))}")


def label_ends(axes: "Axes", labels: Sequence[tuple[float, str, str]]) -> None:
    """Write names beside the right end of lines, moved apart where they would overlap.

    Args:
        axes: with their final limits.
        labels: height in data, text and colour of each.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # what follows must not move it
    height_inches = float(axes.get_figure(root=True).get_figheight()) * axes.get_position().height  # type: ignore[union-attr]
    gap = 1.35 * _LABEL_POINTS / 72.0 / height_inches
    order = sorted(range(len(labels)), key=lambda place: labels[place][0])
    wanted = [(labels[place][0] - low) / (high - low) for place in order]
    for place, begin, end in zip(order, wanted, spread(wanted, gap), strict=True):
        _, text, colour = labels[place]
        axes.plot([1.0, 1.012, 1.022], [begin, end, end], transform=axes.transAxes, color=colour,
                  linewidth=0.8, clip_on=False, label="_leader")  # fmt: skip
        axes.annotate(text, (1.027, end), xycoords="axes fraction", va="center", color=colour,
                      fontsize=_LABEL_POINTS, annotation_clip=False)  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places moved apart to at least a gap and into [0, 1], with the least sum of squared moves.

    Args:
        places: in ascending order.
        gap: smallest distance between two.
    """
    # With place i moved down by i gaps the condition is "not descending": isotonic regression by pooling.
    blocks: list[tuple[float, int]] = []  # mean and number of pooled places
    for i, place in enumerate(places):
        mean, count = place - i * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        blocks.append((mean, count))
    highest = 1.0 - (len(places) - 1) * gap  # below 0 when there is no room for all: the begin counts then
    level = [max(min(mean, highest), 0.0) for mean, count in blocks for _ in range(count)]
    return [mean + i * gap for i, mean in enumerate(level)]


def busy_stretch(values: Floats, size: int) -> int:
    """Return where a stretch begins that holds a steep rise and high load, and few gaps.

    Stretches are ranked by their steepest rise, within a sixteenth of them, plus their mean, both in standard
    deviations of the whole.

    Args:
        values: (num_samples,) at least one of them measured; nan: not measured.
        size: samples of the stretch, from 1 to ``num_samples``.
    """
    known = np.isfinite(values)
    steady = np.where(known, values, float(values[known].mean()))
    spread_of_all = float(steady.std()) or 1.0
    width = max(1, size // 48)
    smooth = np.convolve(steady, np.full(width, 1.0 / width), mode="same")[: len(steady)]
    lag = min(max(1, size // 16), size - 1)
    rise = smooth[lag:] - smooth[: len(smooth) - lag]
    rise = np.where(known[lag:] & known[: len(known) - lag], rise, 0.0)
    windows = np.lib.stride_tricks.sliding_window_view  # (num_windows, samples of a window)
    level = windows(steady, size).mean(axis=1)
    lead = size // 6  # some time before and after the rise is wanted as well
    steepest = windows(rise[lead:], size - lag - 2 * lead).max(axis=1)[: len(level)]
    missing = windows(~known, size).mean(axis=1)
    return int(np.argmax((steepest + level) / spread_of_all - 10.0 * missing))

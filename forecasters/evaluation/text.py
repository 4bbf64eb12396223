"""Tables of finished text, and numbers as people read them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "-"
"""Stands for what is not defined."""

_DAY_S = 86_400.0
_DIGITS = 3  # significant digits of the smallest number in a column
_MOST_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of finished text."""

    title: str
    """What it shows."""
    headings: tuple[str, ...]
    """One per column, with unit; line breaks, also behind a hyphen, are for a terminal only."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, row by row; the first column is a name, the others are numbers."""
    notes: tuple[str, ...] = ()
    """What must be known to read it."""

    def markdown(self) -> str:
        """Return the table as Markdown, with title and notes as paragraphs."""
        heads = [heading.replace("-\n", "").replace("\n", " ") for heading in self.headings]
        align = "|".join([" :-- ", *[" --: "] * (len(self.headings) - 1)])
        lines = [f"**{_escaped(self.title)}**", "", _markdown_row(heads), f"|{align}|"]
        lines += [_markdown_row(row) for row in self.rows]
        if self.notes:
            lines += ["", _escaped(" ".join(self.notes))]
        return "\n".join(lines) + "\n"

    def rich(self) -> "Table":
        """Return the table for a terminal; the notes are its caption."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=SIMPLE_HEAD, title=Text(self.title), title_justify="left", title_style="bold",
            padding=(0, 1, 0, 0), pad_edge=False, caption_justify="left",
            caption=Text(" ".join(self.notes)) if self.notes else None,
        )  # fmt: skip
        for place, heading in enumerate(self.headings):
            table.add_column(Text(heading), justify="right" if place else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def column_text(values: Sequence[float]) -> list[str]:
    """Return the numbers of one column with the same decimals: 3 digits for the smallest, 0 aside."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0.0]
    decimals = _DIGITS - 1 - math.floor(math.log10(min(sizes))) if sizes else 0
    decimals = min(max(decimals, 0), _MOST_DECIMALS)
    return [f"{value:.{decimals}f}" if math.isfinite(value) else MISSING for value in values]


def short_text(value: float) -> str:
    """Return one number with 3 digits, of which at most 2 are behind the point."""
    if not math.isfinite(value):
        return MISSING
    if abs(value) >= 99.95 or value == round(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def signed_percent(share: float) -> str:
    """Return a share as a percentage with sign; one decimal below 100 %."""
    percent = 100.0 * share
    if not math.isfinite(percent):
        return MISSING
    if abs(percent) < 0.05:
        return "0.0"
    return f"{percent:+.0f}" if abs(percent) >= 99.95 else f"{percent:+.1f}"


def share_percent(share: float) -> str:
    """Return a share as a percentage with one decimal; 100 and 0 only for all and none."""
    if not math.isfinite(share):
        return MISSING
    if share in (0.0, 1.0):
        return f"{100.0 * share:.0f}"
    return f"{min(max(100.0 * share, 0.1), 99.9):.1f}"


def time_text(seconds: float) -> str:
    """Return a short time for people: ``30 s``, ``5 min``."""
    return f"{seconds / 60.0:g} min" if seconds >= 60.0 else f"{seconds:g} s"


def clock_text(clock_s: float) -> str:
    """Return day and time of a clock that began at the midnight before a trace: ``day 3 14:05``."""
    day, rest = divmod(round(clock_s), round(_DAY_S))
    minutes, seconds = divmod(rest, 60)
    tail = f":{seconds:02d}" if seconds else ""
    return f"day {day + 1} {minutes // 60:02d}:{minutes % 60:02d}{tail}"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Keep names from being read as Markdown."""
    for sign in ("|", "*", "_"):
        text = text.replace(sign, f"\\{sign}")
    return text

"""What a page is made of: sections of paragraphs, tables and figures, without a word on how they are shown.

Every text is plain text: whoever writes the page escapes it.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    """A number, as it is to be read, or words."""
    interval: str = ""
    """Interval of the number, shown smaller."""
    code: bool = False
    """Whether the text is for machines: a hash, a command."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    heading: str
    """What it holds, with its unit."""
    numeric: bool = True
    """Whether its cells are numbers, which stand to the right."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first cell of a row is its heading."""

    caption: str
    """What it shows, in a sentence."""
    columns: tuple[Column, ...]
    """One per cell of a row."""
    rows: tuple[tuple[Cell, ...], ...]
    """Each as long as ``columns``."""
    note: str = ""
    """What must be known to read it, below."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text."""

    text: str
    """Sentences."""


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]
    """Sentences, one per item."""


@dataclass(frozen=True, slots=True)
class Code:
    """Lines for machines, such as a command."""

    text: str
    """As it is to be copied."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture."""

    name: str
    """Name among all figures, of letters, digits, ``-`` and ``_``: id and stem of a file."""
    caption: str
    """What it shows, for everybody."""
    description: str
    """What is to be seen in it, for those who cannot see it."""
    svg: str
    """SVG element in the colours of ``podgym.eval.report.drawing``."""
    wide: bool = False
    """Whether it needs the whole width of a page."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Small pictures of one kind, side by side where there is room."""

    figures: tuple[Figure, ...]
    """In reading order."""


@dataclass(frozen=True, slots=True)
class Details:
    """What only few want to read: folded where that is possible."""

    summary: str
    """What is inside."""
    blocks: tuple["Block", ...]
    """In reading order."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading."""

    id: str
    """What links to it call it."""
    title: str
    """Its heading."""
    blocks: tuple["Block", ...]
    """In reading order; may hold sections."""


Block: TypeAlias = Paragraph | Bullets | Code | Table | Figure | Figures | Details | Section

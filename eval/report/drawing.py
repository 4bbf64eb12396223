"""How figures are drawn: colours of methods, type and lines, and the SVG that comes of it.

Figures are drawn in stand-in colours for ink, pale ink and grid, which become variables of the page's style
sheet, so that they follow its light or dark colours, or fixed colours in a file of their own.
"""

import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK, PALE, GRID, PAPER = "#010203", "#616263", "#d1d2d3", "#fdfcfb"
"""Stand-ins for text and axes, what is less important, grid lines, and the ground."""

_VARIABLES = {INK: "var(--ink)", PALE: "var(--pale)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_FIXED = {INK: "#1b1d20", PALE: "#5c6166", GRID: "#dcdfe2", PAPER: "#ffffff"}

# After Okabe and Ito, without black and yellow, which vanish on a dark or a light page; two tones added.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C05FA0", "#D08E00", "#3E9BD1", "#8A6A3B", "#7A7FCB")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'

POINT = 72.0
"""Points per inch; a point of a figure is a pixel of the page."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.5,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # labels come from files
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "path.simplify": True,
}
"""Settings of matplotlib."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a method is drawn, the same in every figure."""

    colour: str
    """Colour of its lines and points."""
    marker: str
    """Shape of its points."""
    dashes: Any
    """Pattern of its lines, as of matplotlib."""


BOUND_LOOK = Look(PALE, "D", "-")
"""How bounds are drawn, which are no methods."""


def looks(methods: Sequence[str], bounds: Collection[str] = ()) -> dict[str, Look]:
    """Return the look of each method, by its place; no two of 56 are alike in colour and shape.

    Args:
        methods: labels.
        bounds: those of bounds.
    """
    return dict.fromkeys(bounds, BOUND_LOOK) | {
        method: Look(
            _COLOURS[place % len(_COLOURS)],
            _MARKERS[place % len(_MARKERS)],
            _DASHES[(place // len(_COLOURS) + place) % len(_DASHES)],
        )
        for place, method in enumerate(dict.fromkeys(methods))
    }


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draw in the style of the page; the same name gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def canvas(width: float, height: float) -> "Canvas":
    """Return an empty figure of a size in points, apart from matplotlib's global state."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width / POINT, height / POINT), dpi=POINT, layout="constrained")


def picture(name: str, width: float, height: float, draw: Callable[["Canvas"], None]) -> str:
    """Return the SVG element of a figure.

    Args:
        name: of the figure, the start of all ids in it.
        width: points.
        height: points.
        draw: draws into the empty figure.
    """
    with style(name):
        figure = canvas(width, height)
        draw(figure)
        return _svg(figure, name)


def for_page(svg: str) -> str:
    """Return the SVG element with the colours of the page around it, which knows its names too."""
    return _recoloured(svg.replace(f" {_NAMESPACES}", "", 1), _VARIABLES)


def for_file(svg: str) -> str:
    """Return the SVG element as a file of its own, dark on white."""
    ground = f'<rect width="100%" height="100%" fill="{_FIXED[PAPER]}"/>'
    start, end = svg.split(">", 1)
    text = f'<?xml version="1.0" encoding="utf-8"?>\n{start}>{ground}{end}\n'
    return _recoloured(text, _FIXED)


def plain_axes(axes: "Axes", *, grid: str = "x") -> None:
    """Give axes the page's grid and no ticks."""
    axes.grid(True, axis=grid)  # type: ignore[arg-type]  # "x", "y" or "both"
    axes.tick_params(length=0.0)


def shortened(text: str, most: int = 26) -> str:
    """Return a label that fits beside an axis."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}\u2026"


def plain(text: str) -> str:
    """Return text without control characters, which no page may hold; lines stay."""
    return "".join(each if each in "\n\t\u00a0" or each.isprintable() else " " for each in text)


def _recoloured(svg: str, colours: dict[str, str]) -> str:
    return re.sub("|".join(colours), lambda found: colours[found[0]], svg)


def _svg(figure: "Canvas", name: str) -> str:
    """Return the figure as an element: ids of its own, size by view box, the page's type, no metadata."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    view_box = re.search(r'viewBox="[^"]*"', text)
    if view_box is None:
        raise RuntimeError("the figure has no view box.")
    for pattern in _LEFT_OUT:
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    used = dict.fromkeys(re.findall(r'(?:url\(|xlink:href=")#([^)"]+)', text))
    ids = {each: f"{name}-{number}" for number, each in enumerate(used, 1)}  # hashes hold rounding errors
    text = re.sub(r"<[^>]*>", lambda tag: _clean_tag(tag[0], ids), text)
    text = re.sub(r"\n\s*", "\n", text)
    look = f'style="font-family: {_FONT}; stroke-linejoin: round; stroke-linecap: butt"'
    return f"<svg {_NAMESPACES} {view_box[0]} {look}>{text.split('>', 1)[1]}"


def _clean_tag(tag: str, ids: Mapping[str, str]) -> str:
    """Return a tag with the ids that are used, under their new names, with short numbers and no font."""
    tag = re.sub(r' id="([^"]*)"', lambda found: f' id="{ids[found[1]]}"' if found[1] in ids else "", tag)
    tag = re.sub(r'(url\(#|xlink:href="#)([^)"]+)', lambda found: f"{found[1]}{ids[found[2]]}", tag)
    tag = re.sub(r" font-family: [^;\"]*;", "", tag)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)


_LEFT_OUT = (
    r"\s*<metadata>.*?</metadata>",
    r"<!--.*?-->\s*",
    r"<defs>\s*<style.*?</style>\s*</defs>",  # its rules would hold for the whole page
    r"<g id=\"[^\"]*\"/>",
)
"""What of matplotlib's SVG is of no use on a page."""

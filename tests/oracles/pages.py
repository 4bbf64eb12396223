"""A page of HTML read back: its tables, ids, links and whatever would load something."""

import math
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class FoundCell:
    """One cell of a page: its number or words, and its interval."""

    text: str = ""
    interval: str = ""

    @property
    def value(self):
        """The number; nan: there is none."""
        return number_in(self.text)

    @property
    def ends(self):
        """Both ends of the interval."""
        return tuple(map(number_in, self.interval.strip("[]").split(" to "))) if self.interval else ()


def number_in(text):
    """Read a number as the page writes it."""
    try:
        return float(text.replace("\u2212", "-").replace(",", "").replace("+", ""))
    except ValueError:
        return math.nan


@dataclass
class FoundTable:
    """One table of a page."""

    caption: str = ""
    rows: list = field(default_factory=list)

    @property
    def headings(self):
        """Texts of the first row."""
        return [cell.text for cell in self.rows[0]]

    def row(self, *start):
        """The cells of the row that begins with these words, by heading."""
        (found,) = [row for row in self.rows[1:] if tuple(cell.text for cell in row[: len(start)]) == start]
        return dict(zip(self.headings, found, strict=True))


class PageReader(HTMLParser):
    """Reads tables, ids, links and whatever would load something; complains of tags that do not match."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input", "col", "wbr"})

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tables, self.ids, self.links, self.loads, self.tags = [], [], [], [], []
        self.text, self._open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        for name, value in attrs:
            if name in ("href", "xlink:href"):
                self.links.append(value)
            if name in ("src", "srcset", "data", "action", "poster") or name.startswith("on"):
                self.loads.append((tag, name, value))
        if tag == "table":
            self.tables.append(FoundTable())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append(FoundCell())
        if tag not in self.VOID:
            self._open.append((tag, values.get("class", "")))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        names = [tag for tag, _ in self._open]
        if "style" not in names:
            self.text.append(data)
        if "caption" in names:
            self.tables[-1].caption += data
        elif "td" in names or "th" in names:
            cell = self.tables[-1].rows[-1][-1]
            if any(kind == "interval" for _, kind in self._open):
                cell.interval += data
            else:
                cell.text = (cell.text + data).strip()

    def finish(self):
        """Return self, once all is closed."""
        self.close()
        assert self._open == []
        return self

    def table(self, caption):
        """The table of a caption."""
        (found,) = [table for table in self.tables if table.caption == caption]
        return found


def read_page(text):
    """Read a page of HTML."""
    reader = PageReader()
    reader.feed(text)
    return reader.finish()

"""A report as Markdown, its figures as files beside it."""

import re

from podgym.eval.report import blocks
from podgym.eval.report.content import Report
from podgym.eval.report.drawing import plain

FIGURES_FOLDER = "report_files"
"""Where the figures lie, beside the page."""
_TOP_LEVEL = 2


def markdown(report: Report) -> str:
    """Return the page as Markdown."""
    lines = [f"# {_text(report.title)}", ""]
    if report.lead:
        lines += [_text(report.lead), ""]
    lines += [*(f"- {_text(name)}: {_text(value)}" for name, value in report.facts), ""]
    lines += ["## Verdict", "", _text(" ".join(report.verdict.sentences)), ""]
    if report.verdict.cautions:
        lines += [*(f"- {_text(each)}" for each in report.verdict.cautions), ""]
    for section in report.sections:
        lines += _block(section, _TOP_LEVEL)
    return "\n".join(lines).rstrip() + "\n"


def figures_of(report: Report) -> tuple[blocks.Figure, ...]:
    """Return all figures of a report, in reading order."""
    return tuple(each for section in report.sections for each in _figures(section))


def figure_file(figure: blocks.Figure) -> str:
    """Return the path of a figure, from the folder of the page."""
    return f"{FIGURES_FOLDER}/{figure.name}.svg"


def _figures(block: blocks.Block) -> list[blocks.Figure]:
    match block:
        case blocks.Figure():
            return [block]
        case blocks.Figures():
            return list(block.figures)
        case blocks.Section() | blocks.Details():
            return [each for inside in block.blocks for each in _figures(inside)]
        case _:
            return []


def _block(block: blocks.Block, level: int) -> list[str]:
    match block:
        case blocks.Section():
            inside = [line for each in block.blocks for line in _block(each, level + 1)]
            return [f"{'#' * level} {_text(block.title)}", "", *inside]
        case blocks.Details():
            return [line for each in block.blocks for line in _block(each, level)]
        case blocks.Paragraph():
            return [_text(block.text), ""]
        case blocks.Bullets():
            return [*(f"- {_text(each)}" for each in block.items), ""]
        case blocks.Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return [fence, *plain(block.text).rstrip("\n").split("\n"), fence, ""]
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            return _figure(block)
        case blocks.Figures():
            return [line for each in block.figures for line in _figure(each)]


def _table(table: blocks.Table) -> list[str]:
    headings = [_cell(blocks.Cell(column.heading)) for column in table.columns]
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [f"| {' | '.join(map(_cell, cells))} |" for cells in table.rows]
    note = [_text(table.note), ""] if table.note else []
    return [
        f"**{_text(table.caption)}**",
        "",
        f"| {' | '.join(headings)} |",
        f"|{'|'.join(rules)}|",
        *rows,
        "",
        *note,
    ]


def _figure(figure: blocks.Figure) -> list[str]:
    alternative = _text(figure.caption).replace("]", "\\]").replace("[", "\\[")
    return [f"![{alternative}]({figure_file(figure)})", "", _text(figure.caption), ""]


def _cell(cell: blocks.Cell) -> str:
    text = _text(cell.text)
    if cell.code and cell.text and "`" not in cell.text:
        text = f"`{_one_line(cell.text)}`".replace("|", "\\|")
    return f"{text} {_text(cell.interval)}".strip() if cell.interval else text


def _one_line(text: str) -> str:
    return " ".join(plain(text).split())


def _text(text: str) -> str:
    """Return text on one line that Markdown, and the HTML in it, take as text."""
    return re.sub(r"[\\`*_{}<>|#]|(?<=\])\(", _escaped, _one_line(text))


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", ">": "&gt;"}.get(found[0], f"\\{found[0]}")

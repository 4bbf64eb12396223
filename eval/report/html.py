"""A report as one self-contained page of HTML: style and figures inside, no script, nothing loaded."""

import html
from collections.abc import Sequence

from podgym.eval.report import blocks
from podgym.eval.report.content import Report
from podgym.eval.report.drawing import for_page, plain
from podgym.eval.report.style import STYLE

_TOP_LEVEL = 2  # of the headings of sections
_SHORT = 24  # characters


def page(report: Report) -> str:
    """Return the page."""
    contents = "".join(
        f'<li><a href="#{_text(each.id)}">{_text(each.title)}</a></li>' for each in report.sections
    )
    facts = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in report.facts)
    lead = f'<p class="lead">{_text(report.lead)}</p>\n' if report.lead else ""
    body = "\n".join(_block(section, _TOP_LEVEL) for section in report.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)} \u00b7 podgym "
        f"report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{_text(report.title)}</h1>\n{lead}"
        f'<dl class="facts">{facts}</dl>\n</header>\n<main>\n{_verdict(report)}\n'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n{body}\n</main>\n'
        f"<footer>Written by <code>podgym report</code>. {_text(report.closing)}</footer>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return html.escape(plain(text), quote=True)


def _verdict(report: Report) -> str:
    cautions = "".join(f"<li>{_text(each)}</li>" for each in report.verdict.cautions)
    listed = f"<ul>{cautions}</ul>" if cautions else ""
    paragraph = _text(" ".join(report.verdict.sentences))
    return (
        f'<section class="verdict" id="verdict" aria-labelledby="verdict-title">'
        f'<h2 id="verdict-title">Verdict</h2><p>{paragraph}</p>{listed}</section>'
    )


def _blocks(inside: Sequence[blocks.Block], level: int) -> str:
    return "\n".join(_block(each, level) for each in inside)


def _block(block: blocks.Block, level: int) -> str:
    match block:
        case blocks.Section():
            return (
                f'<section id="{_text(block.id)}">\n<h{level}>{_text(block.title)}</h{level}>\n'
                f"{_blocks(block.blocks, level + 1)}\n</section>"
            )
        case blocks.Details():
            inside = _blocks(block.blocks, level)
            return f"<details>\n<summary>{_text(block.summary)}</summary>\n{inside}\n</details>"
        case blocks.Paragraph():
            return f"<p>{_text(block.text)}</p>"
        case blocks.Bullets():
            return f"<ul>{''.join(f'<li>{_text(each)}</li>' for each in block.items)}</ul>"
        case blocks.Code():
            return f"<pre>{_text(block.text)}</pre>"
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            return _figure(block)
        case blocks.Figures():
            return f'<div class="small">\n{"".join(map(_figure, block.figures))}</div>'


def _table(table: blocks.Table) -> str:
    numeric = [column.numeric for column in table.columns]
    head = "".join(
        f'<th scope="col"{_class(is_number)}>{_text(column.heading)}</th>'
        for column, is_number in zip(table.columns, numeric, strict=True)
    )
    rows = "\n".join(f"<tr>{_row(cells, numeric)}</tr>" for cells in table.rows)
    note = f'\n<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(table.caption)}">\n<table>\n'
        f"<caption><span>{_text(table.caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        f"</table>\n</div>{note}"
    )


def _row(cells: Sequence[blocks.Cell], numeric: Sequence[bool]) -> str:
    first, *rest = zip(cells, numeric, strict=True)
    others = "".join(f"<td{_class(is_number, cell.text)}>{_cell(cell)}</td>" for cell, is_number in rest)
    return f'<th scope="row"{_class(False, first[0].text)}>{_cell(first[0])}</th>{others}'


def _class(is_number: bool, text: str | None = None) -> str:
    """Return the class of a cell: numbers, and names that are short enough to stay on one line."""
    if is_number:
        return ' class="number"'
    return ' class="short"' if text and len(text) <= _SHORT else ""


def _cell(cell: blocks.Cell) -> str:
    text = _text(cell.text).replace("_", "_<wbr>")  # names may end a line there
    text = f"<code>{_text(cell.text)}</code>" if cell.code and cell.text else text
    return f'{text} <span class="interval">{_text(cell.interval)}</span>' if cell.interval else text


def _figure(figure: blocks.Figure) -> str:
    name = _text(figure.name)
    start, end = for_page(figure.svg).split(">", 1)
    svg = f'{start} role="img" aria-label="{_text(figure.description)}">{end}'
    wide = ' class="wide"' if figure.wide else ""
    around = (
        ('<div class="scroll" role="region" tabindex="0" aria-label="figure">', "</div>")
        if figure.wide
        else ("", "")
    )
    return (
        f'<figure id="figure-{name}"{wide}>{around[0]}{svg}{around[1]}'
        f"<figcaption>{_text(figure.caption)}</figcaption></figure>\n"
    )

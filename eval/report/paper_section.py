"""The paper's Tables 3 to 5 beside ours, where a run has its scenarios and both of its schemes.

The results of a protocol keep no utilisation and no throughput, so the first episodes are run again, and must
repeat what the results say.
"""

from collections.abc import Sequence

from podgym.errors import InputError
from podgym.eval.episode import EpisodeRecord
from podgym.eval.paper import DEFAULT, PAPER_TABLES, SCHEME, PaperRow, PaperTable, paper_rows, row_cells
from podgym.eval.protocol.entrants import Entrant
from podgym.eval.report.blocks import Block, Cell, Column, Paragraph, Table
from podgym.eval.report.episodes import check_repeated, job_of
from podgym.eval.report.numbers import MINUS
from podgym.eval.report.run_files import Run
from podgym.eval.runner import run_job
from podgym.eval.summary import summarise

MOST_EPISODES = 10
"""Episodes of each scenario and scheme that are run again."""
_COLUMNS = (
    Column("", numeric=False), Column("paper: LSTM+GA"), Column("paper: default"), Column("paper: change"),
    Column("here: LSTM+GA"), Column("here: default"), Column("here: change"), Column("claim", numeric=False),
)  # fmt: skip
_READING = (
    "The paper's figures are those it prints; changes are of its scheme, LSTM+GA, against Kubernetes' "
    "default, and ours are paired by episode. \u201cholds\u201d: the interval excludes no change and reaches "
    "the paper's; \u201cholds in part\u201d: the change is there, but smaller. Throughput is that of the "
    "busiest phase, the rest of the whole episode."
)


def paper_blocks(run: Run) -> tuple[Block, ...]:
    """Return the paper's tables beside ours; empty: the run has none of its scenarios with both schemes."""
    pairs = [(table, pair) for table in PAPER_TABLES if (pair := _schemes(run, table.environment))]
    if not pairs:
        return ()
    count = min(min(each.episodes for _, pair in pairs for each in pair), MOST_EPISODES)
    first = run.protocol.first_seed
    text = (
        f"{_READING} Run again for this page: the first {count} episodes (seeds {first} to "
        f"{first + count - 1}) of each scenario, whose loads and costs are those of the results."
    )
    if count < 2:
        return (Paragraph("The paper's tables need two episodes or more of each scenario."),)
    blocks: list[Block] = [Paragraph(text)]
    for table, pair in pairs:
        try:
            blocks.append(_table(table, _rows(run, table, pair, count)))
        except InputError as error:
            text = str(error).rstrip(".")
            blocks.append(Paragraph(f"Table {table.number}, {table.title}, is missing: {text}."))
    return tuple(blocks)


def _schemes(run: Run, environment: str) -> tuple[Entrant, Entrant] | None:
    """Return the paper's scheme and its default as they are; None: not both took part."""
    found = [_plain(run, environment, name) for name in (SCHEME, DEFAULT)]
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _plain(run: Run, environment: str, controller: str) -> Entrant | None:
    failed = {(row.environment, row.method) for row in run.rows if row.failure}
    wanted = (environment, controller)
    return next(
        (
            each
            for each in run.entrants
            if (each.environment, each.controller) == wanted
            and not (each.options or each.changes or each.variant_of)
            and (each.environment, each.method) not in failed
        ),
        None,
    )


def _rows(run: Run, table: PaperTable, pair: Sequence[Entrant], count: int) -> list[PaperRow]:
    scheme, default = (summarise(_records(run, each, count)) for each in pair)
    return paper_rows(table, scheme, default)


def _records(run: Run, entrant: Entrant, count: int) -> list[EpisodeRecord]:
    records = []
    for seed in run.protocol.seeds[:count]:
        record = run_job(job_of(run, entrant, seed))
        check_repeated(run, entrant, record)
        records.append(record)
    return records


def _table(table: PaperTable, rows: Sequence[PaperRow]) -> Table:
    return Table(
        f"Table {table.number}, {table.title} ({table.environment})",
        _COLUMNS,
        tuple(tuple(map(_cell, row_cells(row))) for row in rows),
    )


def _cell(text: str) -> Cell:
    value, bracket, rest = text.partition(" [")
    interval = f"[{rest.replace(', ', ' to ')}" if bracket else ""
    return Cell(_minus(value), _minus(interval))


def _minus(text: str) -> str:
    return text.replace("-", MINUS) if any(each.isdigit() for each in text) else text

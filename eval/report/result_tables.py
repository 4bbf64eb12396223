"""Tables of a run: what each method comes to, and how the methods compare."""

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from podgym.eval.protocol.comparisons import ALPHA, EVERY, HINDSIGHT, NO_FRONT, RIVAL
from podgym.eval.protocol.entrants import short_id
from podgym.eval.protocol.tables import method_text, rows_by_cost, runs_text
from podgym.eval.report.blocks import Cell, Column, Table
from podgym.eval.report.figures import BOUNDS
from podgym.eval.report.numbers import UNKNOWN, decimals_for, number, p_value, with_interval
from podgym.eval.report.run_files import Run

Row = Mapping[str, Any]

_COST_COLUMNS = (
    Column("method", numeric=False), Column("episodes"), Column("cost"), Column("against the rival, %"),
    Column("p (Holm)"), Column("said of the cost", numeric=False), Column("regret"),
    Column("gap closed, %"), Column("with replicas alone, %"),
)  # fmt: skip
_ALWAYS = 3  # the first columns; the others only where there is something in them
_MEASURES = (
    ("slo_violation_ratio", "requests that miss the SLO, %", 100.0),
    ("slo_violation_time_ratio", "violated, mean over time, %", 100.0),
    ("core_hours", "core-hours", 1.0),
    ("gib_hours", "GiB-hours", 1.0),
    ("churn", "churn, pods", 1.0),
    ("scaling_events", "scaling events", 1.0),
    ("response_time_mean_s", "response, mean, ms", 1e3),
    ("response_time_p95_s", "response, 95th percentile, ms", 1e3),
)
"""Measure, heading and factor, beside the cost."""
_TITLES = {
    RIVAL: "Every method against the rival of its environment",
    EVERY: "Every learned method against every controller",
    HINDSIGHT: "Every method against the best controller in hindsight",
}


def cost_table(run: Run, environment: str) -> Table:
    """Return costs, differences from the rival, regret and gap of all methods of an environment."""
    rows = _sorted(run, environment, variants=False)
    said = run.environment(environment)
    decimals = decimals_for(row["cost"] for row in rows)
    against = {
        row["method"]: row
        for row in run.document["comparisons"]
        if (row["table"], row["environment"]) == (RIVAL, environment)
    }
    cells = [_cost_cells(row, against.get(row["method"]), said, decimals) for row in rows]
    used = [
        place < _ALWAYS or any(row[place].text not in ("", UNKNOWN) for row in cells)
        for place in range(len(_COST_COLUMNS))
    ]
    return Table(
        f"{short_id(environment)}: cost of an episode, mean with interval, the lowest first",
        tuple(compress(_COST_COLUMNS, used)),
        tuple(tuple(compress(row, used)) for row in cells),
        _legend(said),
    )


def measure_table(run: Run, environment: str) -> Table:
    """Return what the costs of an environment consist of."""
    rows = [row for row in _sorted(run, environment, variants=False) if _is_contestant(row)]
    return _measure_table(f"{short_id(environment)}: what the cost is made of", rows)


def spread_table(run: Run, environment: str) -> Table:
    """Return the interquartile means, and how much costs vary between trainings and episodes."""
    rows = [row for row in _sorted(run, environment, variants=True) if not row["failure"]]
    decimals = decimals_for(row["cost"] for row in rows)
    spreads = ("cost_between_training_seeds", "cost_between_episodes")
    return Table(
        f"{short_id(environment)}: interquartile mean of the cost, and standard deviations",
        (
            Column("method", numeric=False), Column("interquartile mean"),
            Column("deviation between training seeds"), Column("deviation between episodes"),
        ),
        tuple(
            (
                Cell(row["method"]), with_interval(row, "cost_iqm", 1.0, decimals),
                *(Cell(number(row[name], decimals)) for name in spreads),
            )
            for row in rows
        ),
    )  # fmt: skip


def variant_table(run: Run, environment: str) -> Table | None:
    """Return the points of all fronts of an environment; None: there is no variant."""
    rows = [row for row in _sorted(run, environment, variants=True) if row["variant_of"]]
    if not rows:
        return None
    costs = decimals_for(row["cost"] for row in rows)
    table = _measure_table(f"{short_id(environment)}: variants, the points of the fronts", rows)
    cells = tuple(
        (own[0], Cell("failed") if row["failure"] else with_interval(row, "cost", 1.0, costs), *own[1:])
        for own, row in zip(table.rows, rows, strict=True)
    )
    return Table(table.caption, (table.columns[0], Column("cost"), *table.columns[1:]), cells, table.note)


def comparison_table(run: Run, table: str) -> Table | None:
    """Return one table of comparisons; None: there is none."""
    rows = [row for row in run.document["comparisons"] if row["table"] == table]
    if not rows:
        return None
    decimals = decimals_for(row["difference"] for row in rows if abs(row["difference"]) >= 1.0)
    columns = (
        Column("method", numeric=False), Column("environment", numeric=False),
        Column("against", numeric=False), Column("difference of cost"), Column("difference, %"),
        Column("p (Holm)"), Column("p, as it is"), Column("p (sign flip)"), Column("better episodes, %"),
        Column("said of the cost", numeric=False),
    )  # fmt: skip
    cells = tuple(
        (
            Cell(row["method"]),
            Cell(short_id(row["environment"])),
            Cell(row["against"]),
            with_interval(row, "difference", 1.0, decimals, signs=True),
            with_interval(row, "relative_difference", 100.0, 1, signs=True),
            *(Cell(p_value(row[name])) for name in ("p_value_holm", "p_value", "p_value_sign_flip")),
            with_interval(row, "probability_of_improvement", 100.0, 0),
            Cell(row["verdict"]),
        )
        for row in rows
    )
    return Table(_TITLES[table], columns, cells, _explained(table, len(rows)))


def equal_violation_table(run: Run) -> Table | None:
    """Return the comparisons at equal SLO violation with rivals; None: there is no front to compare with."""
    every = [row for row in run.document["comparisons"] if row["table"] == RIVAL]
    rows = [row for row in every if row["equal_violation_note"] != NO_FRONT]
    if not any(math.isfinite(row["equal_violation_difference"]) for row in rows):
        return None
    known = [row["equal_violation_difference"] for row in rows]
    decimals = decimals_for(value for value in known if abs(value) >= 1.0)
    cells = tuple(
        (
            Cell(row["method"]),
            Cell(short_id(row["environment"])),
            Cell(row["against"]),
            with_interval(row, "equal_violation_difference", 1.0, decimals, signs=True),
            Cell(p_value(row["equal_violation_p_value_holm"])),
            Cell(row["equal_violation_note"]),
        )
        for row in rows
    )
    columns = (
        Column("method", numeric=False), Column("environment", numeric=False),
        Column("against", numeric=False), Column("difference of cost"), Column("p (Holm)"),
        Column("where", numeric=False),
    )  # fmt: skip
    note = (
        "The cost of the one at the violation of the other, read off the other's front: the cheapest mixture "
        "of its variants. "
    )
    if len(rows) < len(every):
        note += f"In {len(every) - len(rows)} further comparisons neither method has variants."
    return Table("Cost at equal SLO violation, against the rival", columns, cells, note.strip())


def overall_table(run: Run) -> Table | None:
    """Return means over the environments; None: there is one environment, or no rival somewhere."""
    rows = sorted(run.document["overall"], key=lambda row: row["relative_difference"])
    if not rows or rows[0]["environments"] < 2:
        return None
    cells = tuple(
        (
            Cell(row["method"]),
            with_interval(row, "relative_difference", 100.0, 1, signs=True),
            with_interval(row, "gap_closed", 100.0, 0),
            _if_known(row, "replicas_gap_closed", 100.0, 0),
        )
        for row in rows
    )
    columns = (
        Column("method", numeric=False), Column("against the rivals, %"), Column("gap closed, %"),
        Column("with replicas alone, %"),
    )  # fmt: skip
    used = [place < _ALWAYS or any(row[place].text for row in cells) for place in range(len(columns))]
    return Table(
        "Means over the environments, each counted alike",
        tuple(compress(columns, used)),
        tuple(tuple(compress(row, used)) for row in cells),
    )


def _cost_cells(row: Row, against: Row | None, said: Row, decimals: int) -> tuple[Cell, ...]:
    name = Cell(method_text(row, said))
    if row["failure"]:
        return (
            name,
            Cell(UNKNOWN),
            Cell("failed"),
            *[Cell(UNKNOWN)] * 2,
            Cell(row["failure"]),
            *[Cell("")] * 3,
        )
    compared = (Cell(""), Cell(""), Cell(""))
    if against is not None:
        compared = (
            with_interval(against, "relative_difference", 100.0, 1, signs=True),
            Cell(p_value(against["p_value_holm"])), Cell(against["verdict"]),
        )  # fmt: skip
    elif not _is_contestant(row):
        compared = (Cell(""), Cell(""), Cell("a bound, no method"))
    elif row["method"] == said["rival"]:
        compared = (Cell(""), Cell(""), Cell("the rival"))
    return (
        name, Cell(runs_text(row)), with_interval(row, "cost", 1.0, decimals), *compared,
        _if_known(row, "regret", 1.0, decimals), _if_known(row, "gap_closed", 100.0, 0),
        _if_known(row, "replicas_gap_closed", 100.0, 0),
    )  # fmt: skip


def _measure_table(caption: str, rows: Sequence[Row]) -> Table:
    columns = (Column("method", numeric=False), *(Column(heading) for _, heading, _ in _MEASURES))
    decimals = {
        name: min(decimals_for(factor * row[name] for row in rows), 2) for name, _, factor in _MEASURES
    }
    cells = tuple(
        (
            Cell(row["method"]),
            *(
                Cell(UNKNOWN) if row["failure"] else with_interval(row, name, factor, decimals[name])
                for name, _, factor in _MEASURES
            ),
        )
        for row in rows
    )
    return Table(caption, columns, cells)


def _sorted(run: Run, environment: str, *, variants: bool) -> list[Row]:
    """Return the rows of an environment, the lowest cost first and failures last."""
    rows = rows_by_cost(run.document, environment)
    return [row for row in rows if variants or not row["variant_of"]]


def _is_contestant(row: Row) -> bool:
    return row["kind"] not in BOUNDS


def _if_known(row: Row, name: str, factor: float, decimals: int) -> Cell:
    return with_interval(row, name, factor, decimals) if math.isfinite(row[name]) else Cell("")


def _legend(said: Row) -> str:
    parts = []
    if said["rival"] is not None:
        parts.append(f"\u00b9 The rival: {said['rival_choice']}.")
    if said["best_controller_in_hindsight"] is not None:
        parts.append("\u00b2 Lowest mean of the controllers on these very episodes, so chosen in hindsight.")
    if said["regret_against"] is not None:
        parts.append(
            f"Regret: cost beyond the {said['regret_against']}, on the episodes of the bound; gap closed: "
            "share of the way from the rival to that bound."
        )
    if said["replicas_bound"] is not None:
        parts.append(
            f"With replicas alone: share of the way to the {said['replicas_bound']}, which holds for methods "
            "that leave the pods as they are; of these only."
        )
    return " ".join(parts)


def _explained(table: str, count: int) -> str:
    text = (
        f"{count} comparison{'s' if count > 1 else ''}, paired by episode. p: bootstrap over training seeds "
        "and episodes, as it is and corrected by Holm over this table; sign flip: permutation test over "
        "episodes, of the policies as they are, not corrected. Lower or higher is said where the corrected "
        f"p is at most {ALPHA:g} and the interval excludes zero."
    )
    if table == HINDSIGHT:
        text += (
            " The controller was chosen by its mean on these very episodes, which is no part of the p-values."
        )
    return text

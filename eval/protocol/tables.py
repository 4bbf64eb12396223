"""Results of a protocol as tables for people: Markdown, and a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from podgym.eval.protocol.comparisons import ALPHA, EVERY, HINDSIGHT, RIVAL
from podgym.eval.tables import format_number

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]

_MEASURES = (
    ("slo_violation_ratio", "SLO violations, %", 100.0, 2),
    ("core_hours", "core-hours", 1.0, 1),
    ("churn", "churn, pods", 1.0, 0),
    ("response_time_mean_s", "response mean, ms", 1e3, 0),
)
"""Measure, heading, factor and decimals, beside the cost."""
_TITLES = {
    RIVAL: "Against the rival",
    EVERY: "Learned methods against every controller",
    HINDSIGHT: "Against the best controller in hindsight",
}


def markdown(document: Mapping[str, Any]) -> str:
    """Return the results of a protocol as a page of Markdown."""
    first, last = document["seeds"]
    lines = [
        f"# Protocol {document['protocol']}",
        "",
        *([document["description"], ""] if document["description"] else []),
        f"Part {document['part']}, seeds {first} to {last}; {100 * document['level']:.3g} % intervals of "
        f"{document['resamples']} bootstrap replicates over training seeds and episodes, paired by episode. "
        "Lower cost is better; nothing is in bold, the intervals say what is known.",
        "",
    ]
    if document["remarks"]:
        lines += [*(f"- {remark}" for remark in document["remarks"]), ""]
    for environment in document["environments"]:
        lines += _environment_lines(document, environment)
    if document["overall"]:
        lines += ["## All environments", "", *_table_lines(*_overall(document["overall"])), ""]
    for table, title in _TITLES.items():
        rows = [row for row in document["comparisons"] if row["table"] == table]
        if rows:
            lines += [f"## {title}", "", _explained(table, len(rows)), ""]
            lines += [*_table_lines(*_comparisons(rows)), ""]
    return "\n".join(lines)


def environment_table(document: Mapping[str, Any], environment: Row) -> "Table":
    """Return the results on one environment for a terminal of 80 columns, the lowest cost first.

    Intervals are given by the longer of their two sides; variants, which are there for fronts, are left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    headings = (
        "", "cost", "± 95 %", "viol.\n%", "core-\nhours", "churn", "mean\nms", "to rival, %\n± 95 %",
        "p\nHolm",
    )  # fmt: skip
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, title=environment["environment"])
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows_by_cost(document, environment["environment"]):
        if row["variant_of"]:
            continue
        if row["failure"]:
            table.add_row(method_text(row, environment), "failed")
            continue
        against = _against_rival(document, row)
        table.add_row(
            method_text(row, environment),
            format_number(row["cost"], 0),
            _longer_side(row, "cost", 1.0, 0),
            *(format_number(factor * row[name], decimals) for name, _, factor, decimals in _MEASURES),
            _short(against, "relative_difference", 100.0, 1) if against else "",
            _p_text(against["p_value_holm"]) if against else "",
        )
    return table


def _environment_lines(document: Mapping[str, Any], environment: Row) -> list[str]:
    headings = ["method", "runs", "cost", "IQM of cost", *(heading for _, heading, _, _ in _MEASURES),
                "regret", "difference to rival, %", "p (Holm)"]  # fmt: skip
    cells = []
    for row in rows_by_cost(document, environment["environment"]):
        if row["failure"]:
            cells.append([method_text(row, environment), "", "failed", *[""] * (len(headings) - 3)])
            continue
        against = _against_rival(document, row)
        cells.append(
            [
                method_text(row, environment),
                runs_text(row),
                _with_ends(row, "cost", 1.0, 0),
                _with_ends(row, "cost_iqm", 1.0, 0),
                *(_with_ends(row, name, factor, decimals) for name, _, factor, decimals in _MEASURES),
                _with_ends(row, "regret", 1.0, 0),
                _signed(against, "relative_difference", 100.0, 1) if against else "",
                _p_text(against["p_value_holm"]) if against else "",
            ]
        )
    return [
        f"## {environment['environment']}",
        "",
        *_table_lines(headings, cells),
        "",
        legend(environment),
        "",
    ]


def rows_by_cost(document: Mapping[str, Any], environment: str) -> list[Row]:
    """Return the rows of an environment, the lowest cost first and failures last."""
    rows = [row for row in document["summary"] if row["environment"] == environment]
    return sorted(rows, key=lambda row: (bool(row["failure"]), row["cost"]))


def runs_text(row: Row) -> str:
    """Return the number of episodes, times that of training seeds of what has several."""
    seeds = f"{row['training_seeds']} \u00d7 " if row["training_seeds"] > 1 else ""
    return f"{seeds}{row['episodes']}"


def method_text(row: Row, environment: Row) -> str:
    """Return the name of a method with its marks, and how many episodes it ran if not all."""
    part = f" (first {row['episodes']})" if row["episodes"] < environment["episodes"] else ""
    return f"{row['method']}{marks(row, environment)}{part}"


def marks(row: Row, environment: Row) -> str:
    """Return what stands behind the name of the rival, and of the best controller in hindsight."""
    rival = "¹" if row["method"] == environment["rival"] else ""
    return rival + ("²" if row["method"] == environment["best_controller_in_hindsight"] else "")


def legend(environment: Row) -> str:
    """Return what the marks and the regret of an environment's table mean."""
    parts = []
    if environment["rival"] is not None:
        parts.append(f"¹ rival: {environment['rival']} ({environment['rival_choice']}).")
    if environment["best_controller_in_hindsight"] is not None:
        parts.append(
            f"² lowest mean cost of the controllers on these episodes, chosen in hindsight: "
            f"{environment['best_controller_in_hindsight']}."
        )
    if environment["regret_against"] is not None:
        parts.append(f"Regret: cost beyond {environment['regret_against']}, on the episodes of the bound.")
    return " ".join(parts)


def _overall(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    headings = ["method", "difference to rival, %, mean over environments", "gap to the bound closed, %",
                "to that of replicas alone, %"]  # fmt: skip
    cells = [
        [
            row["method"],
            _signed(row, "relative_difference", 100.0, 1),
            _signed(row, "gap_closed", 100.0, 0),
            _signed(row, "replicas_gap_closed", 100.0, 0),
        ]
        for row in sorted(rows, key=lambda row: row["relative_difference"])
    ]
    return headings, cells


def _comparisons(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    headings = ["environment", "method", "against", "difference, %", "p (Holm)", "p (sign flip)", "verdict",
                "better episodes, %", "difference at equal SLO violation"]  # fmt: skip
    cells = [
        [
            row["environment"].rpartition("/")[2],
            row["method"],
            row["against"],
            _signed(row, "relative_difference", 100.0, 1),
            _p_text(row["p_value_holm"]),
            _p_text(row["p_value_sign_flip"]),
            row["verdict"],
            _with_ends(row, "probability_of_improvement", 100.0, 0),
            _equal_violation(row),
        ]
        for row in rows
    ]
    return headings, cells


def _equal_violation(row: Row) -> str:
    if not math.isfinite(row["equal_violation_difference"]):
        return str(row["equal_violation_note"])
    difference = _signed(row, "equal_violation_difference", 1.0, 0)
    return f"{difference}, p {_p_text(row['equal_violation_p_value_holm'])}, {row['equal_violation_note']}"


def _explained(table: str, count: int) -> str:
    text = (
        f"{count} comparisons. p: paired bootstrap over training seeds and episodes, corrected by Holm over "
        "this table; sign flip: permutation test over episodes, of the policies as they are, not corrected. "
        f"A verdict needs p of at most {ALPHA:g} and an interval without 0."
    )
    if table == HINDSIGHT:
        text += " The controller was chosen by its mean on these very episodes: nobody had it before."
    return text


def _table_lines(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    rule = "|".join("---" if number == 0 else "---:" for number in range(len(headings)))
    return [f"| {' | '.join(headings)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in cells)]


def _against_rival(document: Mapping[str, Any], row: Row) -> Row | None:
    wanted = (RIVAL, row["environment"], row["method"])
    for each in document["comparisons"]:
        if (each["table"], each["environment"], each["method"]) == wanted:
            return dict(each)
    return None


def _ends(row: Row, name: str, factor: float, decimals: int) -> str:
    lower, upper = (factor * row[f"{name}_{end}"] for end in ("lower", "upper"))
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return "-"
    return f"{format_number(lower, decimals)} to {format_number(upper, decimals)}"


def _longer_side(row: Row, name: str, factor: float, decimals: int) -> str:
    lower, middle, upper = (factor * row[f"{name}{end}"] for end in ("_lower", "", "_upper"))
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return "-"
    return f"± {format_number(max(middle - lower, upper - middle), decimals)}"


def _short(row: Row, name: str, factor: float, decimals: int) -> str:
    """Return a number with its sign, and the longer side of its interval."""
    return f"{factor * row[name]:+.{decimals}f} {_longer_side(row, name, factor, decimals)}"


def _with_ends(row: Row, name: str, factor: float, decimals: int) -> str:
    if not math.isfinite(row[name]):
        return "-"
    return f"{format_number(factor * row[name], decimals)} [{_ends(row, name, factor, decimals)}]"


def _signed(row: Row, name: str, factor: float, decimals: int) -> str:
    """Return a number and its interval, all with their signs."""
    numbers = [factor * row[f"{name}{end}"] for end in ("", "_lower", "_upper")]
    if not math.isfinite(numbers[0]):
        return "-"
    texts = [f"{number:+.{decimals}f}" if math.isfinite(number) else "-" for number in numbers]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _p_text(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"

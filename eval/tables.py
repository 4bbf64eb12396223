"""Measures as tables: for a terminal (rich) and as plain rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podgym.eval.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table

_LARGEST_SHORT = 99_999.5  # larger numbers are written with a power of ten


@dataclass(frozen=True, slots=True)
class Row:
    """How one measure is shown to people."""

    measure: str
    """Name in ``MEASURES``."""
    label: str
    """Heading with unit."""
    factor: float
    """From the measure's unit to the one shown."""
    decimals: int | None
    """Digits after the point; None for a count, which has one only where it is a mean over episodes."""


ROWS = (
    Row("response_time_mean_s", "response mean, ms", 1e3, 0),
    Row("response_time_p50_s", "response p50, ms", 1e3, 0),
    Row("response_time_p95_s", "response p95, ms", 1e3, 0),
    Row("response_time_p99_s", "response p99, ms", 1e3, 0),
    Row("slo_violation_ratio", "SLO violations, %", 100.0, 2),
    Row("throughput_rps", "throughput, req/s", 1.0, 1),
    Row("throughput_busiest_rps", "  busiest phase", 1.0, 1),
    Row("error_ratio", "errors, %", 100.0, 2),
    Row("rejected_ratio", "  rejected", 100.0, 2),
    Row("timed_out_ratio", "  timed out", 100.0, 2),
    Row("lost_ratio", "  lost with pod", 100.0, 2),
    Row("cpu_utilisation", "CPU use, %", 100.0, 1),
    Row("memory_utilisation", "memory use, %", 100.0, 1),
    Row("mean_utilisation", "mean of both, %", 100.0, 1),
    Row("core_hours", "core-hours", 1.0, 1),
    Row("gib_hours", "GiB-hours", 1.0, 1),
    Row("replica_hours", "replica-hours", 1.0, 1),
    Row("money", "money", 1.0, 3),
    Row("energy_wh", "energy, Wh", 1.0, 1),
    Row("scaling_events", "scaling events", 1.0, None),
    Row("replicas_changed", "  replicas changed", 1.0, None),
    Row("under_provisioning", "under-prov., %", 100.0, 1),
    Row("under_provisioned_time", "  % of the time", 100.0, 1),
    Row("over_provisioning", "over-prov., %", 100.0, 1),
    Row("over_provisioned_time", "  % of the time", 100.0, 1),
    Row("instability", "instability, %", 100.0, 1),
    Row("oom_kills", "OOM kills", 1.0, None),
    Row("restarts", "restarts", 1.0, None),
    Row("reward", "reward", 1.0, 0),
)
"""Every measure, in the order and the unit in which it is shown."""

_SERVICE_HEADINGS = {
    "response_time_mean_s": "mean\nms",
    "response_time_p95_s": "p95\nms",
    "slo_violation_ratio": "SLO\nviol. %",
    "error_ratio": "errors\n%",
    "cpu_utilisation": "CPU\nuse %",
    "memory_utilisation": "memory\nuse %",
    "core_hours": "core-\nhours",
    "replica_hours": "replica-\nhours",
    "scaling_events": "scaling\nevents",
}


def format_number(value: float, decimals: int | None) -> str:
    """Return a number for people, ``-`` for what is not defined; ``decimals`` as in ``Row``."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= _LARGEST_SHORT:
        return f"{value:.2g}".replace("e+0", "e").replace("e+", "e")
    if value == 0.0:
        return "0"
    if decimals is None:
        decimals = 0 if value == round(value) else 1
    return f"{value:.{0 if abs(value) >= 1000.0 else decimals}f}"


def format_value(row: Row, mean: float, spread: float | None = None) -> str:
    """Return the text of one cell: the mean, and the standard deviation if there is one."""
    text = format_number(row.factor * mean, row.decimals)
    if spread is None or not math.isfinite(spread):
        return text
    return f"{text} ± {format_number(row.factor * spread, row.decimals)}"


def comparison_table(summaries: Sequence[Summary], title: str | None = None) -> "Table":
    """Return one table of all measures: a row per measure, a column per summary.

    With several episodes for every summary each cell is mean ± standard deviation if there are at most two
    columns, else the mean alone.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    spreads = len(summaries) <= 2 and all(len(summary.seeds) > 1 for summary in summaries)
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", padding=0, pad_edge=False)
    table.add_column("", no_wrap=True)
    groups = {summary.group for summary in summaries}
    for summary in summaries:
        name = summary.controller.replace(" ", "\n").replace("_", "_\n")  # narrow, for a terminal
        heading = f"{summary.group}\n{name}" if len(groups) > 1 else name
        table.add_column(heading, justify="right", no_wrap=True, min_width=6)
    for row in ROWS:
        cells = (
            format_value(row, summary.mean[row.measure], summary.spread[row.measure] if spreads else None)
            for summary in summaries
        )
        table.add_row(row.label, *cells)
    return table


_RANKING_HEADINGS = {
    "reward": "reward",
    "response_time_mean_s": "mean\nms",
    "response_time_p95_s": "p95\nms",
    "slo_violation_ratio": "SLO\nviol. %",
    "cpu_utilisation": "CPU\nuse %",
    "memory_utilisation": "memory\nuse %",
    "core_hours": "core-\nhours",
    "scaling_events": "scaling\nevents",
}
MOST_COLUMNS = 5
"""What ``comparison_table`` can show side by side on a terminal; for more there is ``ranking_table``."""


def ranking_table(summaries: Sequence[Summary]) -> "Table":
    """Return a table with a row per summary, the highest reward first, and the main measures as columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("", no_wrap=True)
    rows = {row.measure: row for row in ROWS}
    for heading in _RANKING_HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for summary in sorted(summaries, key=lambda each: -each.mean["reward"]):
        cells = (format_value(rows[name], summary.mean[name]) for name in _RANKING_HEADINGS)
        table.add_row(summary.controller, *cells)
    return table


def service_table(summary: Summary) -> "Table":
    """Return a table with a row per service and the main measures of it as columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column(f"{summary.controller},\nby service", no_wrap=True)
    rows = [row for row in ROWS if row.measure in _SERVICE_HEADINGS]
    for row in rows:
        table.add_column(_SERVICE_HEADINGS[row.measure], justify="right", no_wrap=True)
    for service, measures in summary.by_service.items():
        table.add_row(service, *(format_value(row, measures[row.measure]) for row in rows))
    return table


def plain_rows(summaries: Sequence[Summary]) -> list[dict[str, str | float]]:
    """Return one flat row per summary: environment, controller, number of episodes and every mean."""
    return [
        {
            "environment": summary.group,
            "controller": summary.controller,
            "episodes": float(len(summary.seeds)),
            **summary.mean,
        }
        for summary in summaries
    ]

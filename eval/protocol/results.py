"""Files of results: every episode, summaries, comparisons, and one page to read."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from podgym.envs.core import open_workload
from podgym.envs.workloads import TraceWorkload
from podgym.envs.workloads.profile import joint_sha256
from podgym.eval.episode import library_versions
from podgym.eval.protocol.comparisons import comparison_rows
from podgym.eval.protocol.definition import Protocol
from podgym.eval.protocol.entrants import Entrant, protocol_config
from podgym.eval.protocol.scores import Field, field_of
from podgym.eval.protocol.summary import Row, overall_rows, summary_rows
from podgym.eval.protocol.tables import markdown
from podgym.eval.protocol.units import EpisodeRow, write_rows
from podgym.eval.statistics import Bootstrap
from podgym.files import write_json, write_text

FORMAT = "podgym.protocol_results/2"
"""What ``summary.json`` says it is."""


def write_results(
    folder: Path,
    protocol: Protocol,
    entrants: Sequence[Entrant],
    rows: Sequence[EpisodeRow],
    remarks: Sequence[str],
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Compute and write the results of a protocol.

    Args:
        folder: where to.
        protocol: what was run.
        entrants: all that took part.
        rows: all episodes.
        remarks: what a reader should know.

    Returns:
        The content of ``summary.json``, and the paths of all files.
    """
    document = result_document(protocol, entrants, rows, remarks)
    paths = (
        write_text(folder / "results.md", markdown(document)),
        write_json(folder / "summary.json", document),
        _write_table(folder / "summary.csv", document["summary"]),
        _write_table(folder / "comparisons.csv", document["comparisons"]),
        _write_table(folder / "overall.csv", document["overall"]),
        write_rows(folder / "results.csv", rows),
    )
    return document, paths


def result_document(
    protocol: Protocol, entrants: Sequence[Entrant], rows: Sequence[EpisodeRow], remarks: Sequence[str]
) -> dict[str, Any]:
    """Return what the episodes of a protocol amount to, as plain data."""
    fields = [field_of(each, entrants, rows, protocol.rival) for each in protocol.ids]
    strata = [Bootstrap(protocol.resamples, stratum=number) for number in range(len(fields))]
    return {
        "format": FORMAT,
        "protocol": protocol.name,
        "description": protocol.description,
        "part": protocol.part,
        "seeds": [protocol.seeds[0], protocol.seeds[-1]],
        "level": strata[0].level,
        "resamples": protocol.resamples,
        "versions": library_versions(),
        "remarks": [*remarks, *_trace_remarks(protocol), *_failures(fields)],
        "environments": [_environment(each, rows, protocol.episodes) for each in fields],
        "summary": [
            row
            for field, bootstrap in zip(fields, strata, strict=True)
            for row in summary_rows(field, bootstrap)
        ],
        "comparisons": comparison_rows(fields, strata),
        "overall": overall_rows(fields, strata),
    }


def loads_sha256(environment: str, rows: Sequence[EpisodeRow]) -> str:
    """Return a hash of the loads of all episodes of an environment, of which every method faced the same."""
    own = (row for row in rows if row.environment == environment and not row.failure)
    hashes = {row.seed: row.profile_sha256 for row in own}
    return joint_sha256(hashes[seed] for seed in sorted(hashes))


def _environment(field: Field, rows: Sequence[EpisodeRow], episodes: int) -> Row:
    return {
        "environment": field.environment,
        "episodes": episodes,
        "loads_sha256": loads_sha256(field.environment, rows),
        "rival": field.rival.method if field.rival else None,
        "rival_choice": field.rival_choice,
        "best_controller_in_hindsight": field.hindsight.method if field.hindsight else None,
        "regret_against": field.bound.method if field.bound else None,
        "replicas_bound": field.replicas_bound.method if field.replicas_bound else None,
    }


def _failures(fields: Sequence[Field]) -> list[str]:
    return [
        f"{each.method} failed on {field.environment}: {each.failure}"
        for field in fields
        for each in field.scores
        if each.failure
    ]


def _trace_remarks(protocol: Protocol) -> list[str]:
    """Say of traces what an interval over their episodes does not know."""
    remarks = []
    for environment in protocol.ids:
        workload = open_workload(protocol_config(protocol, environment))
        if isinstance(workload, TraceWorkload):
            remarks.append(
                f"Episodes of {environment} are drawn from the same {workload.max_duration_s / 3600.0:.3g} "
                f"hours of trace, so they overlap: intervals tell of other draws from these hours, not of "
                "other days."
            )
    return remarks


def _write_table(path: Path, rows: Sequence[Row]) -> Path:
    """Write flat rows of the same columns as CSV; what is not known is empty."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return write_text(path, text.getvalue())


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and not math.isfinite(value) else value

"""Tables of a live evaluation: measures, the simulator's errors, the guard, and how the episodes went."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from podgym.envs.kubernetes.guard import REASONS
from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.agreement import Agreement, agreement
from podgym.eval.live.report_figures import HOW_WORDS, asked_and_held
from podgym.eval.live.report_files import HOWS, LiveResults, RecordedEpisode
from podgym.eval.live.simulated import ALONE, REPLAYED
from podgym.eval.measures import measure
from podgym.eval.report.blocks import Cell, Column, Table
from podgym.eval.report.numbers import UNKNOWN, interval, number, signed
from podgym.eval.tables import ROWS, Row

QUANTITY_WORDS = {
    "replicas_ready": ("ready replicas", 1.0, 2),
    "response_time_s": ("response time, mean, ms", 1e3, 1),
    "cpu_utilisation": ("CPU used / requested, %", 100.0, 1),
}
"""Heading, factor and digits of each quantity of ``QUANTITIES``."""
MEASURED = "observed"
_RUN_WORDS = {REPLAYED: "simulator, replayed", ALONE: "simulator, by itself"}
_MAIN = (
    "slo_violation_ratio", "response_time_mean_s", "response_time_p95_s", "error_ratio", "throughput_rps",
    "cpu_utilisation", "core_hours", "replica_hours", "scaling_events", "reward",
)  # fmt: skip
_MONEY = "money"
_MOST_PROBLEMS = 60
_UNKNOWN_CODE = "not a code of this podgym"

Group = tuple[str, str, Sequence[EpisodeRecord]]
"""Method, what is shown of it (observed, or how the simulator ran), and the episodes."""


def groups(results: LiveResults) -> list[Group]:
    """Return what has measures, in the order of rows: each method observed, then simulated."""
    found: list[Group] = []
    for method in results.methods:
        found.append((method, MEASURED, [each.record for each in results.of(method)]))
        for how in HOWS:
            records = results.simulated(method, how)
            found += [(method, _RUN_WORDS[how], records)] if records else []
    return found


def measure_table(results: LiveResults) -> Table:
    """Return the main measures, a row per method and per simulated run beside it."""
    rows = {row.measure: row for row in ROWS}
    columns = (
        Column("method", numeric=False),
        Column("run", numeric=False),
        *(Column(rows[name].label.strip()) for name in _MAIN),
    )
    cells = tuple(
        (Cell(method), Cell(shown), *(_measure_cell(rows[name], values[name]) for name in _MAIN))
        for method, shown, values in _values(results)
    )
    return Table("Measures of the episodes", columns, cells, _range_words(results))


def all_measures_table(results: LiveResults) -> Table:
    """Return every measure, a row each, and a column per method and per simulated run beside it."""
    values = _values(results)
    columns = tuple(Column(f"{method}: {shown}") for method, shown, _ in values)
    rows = tuple(
        (Cell(row.label.strip()), *(_measure_cell(row, each[row.measure]) for _, _, each in values))
        for row in ROWS
        if row.measure != _MONEY or any(math.isfinite(each[_MONEY][0]) for _, _, each in values)
    )
    return Table("Every measure", (Column("measure", numeric=False), *columns), rows, _range_words(results))


def _values(results: LiveResults) -> list[tuple[str, str, Mapping[str, Sequence[float]]]]:
    """Return the measures of each episode of each group; money is that of ``results.json``."""
    found: list[tuple[str, str, Mapping[str, Sequence[float]]]] = []
    for method, shown, records in groups(results):
        every = [measure(record) for record in records]
        values = {name: [each[name] for each in every] for name in every[0]}
        found.append((method, shown, {**values, _MONEY: [results.money(records[0].metadata.controller)]}))
    return found


def _measure_cell(row: Row, values: Sequence[float]) -> Cell:
    """Return the mean over the episodes, with the least and the most of several."""
    scaled = [row.factor * value for value in values]
    mean = sum(scaled) / len(scaled)
    decimals = (
        (0 if mean == round(mean, 6) else 1) if row.decimals is None and math.isfinite(mean) else row.decimals
    )
    ends = interval(min(scaled), max(scaled), decimals or 0) if len(scaled) > 1 else ""
    return Cell(number(mean, decimals or 0), ends)


def _range_words(results: LiveResults) -> str:
    counts = {len(results.of(method)) for method in results.methods}
    if max(counts) == 1:
        return "One episode each: there is no interval, and none can be given."
    return "Means over the episodes; in brackets the least and the most of them: no confidence interval."


def agreements(results: LiveResults) -> dict[tuple[str, str], tuple[Agreement, ...]]:
    """Return how far the simulator was off, by method and how it was run, over all its episodes.

    By itself it is compared only where the decisions of the method had an effect.
    """
    found = {}
    for method in results.methods:
        for how in HOWS:
            known = [
                each
                for each in results.of(method)
                if how in each.simulated and (how == REPLAYED or each.acted)
            ]
            if known:
                pairs = [(each.record, each.simulated[how]) for each in known]
                found[method, how] = agreement(pairs, [each.view for each in known])
    return found


def agreement_table(results: LiveResults) -> Table:
    """Return what was predicted and observed of each quantity, with the errors."""
    columns = (
        Column("method", numeric=False), Column("simulator", numeric=False),
        Column("service", numeric=False), Column("quantity", numeric=False), Column("observed"),
        Column("predicted"), Column("bias"), Column("bias, %"), Column("error, % (MAPE)"),
        Column("intervals"),
    )  # fmt: skip
    rows = tuple(
        (Cell(method), Cell(HOW_WORDS[how]), Cell(each.service), *_agreement_cells(each))
        for (method, how), found in agreements(results).items()
        for each in found
    )
    note = (
        "Means over the intervals in which both are known; response time and CPU of the simulator through "
        "the window and the lag of the monitoring. Bias: predicted minus observed; MAPE: mean of "
        "|predicted \u2212 observed| / observed over the intervals."
    )
    return Table("Predicted by the simulator against observed on the cluster", columns, rows, note)


def _agreement_cells(each: Agreement) -> tuple[Cell, ...]:
    words, factor, decimals = QUANTITY_WORDS[each.quantity]
    return (
        Cell(words),
        Cell(number(factor * each.observed, decimals)),
        Cell(number(factor * each.predicted, decimals)),
        Cell(signed(factor * each.bias, decimals)),
        Cell(signed(relative_bias(each), 1)),
        Cell(number(each.mean_absolute_percentage_error, 1)),
        Cell(str(each.intervals)),
    )


def relative_bias(each: Agreement) -> float:
    """Return the bias in per cent of what was observed; nan where that is nothing."""
    return 100.0 * each.bias / each.observed if each.observed > 0.0 else math.nan


def held_words(results: LiveResults) -> tuple[str, ...]:
    """Return, for each method, in how many decisions the guard set other replicas than were asked for."""
    found = []
    for method in results.methods:
        episodes = results.of(method)
        held = sum(int(np.isfinite(asked_and_held(each)).sum()) for each in episodes)
        total = sum(len(each.decisions) for each in episodes)
        found.append(
            f"{method}: other replicas than were asked for in {held} of {total} decisions."
            if held
            else f"{method}: all of {total} decisions passed as they were, or asked for nothing."
        )
    return tuple(found)


def guard_table(results: LiveResults) -> Table:
    """Return the codes of the guard by method, the most frequent first, and what they mean."""
    columns = (
        Column("method", numeric=False), Column("code", numeric=False), Column("decisions"),
        Column("of all, %"), Column("what it means", numeric=False),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for method in results.methods:
        counts, total = _codes(results.of(method))
        rows += [
            (
                Cell(method), Cell(code, code=True), Cell(number(float(count), 0)),
                Cell(number(100.0 * count / total, 1)), Cell(REASONS.get(code, _UNKNOWN_CODE)),
            )
            for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]  # fmt: skip
    note = "A decision may have several codes; of several services each has its own decision in an interval."
    return Table("What the guard said", columns, tuple(rows), note)


def _codes(episodes: Sequence[RecordedEpisode]) -> tuple[Counter[str], int]:
    """Return how often the guard gave each code, and the decisions of single services."""
    steps = [step for each in episodes for entry in each.decisions for step in entry.get("carried_out", ())]
    return Counter(str(code) for step in steps for code in step.get("reasons", ())), len(steps)


def course_table(results: LiveResults) -> Table:
    """Return how each episode went: length, lateness, calls of the API server, problems, end."""
    columns = (
        Column("method", numeric=False), Column("seed"), Column("mode", numeric=False),
        Column("began, UTC", numeric=False), Column("minutes"), Column("intervals"), Column("late intervals"),
        Column("late, mean, s"), Column("late, at most, s"), Column("API calls"),
        Column("in an interval, at most"), Column("intervals with problems"), Column("end", numeric=False),
    )  # fmt: skip
    rows = tuple(_course_cells(each) for each in results.episodes)
    note = (
        "Late is when an interval ended after its time, counted from a tenth of an interval on. API calls "
        "are those of the Kubernetes API server, not of the monitoring."
    )
    return Table("How the episodes went", columns, rows, note)


def _course_cells(episode: RecordedEpisode) -> tuple[Cell, ...]:
    document = episode.document
    late, calls = document["lateness"], document["api_calls"]
    began = str(document["started"] or UNKNOWN)[:19].replace("T", " ")
    return (
        Cell(episode.method),
        Cell(str(episode.seed)),
        Cell(str(document["mode"])),
        Cell(began),
        Cell(number(episode.record.duration_s / 60.0, 1)),
        Cell(f"{document['intervals']} of {document['intervals_planned']}"),
        Cell(str(late["late_intervals"])),
        Cell(number(float(late["mean_s"]), 2)),
        Cell(number(float(late["largest_s"]), 2)),
        Cell(number(float(calls["total"]), 0)),
        Cell(str(calls["most_in_an_interval"])),
        Cell(str(document["intervals_with_problems"])),
        Cell(str(document["ended_because"] or "as planned")),
    )


def problem_table(results: LiveResults) -> Table | None:
    """Return the problems of each episode, equal ones together; None: there was none."""
    columns = (
        Column("method", numeric=False), Column("seed"), Column("intervals"), Column("first"), Column("last"),
        Column("problem", numeric=False),
    )  # fmt: skip
    rows = []
    for episode in results.episodes:
        places: dict[str, list[int]] = {}
        for each in episode.document["problems"]:
            places.setdefault(str(each["text"]), []).append(int(each["interval"]))
        rows += [
            (
                Cell(episode.method), Cell(str(episode.seed)), Cell(str(len(set(at)))), Cell(str(min(at))),
                Cell(str(max(at))), Cell(text),
            )
            for text, at in places.items()
        ]  # fmt: skip
    if not rows:
        return None
    rest = len(rows) - _MOST_PROBLEMS
    note = f"{rest} further ones are in the files run.json." if rest > 0 else ""
    return Table("Problems, by the interval in which they came", columns, tuple(rows[:_MOST_PROBLEMS]), note)


def load_table(results: LiveResults) -> Table:
    """Return the load that each episode met, as it was measured."""
    columns = (
        Column("method", numeric=False), Column("seed"), Column("mean, requests/s"), Column("least"),
        Column("most"), Column("requests completed"), Column("SHA-256 of the load", numeric=False),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(each.method), Cell(str(each.seed)), Cell(number(mean_rate_rps([each]), 1)),
            Cell(number(float(each.record.load.min()), 1)), Cell(number(float(each.record.load.max()), 1)),
            Cell(number(float(each.record.columns["completed"].sum()), 0)),
            Cell(each.record.metadata.profile_sha256, code=True),
        )
        for each in results.episodes
    )  # fmt: skip
    note = (
        "Means over control intervals. Equal hashes are equal loads; two runs on a cluster have other ones."
    )
    return Table("The load, as it was measured", columns, rows, note)


def mean_rate_rps(episodes: Sequence[RecordedEpisode]) -> float:
    """Return the mean load of episodes, each interval by its length, requests/s."""
    load = [float((each.record.load * each.record.columns["duration_s"][:, 0]).sum()) for each in episodes]
    return sum(load) / sum(each.record.duration_s for each in episodes)

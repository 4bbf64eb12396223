"""Predicted against observed as a table, and the part of the results document that live episodes add."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.agreement import Agreement, agreement
from podgym.eval.live.result import LiveEpisode, LiveResult
from podgym.eval.live.simulated import ALONE, REPLAYED
from podgym.eval.live.stopping import signal_name
from podgym.eval.tables import format_number

if TYPE_CHECKING:
    from rich.table import Table

    from podgym.eval.contenders import Contender

_SHOWN = {
    "replicas_ready": ("ready replicas", 1.0, 2),
    "response_time_s": ("response, ms", 1e3, 0),
    "cpu_utilisation": ("CPU use, %", 100.0, 1),
}
"""Heading, factor and digits of each quantity."""

_HOWS = (REPLAYED, ALONE)

Agreements = Mapping[tuple[str, str], tuple[Agreement, ...]]
"""By the label of the contender and how the simulator was run."""


def live_groups(result: LiveResult, contenders: Sequence["Contender"]) -> list[list[EpisodeRecord]]:
    """Return the episodes row by row: of each contender the live ones, then its simulated ones.

    Simulated rows are left out where an episode has none. Contenders without an episode have no row.
    """
    groups: list[list[EpisodeRecord]] = []
    for contender in contenders:
        episodes = result.of(contender)
        rows = ([each.recording.record for each in episodes], *(_simulated(episodes, how) for how in _HOWS))
        groups += [row for row in rows if row]
    return groups


def _simulated(episodes: Sequence[LiveEpisode], how: str) -> list[EpisodeRecord]:
    """Return the simulated episodes, or none unless every live one has its own."""
    found = [
        None if each.beside is None else (each.beside.replayed if how == REPLAYED else each.beside.alone)
        for each in episodes
    ]
    known = [each for each in found if each is not None]
    return known if len(known) == len(episodes) else []


def all_agreements(result: LiveResult, contenders: Sequence["Contender"]) -> Agreements:
    """Return how far the simulator was off, over all episodes of each contender.

    Of a contender whose decisions had no effect only what was in force is compared, not what it would have
    done by itself.
    """
    found = {}
    for contender in contenders:
        episodes = result.of(contender)
        for how in _HOWS:
            simulated = _simulated(episodes, how)
            if simulated and (how == REPLAYED or episodes[0].recording.settings.mode == "act"):
                live = [each.recording.record for each in episodes]
                views = [each.recording.view for each in episodes]
                found[contender.label, how] = agreement(list(zip(live, simulated, strict=True)), views)
    return found


def agreement_table(agreements: Agreements) -> "Table":
    """Return a table of what was observed and predicted, with the errors."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    services = {each.service for found in agreements.values() for each in found}
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("predicted by\nthe simulator", no_wrap=True)
    for heading in ("", "observed", "predicted", "bias", "error, %\n(MAPE)", "intervals"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for (label, how), found in agreements.items():
        for number, each in enumerate(found):
            heading, factor, decimals = _SHOWN[each.quantity]
            name = f"{each.service} {heading}" if len(services) > 1 else heading
            numbers = [
                format_number(factor * value, decimals)
                for value in (each.observed, each.predicted, each.bias)
            ]
            error = format_number(each.mean_absolute_percentage_error, 1)
            first = f"{label} {how}" if number == 0 else ""
            table.add_row(first, name, *numbers, error, str(each.intervals))
    return table


def live_document(result: LiveResult, agreements: Agreements) -> dict[str, Any]:
    """Return what live episodes add to the results: how the simulator did, and where the recordings lie."""
    return {
        "predicted_against_observed": [
            {"controller": label, "simulator": how, **dataclasses.asdict(each)}
            for (label, how), found in agreements.items()
            for each in found
        ],
        "recordings": [
            {
                "controller": episode.contender.label,
                "seed": episode.recording.record.metadata.seed,
                "folder": str(episode.folder),
                "intervals": episode.recording.record.num_steps,
                "intervals_planned": episode.recording.planned_steps,
                "ended_because": episode.recording.notes.ended_because,
            }
            for episode in result.episodes
        ],
        "failures": [
            {"controller": each.contender.label, "seed": each.seed, "reason": each.reason}
            for each in result.failures
        ],
        "aborted": result.aborted,
        "stopped": None if result.stopped is None else signal_name(result.stopped),
    }


def live_remarks(result: LiveResult) -> list[str]:
    """Return what a reader must know of the episodes: which ended early, came late, or had problems."""
    remarks = []
    if result.stopped is not None:
        remarks.append(f"stopped by {signal_name(result.stopped)}: rows are of the episodes that were over")
    remarks += [f"no recording of {each.reason}" for each in result.failures if not each.recorded]
    for episode in result.episodes:
        recording, notes = episode.recording, episode.recording.notes
        who = f"{episode.contender.label}, seed {recording.record.metadata.seed}"
        steps = recording.record.num_steps
        if notes.ended_because is not None:
            remarks.append(
                f"{who} ended after {steps} of {recording.planned_steps} intervals: {notes.ended_because}."
            )
        limit_s = 0.1 * recording.record.metadata.control_interval_s
        late = [each for each in notes.late_s if each > limit_s]
        if late:
            remarks.append(
                f"{who}: {len(late)} of {steps} intervals ended late, by {max(late):.1f} s at most."
            )
        troubled = len({interval for interval, _ in notes.problems})
        if troubled:
            remarks.append(
                f"{who}: problems in {troubled} of {steps} intervals, the first: {notes.problems[0][1]}."
            )
        remarks += [f"{who}: {text}." for text in recording.remarks]
    return [f"{text.rstrip('.')}." for text in remarks]

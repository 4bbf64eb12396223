"""The report of a live evaluation: the same pages as a protocol has, made from what was recorded.

Nothing is run again: a real cluster cannot be. ``report_files`` reads the folder, ``report_verdict``,
``report_tables`` and ``report_figures`` say and show it; blocks and pages are those of
``podgym.eval.report``.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from podgym.envs.simulator.constants import Provenance
from podgym.errors import InputError
from podgym.eval.contenders import TUNED
from podgym.eval.live import report_tables as tables
from podgym.eval.live.plan import RUN_FILE, mode_suffix
from podgym.eval.live.recording import DECISIONS_FILE, LIVE_FILE
from podgym.eval.live.report_figures import episode_figure
from podgym.eval.live.report_files import RESULTS_FILE, LiveResults, RecordedEpisode, read_live
from podgym.eval.live.report_verdict import verdict
from podgym.eval.report.blocks import Block, Bullets, Cell, Code, Column, Details, Paragraph, Section, Table
from podgym.eval.report.content import OnProgress, Report
from podgym.eval.report.drawing import looks
from podgym.eval.report.provenance import constants_of
from podgym.eval.report.what_ran import file_sha256
from podgym.eval.report.write import Written, write_pages
from podgym.files import usable_folder

FIGURE_FILE = re.compile(r"live-episode-\d+\.svg")
"""What figures of these reports are called, and nothing else."""
_CLUSTER = "cluster "
_CLOSING = (
    "Nothing on this page is in bold for having won: single episodes show what happened, not what will."
)


def write_live_report(
    run_folder: str | Path,
    output: str | Path | None = None,
    seed: int | None = None,
    on_progress: OnProgress = lambda done, total, note: None,
) -> Written:
    """Write the report of a live evaluation; figures of an earlier one that are not in it are removed.

    Args:
        run_folder: what ``podgym evaluate --cluster`` wrote.
        output: where to; None: into the same folder.
        seed: of the episodes that are drawn; None: of each method the first that went on to its end.
        on_progress: told how far it is.

    Raises:
        InputError: no such recordings, a seed that nobody has, or a folder that cannot be written to.
    """
    folder = usable_folder(run_folder if output is None else output)
    report = live_report(read_live(run_folder), seed, on_progress)
    return write_pages(report, folder, FIGURE_FILE)


def live_report(
    results: LiveResults,
    seed: int | None = None,
    on_progress: OnProgress = lambda done, total, note: None,
) -> Report:
    """Return the report of a live evaluation.

    Args:
        results: from ``read_live``.
        seed: see ``write_live_report``.
        on_progress: told what is being done.

    Raises:
        InputError: nobody has an episode of this seed.
    """
    drawn = _drawn(results, seed)
    parts: tuple[tuple[str, str, Callable[[], Iterable[Block]]], ...] = (
        ("results", "Measures", lambda: _measures(results)),
        ("simulator", "Predicted against observed", lambda: _predicted(results)),
        ("episodes", "Single episodes", lambda: _episodes(results, drawn)),
        ("guard", "What the guard held back", lambda: _guard(results)),
        ("course", "Lateness, calls and problems", lambda: _course(results)),
        ("settings", "Settings of the cluster", lambda: _settings(results)),
        ("repeat", "Loads, versions and commands", lambda: _repeat(results)),
        ("constants", "Constants of the simulation", lambda: _constants(results)),
    )
    sections = []
    for place, (name, title, make) in enumerate(parts):
        on_progress(place, len(parts), title)
        sections.append(Section(name, title, tuple(make())))
    return Report(
        _title(results), "Episodes on a real cluster, with the simulator beside on the recorded load.",
        _facts(results), verdict(results), tuple(sections), _CLOSING,
    )  # fmt: skip


def _title(results: LiveResults) -> str:
    name = results.episodes[0].record.metadata.environment
    return f"{name[0].upper()}{name[1:]}"


def _facts(results: LiveResults) -> tuple[tuple[str, str], ...]:
    episodes = results.episodes
    seeds = sorted({each.seed for each in episodes})
    services = dict.fromkeys(name for each in episodes for name in each.record.metadata.service_names)
    interval_s = sorted({each.record.metadata.control_interval_s for each in episodes})
    slo_ms = sorted({1e3 * slo for each in episodes for slo in each.record.metadata.slo_response_time_s})
    started = sorted(str(each.document["started"]) for each in episodes if each.document["started"])
    finished = sorted(str(each.document["finished"]) for each in episodes)
    when = " to ".join(each[:16].replace("T", " ") for each in (*started[:1], finished[-1]))
    return (
        ("methods", ", ".join(results.methods)),
        ("episodes", f"{len(episodes)}, seed {' to '.join(dict.fromkeys((str(seeds[0]), str(seeds[-1]))))}"),
        ("services", ", ".join(services)),
        ("a decision every", f"{', '.join(f'{each:g}' for each in interval_s)} s"),
        ("SLO", f"{' to '.join(f'{each:g}' for each in dict.fromkeys((slo_ms[0], slo_ms[-1])))} ms"),
        ("when", f"{when} UTC"),
        ("podgym", str(episodes[0].document["versions"].get("podgym", ""))),
    )


def _drawn(results: LiveResults, seed: int | None) -> list[RecordedEpisode]:
    """Return the episode of each method that is drawn: of a seed, or the first that went on to its end.

    Raises:
        InputError: nobody has an episode of this seed.
    """
    if seed is not None:
        found = [each for each in results.episodes if each.seed == seed]
        if not found:
            known = ", ".join(str(each) for each in sorted({each.seed for each in results.episodes}))
            raise InputError(f"episode seed {seed} is not among those recorded: {known}.")
        return found
    return [
        max(results.of(method), key=lambda each: (each.whole, each.record.num_steps, -each.seed))
        for method in results.methods
    ]


def _measures(results: LiveResults) -> list[Block]:
    every = tables.all_measures_table(results)
    return [tables.measure_table(results), Details(every.caption, (every,))]


def _predicted(results: LiveResults) -> list[Block]:
    table = tables.agreement_table(results)
    if not table.rows:
        return [Paragraph("The simulator was not run beside any episode, so nothing was predicted.")]
    words = (
        "Decisions replayed: the simulator was given the load and, interval by interval, what was in force "
        "on the cluster, so its errors are those of the model. Deciding by itself: the same method saw the "
        "simulated cluster and decided there, so errors of the model add up. The autoscaler in the cluster "
        "cannot be asked to decide in the simulator."
    )
    return [Paragraph(words), table]


def _episodes(results: LiveResults, drawn: list[RecordedEpisode]) -> list[Block]:
    own_looks = looks(results.methods)
    return [episode_figure(each, own_looks[each.method], place) for place, each in enumerate(drawn, 1)]


def _guard(results: LiveResults) -> list[Block]:
    words = (
        "Between every decision and the cluster stands the guard: bounds, rates, windows, and no shrinking "
        "on bad data."
    )
    table = tables.guard_table(results)
    blocks: list[Block] = [Paragraph(words), Bullets(tables.held_words(results))]
    return [*blocks, table] if table.rows else [*blocks, Paragraph("It gave no code at all.")]


def _course(results: LiveResults) -> list[Block]:
    problems = tables.problem_table(results)
    blocks: list[Block] = [tables.course_table(results)]
    if problems is None:
        return [*blocks, Paragraph("Nothing that could not be read or written was noted.")]
    return [*blocks, Details(problems.caption, (problems,))]


def _settings(results: LiveResults) -> list[Block]:
    """Return the settings without secrets, equal ones once."""
    found: dict[str, list[str]] = {}
    for each in results.episodes:
        found.setdefault(_yaml(each.document["settings"]), []).append(each.method)
    words = "As they were used; tokens, passwords and queries of addresses are no part of any recording."
    return [
        Paragraph(words),
        *(
            Details(f"Settings of {', '.join(dict.fromkeys(methods))}", (Code(text),))
            for text, methods in found.items()
        ),
    ]


def _yaml(content: object) -> str:
    return str(
        yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, allow_unicode=True, width=100)
    )


def _repeat(results: LiveResults) -> list[Block]:
    options = [
        (method, _options_text(results.of(method)[0].document["controller_options"]))
        for method in results.methods
    ]
    versions: dict[tuple[str, str], None] = {}
    for each in results.episodes:
        versions |= dict.fromkeys((str(name), str(text)) for name, text in each.document["versions"].items())
    return [
        tables.load_table(results),
        Paragraph(
            "The commands as far as the recording knows them; where files lay, prices, and the pause between "
            "episodes are no part of it."
        ),
        Code(commands(results)),
        _words_table("Options of the methods", ("method", "options"), options),
        _words_table("Versions that ran it", ("of", "version"), list(versions)),
        _file_table(results),
    ]


def _words_table(caption: str, headings: tuple[str, ...], rows: list[tuple[str, str]]) -> Table:
    columns = tuple(Column(heading, numeric=False) for heading in headings)
    return Table(caption, columns, tuple((Cell(first), Cell(second)) for first, second in rows))


def _options_text(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "defaults"


def _file_table(results: LiveResults) -> Table:
    paths = [results.folder / RESULTS_FILE]
    paths += [
        each.folder / name for each in results.episodes for name in (RUN_FILE, LIVE_FILE, DECISIONS_FILE)
    ]
    rows = tuple(
        (Cell(str(path.relative_to(results.folder))), Cell(sha256, code=True))
        for path in paths
        if (sha256 := file_sha256(path)) is not None
    )
    columns = (Column("file", numeric=False), Column("SHA-256", numeric=False))
    return Table("Files that this page was made from", columns, rows)


def commands(results: LiveResults) -> str:
    """Return the commands that ran the episodes and made this page, and those that go on from here."""
    first = results.episodes[0]
    metadata = first.record.metadata
    seeds = [each.seed for each in results.episodes]
    minutes = first.document["intervals_planned"] * metadata.control_interval_s / 60.0
    modes = [str(each.document["mode"]) for each in results.episodes if each.method != "cluster"]
    words = ["podgym", "evaluate", "--cluster", f"{metadata.environment.removeprefix(_CLUSTER)}.yml"]
    named = [_typed(results.of(method)[0], results.methods) for method in results.methods]
    for option in ("--controller", "--agent"):
        texts = [text for kind, text in named if kind == option and text]
        words += [option, *texts] if texts else []
    words += ["--episode-minutes", f"{minutes:g}", "--seed", str(min(seeds))]
    words += ["--episodes", str(len(set(seeds)))] if len(set(seeds)) > 1 else []
    words += ["--mode", modes[0]] if modes else []
    load = first.document["load"].get("command")
    words += ["--load", shlex.join(map(str, load))] if load else []
    folder = shlex.quote(str(results.folder))
    return (
        f"{shlex.join(words)} --output {folder}\npodgym report {folder}\n"
        f"podgym calibrate {shlex.quote(str(first.folder))}"
    )


def _typed(episode: RecordedEpisode, methods: tuple[str, ...]) -> tuple[str, str]:
    """Return the option that a method is named by on the command line, and how; empty: it comes unnamed."""
    options: Mapping[str, Any] = episode.document["controller_options"]
    if "policy" in options:
        return "--agent", str(options["policy"])
    suffix = mode_suffix(str(episode.document["mode"]))
    method = episode.method.removesuffix(suffix)
    if method.endswith(TUNED) and f"{method.removesuffix(TUNED)}{suffix}" in methods:
        return "--controller", ""  # the plain one brings it along
    given = ",".join(f"{name}={value}" for name, value in options.items())
    name = method.split(" ")[0]
    return "--controller", f"{name}:{given}" if given else name


def _constants(results: LiveResults) -> tuple[Block, ...]:
    """Return the constants of the simulator beside, and what of them was read from the cluster."""
    by_place = {
        f"{each.method}, seed {each.seed}": [Provenance(**entry) for entry in each.document["constants"]]
        for each in results.episodes
    }
    return constants_of(by_place, "episodes")

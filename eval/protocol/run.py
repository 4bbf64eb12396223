"""A whole protocol: its units in parallel processes, taken up again after a kill, and what comes of them."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from podgym.errors import InputError, require_whole
from podgym.eval.protocol.definition import Protocol
from podgym.eval.protocol.entrants import Entrant, resolve
from podgym.eval.protocol.episodes import run_unit
from podgym.eval.protocol.results import write_results
from podgym.eval.protocol.units import (
    FOLDER,
    EpisodeRow,
    Unit,
    cut,
    failed_rows,
    finished_rows,
    read_rows,
    write_rows,
)
from podgym.eval.runner import single_threaded
from podgym.files import usable_folder, write_json
from podgym.processes import worker_pool

PROTOCOL_FILE = "protocol.json"
"""What was run: the protocol, every entrant, and what was left out."""
FORMAT = "podgym.protocol/1"
"""What that file says it is."""

OnProgress = Callable[[int, int, str], None]
"""Receives the number of episodes done, of all, and what was done last."""


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """What a protocol came to."""

    document: dict[str, Any]
    """The content of ``summary.json``."""
    paths: tuple[Path, ...]
    """Files of results, the most readable first."""


def run_protocol(
    protocol: Protocol,
    folder: str | Path,
    *,
    processes: int | None = None,
    resume: bool = False,
    on_progress: OnProgress = lambda done, total, note: None,
) -> ProtocolResult:
    """Run what a protocol declares and write its results.

    The results depend on the protocol alone: not on the number of processes, nor on how often the evaluation
    was killed and resumed. All rows are read back from the files of the units, so both take the same way.

    Args:
        protocol: what to run.
        folder: where to write.
        processes: how many at a time, each with one thread when more than one; None: as the protocol says.
        resume: take up the units in the folder that are finished and still wanted. Those that failed are run
            once more.
        on_progress: told how far it is.

    Returns:
        The summary, and the files: ``results.md``, ``summary.json``, ``summary.csv``, ``comparisons.csv``,
        ``overall.csv`` and ``results.csv``.

    Raises:
        InputError: a method that is not to be had, a folder that cannot be written to or holds another
            evaluation, or methods that did not face the same episodes.
    """
    count = protocol.processes if processes is None else processes
    require_whole("processes", count, 1, 1024)
    place = usable_folder(folder)
    if not resume and (place / FOLDER).is_dir() and any((place / FOLDER).iterdir()):
        raise InputError(f"{place} holds an evaluation; continue it with --resume, or name another folder.")
    entrants, remarks = resolve(protocol)
    units = cut(protocol, entrants)
    write_json(place / PROTOCOL_FILE, _description(protocol, entrants, remarks))
    _run_units(place, units, count, on_progress)
    rows = [row for unit in units for row in _read(place, unit)]
    check_hashes(rows)
    document, paths = write_results(place, protocol, entrants, rows, remarks)
    return ProtocolResult(document, (*paths, place / PROTOCOL_FILE))


def check_hashes(rows: Sequence[EpisodeRow]) -> None:
    """Refuse results of methods that did not face the same load.

    Raises:
        InputError: two of them have different hashes for one episode; the message names both.
    """
    first: dict[tuple[str, int], EpisodeRow] = {}
    for row in rows:
        if row.failure:
            continue
        before = first.setdefault((row.environment, row.seed), row)
        if before.profile_sha256 != row.profile_sha256:
            raise InputError(
                f"{before.method!r} and {row.method!r} did not face the same load in episode {row.seed} of "
                f"{row.environment} (hashes {before.profile_sha256[:12]} and {row.profile_sha256[:12]}) and "
                "cannot be compared. Run both with the same podgym, in a new folder."
            )


def _run_units(folder: Path, units: Sequence[Unit], processes: int, on_progress: OnProgress) -> None:
    """Run what is not finished yet and write each unit as soon as it is."""
    waiting = [unit for unit in units if finished_rows(folder, unit) is None]
    total = sum(len(unit.seeds) for unit in units)
    done = total - sum(len(unit.seeds) for unit in waiting)
    on_progress(done, total, "")
    with closing(_results(waiting, processes)) as results:  # at once, should a file not be writable
        for unit, rows in results:
            write_rows(folder / FOLDER / unit.file_name, rows)
            done += len(rows)
            on_progress(done, total, f"{unit.entrant.environment} {unit.entrant.method}")


def _results(units: Sequence[Unit], processes: int) -> Generator[tuple[Unit, list[EpisodeRow]], None, None]:
    """Yield units with their rows, as they come."""
    if processes == 1 or len(units) < 2:
        yield from ((unit, run_unit(unit)) for unit in units)
        return
    with single_threaded(), worker_pool(min(processes, len(units))) as pool:
        futures = {pool.submit(run_unit, unit): unit for unit in units}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process of the evaluation died, perhaps for want of memory; what was finished is kept: "
                "run it again with --resume, with fewer processes."
            ) from error


def _read(folder: Path, unit: Unit) -> list[EpisodeRow]:
    """Return the rows of a unit under the labels of today."""
    rows = read_rows(folder / FOLDER / unit.file_name)
    if rows is None:
        return failed_rows(unit, unit.seeds, "its file was lost")
    return [replace(row, method=unit.entrant.method) for row in rows]


def _description(protocol: Protocol, entrants: Sequence[Entrant], remarks: Sequence[str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "protocol": protocol.as_dict(),
        "entrants": [asdict(each) for each in entrants],
        "remarks": list(remarks),
    }

"""The folder of a protocol's results, read back and checked: what a report is made from."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from podgym.errors import InputError
from podgym.eval.protocol.definition import DEV, Protocol
from podgym.eval.protocol.entrants import Entrant
from podgym.eval.protocol.protocol_file import protocol_of
from podgym.eval.protocol.results import FORMAT as RESULTS_FORMAT
from podgym.eval.protocol.results import loads_sha256
from podgym.eval.protocol.run import FORMAT as PROTOCOL_FORMAT
from podgym.eval.protocol.run import PROTOCOL_FILE
from podgym.eval.protocol.scores import Field, Scores, field_of
from podgym.eval.protocol.units import MEASURES, EpisodeRow, read_rows

SUMMARY_FILE, RESULTS_FILE = "summary.json", "results.csv"
_ENTRANT_NAMES = frozenset(each.name for each in fields(Entrant))
_SUMMARY_KEYS = (
    "protocol", "description", "part", "seeds", "level", "resamples", "versions", "remarks", "environments",
    "summary", "comparisons", "overall",
)  # fmt: skip
_WORDS = (  # None stays None
    "rival", "rival_choice", "best_controller_in_hindsight", "regret_against", "replicas_bound",
)  # fmt: skip
_SAME = 1e-9  # relative: means are added up in another order, nothing more

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What ``podgym evaluate --protocol`` left in a folder."""

    folder: Path
    """Where it lies."""
    protocol: Protocol
    """What was declared."""
    entrants: tuple[Entrant, ...]
    """Everything that took part, as it was then."""
    rows: tuple[EpisodeRow, ...]
    """Every episode."""
    document: Mapping[str, Any]
    """``summary.json``; numbers that are not known are nan."""
    fields: tuple[Field, ...]
    """The episodes of each environment as arrays, in the order of the protocol."""

    def environment(self, name: str) -> Row:
        """Return what the summary says of an environment as a whole."""
        return next(row for row in self.document["environments"] if row["environment"] == name)


def read_run(folder: str | Path) -> Run:
    """Read the results of a protocol, and make sure that its files belong together.

    Raises:
        InputError: no such folder, a file that is missing or of another version, or results that are not
            those that were summed up.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"there is no folder {place}; {_HOW}.")
    summary = _json(place, SUMMARY_FILE, RESULTS_FORMAT)
    declared = _json(place, PROTOCOL_FILE, PROTOCOL_FORMAT)
    rows = read_rows(place / RESULTS_FILE)
    if rows is None:
        raise InputError(
            f"{place / RESULTS_FILE} is missing, or no table of episodes of this podgym; {_HOW}."
        )
    protocol = protocol_of(declared.get("protocol"), str(place / PROTOCOL_FILE))
    entrants = tuple(_entrant(each, place / PROTOCOL_FILE) for each in declared.get("entrants", ()))
    document = _checked_summary(summary, place / SUMMARY_FILE)
    run = Run(place, protocol, entrants, tuple(rows), document, _fields(protocol, entrants, rows, document))
    _check_unchanged(run)
    return run


_HOW = (
    "a report is made of what podgym evaluate --protocol NAME --output FOLDER, or podgym evaluate --cluster "
    "FILE.yml --output FOLDER, writes"
)


def _json(place: Path, name: str, expected: str) -> dict[str, Any]:
    path = place / name
    if not path.is_file():
        started = (place / PROTOCOL_FILE).is_file()
        remedy = "the evaluation is not finished: continue it with --resume" if started else _HOW
        raise InputError(f"{place} holds no {name}; {remedy}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != expected:
        raise InputError(
            f"{path} is of format {found!r}, but this podgym reads {expected!r}; run the evaluation again "
            "with it, or write the report with the podgym that ran it."
        )
    return dict(content)


def _entrant(content: object, path: Path) -> Entrant:
    if not isinstance(content, dict) or set(content) != _ENTRANT_NAMES:
        raise InputError(f"{path} names an entrant that this podgym does not know; {_HOW}.")
    options = {name: _as_given(value) for name, value in content["options"].items()}
    return Entrant(**{**content, "options": options})


def _as_given(value: object) -> object:
    """Return an option as controllers take it: JSON knows no tuples."""
    return tuple(_as_given(each) for each in value) if isinstance(value, list) else value


def _checked_summary(content: dict[str, Any], path: Path) -> dict[str, Any]:
    missing = [name for name in _SUMMARY_KEYS if name not in content]
    if missing:
        raise InputError(f"{path} has no {missing[0]}; {_HOW}.")
    rows = {name: [_known(row) for row in content[name]] for name in ("summary", "comparisons", "overall")}
    wanted = {f"{name}{end}" for name in MEASURES for end in ("", "_lower", "_upper")}
    for row in rows["summary"]:
        if not wanted <= set(row):
            raise InputError(f"{path} has no {sorted(wanted - set(row))[0]} in a row; {_HOW}.")
    return {**content, **rows}


def _known(row: Row) -> dict[str, Any]:
    """Return a row with nan for numbers that are not known, which JSON has no word for."""
    return {name: math.nan if value is None and name not in _WORDS else value for name, value in row.items()}


def _fields(
    protocol: Protocol, entrants: Sequence[Entrant], rows: Sequence[EpisodeRow], document: Row
) -> tuple[Field, ...]:
    """Return the environments, each with the rival that the summary names: not to be chosen again."""
    found = []
    for said in document["environments"]:
        if said["environment"] not in protocol.ids:
            raise InputError(f"{said['environment']} is in the summary, but not in the protocol; {_HOW}.")
        field = field_of(said["environment"], entrants, rows, DEV)
        by_label = {each.method: each for each in field.scores}
        found.append(
            dataclasses.replace(
                field,
                rival=by_label.get(said["rival"]),
                rival_choice=said["rival_choice"],
                hindsight=by_label.get(said["best_controller_in_hindsight"]),
                bound=by_label.get(said["regret_against"]),
                replicas_bound=by_label.get(said["replicas_bound"]),
            )
        )
    return tuple(found)


def _check_unchanged(run: Run) -> None:
    """Refuse a summary that was not made of these episodes."""
    told = {(row["environment"], row["method"]): row for row in run.document["summary"]}
    found = {(each.environment, each.method): each for field in run.fields for each in field.scores}
    if set(told) != set(found):
        other = sorted(set(told) ^ set(found))[0]
        raise _changed(run, f"{other[1]} on {other[0]} is in one of them only")
    for key, row in told.items():
        difference = _difference(row, found[key])
        if difference:
            raise _changed(run, f"{key[1]} on {key[0]} has {difference}")
    for said in run.document["environments"]:
        if said["loads_sha256"] != loads_sha256(said["environment"], run.rows):
            raise _changed(run, f"the loads of {said['environment']} have another hash")


def _difference(row: Row, scores: Scores) -> str:
    if row["failure"] != scores.failure:
        return f"the failure {row['failure']!r} in one and {scores.failure!r} in the other"
    if row["episodes"] != len(scores.seeds):
        return f"{row['episodes']} episodes in one and {len(scores.seeds)} in the other"
    for name, values in scores.values.items():
        mean = float(values.mean())
        same = math.isclose(row[name], mean, rel_tol=_SAME) or not (
            math.isfinite(row[name]) or math.isfinite(mean)
        )
        if not same:
            return f"a {name} of {row[name]:.6g} in one and {mean:.6g} in the other"
    return ""


def _changed(run: Run, what: str) -> InputError:
    return InputError(
        f"{run.folder / RESULTS_FILE} and {SUMMARY_FILE} do not belong together: {what}. Sum the episodes up "
        f"again: podgym evaluate --protocol {run.protocol.name} --output {run.folder} --resume."
    )

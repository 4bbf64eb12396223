"""What took part, so that it can be judged and repeated: options, searches, policies, forecasters, hashes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podgym.agents.policy_file import load_policy
from podgym.baselines.own import is_own, own_file
from podgym.baselines.tuned import TunedEntry, tuned_entry
from podgym.errors import InputError
from podgym.eval.protocol.entrants import Entrant, short_id
from podgym.eval.protocol.units import FOLDER, cut
from podgym.eval.report.blocks import Block, Cell, Column, Details, Paragraph, Table
from podgym.eval.report.numbers import UNKNOWN, number
from podgym.eval.report.run_files import Run
from podgym.forecasters.choice import forecaster_sha256

_SHOWN_ITEMS = 8
"""Longest list of numbers that is written out; of a longer one the hash is given."""
_NO_FILE = "file not found"

_Known = tuple[Cell, ...]


def method_blocks(run: Run) -> tuple[Block, ...]:
    """Return what decided: controllers, policies and bounds, their files and hashes, and what made them."""
    kinds = {each.kind for each in run.entrants}
    blocks: list[Block] = [Paragraph(_identity_words(run))]
    tables = (
        _controller_table(run), _tuning_table(run),
        _policy_table(run) if "policy" in kinds else None, _forecaster_table(run), _bound_table(run),
    )  # fmt: skip
    blocks += [Details(table.caption, (table,)) for table in tables if table is not None and table.rows]
    return tuple(blocks)


def confirmed(run: Run) -> bool:
    """Return whether policies, forecasters, configurations and versions are still those that ran.

    The files of the units are named after a hash of all of them.
    """
    try:
        return all(
            (run.folder / FOLDER / unit.file_name).is_file() for unit in cut(run.protocol, run.entrants)
        )
    except (InputError, OSError, TypeError):  # a file or a setting that is no longer to be had
        return False


def file_sha256(path: str | Path) -> str | None:
    """Return the hash of a file; None: there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def options_text(options: Mapping[str, Any]) -> str:
    """Return options for people; of long lists number and hash."""
    return ", ".join(f"{name}={_option(value)}" for name, value in options.items())


def _option(value: object) -> str:
    if isinstance(value, list | tuple) and len(value) > _SHOWN_ITEMS:
        digest = hashlib.sha256(json.dumps(list(value)).encode()).hexdigest()
        return f"{len(value)} numbers (SHA-256 of their JSON {digest[:16]})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _identity_words(run: Run) -> str:
    if confirmed(run):
        return (
            "Hashes are of the files as they lie here now. The names of the files of results, which are made "
            "from a hash of configuration, options, policy, forecaster and versions, confirm that these are "
            "what ran."
        )
    return (
        "Hashes are of the files as they lie here now. The files of results do not confirm that these are "
        "what ran: a policy, a forecaster, a configuration or a version is another, or the folder of the "
        "units is not here."
    )


def _controller_table(run: Run) -> Table:
    columns = tuple(
        Column(heading, numeric=False)
        for heading in ("method", "environment", "controller", "options", "forecaster", "changes")
    )
    rows = tuple(
        (
            Cell(each.method), Cell(short_id(each.environment)), Cell(_controller_name(each)),
            Cell(options_text(each.options) or "defaults"), Cell(_forecaster_name(each.forecaster)),
            Cell(_changes(each)),
        )
        for each in run.entrants
        if each.kind == "controller"
    )  # fmt: skip
    return Table("Controllers and their options", columns, rows)


def _controller_name(entrant: Entrant) -> str:
    if not is_own(entrant.controller):
        return entrant.controller
    return f"{entrant.controller} (SHA-256 {file_sha256(own_file(entrant.controller)) or _NO_FILE})"


def _changes(entrant: Entrant) -> str:
    return json.dumps(dict(entrant.changes)) if entrant.changes else ""


def _forecaster_name(forecaster: str | None) -> str:
    return "" if forecaster is None else Path(forecaster).name


def _tuning_table(run: Run) -> Table:
    columns = (
        Column("method", numeric=False), Column("environment", numeric=False),
        Column("search", numeric=False), Column("budget, intervals"), Column("spent"),
        Column("candidates"), Column("dev: default"), Column("dev: tuned"),
        Column("command", numeric=False),
    )  # fmt: skip
    found = [
        (each, entry)
        for each in run.entrants
        if each.tuned and (entry := tuned_entry(each.controller, each.environment)) is not None
    ]
    rows = tuple(_tuning_cells(each, entry) for each, entry in found)
    note = (
        "Mean cost on the dev episodes by which the options were chosen, so a little flattering to the tuned."
    )
    return Table("Searches of the tuned options", columns, rows, note)


def _tuning_cells(entrant: Entrant, entry: TunedEntry) -> _Known:
    ledger = entry.ledger
    same = {**entry.options} == {**entrant.options}
    further = (ledger.get("further_budget_steps", 0), ledger.get("further_spent_steps", 0))
    return (
        Cell(entrant.method),
        Cell(short_id(entrant.environment)),
        Cell(str(ledger.get("method", "")) if same else "other options came with the package then"),
        Cell(_sum(ledger.get("budget_steps"), further[0])),
        Cell(_sum(ledger.get("spent_steps"), further[1])),
        Cell(_sum(ledger.get("candidates"), 0)),
        *(Cell(_score(ledger.get(name))) for name in ("default_dev_mean", "tuned_dev_mean")),
        Cell(str(ledger.get("command", "")), code=True),
    )


def _sum(first: object, second: object) -> str:
    parts = [each for each in (first, second) if isinstance(each, int)]
    return number(float(sum(parts)), 0) if parts else UNKNOWN


def _score(value: object) -> str:
    return number(float(value), 0) if isinstance(value, int | float) else UNKNOWN


def _policy_table(run: Run) -> Table:
    columns = (
        Column("method", numeric=False), Column("environment", numeric=False), Column("training seed"),
        Column("frames"), Column("cost on dev"), Column("trained by", numeric=False),
        Column("SHA-256 of the policy", numeric=False), Column("SHA-256 of its forecaster", numeric=False),
    )  # fmt: skip
    rows = tuple(_policy_cells(each) for each in run.entrants if each.kind == "policy")
    return Table("Learned policies", columns, rows)


def _policy_cells(entrant: Entrant) -> _Known:
    seed = UNKNOWN if entrant.training_seed is None else str(entrant.training_seed)
    start = (Cell(entrant.method), Cell(short_id(entrant.environment)), Cell(seed))
    file = entrant.policy or ""
    sha256 = file_sha256(file)
    if sha256 is None:
        return *start, *[Cell(UNKNOWN)] * 2, Cell(""), Cell(f"{file}: {_NO_FILE}"), Cell("")
    try:
        description = load_policy(file).description if file.endswith(".policy") else None
    except InputError as error:
        return *start, *[Cell(UNKNOWN)] * 2, Cell(str(error)), Cell(sha256, code=True), Cell("")
    made = {} if description is None else description.provenance
    dev = made.get("dev")
    return (
        *start,
        Cell(_sum(made.get("frames"), 0)),
        Cell(_score(dev.get("cost") if isinstance(dev, Mapping) else None)),
        Cell(str(made.get("command", "")), code=True),
        Cell(sha256, code=True),
        Cell((description.forecaster_sha256 if description else None) or "", code=True),
    )


def _forecaster_table(run: Run) -> Table:
    users: dict[str, list[str]] = {}
    for each in run.entrants:
        if each.forecaster is not None:
            users.setdefault(each.forecaster, []).append(short_id(each.environment))
    columns = tuple(Column(heading, numeric=False) for heading in ("forecaster", "used on", "SHA-256"))
    rows = tuple(
        (
            Cell(Path(file).name),
            Cell(", ".join(dict.fromkeys(names))),
            Cell(_forecaster_hash(file), code=True),
        )
        for file, names in sorted(users.items())
    )
    return Table("Forecasters of the controllers", columns, rows)


def _forecaster_hash(file: str) -> str:
    try:
        return forecaster_sha256(file) or UNKNOWN
    except OSError:
        return _NO_FILE


def _bound_table(run: Run) -> Table:
    columns = (
        Column("bound", numeric=False), Column("environment", numeric=False), Column("episodes"),
        Column("of controllers of", numeric=False),
    )  # fmt: skip
    rows: Sequence[_Known] = [
        (
            Cell(each.method), Cell(short_id(each.environment)), Cell(str(each.episodes)),
            Cell("replicas and quotas" if each.quotas else "replicas"),
        )
        for each in run.entrants
        if each.kind in ("lower_bound", "clairvoyant")
    ]  # fmt: skip
    return Table("Bounds", columns, tuple(rows))

"""The work of a protocol, cut into units: one entrant, a block of episodes, one small file of results.

A file is named after everything that its numbers depend on: configuration, entrant, the content of its files,
seeds, versions. So what is there is known to be right, and a protocol that got another method, or more
episodes, takes up all that is still wanted.
"""

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from podgym.baselines.own import is_own, own_file
from podgym.envs.config import EnvConfig, override
from podgym.eval.episode import library_versions
from podgym.eval.protocol.definition import Protocol
from podgym.eval.protocol.entrants import Entrant, protocol_config, short_id
from podgym.eval.tuning.run import configuration_sha256
from podgym.files import to_json, write_text

FOLDER = "units"
"""Where the files of the units lie, within the folder of a protocol."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """What one episode of one entrant came to: a row of ``results.csv``. nan: not known, or not defined."""

    environment: str
    """Id."""
    method: str
    """Label of the method."""
    training_seed: int | None
    """Seed of the policy's training; None: not trained, or the only one."""
    seed: int
    """Seed of the episode."""
    profile_sha256: str = ""
    """Hash of its load."""
    cost: float = math.nan
    """Cost by the reward ``slo_cost``: minus its sum."""
    slo_violation_ratio: float = math.nan
    """Share of the requests slower than the SLO, or failed."""
    slo_violation_time_ratio: float = math.nan
    """Mean over time of each interval's share of such requests, which is what the cost charges."""
    core_hours: float = math.nan
    """CPU requested, core hours."""
    gib_hours: float = math.nan
    """Memory requested, GiB hours."""
    churn: float = math.nan
    """Replicas added or removed by decisions, pods."""
    scaling_events: float = math.nan
    """Decisions that changed the wanted replicas."""
    response_time_mean_s: float = math.nan
    """Mean response time of the completed requests, s."""
    response_time_p95_s: float = math.nan
    """Its 95th percentile, s."""
    failure: str = ""
    """Why there are no numbers; empty: there are."""


COLUMNS = tuple(each.name for each in fields(EpisodeRow))
"""Columns of a file of results."""
MEASURES = tuple(each.name for each in fields(EpisodeRow) if each.type is float)
"""Those that are numbers, none of which can be below 0."""
SHARES = ("slo_violation_ratio", "slo_violation_time_ratio")
"""Measures that cannot be above 1 either."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A block of episodes of one entrant."""

    entrant: Entrant
    """Who decides."""
    config: EnvConfig
    """Where."""
    seeds: tuple[int, ...]
    """Seeds of the episodes."""
    time_limit_s: float
    """Longest time per episode."""

    @property
    def file_name(self) -> str:
        """Name of the file of results: seeds, and a hash of all else that they depend on."""
        method = re.sub(r"[^A-Za-z0-9._-]+", "-", self.entrant.method).strip("-.")[:60]
        trained = "" if self.entrant.training_seed is None else f"-seed{self.entrant.training_seed}"
        block = f"{self.seeds[0]}-{len(self.seeds)}"
        return f"{short_id(self.entrant.environment)}-{method}{trained}-{block}-{_fingerprint(self)[:16]}.csv"


def cut(protocol: Protocol, entrants: Iterable[Entrant]) -> list[Unit]:
    """Return the units of a protocol, in the order of the entrants."""
    configs = {environment: protocol_config(protocol, environment) for environment in protocol.ids}
    units = []
    for entrant in entrants:
        config = override(configs[entrant.environment], entrant.changes)
        seeds = protocol.seeds[: entrant.episodes]
        size = len(seeds) if entrant.kind == "policy" else protocol.episodes_per_unit
        for first in range(0, len(seeds), size):
            block = tuple(seeds[first : first + size])
            units.append(Unit(entrant, config, block, protocol.time_limit_s))
    return units


def write_rows(path: Path, rows: Sequence[EpisodeRow]) -> Path:
    """Write rows as CSV, whole or not at all; numbers keep every bit, what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    return write_text(path, text.getvalue())


def read_rows(path: Path) -> list[EpisodeRow] | None:
    """Return the rows of ``write_rows``; None: there is no such file, or it is none of these."""
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if not lines or tuple(lines[0]) != COLUMNS:
            return None
        return [_row(dict(zip(COLUMNS, line, strict=True))) for line in lines[1:]]
    except (OSError, ValueError):
        return None


def finished_rows(folder: Path, unit: Unit) -> list[EpisodeRow] | None:
    """Return the rows of a unit that is finished; None: it is not, or it failed and is worth another try."""
    rows = read_rows(folder / FOLDER / unit.file_name)
    if rows is None or tuple(row.seed for row in rows) != unit.seeds or any(row.failure for row in rows):
        return None
    return rows


def failed_rows(unit: Unit, seeds: Iterable[int], failure: str) -> list[EpisodeRow]:
    """Return rows that say why there are no numbers."""
    entrant = unit.entrant
    text = " ".join(failure.split())
    return [
        EpisodeRow(entrant.environment, entrant.method, entrant.training_seed, seed, failure=text)
        for seed in seeds
    ]


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _row(cells: dict[str, str]) -> EpisodeRow:
    numbers = {name: float(cells[name]) if cells[name] else math.nan for name in MEASURES}
    return EpisodeRow(
        environment=cells["environment"],
        method=cells["method"],
        training_seed=int(cells["training_seed"]) if cells["training_seed"] else None,
        seed=int(cells["seed"]),
        profile_sha256=cells["profile_sha256"],
        failure=cells["failure"],
        **numbers,
    )


def _fingerprint(unit: Unit) -> str:
    entrant = asdict(unit.entrant)
    for name in ("policy", "forecaster"):
        entrant[name] = _file_identity(entrant[name])
    for name in ("method", "variant_of", "episodes", "tuned", "changes"):
        del entrant[name]  # what it is called and compared with changes no number; changes are configured
    if is_own(unit.entrant.controller):
        entrant["controller"] += f" {_file_identity(str(own_file(unit.entrant.controller)))}"
    content = {
        "entrant": entrant,
        "configuration_sha256": configuration_sha256(unit.config),
        "versions": library_versions(),
    }
    return hashlib.sha256(to_json(content).encode()).hexdigest()


def _file_identity(name: str | None) -> str | None:
    """Return the hash of a file's content, or the word that stands for no file."""
    if name is None or not Path(name).is_file():
        return name
    return file_sha256(name, Path(name).stat().st_mtime_ns)


@lru_cache(maxsize=256)
def file_sha256(name: str, changed_ns: int) -> str:
    """Return the hash of a file as it was when it was last changed."""
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()

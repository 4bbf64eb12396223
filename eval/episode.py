"""One evaluated episode: what happened in every control interval, and what it was that ran.

A record is plain arrays, so measures are pure functions of it, and it goes to a file and back without loss.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym import __version__
from podgym.envs.workloads.profile import LoadKind, LoadProfile
from podgym.envs.workloads.profile import profile_sha256 as profile_sha256
from podgym.errors import InputError, unknown_name
from podgym.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

_METADATA_KEY = b"podgym.episode"
_LOAD = "load"
FILE_SUFFIXES = (".parquet", ".csv")
"""Endings that ``EpisodeRecord.write`` knows."""


@dataclass(frozen=True, slots=True)
class EpisodeMetadata:
    """What ran: environment, load, controller, seed, and the constants behind it."""

    environment: str
    """Environment id, or ``workload NAME``."""
    workload: str
    """Name of the workload."""
    controller: str
    """Name of the controller."""
    controller_options: Mapping[str, Any]
    """Options that the controller was made with."""
    seed: int
    """Seed of the episode."""
    profile_label: str
    """What the load profile says of itself."""
    profile_kind: LoadKind
    """``open``: load in requests/s; ``closed``: load in users."""
    profile_sha256: str
    """Hash of the load profile; equal hashes prove that two methods faced the same load."""
    control_interval_s: float
    """Time between two decisions, seconds."""
    service_names: tuple[str, ...]
    """(num_services,)"""
    slo_response_time_s: tuple[float, ...]
    """(num_services,) SLO of each service, seconds."""
    visits: tuple[float, ...]
    """(num_services,) calls of each service per external request."""
    entry_share: tuple[float, ...]
    """(num_services,) share of the external requests that enters at each service; sums to 1."""
    provenance: tuple[Mapping[str, Any], ...]
    """Every constant of the cluster: name, value, unit, source, measured."""
    versions: Mapping[str, str]
    """Versions of podgym and of what it computes with."""


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeRecord:
    """One episode, one row per control interval."""

    metadata: EpisodeMetadata
    """What ran."""
    load: NDArray[np.float64]
    """(num_steps,) mean of the load profile over each interval: requests/s, or users when closed. It depends
    on the profile alone, not on what the controller did."""
    totals: Mapping[str, NDArray[np.float64]]
    """Keys of the environment's ``info``, each (num_steps,)."""
    columns: Mapping[str, NDArray[np.float64]]
    """Columns of the environment's interval report, each (num_steps, num_services)."""

    @property
    def num_steps(self) -> int:
        """Number of control intervals."""
        return len(self.load)

    @property
    def num_services(self) -> int:
        """Number of services."""
        return len(self.metadata.service_names)

    @property
    def duration_s(self) -> float:
        """Length of the episode."""
        return float(self.columns["duration_s"][:, 0].sum())

    def of_service(self, name: str) -> "EpisodeRecord":
        """Return the record of one service alone, as if its requests came from outside.

        Raises:
            InputError: there is no service of this name.
        """
        if name not in self.metadata.service_names:
            raise unknown_name("service", name, self.metadata.service_names)
        at = self.metadata.service_names.index(name)
        columns = {key: values[:, at : at + 1] for key, values in self.columns.items()}
        duration_s = columns["duration_s"][:, 0]
        totals = {
            "time_s": columns["time_s"][:, 0],
            "offered_rps": columns["offered_rps"][:, 0],
            "completed_rps": columns["completed"][:, 0] / duration_s,
        }
        metadata = replace(
            self.metadata,
            service_names=(name,),
            slo_response_time_s=(self.metadata.slo_response_time_s[at],),
            visits=(1.0,),
            entry_share=(1.0,),
        )
        return EpisodeRecord(metadata, self.load, totals, columns)

    def to_pandas(self) -> "pd.DataFrame":
        """Return one row per interval: ``load``, the totals, and ``service.column`` for each service."""
        import pandas as pd

        data: dict[str, NDArray[np.float64]] = {_LOAD: self.load, **self.totals}
        for s, service in enumerate(self.metadata.service_names):
            data |= {f"{service}.{name}": values[:, s] for name, values in self.columns.items()}
        return pd.DataFrame(data)

    def write(self, path: str | Path) -> Path:
        """Write the record to a ``.parquet`` file (with its metadata) or a ``.csv`` file (numbers only).

        Raises:
            InputError: another ending, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".csv":
            return write_atomically(path, lambda draft: self.to_pandas().to_csv(draft, index=False))
        if path.suffix == ".parquet":
            return write_atomically(path, self._write_parquet)
        raise InputError(f"{path}: an episode is written to a file ending in {' or '.join(FILE_SUFFIXES)}.")

    def _write_parquet(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.to_pandas(), preserve_index=False)
        stamp = json.dumps(asdict(self.metadata), default=str).encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA_KEY: stamp})
        pq.write_table(table, path, compression="zstd")


def read_episode(path: str | Path) -> EpisodeRecord:
    """Read a record from the parquet file that ``EpisodeRecord.write`` made.

    Raises:
        InputError: the file is missing, is not parquet, or is not a record of an episode.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a readable parquet file: {error}") from error
    stamp = (table.schema.metadata or {}).get(_METADATA_KEY)
    if stamp is None:
        raise InputError(f"{path}: a parquet file, but not one of an episode that podgym recorded.")
    fields = json.loads(stamp)
    for name in ("service_names", "slo_response_time_s", "visits", "entry_share", "provenance"):
        fields[name] = tuple(fields[name])
    metadata = EpisodeMetadata(**fields)
    data = {name: table.column(name).to_numpy() for name in table.column_names}
    parts = [name.rpartition(".") for name in data]  # a service's name may hold dots, a column's does not
    names = [column for service, _, column in parts if service == metadata.service_names[0]]
    columns = {
        name: np.stack([data[f"{service}.{name}"] for service in metadata.service_names], axis=1)
        for name in names
    }
    inside = {f"{service}.{name}" for service in metadata.service_names for name in names}
    totals = {name: values for name, values in data.items() if name not in inside and name != _LOAD}
    return EpisodeRecord(metadata, data[_LOAD], totals, columns)


class EpisodeRecorder:
    """Collects the intervals of one running episode in arrays of known length."""

    def __init__(
        self, num_steps: int, num_services: int, columns: Sequence[str], totals: Sequence[str]
    ) -> None:
        """Prepare for an episode.

        Args:
            num_steps: most intervals there will be.
            num_services: services of the cluster.
            columns: names of the columns of the environment's report.
            totals: keys of its ``info``.
        """
        self._at = 0
        self._column_names = columns
        self._total_names = totals
        self._columns = np.empty((num_steps, len(columns), num_services))
        self._totals = np.empty((num_steps, len(totals)))

    def add(self, report: NDArray[np.float64], info: Mapping[str, float]) -> None:
        """Add one interval: the environment's report, (num_columns, num_services), and its ``info``."""
        self._columns[self._at] = report
        self._totals[self._at] = [info[name] for name in self._total_names]
        self._at += 1

    def finish(self, metadata: EpisodeMetadata, profile: LoadProfile) -> EpisodeRecord:
        """Return the record of the intervals so far."""
        by_column = self._columns[: self._at].transpose(1, 0, 2)
        columns = {name: np.ascontiguousarray(by_column[c]) for c, name in enumerate(self._column_names)}
        totals = {name: self._totals[: self._at, c].copy() for c, name in enumerate(self._total_names)}
        edges_s = np.concatenate([[0.0], np.cumsum(columns["duration_s"][:, 0])])
        return EpisodeRecord(metadata, profile_means(profile, edges_s), totals, columns)


def profile_means(profile: LoadProfile, edges_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact mean of a load profile between consecutive times.

    Args:
        profile: the load, linear between its samples.
        edges_s: (n + 1,) s, ascending.

    Returns:
        (n,) in the unit of the profile.
    """
    values, step_s = profile.values, profile.step_s
    areas = np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * step_s)])
    piece = np.clip((edges_s / step_s).astype(np.int64), 0, len(values) - 2)
    beyond_s = edges_s - piece * step_s
    slopes = np.diff(values) / step_s
    integral = areas[piece] + values[piece] * beyond_s + 0.5 * slopes[piece] * beyond_s**2
    means: NDArray[np.float64] = np.diff(integral) / np.diff(edges_s)
    return means


def library_versions() -> dict[str, str]:
    """Return the versions of Python, podgym and the libraries that its numbers depend on."""
    libraries = {name: _installed_version(name) for name in ("gymnasium", "numba", "numpy")}
    return {"podgym": __version__, "python": platform.python_version(), **libraries}


@cache  # reading it from the disk takes as long as some ten intervals
def _installed_version(library: str) -> str:
    return version(library)

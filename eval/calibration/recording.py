"""A recorded run: what happened in every interval, when pods became ready, when samples were taken.

The folder of an episode on a cluster holds ``live.parquet``, ``run.json``, ``pods.csv`` and ``scrapes.csv``;
a parquet file of ``podgym evaluate --output`` is a recording too, without the last two.
"""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import EnvConfig, override
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError, unknown_name
from podgym.eval.episode import EpisodeRecord, read_episode
from podgym.files import missing_with_hint, usable_folder, write_text

Floats = NDArray[np.float64]

EPISODE_FILE, RUN_FILE, PODS_FILE, SCRAPES_FILE = "live.parquet", "run.json", "pods.csv", "scrapes.csv"
POD_COLUMNS = ("service", "pod", "start_s", "ready_s")
SCRAPE_COLUMNS = ("service", "time_s", "sample_time_s")
DEFAULT_ENVIRONMENT = "podgym/Trace-v0"


@dataclass(frozen=True, slots=True)
class PodStart:
    """One pod that became ready during the run; seconds since the run began."""

    service: str
    pod: str
    start_s: float
    """When the kubelet took it."""
    ready_s: float
    """When it first became ready."""


@dataclass(frozen=True, slots=True)
class ScrapeSight:
    """What was the newest sample at one moment; seconds since the run began."""

    service: str
    time_s: float
    """When one looked."""
    sample_time_s: float
    """When the newest sample that could be seen had been taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recorded run."""

    label: str
    """Where it comes from, for tables."""
    record: EpisodeRecord
    """What was measured in every control interval."""
    pods: tuple[PodStart, ...] = ()
    """Pods that became ready; empty: not recorded, or none did."""
    scrapes: tuple[ScrapeSight, ...] = ()
    """Sample times; empty: not recorded."""
    live: bool = False
    """From a real cluster: its metrics are means over ``window_s`` that end at the newest sample."""
    window_s: float = 30.0
    """Averaging window of a live run's metrics."""
    environment: str | None = None
    """Simulated environment that its settings name."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What they change in it."""


def read_recording(path: str | Path) -> Recording:
    """Read the folder of an episode on a cluster, or the parquet file of any episode.

    Args:
        path: the folder, one that holds a single folder of this kind, or the file.

    Raises:
        InputError: there is no such folder or file, several episodes are in it, or a file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(_episode_folder(path))
    if not path.is_file():
        raise missing_with_hint(path, (".parquet",))
    return Recording(str(path), read_episode(path))


def write_recording(folder: str | Path, recording: Recording) -> Path:
    """Write a recording as a folder that ``read_recording`` reads; return the folder.

    Raises:
        InputError: the folder cannot be written to.
    """
    folder = usable_folder(folder)
    recording.record.write(folder / EPISODE_FILE)
    write_rows(
        folder / PODS_FILE, POD_COLUMNS, [(p.service, p.pod, p.start_s, p.ready_s) for p in recording.pods]
    )
    write_rows(
        folder / SCRAPES_FILE,
        SCRAPE_COLUMNS,
        [(each.service, each.time_s, each.sample_time_s) for each in recording.scrapes],
    )
    return folder


def write_rows(path: Path, columns: tuple[str, ...], rows: list[tuple[str | float, ...]]) -> Path:
    """Write rows as a CSV file with a header."""
    lines = [",".join(columns), *(",".join(_cell(value) for value in row) for row in rows)]
    return write_text(path, "\n".join(lines) + "\n")


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}" if abs(value) < 1e5 else f"{value:.3f}"


def _episode_folder(folder: Path) -> Path:
    """Return the folder itself if it is that of an episode, else the only such folder in it."""
    if (folder / EPISODE_FILE).is_file():
        return folder
    inside = sorted(each.parent for each in folder.glob(f"*/{EPISODE_FILE}"))
    if len(inside) > 1:
        names = ", ".join(str(each) for each in inside)
        raise InputError(f"{folder} holds {len(inside)} episodes; name one of them: {names}.")
    if not inside:
        raise InputError(
            f"{folder} holds no {EPISODE_FILE}; name the folder of an episode on a cluster (podgym evaluate "
            "--cluster), or a parquet file of podgym evaluate --output."
        )
    return inside[0]


def _read_folder(folder: Path) -> Recording:
    record = read_episode(folder / EPISODE_FILE)
    names = record.metadata.service_names
    pods = tuple(
        PodStart(row["service"], row["pod"], _number(row["start_s"]), _number(row["ready_s"]))
        for row in _rows(folder / PODS_FILE, POD_COLUMNS, names)
    )
    scrapes = tuple(
        ScrapeSight(row["service"], _number(row["time_s"]), _number(row["sample_time_s"]))
        for row in _rows(folder / SCRAPES_FILE, SCRAPE_COLUMNS, names)
    )
    run = _read_run(folder / RUN_FILE)
    settings = _mapping(run.get("settings"))
    metrics = _mapping(settings.get("metrics"))
    environment = settings.get("environment")
    return Recording(
        str(folder),
        record,
        tuple(pod for pod in pods if math.isfinite(pod.start_s) and math.isfinite(pod.ready_s)),
        tuple(each for each in scrapes if math.isfinite(each.sample_time_s) and math.isfinite(each.time_s)),
        live=bool(run),
        window_s=float(metrics.get("window_s", 30.0)),
        environment=environment if isinstance(environment, str) else None,
        changes=_mapping(settings.get("changes")),
    )


def _read_run(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        return _mapping(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(path: Path, columns: tuple[str, ...], services: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none when there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{path}: the columns {', '.join(columns)} are needed; {', '.join(missing)} is missing."
            )
        rows = list(reader)
    for row in rows:
        if row["service"] not in services:
            raise unknown_name(f"service in {path}", row["service"], services)
    return rows


def _number(text: str | None) -> float:
    """Return a cell as a number, nan where it is empty or no number."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def recorded_configuration(
    recording: Recording, environment: str | None = None, changes: Mapping[str, Any] | None = None
) -> EnvConfig:
    """Return the simulated environment beside which a run was recorded, with the constants used then.

    Args:
        recording: the run.
        environment: id of another environment whose constants are to be the ones before the fit.
        changes: what to change in it, as for ``gym.make``.

    Raises:
        InputError: an unknown id, a bad change, or an environment without the services of the recording.
    """
    metadata = recording.record.metadata
    name = environment or recording.environment or metadata.environment
    if name not in ENVIRONMENT_IDS:
        if environment or recording.environment:
            raise unknown_name("environment", name, ENVIRONMENT_IDS)
        name = DEFAULT_ENVIRONMENT
    config = scenario_config(ENVIRONMENT_IDS[name])
    known = [service.name for service in config.cluster.services]
    for service in metadata.service_names:
        if service not in known:
            raise InputError(
                f"{recording.label} has the service {service!r}; {name} has {', '.join(known)}. Name the "
                "environment whose services are those of the recording."
            )
    if environment is None:
        config = override(config, recording.changes)
        config = override(config, {"cluster": _recorded_constants(metadata.provenance, known)})
    return override(config, changes or {})


def _recorded_constants(provenance: tuple[Mapping[str, Any], ...], services: list[str]) -> dict[str, Any]:
    """Return the constants that a record was stamped with, as nested changes of a cluster."""
    nested: dict[str, Any] = {}
    for entry in provenance:
        head, _, rest = str(entry["name"]).partition(".")
        if head != "cluster":
            continue
        path = rest.split(".")
        for service in services:
            if rest.startswith(f"services.{service}.parameters."):
                path = [
                    "services",
                    service,
                    "parameters",
                    rest.removeprefix(f"services.{service}.parameters."),
                ]
        place = nested
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = entry["value"]
    return nested

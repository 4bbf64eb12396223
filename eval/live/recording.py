"""The files of one live episode: enough to replay it, to fit the simulator to it and to train on it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from podgym.envs.config import EnvConfig
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.workloads.profile import LoadProfile
from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.agreement import Agreement, MetricsView
from podgym.eval.live.plan import RUN_FILE
from podgym.eval.live.redaction import public_settings, public_words
from podgym.eval.live.series import write_series
from podgym.eval.live.simulated import ALONE, REPLAYED, Beside
from podgym.eval.live.watch import Notes
from podgym.files import write_json, write_text

FORMAT = "podgym.live/1"
LIVE_FILE, SERIES_FILE, DECISIONS_FILE = "live.parquet", "series.csv", "decisions.jsonl"
PODS_FILE, SCRAPES_FILE = "pods.csv", "scrapes.csv"
_MOST_PROBLEMS = 1000
_CLIENTS = ("kubernetes", "prometheus-api-client")


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One live episode."""

    settings: KubernetesSettings
    """The cluster, as it was used."""
    config: EnvConfig
    """The environment, with what was found in the cluster."""
    record: EpisodeRecord
    """What was measured."""
    profile: LoadProfile
    """The load."""
    notes: Notes
    """What else is known."""
    planned_steps: int
    """Intervals that were wanted."""
    load_words: Sequence[str] = ()
    """The load command; empty: there was none."""
    remarks: tuple[str, ...] = ()
    """What a reader must know."""
    agreements: Mapping[str, tuple[Agreement, ...]] = dataclasses.field(default_factory=dict)
    """How far the simulator was off, by how it was run."""

    @property
    def view(self) -> MetricsView:
        """What the monitoring showed at the end of an interval."""
        return MetricsView(self.settings.metrics.window_s, self.notes.age_s)


def write_measured(folder: Path, recording: Recording) -> list[Path]:
    """Write what was measured; ``run.json`` comes last, see ``write_run``.

    Raises:
        InputError: a file cannot be written.
    """
    notes = recording.notes
    pods = ((service, pod, life.start_s, life.ready_s) for (service, pod), life in notes.pods.items())
    return [
        write_series(folder / SERIES_FILE, recording.profile),
        recording.record.write(folder / LIVE_FILE),
        _write_csv(folder / PODS_FILE, "service,pod,start_s,ready_s", pods),
        _write_csv(folder / SCRAPES_FILE, "service,time_s,sample_time_s", notes.scrapes),
    ]


def write_beside(folder: Path, beside: Beside) -> list[Path]:
    """Write what the simulator made of the episode, beside what was measured.

    Raises:
        InputError: a file cannot be written.
    """
    records = {REPLAYED: beside.replayed, ALONE: beside.alone}
    return [record.write(folder / f"{how}.parquet") for how, record in records.items() if record is not None]


def write_run(folder: Path, recording: Recording) -> Path:
    """Write ``run.json``: what ran, how it went, and with what versions and constants."""
    return write_json(folder / RUN_FILE, _document(recording))


def _document(recording: Recording) -> dict[str, Any]:
    record, notes = recording.record, recording.notes
    metadata = asdict(record.metadata)
    finished = notes.finished or datetime.now(UTC)
    return {
        "format": FORMAT,
        **{name: metadata[name] for name in ("environment", "workload", "controller", "controller_options",
                                             "seed", "service_names", "control_interval_s")},
        "mode": recording.settings.mode,
        "started": notes.started.isoformat() if notes.started else None,
        "finished": finished.isoformat(),
        "intervals": record.num_steps,
        "intervals_planned": recording.planned_steps,
        "duration_s": record.duration_s,
        "ended_because": notes.ended_because,
        "lateness": _lateness(notes, record.metadata.control_interval_s),
        "api_calls": {"total": sum(notes.api_calls), "most_in_an_interval": max(notes.api_calls, default=0)},
        "intervals_with_problems": len({interval for interval, _ in notes.problems}),
        "problems": [
            {"interval": interval, "text": text} for interval, text in notes.problems[:_MOST_PROBLEMS]
        ],
        "remarks": list(recording.remarks),
        "load": {
            "command": public_words(recording.load_words),
            "profile_sha256": metadata["profile_sha256"],
            "generator": dict(notes.generator),
        },
        "monitoring": asdict(recording.view),
        "simulated": {
            how: [asdict(each) for each in agreements] for how, agreements in recording.agreements.items()
        },
        "settings": public_settings(recording.settings),
        "versions": {**record.metadata.versions, **_client_versions()},
        "configuration": asdict(recording.config),
        "constants": metadata["provenance"],
    }  # fmt: skip


def _lateness(notes: Notes, interval_s: float) -> dict[str, float]:
    """Return how late intervals ended; one counts as late from a tenth of an interval on."""
    late = notes.late_s
    return {
        "late_intervals": sum(each > 0.1 * interval_s for each in late),
        "mean_s": sum(late) / len(late) if late else 0.0,
        "largest_s": max(late, default=0.0),
    }


def _client_versions() -> dict[str, str]:
    found = {}
    for name in _CLIENTS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write_csv(path: Path, header: str, rows: Iterable[Sequence[object]]) -> Path:
    lines = [header, *(",".join(_cell(value) for value in row) for row in rows)]
    return write_text(path, "\n".join(lines) + "\n")


def _cell(value: object) -> str:
    """Return a cell; empty for what is not known. Names of services and pods hold no commas."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)

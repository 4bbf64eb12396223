"""Records made by hand: an episode in which every number is chosen by the test."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from podgym.envs.simulator.records import INTERVAL_COLUMNS
from podgym.envs.totals import INFO_KEYS
from podgym.eval.episode import EpisodeMetadata, EpisodeRecord

RecordMaker = Callable[..., EpisodeRecord]


def _make_record(
    columns: Mapping[str, Sequence[object]],
    totals: Mapping[str, Sequence[float]] | None = None,
    *,
    load: Sequence[float] | None = None,
    services: tuple[str, ...] = ("web",),
    visits: tuple[float, ...] | None = None,
    controller: str = "hand",
    kind: str = "open",
) -> EpisodeRecord:
    """Columns are (num_steps,) for one service or (num_steps, num_services); most not given are 0."""
    steps = len(next(iter(columns.values())))
    shape = (steps, len(services))
    full = {name: np.zeros(shape) for name in (*INTERVAL_COLUMNS, "required_replicas")}
    full["duration_s"] = np.full(shape, 15.0)
    full["required_replicas"] = np.ones(shape)
    full["time_s"] = np.repeat(15.0 * np.arange(1, steps + 1)[:, None], len(services), axis=1)
    for name, values in columns.items():
        full[name] = np.array(values, dtype=np.float64).reshape(shape)
    info = {name: np.zeros(steps) for name in INFO_KEYS} | {"time_s": full["time_s"][:, 0]}
    info |= {name: np.array(values, dtype=np.float64) for name, values in (totals or {}).items()}
    count = len(services)
    metadata = EpisodeMetadata(
        environment="podgym/Hand-v0",
        workload="by hand",
        controller=controller,
        controller_options={},
        seed=3,
        profile_label="two steps",
        profile_kind=kind,
        profile_sha256="0" * 64,
        control_interval_s=15.0,
        service_names=services,
        slo_response_time_s=(0.25,) * count,
        visits=visits or (1.0,) * count,
        entry_share=(1.0,) + (0.0,) * (count - 1),
        provenance=({"name": "x", "value": 1.0, "unit": "s", "source": "nowhere", "measured": False},),
        versions={"podgym": "0"},
    )
    return EpisodeRecord(metadata, np.array(load if load is not None else np.ones(steps)), info, full)


@pytest.fixture
def make_record() -> RecordMaker:
    """Build a record from the few columns that a test is about."""
    return _make_record


@pytest.fixture
def worked() -> EpisodeRecord:
    """Two intervals of one service with round numbers; see test_measures for what follows from them."""
    gib = 1024.0**3
    return _make_record(
        {
            "completed": [1200, 600],
            "rejected": [0, 100],
            "timed_out": [0, 60],
            "lost": [0, 40],
            "slo_violations": [12, 288],
            "service_mean_s": [0.1, 0.4],
            "service_cv": [1, 1],
            "cpu_used_core_s": [75, 45],
            "cpu_requested_core_s": [150, 150],
            "memory_used_byte_s": [6 * gib, 9 * gib],
            "memory_requested_byte_s": [15 * gib, 15 * gib],
            "replica_s": [45, 60],
            "ready_replica_s": [45, 45],
            "required_replicas": [4, 2],
            "replica_change": [2, -1],
            "oom_kills": [1, 2],
            "restarts": [0, 1],
        },
        {"completed_rps": [80, 40], "reward": [-3.5, 1.5]},
        load=[100, 94],
    )

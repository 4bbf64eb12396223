"""Every physical parameter changes something, in the direction that it should."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from podgym.envs.config import override
from podgym.envs.simulator import ClusterConfig, FaultParameters, NodeFailure, parameters
from podgym.envs.simulator.records import INTERVAL_COLUMNS

MIB = 1024.0**2
SEEN = ("request_rate_rps", "response_time_s", "error_ratio", "in_flight", "sample_time_s")
INTERVALS = 40


@dataclass(frozen=True)
class Effect:
    """A changed value, where it matters, and the total that must move."""

    path: str
    """Section of the cluster and field."""
    value: Any
    total: str
    """Column of the report, or field of what is seen, summed over the episode."""
    sign: int
    """1: more, -1: less, 0: another value."""
    where: dict[str, Any] = field(default_factory=dict)
    """Changes of the cluster without which the field has nothing to do."""
    kind: str = "open"


def physics(**changes):
    return {"services": {"web": {"parameters": changes}}}


def service(physics=None, **changes):
    return {"services": {"web": {**changes, "parameters": physics or {}}}}


ROOMY = service(memory_limit_ratio=50.0)
CRASHES = physics(start_failure_probability=0.9)
ONE_FAILURE = {
    "faults": {"node_failures": [{"time_s": 45.0, "node": 0, "duration_s": 5000.0}]},
    **physics(memory_per_request_bytes=0.0),
}
BIG_AND_FULL = {
    # A pod on each of 105 nodes if every node is scored; the last five carry none if only 100 are.
    "nodes": {"count": 110},
    "faults": {
        "node_failures": [{"time_s": 100.0, "node": node, "duration_s": 5000.0} for node in range(100, 105)]
    },
    **service(initial_replicas=105, max_replicas=120, min_replicas=105, cpu_request_cores=0.1),
}

EFFECTS = (
    Effect("web.cpu_demand_core_s", 0.012, "cpu_used_core_s", 1),
    Effect("web.demand_cv", 3.0, "response_time_p99_s", 1),
    Effect("web.base_latency_s", 0.2, "response_time_mean_s", 1),
    Effect("web.discipline", "ps", "response_time_mean_s", -1, physics(demand_cv=3.0)),
    Effect("web.load_balancing", "random", "response_time_mean_s", 1),
    Effect("web.concurrency_per_pod", 1, "in_system", 1, service(cpu_request_cores=2.0, initial_replicas=1)),
    Effect("web.queue_limit_per_pod", 5, "rejected", 1),
    Effect("web.timeout_s", 0.5, "timed_out", 1),
    Effect("web.idle_cpu_cores", 0.1, "cpu_used_core_s", 1),
    Effect("web.base_memory_bytes", 400 * MIB, "memory_used_byte_s", 1, ROOMY),
    Effect("web.memory_per_request_bytes", 9 * MIB, "memory_used_byte_s", 1, ROOMY),
    Effect("web.memory_release_s", 600.0, "memory_used_byte_s", 1, ROOMY),
    Effect("web.memory_growth_bytes_per_s", 0.05 * MIB, "memory_used_byte_s", 1, ROOMY),
    Effect("web.image_pull_s", 60.0, "ready_replica_s", -1, {"nodes": {"images_cached": False, "count": 20}}),
    Effect("web.start_up_s", 60.0, "ready_replica_s", -1),
    Effect("web.start_up_cv", 2.0, "ready_replica_s", 0),
    Effect("web.start_up_cpu_cores", 0.5, "cpu_used_core_s", 1),
    Effect("web.probe_period_s", 60.0, "ready_replica_s", -1),
    Effect("web.warm_up_s", 120.0, "in_system", 1),
    Effect("web.warm_up_speed", 0.1, "in_system", 1, physics(warm_up_s=120.0)),
    Effect("web.termination_s", 60.0, "cpu_requested_core_s", 1),
    Effect("web.start_failure_probability", 0.9, "restarts", 1),
    Effect("web.restart_backoff_s", 100.0, "restarts", -1, CRASHES),
    Effect("web.restart_backoff_max_s", 15.0, "restarts", 1, CRASHES),
    Effect("web.resize", "in_place", "pods_created", -1),
    Effect("web.in_place_resize_s", 200.0, "cpu_requested_core_s", -1, physics(resize="in_place")),
    Effect("web.max_surge", 1.0, "replica_s", 1),
    Effect("web.max_unavailable", 1.0, "ready_replica_s", -1),
    Effect("nodes.count", 1, "replicas_pending", 1),
    Effect("nodes.cpu_cores", 1.2, "replicas_pending", 1),
    Effect("nodes.memory_bytes", 1200 * MIB, "replicas_pending", 1),
    Effect("nodes.reserved_cpu_cores", 3.5, "replicas_pending", 1),
    Effect("nodes.reserved_memory_bytes", 15 * 1024 * MIB, "replicas_pending", 1),
    Effect("nodes.max_pods", 1, "replicas_pending", 1),
    Effect("nodes.scoring", "most_allocated", "ready_replica_s", 1,
           {"nodes": {"images_cached": False, "count": 20}, **physics(memory_per_request_bytes=0.0)}),
    Effect("nodes.score_sample", 1.0, "rejected", 1, BIG_AND_FULL),
    Effect("nodes.images_cached", False, "ready_replica_s", -1, {"nodes": {"count": 20}}),
    Effect("nodes.detection_s", 200.0, "rejected", 1, ONE_FAILURE),
    Effect("nodes.eviction_s", 0.0, "pods_created", 1, ONE_FAILURE),
    Effect("load.think_time_s", 5.0, "arrived", -1, kind="closed"),
    Effect("load.rate_noise_cv", 0.5, "arrived", 0),
    Effect("load.rate_noise_period_s", 60.0, "arrived", 0),
    Effect("monitoring.scrape_interval_s", 30.0, "request_rate_rps", 0),
    Effect("monitoring.scrape_delay_s", 20.0, "sample_time_s", -1),
    Effect("monitoring.window_s", 60.0, "request_rate_rps", 0),
    Effect("monitoring.sample_loss_probability", 0.5, "sample_time_s", -1),
    Effect("monitoring.sampling_noise", False, "request_rate_rps", 0),
    Effect("faults.node_failures_per_hour", 10.0, "rejected", 1),
    Effect("faults.node_failure_duration_s", 60.0, "ready_replica_s", 1,
           {"faults": {"node_failures_per_hour": 10.0}}),
    Effect("control_interval_s", 30.0, "duration_s", 1),
    Effect("tick_s", 0.5, "in_system", 0),
)  # fmt: skip


def declared_constants():
    """Paths, as in ``Effect``, of every field of the parameter classes that carries a unit."""
    section = {
        "ServiceParameters": "web.", "NodeParameters": "nodes.", "LoadParameters": "load.",
        "MonitoringParameters": "monitoring.", "FaultParameters": "faults.", "ClusterConfig": "",
    }  # fmt: skip
    found = []
    for name, cls in vars(parameters).items():
        if isinstance(cls, type) and is_dataclass(cls):
            constants = [item.name for item in fields(cls) if "unit" in item.metadata]
            found += [f"{section.get(name, name + '.')}{constant}" for constant in constants]
    return found


def test_every_constant_has_an_entry():
    covered = [effect.path for effect in EFFECTS]
    assert sorted(covered) == sorted(set(covered))
    assert sorted(declared_constants()) == sorted(covered)


def test_every_constant_says_its_unit_and_source():
    for cls in vars(parameters).values():
        if isinstance(cls, type) and is_dataclass(cls):
            for item in fields(cls):
                if "unit" in item.metadata:
                    assert item.metadata["unit"]
                    assert len(item.metadata["source"]) > 5
                    assert isinstance(item.metadata["measured"], bool)


def episode(lab, config, kind="open"):
    """Play a day in ten minutes: a burst, more pods, a new quota, fewer pods. Return sums by name."""
    load = np.interp(np.arange(INTERVALS * 15.0), [0, 60, 75, 300, 330, 600], [60, 60, 300, 300, 60, 60])
    cluster = lab(config, load, kind=kind, seed=1)
    reports, views = [], []
    for interval in range(INTERVALS):
        if interval == 6:
            cluster.want(replicas=12)
        elif interval == 12:
            cluster.want_quota(0.75, 600 * MIB, ratio=2.0)
        elif interval == 24:
            cluster.want(replicas=3)
        reports.append(cluster.advance()[0, 0])
        view = cluster.service()
        views.append([np.nan if value is None else value for value in (getattr(view, name) for name in SEEN)])
    totals = {name: np.nansum([report[name] for report in reports]) for name in INTERVAL_COLUMNS}
    return totals | dict(zip(SEEN, np.nansum(views, axis=0), strict=True))


@pytest.fixture(scope="module")
def base():
    return override(ClusterConfig(), service(initial_replicas=4, min_replicas=1, max_replicas=20))


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.path)
def test_a_parameter_moves_what_it_should(lab, base, effect):
    section, _, name = effect.path.rpartition(".")
    change = physics(**{name: effect.value}) if section == "web" else {effect.path: effect.value}
    before_config = override(base, effect.where)
    after_config = override(before_config, change)
    assert after_config != before_config
    before, after = (
        episode(lab, config, effect.kind)[effect.total] for config in (before_config, after_config)
    )
    difference = after - before
    if effect.sign == 0:
        assert difference != 0.0
    else:
        # More than a rounding error, in the right direction.
        assert difference * effect.sign > 1e-3 * max(abs(before), 1e-3)


@pytest.mark.parametrize(
    ("failure", "total", "sign"),
    [
        (NodeFailure(300.0, 0, 5000.0), "replicas_ready", 1),  # later
        (NodeFailure(100.0, 19, 5000.0), "replicas_ready", 1),  # a node that carries nothing
        (NodeFailure(100.0, 0, 30.0), "replicas_ready", 1),  # shorter
    ],
    ids=["time_s", "node", "duration_s"],
)
def test_a_planned_failure_happens_as_planned(lab, base, failure, total, sign):
    plans = [FaultParameters((NodeFailure(100.0, 0, 5000.0),)), FaultParameters((failure,))]
    many = override(base, {"nodes": {"count": 20, "eviction_s": 5000.0}})
    before, after = (episode(lab, override(many, {"faults": plan}))[total] for plan in plans)
    assert (after - before) * sign > 0


def test_the_script_itself_is_reproducible(lab, base):
    assert episode(lab, base) == episode(lab, base)

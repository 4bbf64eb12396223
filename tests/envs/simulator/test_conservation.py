"""Laws of requests, pods and the room on nodes that hold under any load, fault and decision."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from podgym.envs.cluster import ServiceDecision
from podgym.envs.simulator.parameters import (
    ClusterConfig,
    FaultParameters,
    LoadParameters,
    MonitoringParameters,
    NodeFailure,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)

MIB = 1024.0**2
GIB = 1024.0**3
FLOWS = ("arrived", "completed", "rejected", "timed_out", "lost")
RICH = settings(phases=(Phase.generate,))  # to shrink a story that fails takes minutes
NOT_A_NUMBER_ALLOWED = ("users", "response_time_mean_s", "response_time_p50_s", "response_time_p95_s",
                        "response_time_p99_s")  # fmt: skip


@dataclass
class Story:
    """A cluster, its load, and what is decided before each interval."""

    config: ClusterConfig
    kind: str
    load: list[float]
    decisions: list[list[ServiceDecision]]
    seed: int


@st.composite
def physics(draw, name):
    return ServiceParameters(
        name=name,
        cpu_demand_core_s=draw(st.sampled_from([0.0005, 0.0085, 0.2])),
        demand_cv=draw(st.sampled_from([0.0, 1.0, 3.0])),
        base_latency_s=draw(st.sampled_from([0.0, 0.09])),
        discipline=draw(st.sampled_from(["fcfs", "ps"])),
        load_balancing=draw(st.sampled_from(["pooled", "random"])),
        concurrency_per_pod=draw(st.sampled_from([1, 4, 64])),
        queue_limit_per_pod=draw(st.sampled_from([0, 3, 1024])),
        timeout_s=draw(st.sampled_from([0.05, 2.0, 30.0])),
        base_memory_bytes=240 * MIB,
        memory_per_request_bytes=draw(st.sampled_from([0.0, 1 * MIB, 20 * MIB])),
        memory_growth_bytes_per_s=draw(st.sampled_from([0.0, 0.0, 0.05 * MIB])),
        image_pull_s=3.0,
        start_up_s=draw(st.sampled_from([0.0, 7.0])),
        start_up_cv=0.5,
        probe_period_s=2.0,
        warm_up_s=draw(st.sampled_from([0.0, 10.0])),
        termination_s=draw(st.sampled_from([0.0, 4.0, 60.0])),
        start_failure_probability=draw(st.sampled_from([0.0, 0.3])),
        resize=draw(st.sampled_from(["rolling", "in_place"])),
        max_surge=draw(st.sampled_from([0.25, 1.0])),
        max_unavailable=draw(st.sampled_from([0.0, 0.25, 1.0])),
    )


@st.composite
def configs(draw):
    count = draw(st.integers(1, 4))
    names = [f"s{index}" for index in range(count)]
    services = []
    for index, name in enumerate(names):
        least = draw(st.integers(1, 2))
        services.append(
            ServiceConfig(
                parameters=draw(physics(name)),
                initial_replicas=least + draw(st.integers(0, 3)),
                min_replicas=least,
                max_replicas=least + 3 + draw(st.integers(0, 6)),
                cpu_request_cores=draw(st.sampled_from([0.25, 0.5, 1.7])),
                memory_request_bytes=draw(st.sampled_from([200, 512])) * MIB,
                cpu_limit_ratio=draw(st.sampled_from([1.0, 4.0])),
                memory_limit_ratio=draw(st.sampled_from([1.0, 2.0])),
                entry_share=draw(st.sampled_from([0.0, 1.0])) if index else 1.0,
                calls={other: draw(st.sampled_from([0.0, 0.5, 3.0])) for other in names[index + 1 :]},
            )
        )
    failures = draw(
        st.dictionaries(
            st.integers(0, 2), st.tuples(st.floats(0.0, 150.0), st.floats(1.0, 200.0)), max_size=3
        )
    )
    return ClusterConfig(
        services=tuple(services),
        nodes=NodeParameters(
            count=3,
            cpu_cores=draw(st.sampled_from([2.0, 8.0])),
            images_cached=draw(st.booleans()),
            max_pods=draw(st.sampled_from([3, 250])),
            scoring=draw(st.sampled_from(["least_allocated", "most_allocated"])),
            detection_s=draw(st.sampled_from([0.0, 10.0])),
            eviction_s=draw(st.sampled_from([0.0, 30.0])),
        ),
        load=LoadParameters(
            think_time_s=draw(st.sampled_from([0.0, 0.1, 2.0])),
            rate_noise_cv=draw(st.sampled_from([0.0, 0.5])),
        ),
        monitoring=MonitoringParameters(sample_loss_probability=draw(st.sampled_from([0.0, 0.5]))),
        faults=FaultParameters(
            node_failures=tuple(
                NodeFailure(time_s, node, lasts_s) for node, (time_s, lasts_s) in failures.items()
            ),
            node_failures_per_hour=draw(st.sampled_from([0.0, 20.0])),
            node_failure_duration_s=30.0,
        ),
        control_interval_s=draw(st.sampled_from([1.0, 5.0, 15.0])),
        tick_s=draw(st.sampled_from([0.5, 1.0])),
    )


@st.composite
def decisions(draw, config):
    made = []
    for service in config.services:
        replicas = draw(st.none() | st.integers(service.min_replicas, service.max_replicas))
        if draw(st.integers(0, 3)):
            made.append(ServiceDecision(replicas=replicas))
            continue
        cpu = draw(st.sampled_from([0.1, 0.25, 0.5, 1.7, 3.0]))
        memory = draw(st.sampled_from([200, 300, 512, 1024])) * MIB
        ratio = draw(st.sampled_from([1.0, 3.0]))
        made.append(ServiceDecision(replicas, cpu, cpu * ratio, memory, memory * ratio))
    return made


@st.composite
def stories(draw):
    config = draw(configs())
    steps = 14
    kind = draw(st.sampled_from(["open", "closed"]))
    load = draw(st.lists(st.sampled_from([0.0, 0.5, 30.0, 300.0, 5000.0]), min_size=4, max_size=8))
    made = [draw(decisions(config)) for _ in range(steps)]
    return Story(config, kind, load, made, draw(st.integers(0, 2**32)))


def play(lab, story):
    """Yield the cluster and the report of each interval."""
    cluster = lab(story.config, story.load, kind=story.kind, step_s=30.0, seed=story.seed)
    for made in story.decisions:
        cluster.cluster.apply(made)
        yield cluster, cluster.advance()[0]


@settings(RICH, max_examples=60)
@given(stories())
def test_requests_are_conserved(lab, story):
    before = np.zeros(len(story.config.services))
    for _, report in play(lab, story):
        flow = {name: report[name] for name in FLOWS}
        for values in flow.values():
            assert (values >= 0.0).all()
        assert (report["in_system"] >= 0.0).all()
        ended = sum(flow[name] for name in FLOWS[1:])
        change = report["in_system"] - before
        size = np.maximum.reduce(
            [flow["arrived"], ended, report["in_system"], before, np.full(len(before), 1e-3)]
        )
        assert (np.abs(flow["arrived"] - ended - change) <= 1e-6 * size).all()
        before = report["in_system"]


@settings(RICH, max_examples=40)
@given(stories())
def test_every_number_is_finite_and_makes_sense(lab, story):
    for cluster, report in play(lab, story):
        for name in report.dtype.names:
            values = report[name]
            if name in NOT_A_NUMBER_ALLOWED:
                values = values[~np.isnan(values)]
            assert np.isfinite(values).all(), name
            assert (values >= 0.0).all() or name == "replica_change", name
        served = report["completed"] > 1e-9
        times = np.array([report[f"response_time_{name}_s"][served] for name in ("p50", "p95", "p99")])
        assert (np.diff(times, axis=0) >= 0.0).all()
        assert not np.isnan(report["response_time_mean_s"][served]).any()
        failed = report["rejected"] + report["timed_out"] + report["lost"]
        assert (report["slo_violations"] >= failed * (1 - 1e-9)).all()
        assert (report["slo_violations"] <= (failed + report["completed"]) * (1 + 1e-9)).all()
        assert (report["throttled_ratio"] <= 1.0).all()
        assert (report["wait_probability"] <= 1.0).all()
        seconds = report["duration_s"]
        most = [
            service.max_replicas * (1 + service.parameters.max_surge) + 1 for service in story.config.services
        ]
        assert (report["replica_s"] <= np.array(most) * seconds).all()
        assert (report["ready_replica_s"] <= report["replica_s"] + 1e-9).all()
        cores = story.config.nodes.count * story.config.nodes.allocatable_cpu_cores
        assert report["cpu_requested_core_s"].sum() <= cores * seconds[0] * (1 + 1e-9)
        for view in cluster.observe().services:
            assert 0 <= view.replicas_ready <= view.replicas
            assert view.error_ratio <= 1.0 or math.isnan(view.error_ratio)


@settings(RICH, max_examples=60)
@given(stories())
def test_pods_and_the_room_on_nodes_are_conserved(lab, story):
    alive = np.array([service.initial_replicas for service in story.config.services], dtype=float)
    names = [set() for _ in alive]
    for cluster, report in play(lab, story):
        alive = alive + report["pods_created"] - report["pods_removed"]
        views = cluster.observe().services
        assert [view.replicas for view in views] == alive.tolist()
        for view, known in zip(views, names, strict=True):
            present = {pod.name for pod in view.pods}
            assert len(present) == len(view.pods)
            assert sum(not pod.deleted for pod in view.pods) == view.replicas
            assert sum(pod.ready for pod in view.pods if pod.phase == "Running") >= view.replicas_ready
            assert not any(pod.ready and pod.deleted for pod in view.pods)
            known |= present
        room = np.zeros((len(cluster.nodes), 3))
        for _, node, cpu, memory in cluster.placed():
            room[node] += (math.ceil(cpu * 1000 - 1e-6), math.ceil(memory), 1)
        nodes = cluster.nodes
        assert (
            room.tolist()
            == np.array([nodes["used_cpu_milli"], nodes["used_memory_bytes"], nodes["pods"]]).T.tolist()
        )
        assert (nodes["used_cpu_milli"] <= nodes["cpu_milli"]).all()
        assert (nodes["used_memory_bytes"] <= nodes["memory_bytes"]).all()
        assert (nodes["pods"] <= story.config.nodes.max_pods).all()
    # A pod that is gone does not come back under the same name.
    serials = [int(name.rsplit("-", 1)[1]) for known in names for name in known]
    assert len(serials) == len(set(serials))


@pytest.mark.parametrize(
    "node_cores",
    [
        60.0,  # always room
        3.4,  # roll-outs meet a full cluster
    ],
)
@settings(RICH, max_examples=60)
@given(story=stories(), replicas=st.integers(1, 3))
def test_what_is_wanted_comes_about_where_it_fits(lab, node_cores, story, replicas):
    faults = FaultParameters(story.config.faults.node_failures)
    nodes = NodeParameters(count=3, cpu_cores=node_cores, detection_s=5.0, eviction_s=10.0)
    quiet = ClusterConfig(
        services=tuple(
            ServiceConfig(
                parameters=ServiceParameters(
                    name=service.name,
                    resize=service.parameters.resize,
                    termination_s=service.parameters.termination_s,
                    max_surge=service.parameters.max_surge,
                    # Where surplus pods find no room, old ones must be allowed to go.
                    max_unavailable=service.parameters.max_unavailable if node_cores > 10 else 1.0,
                    start_up_s=service.parameters.start_up_s,
                    start_failure_probability=service.parameters.start_failure_probability,
                    restart_backoff_max_s=20.0,
                    memory_per_request_bytes=0.0,
                ),
                initial_replicas=service.initial_replicas,
                min_replicas=1,
                max_replicas=service.max_replicas,
            )
            for service in story.config.services
        ),
        nodes=nodes,
        faults=faults,
    )
    story = Story(quiet, "open", [10.0, 10.0], story.decisions, story.seed)
    cluster, _ = list(play(lab, story))[-1]
    wanted = [ServiceDecision(replicas, 0.5, 0.5, 512 * MIB, 768 * MIB) for _ in quiet.services]
    cluster.cluster.apply(wanted)
    cluster.advance(80)  # 20 minutes: any failure is over, any back-off, any roll-out
    for view in cluster.observe().services:
        assert view.replicas_wanted == view.replicas == view.replicas_ready == replicas
        assert {pod.quota.cpu_request_cores for pod in view.pods} == {0.5}


@settings(RICH, max_examples=40)
@given(stories(), st.sampled_from([1.0, 10.0, 400.0]), st.integers(0, 10))
def test_no_more_users_are_waiting_than_there_are(lab, story, users, seed):
    # One service, constant users and no noise in their number: each is either thinking or waiting once.
    service = story.config.services[0]
    config = ClusterConfig(
        services=(ServiceConfig(parameters=service.parameters, initial_replicas=2, max_replicas=9),),
        load=LoadParameters(think_time_s=story.config.load.think_time_s, rate_noise_cv=0.0),
        nodes=story.config.nodes,
        faults=story.config.faults,
    )
    cluster = lab(config, users, kind="closed", seed=seed)
    for _ in range(20):
        report = cluster.advance()[0, 0]
        assert report["in_system"] <= users * (1 + 1e-9)
        assert report["users"] == users
    assert cluster.cluster.clusters.world.clusters[0]["load"] == users


@pytest.mark.parametrize("think_time_s", [0.0, 2.0])
def test_users_of_several_entries_are_not_doubled(quiet_config, lab, think_time_s):
    base = quiet_config(load={"think_time_s": think_time_s})
    services = tuple(
        ServiceConfig(
            parameters=ServiceParameters(name=name, base_latency_s=0.0, cpu_demand_core_s=0.1,
                                         memory_per_request_bytes=0.0),
            initial_replicas=1,
        )
        for name in ("a", "b")
    )  # fmt: skip
    config = ClusterConfig(services=services, load=base.load, control_interval_s=1.0)
    cluster = lab(config, 300.0, kind="closed")
    totals = cluster.advance(200)["in_system"].sum(axis=1)
    assert totals.max() <= 300.0 * (1 + 1e-9)

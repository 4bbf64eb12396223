"""Placement against the scores of the reference scheduler; room, contention and failures of nodes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.envs.config import override
from podgym.envs.simulator import ClusterConfig, FaultParameters, NodeFailure
from podgym.envs.simulator.nodes import choose_node
from podgym.envs.simulator.scheduling import (
    ContainerRequests,
    Node,
    PodRequests,
    balanced_allocation,
    least_allocated,
    most_allocated,
)
from podgym.envs.simulator.world import make_world
from podgym.errors import InputError

MIB = 2**20
GIB = 2**30


def world_of_nodes(nodes, *, scoring="least_allocated", max_pods=250, score_sample=0.5):
    """Return a world whose nodes hold what is given: (cpu, memory, used cpu, used memory, pods, up)."""
    config = override(
        ClusterConfig(),
        {
            "nodes": {
                "count": len(nodes),
                "scoring": scoring,
                "max_pods": max_pods,
                "score_sample": score_sample,
            }
        },
    )
    world = make_world(config, 1, 2)
    columns = ("cpu_milli", "memory_bytes", "used_cpu_milli", "used_memory_bytes", "pods", "up")
    for name, values in zip(columns, zip(*nodes, strict=True), strict=True):
        world.nodes[0][name] = values
    return world


def asked(cpu, memory):
    return PodRequests((ContainerRequests({"cpu": cpu, "memory": memory}),))


def reference_scores(nodes, cpu, memory, *, scoring, max_pods):
    """Score of every node, None where the pod does not fit."""
    fit = most_allocated if scoring == "most_allocated" else least_allocated
    scores = []
    for total_cpu, total_memory, used_cpu, used_memory, pods, up in nodes:
        fits = used_cpu + cpu <= total_cpu and used_memory + memory <= total_memory
        if not (up and fits and pods < max_pods):
            scores.append(None)
            continue
        node = Node({"cpu": total_cpu, "memory": total_memory}, (asked(used_cpu, used_memory),))
        scores.append(fit(asked(cpu, memory), node) + balanced_allocation(asked(cpu, memory), node))
    return scores


@st.composite
def some_nodes(draw):
    nodes = []
    for _ in range(draw(st.integers(1, 8))):
        cpu = draw(st.integers(1000, 64_000))
        memory = draw(st.integers(1, 256)) * GIB + draw(st.integers(-MIB, MIB))
        used_cpu = draw(st.integers(0, cpu))
        used_memory = draw(st.integers(0, memory))
        nodes.append(
            (cpu, memory, used_cpu, used_memory, draw(st.integers(0, 6)), draw(st.sampled_from([1, 1, 1, 0])))
        )
    return nodes


@settings(max_examples=400)
@given(
    nodes=some_nodes(),
    cpu=st.integers(1, 20_000),
    memory=st.integers(1, 40 * GIB),
    scoring=st.sampled_from(["least_allocated", "most_allocated"]),
    max_pods=st.integers(1, 6),
)
def test_the_best_node_by_the_reference_scores_is_taken(nodes, cpu, memory, scoring, max_pods):
    world = world_of_nodes(nodes, scoring=scoring, max_pods=max_pods)
    scores = reference_scores(nodes, cpu, memory, scoring=scoring, max_pods=max_pods)
    chosen = choose_node(world, 0, cpu, memory)
    feasible = [score for score in scores if score is not None]
    if not feasible:
        assert chosen == -1
        return
    assert scores[chosen] == max(feasible)
    ties = [node for node, score in enumerate(scores) if score == max(feasible)]
    assert chosen == min(ties, key=lambda node: (nodes[node][4], node))  # fewest pods, then the first


@pytest.mark.parametrize(("sample", "chosen"), [(0.5, 0), (1.0, 119)])
def test_large_clusters_score_a_sample_of_the_nodes(sample, chosen):
    half_full = (4000, 16 * GIB, 2000, 8 * GIB, 4, 1)
    nodes = [half_full] * 119 + [(4000, 16 * GIB, 0, 0, 0, 1)]
    assert choose_node(world_of_nodes(nodes, score_sample=sample), 0, 100, GIB) == chosen
    # Nodes on which the pod does not fit are not part of the sample.
    down = [(4000, 16 * GIB, 0, 0, 0, 0)] * 60
    assert choose_node(world_of_nodes(down + nodes[60:], score_sample=sample), 0, 100, GIB) == 119


@pytest.mark.parametrize(
    ("scoring", "pods"), [("least_allocated", [2, 2, 2, 2]), ("most_allocated", [7, 1, 0, 0])]
)
def test_scoring_spreads_or_packs(quiet_lab, scoring, pods):
    lab = quiet_lab(nodes={"scoring": scoring}, web={"initial_replicas": 8})
    assert sorted(lab.pods_per_node(), reverse=True) == pods


def test_a_node_holds_no_more_pods_than_it_may(quiet_lab):
    lab = quiet_lab(nodes={"max_pods": 2}, web={"initial_replicas": 1, "cpu_request_cores": 0.1})
    lab.want(replicas=20)
    lab.advance(30)
    assert lab.pods_per_node() == [2, 2, 2, 2]
    assert lab.service().replicas_ready == 8
    assert lab.advance()[0, 0]["replicas_pending"] == 12


@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_what_is_kept_for_the_system_is_not_handed_out(quiet_lab, resource):
    nodes = {"count": 1, "cpu_cores": 4.0, "memory_bytes": 4 * GIB}
    exact = {"cpu_request_cores": 1.0, "memory_request_bytes": 1.0 * GIB}
    reserved = {"reserved_cpu_cores": 0.0, "reserved_memory_bytes": 0.0}
    lab = quiet_lab(nodes={**nodes, **reserved}, web={"initial_replicas": 4, **exact})
    assert lab.service().replicas_ready == 4
    reserved[f"reserved_{resource}_{'cores' if resource == 'cpu' else 'bytes'}"] = 0.001
    lab = quiet_lab(nodes={**nodes, **reserved}, web={"initial_replicas": 4, **exact})
    assert lab.service().replicas_ready == 3


def two_services(quiet_config, **changes):
    config = quiet_config(**changes)
    (web,) = config.services
    other = override(web, {"parameters": {"name": "batch", "termination_s": 6.0}, "entry_share": 0.0})
    return override(config, {"services": [web, other]})


def test_waiting_pods_are_placed_as_soon_as_there_is_room(quiet_config, lab):
    config = two_services(
        quiet_config, nodes={"count": 1}, web={"initial_replicas": 3, "cpu_request_cores": 0.6}
    )
    cluster = lab(config, 0.0)
    cluster.want(replicas=5)
    cluster.advance(10)
    assert cluster.advance()[0]["replicas_pending"].tolist() == [2.0, 0.0]
    cluster.want(1, replicas=1)  # two places are free after six seconds
    waiting = cluster.advance(20)["replicas_pending"][:, 0]
    assert list(waiting) == [2.0] * 6 + [0.0] * 14
    assert cluster.service().replicas_ready == 5


def failing(*failures, **rest):
    planned = tuple(NodeFailure(*failure) for failure in failures)
    return {"faults": FaultParameters(planned, **rest)}


def test_a_node_failure_from_outage_to_recovery(quiet_lab):
    lab = quiet_lab(
        100.0,
        nodes={"detection_s": 10.0, "eviction_s": 30.0},
        web={"initial_replicas": 4},
        physics={"start_up_s": 10.0, "probe_period_s": 5.0},
        **failing((20.0, 2, 100.0)),
    )
    assert lab.pods_per_node() == [1, 1, 1, 1]
    victim = lab.pods()[[node for _, node, _, _ in lab.placed()].index(2)].name
    before = lab.advance(20)[:, 0]
    assert before["rejected"].sum() == before["lost"].sum() == 0.0

    undetected = lab.advance(10)[:, 0]
    assert undetected["lost"][0] == pytest.approx(before["in_system"][-1] / 4)
    assert undetected["lost"][1:].sum() == 0.0
    # The endpoint is still there: every fourth request runs into it.
    assert undetected["rejected"] == pytest.approx(undetected["arrived"] / 4)
    assert undetected["replicas_ready"].tolist() == [3.0] * 10

    detected = lab.advance(30)[:, 0]
    assert detected["rejected"].sum() == detected["lost"].sum() == 0.0
    assert detected["pods_created"].sum() == detected["pods_removed"].sum() == 0.0
    assert {pod.name for pod in lab.pods()} >= {victim}

    evicted = lab.advance(20)[:, 0]
    assert evicted["pods_created"].tolist() == evicted["pods_removed"].tolist() == [1.0] + [0.0] * 19
    assert evicted["replicas_ready"].tolist() == [3.0] * 10 + [4.0] * 10
    assert lab.pods_per_node()[2] == 0
    assert victim not in {pod.name for pod in lab.pods()}

    lab.advance(39)
    lab.want(replicas=8)
    lab.advance(1)
    assert lab.pods_per_node()[2] == 0  # still away at 119 s
    lab.want(replicas=9)
    lab.advance(1)
    assert lab.pods_per_node()[2] == 1  # back at 120 s, and the emptiest
    assert lab.service().replicas == 9


@pytest.mark.parametrize("outage_s", [5.0, 25.0])
def test_pods_restart_on_a_node_that_comes_back_before_they_are_evicted(quiet_lab, outage_s):
    lab = quiet_lab(
        100.0,
        nodes={"detection_s": 10.0, "eviction_s": 30.0},
        web={"initial_replicas": 4},
        physics={"start_up_s": 10.0, "probe_period_s": 5.0},
        **failing((20.0, 2, outage_s)),
    )
    names = {pod.name for pod in lab.pods()}
    reports = lab.advance(100)[:, 0]
    assert {pod.name for pod in lab.pods()} == names
    assert np.flatnonzero(reports["restarts"]).tolist() == [20 + int(outage_s)]
    assert reports["pods_created"].sum() == 0.0
    down = np.flatnonzero(reports["replicas_ready"] < 4)
    assert (down[0], down[-1]) == (20, 20 + int(outage_s) + 9)
    errors = np.flatnonzero(reports["rejected"])
    assert (errors[0], errors[-1]) == (20, 19 + min(int(outage_s), 10))


def test_the_whole_cluster_fails_and_comes_back(quiet_lab):
    lab = quiet_lab(
        50.0,
        nodes={"count": 2, "detection_s": 5.0, "eviction_s": 10.0},
        web={"initial_replicas": 4},
        **failing((10.0, 0, 60.0), (10.0, 1, 60.0)),
    )
    reports = lab.advance(120)[:, 0]
    away = slice(10, 80)
    assert reports["rejected"][away] == pytest.approx(reports["arrived"][away])
    assert reports["completed"][away].sum() == 0.0
    assert reports["replicas_pending"][30] == 4.0
    assert reports["replicas_ready"][-1] == 4.0
    assert reports["rejected"][85:].sum() == 0.0
    assert np.isnan(reports["response_time_mean_s"][away]).all()


def test_two_planned_failures_of_one_node_are_refused(quiet_lab):
    with pytest.raises(InputError, match="node 0 has more than one planned failure; one per node"):
        quiet_lab(**failing((10.0, 0, 30.0), (200.0, 0, 30.0)))


def test_random_failures_come_and_go_at_their_rates(quiet_lab):
    rate, outage_s = 0.5, 600.0
    lab = quiet_lab(
        tick_s=20.0,
        control_interval_s=20.0,
        monitoring={"scrape_interval_s": 20.0},
        nodes={"count": 60},
        faults={"node_failures_per_hour": rate, "node_failure_duration_s": outage_s},
    )
    steps = 200 * 180  # 200 hours
    up = np.empty((steps, 60), dtype=bool)
    for step in range(steps):
        lab.cluster.advance()
        up[step] = lab.nodes["up"]
    failures = (np.diff(up.astype(int), axis=0) < 0).sum()
    mean_up_s, mean_down_s = 3600.0 / rate, outage_s
    expected = 60 * 200 * 3600.0 / (mean_up_s + mean_down_s)
    assert failures == pytest.approx(expected, rel=0.05)  # about 5,500, so 1.4 % standard error
    assert up.mean() == pytest.approx(mean_up_s / (mean_up_s + mean_down_s), rel=0.01)


def contended_lab(quiet_config, lab, load, *, share, requests, limit=3.0):
    """Two services on one node of 4 cores (3.9 for pods), one pod each, limits above what the node has."""
    config = quiet_config(
        nodes={"count": 1},
        physics={"cpu_demand_core_s": 0.01, "memory_per_request_bytes": 0.0, "timeout_s": 1e4,
                 "queue_limit_per_pod": 10**9, "idle_cpu_cores": 0.0},
        web={"initial_replicas": 1, "max_replicas": 4},
    )  # fmt: skip
    (web,) = config.services
    services = [
        override(web, {"parameters": {"name": name}, "entry_share": weight, "cpu_request_cores": cpu,
                       "cpu_limit_ratio": limit / cpu})
        for name, weight, cpu in zip(("a", "b"), share, requests, strict=True)
    ]  # fmt: skip
    return lab(override(config, {"services": services}), load)


def test_an_overcommitted_node_gives_requests_first_and_the_rest_by_demand(quiet_config, lab):
    cluster = contended_lab(quiet_config, lab, 2000.0, share=(1.0, 1.0), requests=(2.0, 0.5))
    used = cluster.advance(60)["cpu_used_core_s"][30:].mean(axis=0)
    # Both want 3 of 3.9 cores: 2 + 0.5 are guaranteed, the spare 1.4 goes 1 : 2.5.
    assert used == pytest.approx([2.0 + 1.4 * 1.0 / 3.5, 0.5 + 1.4 * 2.5 / 3.5], rel=0.01)


def test_cores_that_a_neighbour_leaves_idle_are_used(quiet_config, lab):
    cluster = contended_lab(quiet_config, lab, 400.0, share=(0.75, 0.25), requests=(2.0, 0.5))
    used = cluster.advance(100)["cpu_used_core_s"][60:].mean(axis=0)
    assert used == pytest.approx([3.0, 1.0], rel=0.05)  # 300 rps need all of a's limit, 100 rps one core
    alone = contended_lab(quiet_config, lab, 1000.0, share=(1.0, 0.0), requests=(2.0, 0.5))
    assert alone.advance(60)["cpu_used_core_s"][30:, 0].mean() == pytest.approx(3.0, rel=0.01)


@settings(max_examples=15)
@given(
    load=st.floats(10.0, 3000.0),
    share=st.floats(0.05, 0.95),
    requests=st.tuples(st.floats(0.2, 1.9), st.floats(0.2, 1.9)),
    limit=st.floats(2.0, 3.9),
)
def test_no_node_works_more_than_its_cores(quiet_config, lab, load, share, requests, limit):
    cluster = contended_lab(quiet_config, lab, load, share=(share, 1 - share), requests=requests, limit=limit)
    used = cluster.advance(60)["cpu_used_core_s"][30:].mean(axis=0)
    wanted = np.minimum(np.array([share, 1 - share]) * load * 0.01, limit)
    assert used.sum() <= 3.9 * 1.01
    assert (used <= wanted * 1.05 + 1e-6).all()
    assert (used >= np.minimum(wanted, requests) * 0.93).all()  # the guarantee
    if wanted.sum() < 3.5:
        assert used == pytest.approx(wanted, rel=0.1)


def test_no_contention_where_limits_fit(quiet_lab):
    together = quiet_lab(200.0, nodes={"count": 1, "cpu_cores": 4.1, "reserved_cpu_cores": 0.0},
                         web={"initial_replicas": 4, "cpu_request_cores": 1.0})  # fmt: skip
    apart = quiet_lab(200.0, nodes={"count": 4}, web={"initial_replicas": 4, "cpu_request_cores": 1.0})
    one, four = together.advance(60), apart.advance(60)
    for column in ("completed", "in_system", "response_time_mean_s", "cpu_used_core_s"):
        assert one[column].tolist() == four[column].tolist()
    assert math.isclose(one["completed"][-1, 0], 200.0, rel_tol=1e-3)


def test_pods_that_were_starting_are_evicted_with_the_others(quiet_lab):
    lab = quiet_lab(
        nodes={"count": 2, "detection_s": 10.0, "eviction_s": 50.0},
        web={"initial_replicas": 2},
        physics={"start_up_s": 30.0},
        **failing((20.0, 0, 500.0)),
    )
    lab.advance(10)
    lab.want(replicas=4)  # one more starts on each node
    removed = lab.advance(100)[:, 0]["pods_removed"]
    assert np.flatnonzero(removed).tolist() == [20 + 10 + 50 - 10]
    assert removed.sum() == 2

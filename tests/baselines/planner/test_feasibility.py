"""Plans are feasible whatever the cluster, the load and the time; else they are refused with reasons."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.baselines.planner import (
    GaSettings,
    Plan,
    cluster_model,
    objective,
    plan_exhaustively,
    plan_with_ga,
    planning_problem,
    violations,
)
from podgym.baselines.planner.check import pod_memory_bytes
from podgym.baselines.planner.packing import unplaced_pods
from podgym.baselines.planner.repair import repaired
from podgym.envs.simulator import SimulatedCluster
from podgym.envs.simulator.parameters import (
    GIB,
    MIB,
    ClusterConfig,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError

QUICK = GaSettings(population=10, max_generations=6, patience=6)


@st.composite
def services(draw, name, callee=None):
    low = draw(st.integers(1, 3))
    high = draw(st.integers(low, low + 4))
    cores = sorted(draw(st.sets(st.sampled_from([0.05, 0.2, 0.5, 1.0, 3.0, 9.0]), min_size=1, max_size=3)))
    memory = sorted(draw(st.sets(st.sampled_from([64, 128, 500, 2000, 9000]), min_size=1, max_size=3)))
    physics = ServiceParameters(
        name=name,
        cpu_demand_core_s=draw(st.sampled_from([0.0005, 0.005, 0.05])),
        base_memory_bytes=draw(st.sampled_from([10, 100, 600])) * MIB,
        memory_per_request_bytes=draw(st.sampled_from([0.0, 1.0, 30.0])) * MIB,
        concurrency_per_pod=draw(st.sampled_from([1, 8, 64])),
        load_balancing=draw(st.sampled_from(["pooled", "random"])),
        discipline=draw(st.sampled_from(["fcfs", "ps"])),
        demand_cv=draw(st.sampled_from([0.0, 1.0, 3.0])),
    )
    return ServiceConfig(
        parameters=physics,
        initial_replicas=low,
        min_replicas=low,
        max_replicas=high,
        cpu_levels_cores=tuple(cores),
        memory_levels_bytes=tuple(level * MIB for level in memory),
        cpu_limit_ratio=draw(st.sampled_from([1.0, 2.0])),
        calls={callee: draw(st.sampled_from([0.2, 1.0, 3.0]))} if callee else {},
    )


@st.composite
def problems(draw):
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    callees = [*names[1:], None]
    nodes = NodeParameters(
        count=draw(st.integers(1, 4)),
        cpu_cores=draw(st.sampled_from([1.0, 2.0, 4.0, 16.0])),
        memory_bytes=draw(st.sampled_from([1.0, 4.0, 16.0])) * GIB,
        max_pods=draw(st.sampled_from([2, 5, 250])),
    )
    config = ClusterConfig(
        services=tuple(draw(services(name, callee)) for name, callee in zip(names, callees, strict=True)),
        nodes=nodes,
    )
    rates = draw(st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=4))
    kind = draw(st.sampled_from(["open", "closed"]))
    return config, rates, kind, draw(st.sampled_from(["request", "limit"]))


@settings(max_examples=120)
@given(problems(), st.sampled_from(["paper", "slo_cost"]), st.sampled_from([None, 0.0]))
def test_every_plan_is_feasible(drawn, preset, time_limit_s):
    config, rates, kind, bound = drawn
    try:
        problem = planning_problem(config, rates, kind=kind, memory_bound=bound)
    except InputError:
        return
    chosen = replace(QUICK, time_limit_s=time_limit_s)
    try:
        run = plan_with_ga(problem, objective(preset), chosen)
    except InputError:
        low, high = problem.genes_of_choices
        if np.prod(high - low + 1.0) <= 2e4:  # it must be true that there is none
            with pytest.raises(InputError, match="no plan"):
                plan_exhaustively(problem, objective(preset))
        return
    assert violations(problem, run.plan) == ()
    assert len(run.history) == 1 or time_limit_s is None
    assert np.isfinite(run.plan.fitness)


@settings(max_examples=60)
@given(problems(), st.integers(0, 2**32))
def test_repair_leaves_nothing_infeasible(drawn, seed):
    config, rates, kind, bound = drawn
    try:
        problem = planning_problem(config, rates, kind=kind, memory_bound=bound)
    except InputError:
        return
    low, high = problem.genes_of_choices
    genes = np.random.default_rng(seed).integers(low, high + 1, (20, *low.shape))
    was_feasible = problem.feasible(genes, problem.performance(genes))
    changed, performance, feasible = repaired(problem, genes)
    np.testing.assert_allclose(performance, problem.performance(changed), rtol=1e-12)
    assert (changed[was_feasible] == genes[was_feasible]).all()
    assert feasible[was_feasible].all()
    for each in changed[feasible].reshape(-1, low.size).tolist():
        assert violations(problem, problem.plan(each, 0.0)) == ()


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 1200), st.integers(1, 1200)), min_size=1, max_size=4
    ),
    st.integers(1, 5),
    st.integers(1, 8),
)
def test_packing_is_first_fit_pod_by_pod(pods, nodes, most):
    room = (1000, 1000, most)
    order = sorted(pods, key=lambda pod: -max(pod[1:]))
    free = [list(room) for _ in range(nodes)]
    left = 0
    for count, cpu, memory in order:
        for _ in range(count):
            node = next((n for n in free if n[0] >= cpu and n[1] >= memory and n[2] >= 1), None)
            if node is None:
                left += 1
                continue
            node[0], node[1], node[2] = node[0] - cpu, node[1] - memory, node[2] - 1
    columns = np.array(pods)[None]
    found = unplaced_pods(columns[:, :, 0], columns[:, :, 1], columns[:, :, 2], room, nodes)
    assert found.sum() == left
    assert (found <= columns[:, :, 0]).all()


def with_service(config, **changes):
    return replace(config, services=(replace(config.services[0], **changes), *config.services[1:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu_levels_cores": (8.0, 9.0)}, "'web' fits no node: its smallest CPU level is 8 cores"),
        ({"memory_levels_bytes": (99 * GIB,)}, "'web' fits no node: its smallest memory level is 99 GiB"),
        (
            {"min_replicas": 20, "initial_replicas": 20, "cpu_levels_cores": (1.0,)},
            "'web' has min_replicas 20, but the nodes hold 12",
        ),
        ({"memory_levels_bytes": (64 * MIB, 128 * MIB)}, "'web': a pod needs .* MiB at the forecast load"),
    ],
)
def test_an_infeasible_service_is_named(one, changes, message):
    with pytest.raises(InputError, match=message):
        plan_with_ga(planning_problem(with_service(one, **changes), [300.0]), objective("paper"), QUICK)


def test_services_that_fit_alone_but_not_together(service):
    both = tuple(
        service(name, 0.001, min_replicas=2, initial_replicas=2, cpu_levels_cores=(0.9,))
        for name in ("a", "b")
    )
    config = ClusterConfig(services=both, nodes=NodeParameters(count=1, cpu_cores=2.0))
    with pytest.raises(InputError, match=r"no plan fits the nodes: .*3\.6 cores.*'a' asks for most"):
        plan_with_ga(planning_problem(config, [10.0]), objective("paper"), QUICK)


def test_the_checker_finds_every_kind_of_fault(one):
    problem = planning_problem(one, [300.0] * 3)
    good = plan_with_ga(problem, objective("paper"), QUICK).plan
    assert violations(problem, good) == ()
    faults = {
        "bounds": replace(good, replicas=(29,)),
        "cores": replace(good, cpu_request_cores=(0.6,)),
        "bytes": replace(good, memory_request_bytes=(1.0,)),
        "fit the nodes": replace(good, replicas=(9,), cpu_request_cores=(1.5,)),
        "needs": replace(good, memory_request_bytes=(256 * MIB,)),
        "the plan has 0 services": Plan((), (), ()),
    }
    for fault, plan in faults.items():
        (message,) = violations(problem, plan)
        assert fault in message


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_memory_need_against_the_slow_way(four, kind):
    problem = planning_problem(four, [200.0, 500.0, 300.0], kind=kind, memory_bound="limit")
    low, high = problem.genes_of_choices
    genes = np.random.default_rng(0).integers(low, high + 1, (40, *low.shape))
    found = problem.memory_need_bytes(genes, problem.performance(genes))
    for each, need in zip(genes.reshape(40, -1).tolist(), found, strict=True):
        expected = np.array(pod_memory_bytes(problem, problem.plan(each, 0.0)))
        if kind == "open":
            np.testing.assert_allclose(need, expected, rtol=1e-9)
        else:  # of closed users the search is on the safe side
            assert (need >= expected * 0.999).all()
            np.testing.assert_allclose(need, expected, rtol=0.25)


@pytest.mark.parametrize("bound", ["request", "limit"])
def test_a_pod_survives_what_the_plan_expects(one, bound):
    """Whatever the memory bound, the pods of a plan are not killed in the simulator at the forecast load."""
    problem = planning_problem(one, [500.0] * 5, memory_bound=bound)
    plan = plan_with_ga(problem, objective("slo_cost")).plan
    (count,), (cores,), (memory,) = plan.replicas, plan.cpu_request_cores, plan.memory_request_bytes
    config = with_service(one, initial_replicas=count, cpu_request_cores=cores, memory_request_bytes=memory)
    cluster = SimulatedCluster(config, LoadProfile(np.full(2, 500.0), 3600.0, "open", 0.0, "constant"))
    reports = np.array([cluster.advance().copy() for _ in range(120)])
    assert reports["oom_kills"].sum() == 0
    assert reports["replicas_pending"].sum() == 0
    used = reports["memory_used_byte_s"].sum() / reports["memory_requested_byte_s"].sum()
    assert (used <= 1.0) == (bound == "request")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": []}, "shape"),
        ({"rates": [[1.0]]}, "shape"),
        ({"rates": [-1.0]}, "finite and 0 or more"),
        ({"rates": [float("nan")]}, "finite and 0 or more"),
        ({"rates": ["many"]}, "must be numbers"),
        ({"kind": "opened"}, "Did you mean 'open'"),
        ({"present_replicas": [1, 2]}, "present_replicas"),
        ({"present_replicas": [1.5]}, "present_replicas"),
        ({"present_replicas": ["x"]}, "present_replicas"),
        ({"memory_bound": "request"[:-1]}, "Did you mean 'request'"),
    ],
)
def test_bad_problems(one, arguments, message):
    values = {"rates": [1.0], **arguments}
    with pytest.raises(InputError, match=message):
        planning_problem(one, values.pop("rates"), **values)


def test_too_many_combinations(one):
    with pytest.raises(InputError, match="lower max_replicas"):
        cluster_model(
            replace(
                with_service(one, max_replicas=5000, cpu_levels_cores=tuple(0.001 * i for i in range(1, 60))),
                nodes=replace(one.nodes, count=100),
            )
        )

"""What the planner expects of a plan: against the simulator, against a slow second way, and in its trends."""

import math
from dataclasses import replace

import numpy as np
import pytest

from podgym.baselines.planner import objective, planning_problem
from podgym.baselines.planner.performance import ARRIVALS, RESPONSE, SLOW
from podgym.baselines.planner.problem import fitness_of
from podgym.envs.config import REWARD_PRESETS, REWARD_TERMS
from podgym.envs.simulator import SimulatedCluster
from podgym.envs.simulator.parameters import GIB, MIB
from podgym.envs.simulator.queueing import delay_probability, delay_table, solve_utilisation, table_row
from podgym.envs.simulator.sojourn import SojournLaw, tail
from podgym.envs.workloads.profile import LoadProfile

TERM = {name: index for index, name in enumerate(REWARD_TERMS)}
TABLE = delay_table()


def genes_of(problem, plan):
    """Genes (1, S, 3) of a plan: replicas, cores and MiB per service."""
    model = problem.model
    rows = [
        [count, model.cpu_levels_cores[s].index(cores), model.memory_levels_bytes[s].index(mib * MIB)]
        for s, (count, cores, mib) in enumerate(plan)
    ]
    return np.array([rows])


def simulated(config, plan, load, kind, intervals=160):
    """Mean reports of a static deployment under constant load, an hour after it began."""
    services = tuple(
        replace(
            service,
            initial_replicas=count,
            cpu_request_cores=cores,
            memory_request_bytes=mib * MIB,
        )
        for service, (count, cores, mib) in zip(config.services, plan, strict=True)
    )
    profile = LoadProfile(np.full(2, float(load)), 3600.0, kind, 0.0, "constant")
    cluster = SimulatedCluster(replace(config, services=services), profile, seed=3)
    reports = np.array([cluster.advance().copy() for _ in range(intervals)])[intervals // 8 :]
    completed = reports["completed"].sum(axis=0)
    return {
        "response": (reports["response_time_mean_s"] * reports["completed"]).sum(axis=0) / completed,
        "slow": reports["slo_violations"].sum(axis=0) / completed,
        "rate": completed / (15.0 * len(reports)),
        "cpu": reports["cpu_used_core_s"].sum() / reports["cpu_requested_core_s"].sum(),
        "memory": reports["memory_used_byte_s"].sum() / reports["memory_requested_byte_s"].sum(),
    }


PHYSICS = {
    "default": {},
    "ps": {"discipline": "ps"},
    "random": {"load_balancing": "random"},
    "varied": {"demand_cv": 2.0},
    "few slots": {"concurrency_per_pod": 2},
}


@pytest.mark.parametrize("utilisation", [0.5, 0.85])
@pytest.mark.parametrize("physics", PHYSICS.values(), ids=PHYSICS.keys())
def test_a_steady_open_load_in_the_simulator(one, with_physics, physics, utilisation):
    config = with_physics(one, **physics)
    plan = [(6, 1.5, 512)]
    load = utilisation * 9.0 / config.services[0].parameters.cpu_demand_core_s
    problem = planning_problem(config, [load] * 5)
    genes = genes_of(problem, plan)
    performance = problem.performance(genes)
    terms = problem.terms(genes, performance)[0]
    seen = simulated(config, plan, load, "open")
    assert terms[TERM["response_time"]] == pytest.approx(seen["response"][0], rel=0.01)
    assert terms[TERM["cpu_utilisation"]] == pytest.approx(seen["cpu"], rel=0.005)
    assert terms[TERM["memory_utilisation"]] == pytest.approx(seen["memory"], rel=0.02)
    assert terms[TERM["slo_violation"]] == pytest.approx(seen["slow"][0], abs=0.006)
    assert performance[0, 0, ARRIVALS].mean() == pytest.approx(seen["rate"][0], rel=0.005)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_close_to_saturation(one, with_physics, noise):
    config = with_physics(one, noise=noise)
    load = 0.93 * 6.0 / config.services[0].parameters.cpu_demand_core_s
    problem = planning_problem(config, [load] * 5)
    genes = genes_of(problem, [(8, 0.75, 512)])
    terms = problem.terms(genes, problem.performance(genes))[0]
    seen = simulated(config, [(8, 0.75, 512)], load, "open", 400)
    assert terms[TERM["response_time"]] == pytest.approx(seen["response"][0], rel=0.04)
    assert terms[TERM["cpu_utilisation"]] == pytest.approx(seen["cpu"], rel=0.005)


@pytest.mark.parametrize("users", [500, 1000, 1400])
def test_closed_users_in_the_simulator(one, users):
    plan = [(8, 0.75, 512)]
    problem = planning_problem(one, [users] * 5, kind="closed")
    genes = genes_of(problem, plan)
    performance = problem.performance(genes)
    terms = problem.terms(genes, performance)[0]
    seen = simulated(one, plan, users, "closed")
    assert terms[TERM["response_time"]] == pytest.approx(seen["response"][0], rel=0.03)
    assert performance[0, 0, ARRIVALS].mean() == pytest.approx(seen["rate"][0], rel=0.005)
    assert terms[TERM["cpu_utilisation"]] == pytest.approx(seen["cpu"], rel=0.005)


@pytest.mark.parametrize(("kind", "load"), [("open", 350.0), ("closed", 580.0)])
def test_a_call_graph_in_the_simulator(four, kind, load):
    plan = [(4, 0.5, 128), (8, 0.25, 128), (3, 0.5, 128), (3, 0.25, 128)]
    problem = planning_problem(four, [load] * 5, kind=kind)
    genes = genes_of(problem, plan)
    performance = problem.performance(genes)
    terms = problem.terms(genes, performance)[0]
    seen = simulated(four, plan, load, kind)
    np.testing.assert_allclose(performance[0, :, RESPONSE].mean(axis=1), seen["response"], rtol=0.03)
    np.testing.assert_allclose(performance[0, :, ARRIVALS].mean(axis=1), seen["rate"], rtol=0.01)
    assert terms[TERM["cpu_utilisation"]] == pytest.approx(seen["cpu"], rel=0.01)
    assert terms[TERM["memory_utilisation"]] == pytest.approx(seen["memory"], rel=0.01)


def slow_fitness(config, plan, rates, present):
    """Fitness of one plan under open load, both presets: services, minutes and disturbances one by one."""
    sigma = math.sqrt(math.log1p(config.load.rate_noise_cv**2))
    deviations = [(-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6), (1.5, 0.0)]
    visits = visits_by_hand(config)
    used_cores = used_bytes = response_s = violations = 0.0
    requested_cores = sum(count * cores for count, cores, _ in plan)
    requested_bytes = sum(count * mib * MIB for count, _, mib in plan)
    backlog = dict.fromkeys(visits, 0.0)
    for rate in rates:
        minute = {}
        for service, (count, cores, _) in zip(config.services, plan, strict=True):
            physics, name = service.parameters, service.name
            limit = cores * service.cpu_limit_ratio
            servers = count * max(limit, 1.0)
            mu = count * limit / physics.cpu_demand_core_s
            kappa = 0.5 * (1 + physics.demand_cv**2)
            arrivals = rate * visits[name]

            def stationary(rho, servers=servers, mu=mu, kappa=kappa):
                delay = delay_probability(TABLE, table_row(servers), rho)
                wait = kappa / (mu * (1 - rho))
                return servers / mu, delay, wait, mu * rho * (servers / mu + delay * wait)

            def step(inflow, seconds, servers=servers, mu=mu, kappa=kappa):
                return solve_utilisation(
                    TABLE, table_row(servers), servers, kappa, mu * seconds, inflow, 0.0, 0.5
                )[0]

            inflow = backlog[name] + 60 * arrivals
            rho = step(inflow, 60.0)
            backlog[name] = stationary(rho)[3]
            mean = slow = 0.0
            total = sum(w * math.exp(sigma * z - sigma**2 / 2) for z, w in deviations)
            for z, weight in deviations:
                factor = math.exp(sigma * z - sigma**2 / 2)
                period = config.load.rate_noise_period_s
                service_s, delay, wait, held = stationary(
                    step(backlog[name] + arrivals * factor * period, period)
                )
                law = SojournLaw(physics.base_latency_s, service_s, physics.demand_cv, delay, wait, wait)
                mean += weight * factor / total * (physics.base_latency_s + service_s + delay * wait)
                slow += weight * factor / total * tail(service.slo_response_time_s, law)
            if inflow >= 60 * mu:
                slow = 1.0
            cpu = rho * count * limit + count * physics.idle_cpu_cores
            minute[name] = (arrivals, mean, slow, cpu, held)  # held: of the last deviation
        response_s += sum(visits[name] * values[1] for name, values in minute.items()) / len(rates)
        arrived = sum(values[0] for values in minute.values())
        slow = sum(values[0] * values[2] for values in minute.values())
        violations += slow / arrived / len(rates)
        used_cores += sum(values[3] for values in minute.values()) / len(rates)
        for service, (count, _, _) in zip(config.services, plan, strict=True):
            arrivals, _, _, _, held = minute[service.name]
            held += arrivals * downstream_by_hand(config, service, {n: v[1] for n, v in minute.items()})
            held = min(held, count * service.parameters.concurrency_per_pod)
            used = count * service.parameters.base_memory_bytes
            used_bytes += (used + held * service.parameters.memory_per_request_bytes) / len(rates)
    churn = sum(abs(count - before) for (count, _, _), before in zip(plan, present, strict=True))
    weights = REWARD_PRESETS["slo_cost"]
    return {
        "paper": 0.5 * used_cores / requested_cores + 0.5 * used_bytes / requested_bytes - response_s,
        "slo_cost": weights["slo_violation"] * violations
        + weights["cpu_cost"] * requested_cores
        + weights["memory_cost"] * requested_bytes / GIB
        + weights["churn"] * churn / (60 * len(rates)),
    }


def visits_by_hand(config):
    entering = sum(service.entry_share for service in config.services)
    visits = {service.name: service.entry_share / entering for service in config.services}
    for s in config.call_order():
        for callee, calls in config.services[s].calls.items():
            visits[callee] += calls * visits[config.services[s].name]
    return visits


def downstream_by_hand(config, service, responses):
    named = {each.name: each for each in config.services}
    return sum(
        calls * (responses[callee] + downstream_by_hand(config, named[callee], responses))
        for callee, calls in service.calls.items()
    )


def test_fitness_of_a_population_against_one_plan_at_a_time(two):
    rates, present = [300.0, 360.0, 520.0, 600.0, 400.0], (3, 4)
    problem = planning_problem(two, rates, present_replicas=present)
    low, high = problem.genes_of_choices
    genes = np.random.default_rng(0).integers(low, high + 1, (60, 2, 3))
    terms = problem.terms(genes, problem.performance(genes))
    overloaded = 0
    for row, each in enumerate(genes):
        plan = [
            (int(n), problem.model.cpu_levels_cores[s][c], problem.model.memory_levels_bytes[s][m] / MIB)
            for s, (n, c, m) in enumerate(each)
        ]
        expected = slow_fitness(two, plan, rates, present)
        overloaded += terms[row, TERM["slo_violation"]] > 0.3
        for name, value in expected.items():
            found = fitness_of(objective(name), terms[row : row + 1])[0]
            assert found == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert 10 < overloaded < 50  # both sides of saturation were among them


@pytest.mark.parametrize("kind", ["open", "closed"])
@pytest.mark.parametrize("physics", PHYSICS.values(), ids=PHYSICS.keys())
def test_more_capacity_is_never_slower(one, with_physics, physics, kind):
    config = with_physics(one, **physics)
    problem = planning_problem(config, [300.0, 700.0, 1500.0, 4000.0, 900.0], kind=kind)
    replicas = len(problem.table) // problem.model.cpu_choices[0]
    grid = problem.table.reshape(replicas, problem.model.cpu_choices[0], *problem.table.shape[1:])
    slack = 1e-9 if kind == "open" else 5e-3  # closed users are solved for on a grid
    assert np.isfinite(grid).all()
    for column in (RESPONSE, SLOW):
        values = grid[:, :, column]
        more_pods = values[1:] - values[:-1]
        assert (more_pods <= slack * np.maximum(values[:-1], 0.1)).all()
        larger = values[:, 1:] - values[:, :-1]
        assert (larger <= slack * np.maximum(values[:, :-1], 0.1)).all()


def test_overload_is_finite_and_worsens_steadily(one):
    rates = np.linspace(10.0, 3000.0, 60)
    responses, slow = [], []
    for rate in rates:
        problem = planning_problem(one, [rate] * 5)
        performance = problem.performance(genes_of(problem, [(4, 1.0, 512)]))
        responses.append(performance[0, 0, RESPONSE])
        slow.append(performance[0, 0, SLOW])
    responses, slow = np.array(responses), np.array(slow)
    assert np.isfinite(responses).all()
    assert (np.diff(responses, axis=0) > 0.0).all()
    capacity = 4.0 / one.services[0].parameters.cpu_demand_core_s
    over = rates > capacity
    assert (slow[over] == 1.0).all()
    assert (np.diff(responses[over], axis=1) > 0.0).all()  # the backlog grows from minute to minute


def test_a_backlog_outlives_its_minute(one):
    problem = planning_problem(one, [800.0, 300.0, 300.0])
    calm = planning_problem(one, [300.0, 300.0, 300.0])
    genes = genes_of(problem, [(4, 1.0, 512)])
    after, before = problem.performance(genes)[0, 0], calm.performance(genes)[0, 0]
    assert after[RESPONSE, 1] > 2.0 * before[RESPONSE, 1]
    assert after[SLOW, 1] == 1.0


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_no_load_at_all(two, kind):
    problem = planning_problem(two, [0.0] * 3, kind=kind)
    low, high = problem.genes_of_choices
    genes = np.stack([low, high])
    terms = problem.terms(genes, problem.performance(genes))
    assert np.isfinite(terms).all()
    assert (terms[:, TERM["slo_violation"]] == 0.0).all()
    idle = terms[:, TERM["cpu_utilisation"]] * terms[:, TERM["cpu_cost"]]
    np.testing.assert_allclose(idle, 0.005 * genes[:, :, 0].sum(axis=1))


def test_closed_users_of_several_services_are_one_equation(two):
    problem = planning_problem(two, [400.0, 700.0], kind="closed")
    low, high = problem.genes_of_choices
    genes = np.random.default_rng(1).integers(low, high + 1, (40, 2, 3))
    performance = planning_problem(replace_noise(two), [400.0, 700.0], kind="closed").performance(genes)
    throughput = performance[:, 0, ARRIVALS]
    response = performance[:, 0, RESPONSE] + 1.5 * performance[:, 1, RESPONSE]
    think = two.load.think_time_s
    np.testing.assert_allclose(throughput * (think + response), [[400.0, 700.0]] * 40, rtol=1e-6)
    mu = 0.006 * throughput / (0.001 * genes[:, :1, 0] * problem.model.cpu_milli[0][genes[:, :1, 1]])
    assert (mu < 1.0).all()


def replace_noise(config):
    return replace(config, load=replace(config.load, rate_noise_cv=0.0))

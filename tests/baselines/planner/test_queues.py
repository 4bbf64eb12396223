"""The law as array expressions against the simulator's kernels, one number at a time."""

import math

import numpy as np
import pytest

from podgym.baselines.planner.queues import (
    delay_probability,
    joined,
    number_in_system,
    queues_of,
    slow_share,
    sojourn_s,
    utilisation_after,
    wait_s,
)
from podgym.envs.simulator import queueing
from podgym.envs.simulator.parameters import ServiceParameters
from podgym.envs.simulator.sojourn import SojournLaw, tail

TABLE = queueing.delay_table()
REPLICAS = np.array([1.0, 2.0, 5.0, 28.0, 90.0, 400.0, 3000.0])
LIMITS = np.array([0.1, 0.5, 1.0, 1.5, 2.0, 1.0, 2.0])
UTILISATION = np.array([0.0, 0.01, 0.37, 0.5, 0.8, 0.95, 0.9999])
PHYSICS = {
    "fcfs": {},
    "steady": {"demand_cv": 0.3},
    "constant": {"demand_cv": 0.0},
    "varied": {"demand_cv": 2.5},
    "ps": {"discipline": "ps"},
    "varied ps": {"discipline": "ps", "demand_cv": 2.0},
    "random": {"load_balancing": "random"},
    "few slots": {"concurrency_per_pod": 1},
}


def queues(**physics):
    return queues_of(ServiceParameters(**physics), 0.25, REPLICAS, LIMITS, TABLE)


@pytest.mark.parametrize("physics", PHYSICS.values(), ids=PHYSICS.keys())
def test_stationary_law(physics):
    several = queues(**physics)
    utilisation = np.tile(UTILISATION, (len(REPLICAS), 1))
    delay = delay_probability(several, utilisation)
    wait = wait_s(several, utilisation)
    number = number_in_system(several, utilisation, sojourn_s(several, delay, wait))
    for i in range(len(REPLICAS)):
        c, n = several.servers[i] / several.queues[i], several.queues[i]
        for j, rho in enumerate(UTILISATION):
            expected = queueing.delay_probability(TABLE, queueing.table_row(c), rho)
            assert delay[i, j] == pytest.approx(expected, rel=1e-12, abs=1e-15)
            little = n * (c * rho + several.kappa[i] * expected * rho / (1.0 - rho))
            assert number[i, j] == pytest.approx(little, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("step_s", [1.0, 60.0])
@pytest.mark.parametrize("physics", PHYSICS.values(), ids=PHYSICS.keys())
def test_step_in_time(physics, step_s):
    several = queues(**physics)
    load = np.array([0.0, 1e-6, 0.3, 0.7, 0.98, 1.0, 1.3, 20.0])  # of the capacity
    inflow = several.rate_rps[:, None] * step_s * load
    found = utilisation_after(several, inflow, step_s)
    for i in range(len(REPLICAS)):
        share = 1.0 / several.queues[i]
        servers = several.servers[i] * share
        for j in range(len(load)):
            expected, _ = queueing.solve_utilisation(
                TABLE, queueing.table_row(servers), servers, several.kappa[i],
                several.rate_rps[i] * step_s * share, inflow[i, j] * share, 0.0, 0.5,
            )  # fmt: skip
            assert found[i, j] == pytest.approx(expected, rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("physics", PHYSICS.values(), ids=PHYSICS.keys())
@pytest.mark.parametrize("slo_s", [0.05, 0.11, 0.25, 1.0])
def test_share_of_slow_requests(physics, slo_s):
    several = queues_of(ServiceParameters(**physics), slo_s, REPLICAS, LIMITS, TABLE)
    utilisation = np.tile(UTILISATION, (len(REPLICAS), 1))
    delay, wait = delay_probability(several, utilisation), wait_s(several, utilisation)
    found = slow_share(several, utilisation, delay, wait)
    cv = ServiceParameters(**physics).demand_cv
    for i in range(len(REPLICAS)):
        for j, rho in enumerate(UTILISATION):
            shift = several.base_latency_s[i]
            law = SojournLaw(shift, several.service_time_s[i], cv, delay[i, j], wait[i, j], wait[i, j])
            if physics.get("discipline") == "ps":
                mean = several.service_time_s[i] + delay[i, j] * wait[i, j]
                variation = math.sqrt((1.0 + cv * cv) * 2.0 / (2.0 - rho) - 1.0)
                law = SojournLaw(shift, mean, variation, 0.0, 0.0, 0.0)
            assert found[i, j] == pytest.approx(tail(slo_s, law), rel=1e-6, abs=1e-9)


def test_several_services_stand_side_by_side():
    first, second = queues(), queues(discipline="ps", demand_cv=2.0)
    both = joined([first, second])
    utilisation = np.full((2 * len(REPLICAS), 1), 0.9)
    delay, wait = delay_probability(both, utilisation), wait_s(both, utilisation)
    together = slow_share(both, utilisation, delay, wait)
    half = len(REPLICAS)
    for part, rows in ((first, slice(0, half)), (second, slice(half, None))):
        alone = slow_share(part, utilisation[rows], delay[rows], wait[rows])
        np.testing.assert_allclose(together[rows], alone, rtol=1e-12)
    np.testing.assert_array_equal(
        both.take(np.array([half, 0])).servers, [second.servers[0], first.servers[0]]
    )

"""Every measure against numbers worked out by hand, and against the environment's own figures."""

import math

import numpy as np
import pytest

from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.envs.simulator.sojourn import SojournLaw, tail
from podgym.eval.charges import PriceTable
from podgym.eval.measures import (
    MEASURES,
    busiest,
    external_laws,
    mean_and_spread,
    measure,
    measure_by_service,
    measures_at,
)
from podgym.eval.mixture import mixture_quantile_s
from podgym.eval.runner import run_episode


def quantile_of_two_exponentials(probability):
    """Solve 2/3 exp(-t / 0.1) + 1/3 exp(-t / 0.4) = 1 - p by plain bisection."""
    low, high = 0.0, 10.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        tail = 2 / 3 * math.exp(-middle / 0.1) + 1 / 3 * math.exp(-middle / 0.4)
        low, high = (middle, high) if tail > 1 - probability else (low, middle)
    return low


# 1800 of 2000 requests completed within 30 s; see the record ``worked``.
WORKED = {
    "response_time_mean_s": (1200 * 0.1 + 600 * 0.4) / 1800,
    "response_time_p50_s": quantile_of_two_exponentials(0.50),
    "response_time_p95_s": quantile_of_two_exponentials(0.95),
    "response_time_p99_s": quantile_of_two_exponentials(0.99),
    "slo_violation_ratio": 0.15,
    "throughput_rps": 60.0,
    "throughput_busiest_rps": 80.0,  # the load of the second interval is 94 % of the highest
    "error_ratio": 0.10,
    "rejected_ratio": 0.05,
    "timed_out_ratio": 0.03,
    "lost_ratio": 0.02,
    "cpu_utilisation": 120 / 300,
    "memory_utilisation": 15 / 30,
    "mean_utilisation": 0.45,
    "core_hours": 300 / 3600,
    "gib_hours": 30 / 3600,
    "replica_hours": 105 / 3600,
    "money": (300 * 0.04048 + 30 * 0.004445) / 3600,
    "energy_wh": 1.135 * (300 * 0.74 + 120 * (3.5 - 0.74) + 30 * 0.392) / 3600,
    "scaling_events": 2.0,
    "replicas_changed": 3.0,
    "under_provisioning": (1 / 4 + 0) / 2,  # 3 ready pods where 4, then 2 are required
    "over_provisioning": (0 + 1 / 2) / 2,
    "under_provisioned_time": 0.5,
    "over_provisioned_time": 0.5,
    "instability": 1.0,  # fewer pods are required in the second interval, as many are ready
    "oom_kills": 3.0,
    "restarts": 1.0,
    "reward": -2.0,
}


def test_every_measure_is_worked_by_hand():
    assert set(WORKED) == {each.name for each in MEASURES}


@pytest.mark.parametrize("name", WORKED)
def test_worked_case(worked, name):
    assert measure(worked)[name] == pytest.approx(WORKED[name], rel=1e-8)


def test_percentile_is_not_the_mean_of_percentiles(worked):
    naive = (1200 * -0.1 * math.log(0.05) + 600 * -0.4 * math.log(0.05)) / 1800
    assert abs(measure(worked)["response_time_p95_s"] / naive - 1) > 0.1


def test_names_are_distinct_and_definitions_are_sentences():
    names = [each.name for each in MEASURES]
    assert len(names) == len(set(names))
    assert all(each.definition.endswith(".") and each.unit for each in MEASURES)


def test_busiest_phase_includes_95_percent_of_the_highest_load(make_record):
    record = make_record({"completed": [1, 1, 1]}, load=[94.9, 95.0, 100.0])
    assert busiest(record).tolist() == [False, True, True]


def test_nothing_completed_gives_no_response_time_but_all_errors(make_record):
    result = measure(make_record({"completed": [0, 0], "rejected": [5, 5], "slo_violations": [5, 5]}))
    assert math.isnan(result["response_time_mean_s"])
    assert math.isnan(result["response_time_p99_s"])
    assert result["error_ratio"] == result["slo_violation_ratio"] == 1.0
    assert result["throughput_rps"] == 0.0


def test_an_interval_without_requests_has_no_weight(make_record):
    nan = math.nan
    record = make_record(
        {"completed": [0, 100], "service_mean_s": [nan, 0.1], "service_cv": [nan, 1.0]},
        {"completed_rps": [0, 100 / 15]},
    )
    assert measure(record)["response_time_mean_s"] == pytest.approx(0.1)


def test_supply_equal_to_demand_is_neither_under_nor_over(make_record):
    record = make_record({"required_replicas": [3, 3], "ready_replica_s": [45.0, 45.0 - 1e-9]})
    result = measure(record)
    assert result["under_provisioned_time"] == result["over_provisioned_time"] == 0.0


def test_money_at_other_prices(worked):
    prices = PriceTable(core_hour=3600.0, gib_hour=36000.0, currency="EUR")
    assert measure(worked, prices)["money"] == pytest.approx(300 + 10 * 30)
    money = next(each for each in measures_at(prices) if each.name == "money")
    assert (money.unit, "3600 EUR a core hour" in money.definition) == ("EUR", True)
    own, listed = measure(worked, prices), measure(worked)
    assert {name for name in own if own[name] != listed[name]} == {"money"}


def test_instability_by_hand(make_record):
    """Demand: up, same, down, down. Supply: up, same, up, down by what is rounding: two of four intervals."""
    supply = [15.0, 30.0, 30.0, 45.0, 45.0 - 1e-9]
    record = make_record({"required_replicas": [2, 3, 3, 2, 1], "ready_replica_s": supply})
    assert measure(record)["instability"] == pytest.approx(0.5)
    steady = make_record({"required_replicas": [3, 3], "ready_replica_s": [15.0, 15.0]})
    assert measure(steady)["instability"] == 0.0
    assert math.isnan(
        measure(make_record({"required_replicas": [3], "ready_replica_s": [15.0]}))["instability"]
    )


@pytest.fixture
def two_services(make_record):
    return make_record(
        {
            "completed": [[100, 200]],
            "slo_violations": [[10, 0]],
            "service_shift_s": [[0.01, 0.0]],
            "service_mean_s": [[0.05, 0.02]],
            "service_cv": [[1.0, 0.5]],
            "wait_probability": [[0.0, 0.5]],
            "wait_mean_s": [[0.0, 0.04]],
            "wait_std_s": [[0.0, 0.04]],
            "required_replicas": [[2, 4]],
            "ready_replica_s": [[15, 60]],
            "cpu_used_core_s": [[3, 3]],
            "cpu_requested_core_s": [[6, 12]],
        },
        {"completed_rps": [100 / 15]},
        services=("front", "back"),
        visits=(1.0, 2.0),
    )


def test_several_services_add_up_to_one_external_request(two_services):
    result = measure(two_services)
    assert result["response_time_mean_s"] == pytest.approx(0.06 + 2 * (0.02 + 0.5 * 0.04))
    variance = 0.05**2 + 2 * ((0.02 * 0.5) ** 2 + 0.5 * (0.04**2 + 0.04**2) - 0.02**2)
    law = SojournLaw(0.01, 0.13, math.sqrt(variance) / 0.13, 0.0, 0.0, 0.0)
    assert tail(result["response_time_p95_s"], law) == pytest.approx(0.05, rel=1e-5)
    assert result["slo_violation_ratio"] == pytest.approx(10 / 300)
    assert result["cpu_utilisation"] == pytest.approx(6 / 18)
    assert result["under_provisioning"] == pytest.approx((1 / 2 + 0) / 2)
    assert result["throughput_rps"] == pytest.approx(100 / 15)


def test_by_service_takes_each_alone(two_services):
    result = measure_by_service(two_services)
    assert result["back"]["response_time_mean_s"] == pytest.approx(0.02 + 0.5 * 0.04)
    assert result["front"]["slo_violation_ratio"] == pytest.approx(0.1)
    assert result["back"]["throughput_rps"] == pytest.approx(200 / 15)
    assert result["back"]["cpu_utilisation"] == pytest.approx(3 / 12)
    assert result["front"]["under_provisioning"] == pytest.approx(0.5)
    assert result["back"]["under_provisioning"] == 0.0
    assert "reward" not in result["front"]


class Still:
    name = "still"

    def reset(self):
        pass

    def decide(self, observation):
        from podgym.envs.cluster import ServiceDecision

        return tuple(ServiceDecision() for _ in observation.services)


@pytest.mark.parametrize("scenario", ["high_load", "boutique"])
def test_each_interval_agrees_with_info(scenario):
    """What is computed from the laws of one interval is what the environment says of that interval."""
    env = AutoscaleEnv(scenario_config(scenario), episode_s=300.0)
    record = run_episode(env, Still(), 5)
    laws, completed = external_laws(record)
    for step in (0, 7, record.num_steps - 1):
        chosen = np.arange(record.num_steps) == step
        for share, key in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
            expected = record.totals[f"response_time_{key}_s"][step]
            got = mixture_quantile_s(share, laws.where(chosen), completed[chosen])
            assert got == pytest.approx(expected, rel=3e-3), (step, key)  # the simulator's own precision
        mean_s = laws.means_s()[step]
        assert mean_s == pytest.approx(record.totals["response_time_mean_s"][step], rel=1e-9)


def test_mean_and_spread():
    assert mean_and_spread([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt(7.0)))
    assert mean_and_spread([4.0]) == (4.0, 0.0)
    assert math.isnan(mean_and_spread([1.0, math.nan])[0])

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.observations import MIB, blind, forecast, observe, pod, service, wanted

from podgym.baselines.hpa_controller import HpaController
from podgym.baselines.predictive_planner import PredictivePlannerController, Ramp
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.scenarios import high_load
from podgym.errors import InputError

# 0.01 core s per request, half a core per replica; 0.12 s of 0.25 s are base latency.
CORE_S = 0.01


def measured(replicas, rate_rps, now_s=0.0, **fields):
    return service(
        replicas, CORE_S * rate_rps / replicas, now_s=now_s, request_rate_rps=rate_rps,
        response_time_s=0.14, **fields,
    )  # fmt: skip


def planner(**options):
    """A planner that plans at 80 % use and nothing more, at once."""
    return PredictivePlannerController(
        **{
            "over_provisioning": 0.0, "slo_response_time_s": 10.0, "stabilization_s": 0.0, "max_added": 100,
            "max_removed": 100, "plan_memory": False, **options,
        }
    )  # fmt: skip


def plan(rate_rps, replicas=4, measured_rps=100.0, **options):
    """Replicas that a new planner wants for one observation."""
    view = measured(replicas, measured_rps, forecast=forecast(rate_rps))
    (count,) = wanted(planner(**options), view)
    return replicas if count is None else count


def test_replicas_are_those_for_the_forecast_at_the_utilisation():
    assert plan(200.0) == 5
    assert plan(201.0) == 6
    assert plan(200.0, max_utilisation=0.5) == 8
    assert plan(200.0, over_provisioning=0.12) == 6
    assert plan(10.0) == 3  # the measured 100 requests/s count as well
    assert plan(1e6) == 50


def test_the_latency_objective_asks_for_more_and_one_out_of_reach_for_nothing():
    loose, tight = plan(380.0, slo_response_time_s=0.4), plan(380.0, slo_response_time_s=0.181)
    assert loose == 10  # by utilisation
    assert tight > loose
    controller = planner(slo_response_time_s=0.13)
    assert wanted(controller, measured(4, 100.0, forecast=forecast(380.0))) == [10]
    assert controller.status == {"web": "forecast; no count meets the response time objective"}


@given(
    st.lists(st.floats(1.0, 100.0), max_size=30),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([0, 60]),
)
def test_a_ramp_adds_and_removes_no_more_than_allowed_per_period(pauses_s, added, removed, goal):
    ramp, present, now_s = Ramp(added, removed, 60.0), 30, 0.0
    for pause_s in pauses_s:
        present = ramp.apply(present, goal, now_s)
        periods = now_s // 60.0 + 1
        assert max(30 - removed * periods, 0) <= present <= min(30 + added * periods, 60)
        now_s += pause_s
    for _ in range(40):
        now_s += 60.0
        present = ramp.apply(present, goal, now_s)
    assert present == goal


def test_a_ramp_counts_from_the_start_of_its_period():
    ramp = Ramp(3, 2, 60.0)
    assert [ramp.apply(n, 20, t) for n, t in ((10, 0.0), (13, 15.0), (13, 60.0))] == [13, 13, 16]
    assert [ramp.apply(n, 1, t) for n, t in ((16, 120.0), (14, 135.0), (14, 180.0))] == [14, 14, 12]


def test_less_is_wanted_only_after_the_stabilisation():
    controller = planner(stabilization_s=60.0)
    times_s = (0.0, 30.0, 59.0, 60.0)
    views = [measured(10, 100.0, now_s=t, forecast=forecast(100.0)) for t in times_s]
    counts = [wanted(controller, view, now_s=t)[0] for view, t in zip(views, times_s, strict=True)]
    assert counts == [None, None, None, 3]


def test_own_bounds_lie_within_those_of_the_service():
    assert plan(400.0, max_replicas=7) == 7
    assert plan(50.0, measured_rps=50.0, min_replicas=4) == 4
    view = measured(4, 100.0, forecast=forecast(400.0), min_replicas=2, max_replicas=6)
    assert wanted(planner(max_replicas=9), view) == [6]
    assert wanted(planner(min_replicas=9), view) == [6]
    assert wanted(planner(max_replicas=1), view) == [2]


def test_a_budget_is_shared_and_said():
    controller = planner(budget_cores=5.0)
    views = [
        measured(4, 100.0, name=name, forecast=forecast(rate)) for name, rate in (("a", 400.0), ("b", 200.0))
    ]
    assert wanted(controller, *views) == [7, 3]  # 10 and 5 wanted, ten halves of a core to share
    assert controller.status["a"] == "forecast; held back by the budget"
    assert plan(400.0, budget_memory_gib=3.0) == 6
    assert plan(400.0, budget_cores=0.1) == 1  # the minimum is there in any case


def test_without_a_forecast_the_hpa_decides():
    controller, hpa = planner(), HpaController()
    for step, rate_rps in enumerate((100.0, 220.0, 150.0, 60.0)):
        seen = observe(measured(4, rate_rps, now_s=15.0 * step), now_s=15.0 * step)
        assert controller.decide(seen) == hpa.decide(seen)
        assert controller.status == {"web": "fallback to the HPA: there is no forecast"}


def test_a_forecast_that_keeps_missing_is_left_to_the_hpa_until_it_is_right_again():
    controller, said = planner(forecast_patience_s=60.0), []
    for step in range(40):
        told = 400.0 if 8 <= step < 20 else 100.0
        view = measured(4, 100.0, now_s=15.0 * step, forecast=forecast(told))
        controller.decide(observe(view, now_s=15.0 * step))
        said.append(controller.status["web"])
    missed = "fallback to the HPA: the forecast has missed the measured rate"
    assert set(said) == {"forecast", missed}
    assert said[:12] == ["forecast"] * 12
    assert missed in said[12:20]
    assert said[-8:] == ["forecast"] * 8


def test_other_reasons_to_fall_back_are_said():
    controller = planner()
    unmeasured = service(4, None, forecast=forecast(400.0))
    assert wanted(controller, unmeasured) == [None]
    assert controller.status["web"].endswith("the CPU per request is not known yet")


def test_without_metrics_nothing_goes_down_and_the_forecast_still_scales_up():
    controller = planner()
    wanted(controller, measured(4, 100.0, forecast=forecast(100.0)))
    assert wanted(controller, blind(9, forecast=forecast(100.0)), now_s=15.0) == [None]
    assert "metrics missing" in controller.status["web"]
    assert wanted(controller, blind(9, forecast=forecast(400.0)), now_s=30.0) == [10]
    capped = planner(budget_cores=1.0, max_replicas=3)
    assert wanted(capped, blind(9, forecast=forecast(100.0))) == [None]


@pytest.mark.parametrize("told", [forecast(100.0), None])
def test_the_stabilisation_begins_anew_after_a_time_without_metrics_or_forecast(told):
    controller = planner(stabilization_s=60.0)
    wanted(controller, measured(10, 390.0, forecast=forecast(390.0)))
    for now_s in (30.0, 60.0, 90.0):
        assert wanted(controller, blind(10, forecast=told), now_s=now_s) == [None]
    views = {t: measured(10, 100.0, now_s=t, forecast=forecast(100.0)) for t in (105.0, 149.0, 150.0)}
    assert [wanted(controller, view, now_s=t)[0] for t, view in views.items()] == [None, None, 3]


def test_quotas_are_planned_with_their_limits():
    controller = planner(plan_memory=True, quota_period_s=0.0, cpu_sizes_cores=(2.0,), quota_tolerance=0.0)
    pods = tuple(pod(k, 0.25, memory_bytes=100 * MIB) for k in range(4))
    (decision,) = controller.decide(
        observe(
            service(4, request_rate_rps=100.0, response_time_s=0.14, pods=pods, forecast=forecast(1600.0))
        )
    )
    # 1600 requests/s are 16 cores: 40 halves at 80 %, or 10 of two cores, which cost less memory.
    assert decision.cpu_request_cores == decision.cpu_limit_cores == 2.0
    assert decision.memory_request_bytes == pytest.approx(120 * MIB)
    assert decision.memory_limit_bytes == pytest.approx(180 * MIB)
    assert decision.replicas == 10


def test_reset_forgets_the_status():
    controller = planner()
    wanted(controller, measured(4, 100.0, forecast=forecast(100.0)))
    controller.reset()
    assert controller.status == {}


def test_on_the_simulator_it_learns_what_the_simulator_hides():
    config = override(high_load(), {"observation.forecast": "oracle", "episode_s": 900.0})
    env = AutoscaleEnv(config)
    env.reset(seed=0)
    controller = PredictivePlannerController()
    for _ in range(env.episode_steps):
        env.step_decisions(controller.decide(env.observe()))
    assert controller.status == {"web": "forecast"}
    known = controller._services["web"]
    physics = config.cluster.services[0].parameters
    assert known.demand.core_s_per_request == pytest.approx(physics.cpu_demand_core_s, rel=0.15)
    assert known.base.base_latency_s == pytest.approx(physics.base_latency_s, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lead_minutes": 0}, "lead_minutes"),
        ({"quantile": "p90"}, "quantile"),
        ({"over_provisioning": math.nan}, "over_provisioning"),
        ({"slo_response_time_s": 0.0}, "slo_response_time_s"),
        ({"max_utilisation": 1.2}, "max_utilisation"),
        ({"max_added": 0}, "max_added"),
        ({"max_removed": 0}, "max_removed"),
        ({"ramp_period_s": -1.0}, "ramp_period_s"),
        ({"stabilization_s": -1.0}, "stabilization_s"),
        ({"min_replicas": 0}, "min_replicas"),
        ({"min_replicas": 5, "max_replicas": 4}, "min_replicas 5 is above max_replicas 4"),
        ({"budget_cores": 0.0}, "budget_cores is 0.0"),
        ({"budget_memory_gib": -1.0}, "budget_memory_gib"),
        ({"plan_memory": 1}, "plan_memory is 1"),
        ({"memory_margin": -0.1}, "memory_margin"),
        ({"cpu_sizes_cores": 1.0}, "cpu_sizes_cores is 1.0"),
        ({"cpu_sizes_cores": (0.0,)}, "a size of cpu_sizes_cores"),
        ({"quota_tolerance": 2.0}, "quota_tolerance"),
        ({"quota_period_s": -1.0}, "quota_period_s"),
        ({"forecast_patience_s": -1.0}, "forecast_patience_s"),
        ({"forecast_margin": -1.0}, "forecast_margin"),
        ({"fallback_cpu_target_percent": 0}, "fallback_cpu_target_percent"),
        ({"max_sample_age_s": -1.0}, "max_sample_age_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PredictivePlannerController(**options)

"""Controllers and policies know the same of the future."""

import numpy as np
import pytest
from numpy.typing import NDArray

from podgym.envs import AutoscaleEnv, ServiceDecision
from podgym.envs.forecasts import TrueRates
from podgym.envs.make import scenario_config
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.workloads.profile import LoadProfile


class Planner:
    """Plans that tell their time: replicas 4, 5, 6, ..."""

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> NDArray[np.float64]:
        count = int(duration_s // 300.0)
        rows = [[[4.0 + i, 0.5, 2.0**29] for _ in config.services] for i in range(count)]
        return np.array(rows)


def run(env: AutoscaleEnv, steps: int) -> NDArray[np.float32]:
    env.reset(seed=1)
    row = np.zeros(0, dtype=np.float32)
    for _ in range(steps):
        row = env.step_decisions([ServiceDecision()] * len(env.service_names))[0]
    return row


@pytest.mark.parametrize("mode", ["naive", "oracle", "noisy_oracle"])
def test_the_forecast_is_that_of_the_observation(mode: str) -> None:
    env = AutoscaleEnv(scenario_config("boutique"), observation={"forecast": mode}, episode_s=600.0)
    row = run(env, 7)
    names = env.observation_names
    scales = {"frontend": 12 * 0.25 / 0.004, "email": 12 * 0.25 / 0.0015}  # requests/s at most
    for service in env.observe().services:
        if service.name not in scales:
            continue
        assert service.forecast is not None
        for part in ("mean", "lower", "upper"):
            shown = getattr(service.forecast, f"{part}_rps")
            seen = [row[names.index(f"{service.name}.forecast_{part}[+{m}min]")] for m in range(1, 6)]
            np.testing.assert_allclose(shown, np.array(seen) * scales[service.name], rtol=1e-6)
            assert min(shown) > 0.0


def test_an_oracle_tells_the_true_load() -> None:
    env = AutoscaleEnv(workload="family:diurnal", observation={"forecast": "oracle"}, episode_s=1800.0)
    run(env, 11)
    profile, forecast = env.profile, env.observe().services[0].forecast
    assert profile is not None
    assert forecast is not None
    times_s = 11 * 15.0 + 60.0 * np.arange(1, 6)
    truth = np.interp(times_s, profile.times_s, profile.values)
    np.testing.assert_allclose(forecast.mean_rps, truth, rtol=1e-5)


def test_nothing_is_shown_where_nothing_is_known() -> None:
    naive = AutoscaleEnv(workload="family:constant", episode_s=600.0)
    naive.reset(seed=0)
    assert naive.observe().services[0].forecast is None  # not one scrape yet
    none = AutoscaleEnv(workload="family:constant", observation={"forecast": "none"}, episode_s=600.0)
    run(none, 10)
    assert none.observe().services[0].forecast is None
    assert none.observe().services[0].plan is None


def test_the_plan_is_shown_while_it_holds() -> None:
    env = AutoscaleEnv(workload="family:constant", planner=Planner(), episode_s=900.0)
    env.reset(seed=0)
    seen = []
    for _ in range(60):
        plan = env.observe().services[0].plan
        assert plan is not None
        assert plan.cpu_request_cores == 0.5
        seen.append(plan.replicas)
        env.step_decisions([ServiceDecision()])
    assert seen == [4] * 20 + [5] * 20 + [6] * 20


def test_true_rates_are_the_means_of_the_coming_minutes() -> None:
    """Against the integral of the profile, whose corners lie on whole minutes here."""
    values = np.array([10.0, 70.0, 40.0, 40.0, 100.0, 0.0])
    profile = LoadProfile(values, 60.0, "open", 0.0, "corners")
    rates = TrueRates().forecast_rates(profile, 180.0, 2)
    assert rates.shape == (4, 2, 3)
    means = 0.5 * (values[1:] + values[:-1])  # of each minute
    expected = np.array([means[i : i + 2] for i in range(4)])
    np.testing.assert_allclose(rates[:, :, 0], expected, rtol=1e-12)
    np.testing.assert_array_equal(rates[:, :, 0], rates[:, :, 2])


def test_true_rates_can_stand_in_for_a_forecaster() -> None:
    env = AutoscaleEnv(workload="family:diurnal", forecaster=TrueRates(), episode_s=900.0)
    run(env, 8)  # two minutes
    profile, forecast = env.profile, env.observe().services[0].forecast
    assert profile is not None
    assert forecast is not None
    truth = TrueRates().forecast_rates(profile, 900.0, 5)[2, :, 0]
    np.testing.assert_allclose(forecast.mean_rps, truth, rtol=1e-5)

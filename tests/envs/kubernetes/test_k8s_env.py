"""The environment on a real cluster shows what the simulated one shows of the same episode."""

import dataclasses
import math
import time

import numpy as np
import pytest
from oracles.simulated_backend import SAFE, START_EPOCH_S, made

from podgym.envs.cluster import ServiceDecision
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.errors import InputError


def twin(seed=3, episode_s=900.0, **changes) -> AutoscaleEnv:
    config: EnvConfig = override(scenario_config("family_burst"), {"episode_s": episode_s, **changes})
    env = AutoscaleEnv(config)
    env.reset(seed=seed)
    return env


def actions(env: AutoscaleEnv, count: int, *, quotas: bool) -> list[np.ndarray]:
    """Nothing while nothing was measured, then anything."""
    rng = np.random.default_rng(5)
    drawn = []
    for step in range(count):
        action = (
            np.array(env.action_space.sample() * 0) if step < 4 else rng.integers(0, env.action_space.nvec)
        )
        if step < 4:
            action = env._core.decoder.null_action
        elif quotas and step % 7:
            action[1:] = 1  # quotas roll all pods: now and then
        drawn.append(action)
    return drawn


@pytest.mark.parametrize("quotas", [False, True])
def test_observations_equal_those_of_the_simulation(quotas):
    simulated = twin(action={"quotas": quotas})
    env, _, _ = made(config={"action": {"quotas": quotas}})
    first, _ = env.reset(seed=3)
    assert env.observation_space.contains(first)
    assert env.observation_names == simulated.observation_names
    clock_at = [env.observation_names.index(name) for name in ("day_sin", "day_cos", "week_sin", "week_cos")]
    # Just after a rollout no pod that is ready was scraped yet: the simulator still tells of those that left.
    of_pods = [index for index, name in enumerate(env.observation_names) if "_utilisation[" in name]
    unseen = 0
    for action in actions(simulated, 60, quotas=quotas):
        expected, _, _, truncated, info = simulated.step(action)
        got, _, _, ended, live = env.step(action)
        expected[clock_at] = got[clock_at]
        unseen += int((got[of_pods[:2]] == 0.0).any() and (expected[of_pods[:2]] != 0.0).any())
        expected[of_pods] = np.where(got[of_pods] == 0.0, 0.0, expected[of_pods])
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        assert ended == truncated
        assert live["replicas_wanted"] == info["replicas_wanted"]
        assert live["replicas_ready"] == info["replicas_ready"]
    assert unseen <= (6 if quotas else 0)
    env.close()


def test_controllers_see_the_same_cluster():
    simulated, (env, _, _) = twin(), made()
    env.reset(seed=3)
    for step in range(30):
        replicas = 8 if step < 4 else 6 + step % 9
        simulated.step_decisions([ServiceDecision(replicas=replicas)])
        env.step_decisions([ServiceDecision(replicas=replicas)])
        mine, theirs = env.observe().services[0], simulated.observe().services[0]
        assert (mine.replicas, mine.replicas_ready) == (theirs.replicas, theirs.replicas_ready)
        assert [pod.phase for pod in mine.pods] == [pod.phase for pod in theirs.pods]
        np.testing.assert_allclose(mine.request_rate_rps, theirs.request_rate_rps)
        for one, other in zip(mine.pods, theirs.pods, strict=True):
            assert (one.sample is None) == (other.sample is None)
            if one.sample is not None and other.sample is not None:
                assert one.sample.time_s == pytest.approx(other.sample.time_s, abs=1e-5)


def test_the_reward_is_that_of_the_simulation_but_for_the_lag_of_the_monitoring():
    simulated, (env, _, _) = twin(episode_s=1800.0), made(episode_s=1800.0)
    env.reset(seed=3)
    null = simulated._core.decoder.null_action
    cores = [(simulated.step(null)[4]["requested_cores"], env.step(null)[4]) for _ in range(120)]
    simulated_cores, live = zip(*cores, strict=True)
    assert [info["requested_cores"] for info in live] == pytest.approx(list(simulated_cores))
    assert all(math.isfinite(info["reward"]) for info in live)
    assert sum(info["term_cpu_cost"] for info in live) == pytest.approx(15.0 * sum(simulated_cores))


def test_the_profile_is_the_measured_load():
    env, backend, _ = made()
    env.reset(seed=3)
    rates = []
    for _ in range(40):
        env.step(env._decoder.null_action)
        rates.append(env.observe().services[0].request_rate_rps)
    assert env.profile is not None
    assert env.profile.duration_s == 600.0
    np.testing.assert_allclose(env.profile.values[-1], rates[-1])
    assert env.profile.values.max() <= np.nanmax(rates) + 1e-9
    true, measured = backend._env.profile, env.profile
    times_s = np.arange(100.0, 520.0, 5.0)

    def error_rps(shift_s: float) -> float:
        known = np.interp(times_s + shift_s, measured.times_s, measured.values)
        return float(np.abs(known - np.interp(times_s, true.times_s, true.values)).mean())

    assert error_rps(0.0) < min(error_rps(-15.0), error_rps(15.0))  # each mean stands where it belongs


def test_shadow_mode_writes_nothing():
    env, backend, _ = made(mode="shadow")
    env.reset(seed=3)
    for step in range(10):
        env.step_decisions([ServiceDecision(replicas=4 + step, cpu_request_cores=0.25, cpu_limit_cores=0.25)])
    env.close()
    assert backend.writes == []
    assert env.log.services[0].replicas_asked == 13
    assert env.log.services[0].replicas_set != 8  # what it would have done stands in the log


def test_what_an_autoscaler_in_the_cluster_changes_is_churn_of_what_is_watched():
    env, backend, _ = made(mode="shadow")
    env.reset(seed=3)
    found, seen = env.cluster.states[0].replicas_wanted, []
    for replicas in (found, found + 3, found + 1, found + 1):
        backend.foreign_scale(replicas)
        env.step_decisions([ServiceDecision()])
        seen.append(env.cluster.reports()[0]["replica_change"])
    assert seen == [0.0, 3.0, -2.0, 0.0]


def test_a_late_step_is_reported_and_the_grid_stays():
    env, _, clock = made()
    env.reset(seed=3)
    env.step(env._decoder.null_action)
    clock.now_s += 20.0  # the decision took 20 s
    env.step(env._decoder.null_action)
    assert env.log.late_s == pytest.approx(5.0)
    assert env.log.duration_s == pytest.approx(20.0)
    env.step(env._decoder.null_action)
    assert env.log.late_s == 0.0
    assert env.log.time_s == pytest.approx(45.0)


def test_close_restores_what_was_found_and_a_second_close_does_nothing():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=14)])
    assert backend.replicas == 14
    assert backend.annotations
    env.close()
    assert backend.replicas == 8
    assert backend.annotations == {}
    count = len(backend.writes)
    env.close()
    assert len(backend.writes) == count


def test_nobody_knows_the_future():
    with pytest.raises(InputError, match="nobody knows the future"):
        made(config={"observation": {"forecast": "oracle"}})


class Recorder:
    """A forecaster and planner that say what they were given: the last load and its length."""

    def __init__(self):
        self.seen = []

    def forecast_rates(self, profile, duration_s, horizon_minutes):
        self.seen.append(profile)
        rows = int(duration_s / 60.0 + 1e-9) + 1
        last = np.interp(np.arange(rows) * 60.0, profile.times_s, profile.values)
        return np.repeat(last[:, None], horizon_minutes, 1)[:, :, None] * np.array([1.0, 0.9, 1.1])

    def plan(self, config, profile, duration_s):
        count = max(math.ceil(duration_s / 300.0 - 1e-9), 1)
        return np.stack([[[5.0 + index, 0.5, 2.0**29]] for index in range(count)])


def test_forecasts_and_plans_are_renewed_from_the_load_so_far():
    recorder = Recorder()
    env, _, _ = made(forecaster=recorder, planner=recorder)
    env.reset(seed=3)
    for step in range(1, 41):
        env.step(env._decoder.null_action)
        forecast = env.observe().services[0].forecast
        if step % 4 == 0 and step > 8:
            rate = env.observe().services[0].request_rate_rps
            assert forecast is not None
            np.testing.assert_allclose(forecast.mean_rps, rate, rtol=1e-5)
    assert all(profile.duration_s % 60.0 == 0.0 for profile in recorder.seen)
    plan = env.observe().services[0].plan
    assert plan is not None
    assert plan.replicas == 6  # nine minutes of load were measured: the plan of five minutes after the first


def test_a_forecaster_that_fails_leaves_the_former_forecast():
    recorder = Recorder()
    env, _, _ = made(forecaster=recorder)
    env.reset(seed=3)
    for _ in range(12):
        env.step(env._decoder.null_action)
    before = env.observe().services[0].forecast
    recorder.forecast_rates = lambda *_: 1 / 0
    for _ in range(4):
        env.step(env._decoder.null_action)
    assert env.observe().services[0].forecast == before
    assert any("ZeroDivisionError" in problem for problem in env.problems)


def test_times_are_since_the_episode_began():
    env, _, _ = made()
    env.reset(seed=3)
    env.step(env._decoder.null_action)
    assert env.cluster.start_epoch_s == START_EPOCH_S
    assert env.observe().time_s == pytest.approx(15.0)
    assert dataclasses.is_dataclass(env.log)


@pytest.mark.parametrize("allowed", [True, False])
def test_quotas_change_unless_that_is_forbidden(allowed):
    env, backend, _ = made(safety={**SAFE, "allow_quotas": allowed})
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(cpu_request_cores=1.0, cpu_limit_cores=1.0)])
    written = [quota for kind, quota in backend.writes if kind == "quota"]
    assert [quota.cpu_request_cores for quota in written] == ([1.0] if allowed else [])


def test_the_first_action_can_step_from_the_plan():
    recorder = Recorder()
    env, backend, _ = made(
        planner=recorder,
        config={"action": {"first_action": "plan", "quotas": False}},
        metrics={"url": "http://nowhere", "history_s": 600.0},
    )
    backend.past = ((START_EPOCH_S - 30.0, 90.0),)
    env.reset(seed=3)
    plan = env.observe().services[0].plan
    assert plan is not None
    env.step(env._decoder.null_action)
    assert backend.replicas == 8  # nothing was measured yet: the guard holds
    assert env.log.services[0].replicas_asked == plan.replicas != 8  # but doing nothing asks for the plan


def test_the_clock_is_that_of_the_wall():
    env, _, _ = made()
    observation, _ = env.reset(seed=3)
    names = env.observation_names
    week_s = (START_EPOCH_S + time.localtime(START_EPOCH_S).tm_gmtoff - 4 * 86_400.0) % 604_800.0
    angle = 2.0 * math.pi * week_s / 604_800.0
    assert observation[names.index("week_sin")] == pytest.approx(math.sin(angle), abs=1e-5)
    assert observation[names.index("day_cos")] == pytest.approx(math.cos(7.0 * angle), abs=1e-5)


def test_admission_needs_the_webhook():
    env, _, _ = made()
    env.reset(seed=3)
    with pytest.raises(InputError, match="admission webhook"):
        env.step_decisions([ServiceDecision(admission=env.observe().services[0].quota)])


def test_a_load_that_nobody_measured_is_not_a_load_of_nothing():
    recorder = Recorder()
    env, backend, _ = made(planner=recorder, forecaster=recorder)
    backend.broken_metrics = {"request_rate_rps": "no data"}
    env.reset(seed=3)
    for _ in range(25):
        env.step(env._decoder.null_action)
    assert recorder.seen == []
    plan = env.observe().services[0].plan
    assert plan is not None
    assert plan.replicas == 8  # what was found
    assert any("no load was measured" in problem for problem in env.problems)


def test_a_planner_needs_a_source_that_tells_the_load():
    with pytest.raises(InputError, match="metrics-server does not tell the load"):
        made(planner=Recorder(), metrics={"source": "metrics-server"})

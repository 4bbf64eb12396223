"""The reward is the weighted sum of its terms, and the plan is what it is measured against."""

import numpy as np
import pytest

from podgym.envs.config import REWARD_PRESETS, REWARD_TERMS, ActionConfig

GIB = 1024.0**3
STEP = {step: choice for choice, step in enumerate(ActionConfig().replica_steps)}
KEEP = [STEP[0], 1, 1]


def raw_terms(env):
    """Terms worked out from the report of the last interval."""
    report = env.interval
    duration = report["duration_s"][0]
    ended = sum(report[name].sum() for name in ("completed", "rejected", "timed_out", "lost"))
    violation = min(report["slo_violations"].sum() / ended, 1.0) if ended > 1e-9 else 0.0
    cpu, memory = report["cpu_requested_core_s"].sum(), report["memory_requested_byte_s"].sum()
    times = np.nan_to_num(report["response_time_mean_s"])
    return {
        "slo_violation": violation * duration,
        "cpu_cost": cpu,
        "memory_cost": memory / GIB,
        "churn": np.abs(report["replica_change"]).sum(),
        "cpu_utilisation": report["cpu_used_core_s"].sum() / cpu * duration,
        "memory_utilisation": report["memory_used_byte_s"].sum() / memory * duration,
        "response_time": (env.visits * times).sum() * duration,
    }


@pytest.mark.parametrize("preset", list(REWARD_PRESETS))
@pytest.mark.parametrize("services", [1, 2])
def test_the_reward_is_the_weighted_sum_of_its_terms(make_env, two_services, preset, services):
    env = make_env(
        cluster=two_services if services == 2 else {},
        reward={"preset": preset, "weights": {"memory_cost": -7.0}},
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    weights = {**REWARD_PRESETS[preset], "memory_cost": -7.0}
    for _ in range(env.episode_steps):
        _, reward, _, _, info = env.step(env.action_space.sample())
        terms = raw_terms(env)
        for name, value in terms.items():
            assert info[f"term_{name}"] == pytest.approx(value, rel=1e-9), name
        assert reward == pytest.approx(sum(weight * terms[name] for name, weight in weights.items()))


@pytest.mark.parametrize("term", list(REWARD_TERMS))
def test_every_weight_counts(make_env, term):
    def rewards(weight):
        env = make_env(reward={"weights": {term: weight}})
        env.action_space.seed(0)
        env.reset(seed=0)
        return [env.step(env.action_space.sample())[1] for _ in range(env.episode_steps)]

    env = make_env()
    env.action_space.seed(0)
    env.reset(seed=0)
    raw = [env.step(env.action_space.sample())[-1][f"term_{term}"] for _ in range(env.episode_steps)]
    assert max(raw) > 0.0
    assert np.subtract(rewards(3.0), rewards(1.0)) == pytest.approx(2.0 * np.array(raw), abs=1e-9)


def test_a_longer_step_earns_as_much_as_the_short_ones_it_replaces(make_env):
    # Terms are rates times seconds: the return per hour does not depend on the control interval.
    def hourly(interval_s):
        env = make_env(
            (100.0, 100.0), cluster={"control_interval_s": interval_s, "load": {"rate_noise_cv": 0.0}}
        )
        env.reset(seed=0)
        return sum(env.step(KEEP)[1] for _ in range(env.episode_steps)) / (env.episode_steps * interval_s)

    assert hourly(60.0) == pytest.approx(hourly(15.0), rel=0.01)


def test_relative_to_the_plan_who_follows_it_earns_nothing(make_env):
    env = make_env(planned=True, action={"mode": "residual"}, reward={"relative_to_plan": True})
    env.reset(seed=0)
    rewards = [env.step(KEEP)[1] for _ in range(env.episode_steps)]
    assert rewards == [0.0] * env.episode_steps
    env.reset(seed=0)
    assert any(env.step([STEP[2], 2, 1])[1] != 0.0 for _ in range(env.episode_steps))


def test_relative_to_the_plan_the_difference_of_two_policies_stays(make_env):
    def rewards(relative, seed):
        env = make_env(planned=True, reward={"relative_to_plan": relative})
        env.action_space.seed(seed)
        env.reset(seed=0)
        return np.array([env.step(env.action_space.sample())[1] for _ in range(env.episode_steps)])

    apart = rewards(False, 1) - rewards(False, 2)
    assert np.abs(apart).max() > 1.0
    assert rewards(True, 1) - rewards(True, 2) == pytest.approx(apart, abs=1e-6)


def test_the_plan_is_renewed_every_five_minutes_and_stands_in_info(make_env):
    env = make_env(planned=True)
    env.reset(seed=0)
    planned, steps = [], []
    for _ in range(env.episode_steps):
        info = env.step(KEEP)[-1]
        planned.append(info["plan_replicas"])
        steps.append(info["plan_step"])
    # The plan for what comes after the step stands in its observation, hence 19 and not 20.
    assert planned == [6.0] * 19 + [2.0] * 21
    assert np.array(steps) == pytest.approx(np.array(planned) - 3.0)

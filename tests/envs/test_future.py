"""The true future for a critic: what the profile says, in the scale of the observation."""

import numpy as np
import pytest

from podgym.envs import AutoscaleVectorEnv, EnvConfig, override
from podgym.envs.make import scenario_config
from podgym.envs.workloads import LoadProfile
from podgym.errors import InputError


class Course:
    """A workload of one course of load, equal in every episode."""

    name, step_s = "course", 20.0

    def __init__(self, values, kind="open"):
        self.values, self.kind = np.array(values, dtype=float), kind
        self.max_duration_s = np.inf

    def sample(self, rng, duration_s):
        return LoadProfile(self.values, self.step_s, self.kind, 0.0, "test")


def by_hand(env, steps):
    """The same, number by number, from the configuration and the profiles."""
    cluster = env.config.cluster
    shares = [service.entry_share for service in cluster.services]
    entry = cluster.services[shares.index(max(shares))]
    calls = max(shares) / sum(shares)
    for service in cluster.services:  # callers of the entry service, none of which is called itself
        calls += service.entry_share / sum(shares) * service.calls.get(entry.name, 0.0)
    most_rps = entry.max_replicas * entry.quota.cpu_limit_cores / entry.parameters.cpu_demand_core_s
    found = np.zeros((env.num_envs, steps))
    for index in range(env.num_envs):
        profile = env._core.profiles[index]
        now_s = env._core.steps[index] * cluster.control_interval_s
        for step in range(steps):
            time_s = now_s + (step + 0.5) * cluster.control_interval_s
            value = np.interp(time_s, profile.times_s, profile.values)
            if profile.kind == "closed":
                value /= cluster.load.think_time_s + entry.parameters.base_latency_s
            found[index, step] = value * calls / most_rps
    return found


@pytest.mark.parametrize("scenario", ["family_burst", "trace", "high_load", "boutique"])
def test_the_future_is_that_of_the_profile(scenario):
    env = AutoscaleVectorEnv(3, scenario_config(scenario), autoreset_mode="SameStep", episode_s=300.0)
    env.reset(seed=2)
    env.stagger(np.random.default_rng(0))
    env.action_space.seed(0)
    for _ in range(30):  # past the end of episodes
        future = env.true_future(25)  # past the end of the profile
        assert future.shape == (3, 25)
        assert future.dtype == np.float32
        assert future == pytest.approx(by_hand(env, 25), rel=2e-7)
        assert future.std() > 0.0
        env.step(env.action_space.sample())


def test_past_its_last_sample_the_load_stays():
    env = AutoscaleVectorEnv(1, workload=Course([100.0, 200.0, 400.0]), episode_s=300.0)
    env.reset(seed=0)
    unit = env._core.layout.scales.rate_rps[0]
    expected = [137.5, 225.0, 375.0, 400.0, 400.0, 400.0]  # at 7.5 s, 22.5 s, 37.5 s, ...
    assert env.true_future(6)[0] * unit == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_a_constant_future_reads_as_the_oracle_of_the_observation(kind):
    """Also where several services are entered, and the first is not the one that is entered most."""
    web = EnvConfig().cluster.services[0]
    other = override(
        web, {"parameters": {"name": "other"}, "entry_share": 3.0, "max_replicas": 11, "calls": {"web": 2.0}}
    )
    config = EnvConfig(workload="burst", episode_s=300.0)
    config = override(config, {"cluster": {"services": [web, other]}, "observation": {"forecast": "oracle"}})
    env = AutoscaleVectorEnv(1, config, workload=Course([120.0, 120.0], kind))
    observations, _ = env.reset(seed=0)
    oracle = observations[0][env.observation_names.index("other.forecast_mean[+1min]")]
    assert 0.0 < oracle < 4.0
    assert env.true_future(2)[0] == pytest.approx([oracle, oracle], rel=1e-6)


def test_nothing_changes_by_looking():
    one, other = (AutoscaleVectorEnv(2, scenario_config("burst")) for _ in range(2))
    for env in (one, other):
        env.reset(seed=0)
    kept = one.true_future(4)
    copy = kept.copy()
    for _ in range(5):
        one.true_future(4)
        actions = np.tile([9, 1, 1], (2, 1))
        assert one.step(actions)[0].tobytes() == other.step(actions)[0].tobytes()
    assert np.array_equal(kept, copy)


@pytest.mark.parametrize("steps", [0, -1, 2.5, "3", True])
def test_a_bad_number_of_steps_is_refused(steps):
    env = AutoscaleVectorEnv(1, scenario_config("burst"))
    with pytest.raises(InputError, match="no episode was started"):
        env.true_future(3)
    env.reset(seed=0)
    with pytest.raises(InputError, match="steps is"):
        env.true_future(steps)

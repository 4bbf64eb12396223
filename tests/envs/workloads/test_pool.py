"""A pool of episodes: few loads, each the same object each time, and nothing made twice for them."""

import gc
import math
import pickle

import numpy as np
import pytest

from podgym.envs import AutoscaleVectorEnv
from podgym.envs.forecasts import TrueRates
from podgym.envs.make import scenario_config
from podgym.envs.simulator import ClusterConfig
from podgym.envs.workloads import EpisodePool, LoadProfile, make_workload, remembered, remembered_rates
from podgym.errors import InputError


class Counted:
    """A workload that tells how often it was sampled."""

    def __init__(self, name="family:variable"):
        self.inner, self.calls = make_workload(name), 0
        self.name, self.kind, self.step_s = self.inner.name, self.inner.kind, self.inner.step_s
        self.max_duration_s = self.inner.max_duration_s

    def sample(self, rng, duration_s):
        self.calls += 1
        return self.inner.sample(rng, duration_s)


class LoadPlanner:
    """Plans that tell which load and which cluster they were made for; counts how many it made."""

    def __init__(self):
        self.calls = 0

    def plan(self, config, profile, duration_s):
        self.calls += 1
        level = 1.0 + profile.values[0] % 5.0
        counts = np.arange(1, 1 + math.ceil(duration_s / 300.0)) + level
        return np.array([[(count, 0.5, 2.0**29)] * len(config.services) for count in counts])


class CountedRates(TrueRates):
    """The true future, counted."""

    def __init__(self):
        self.calls = 0

    def forecast_rates(self, profile, duration_s, horizon_minutes):
        self.calls += 1
        return super().forecast_rates(profile, duration_s, horizon_minutes)


def profile(level=5.0):
    return LoadProfile(np.full(61, level), 60.0, "open", 0.0, "test")


def test_each_load_is_one_object_and_equally_likely():
    pool = EpisodePool(make_workload("family:burst"), 6, seed=1)
    rng = np.random.default_rng(0)
    drawn = [pool.sample(rng, 900.0) for _ in range(1200)]
    known = pool.profiles(900.0)
    assert len({each.values.tobytes() for each in known}) == 6
    counts = [sum(each is one for each in drawn) for one in known]
    assert sum(counts) == 1200  # the very objects
    assert max(abs(count - 200) for count in counts) < 4.0 * math.sqrt(1200 * 1 / 6 * 5 / 6)


def test_a_load_depends_on_seed_and_place_alone():
    workload = make_workload("family:variable")
    small, large, other = (EpisodePool(workload, size, seed) for size, seed in ((3, 7), (9, 7), (3, 8)))
    large.profiles(300.0)  # another length first
    for ours, theirs in zip(small.profiles(900.0), large.profiles(900.0), strict=False):
        assert ours.values.tobytes() == theirs.values.tobytes()
    for index, ours in enumerate(small.profiles(900.0)):
        alone = workload.sample(np.random.default_rng([7, index]), 900.0)
        assert ours.values.tobytes() == alone.values.tobytes()
        assert ours.values.tobytes() != other.profiles(900.0)[index].values.tobytes()


def test_loads_are_sampled_when_first_needed_and_once():
    workload = Counted()
    pool = EpisodePool(workload, 4)
    assert workload.calls == 0
    rng = np.random.default_rng(0)
    for _ in range(10):
        pool.sample(rng, 600.0)
    assert workload.calls == 4
    pool.sample(rng, 900.0)
    assert workload.calls == 8


def test_a_pool_says_of_itself_what_its_workload_says():
    family = EpisodePool(make_workload("family:burst", part="dev"), 2)
    assert (family.name, family.kind, family.step_s, family.part) == ("family:burst", "open", 5.0, "dev")
    assert not hasattr(family, "duration_s")
    scenario = EpisodePool(make_workload("burst"), 2)
    assert (scenario.duration_s, scenario.max_duration_s) == (900.0, 900.0)
    assert not hasattr(scenario, "part")
    with pytest.raises(InputError, match="lasts at most"):
        scenario.sample(np.random.default_rng(0), 1000.0)


@pytest.mark.parametrize(("size", "seed"), [(0, 0), (-1, 0), (2.0, 0), (2, -1), (2, None)])
def test_a_bad_size_or_seed_is_refused(size, seed):
    with pytest.raises(InputError, match="of the pool is"):
        EpisodePool(make_workload("burst"), size, seed)


def test_plans_are_made_once_per_profile_cluster_and_length():
    planner = LoadPlanner()
    wrapped = remembered(planner)
    one, twin = profile(), profile()
    cluster, equal, other = ClusterConfig(), ClusterConfig(), ClusterConfig(control_interval_s=30.0)
    first = wrapped.plan(cluster, one, 900.0)
    assert np.array_equal(first, LoadPlanner().plan(cluster, one, 900.0))
    assert wrapped.plan(cluster, one, 900.0) is first
    assert wrapped.plan(equal, one, 900.0) is first
    assert planner.calls == 1
    assert wrapped.plan(cluster, twin, 900.0) is not first  # equal values, another episode
    assert wrapped.plan(other, one, 900.0) is not first
    assert len(wrapped.plan(cluster, one, 600.0)) == 2
    assert planner.calls == 4
    assert wrapped.plan(cluster, one, 900.0) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0.0


def test_forecasts_are_made_once_per_profile_length_and_horizon():
    forecaster = CountedRates()
    wrapped = remembered_rates(forecaster)
    one = profile()
    first = wrapped.forecast_rates(one, 900.0, 5)
    assert np.array_equal(first, TrueRates().forecast_rates(one, 900.0, 5))
    assert wrapped.forecast_rates(one, 900.0, 5) is first
    assert forecaster.calls == 1
    assert wrapped.forecast_rates(profile(), 900.0, 5) is not first
    assert wrapped.forecast_rates(one, 900.0, 3).shape[1] == 3
    assert len(wrapped.forecast_rates(one, 600.0, 5)) == 11
    assert forecaster.calls == 4
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0.0


def test_a_new_profile_never_gets_what_belonged_to_one_that_is_gone():
    wrapped = remembered(LoadPlanner())
    for level in range(200):  # without the profiles kept alive, their addresses would come again
        plans = wrapped.plan(ClusterConfig(), profile(float(level)), 600.0)
        assert plans[0, 0, 0] == 2.0 + level % 5
        gc.collect(0)


def test_a_planner_s_array_can_change_without_harm():
    array = np.array([[[2.0, 0.5, 2.0**29]]])

    class Reusing:
        def plan(self, config, profile, duration_s):
            return array

    wrapped = remembered(Reusing())
    one = profile()
    wrapped.plan(ClusterConfig(), one, 600.0)
    array[:] = 9.0
    assert wrapped.plan(ClusterConfig(), one, 600.0)[0, 0, 0] == 2.0


@pytest.mark.parametrize("wrap", [remembered, remembered_rates])
def test_what_cannot_be_remembered_is_refused(wrap):
    with pytest.raises(InputError, match="must have a method"):
        wrap(object())


def test_what_is_not_a_number_is_refused():
    class Words:
        def plan(self, config, profile, duration_s):
            return [["many", "few"]]

    with pytest.raises(InputError, match="list, not numbers"):
        remembered(Words()).plan(ClusterConfig(), profile(), 600.0)


def played(env, steps=40):
    env.action_space.seed(0)
    observations, _ = env.reset(seed=0)
    shown = [observations.tobytes()]
    for _ in range(steps):
        observations, rewards, *_ = env.step(env.action_space.sample())
        shown += [observations.tobytes(), rewards.tobytes()]
    return shown


def env_of(pool, planner, forecaster, num_envs=3):
    config = scenario_config("family_variable")
    return AutoscaleVectorEnv(
        num_envs, config, autoreset_mode="SameStep", workload=pool, planner=planner, forecaster=forecaster,
        episode_s=600.0 / 8,
    )  # fmt: skip


def test_episodes_are_the_same_with_and_without_memory():
    pool = EpisodePool(make_workload("family:variable"), 3)
    planner, forecaster = LoadPlanner(), CountedRates()
    plain = played(env_of(pool, LoadPlanner(), CountedRates()))
    assert played(env_of(pool, remembered(planner), remembered_rates(forecaster))) == plain
    assert planner.calls == forecaster.calls == 3  # of 27 episodes


def test_an_environment_travels_with_its_pool_and_what_is_remembered():
    planner, forecaster = remembered(LoadPlanner()), remembered_rates(CountedRates())
    env = env_of(EpisodePool(make_workload("family:variable"), 3), planner, forecaster)
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.tile([7, 1, 1], (3, 1)))
    twin = pickle.loads(pickle.dumps(env))
    assert twin._core.planner.planner.calls == 3
    for _ in range(20):
        actions = np.tile([8, 1, 1], (3, 1))
        assert env.step(actions)[0].tobytes() == twin.step(actions)[0].tobytes()
    assert twin._core.planner.planner.calls == 3
    assert twin._core.forecasts.forecaster.forecaster.calls == 3

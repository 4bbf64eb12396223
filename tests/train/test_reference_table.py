"""The table of what following the plan earns is what a cluster earns that is made to follow it."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from oracles.training_problems import LOW_LOAD, LoadPlanner, make_env, training_config

from podgym.envs.config import REWARD_TERMS, override
from podgym.envs.core import AutoscaleCore, open_workload
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.pool import EpisodePool
from podgym.train import reference
from podgym.train.reference import plan_reference

TERMS = [list(INFO_KEYS).index(f"term_{name}") for name in REWARD_TERMS]
FLASH = "podgym/FamilyFlash-v0"
STEPS = 45  # three plans


class OneLoad:
    """A workload of a single load, which takes no draws."""

    def __init__(self, pool, profile):
        self.name, self.kind, self.step_s = pool.name, pool.kind, pool.step_s
        self.max_duration_s, self.profile = pool.max_duration_s, profile

    def sample(self, rng, duration_s):
        return self.profile


def problem(environment, size=3, steps=STEPS, **changes):
    config = training_config(environment, steps, **changes)
    return config, EpisodePool(open_workload(config), size, seed=11)


def table_of(config, pool, planner, seed=4):
    """Return the table as the environments would ask for it, (profiles, steps, terms)."""
    steps = int(config.episode_s / 15.0)
    made = plan_reference(config, pool, planner, pool.size, seed)
    profiles = pool.profiles(config.episode_s)

    class Fake:
        pass

    Fake.profiles = profiles
    made.begin(Fake, np.arange(pool.size))
    return np.stack([made.step() for _ in range(steps)], axis=1)


@pytest.mark.parametrize("environment", [LOW_LOAD, FLASH, "podgym/Boutique-v0"])
@pytest.mark.parametrize("quotas", [False, True])
def test_the_table_is_what_a_cluster_earns_that_follows_the_plan(environment, quotas):
    """Steps of 0 from the plan are the plan: another way to follow it than the one of the table."""
    config, pool = problem(environment, action={"quotas": quotas})
    planner = LoadPlanner(12.0, quotas)
    table = table_of(config, pool, planner)
    assert table.shape == (3, STEPS, len(REWARD_TERMS))
    following = override(config, {"action": {"mode": "residual"}})
    changed = 0
    for row, profile in enumerate(pool.profiles(config.episode_s)):
        core = AutoscaleCore(following, 1, workload=OneLoad(pool, profile), planner=planner)
        core.reset(0, np.random.default_rng([4, row]))
        for step in range(STEPS):
            core.step(core.decoder.null_action)
            np.testing.assert_allclose(core.totals[0, TERMS], table[row, step], rtol=1e-12, atol=1e-12)
        changed += len(np.unique(core.plans[0][:, :, 0]))
    assert changed > 3  # the plans do not stand still
    assert (table[:, :, list(REWARD_TERMS).index("churn")].sum(axis=1) > 0.0).any()


@pytest.mark.parametrize("environment", [LOW_LOAD, FLASH])
def test_the_sum_over_an_episode_is_that_of_the_live_shadow(environment):
    """Both are means over arrivals drawn anew; the loads and the plans are the same."""
    config, pool = problem(environment, size=2)
    planner = LoadPlanner(12.0)
    weights = np.array(config.reward.all_weights())
    tables = [table_of(config, pool, planner, seed) @ weights for seed in range(6)]
    expected = np.mean([table.sum(axis=1) for table in tables], axis=0)  # (2,) per load
    env = make_env(override(config, {"reward": {"relative_to_plan": True}}), 24, pool, planner)
    env.reset(seed=1)
    profiles, loads = list(env.profiles), pool.profiles(config.episode_s)
    shadow = np.zeros(24)
    for _ in range(STEPS):
        env.step_arrays(np.tile(env._core.decoder.null_action, (24, 1)))
        shadow += env._core.shadow_totals[:, TERMS] @ weights
    for row, load in enumerate(loads):
        sums = shadow[[profile is load for profile in profiles]]
        assert len(sums) > 5
        assert np.mean(sums) == pytest.approx(expected[row], rel=0.05)
    assert abs(expected[0] - expected[1]) > 0.02 * abs(expected[0]) or environment == LOW_LOAD


def test_the_table_does_not_depend_on_how_many_are_made_at_once(monkeypatch):
    config, pool = problem(FLASH, size=7, steps=21)
    expected = table_of(config, pool, LoadPlanner(12.0))
    for batch in (1, 3, 7):
        monkeypatch.setattr(reference, "_BATCH", batch)
        np.testing.assert_array_equal(table_of(config, pool, LoadPlanner(12.0)), expected)
    assert len({expected[row].tobytes() for row in range(7)}) == 7
    assert not np.array_equal(expected, table_of(config, pool, LoadPlanner(12.0), seed=5))
    assert not np.array_equal(expected, table_of(config, pool, LoadPlanner(9.0)))


def test_without_a_planner_it_is_what_services_begin_with():
    config, pool = problem(LOW_LOAD, size=1)
    table = table_of(config, pool, None)
    core = AutoscaleCore(config, 1, workload=OneLoad(pool, pool.profiles(config.episode_s)[0]))
    core.reset(0, np.random.default_rng([4, 0]))
    for step in range(STEPS):
        core.step(core.decoder.null_action)
        np.testing.assert_allclose(core.totals[0, TERMS], table[0, step], rtol=1e-12)


def test_learned_forecasts_need_no_forecaster_here():
    config, pool = problem(LOW_LOAD, size=1, observation={"forecast": "learned"})
    assert table_of(config, pool, LoadPlanner(12.0)).shape[0] == 1


def test_environments_are_at_places_of_their_own():
    config, pool = problem(LOW_LOAD, size=2, steps=4)
    made = plan_reference(config, pool, LoadPlanner(12.0), 3, 4)
    first, second = pool.profiles(config.episode_s)
    table = table_of(config, pool, LoadPlanner(12.0))

    class Fake:
        profiles = (first, second, first)

    made.begin(Fake, np.arange(3))
    np.testing.assert_array_equal(made.step(), table[[0, 1, 0], [0, 0, 0]])
    Fake.profiles = (first, first, first)
    made.begin(Fake, np.array([1]))
    np.testing.assert_array_equal(made.step(), table[[0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(made.step(), table[[0, 0, 0], [2, 1, 2]])

"""What a learner sees of the environments: the same steps, weighed rewards, the future, whole episodes."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from oracles.training_problems import (
    LOW_LOAD,
    STEPS,
    LoadPlanner,
    make_env,
    make_envs,
    random_actions,
    training_config,
)
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

from podgym.envs.config import REWARD_TERMS
from podgym.envs.core import open_workload
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.pool import EpisodePool
from podgym.train.reference import Reference
from podgym.train.vec_env import TrainingEnvs

TERMS = [list(INFO_KEYS).index(f"term_{name}") for name in REWARD_TERMS]
SEED = [5, 1]


def begun(env, words=SEED):
    """Begin the episodes of a plain environment as ``TrainingEnvs`` does, and return the observations."""
    rng = np.random.default_rng(words)
    seeds = rng.integers(0, 2**62, size=env.num_envs)
    observations, _ = env.reset(seed=[int(each) for each in seeds])
    env.stagger(rng)
    return observations


def final_totals(arrays):
    totals = arrays.totals.copy()
    totals[arrays.ended] = arrays.final_totals
    return totals


@pytest.mark.parametrize("environment", [LOW_LOAD, "podgym/Boutique-v0"])
def test_each_step_is_that_of_the_environment(environment):
    config = training_config(environment)
    envs, env = make_envs(config, future_steps=4), make_env(config)
    envs.seed_from(SEED)
    envs.reward_scale = 0.25
    expected, observations = begun(env), envs.reset()
    size = expected.shape[1]
    ended = 0
    for actions in random_actions(env, 3 * STEPS):
        np.testing.assert_array_equal(observations[:, :size], expected)
        np.testing.assert_array_equal(observations[:, size:], env.true_future(4))
        assert envs.observation_space.contains(observations[0])
        observations, rewards, dones, infos = envs.step(actions)
        arrays = env.step_arrays(actions)
        expected = arrays.observations
        own = final_totals(arrays)
        terms = own[:, TERMS] @ np.array(config.reward.all_weights())
        np.testing.assert_allclose(rewards, 0.25 * terms, rtol=1e-6)
        np.testing.assert_allclose(rewards, 0.25 * arrays.rewards, rtol=1e-6)
        assert rewards.dtype == observations.dtype == np.float32
        np.testing.assert_array_equal(dones, arrays.truncated)
        np.testing.assert_array_equal(envs.ended, arrays.ended)
        if len(arrays.ended):
            np.testing.assert_array_equal(envs.final_observations[:, :size], arrays.final_observations)
        assert infos == [{}] * 6
        ended += len(arrays.ended)
    assert ended > 12
    np.testing.assert_array_equal(envs.action_masks(), env.action_masks())


def rates_ahead(profile, from_s, steps):
    """The load in the middle of the coming intervals, up to a constant factor."""
    return np.interp(from_s + 15.0 * (np.arange(steps) + 0.5), profile.times_s, profile.values)


def test_the_future_is_that_of_the_episode_and_not_of_the_next_one():
    envs = make_envs(training_config("podgym/FamilyVariable-v0", steps=12), 8, future_steps=5)
    size = envs.env.single_observation_space.shape[0]
    envs.seed_from(SEED)
    observations = envs.reset()
    profiles, clocks = list(envs.env.profiles), np.zeros(8)
    factor = observations[0, size] / rates_ahead(profiles[0], 0.0, 1)[0]
    finals = 0
    for actions in random_actions(envs.env, 30):
        observations, *_ = envs.step(actions)
        clocks += 15.0
        for place, index in enumerate(envs.ended.tolist()):
            ahead = rates_ahead(profiles[index], clocks[index], 5) * factor
            np.testing.assert_allclose(envs.final_observations[place, size:], ahead, rtol=1e-5)
            assert envs.env.profiles[index] is not profiles[index]
            profiles[index], clocks[index] = envs.env.profiles[index], 0.0
            finals += 1
        for index in range(8):
            ahead = rates_ahead(profiles[index], clocks[index], 5) * factor
            np.testing.assert_allclose(observations[index, size:], ahead, rtol=1e-5)
    assert finals > 16


def experience(envs, words, steps=2 * STEPS):
    envs.seed_from(words)
    seen = [envs.reset()]
    for actions in random_actions(envs.env, steps):
        seen += envs.step(actions)[:3]
    return b"".join(np.ascontiguousarray(each).tobytes() for each in seen)


def test_equal_words_give_equal_experience_whatever_came_before():
    config = training_config()
    envs = make_envs(config, future_steps=2)
    first = experience(envs, [3, 4])
    assert first == experience(envs, [3, 4]) == experience(make_envs(config, future_steps=2), [3, 4])
    others = {experience(envs, words) for words in ([3, 5], [4, 3], [3], [3, 4, 0, 1])}
    assert len(others) == 4
    assert first not in others
    envs.seed(3)
    assert envs.reset().tobytes() == (envs.seed_from([3]), envs.reset())[1].tobytes()


def test_episodes_end_out_of_phase():
    envs = make_envs(training_config(), 200)
    envs.reset()
    ends = []
    for actions in random_actions(envs.env, 3 * STEPS):
        envs.step(actions)
        ends.append(len(envs.ended))
    assert min(ends) > 5
    assert max(ends) < 45
    assert sum(ends[:STEPS]) == 200  # each first episode is cut at most once, and none is longer


@pytest.fixture
def pool():
    return EpisodePool(open_workload(training_config()), 5, seed=7)


def test_rewards_are_weights_on_terms_relative_to_the_reference(pool):
    config = training_config()
    profiles = pool.profiles(15.0 * STEPS)
    table = np.random.default_rng(0).uniform(0.0, 9.0, (5, STEPS, len(REWARD_TERMS)))
    reference = Reference(profiles, table, 6)
    envs, env = make_envs(config, pool=pool, reference=reference), make_env(config, pool=pool)
    envs.seed_from(SEED)
    envs.reset()
    begun(env)
    row, at = np.array([profiles.index(each) for each in env.profiles]), np.zeros(6, dtype=int)
    weights = np.array(config.reward.all_weights())
    for number, actions in enumerate(random_actions(env, 4 * STEPS)):
        envs.reward_scale = 1.0 / (1 + number)
        envs.weights[0] = weights[0] = -float(number)
        _, rewards, _, _ = envs.step(actions)
        arrays = env.step_arrays(actions)
        terms = final_totals(arrays)[:, TERMS] - table[row, at]
        np.testing.assert_allclose(rewards, terms @ weights / (1 + number), rtol=1e-5, atol=1e-4)
        at += 1
        for index in arrays.ended.tolist():
            row[index], at[index] = profiles.index(env.profiles[index]), 0
    assert len(set(row)) > 1


def test_a_shadow_in_the_environment_is_taken_off_too():
    """Without a pool there is no table: the environment itself follows the plan beside each episode."""
    config = training_config(reward={"relative_to_plan": True})
    planner = LoadPlanner(40.0)
    envs, env = make_envs(config, planner=planner), make_env(config, planner=planner)
    envs.seed_from(SEED)
    envs.reset()
    begun(env)
    base = np.array(config.reward.all_weights())
    for number, actions in enumerate(random_actions(env, 2 * STEPS)):
        arrays = env.step_arrays(actions)
        own = final_totals(arrays)[:, TERMS]
        shadow = own @ base - arrays.rewards
        assert np.abs(shadow).max() > 1.0
        envs.weights[0] = base[0] - 3.0 * (number % 2)
        rewards = envs.step(actions)[1]
        np.testing.assert_allclose(rewards, own @ envs.weights - shadow, rtol=1e-5, atol=1e-3)


class Broken:
    """Steps an environment, and puts something that is not finite into what comes out."""

    def __init__(self, env, place, value=np.nan):
        self._step, self._place, self._value, self.armed = env.step_arrays, place, value, False
        env.step_arrays = self

    def __call__(self, actions):
        arrays = self._step(actions)
        if self.armed:
            where, *index = self._place
            getattr(arrays, where)[tuple(index)] = self._value
        return arrays


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("totals", 3, TERMS[1]), np.nan, "the reward of environment 3 is not finite; training stops"),
        (("totals", 5, TERMS[0]), np.inf, "the reward of environment 5 is"),
        (("totals", 2, TERMS[0]), 1e300, "the reward of environment 2 is"),  # beyond float32
        (("observations", 4, 17), np.nan, "the observation of environment 4, number 17 is not finite"),
        (("observations", 0, 0), -np.inf, "the observation of environment 0, number 0 is"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_is_not_finite_stops_with_its_place(place, value, message):
    envs = make_envs(training_config(steps=80))
    broken = Broken(envs.env, place, value)
    envs.seed_from(SEED)
    envs.reset()
    actions = random_actions(envs.env, 3)
    envs.env._limit_steps[:] = 80
    envs.step(actions[0])
    broken.armed = True
    with pytest.raises(FloatingPointError, match=message):
        envs.step(actions[1])


def test_a_last_observation_that_is_not_finite_stops_too():
    envs = make_envs(training_config())
    broken = Broken(envs.env, ("final_observations", 0, 8))
    envs.reset()
    envs.env._limit_steps[:] = [9, 9, 9, 2, 9, 9]
    actions = random_actions(envs.env, 2)
    envs.step(actions[0])
    broken.armed = True
    with pytest.raises(FloatingPointError, match="the observation of environment 3, number 8 is not finite"):
        envs.step(actions[1])


def test_a_future_that_is_not_finite_stops_too(monkeypatch):
    envs = make_envs(training_config(), future_steps=2)
    envs.reset()
    size = envs.env.single_observation_space.shape[0]
    future = envs.env.true_future
    monkeypatch.setattr(envs.env, "true_future", lambda steps: np.where([[0, 1, 0]], np.nan, future(steps)))
    with pytest.raises(FloatingPointError, match=f"environment 0, number {size + 1} is not finite"):
        envs.step(random_actions(envs.env, 1)[0])


def test_returns_count_whole_episodes_only():
    envs = make_envs(training_config(), 7)
    envs.seed_from(SEED)
    envs.reward_scale = 0.01  # returns are not scaled
    returns, sums, begun_whole = [], np.zeros(7), np.zeros(7, dtype=bool)
    for words in (SEED, [6]):  # what was going on before a reset counts nowhere
        envs.seed_from(words)
        envs.reset()
        sums[:], begun_whole[:] = 0.0, False
        for actions in random_actions(envs.env, 3 * STEPS + 4):
            rewards = envs.step(actions)[1]
            sums += rewards / 0.01
            for index in envs.ended.tolist():
                if begun_whole[index]:
                    returns.append(sums[index])
                sums[index], begun_whole[index] = 0.0, True
    statistics = envs.drain_statistics()
    assert len(returns) > 20
    np.testing.assert_allclose(statistics.episode_returns, returns, rtol=1e-4)
    assert statistics.frames == 2 * 7 * (3 * STEPS + 4)
    assert len(envs.drain_statistics().episode_returns) == 0


def test_statistics_are_means_and_counts_of_what_happened():
    config = training_config(action={"quota_steps": [-2, -1, 0, 1]})
    envs, env = make_envs(config, planner=LoadPlanner(30.0)), make_env(config, planner=LoadPlanner(30.0))
    envs.seed_from(SEED)
    envs.reset()
    begun(env)
    actions = random_actions(env, 15)
    totals = [final_totals(env.step_arrays(each)) for each in actions]
    for each in actions:
        envs.step(each)
    assert envs.violation_ratio == pytest.approx(
        np.mean([each[:, list(INFO_KEYS).index("slo_violation_ratio")] for each in totals])
    )
    statistics = envs.drain_statistics()
    for column, key in enumerate(INFO_KEYS):
        assert statistics.totals[key] == pytest.approx(np.mean([each[:, column] for each in totals])), key
    plan_steps = np.array([each[:, list(INFO_KEYS).index("plan_step")] for each in totals])
    assert statistics.plan_distance == pytest.approx(np.abs(plan_steps).mean())
    assert statistics.action_names == ("web.replicas", "web.cpu", "web.memory")
    assert statistics.action_values[0] == tuple(map(float, config.action.replica_steps))
    assert statistics.action_values[1:] == ((-2.0, -1.0, 0.0, 1.0),) * 2
    stacked = np.concatenate(actions)
    for number, counts in enumerate(statistics.action_counts):
        assert [int((stacked[:, number] == choice).sum()) for choice in range(len(counts))] == counts.tolist()
    assert np.isnan(envs.violation_ratio)


@pytest.mark.parametrize(
    ("action", "values"),
    [
        ({"mode": "absolute", "quotas": False}, [tuple(map(float, range(40)))]),
        ({"mode": "residual", "quotas": False, "replica_steps": [-1, 0, 2]}, [(-1.0, 0.0, 2.0)]),
    ],
)
def test_choices_stand_for_steps_or_for_themselves(action, values):
    envs = make_envs(training_config(action=action))
    choices = [int(count) for count in envs.action_space.nvec]
    shown = envs.drain_statistics()
    assert [len(each) for each in shown.action_values] == choices
    assert [each[: len(values[0])] for each in shown.action_values] == [values[0][: choices[0]]]


def test_what_stable_baselines3_asks_of_a_batch():
    envs = make_envs(training_config())
    envs.reset()
    assert is_masking_supported(envs)
    np.testing.assert_array_equal(get_action_masks(envs), envs.env.action_masks())
    np.testing.assert_array_equal(envs.env_method("action_masks", indices=[4]), envs.env.action_masks()[4:5])
    assert envs.get_attr("episode_steps") == [STEPS] * 6
    assert envs.get_attr("reward_scale", indices=[0, 2]) == [1.0, 1.0]
    assert envs.has_attr("episode_steps")
    assert not envs.has_attr("no_such_thing")
    assert envs.env_is_wrapped(TrainingEnvs) == [False] * 6
    with pytest.raises(NotImplementedError, match="episode_steps cannot be set"):
        envs.set_attr("episode_steps", 3)
    envs.close()

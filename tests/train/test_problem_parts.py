"""What a run trains on, as its settings say: loads, plans, forecasts, constants, a description."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from oracles.policies import zero_policy
from oracles.training_problems import (
    LOW_LOAD,
    STEPS,
    LoadPlanner,
    make_envs,
    random_actions,
    small_problem,
    small_settings,
    training_config,
)

from podgym.agents.running import surroundings
from podgym.envs.core import AutoscaleCore, open_workload
from podgym.envs.splits import DEV_SEEDS
from podgym.envs.workloads.pool import EpisodePool
from podgym.errors import InputError
from podgym.train import problem as problem_module
from podgym.train.problem import (
    describe,
    make_episodes,
    make_training_envs,
    measure_constants,
    training_problem,
)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


def test_a_problem_is_the_id_with_the_changes():
    problem = small_problem(**{"env_kwargs.action.replica_steps": [-1, 0, 1], "planner.options": {"seed": 3}})
    assert problem.config.action.replica_steps == (-1, 0, 1)
    assert problem.config.episode_s == 15.0 * STEPS
    assert not problem.config.action.quotas
    assert problem.config.observation.forecast == "naive"
    assert problem.planner.options == {"seed": 3, "keep_quotas": True}  # as the actions do
    quotas = small_problem(**{"env_kwargs.action.quotas": True, "planner.options": {"seed": 3}})
    assert quotas.planner.options == {"seed": 3}
    tuned = small_problem()
    assert tuned.planner.options["keep_quotas"] is True
    assert small_problem(planner=None, prior=None, reference="none").planner is None


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        ("podgym/LowLod-v0", {}, "unknown environment"),
        (LOW_LOAD, {"env_kwargs.action.mode": "continuous", "prior": None}, "trained on delta, absolute or"),
        ("podgym/Trace-v0", {"env_kwargs.workload_options": {"part": "test"}}, "never opens 'test'"),
        ("podgym/Trace-v0", {"env_kwargs.workload_options": {"part": "all"}}, "nor 'all', which holds it"),
    ],
)
def test_bad_problems_are_refused(environment, changes, message):
    settings = small_settings(**changes)
    with pytest.raises(InputError, match=message):
        training_problem(environment, settings)


def test_forecasts_are_shown_where_they_are_asked_for():
    shown = small_problem(forecaster="oracle")
    assert shown.config.observation.forecast == "learned"
    hidden = small_problem(forecaster="oracle", **{"env_kwargs.observation.forecast": "none"})
    assert hidden.config.observation.forecast == "none"
    envs = [make_training_envs(each) for each in (shown, hidden)]
    names = envs[0].env.observation_names
    columns = [place for place, name in enumerate(names) if ".forecast_" in name]
    assert len(columns) > 2
    assert envs[0].reset()[:, columns].any()
    assert not envs[1].reset()[:, columns].any()


def test_the_environments_draw_from_a_pool_of_their_own():
    envs = make_training_envs(small_problem(episode_pool=5, seed=2))
    envs.reset()
    seen = set()
    for actions in random_actions(envs.env, 4 * STEPS):
        seen |= {id(profile) for profile in envs.env.profiles}
        envs.step(actions)
    assert len(seen) == 5
    other = make_training_envs(small_problem(episode_pool=5, seed=3))
    other.reset()
    loads = {profile.values.tobytes() for profile in envs.env.profiles}
    assert not loads & {profile.values.tobytes() for profile in other.env.profiles}
    assert envs.observation_space.shape[0] == envs.env.single_observation_space.shape[0] + 12
    assert envs._reference is not None


def test_without_a_pool_each_load_is_new_and_the_plan_is_followed_beside_it():
    problem = small_problem(episode_pool=0, critic_future_steps=0)
    envs = make_training_envs(problem)
    assert envs.env.config.reward.relative_to_plan
    assert envs._reference is None
    envs.reset()
    first = list(envs.env.profiles)
    rewards, own = [], []
    for actions in random_actions(envs.env, STEPS):
        rewards.append(envs.step(actions)[1])
        own.append(envs.drain_statistics().totals)
    assert not {id(each) for each in first} & {id(each) for each in envs.env.profiles}
    weights = [-20.0, -1.0, -0.13, -1.0]
    terms = ("term_slo_violation", "term_cpu_cost", "term_memory_cost", "term_churn")
    absolute = [sum(w * each[name] for w, name in zip(weights, terms, strict=True)) for each in own]
    assert np.abs(np.mean(rewards, axis=1) - absolute).min() > 1.0  # the plan's earnings are taken off
    plain = make_training_envs(small_problem(episode_pool=0, reference="none", critic_future_steps=0))
    assert not plain.env.config.reward.relative_to_plan


def test_what_never_comes_again_is_not_kept(monkeypatch):
    """New loads for days would fill the memory."""
    made = []

    def watched(planner):
        made.append(planner)
        return planner

    monkeypatch.setattr(problem_module, "remembered", watched)
    monkeypatch.setattr(problem_module, "remembered_rates", watched)
    make_training_envs(small_problem(episode_pool=0, forecaster="oracle"))
    assert made == []
    make_training_envs(small_problem(forecaster="oracle"))
    assert len(made) == 2


def test_plans_and_forecasts_of_dev_are_made_once(monkeypatch):
    planner = LoadPlanner(30.0)
    monkeypatch.setattr(problem_module, "open_planner", lambda *_: planner)
    core = make_episodes(small_problem(), "dev", 3)
    for _ in range(3):
        for index in range(3):
            core.reset(index, np.random.default_rng(index))
        profiles = list(core.profiles)
    assert planner.calls == 3
    assert len({id(profile) for profile in profiles}) == 3
    core.reset(0, np.random.default_rng(9))
    assert planner.calls == 4


@pytest.mark.parametrize("environment", [LOW_LOAD, "podgym/FamilyBurst-v0"])
def test_episodes_of_dev_are_those_of_the_environment_itself(environment):
    """Loads that are kept take the same draws as loads that are not."""
    problem = small_problem(environment=environment, planner=None, prior=None, reference="none")
    core = make_episodes(problem, "dev", 2)
    part = {} if environment == LOW_LOAD else {"workload_options": {"part": "dev"}}
    plain = AutoscaleCore(training_config(environment, action={"quotas": False}, **part), 2)
    for again in range(2):
        for index in range(2):
            for each in (core, plain):
                each.reset(index, np.random.default_rng([again and 1, index]))
        for actions in ([[3], [9]], [[7], [7]], [[0], [16]]):
            for each in (core, plain):
                each.step(np.array(actions))
            np.testing.assert_array_equal(core.observation, plain.observation)
            np.testing.assert_array_equal(core.totals, plain.totals)


def test_train_and_dev_share_no_load():
    problem = small_problem(environment="podgym/FamilyBurst-v0")
    train, dev = make_episodes(problem, "train", 1), make_episodes(problem, "dev", 1)
    for core in (train, dev):
        core.reset(0, np.random.default_rng(DEV_SEEDS.start))
    assert train.profiles[0].values.tobytes() != dev.profiles[0].values.tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"env_kwargs.action.quotas": True},
        {"env_kwargs.action": {"quotas": True, "quota_steps": [-2, -1, 0, 1, 2]}},
        {"env_kwargs.action.mode": "residual", "prior": None},
        {"env_kwargs.action.mode": "absolute", "prior": None},
        {"forecaster": "oracle"},
        {"forecaster": "oracle", "env_kwargs.observation.forecast": "none"},
        {"planner": None, "prior": None, "reference": "none"},
    ],
)
def test_a_policy_runs_in_what_its_description_says(changes):
    problem = small_problem(**changes)
    policy = zero_policy(describe(problem, "ppo"))
    around = surroundings(policy)
    assert around.config.action == problem.config.action
    assert around.config.episode_s == problem.config.episode_s
    envs = make_training_envs(problem)
    policy.check(envs.env)
    assert policy.description.observation_names == envs.env.observation_names
    assert (around.planner is None) == (problem.planner is None)
    observations = envs.reset()
    actions, _ = policy.act(observations[:, : len(policy.description.observation_names)])
    envs.step(actions)


def test_an_lstm_is_described_where_there_is_one():
    problem = small_problem("recurrent_ppo", **{"policy_kwargs.lstm_hidden_size": 9})
    assert describe(problem, "recurrent_ppo").network.lstm_size == 9
    assert describe(small_problem(), "maskable_ppo").masked


def test_constants_are_those_of_what_was_seen(monkeypatch):
    config = training_config(action={"quotas": False})
    envs = make_envs(config, 5, pool=EpisodePool(open_workload(config), 3), future_steps=2)
    actions = random_actions(envs.env, 12)
    acts = iter(actions)
    envs.weights[:] = [-1e4, *envs.weights[1:]]
    constants = measure_constants(envs, lambda observations: next(acts), 12, seed=4)
    envs.seed_from([4, 0])
    seen, rewards = [envs.reset()], []
    for each in actions:
        observations, reward, _, _ = envs.step(each)
        seen.append(observations)
        rewards.append(reward)
    everything = np.concatenate(seen[:-1]).astype(np.float64)
    np.testing.assert_allclose(constants.mean, everything.mean(axis=0), rtol=1e-5, atol=1e-6)
    expected = np.maximum(everything.std(axis=0), 1e-2)
    np.testing.assert_allclose(constants.std, expected, rtol=1e-5)
    assert (expected == 1e-2).any()
    assert constants.reward_scale == pytest.approx(1.0 / np.std(np.array(rewards, dtype=np.float64)))
    assert constants.mean.dtype == constants.std.dtype == np.float32


def test_rewards_that_never_differ_have_a_scale():
    envs = make_envs(training_config(action={"quotas": False}))
    envs.weights[:] = 0.0
    still = np.full((6, 1), 7)
    assert measure_constants(envs, lambda observations: still, 3, seed=0).reward_scale == 1e6

"""The environment that a policy needs, the policies that ship, and the forecaster behind a policy."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.policies import describe, planning, random_policy, short_config, zero_policy

from podgym.agents import running, shipped
from podgym.agents.description import PlannerSpec
from podgym.agents.policy_file import save_policy
from podgym.agents.running import open_planner, policy_environment, surroundings
from podgym.agents.shipped import shipped_environments, shipped_policies, shipped_policy
from podgym.envs.config import override
from podgym.envs.forecasts import TrueRates
from podgym.envs.make import scenario_config
from podgym.errors import InputError
from podgym.forecasters import choice
from podgym.forecasters.choice import forecaster_sha256
from podgym.forecasters.factory import make_forecaster
from podgym.forecasters.series import Series
from podgym.forecasters.store import save_forecaster

NARROW = {"action": {"quotas": False, "replica_steps": [-1, 0, 1]}, "observation.lags": 3}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))
    choice.open_forecaster.cache_clear()


def save_naive(path, feature="users"):
    """A forecaster of one feature, as small as there is."""
    values = 100.0 + np.random.default_rng(0).normal(0.0, 3.0, 400)
    series = Series("load", (feature,), (feature,), values, 60.0)
    return save_forecaster(make_forecaster("last_value").fit(series), path)


def test_without_a_configuration_it_is_the_one_of_the_training():
    changes = {**NARROW, "cluster": {"nodes": {"count": 3}}, "reward": {"relative_to_plan": True}}
    env = policy_environment(zero_policy(describe(changes=changes)))
    assert env.config == override(scenario_config("burst"), changes)
    assert env.config.cluster.nodes.count == 3


def test_a_configuration_is_the_problem_and_the_policy_brings_its_interface():
    policy = zero_policy(describe(changes={**NARROW, "reward": {"relative_to_plan": True}}))
    problem = short_config("podgym/HighLoad-v0", reward={"preset": "paper"})
    env = policy_environment(policy, config=problem)
    assert env.config.workload == "high_load"
    assert env.config.reward == problem.reward
    assert env.episode_steps == 40
    assert env.action_space.nvec.tolist() == [3]
    assert env.config.observation.lags == 3
    observation, _ = env.reset(seed=1)
    env.step(policy.act(observation)[0])


def test_many_environments_are_those_of_one():
    policy = random_policy(describe())
    vector = policy_environment(policy, config=short_config(), num_envs=3)
    observations, _ = vector.reset(seed=4)
    for index in range(3):
        env = policy_environment(policy, config=short_config())
        np.testing.assert_array_equal(env.reset(seed=4 + index)[0], observations[index])
    assert policy.act(observations)[0].shape == (3, 3)
    assert vector.step(policy.act(observations)[0])[1].shape == (3,)


def test_further_arguments_reach_the_environment():
    assert policy_environment(zero_policy(describe()), render_mode="ansi").render_mode == "ansi"


def test_a_policy_for_another_environment_is_refused():
    policy = zero_policy(describe())
    with pytest.raises(InputError, match=r"trained in podgym/Burst-v0.*services, position 0"):
        policy_environment(policy, config=scenario_config("boutique"))
    with pytest.raises(InputError, match="observation, position 16"):
        policy_environment(policy, config=short_config(observation={"lags": 2}))


def test_an_unknown_id_is_named():
    description = describe()
    object.__setattr__(description, "environment", "podgym/Brust-v0")
    with pytest.raises(InputError, match="Did you mean 'podgym/Burst-v0'"):
        surroundings(description)


def test_the_planner_plans_for_the_forecast():
    description = planning(planner=PlannerSpec("lstm_ga", {"headroom": 0.5, "keep_quotas": True}))
    around = surroundings(description, config=short_config())
    assert isinstance(around.forecaster, TrueRates)
    assert around.planner.forecaster is around.forecaster
    env = policy_environment(zero_policy(description), config=short_config())
    env.reset(seed=0)
    known = policy_environment(zero_policy(planning()), config=short_config())
    known.reset(seed=0)
    assert env.observe().services[0].plan.replicas > known.observe().services[0].plan.replicas
    assert surroundings(describe()).planner is None


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "learned"),
        ({"observation": {"forecast": "learned"}}, "learned"),
        ({"observation": {"forecast": "none"}}, "none"),
        ({"observation.forecast": "naive"}, "naive"),
        ({"observation": {"forecast": "oracle"}}, "oracle"),
    ],
)
def test_a_plan_may_know_a_forecast_that_the_observation_does_not_show(changes, shown):
    policy = zero_policy(planning(changes=changes))
    for config in (None, short_config()):
        env = policy_environment(policy, config=config)
        assert env.config.observation.forecast == shown
        assert env._core.planner.forecaster is not None


def test_naive_is_no_forecaster():
    for forecaster in (None, "naive"):
        around = surroundings(planning(forecaster=forecaster))
        assert around.forecaster is None
        assert around.planner.forecaster is None
    assert surroundings(planning(), forecaster="naive").planner.forecaster is None


def test_another_version_of_the_forecaster_is_refused_unless_named(tmp_path):
    file = str(save_naive(tmp_path / "own.forecaster"))
    description = planning(forecaster=file, forecaster_sha256=forecaster_sha256(file))
    assert surroundings(description).forecaster.forecaster.name == "last_value"
    changed = planning(forecaster=file, forecaster_sha256="0" * 64)
    with pytest.raises(InputError, match="another version of the forecaster"):
        surroundings(changed)
    assert surroundings(changed, forecaster=file).forecaster is not None
    assert surroundings(changed, config=scenario_config("high_load")).forecaster is not None
    with pytest.raises(InputError, match="neither shipped, naive nor oracle"):
        surroundings(planning(forecaster="lost.forecaster"))


def test_a_forecaster_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    from podgym.forecasters import store

    def missing(path):
        raise ImportError("No module named 'torch'", name="torch")

    monkeypatch.setattr(store, "load_forecaster", missing)
    file = str(save_naive(tmp_path / "own.forecaster"))
    with pytest.raises(InputError, match=r"needs torch, .*podgym forecast export"):
        surroundings(planning(forecaster=file))


def test_only_controllers_that_plan_are_planners():
    with pytest.raises(InputError, match="'hpa' makes no plans; controllers that do: lstm_ga"):
        open_planner(PlannerSpec("hpa"), None)
    with pytest.raises(InputError, match="Did you mean 'lstm_ga'"):
        open_planner(PlannerSpec("lstm_gaa"), None)
    with pytest.raises(InputError, match="Did you mean 'headroom'"):
        open_planner(PlannerSpec("lstm_ga", {"headrom": 1}), None)
    assert open_planner(None, None) is None


def test_policies_that_ship_are_found_by_their_id(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    assert shipped_environments() == ()
    with pytest.raises(InputError, match=r"no environment yet.*podgym train --env podgym/Burst-v0"):
        shipped_policy("podgym/Burst-v0")
    folder = tmp_path / "pretrained"
    path = save_policy(zero_policy(describe()), folder / "Burst-v0" / "seed0.policy")
    (folder / "notes.md").write_text("no policy")
    (folder / "Trace-v0").mkdir()
    (folder / "Trace-v0" / "notes.policy").write_text("no policy")
    assert shipped_environments() == ("podgym/Burst-v0",)
    assert shipped_policy("podgym/Burst-v0") == path
    with pytest.raises(InputError, match=r"there is one for podgym/Burst-v0\)"):
        shipped_policy("podgym/Trace-v0")
    with pytest.raises(InputError, match="podgym train --env ID"):
        shipped_policy("workload x.csv")


def test_of_several_training_seeds_the_best_on_dev_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    folder = tmp_path / "pretrained" / "Burst-v0"
    for seed, cost in ((10, 6000.0), (2, 5000.0), (3, 7000.0)):
        described = replace(describe(), provenance={"dev": {"cost": cost}})
        save_policy(zero_policy(described), folder / f"seed{seed}.policy")
    save_policy(zero_policy(describe()), folder / "seed4.policy")  # says nothing of its cost
    assert list(shipped_policies("podgym/Burst-v0")) == [2, 3, 4, 10]
    assert shipped_policy("podgym/Burst-v0") == folder / "seed2.policy"


def test_everything_that_ships_can_be_loaded_and_fits():
    pytest.importorskip("torch")  # the forecasters behind them are networks
    for environment in shipped_environments():
        for path in shipped_policies(environment).values():
            policy = running.load_actor(path)
            assert policy.description.environment == environment
            surroundings(policy)

"""Every option changes what is shown; what comes from outside is the same whatever is done."""

from dataclasses import fields

import numpy as np
import pytest

from podgym.envs import AutoscaleEnv, EnvConfig, override
from podgym.envs.config import ActionConfig, ObservationConfig, RewardConfig
from podgym.envs.randomisation import RandomisationConfig
from podgym.envs.simulator.parameters import ServiceConfig

MIB = 1024.0**2


def play(env, steps=24, seed=0):
    """Play random actions; return every number that the environment shows."""
    env.action_space.seed(seed)
    observation, info = env.reset(seed=5)
    shown = [observation, list(info.values())]
    for _ in range(min(steps, env.episode_steps)):
        observation, _, _, _, info = env.step(env.action_space.sample())
        shown += [observation, list(info.values())]
    return np.concatenate(shown)


_WEB = EnvConfig().cluster.services[0]
TWO_SERVICES = {"cluster": {"services": [_WEB, override(_WEB, {"parameters": {"name": "other"}})]}}
OPTIONS = {
    # field: (what changes, where it matters)
    "EnvConfig.workload": ({"workload": "family:flash"}, {}),
    "EnvConfig.workload_options": ({"workload_options": {"offset_s": 0.0}}, {}),
    "EnvConfig.episode_s": ({"episode_s": 150.0}, {}),
    "EnvConfig.cluster": ({"cluster": {"nodes": {"count": 1}}}, {}),
    "EnvConfig.action": ({"action": {"mode": "absolute"}}, {}),
    "EnvConfig.observation": ({"observation": {"lags": 3}}, {}),
    "EnvConfig.reward": ({"reward": {"preset": "paper"}}, {}),
    "EnvConfig.randomisation": ({"randomisation": {"cpu_demand": [0.5, 2.0]}}, {}),
    "ActionConfig.mode": ({"action": {"mode": "continuous"}}, {}),
    "ActionConfig.quotas": ({"action": {"quotas": False}}, {}),
    "ActionConfig.replica_steps": ({"action": {"replica_steps": [-1, 0, 1]}}, {}),
    "ActionConfig.quota_steps": ({"action": {"quota_steps": [-2, 0, 2]}}, {}),
    "ActionConfig.max_increase": ({"action": {"max_increase": 1}}, {}),
    "ActionConfig.max_decrease": ({"action": {"max_decrease": 1}}, {}),
    "ObservationConfig.lags": ({"observation": {"lags": 9}}, {}),
    "ObservationConfig.forecast": ({"observation": {"forecast": "oracle"}}, {}),
    "ObservationConfig.forecast_sigma": (
        {"observation": {"forecast_sigma": 0.5}}, {"observation": {"forecast": "noisy_oracle"}}
    ),
    "ObservationConfig.horizon_minutes": ({"observation": {"horizon_minutes": 3}}, {}),
    "RewardConfig.preset": ({"reward": {"preset": "paper"}}, {}),
    "RewardConfig.weights": ({"reward": {"weights": {"churn": -3.0}}}, {}),
    "RewardConfig.relative_to_plan": ({"reward": {"relative_to_plan": True}}, {}),
    "RandomisationConfig.cpu_demand": ({"randomisation": {"cpu_demand": [1.2, 1.2]}}, {}),
    "RandomisationConfig.start_up": ({"randomisation": {"start_up": [3.0, 3.0]}}, {}),
    "RandomisationConfig.scrape_delay": ({"randomisation": {"scrape_delay": [7.0, 7.0]}}, {}),
    "RandomisationConfig.demand_cv": ({"randomisation": {"demand_cv": [2.0, 2.0]}}, {}),
    "ServiceConfig.parameters": ({"parameters": {"base_latency_s": 0.2}}, {}),
    "ServiceConfig.initial_replicas": ({"initial_replicas": 7}, {}),
    "ServiceConfig.min_replicas": ({"min_replicas": 3}, {}),
    "ServiceConfig.max_replicas": ({"max_replicas": 9}, {}),
    "ServiceConfig.scale_replicas": ({"scale_replicas": 40}, {}),
    "ServiceConfig.cpu_request_cores": ({"cpu_request_cores": 0.75}, {}),
    "ServiceConfig.memory_request_bytes": ({"memory_request_bytes": 384 * MIB}, {}),
    "ServiceConfig.cpu_limit_ratio": ({"cpu_limit_ratio": 2.0}, {}),
    "ServiceConfig.memory_limit_ratio": ({"memory_limit_ratio": 1.0}, {}),
    "ServiceConfig.cpu_levels_cores": ({"cpu_levels_cores": [0.5, 0.6, 0.7]}, {}),
    "ServiceConfig.memory_levels_bytes": ({"memory_levels_bytes": [512 * MIB, 600 * MIB]}, {}),
    "ServiceConfig.slo_response_time_s": ({"slo_response_time_s": 0.12}, {}),
    "ServiceConfig.entry_share": ({"entry_share": 5.0}, TWO_SERVICES),
    "ServiceConfig.calls": ({"calls": {"other": 2.0}}, TWO_SERVICES),
}  # fmt: skip


def test_every_option_has_an_entry():
    classes = (
        EnvConfig, ActionConfig, ObservationConfig, RewardConfig, RandomisationConfig, ServiceConfig,
    )  # fmt: skip
    elsewhere = {"ActionConfig.first_action"}  # needs a planner, see test_first_action
    there = {f"{cls.__name__}.{item.name}" for cls in classes for item in fields(cls)}
    assert set(OPTIONS) | elsewhere == there


@pytest.mark.parametrize("option", list(OPTIONS))
def test_an_option_changes_what_is_shown(option):
    change, where = OPTIONS[option]
    if option.startswith("ServiceConfig"):
        change = {"cluster": {"services": {"web": change}}}
    start = override(
        EnvConfig(workload="high_load", workload_options={"offset_s": 100.0}, episode_s=360.0), where
    )
    if option == "EnvConfig.workload":
        change = {**change, "workload_options": {}}
    changed = override(start, change)
    before, after = play(AutoscaleEnv(start)), play(AutoscaleEnv(changed))
    assert before.shape != after.shape or not np.array_equal(before, after)


PAIRED = {
    "load": {"rate_noise_cv": 0.3},
    "faults": {"node_failures_per_hour": 15.0, "node_failure_duration_s": 45.0},
    "nodes": {"detection_s": 5.0, "eviction_s": 10.0},
    "monitoring": {"sample_loss_probability": 0.2},
    "services": {"web": {"parameters": {"start_failure_probability": 0.2}}},
}


def outside(env, act, load_column):
    """What comes from outside in every interval: load and the state of the nodes."""
    env.reset(seed=9)
    world = env._core.clusters.world
    happened = []
    for _ in range(env.episode_steps):
        env.step(act(env))
        happened.append((env.interval[load_column].tolist(), world.nodes[0]["up"].tolist()))
    return happened


@pytest.mark.parametrize(("kind", "column"), [("open", "arrived"), ("closed", "users")])
def test_load_and_failures_are_the_same_whatever_is_done(make_env, kind, column):
    def null(env):
        return [7, 1, 1]

    def wild(env):
        return env.action_space.sample()

    calm = outside(make_env(kind=kind, cluster=PAIRED), null, column)
    for seed in range(3):
        env = make_env(kind=kind, cluster=PAIRED)
        env.action_space.seed(seed)
        assert outside(env, wild, column) == calm
    ups = [up for _, up in calm]
    assert [1, 1, 1, 1] in ups
    assert any(0 in up for up in ups)
    assert len({tuple(load) for load, _ in calm}) > 30


def test_the_shadow_meets_the_same_load(make_env):
    env = make_env(cluster=PAIRED, planned=True, reward={"relative_to_plan": True})
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(env.episode_steps):
        env.step(env.action_space.sample())
        shadow = env._core.shadow.world
        assert shadow.interval[0]["arrived"].tolist() == env.interval["arrived"].tolist()
        assert shadow.nodes[0]["up"].tolist() == env._core.clusters.world.nodes[0]["up"].tolist()

"""Problems to train on in a moment: short episodes, few environments, plans that need no search."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracles.policies import describe
from podgym.agents.description import NetworkSpec, PolicyDescription
from podgym.envs.config import EnvConfig, override
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.vector_env import AutoscaleVectorEnv
from podgym.envs.workloads.pool import EpisodePool
from podgym.envs.workloads.profile import LoadProfile
from podgym.train.algorithms import PlannedTraining, make_algorithm
from podgym.train.problem import TrainingProblem, training_problem
from podgym.train.reference import Reference
from podgym.train.results import TrainingResult
from podgym.train.run import train
from podgym.train.settings import TrainingSettings
from podgym.train.settings_file import settings_for
from podgym.train.vec_env import TrainingEnvs

LOW_LOAD = "podgym/LowLoad-v0"
STEPS = 10
"""Control intervals of an episode of ``small_settings``."""

_SMALL: dict[str, Any] = {
    "n_envs": 8,
    "n_steps": 8,
    "batch_size": 32,
    "n_epochs": 2,
    "n_timesteps": 8 * 8 * 4,
    "policy_kwargs.net_arch": [16],
    "env_kwargs": {"episode_s": 15.0 * STEPS, "action": {"quotas": False}},
    "prior": {"strength": 1.0, "cap": 3.0, "keep": 0.5, "quota_strength": 4.0},
    "planner": {"controller": "lstm_ga", "options": "tuned"},
    "reference": "plan",
    "critic_future_steps": 12,
    "forecaster": "naive",
    "actor_frozen_iterations": 1,
    "episode_pool": 4,
    "eval_every": 2,
    "eval_episodes": 2,
    "checkpoint_every": 2,
    "figure_every": 0,
}


def small_settings(algorithm: str = "ppo", environment: str = LOW_LOAD, **changes: Any) -> TrainingSettings:
    """Return settings of a run of four iterations, with changes."""
    return settings_for(algorithm, environment, changes={**_SMALL, **changes})


def small_problem(algorithm: str = "ppo", environment: str = LOW_LOAD, **changes: Any) -> TrainingProblem:
    """Return the problem of such a run."""
    return training_problem(environment, small_settings(algorithm, environment, **changes))


def run_small(
    folder: Path, algorithm: str = "ppo", *, resume: bool = False, **options: Any
) -> TrainingResult:
    """Train on it; ``options`` with ``on_`` go to ``train``, the others are settings."""
    told = {name: options.pop(name) for name in list(options) if name.startswith("on_")}
    settings = small_settings(algorithm, **options)
    return train(settings, folder, environment=LOW_LOAD, algorithm=algorithm, resume=resume, **told)


class LoadPlanner:
    """Plans a replica per so much of the mean load of the next minutes, and quotas of given levels."""

    def __init__(self, per_replica: float, quotas: bool = False) -> None:
        self.per_replica, self.quotas = per_replica, quotas
        self.calls = 0

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> NDArray[np.float64]:
        """Return (plans, num_services, 3)."""
        self.calls += 1
        count = int(np.ceil(duration_s / 300.0))
        plans = np.empty((count, len(config.services), 3))
        for number in range(count):
            first, last = (int(300.0 * at / profile.step_s) for at in (number, number + 1))
            load = profile.values[first : last + 1].mean()
            for index, service in enumerate(config.services):
                replicas = np.ceil(load / self.per_replica) + index
                plans[number, index, 0] = np.clip(replicas, service.min_replicas, service.max_replicas)
                plans[number, index, 1] = service.quota.cpu_request_cores
                plans[number, index, 2] = service.quota.memory_request_bytes
                if self.quotas:
                    plans[number, index, 1] = service.cpu_levels_cores[number % len(service.cpu_levels_cores)]
                    levels = service.memory_levels_bytes
                    plans[number, index, 2] = levels[-1 - number % len(levels)]
        return plans


def training_config(environment: str = LOW_LOAD, steps: int = STEPS, **changes: Any) -> EnvConfig:
    """Return an id's configuration with episodes of some steps."""
    config = scenario_config(ENVIRONMENT_IDS[environment])
    return override(config, {"episode_s": steps * config.cluster.control_interval_s, **changes})


def make_env(
    config: EnvConfig, num_envs: int = 6, pool: EpisodePool | None = None, planner: Any = None
) -> AutoscaleVectorEnv:
    """Return a batch as training steps it."""
    return AutoscaleVectorEnv(num_envs, config, autoreset_mode="SameStep", workload=pool, planner=planner)


def make_envs(
    config: EnvConfig,
    num_envs: int = 6,
    *,
    pool: EpisodePool | None = None,
    planner: Any = None,
    future_steps: int = 0,
    reference: Reference | None = None,
) -> TrainingEnvs:
    """Return environments to train in."""
    env = make_env(config, num_envs, pool, planner)
    return TrainingEnvs(env, future_steps=future_steps, reference=reference)


def random_actions(env: AutoscaleVectorEnv, count: int, seed: int = 0) -> list[NDArray[np.int64]]:
    """Return actions of all environments for some steps."""
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def make_model(
    algorithm: str, envs: TrainingEnvs, description: PolicyDescription | None = None, **options: Any
) -> PlannedTraining:
    """Return an untrained model whose normalisation does something."""
    if description is None:
        changes = {"action": {"quotas": envs.env.config.action.quotas}}
        description = describe(LOW_LOAD, changes=changes, algorithm=algorithm, **_network(algorithm))
    size = envs.observation_space.shape[0]  # type: ignore[index]
    rng = np.random.default_rng(3)
    policy_options = {
        "description": description,
        "observation_mean": rng.uniform(0.0, 0.5, size).astype(np.float32),
        "observation_std": rng.uniform(0.5, 2.0, size).astype(np.float32),
    }
    chosen = {"n_steps": 8, "batch_size": 16, "n_epochs": 2, **options}
    return make_algorithm(algorithm, envs, policy_options, **chosen)


def _network(algorithm: str) -> dict[str, Any]:
    return {"network": NetworkSpec((12,), "tanh", 6 if algorithm == "recurrent_ppo" else None)}

"""What a run trains on: environments with their loads, plans and forecasts, and what the policy is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.agents.description import (
    NetworkSpec,
    PlannerSpec,
    PolicyDescription,
    PriorSpec,
)
from podgym.agents.interface import interface_of
from podgym.agents.running import open_planner
from podgym.baselines import controller_options as allowed_options
from podgym.envs.config import EnvConfig, override
from podgym.envs.core import AutoscaleCore, open_workload
from podgym.envs.forecasts import choose_forecast
from podgym.envs.make import scenario_config
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.splits import TuningPart, tuning_config
from podgym.envs.vector_env import AutoscaleVectorEnv
from podgym.envs.workloads.pool import EpisodePool, remembered, remembered_rates
from podgym.envs.workloads.profile import LoadProfile, Workload
from podgym.errors import InputError, unknown_name
from podgym.forecasters.choice import forecaster_file, forecaster_sha256, open_forecaster
from podgym.train.reference import plan_reference
from podgym.train.settings import CloneSettings, PlannerSettings, TrainingSettings
from podgym.train.settings_file import controller_options
from podgym.train.vec_env import TrainingEnvs

Act = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""Observations to actions, of a batch."""

_KEEP_QUOTAS = "keep_quotas"
_POOL_SEED = 1_000_003  # apart from the seeds of episodes, which are small numbers


@dataclass(frozen=True, slots=True)
class TrainingProblem:
    """An environment id with the changes of a run, and what stands behind its observation."""

    environment: str
    """Id."""
    settings: TrainingSettings
    """Of the run."""
    config: EnvConfig
    """The id's configuration with the changes of the run."""
    planner: PlannerSpec | None
    """Who plans, with all options."""
    forecaster: str | None
    """File of the forecaster, ``oracle``, or None."""


def training_problem(environment: str, settings: TrainingSettings) -> TrainingProblem:
    """Return what a run trains on.

    Raises:
        InputError: an unknown id, changes that the environment refuses, a part other than train, or an action
            mode that cannot be learned here.
    """
    if environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment", environment, ENVIRONMENT_IDS)
    config = override(scenario_config(ENVIRONMENT_IDS[environment]), settings.env_kwargs)
    if config.action.mode == "continuous":
        raise InputError("action.mode is 'continuous'; a policy is trained on delta, absolute or residual.")
    spec = None
    if settings.planner is not None:
        spec = PlannerSpec(
            settings.planner.controller, planner_options(settings.planner, environment, config)
        )
    file = forecaster_file(settings.forecaster, config.workload)
    rates = None if file is None else open_forecaster(file)
    if config.observation.forecast != "none":
        config = choose_forecast(config, rates)
    tuning_config(config, "train")
    return TrainingProblem(environment, settings, config, spec, file)


def planner_options(
    settings: PlannerSettings | CloneSettings, environment: str, config: EnvConfig
) -> dict[str, Any]:
    """Return the options of a planner or a teacher; a policy of replicas only gets plans of replicas only.

    A plan of four large pods would mean nothing to a policy that can only count small ones.
    """
    options = controller_options(settings.controller, settings.options, environment)
    if not config.action.quotas and _KEEP_QUOTAS in allowed_options(settings.controller):
        return {**options, _KEEP_QUOTAS: True}
    return options


def open_rates(problem: TrainingProblem, *, remember: bool = True) -> RateForecaster | None:
    """Return the forecaster of a problem; None if there is none.

    Args:
        problem: what is trained on.
        remember: keep the forecasts of each load, for loads that come again: what is kept is never let go.
    """
    if problem.forecaster is None:
        return None
    rates = open_forecaster(problem.forecaster)
    return remembered_rates(rates) if remember else rates


def planner_of(
    problem: TrainingProblem, rates: RateForecaster | None, *, remember: bool = True
) -> Planner | None:
    """Return the planner of a problem; None if there is none.

    Args:
        problem: what is trained on.
        rates: what is planned for.
        remember: keep the plans of each load, see ``open_rates``.
    """
    planner = open_planner(problem.planner, rates)
    return remembered(planner) if planner is not None and remember else planner


def shown_rates(config: EnvConfig, rates: RateForecaster | None) -> RateForecaster | None:
    """Return the forecaster behind the observation: None where it stands behind the plan alone."""
    return rates if config.observation.forecast == "learned" else None


def training_pool(problem: TrainingProblem, workload: Workload) -> EpisodePool | None:
    """Return the loads that a run draws its episodes from, out of a workload; None: each is new."""
    size = problem.settings.episode_pool
    return EpisodePool(workload, size, _POOL_SEED + problem.settings.seed) if size else None


def make_training_envs(problem: TrainingProblem) -> TrainingEnvs:
    """Make the environments of a run on the train part of its load."""
    settings = problem.settings
    config = tuning_config(problem.config, "train")
    workload = open_workload(config)
    pool = training_pool(problem, workload)
    rates = open_rates(problem, remember=pool is not None)
    planner = planner_of(problem, rates, remember=pool is not None)
    live_reference = settings.reference == "plan" and pool is None
    env = AutoscaleVectorEnv(
        settings.n_envs,
        override(config, {"reward": {"relative_to_plan": live_reference}}),
        autoreset_mode="SameStep",
        workload=pool if pool is not None else workload,
        planner=planner,
        forecaster=shown_rates(config, rates),
    )
    reference = None
    if pool is not None and settings.reference == "plan":
        reference = plan_reference(config, pool, planner, settings.n_envs, settings.seed)
    return TrainingEnvs(env, future_steps=settings.critic_future_steps, reference=reference)


class _SameLoads:
    """Gives the very same object for equal random numbers, so that its plans and forecasts are made once."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.name, self.kind, self.step_s = workload.name, workload.kind, workload.step_s
        self.max_duration_s = workload.max_duration_s
        if hasattr(workload, "duration_s"):
            self.duration_s = workload.duration_s
        self._known: dict[str, LoadProfile] = {}

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load of one episode; takes the draws of the workload itself."""
        numbers = repr((rng.bit_generator.state, duration_s))
        return self._known.setdefault(numbers, self._workload.sample(rng, duration_s))


def make_episodes(problem: TrainingProblem, part: TuningPart, num_envs: int) -> AutoscaleCore:
    """Return a batch to evaluate in, on a part of the load; no episode has begun.

    Loads, plans and forecasts of the episodes of equal seeds are made once and kept.
    """
    config = override(tuning_config(problem.config, part), {"reward": {"relative_to_plan": False}})
    rates = open_rates(problem)
    return AutoscaleCore(
        config,
        num_envs,
        workload=_SameLoads(open_workload(config)),
        planner=planner_of(problem, rates),
        forecaster=shown_rates(config, rates),
    )


def describe(problem: TrainingProblem, algorithm: str) -> PolicyDescription:
    """Return what the policy of a run will say of itself, but for its provenance."""
    settings, config = problem.settings, problem.config
    kwargs, prior = settings.policy_kwargs, settings.prior
    recurrent = algorithm == "recurrent_ppo"
    own = interface_of(config)
    return PolicyDescription(
        algorithm=algorithm,  # type: ignore[arg-type]  # checked on construction
        environment=problem.environment,
        observation_names=own.observation_names,
        action_nvec=own.action_nvec,
        services=own.services,
        replica_steps=own.replica_steps,
        quota_steps=own.quota_steps,
        network=NetworkSpec(
            kwargs.net_arch,
            kwargs.activation_fn,
            kwargs.lstm_hidden_size if recurrent else None,
            kwargs.derived,
        ),
        prior=None
        if prior is None
        else PriorSpec(prior.strength, prior.cap, prior.keep, prior.quota_strength),
        changes=settings.env_kwargs,
        planner=problem.planner,
        forecaster=settings.forecaster,
        forecaster_sha256=forecaster_sha256(problem.forecaster),
    )


@dataclass(frozen=True, slots=True)
class Constants:
    """What observations and rewards are brought to size 1 with, measured once before training."""

    mean: NDArray[np.float32]
    """(n + future,)"""
    std: NDArray[np.float32]
    """(n + future,), above 0"""
    reward_scale: float
    """Factor on rewards."""


_LEAST_STD = 1e-2  # what hardly varies is not blown up: one day it may
_LEAST_REWARD_STD = 1e-6


def measure_constants(envs: TrainingEnvs, act: Act, steps: int, seed: int) -> Constants:
    """Let the environments run, and measure what comes.

    Args:
        envs: the environments, reset afterwards by whoever trains.
        act: takes observations (num_envs, n + future) and returns actions: the untrained policy.
        steps: control intervals.
        seed: of the episodes.
    """
    envs.seed_from([seed, 0])
    observations, rewards = envs.reset(), []
    middle = observations.mean(axis=0, dtype=np.float64)  # (n + future,) near the mean: no digits are lost
    sums, squares = np.zeros_like(middle), np.zeros_like(middle)
    for _ in range(steps):
        sums += (observations - middle).sum(axis=0)
        squares += ((observations - middle) ** 2).sum(axis=0)
        envs.step_async(act(observations))
        observations, reward, _, _ = envs.step_wait()
        rewards.append(reward)
    envs.drain_statistics()
    frames = steps * envs.num_envs
    variance = np.maximum(squares / frames - (sums / frames) ** 2, 0.0)
    mean = (middle + sums / frames).astype(np.float32)
    std = np.maximum(np.sqrt(variance), _LEAST_STD).astype(np.float32)
    return Constants(mean, std, 1.0 / max(float(np.std(rewards, dtype=np.float64)), _LEAST_REWARD_STD))

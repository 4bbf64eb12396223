"""How fast policies are trained: frames per second, the environment's share, a yardstick in the same run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from podgym.errors import require_whole
from podgym.train.algorithms import (
    BootstrapTimeLimits,
    PlannedTraining,
    make_algorithm,
    unchecked_distributions,
)
from podgym.train.problem import describe, make_training_envs, training_problem
from podgym.train.run import algorithm_options
from podgym.train.settings import TrainingSettings
from podgym.train.settings_file import settings_for
from podgym.train.vec_env import TrainingEnvs

YARDSTICK = "CartPole-v1"
_YARDSTICK_FRAMES = 4096  # two rollouts of stable-baselines3's defaults


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """What was measured; all times are CPU time of one thread, the best of several rounds."""

    environment: str
    """Id."""
    algorithm: str
    """Name of the algorithm."""
    num_envs: int
    """Environments stepped together."""
    batch_size: int
    """Frames per update."""
    frames_per_s: float
    """Frames of single environments trained on per second: rollout and update."""
    environment_share: float
    """Share of that time in which the environments are stepped, the critic's future and restarts included."""
    yardstick_frames_per_s: float
    """stable-baselines3's PPO with its defaults on ``YARDSTICK``, in the same run."""

    @property
    def times_yardstick(self) -> float:
        """How many times as fast as the yardstick."""
        return self.frames_per_s / self.yardstick_frames_per_s


def measure_training(
    environment: str,
    *,
    algorithm: str = "ppo",
    num_envs: int = 1024,
    iterations: int = 3,
    repeats: int = 3,
    on_round: Callable[[], None] = lambda: None,
) -> TrainingSpeed:
    """Train for a few iterations with the shipped settings, in turns with the yardstick.

    Args:
        environment: id.
        algorithm: name.
        num_envs: environments to step together.
        iterations: of a round.
        repeats: rounds.
        on_round: called after each.

    Raises:
        InputError: a number that cannot be used, or an unknown name.
    """
    for name, value in (("num_envs", num_envs), ("iterations", iterations), ("repeats", repeats)):
        require_whole(name, value, 1, 10**6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = _sized(settings_for(algorithm, environment), num_envs)
        model, envs = _model(environment, algorithm, settings)
        yardstick = _yardstick()
        rounds, others = [], []
        for _ in range(1 + repeats):  # the first warms up
            with unchecked_distributions():
                rounds.append(_round(model, envs, iterations, settings))
            others.append(_yardstick_round(yardstick))
            on_round()
        del rounds[0], others[0]
    finally:
        torch.set_num_threads(threads)
    seconds, in_envs = min(rounds)
    frames = iterations * settings.frames_per_iteration
    return TrainingSpeed(
        environment=environment,
        algorithm=algorithm,
        num_envs=num_envs,
        batch_size=settings.batch_size,
        frames_per_s=frames / seconds,
        environment_share=in_envs / seconds,
        yardstick_frames_per_s=_YARDSTICK_FRAMES / min(others),
    )


def _sized(settings: TrainingSettings, num_envs: int) -> TrainingSettings:
    """Return the settings for another number of environments, with a batch that divides the rollout."""
    frames = num_envs * settings.n_steps
    batch = int(np.gcd(frames, settings.batch_size))
    return replace(settings, n_envs=num_envs, batch_size=batch, episode_pool=min(settings.episode_pool, 256))


def _model(
    environment: str, algorithm: str, settings: TrainingSettings
) -> tuple[PlannedTraining, TrainingEnvs]:
    problem = training_problem(environment, settings)
    envs = make_training_envs(problem)
    size = envs.observation_space.shape[0] if envs.observation_space.shape else 0
    policy = {
        "description": describe(problem, algorithm),
        "observation_mean": np.zeros(size, dtype=np.float32),
        "observation_std": np.ones(size, dtype=np.float32),
    }
    return make_algorithm(algorithm, envs, policy, **algorithm_options(settings)), envs


def _round(
    model: PlannedTraining, envs: TrainingEnvs, iterations: int, settings: TrainingSettings
) -> tuple[float, float]:
    """Train; return the CPU seconds of all and those in the environments."""
    clock = _Stopwatch(envs.step_wait)
    envs.step_wait = clock  # type: ignore[method-assign]
    began = time.process_time()
    for _ in range(iterations):
        model.learn(
            settings.frames_per_iteration,
            callback=BootstrapTimeLimits(),
            log_interval=None,  # type: ignore[arg-type]
            reset_num_timesteps=False,
        )
    seconds = time.process_time() - began
    envs.step_wait = clock.function  # type: ignore[method-assign]
    return seconds, clock.seconds


class _Stopwatch:
    """A function that adds up the CPU time spent in it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self) -> Any:  # noqa: ANN401  (whatever the function returns)
        began = time.process_time()
        result = self.function()
        self.seconds += time.process_time() - began
        return result


def _yardstick() -> Any:  # noqa: ANN401  (an algorithm of stable-baselines3)
    from stable_baselines3 import PPO

    return PPO("MlpPolicy", YARDSTICK, device="cpu", seed=0)


def _yardstick_round(model: Any) -> float:  # noqa: ANN401
    began = time.process_time()
    model.learn(_YARDSTICK_FRAMES, reset_num_timesteps=False)
    return time.process_time() - began

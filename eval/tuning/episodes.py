"""Running candidates on tuning episodes: light, and blind to the test part."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from podgym.baselines import Controller, PlanningController, make_controller
from podgym.envs.config import EnvConfig, RewardConfig
from podgym.envs.env import AutoscaleEnv
from podgym.envs.splits import TuningPart, check_tuning_seed, require_part, tuning_config
from podgym.errors import InputError, unknown_name
from podgym.eval.runner import make_environment

Objective = Literal["slo_cost", "reward"]
"""``slo_cost``: cost of an episode by the preset of that name, lower is better, whatever the environment's
reward; ``reward``: the environment's own reward, higher is better."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of one candidate, of the train or the dev part."""

    options: Mapping[str, Any]
    """Options of the controller."""
    part: TuningPart
    """Part of the workload."""
    seed: int
    """Seed of the episode, one of the part."""

    def __post_init__(self) -> None:
        check_tuning_seed(self.seed, self.part)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one episode came to."""

    steps: int
    """Environment steps that were run, which are charged."""
    reward: float
    """Sum of the rewards."""
    refusal: str = ""
    """Why the controller could not be run with these options; empty: it could."""


class EpisodeRunner:
    """Runs episodes of one controller on one environment."""

    def __init__(self, controller: str, config: EnvConfig, forecaster: str | None = None) -> None:
        """Say what to run.

        Args:
            controller: name of the controller.
            config: the environment, with no part of its workload chosen.
            forecaster: see ``podgym.eval.runner.Job.forecaster``.

        Raises:
            InputError: the configuration names a part for itself.
        """
        self.controller = controller
        self.config = config
        self.forecaster = forecaster
        self._configs = {part: tuning_config(config, part) for part in get_args(TuningPart)}
        self._envs: dict[TuningPart, AutoscaleEnv] = {}

    def episode_steps(self, part: TuningPart) -> int:
        """Return the length of an episode in environment steps.

        Raises:
            InputError: the environment cannot be made, as when an episode is longer than the part.
        """
        return self._environment(part, make_controller(self.controller)).episode_steps

    def run(self, episode: Episode) -> Outcome:
        """Run one episode. It depends on the episode alone, not on those before."""
        steps, total = 0, 0.0
        try:
            controller = make_controller(self.controller, **episode.options)
        except InputError as error:
            return Outcome(0, 0.0, str(error))
        env = self._environment(episode.part, controller)
        env.reset(seed=episode.seed)
        controller.reset()
        try:
            for _ in range(env.episode_steps):
                total += env.step_decisions(controller.decide(env.observe()))[1]
                steps += 1
        except InputError as error:  # such as more replicas than a service allows
            return Outcome(steps, 0.0, str(error))
        return Outcome(steps, total)

    def part_config(self, part: TuningPart) -> EnvConfig:
        """Return the environment on one part of its workload.

        Raises:
            InputError: the workload opens another part.
        """
        config = self._configs[part]
        require_part(config, part)
        return config

    def _environment(self, part: TuningPart, controller: Controller) -> AutoscaleEnv:
        """Return the environment of a part: the same for all, but a planner's own for whoever plans."""
        if part in self._envs and not isinstance(controller, PlanningController):
            return self._envs[part]
        self._envs[part] = make_environment(self.part_config(part), controller, self.forecaster)
        return self._envs[part]


def objective_config(config: EnvConfig, objective: Objective) -> EnvConfig:
    """Return the environment with the reward that an objective is read off.

    Raises:
        InputError: there is no such objective.
    """
    if objective not in get_args(Objective):
        raise unknown_name("objective", objective, get_args(Objective))
    return replace(config, reward=RewardConfig(preset="slo_cost")) if objective == "slo_cost" else config


def objective_value(objective: Objective, reward: float) -> float:
    """Return the objective of an episode from the sum of its rewards."""
    return -reward if objective == "slo_cost" else reward


def cost_of(objective: Objective, value: float) -> float:
    """Return what is minimised: the objective, or minus one of which more is better."""
    return value if objective == "slo_cost" else -value

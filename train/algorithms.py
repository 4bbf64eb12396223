"""PPO and its relatives as they are trained here: annealed, frozen at first, stopped by what is not finite.

The algorithms are those of stable-baselines3 and sb3-contrib. What is added goes through their own hooks:
``train`` is preceded by the entropy of the moment and by freezing, and the values of ended episodes are
bootstrapped for all of them at once before stable-baselines3 looks at each.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from podgym.agents.torch_policies import POLICIES, PlanPolicyMixin
from podgym.train.vec_env import TrainingEnvs

Schedule = Callable[[float], float]


class PlannedTraining(OnPolicyAlgorithm):
    """Training towards a known number of steps, of which ``learn`` may do a part at a time.

    Attributes:
        planned_timesteps: steps of the whole training, which schedules refer to.
        entropy_schedule: weight of the entropy as a function of the share of training that is left.
        frozen_iterations: first updates in which only the critic learns.
        iterations: updates so far.
    """

    planned_timesteps: int = 1
    entropy_schedule: Schedule = staticmethod(lambda left: 0.0)
    frozen_iterations: int = 0
    iterations: int = 0

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        super()._update_current_progress_remaining(num_timesteps, self.planned_timesteps)

    def train(self) -> None:
        """Update the policy with the last rollout.

        Raises:
            FloatingPointError: a weight of the policy is no longer finite.
        """
        self.ent_coef = self.entropy_schedule(max(self._current_progress_remaining, 0.0))
        frozen = self.iterations < self.frozen_iterations
        policy = self.policy
        if not isinstance(policy, PlanPolicyMixin):
            raise TypeError(f"{type(policy).__name__} does not start from a plan")
        for module in policy.actor_modules():
            module.requires_grad_(not frozen)
        try:
            super().train()
        except ValueError:  # torch refuses logits that are nan before anybody looks at the weights
            self._require_finite(policy)
            raise
        self._require_finite(policy)
        self.iterations += 1
        self.logger.record("train/ent_coef", self.ent_coef)

    def _require_finite(self, policy: torch.nn.Module) -> None:
        for name, weights in policy.named_parameters():
            if not torch.isfinite(weights).all():
                raise FloatingPointError(
                    f"weights {name} are not finite after update {self.iterations + 1}; lower learning_rate, "
                    "or go back to the last checkpoint with another seed."
                )


class PlannedPpo(PlannedTraining, PPO):
    """PPO."""


class PlannedMaskablePpo(PlannedTraining, MaskablePPO):
    """PPO that never takes a choice without an effect of its own."""


class PlannedRecurrentPpo(PlannedTraining, RecurrentPPO):
    """PPO with an LSTM."""


ALGORITHM_CLASSES: Mapping[str, type[PlannedTraining]] = {
    "ppo": PlannedPpo,
    "maskable_ppo": PlannedMaskablePpo,
    "recurrent_ppo": PlannedRecurrentPpo,
}
"""Algorithm and its class."""


def make_algorithm(
    name: str,
    envs: TrainingEnvs,
    policy_options: Mapping[str, Any],
    **options: Any,  # noqa: ANN401
) -> PlannedTraining:
    """Make an algorithm with a policy that starts from the plan.

    Args:
        name: ``ppo``, ``maskable_ppo`` or ``recurrent_ppo``.
        envs: where to train.
        policy_options: description and constants, see ``PlanPolicyMixin``.
        **options: of the algorithm, by the names of stable-baselines3.
    """
    algorithm: PlannedTraining = ALGORITHM_CLASSES[name](
        POLICIES[name], envs, policy_kwargs=dict(policy_options), device="cpu", **options
    )
    return algorithm


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """Leave out torch's checks of distributions, a tenth of an update: ``train`` finds what they find."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def forget_rollout(model: PlannedTraining) -> None:
    """Let the next ``learn`` begin with new episodes, as in a process that has just started."""
    model._last_obs = None
    if isinstance(model, RecurrentPPO):
        states = cast(RNNStates, model._last_lstm_states)
        model._last_lstm_states = RNNStates(_zeros(states.pi), _zeros(states.vf))  # type: ignore[assignment]


def _zeros(states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros_like(each) for each in states)


class BootstrapTimeLimits(BaseCallback):
    """Adds the value of what would have come to the last reward of episodes that reached their time limit.

    For all that end in a step at once; stable-baselines3 asks the critic once for each.
    """

    def _on_step(self) -> bool:
        envs = self.training_env
        if not isinstance(envs, TrainingEnvs):
            raise TypeError(f"{type(envs).__name__} does not say which episodes ended")
        if len(envs.ended):
            rewards: np.ndarray[Any, np.dtype[np.float32]] = self.locals["rewards"]
            rewards[envs.ended] += self.model.gamma * self._values(envs)  # type: ignore[attr-defined]
        return True

    def _values(self, envs: TrainingEnvs) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Return the critic's values of the last observations, (n_ended,)."""
        observations = torch.from_numpy(envs.final_observations)
        policy = cast(Any, self.model.policy)  # values of a recurrent policy take more
        with torch.no_grad():
            if isinstance(self.model, RecurrentPPO):
                at = torch.from_numpy(envs.ended)
                hidden, memory = (each[:, at].contiguous() for each in self.locals["lstm_states"].vf)
                starts = torch.zeros(len(at))
                values = policy.predict_values(observations, (hidden, memory), starts)
            else:
                values = policy.predict_values(observations)
        return np.asarray(values.numpy()[:, 0], dtype=np.float32)

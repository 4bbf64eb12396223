"""Behaviour cloning before PPO: the actor learns what a controller would have done.

The controller is asked in the environment's own observation of itself; its decision is turned into the
nearest action, and that action is what happens. So the actor learns from the states that its own actions
lead to.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from podgym.agents.description import PlannerSpec
from podgym.agents.nearest_action import nearest_action
from podgym.agents.torch_policies import PlanPolicyMixin
from podgym.baselines import PlanningController, make_controller
from podgym.envs.actions import ActionDecoder
from podgym.envs.env import AutoscaleEnv
from podgym.envs.splits import tuning_config, tuning_seeds
from podgym.errors import InputError
from podgym.train.algorithms import PlannedTraining
from podgym.train.problem import TrainingProblem, open_rates, planner_of, planner_options, shown_rates
from podgym.train.settings import CloneSettings

EPISODES = 64
"""Training episodes that the controller is watched for."""
_BATCH = 256
_LEARNING_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """What a controller did."""

    observations: NDArray[np.float32]
    """(n, size) as the policy sees them."""
    actions: NDArray[np.int64]
    """(n, numbers)"""


def clone(model: PlannedTraining, problem: TrainingProblem, settings: CloneSettings, seed: int) -> float:
    """Let the actor of a model imitate a controller.

    Args:
        model: its actor learns.
        problem: where the controller is watched.
        settings: whom to imitate.
        seed: of the order in which decisions are learned.

    Returns:
        The share of the numbers of all actions in which the actor's best choice is the controller's.

    Raises:
        InputError: the actions are not steps from what is wanted, or the policy has an LSTM.
    """
    if problem.settings.policy_kwargs.lstm_hidden_size is not None:
        raise InputError("clone: a policy with an LSTM cannot be cloned here; use ppo or maskable_ppo.")
    if problem.config.action.mode != "delta":
        raise InputError(
            f"clone: action.mode is {problem.config.action.mode!r}; a controller can be imitated in 'delta'."
        )
    shown = demonstrate(problem, settings)
    policy = model.policy
    if not isinstance(policy, PlanPolicyMixin):
        raise TypeError(f"{type(policy).__name__} does not start from a plan")
    return _learn(policy, shown, settings.epochs, seed)


def demonstrate(
    problem: TrainingProblem, settings: CloneSettings, episodes: int = EPISODES
) -> Demonstrations:
    """Watch a controller on training episodes."""
    options = planner_options(settings, problem.environment, problem.config)
    controller = make_controller(settings.controller, **options)
    rates = open_rates(problem)
    config = tuning_config(problem.config, "train")
    shown = shown_rates(config, rates)
    env = AutoscaleEnv(config, planner=planner_of(problem, rates), forecaster=shown)
    view = env
    own = PlannerSpec(settings.controller, options)
    if isinstance(controller, PlanningController) and problem.planner != own:
        # The same cluster once more, with the plans of the controller, which the policy does not see.
        view = AutoscaleEnv(config, planner=controller.planner(rates), forecaster=shown)
    decoder = ActionDecoder(config.action, config.cluster)
    observations, actions = [], []
    for episode_seed in tuning_seeds("train", 0, episodes):
        if view is not env:
            view.reset(seed=episode_seed)
        observation, _ = env.reset(seed=episode_seed)
        controller.reset()
        for _ in range(env.episode_steps):
            seen = view.observe()
            action = nearest_action(
                decoder, controller.decide(seen), [each.replicas_wanted for each in seen.services]
            )
            observations.append(observation)
            actions.append(action)
            if view is not env:
                view.step(action)
            observation, *_ = env.step(action)
    return Demonstrations(np.stack(observations), np.stack(actions))


def _learn(policy: PlanPolicyMixin, shown: Demonstrations, epochs: int, seed: int) -> float:
    parameters = [weight for module in policy.actor_modules() for weight in module.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    observations, actions = torch.from_numpy(shown.observations), torch.from_numpy(shown.actions)
    nvec = list(policy.description.action_nvec)
    order = np.random.default_rng([seed, 1])
    policy.set_training_mode(True)
    for _ in range(epochs):
        shuffled = order.permutation(len(actions))
        for first in range(0, len(shuffled), _BATCH):
            part = torch.from_numpy(shuffled[first : first + _BATCH])
            logits = torch.split(policy.actor_logits(observations[part]), nvec, dim=1)
            losses = [
                nn.functional.cross_entropy(each, actions[part, number]) for number, each in enumerate(logits)
            ]
            optimiser.zero_grad()
            loss = torch.stack(losses).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        logits = torch.split(policy.actor_logits(observations), nvec, dim=1)
        chosen = torch.stack([each.argmax(dim=1) for each in logits], dim=1)
    return float((chosen == actions).double().mean())

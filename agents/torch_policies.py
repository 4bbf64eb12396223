"""The policies that stable-baselines3 and sb3-contrib train: one actor, in the classes that each asks for."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from podgym.agents.actor import Policy
from podgym.agents.derived import derived_numbers
from podgym.agents.description import PolicyDescription
from podgym.agents.torch_networks import (
    ActorFeatures,
    CriticFeatures,
    Normaliser,
    PassingLstm,
    PriorHead,
    SeparateNetworks,
    TorchPrior,
)

Schedule = Callable[[float], float]
Floats = NDArray[np.float32]

_HIDDEN_GAIN = math.sqrt(2.0)
_LOGITS_GAIN = 0.01  # the untrained network says next to nothing, so that the plan decides
_VALUE_GAIN = 1.0


if TYPE_CHECKING:
    _AnyPolicy = ActorCriticPolicy
else:  # the policy of MaskablePPO is not a kind of ActorCriticPolicy, only much like it
    _AnyPolicy = object


class PlanPolicyMixin(_AnyPolicy):
    """The parts that make a policy of stable-baselines3 start from the plan.

    Observations are the environment's with the true future behind them; the actor sees the first part only.

    Args:
        description: what the policy is.
        observation_mean: (n + future,) of the observations.
        observation_std: (n + future,), above 0.
    """

    description: PolicyDescription

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        description: PolicyDescription,
        observation_mean: Floats,
        observation_std: Floats,
        **options: Any,  # noqa: ANN401  (those of the class mixed with)
    ) -> None:
        self.description = description
        self._constants = (observation_mean, observation_std)
        self._derived = derived_numbers(description)
        self._features_made = 0
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            ortho_init=False,
            share_features_extractor=False,
            optimizer_kwargs={"eps": 1e-5, "fused": True},  # one pass over the weights instead of ten
            **options,
        )

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Return the actor's features at the first call, the critic's at the second."""
        self._features_made += 1
        mean, std = self._constants
        space = self.observation_space
        if not isinstance(space, spaces.Box):
            raise TypeError(f"observations must be a Box, not {space}")
        if self._features_made == 2:
            return CriticFeatures(space, Normaliser(mean, std, self.description.clip, self._derived))
        seen = len(self.description.observation_names)
        normaliser = Normaliser(mean[:seen], std[:seen], self.description.clip, self._derived)
        return ActorFeatures(space, normaliser, TorchPrior(self.description))

    @property
    def _seen(self) -> int:
        """Numbers that the actor's layers see: the observation, and what is derived from it."""
        features = self.pi_features_extractor
        return features.normaliser.size if isinstance(features, ActorFeatures) else 0

    @property
    def _passed(self) -> int:
        """Logits of the plan behind the actor's features."""
        features = self.pi_features_extractor
        return features.prior.size if isinstance(features, ActorFeatures) else 0

    def _build_mlp_extractor(self) -> None:
        spec = self.description.network
        seen = spec.lstm_size or self._seen
        critic = spec.lstm_size or self.vf_features_extractor.features_dim
        self.mlp_extractor = SeparateNetworks(seen, self._passed, critic, spec)  # type: ignore[assignment]

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        networks = self.mlp_extractor
        choices = sum(self.description.action_nvec)
        self.action_net = PriorHead(networks.latent_dim_pi, self._passed, choices)
        self.value_net = nn.Linear(networks.latent_dim_vf, 1)
        for module, gain in (
            (networks, _HIDDEN_GAIN), (self.action_net, _LOGITS_GAIN), (self.value_net, _VALUE_GAIN)
        ):  # fmt: skip
            for layer in module.modules():
                self.init_weights(layer, gain)
        self._make_optimizer(lr_schedule)

    def _make_optimizer(self, lr_schedule: Schedule) -> None:
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1.0), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def prior_logits(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the logits of the plan alone, (B, sum of the choices); zeros without a prior."""
        features = self.pi_features_extractor
        if self._passed and isinstance(features, ActorFeatures):
            logits: torch.Tensor = features.prior(observations)
            return logits
        return torch.zeros(len(observations), sum(self.description.action_nvec))

    def actor_logits(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the logits of the actor, (B, sum of the choices), prior included; not for an LSTM.

        Args:
            observations: (B, n) or with the future behind them, which the actor does not see.
        """
        features = self.pi_features_extractor(observations)
        logits: torch.Tensor = self.action_net(self.mlp_extractor.forward_actor(features))
        return logits

    def actor_modules(self) -> tuple[nn.Module, ...]:
        """Return what only the actor learns: frozen while the critic is new."""
        networks = self.mlp_extractor
        modules: list[nn.Module] = [networks.actor, self.action_net]  # type: ignore[list-item]
        if isinstance(self, RecurrentActorCriticPolicy):
            modules.append(self.lstm_actor)
        return tuple(modules)


class PlanPolicy(PlanPolicyMixin, ActorCriticPolicy):
    """For PPO."""


class MaskablePlanPolicy(PlanPolicyMixin, MaskableActorCriticPolicy):  # type: ignore[misc]  # see _AnyPolicy
    """For MaskablePPO."""


class RecurrentPlanPolicy(PlanPolicyMixin, RecurrentActorCriticPolicy):
    """For RecurrentPPO: an LSTM before the layers of actor and critic each."""

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **options: Any,  # noqa: ANN401
    ) -> None:
        size = options["description"].network.lstm_size
        super().__init__(observation_space, action_space, lr_schedule, lstm_hidden_size=size, **options)
        self.lstm_actor = PassingLstm(self._seen, self._passed, size)
        self.lstm_critic = nn.LSTM(self.vf_features_extractor.features_dim, size)
        self._make_optimizer(lr_schedule)


POLICIES: Mapping[str, type[PlanPolicyMixin]] = {
    "ppo": PlanPolicy,
    "maskable_ppo": MaskablePlanPolicy,
    "recurrent_ppo": RecurrentPlanPolicy,
}
"""Algorithm and its class of policies."""


def extract_policy(policy: PlanPolicyMixin, description: PolicyDescription | None = None) -> Policy:
    """Return the actor of a policy in training as one that NumPy runs.

    Args:
        policy: trained, or not yet.
        description: what to say of it, with its provenance; None: what it was made with.
    """
    features = policy.pi_features_extractor
    if not isinstance(features, ActorFeatures):
        raise TypeError(f"{type(features).__name__} are not the features of an actor")
    arrays = {
        "observation_mean": _array(features.normaliser.mean),
        "observation_std": _array(features.normaliser.std),
    }
    if isinstance(policy, RecurrentActorCriticPolicy):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            arrays[f"lstm.{name}"] = _array(getattr(policy.lstm_actor, f"{name}_l0"))
    for index, layer in enumerate(actor_layers(policy)):
        arrays[f"actor.{index}.weight"] = _array(layer.weight)
        arrays[f"actor.{index}.bias"] = _array(layer.bias)
    return Policy(description or policy.description, arrays)


def load_actor_arrays(policy: PlanPolicyMixin, arrays: Mapping[str, Floats]) -> None:
    """Overwrite the actor of a policy with the numbers of a policy file; the normalisation stays."""
    with torch.no_grad():
        if isinstance(policy, RecurrentActorCriticPolicy):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                _overwrite(getattr(policy.lstm_actor, f"{name}_l0"), arrays[f"lstm.{name}"])
        for index, layer in enumerate(actor_layers(policy)):
            _overwrite(layer.weight, arrays[f"actor.{index}.weight"])
            _overwrite(layer.bias, arrays[f"actor.{index}.bias"])


def _overwrite(tensor: torch.Tensor, array: Floats) -> None:
    tensor.copy_(torch.from_numpy(np.array(array)))


def actor_layers(policy: PlanPolicyMixin) -> list[nn.Linear]:
    """Return the linear layers of the actor, the last gives the logits."""
    modules = [*policy.mlp_extractor.actor.modules(), *policy.action_net.modules()]  # type: ignore[union-attr]
    return [module for module in modules if isinstance(module, nn.Linear)]


def _array(tensor: torch.Tensor) -> Floats:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)

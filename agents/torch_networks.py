"""The networks of a policy in training: the actor of ``actor.py`` once more, in torch, and a critic.

stable-baselines3 builds a policy of three parts: features, a network behind them, and a last layer. Here the
features of the actor are its normalised observation with the logits of the plan behind it, which travel
through the network untouched and are added by the last layer. So PPO, MaskablePPO and RecurrentPPO share one
actor without a change to any of them.
"""

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from podgym.agents.derived import CLIP, LEAST, DerivedNumbers
from podgym.agents.description import NetworkSpec, PolicyDescription
from podgym.agents.prior import PriorPart, prior_parts

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class TorchPrior(nn.Module):
    """The prior of ``podgym.agents.prior`` for tensors."""

    def __init__(self, description: PolicyDescription) -> None:
        """Take over the constants of a description; without a prior there are no logits."""
        super().__init__()
        self._parts = prior_parts(description)
        self.cap = description.prior.cap if description.prior is not None else 0.0
        self.size = sum(len(part.steps) for part in self._parts)
        for index, part in enumerate(self._parts):
            self.register_buffer(f"steps_{index}", torch.from_numpy(part.steps), persistent=False)
            self.register_buffer(f"bonus_{index}", torch.from_numpy(part.bonus), persistent=False)
            if part.levels is not None:
                self.register_buffer(f"levels_{index}", torch.from_numpy(part.levels), persistent=False)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, sum of the choices) for observations (B, n) that are not normalised."""
        logits = [self._logits(index, part, observations) for index, part in enumerate(self._parts)]
        return torch.cat(logits, dim=1) if logits else observations[:, :0]

    def _logits(self, index: int, part: PriorPart, observations: torch.Tensor) -> torch.Tensor:
        scale = float(part.scale)
        plan = self._position(index, part, observations[:, part.plan] * scale)
        present = self._position(index, part, observations[:, part.present] * scale)
        steps: torch.Tensor = self.get_buffer(f"steps_{index}")
        wanted = torch.clamp(plan - present, float(part.steps.min()), float(part.steps.max()))
        distance = torch.clamp((steps - wanted[:, None]).abs(), max=self.cap)  # (B, choices)
        return self.get_buffer(f"bonus_{index}") - float(part.strength) * distance

    def _position(self, index: int, part: PriorPart, values: torch.Tensor) -> torch.Tensor:
        if part.levels is None:
            return torch.round(values)
        levels: torch.Tensor = self.get_buffer(f"levels_{index}")
        return (levels - values[:, None]).abs().argmin(dim=1).to(values.dtype)


class TorchDerived(nn.Module):
    """The numbers of ``podgym.agents.derived`` for tensors."""

    def __init__(self, derived: DerivedNumbers) -> None:
        """Take over columns, factors and scales."""
        super().__init__()
        self.size, self.ratios = len(derived.names), derived.ratios
        for side in (0, 1):
            self.register_buffer(f"columns_{side}", torch.from_numpy(derived.columns[side]), persistent=False)
            self.register_buffer(f"factors_{side}", torch.from_numpy(derived.factors[side]), persistent=False)
        self.register_buffer("scale", torch.from_numpy(derived.scale), persistent=False)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, d) for observations that are not normalised."""
        above, below = (self._side(side, observations) for side in (0, 1))
        ratios = torch.log((above + float(LEAST)) / (below + float(LEAST)))[:, : self.ratios]
        values = torch.cat([ratios, (above - below)[:, self.ratios :]], dim=1) * self.get_buffer("scale")
        return torch.clamp(values, -float(CLIP), float(CLIP))

    def _side(self, side: int, observations: torch.Tensor) -> torch.Tensor:
        columns = self.get_buffer(f"columns_{side}")  # (d, k)
        return torch.relu(observations[:, columns].amax(dim=2)) * self.get_buffer(f"factors_{side}")


class Normaliser(nn.Module):
    """Shifts, scales and clips observations by constants, and puts derived numbers behind them."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        clip: float,
        derived: DerivedNumbers | None = None,
    ) -> None:
        """Keep the constants, each (n,)."""
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("std", torch.from_numpy(std.copy()))
        self.clip = clip
        self.derived = None if derived is None else TorchDerived(derived)
        self.size = len(mean) + (0 if derived is None else len(derived.names))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, size) numbers of size 1: the first n columns of the observations, what is derived."""
        seen = observations[:, : len(self.mean)]
        values = torch.clamp((seen - self.mean) / self.std, -self.clip, self.clip)
        return values if self.derived is None else torch.cat([values, self.derived(observations)], dim=1)


class ActorFeatures(BaseFeaturesExtractor):
    """What the actor sees, normalised, and behind it the logits of the plan."""

    def __init__(self, space: spaces.Box, normaliser: Normaliser, prior: TorchPrior) -> None:
        """Combine the two parts."""
        super().__init__(space, normaliser.size + prior.size)
        self.normaliser = normaliser
        self.prior = prior

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, n + sum of the choices)."""
        return torch.cat([self.normaliser(observations), self.prior(observations)], dim=1)


class CriticFeatures(BaseFeaturesExtractor):
    """What the critic sees, normalised: the same and, in training, the true load that lies ahead."""

    def __init__(self, space: spaces.Box, normaliser: Normaliser) -> None:
        """Keep the constants."""
        super().__init__(space, normaliser.size)
        self.normaliser = normaliser

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, n + steps of the future)."""
        normalised: torch.Tensor = self.normaliser(observations)
        return normalised


class SeparateNetworks(nn.Module):
    """Hidden layers of actor and critic, which share nothing; the plan's logits pass through the actor's."""

    def __init__(self, actor_inputs: int, passed: int, critic_inputs: int, spec: NetworkSpec) -> None:
        """Build the layers.

        Args:
            actor_inputs: numbers that the actor's layers see.
            passed: numbers behind them that are handed on.
            critic_inputs: numbers that the critic's layers see.
            spec: shape of both.
        """
        super().__init__()
        self.passed = passed
        self.actor = _hidden_layers(actor_inputs, spec)
        self.critic = _hidden_layers(critic_inputs, spec)
        self.latent_dim_pi = (spec.hidden[-1] if spec.hidden else actor_inputs) + passed
        self.latent_dim_vf = spec.hidden[-1] if spec.hidden else critic_inputs

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, latent_dim_pi)."""
        seen = features.shape[1] - self.passed
        return torch.cat([self.actor(features[:, :seen]), features[:, seen:]], dim=1)

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, latent_dim_vf)."""
        latent: torch.Tensor = self.critic(features)
        return latent

    def forward(self, features: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both."""
        return self.forward_actor(features[0]), self.forward_critic(features[1])


class PriorHead(nn.Module):
    """The last layer of the actor: its own logits plus those that were passed through."""

    def __init__(self, latent: int, passed: int, choices: int) -> None:
        """Build the layer; without a prior nothing is passed, and nothing added."""
        super().__init__()
        self.passed = passed
        self.linear = nn.Linear(latent - passed, choices)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, choices)."""
        own: torch.Tensor = self.linear(latent[:, : latent.shape[1] - self.passed])
        return own + latent[:, latent.shape[1] - self.passed :] if self.passed else own


class PassingLstm(nn.LSTM):
    """An LSTM that hands on what stands behind its inputs: behind its outputs, untouched."""

    def __init__(self, inputs: int, passed: int, size: int) -> None:
        """Build one layer of ``size`` units."""
        super().__init__(inputs, size)
        self.seen = inputs
        self.passed = passed
        self.input_size = inputs + passed  # what sb3-contrib cuts sequences by

    def check_input(self, input: torch.Tensor, batch_sizes: torch.Tensor | None) -> None:
        """Check what the LSTM itself sees, which is less than ``input_size`` says."""

    def forward(  # type: ignore[override]
        self, sequence: torch.Tensor, states: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return outputs (length, B, size + passed) and the last states."""
        outputs, after = super().forward(sequence[..., : self.seen], states)
        return torch.cat([outputs, sequence[..., self.seen :]], dim=-1), after


def _hidden_layers(inputs: int, spec: NetworkSpec) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in spec.hidden:
        layers += [nn.Linear(inputs, units), ACTIVATIONS[spec.activation]()]
        inputs = units
    return nn.Sequential(*layers)

"""Settings of a training run, typed: what RL Zoo calls hyper-parameters, and what is our own.

They stand in YAML files, see ``podgym.train.settings_file``. Names are those of stable-baselines3 and RL Zoo
where these have one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from podgym.errors import InputError
from podgym.train.values import (
    Schedule,
    any_number,
    as_plain,
    check_fields,
    checked,
    group,
    mapping,
    number,
    optional,
    options,
    schedule,
    sizes,
    switch,
    text,
    whole,
    word,
)

TUNED = "tuned"
"""Options of a controller: those that ship with the package for the environment."""

_MOST = 10**12


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The networks. Actor and critic are separate, each of this shape."""

    net_arch: tuple[int, ...] = field(default=(64, 64), metadata=checked(sizes))
    """Sizes of the hidden layers."""
    activation_fn: Literal["relu", "tanh"] = field(default="relu", metadata=checked(word("relu", "tanh")))
    """Between the layers."""
    derived: bool = field(default=False, metadata=checked(switch))
    """Whether the networks also see ratios and differences computed from the observation, such as replicas
    needed / wanted; see ``podgym.agents.derived``."""
    lstm_hidden_size: int | None = field(default=None, metadata=checked(optional(whole(1, 4096))))
    """Units of the LSTM before the hidden layers; ``recurrent_ppo`` only, where null means 64."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class PriorSettings:
    """How strongly the untrained policy follows the plan: what is added to the logits of its actions."""

    strength: float = field(default=1.0, metadata=checked(number(0.0)))
    """Logits lost per replica between a step and the planned one."""
    cap: float = field(default=3.0, metadata=checked(number(0.0, above=True)))
    """Distance from the plan, replicas or levels, beyond which nothing more is lost."""
    keep: float = field(default=0.5, metadata=checked(any_number))
    """Logits gained by a step of 0."""
    quota_strength: float = field(default=4.0, metadata=checked(number(0.0)))
    """Logits lost per level between a quota step and the planned one."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """Whose plan stands in the observation."""

    controller: str = field(default="lstm_ga", metadata=checked(text))
    """A controller that plans."""
    options: str | Mapping[str, Any] = field(default=TUNED, metadata=checked(options))
    """``tuned``: its tuned options on the environment, its defaults where it was not tuned; or a mapping."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class CloneSettings:
    """Behaviour cloning before PPO: whom to imitate."""

    controller: str = field(metadata=checked(text))
    """The controller whose decisions are learned."""
    options: str | Mapping[str, Any] = field(default=TUNED, metadata=checked(options))
    """See ``PlannerSettings.options``."""
    epochs: int = field(default=10, metadata=checked(whole(1, 10_000)))
    """Passes over its decisions."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class ConstraintSettings:
    """An SLO to keep instead of one to weigh: a Lagrange multiplier replaces the weight of violations."""

    max_violation_ratio: float = field(default=0.01, metadata=checked(number(0.0, 1.0, above=True)))
    """Share of requests that may be slower than the SLO or fail, mean over the episodes."""
    initial_multiplier: float = field(default=20.0, metadata=checked(number(0.0)))
    """Multiplier at the beginning, cores; 20 is the weight of violations in the reward ``slo_cost``."""
    learning_rate: float = field(default=0.5, metadata=checked(number(0.0, above=True)))
    """Change of the multiplier per iteration, cores, per ``ratio / max_violation_ratio - 1``."""
    max_multiplier: float = field(default=1000.0, metadata=checked(number(0.0, above=True)))
    """Largest multiplier, cores."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.initial_multiplier > self.max_multiplier:
            raise InputError(
                f"constraint: initial_multiplier is {self.initial_multiplier:g}; it must be at most "
                f"max_multiplier, {self.max_multiplier:g}."
            )


def _replicas_only() -> dict[str, Any]:
    return {"action": {"quotas": False}}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that decides what a training run computes, but for the algorithm and the environment."""

    n_timesteps: int = field(default=2_000_000, metadata=checked(whole(1, _MOST)))
    """Frames (steps of one environment) to train for, rounded up to whole iterations."""
    n_envs: int = field(default=512, metadata=checked(whole(1, 2**20)))
    """Environments stepped together, out of phase."""
    n_steps: int = field(default=32, metadata=checked(whole(2, 2**20)))
    """Steps of each environment per iteration."""
    batch_size: int = field(default=1024, metadata=checked(whole(2, 2**30)))
    """Frames per update; divides ``n_envs * n_steps``."""
    n_epochs: int = field(default=4, metadata=checked(whole(1, 1000)))
    """Passes over the frames of an iteration."""
    gamma: float = field(default=0.95, metadata=checked(number(0.0, 1.0)))
    """Discount per step."""
    gae_lambda: float = field(default=0.8, metadata=checked(number(0.0, 1.0)))
    """Of generalised advantage estimation: 0 trusts the critic, 1 the returns."""
    learning_rate: Schedule = field(
        default=Schedule(1e-3, 2e-5), metadata=checked(schedule(1.0, above_zero=True))
    )
    """Of Adam."""
    ent_coef: Schedule = field(default=Schedule(0.03, 0.003), metadata=checked(schedule(100.0)))
    """Weight of the entropy in the loss."""
    clip_range: Schedule = field(
        default=Schedule(0.2, 0.2), metadata=checked(schedule(10.0, above_zero=True))
    )
    """How far the probability ratio of an action may move from 1 before its gradient is cut."""
    vf_coef: float = field(default=0.5, metadata=checked(number(0.0)))
    """Weight of the critic's loss."""
    max_grad_norm: float = field(default=0.5, metadata=checked(number(0.0, above=True)))
    """Largest norm of a gradient."""
    normalize_advantage: bool = field(default=True, metadata=checked(switch))
    """Whether advantages are brought to mean 0 and deviation 1 in each batch."""
    target_kl: float | None = field(default=None, metadata=checked(optional(number(0.0, above=True))))
    """End the epochs of an iteration when the policy has moved 1.5 times this far; null: never."""
    policy_kwargs: PolicySettings = field(
        default_factory=PolicySettings, metadata=checked(group(PolicySettings))
    )
    """The networks."""
    env_kwargs: Mapping[str, Any] = field(default_factory=_replicas_only, metadata=checked(mapping))
    """Fields of ``EnvConfig`` that differ from the environment's, as ``gym.make`` takes them."""
    prior: PriorSettings | None = field(
        default_factory=PriorSettings, metadata=checked(optional(group(PriorSettings)))
    )
    """The plan as a prior on the logits; null: none."""
    planner: PlannerSettings | None = field(
        default_factory=PlannerSettings, metadata=checked(optional(group(PlannerSettings)))
    )
    """Whose plan stands in the observation; null: nobody's."""
    forecaster: str = field(default="shipped", metadata=checked(text))
    """Forecaster behind the observation and the plan: ``shipped`` (with the package for the load),
    ``naive``, ``oracle``, or a file of ``podgym forecast train``."""
    critic_future_steps: int = field(default=12, metadata=checked(whole(0, 10_000)))
    """Steps of the true future rate that the critic sees, in training only; 0: what the actor sees."""
    reference: Literal["plan", "none"] = field(default="plan", metadata=checked(word("plan", "none")))
    """``plan``: rewards count relative to a cluster that follows the plan under the same arrivals."""
    actor_frozen_iterations: int = field(default=3, metadata=checked(whole(0, 10**6)))
    """First iterations in which the critic alone learns."""
    clone: CloneSettings | None = field(default=None, metadata=checked(optional(group(CloneSettings))))
    """Behaviour cloning before PPO; null: none."""
    episode_pool: int = field(default=512, metadata=checked(whole(0, 10**7)))
    """Episodes that are kept with their loads, forecasts and plans, and drawn from; 0: each is new."""
    constraint: ConstraintSettings | None = field(
        default=None, metadata=checked(optional(group(ConstraintSettings)))
    )
    """The SLO as a constraint; null: violations cost what the reward says."""
    eval_every: int = field(default=10, metadata=checked(whole(1, 10**6)))
    """Iterations between two evaluations on dev."""
    eval_episodes: int = field(default=128, metadata=checked(whole(1, 100_000)))
    """Episodes of an evaluation."""
    checkpoint_every: int = field(default=30, metadata=checked(whole(1, 10**6)))
    """Iterations between two checkpoints; a kill loses no more than these. All episodes begin anew after a
    checkpoint, so with few iterations the policy sees mostly their beginnings."""
    figure_every: int = field(default=5, metadata=checked(whole(0, 10**6)))
    """Evaluations between two figures of a dev episode; 0: no figures."""
    seed: int = field(default=0, metadata=checked(whole(0, 2**31 - 1)))
    """Of everything that is random in the run."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.frames_per_iteration % self.batch_size:
            raise InputError(
                f"batch_size is {self.batch_size}; it must divide n_envs * n_steps, {self.n_envs} * "
                f"{self.n_steps} = {self.frames_per_iteration}. Try {self._nearest_batch_size()}."
            )
        if self.planner is None and self.prior is not None:
            raise InputError("prior pulls towards the plan, but planner is null; set prior to null as well.")
        if self.planner is None and self.reference == "plan":
            raise InputError("reference is plan, but planner is null; set reference to none as well.")

    @property
    def frames_per_iteration(self) -> int:
        """Frames between two updates of the networks: ``n_envs * n_steps``."""
        return self.n_envs * self.n_steps

    @property
    def iterations(self) -> int:
        """Iterations of the whole run."""
        return math.ceil(self.n_timesteps / self.frames_per_iteration)

    def as_dict(self) -> dict[str, Any]:
        """Return every setting as plain data, in the form that ``podgym.train.settings_file`` reads."""
        return {each.name: as_plain(getattr(self, each.name)) for each in fields(self)}

    def as_yaml(self, environment: str = "default") -> str:
        """Return every setting as a file of settings with one block.

        Args:
            environment: id that the block is for; ``default``: every id.
        """
        import yaml

        return str(yaml.safe_dump({environment: self.as_dict()}, sort_keys=False, allow_unicode=True))

    def _nearest_batch_size(self) -> int:
        """Return the divisor of the frames per iteration that is closest to the batch size."""
        frames = self.frames_per_iteration
        divisors = {d for low in range(1, math.isqrt(frames) + 1) if frames % low == 0
                    for d in (low, frames // low)} - {1}  # fmt: skip
        return min(divisors, key=lambda d: (abs(d - self.batch_size), d))


def first_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return dotted name and both values of the first setting that differs in two plain mappings.

    What is only in one of them counts as None in the other.

    Returns:
        None if they are equal.
    """
    for name in (*ours, *(key for key in theirs if key not in ours)):
        mine, other = ours.get(name), theirs.get(name)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            inner = first_difference(mine, other)
            if inner is not None:
                return (f"{name}.{inner[0]}", *inner[1:])
        elif mine != other or (name in ours) != (name in theirs):
            return name, mine, other
    return None

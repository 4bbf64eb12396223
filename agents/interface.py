"""What an environment shows a policy and lets it decide, and whether a policy was made for that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podgym.agents.description import PolicyDescription, ServiceSpec
from podgym.envs.actions import ActionDecoder
from podgym.envs.config import EnvConfig
from podgym.envs.observation import ObservationLayout
from podgym.errors import InputError

if TYPE_CHECKING:
    import gymnasium as gym
    from gymnasium.vector import VectorEnv

    Configured = EnvConfig | gym.Env[Any, Any] | VectorEnv[Any, Any, Any]
    """A configuration, or an environment that has one."""


@dataclass(frozen=True, slots=True)
class Interface:
    """The spaces of an environment with the meaning of every number; fields as in ``PolicyDescription``."""

    observation_names: tuple[str, ...]
    """(n,) numbers of the observation, in order."""
    action_mode: str
    """``delta``, ``absolute`` or ``residual``."""
    action_nvec: tuple[int, ...]
    """(k,) choices of each number of an action."""
    services: tuple[ServiceSpec, ...]
    """Services with their bounds and levels."""
    replica_steps: tuple[int, ...]
    """Steps of the replicas, replicas; empty in the mode ``absolute``."""
    quota_steps: tuple[int, ...]
    """Steps of CPU and memory, levels; empty if quotas are no part of the action, or in ``absolute``."""


def interface_of(environment: "Configured") -> Interface:
    """Return what an environment shows and takes.

    Args:
        environment: an environment (scalar or vector, wrapped or not) or its ``EnvConfig``.

    Raises:
        InputError: no environment of podgym, or its actions are continuous.
    """
    config = _config_of(environment)
    if config.action.mode == "continuous":
        raise InputError(
            "policies choose from steps, but the actions are continuous; set action.mode to delta, residual "
            "or absolute."
        )
    services = tuple(
        ServiceSpec(
            service.name,
            service.min_replicas,
            service.replicas_scale,
            tuple(float(level) for level in service.cpu_levels_cores),
            tuple(float(level) for level in service.memory_levels_bytes),
        )
        for service in config.cluster.services
    )
    by_steps = config.action.mode != "absolute"
    return Interface(
        observation_names=ObservationLayout(config.observation, config.cluster).names,
        action_mode=config.action.mode,
        action_nvec=tuple(ActionDecoder(config.action, config.cluster).nvec.tolist()),
        services=services,
        replica_steps=config.action.replica_steps if by_steps else (),
        quota_steps=config.action.quota_steps if by_steps and config.action.quotas else (),
    )


def check_interface(description: PolicyDescription, environment: "Configured") -> None:
    """Refuse an environment whose observation, actions, services or levels differ from a policy's.

    Raises:
        InputError: naming the first difference, its position and what both have there.
    """
    has = interface_of(environment)
    difference = (
        _difference("services", [each.name for each in description.services],
                    [each.name for each in has.services])
        or _service_difference(description.services, has.services, description.action_mode)
        or _difference("observation", description.observation_names, has.observation_names)
        or _difference("action mode", [description.action_mode], [has.action_mode])
        or _difference("steps of the replicas", description.replica_steps, has.replica_steps)
        or _difference("steps of the quotas", description.quota_steps, has.quota_steps)
        or _difference("choices of the action", description.action_nvec, has.action_nvec)
    )  # fmt: skip
    if difference:
        raise InputError(
            f"this policy, trained in {description.environment}, does not fit the environment: {difference}. "
            "Take an environment of the same configuration, or train a policy in this one."
        )


def _config_of(environment: "Configured") -> EnvConfig:
    if isinstance(environment, EnvConfig):
        return environment
    config = getattr(getattr(environment, "unwrapped", environment), "config", None)
    if not isinstance(config, EnvConfig):
        raise InputError(f"{environment!r} is neither an environment of podgym nor an EnvConfig.")
    return config


def _service_difference(own: Sequence[ServiceSpec], other: Sequence[ServiceSpec], mode: str) -> str:
    """Describe the first difference.

    Bounds are none where actions are steps, which the environment holds within its own; a choice of the mode
    ``absolute`` counts from ``min_replicas``.
    """
    names = ["cpu_levels_cores", "memory_levels_bytes"] + (["min_replicas"] if mode == "absolute" else [])
    for mine, theirs in zip(own, other, strict=True):
        if mine.max_replicas != theirs.max_replicas:
            return (
                f"observations of service {mine.name!r} count {mine.max_replicas} replicas as 1 for the "
                f"policy and {theirs.max_replicas} in the environment, see scale_replicas"
            )
        for name in names:
            if getattr(mine, name) != getattr(theirs, name):
                return (
                    f"service {mine.name!r} has {name} {getattr(mine, name)} for the policy and "
                    f"{getattr(theirs, name)} in the environment"
                )
    return ""


def _difference(what: str, own: Sequence[object], other: Sequence[object]) -> str:
    """Describe the first difference between two sequences; empty when there is none."""
    pairs = zip(own, other, strict=False)
    at = next((i for i, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(own), len(other)))
    if at == len(own) == len(other):
        return ""
    mine, theirs = (repr(each[at]) if at < len(each) else "nothing" for each in (own, other))
    lengths = "" if len(own) == len(other) else f" (of {len(own)} and {len(other)})"
    return f"{what}, position {at}{lengths}: {mine} for the policy and {theirs} in the environment"

"""Policies with chosen numbers: of zeros, random, recurrent, for any configuration."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.agents.actor import Policy, array_shapes
from podgym.agents.description import NetworkSpec, PlannerSpec, PolicyDescription, PriorSpec
from podgym.agents.interface import interface_of
from podgym.envs.config import EnvConfig, override
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS

SHORT = {"episode_s": 600.0}
"""Forty steps."""


def describe(environment: str = "podgym/Burst-v0", **fields: Any) -> PolicyDescription:
    """Return the description of a policy for an id under ``fields["changes"]``, with a prior if it can."""
    config = override(scenario_config(ENVIRONMENT_IDS[environment]), fields.get("changes", {}))
    own = interface_of(config)
    chosen: dict[str, Any] = {
        "algorithm": "ppo",
        "environment": environment,
        "observation_names": own.observation_names,
        "action_nvec": own.action_nvec,
        "services": own.services,
        "replica_steps": own.replica_steps,
        "quota_steps": own.quota_steps,
        "prior": PriorSpec() if own.action_mode == "delta" else None,
        "network": NetworkSpec((16, 12)),
    }
    return PolicyDescription(**{**chosen, **fields})


def planning(**fields: Any) -> PolicyDescription:
    """Return a description with a planner that knows the future."""
    return describe(**{"planner": PlannerSpec("lstm_ga"), "forecaster": "oracle", **fields})


def recurrent(**fields: Any) -> PolicyDescription:
    """Return the description of a recurrent policy."""
    return describe(**{"algorithm": "recurrent_ppo", "network": NetworkSpec((8,), "tanh", 6), **fields})


def zero_policy(description: PolicyDescription) -> Policy:
    """Return a policy whose network says nothing."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in array_shapes(description).items()}
    return Policy(description, arrays | {"observation_std": np.ones_like(arrays["observation_std"])})


def random_policy(description: PolicyDescription, seed: int = 0, scale: float = 1.0) -> Policy:
    """Return a policy of random numbers; ``scale`` is the spread of what a layer gives."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, shape in array_shapes(description).items():
        spread = scale / np.sqrt(shape[-1]) if name.endswith("weight") else 0.3
        arrays[name] = generator.normal(0.0, spread, shape).astype(np.float32)
    arrays["observation_std"] = generator.uniform(0.2, 2.0, len(arrays["observation_std"])).astype(np.float32)
    return Policy(description, arrays)


def observations(description: PolicyDescription, batch: int, seed: int = 0) -> NDArray[np.float32]:
    """Return observations (batch, n) within and beyond what is usual."""
    generator = np.random.default_rng(seed)
    shape = (batch, len(description.observation_names))
    return generator.uniform(0.0, 1.5, shape).astype(np.float32)


def short_config(environment: str = "podgym/Burst-v0", **changes: Any) -> EnvConfig:
    """Return the configuration of an id with short episodes."""
    return override(scenario_config(ENVIRONMENT_IDS[environment]), {**SHORT, **changes})

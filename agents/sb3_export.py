"""A policy as the zip archive of stable-baselines3, for tools that load nothing else.

Such an archive is a pickle: whoever loads it runs it. Load only your own; podgym itself never does.
"""

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from podgym.agents.actor import Policy
from podgym.agents.running import policy_environment
from podgym.agents.torch_policies import POLICIES, load_actor_arrays
from podgym.files import write_atomically

_ALGORITHMS: dict[str, Any] = {
    "ppo": PPO,
    "maskable_ppo": MaskablePPO,
    "recurrent_ppo": RecurrentPPO,
}


def export_sb3_zip(policy: Policy, path: str | Path) -> Path:
    """Write what ``load`` of PPO, MaskablePPO or RecurrentPPO reads, where podgym is installed.

    The actor is the policy's. The critic is new: a policy file has none, and the one of training saw the
    future. So ``predict`` decides as the policy does, and further training has to begin with the critic.

    Args:
        policy: what to write.
        path: the file, ending in ``.zip``.

    Raises:
        InputError: the environment of the policy cannot be made, or the file cannot be written.
    """
    model = as_sb3_model(policy)
    return write_atomically(Path(path), lambda draft: model.save(draft))


def as_sb3_model(policy: Policy) -> OnPolicyAlgorithm:
    """Return the policy as an algorithm of stable-baselines3, with a new critic."""
    description = policy.description
    env: Any = DummyVecEnv([lambda: policy_environment(policy)])
    space = env.observation_space
    if not isinstance(space, spaces.Box):
        raise TypeError(f"observations must be a Box, not {space}")
    model: OnPolicyAlgorithm = _ALGORITHMS[description.algorithm](
        POLICIES[description.algorithm],
        env,
        n_steps=32,
        batch_size=32,
        policy_kwargs={
            "description": description,
            "observation_mean": np.array(policy.arrays["observation_mean"]),
            "observation_std": np.array(policy.arrays["observation_std"]),
        },
        device="cpu",
    )
    load_actor_arrays(model.policy, policy.arrays)  # type: ignore[arg-type]  # a policy of POLICIES
    return model

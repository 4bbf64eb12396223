"""Summaries of one episode of every id, kept in ``golden.json``: they notice a change of behaviour.

Rounded figures instead of a hash, because the last bits may differ between processors. A change of
behaviour makes a new version of an id; whoever changes one on purpose writes the file anew with::

    python tests/envs/golden.py
"""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np

import podgym

FILE = Path(__file__).with_name("golden.json")
STEPS = 60
KEYS = (
    "reward", "arrived", "completed", "rejected", "timed_out", "lost", "response_time_mean_s",
    "response_time_p95_s", "slo_violation_ratio", "cpu_utilisation", "memory_utilisation", "requested_cores",
    "requested_gib", "replicas_ready", "replicas_pending", "oom_kills", "restarts",
)  # fmt: skip


def summary(id_: str) -> dict[str, object]:
    """Play one episode with a fixed script of actions; return layout, sums and some observations."""
    env = gym.make(id_).unwrapped
    steps = min(STEPS, env.episode_steps)
    observation, _ = env.reset(seed=2024)
    observations, infos = [observation], []
    counts = env.action_space.nvec
    for step in range(steps):
        # Every choice of every number comes up; no random generator of another library is involved.
        action = (np.arange(len(counts)) * 7 + step * 5) % counts
        observation, _, _, _, info = env.step(action)
        observations.append(observation)
        infos.append(info)
    means = np.mean(observations, axis=0)
    return {
        "observation_size": len(env.observation_names),
        "actions": counts.tolist(),
        "episode_steps": env.episode_steps,
        "sums": {key: float(sum(info[key] for info in infos)) for key in KEYS},
        "observation_means": [float(f"{value:.6g}") for value in means],
    }


def summaries() -> dict[str, dict[str, object]]:
    """Return the summary of every id."""
    return {id_: summary(id_) for id_ in podgym.ENVIRONMENT_IDS}


def main() -> None:
    """Write the file anew."""
    FILE.write_text(json.dumps(summaries(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()

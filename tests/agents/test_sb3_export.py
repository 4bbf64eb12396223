"""The archive for stable-baselines3 decides as the policy does."""

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from oracles.policies import describe, random_policy, recurrent
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO

from podgym.agents.running import policy_environment
from podgym.agents.sb3_export import export_sb3_zip
from podgym.cli import main


def states(policy, steps=25):
    """Observations that the policy meets, and its actions there."""
    env = policy_environment(policy)
    observation, _ = env.reset(seed=3)
    state, seen, actions, masks = None, [], [], []
    for _ in range(steps):
        mask = env.action_masks()
        action, state = policy.act(
            observation, state=state, masks=mask if policy.description.masked else None
        )
        seen.append(observation)
        actions.append(action)
        masks.append(mask)
        observation, *_ = env.step(action)
    return np.stack(seen), np.stack(actions), np.stack(masks)


def test_ppo_decides_the_same(tmp_path):
    policy = random_policy(describe(), seed=1, scale=8.0)
    model = PPO.load(export_sb3_zip(policy, tmp_path / "policy.zip"), device="cpu")
    seen, actions, _ = states(policy)
    assert len(np.unique(actions, axis=0)) > 1
    assert np.array_equal(model.predict(seen, deterministic=True)[0], actions)


def test_maskable_ppo_decides_the_same(tmp_path):
    policy = random_policy(describe(algorithm="maskable_ppo"), seed=2, scale=8.0)
    model = MaskablePPO.load(export_sb3_zip(policy, tmp_path / "policy.zip"), device="cpu")
    seen, actions, masks = states(policy)
    assert np.array_equal(model.predict(seen, action_masks=masks, deterministic=True)[0], actions)


def test_recurrent_ppo_decides_the_same(tmp_path):
    policy = random_policy(recurrent(), seed=3, scale=8.0)
    model = RecurrentPPO.load(export_sb3_zip(policy, tmp_path / "policy.zip"), device="cpu")
    seen, actions, _ = states(policy)
    state, start = None, np.ones(1, dtype=bool)
    for observation, action in zip(seen, actions, strict=True):
        chosen, state = model.predict(observation[None], state=state, episode_start=start, deterministic=True)
        assert np.array_equal(chosen[0], action)
        start = np.zeros(1, dtype=bool)


def test_the_command_writes_it(tmp_path, capsys):
    from podgym.agents.policy_file import save_policy

    save_policy(random_policy(describe(), seed=1), tmp_path / "mine.policy")
    assert main(["export", str(tmp_path / "mine.policy"), "--to", str(tmp_path / "mine.zip")]) == 0
    assert "mine.zip" in capsys.readouterr().out
    assert PPO.load(tmp_path / "mine.zip", device="cpu").num_timesteps == 0

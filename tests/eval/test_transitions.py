"""Recorded transitions are what the environment did under the recorded actions."""

import numpy as np
import pytest
from oracles.policies import describe, random_policy, recurrent, short_config

from podgym.baselines import make_controller
from podgym.envs import AutoscaleEnv
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import profile_sha256
from podgym.errors import InputError
from podgym.eval.transitions import KEPT_INFOS, record_transitions, replay

NULL = [7, 1, 1]


def test_the_same_as_stepping_by_hand():
    env = AutoscaleEnv(short_config())
    episode = record_transitions(env, make_controller("static", replicas=12), 5)
    steps = env.episode_steps
    assert episode.actions[0].tolist() == [12, 1, 1]  # 7 replicas at first, and 5 more
    assert (episode.actions[1:] == NULL).all()
    again = AutoscaleEnv(short_config())
    observation, info = again.reset(seed=5)
    assert episode.load_sha256 == profile_sha256(again.profile)
    for step in range(steps):
        assert episode.observations[step].tobytes() == observation.tobytes()
        assert {key: episode.infos[key][step] for key in KEPT_INFOS} == {key: info[key] for key in KEPT_INFOS}
        observation, reward, terminated, truncated, info = again.step(episode.actions[step])
        assert (reward, terminated, truncated) == (
            episode.rewards[step], episode.terminations[step], episode.truncations[step]
        )  # fmt: skip
    assert episode.observations[steps].tobytes() == observation.tobytes()
    assert episode.truncations.tolist() == [False] * (steps - 1) + [True]


def test_what_is_kept_is_in_info():
    assert set(KEPT_INFOS) <= set(INFO_KEYS)


@pytest.mark.parametrize(
    "description", [describe(prior=None), recurrent(prior=None)], ids=["plain", "recurrent"]
)
def test_a_policy_by_its_own_actions(description):
    policy = random_policy(description, seed=3, scale=10.0)
    env = AutoscaleEnv(short_config())
    episode = record_transitions(env, policy, 5)
    assert len(np.unique(episode.actions[:, 0])) > 1
    state = None
    for observation, action in zip(episode.observations[:-1], episode.actions, strict=True):
        chosen, state = policy.act(observation, state=state)
        assert chosen.tolist() == action.tolist()
    assert replay(env, episode.actions, 5).rewards.tolist() == episode.rewards.tolist()


def test_a_replay_may_be_shorter():
    env = AutoscaleEnv(short_config())
    episode = record_transitions(env, make_controller("hpa"), 5)
    part = replay(env, episode.actions[:10], 5)
    assert part.rewards.tolist() == episode.rewards[:10].tolist()
    assert len(part.observations) == 11
    assert not part.truncations.any()


class Acts:
    name = "acts"

    def __init__(self, *actions):
        self.actions, self.calls = actions, 0

    def reset(self):
        self.calls = 0

    def act(self, observation):
        self.calls += 1
        return self.actions[min(self.calls, len(self.actions)) - 1]


def test_floats_of_a_continuous_space_are_recorded_as_applied():
    """The space is of float32: what is recorded is what was applied, not the double that was asked for."""
    env = AutoscaleEnv(short_config(action={"mode": "continuous"}))
    episode = record_transitions(env, Acts([0.1, 0.3, -0.7]), 2)
    assert episode.actions.dtype == np.float32
    again = replay(env, episode.actions, 2)
    assert again.observations.tobytes() == episode.observations.tobytes()
    assert again.rewards.tobytes() == episode.rewards.tobytes()


def test_each_episode_begins_with_nothing_remembered():
    env, acts = AutoscaleEnv(short_config()), Acts([9, 1, 1], NULL)
    for _ in range(2):
        assert record_transitions(env, acts, 2).actions[:3, 0].tolist() == [9, 7, 7]


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([NULL, [7, 1, 3]], r"interval 2 of seed 4: \[7, 1, 3\] is no action of MultiDiscrete"),
        ([[7.5, 1, 1]], r"interval 1 of seed 4: \[7\.5, 1\.0, 1\.0\] is no action"),
        ([[7, 1]], r"\[7, 1\] is no action"),
        ([[7, [1]]], r"interval 1 of seed 4: choosing failed with ValueError"),
        ([None], r"choosing failed with TypeError"),
    ],
)
def test_what_is_no_action_is_refused(actions, words):
    with pytest.raises(InputError, match=words):
        record_transitions(AutoscaleEnv(short_config()), Acts(*actions), 4)


def test_a_controller_that_acts_on_pods_is_refused():
    env = AutoscaleEnv(short_config())
    with pytest.raises(InputError, match=r"interval \d+ of seed 4: .*single pods"):
        record_transitions(env, make_controller("vpa"), 4)

"""Environments travel between processes."""

import pickle

import gymnasium as gym
import numpy as np
import pytest

import podgym  # noqa: F401  (registers the ids)


@pytest.mark.parametrize("identifier", ["podgym/Burst-v0", "podgym/Boutique-v0"])
def test_a_pickled_environment_goes_on_as_the_original(identifier: str) -> None:
    env = gym.make(identifier).unwrapped
    env.reset(seed=3)
    env.action_space.seed(3)
    actions = [env.action_space.sample() for _ in range(20)]
    for action in actions[:10]:
        env.step(action)
    twin = pickle.loads(pickle.dumps(env))
    for action in actions[10:]:
        expected, found = env.step(action), twin.step(action)
        assert np.array_equal(expected[0], found[0])
        assert expected[1:] == found[1:]

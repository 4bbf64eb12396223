"""Settings and objectives: defaults are the paper's, weights are the reward's, and bad values are refused."""

import numpy as np
import pytest

from podgym.baselines.planner import GaSettings, Objective, objective
from podgym.envs.config import REWARD_PRESETS, RewardConfig
from podgym.errors import InputError


def test_defaults_are_the_papers():
    settings = GaSettings()
    assert (settings.population, settings.crossover, settings.mutation, settings.patience) == (
        50,
        0.81,
        0.23,
        20,
    )


@pytest.mark.parametrize("name", REWARD_PRESETS)
def test_weights_are_those_of_the_reward(name):
    np.testing.assert_array_equal(objective(name).weights, RewardConfig(preset=name).all_weights())


def test_the_papers_names():
    changed = objective("paper", alpha=0.3, beta=0.7, gamma=2.0)
    assert (changed.cpu_utilisation, changed.memory_utilisation, changed.response_time) == (0.3, 0.7, -2.0)
    assert changed == objective("paper", cpu_utilisation=0.3, memory_utilisation=0.7, response_time=-2.0)


def test_shares_of_the_mean_utilisation():
    assert objective("paper", alpha=1.0, beta=3.0).utilisation_weights == (0.25, 0.75)
    assert objective("slo_cost").utilisation_weights == (0.5, 0.5)


@pytest.mark.parametrize(
    "bad",
    [
        {"population": 1},
        {"population": 51},
        {"population": 50.0},
        {"crossover": 1.1},
        {"crossover": float("nan")},
        {"mutation": -0.1},
        {"mutation": True},
        {"patience": 0},
        {"max_generations": -1},
        {"time_limit_s": -1.0},
        {"time_limit_s": "soon"},
        {"seed": -1},
    ],
)
def test_bad_settings(bad):
    (name,) = bad
    with pytest.raises(InputError, match=name):
        GaSettings(**bad)


def test_bad_objectives():
    with pytest.raises(InputError, match="Did you mean 'paper'"):
        objective("papper")
    with pytest.raises(InputError, match="Did you mean 'gamma'"):
        objective("paper", gama=1.0)
    with pytest.raises(InputError, match="gamma is nan"):
        objective("paper", gamma=float("nan"))
    with pytest.raises(InputError, match="weight of cpu_cost is 1"):
        objective("slo_cost", cpu_cost=1.0)
    with pytest.raises(InputError, match="weight of cpu_utilisation"):
        Objective("own", cpu_utilisation=-1.0)

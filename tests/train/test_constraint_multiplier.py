"""The multiplier of a constraint: up while the SLO is missed too often, else down, and in the rewards."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from hypothesis import given
from hypothesis import strategies as st
from oracles.training_problems import LoadPlanner, make_envs, make_model, random_actions, training_config

from podgym.envs.config import REWARD_TERMS
from podgym.train.algorithms import BootstrapTimeLimits
from podgym.train.constraint import ViolationMultiplier
from podgym.train.settings import ConstraintSettings

PLACE = list(REWARD_TERMS).index("slo_violation")


class Measured:
    """Environments that report a share of violations."""

    def __init__(self, ratio=0.0):
        self.violation_ratio = ratio
        self.weights = np.array([-20.0 if name == "slo_violation" else -1.0 for name in REWARD_TERMS])


def settings(**changes):
    return ConstraintSettings(**{"max_violation_ratio": 0.02, "learning_rate": 0.5, **changes})


def test_without_a_constraint_weights_stay():
    envs = Measured(1.0)
    multiplier = ViolationMultiplier(None, envs)
    multiplier.ascend()
    assert multiplier.value == 20.0
    assert multiplier.callbacks == ()
    assert envs.weights[PLACE] == -20.0


def test_it_rises_under_violation_and_falls_without():
    envs = Measured(0.06)
    multiplier = ViolationMultiplier(settings(initial_multiplier=5.0), envs)
    assert (multiplier.value, envs.weights[PLACE]) == (5.0, -5.0)
    multiplier.ascend()  # three times what is allowed: twice too much
    assert multiplier.value == pytest.approx(5.0 + 0.5 * 2.0)
    envs.violation_ratio = 0.0
    multiplier.ascend()
    assert multiplier.value == pytest.approx(6.0 - 0.5)
    envs.violation_ratio = 0.02
    multiplier.ascend()
    assert multiplier.value == pytest.approx(5.5)
    assert envs.weights[PLACE] == -multiplier.value
    np.testing.assert_array_equal(np.delete(envs.weights, PLACE), -1.0)


@given(
    ratios=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30),
    rate=st.floats(0.01, 1000.0),
    first=st.floats(0.0, 50.0),
)
def test_it_stays_within_its_bounds(ratios, rate, first):
    envs = Measured()
    multiplier = ViolationMultiplier(
        settings(initial_multiplier=first, learning_rate=rate, max_multiplier=50.0), envs
    )
    for ratio in ratios:
        before, envs.violation_ratio = multiplier.value, ratio
        multiplier.ascend()
        assert 0.0 <= multiplier.value <= 50.0
        assert envs.weights[PLACE] == -multiplier.value
        if ratio > 0.02:
            assert multiplier.value >= before
            assert multiplier.value > before or before == 50.0
        if ratio < 0.0199:
            assert multiplier.value <= before


def test_it_changes_the_rewards_of_the_next_steps_by_its_share_alone():
    def rewards(multiplier):
        envs = make_envs(training_config("podgym/FamilyFlash-v0"))
        envs.seed_from([1])
        envs.reset()
        ViolationMultiplier(settings(initial_multiplier=multiplier), envs)
        got, violated = [], []
        for actions in random_actions(envs.env, 8):
            got.append(envs.step(actions)[1])
            violated.append(15.0 * envs.violation_ratio * 6)
        return np.array(got), violated[-1] * 8

    (zero, violated), (high, _) = rewards(0.0), rewards(30.0)
    difference = zero - high
    assert (difference >= -1e-3).all()
    assert difference.sum() == pytest.approx(30.0 * violated, rel=1e-4)
    assert violated > 10.0


def trained(max_violation_ratio, iterations=3):
    """Return the multipliers after each rollout, and the shares of violations that the log would see."""
    from podgym.train.constraint import _Ascent

    envs = make_envs(
        training_config("podgym/FamilyFlash-v0", action={"quotas": False}), planner=LoadPlanner(60.0)
    )
    multiplier = ViolationMultiplier(settings(max_violation_ratio=max_violation_ratio), envs)
    model = make_model("ppo", envs)
    values, told = [multiplier.value], []

    class Log(_Ascent):
        """Asks for the statistics after the multiplier did, as the log of a run does."""

        def __init__(self):
            super(_Ascent, self).__init__()

        def _on_rollout_end(self):
            told.append(envs.drain_statistics().totals["slo_violation_ratio"])
            values.append(multiplier.value)

    for _ in range(iterations):
        callbacks = [BootstrapTimeLimits(), *multiplier.callbacks, Log()]
        model.learn(48, callback=callbacks, log_interval=None, reset_num_timesteps=False)
        assert model.logger.name_to_value["constraint/multiplier"] == multiplier.value
    return values, told


def test_in_training_it_moves_once_per_rollout_by_what_the_rollout_violated():
    values, told = trained(0.001)
    assert min(told) > 0.01
    for before, after, ratio in zip(values, values[1:], told, strict=False):
        assert after == pytest.approx(min(before + 0.5 * (ratio / 0.001 - 1.0), 1000.0))
        assert after > before
    values, told = trained(1.0)
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]

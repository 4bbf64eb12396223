"""Evaluations on dev during training are those that anybody makes of the policy afterwards."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from oracles.policies import random_policy
from oracles.training_problems import LOW_LOAD, STEPS, small_problem

from podgym.envs.splits import DEV_SEEDS, tuning_config
from podgym.envs.totals import INFO_KEYS
from podgym.eval.batch import evaluate_batch
from podgym.train.dev import DevEpisodes
from podgym.train.problem import describe

EPISODES = 3


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("ppo", {}),
        ("maskable_ppo", {"env_kwargs.action.quotas": True}),
        ("recurrent_ppo", {"forecaster": "oracle"}),
        ("ppo", {"environment": "podgym/FamilyFlash-v0", "env_kwargs.reward.relative_to_plan": True}),
    ],
)
def test_they_are_what_the_batch_evaluation_says_of_the_same_episodes(algorithm, changes):
    problem = small_problem(algorithm, eval_episodes=EPISODES, **{"environment": LOW_LOAD, **changes})
    policy = random_policy(describe(problem, algorithm), scale=6.0)
    dev = DevEpisodes(problem)
    first, episode = dev.evaluate(policy, 640)
    seeds = list(DEV_SEEDS[:EPISODES])
    expected = evaluate_batch(policy, tuning_config(problem.config, "dev"), seeds)
    assert first.frames == 640
    assert not first.best
    assert first.cost == pytest.approx(expected.cost.mean(), rel=1e-9)
    assert first.slo_violation_ratio == pytest.approx(expected.slo_violation_time_ratio.mean(), rel=1e-9)
    assert first.requested_core_hours == pytest.approx(expected.core_hours.mean(), rel=1e-6)
    assert first.churn == pytest.approx(expected.churn.mean(), rel=1e-9)
    assert first.churn > 0.0
    assert dev.evaluate(policy, 640)[0] == first
    assert set(episode.series) == set(INFO_KEYS)
    assert -episode.series["reward"].sum() == pytest.approx(expected.cost[0], rel=1e-9)
    np.testing.assert_array_equal(episode.series["time_s"], 15.0 * np.arange(1, STEPS + 1))
    assert str(DEV_SEEDS.start) in episode.title
    assert "after 640 frames" in episode.title


def test_another_policy_has_another_result_and_leaves_nothing_behind():
    problem = small_problem(eval_episodes=EPISODES)
    policies = [random_policy(describe(problem, "ppo"), seed, scale=6.0) for seed in (0, 1)]
    dev = DevEpisodes(problem)
    results = [dev.evaluate(policy, 0)[0] for policy in (*policies, *policies)]
    assert results[:2] == results[2:]
    assert results[0] != results[1]

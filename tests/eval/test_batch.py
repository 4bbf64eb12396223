"""Many episodes at once: bit by bit those that run one after the other, with the measures' own numbers."""

import dataclasses

import numpy as np
import pytest
from oracles.policies import SHORT, describe, planning, random_policy, recurrent, short_config, zero_policy

from podgym.agents.running import policy_environment
from podgym.envs.config import override
from podgym.errors import InputError
from podgym.eval.batch import BatchResult, evaluate_batch
from podgym.eval.measures import measure
from podgym.eval.runner import run_policy

SEEDS = (3, 11, 4)
AS_MEASURED = {
    "slo_violation_ratio": "slo_violation_ratio",
    "core_hours": "core_hours",
    "gib_hours": "gib_hours",
    "churn": "replicas_changed",
    "scaling_events": "scaling_events",
    "response_time_mean_s": "response_time_mean_s",
    "response_time_p95_s": "response_time_p95_s",
}
RANDOMISED = {"randomisation": {"cpu_demand": [0.8, 1.25]}}


def lively(**fields):
    """Without a prior random numbers decide, and every step is taken now and then."""
    return describe(prior=None, **fields)


@pytest.mark.parametrize(
    ("make", "environment", "changes"),
    [
        (lively, "podgym/Burst-v0", {}),
        (lively, "podgym/Trace-v0", RANDOMISED),
        (lambda: recurrent(prior=None), "podgym/HighLoad-v0", {}),
        (lambda: lively(algorithm="maskable_ppo"), "podgym/Burst-v0", {}),
        (planning, "podgym/Burst-v0", {"reward": {"preset": "paper"}}),
        (lambda: describe("podgym/Boutique-v0"), "podgym/Boutique-v0", {}),
    ],
    ids=["plain", "randomised trace", "recurrent", "masked", "planning", "eleven services"],
)
def test_every_episode_is_that_of_the_runner(make, environment, changes, monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path))
    policy = random_policy(make(), scale=2.0)
    config = short_config(environment, **changes)
    result = evaluate_batch(policy, config, SEEDS)
    assert result.seeds == SEEDS
    for index, seed in enumerate(SEEDS):
        record = run_policy(policy_environment(policy, config=config), policy, seed)
        expected = measure(record)
        assert result.profile_sha256[index] == record.metadata.profile_sha256
        assert result.cost[index] == -expected["reward"]
        for name, measured in AS_MEASURED.items():
            assert getattr(result, name)[index] == expected[measured], name
        time_ratio = record.totals["slo_violation_ratio"] @ record.columns["duration_s"][:, 0]
        assert result.slo_violation_time_ratio[index] == pytest.approx(
            time_ratio / record.duration_s, rel=1e-12
        )
    assert len(set(result.cost.tolist())) == 3
    assert result.churn.max() > 0


def same(first, second):
    for field in dataclasses.fields(BatchResult):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_the_number_at_a_time_does_not_matter():
    policy = random_policy(lively())
    whole = evaluate_batch(policy, short_config(), range(7))
    same(whole, evaluate_batch(policy, short_config(), np.arange(7), num_envs=3))
    assert whole.cost.shape == (7,)


def test_a_reward_relative_to_the_plan_is_made_absolute():
    policy = random_policy(lively())
    relative = override(short_config(), {"reward": {"relative_to_plan": True}})
    same(evaluate_batch(policy, relative, (1, 2)), evaluate_batch(policy, short_config(), (1, 2)))


def test_without_a_configuration_it_is_the_one_of_the_training():
    changes = {**SHORT, "reward": {"relative_to_plan": True}, "action": {"quotas": False}}
    policy = zero_policy(describe(changes=changes))
    same(evaluate_batch(policy, None, (5,)), evaluate_batch(policy, short_config(), (5,)))


def test_cost_is_what_the_reward_says():
    """Against the closed sum of its terms: cores, memory, violations and changes."""
    policy = random_policy(lively(), scale=2.0)
    result = evaluate_batch(policy, short_config(), (0, 1))
    seconds = SHORT["episode_s"]
    assert result.churn.min() > 0
    terms = 20.0 * seconds * result.slo_violation_time_ratio + result.churn
    terms += 3600.0 * (result.core_hours + 0.13 * result.gib_hours)
    np.testing.assert_allclose(result.cost, terms, rtol=1e-12)


@pytest.mark.parametrize(
    ("seeds", "num_envs", "words"),
    [((), 8, "give seeds"), ((-1,), 8, "seed is -1"), ((1.5,), 8, "seed is 1.5"), ((1,), 0, "num_envs is 0")],
)
def test_bad_requests(seeds, num_envs, words):
    with pytest.raises(InputError, match=words):
        evaluate_batch(zero_policy(describe()), short_config(), seeds, num_envs=num_envs)


def test_a_policy_for_another_environment_is_refused():
    with pytest.raises(InputError, match="services, position 0"):
        evaluate_batch(zero_policy(describe()), short_config("podgym/Boutique-v0"), (1,))

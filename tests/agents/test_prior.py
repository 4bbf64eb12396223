"""The prior against a slow second version, and a policy of zeros against the plan that it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.policies import describe, planning, short_config, zero_policy

from podgym.agents.description import PriorSpec
from podgym.agents.prior import plan_prior
from podgym.agents.running import policy_environment

STEPS = describe().replica_steps


def slow_prior(description, row):
    """The same in loops over services, kinds and steps; float64, which is exact for these numbers."""
    prior, at = description.prior, dict(zip(description.observation_names, row.tolist(), strict=True))
    logits = []
    for service in description.services:
        name = service.name
        planned = round(at[f"{name}.plan_replicas"] * service.max_replicas)
        wanted = round(at[f"{name}.replicas_wanted[-0]"] * service.max_replicas)
        goal = max(min(planned - wanted, max(description.replica_steps)), min(description.replica_steps))
        for step in description.replica_steps:
            logits.append(-prior.strength * min(abs(step - goal), prior.cap) + prior.keep * (step == 0))
        for kind, levels in (("cpu", service.cpu_levels_cores), ("memory", service.memory_levels_bytes)):
            places = []
            for column in (f"{name}.plan_{kind}_request", f"{name}.{kind}_request"):
                value = at[column] * levels[-1]
                places.append(min(range(len(levels)), key=lambda i, v=value, known=levels: abs(known[i] - v)))
            steps = description.quota_steps
            if steps:
                goal = max(min(places[0] - places[1], max(steps)), min(steps))
            for step in steps:
                logits.append(-prior.quota_strength * min(abs(step - goal), prior.cap))
    return logits


def likely_rows(description, batch, seed):
    """Replicas, of which a plan may have parts, and true levels, as shares; the rest is noise."""
    generator = np.random.default_rng(seed)
    rows = generator.uniform(0.0, 1.0, (batch, len(description.observation_names))).astype(np.float32)
    at = {name: index for index, name in enumerate(description.observation_names)}
    for service in description.services:
        most = service.max_replicas
        for column in (f"{service.name}.plan_replicas", f"{service.name}.replicas_wanted[-0]"):
            parts = generator.uniform(-0.4, 0.4, batch) * column.endswith("plan_replicas")
            rows[:, at[column]] = (generator.integers(1, most + 1, batch) + parts) / most
        for kind, levels in (("cpu", service.cpu_levels_cores), ("memory", service.memory_levels_bytes)):
            for column in (f"plan_{kind}_request", f"{kind}_request"):
                rows[:, at[f"{service.name}.{column}"]] = generator.choice(levels, batch) / levels[-1]
    return rows


@pytest.mark.parametrize("environment", ["podgym/Burst-v0", "podgym/Boutique-v0"])
@pytest.mark.parametrize(
    "fields", [{}, {"prior": PriorSpec(0.75, 2.0, 1.25, 3.0)}, {"changes": {"action": {"quotas": False}}}]
)
def test_loops_give_the_same(environment, fields):
    description = describe(environment, **fields)
    rows = likely_rows(description, 200, seed=3)
    expected = np.array([slow_prior(description, row) for row in rows])
    got = plan_prior(description)(rows)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got[:, STEPS.index(0)])) > 2


@given(
    planned=st.integers(1, 28), wanted=st.integers(1, 28),
    keep=st.sampled_from([0.0, 0.5, 1.5]),
)  # fmt: skip
def test_best_step_is_the_nearest_to_the_plan(planned, wanted, keep):
    """Or to stay, if that is nearly as good; a plan out of reach is approached by the widest step."""
    description = describe(prior=PriorSpec(strength=2.0, keep=keep), changes={"action": {"quotas": False}})
    row = np.zeros((1, len(description.observation_names)), dtype=np.float32)
    at = list(description.observation_names).index
    row[0, at("web.plan_replicas")] = planned / 28
    row[0, at("web.replicas_wanted[-0]")] = wanted / 28
    goal = min(max(planned - wanted, -12), 12)
    logits = plan_prior(description)(row)[0]
    best = STEPS[int(logits.argmax())]
    nearest = min(abs(step - goal) for step in STEPS)
    staying = 2.0 * min(abs(goal), 3.0) - keep
    if best == 0:
        assert staying <= 2.0 * nearest
    else:
        assert abs(best - goal) == nearest
        assert 2.0 * nearest <= staying
    assert logits.max() - logits.min() <= 6.0 + keep


def test_without_a_prior_there_is_none():
    assert plan_prior(describe(prior=None)) is None


def test_distant_steps_are_equally_bad():
    description = describe(prior=PriorSpec(strength=2.0), changes={"action": {"quotas": False}})
    row = np.zeros((1, len(description.observation_names)), dtype=np.float32)
    row[0, list(description.observation_names).index("web.plan_replicas")] = 1.0  # 28 more
    logits = plan_prior(description)(row)[0]
    assert logits[STEPS.index(12)] == 0.0
    assert set(logits[: STEPS.index(8) + 1].tolist()) == {-6.0, -5.5}


@pytest.mark.parametrize("quotas", [True, False])
def test_a_policy_of_zeros_does_what_the_plan_says(quotas, monkeypatch, tmp_path):
    """In the environment, against the planner's own plans: nearest steps until the plan is reached."""
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path))
    description = planning(changes={"action": {"quotas": quotas}})
    policy = zero_policy(description)
    config = short_config()
    env = policy_environment(policy, config=config)
    observation, _ = env.reset(seed=3)
    plans = env._core.plans[0]  # (num_plans, 1, 3)
    period = round(300.0 / config.cluster.control_interval_s)
    wanted, moved = config.cluster.services[0].initial_replicas, 0
    levels = config.cluster.services[0].cpu_levels_cores
    level = levels.index(config.cluster.services[0].cpu_request_cores)
    for number in range(env.episode_steps):
        plan = plans[min(number // period, len(plans) - 1)][0]
        action, state = policy.act(observation)
        assert state is None
        goal = round(plan[0]) - wanted
        step = min(STEPS, key=lambda each, goal=goal: (abs(each - goal), each))
        assert STEPS[action[0]] == step
        wanted += step
        moved += step != 0
        if quotas:
            planned = min(range(len(levels)), key=lambda i, p=plan: abs(levels[i] - p[1]))
            level += int(np.sign(planned - level))
        observation, *_, info = env.step(action)
        assert info["replicas_wanted"] == wanted
        assert env.observe().services[0].quota.cpu_request_cores == levels[level]
    assert wanted == round(plans[-1][0, 0])
    assert moved >= 2

"""The arithmetic of the nonlinear rule against the same rule in plain Python."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.observations import QUOTA, forecast, observe, pod, service
from oracles.plain_rule import PlainRule

from podgym.baselines.rule import NUM_WEIGHTS, NonlinearRuleController
from podgym.baselines.rule_arithmetic import MEMORY, SIGNALS, blank_memory
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config

AMOUNTS = st.one_of(st.floats(0.0, 2000.0), st.sampled_from([math.nan, math.inf, -1.0, 0.0]))
PODS = st.lists(st.tuples(st.floats(0.0, 0.5), st.sampled_from([0.5, 1.0]), st.booleans()), max_size=6)


def drawn_weights(seed, size=1.0):
    return size * np.random.default_rng(seed).standard_normal(NUM_WEIGHTS)


def pods_of(rows, now_s):
    return tuple(
        pod(index, cores, now_s=now_s, ready=ready, quota=dataclasses.replace(QUOTA, cpu_limit_cores=limit))
        for index, (cores, limit, ready) in enumerate(rows)
    )


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, PODS, st.integers(0, 30), st.sampled_from([0, 1, 15])),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.2, 1.0, 5.0]),
)
def test_it_decides_as_the_plain_rule(rows, seed, size):
    weights = drawn_weights(seed, size)
    rule, plain = NonlinearRuleController(weights=weights), PlainRule(weights)
    now_s = 0.0
    for rate_rps, response_s, in_flight, ahead_rps, pods, ready, elapsed_s in rows:
        now_s += elapsed_s  # 0: the same sample again
        seen = service(
            8, now_s=now_s, request_rate_rps=rate_rps, response_time_s=response_s, in_flight=in_flight,
            error_ratio=0.1, replicas_ready=ready, pods=pods_of(pods, now_s), max_replicas=28,
            forecast=forecast(ahead_rps, 50.0) if ahead_rps > 10.0 else None,
        )  # fmt: skip
        observation = observe(seen, now_s=now_s)
        assert [each.replicas for each in rule.decide(observation)] == plain.decide(observation)


@pytest.mark.parametrize("scenario", ["family_burst", "trace"])
def test_it_decides_as_the_plain_rule_through_whole_episodes(scenario):
    env = AutoscaleEnv(
        override(scenario_config(scenario), {"cluster.monitoring.sample_loss_probability": 0.2})
    )
    changed = 0
    for seed in range(4):
        weights = drawn_weights(seed, 0.2)
        rule, plain = NonlinearRuleController(weights=weights), PlainRule(weights)
        env.reset(seed=seed)
        for _ in range(env.episode_steps):
            observation = env.observe()
            decisions = rule.decide(observation)
            assert [each.replicas for each in decisions] == plain.decide(observation)
            changed += sum(each.replicas is not None for each in decisions)
            env.step_decisions(decisions)
    assert changed > 100


def test_weights_beyond_all_measure_still_decide():
    huge = np.full(NUM_WEIGHTS, 1e308)
    huge[::2] *= -1.0
    for weights in (huge, -huge):
        (decision,) = NonlinearRuleController(weights=weights).decide(observe(service(5)))
        assert decision.replicas is None or 1 <= decision.replicas <= 50


def test_blank_memory_knows_nothing():
    memory = blank_memory((3, 2))
    assert (memory.shape, memory.dtype) == ((3, 2), MEMORY)
    assert np.isnan(memory["sample_time_s"]).all()
    assert np.isnan(memory["demand_time_s"]).all()
    assert np.isinf(memory["fastest_s"]).all()
    assert not memory["samples"].any()
    assert len(SIGNALS.names) == 16


def test_while_saturated_the_dearest_sample_counts():
    """2 cores for 100 requests/s at first, then for 200: the pods may simply have had no more to give."""
    rule = NonlinearRuleController(target_utilisation=0.5)
    rule.decide(observe(service(4, 0.5, request_rate_rps=100.0)))
    later = observe(service(4, 0.5, now_s=15.0, request_rate_rps=200.0), now_s=15.0)
    assert rule.decide(later)[0].replicas == 16

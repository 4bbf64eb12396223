"""A controller's decision as an action: no other action of the environment comes closer."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.policies import short_config

from podgym.agents.nearest_action import nearest_action, nearest_action_with_quotas
from podgym.envs import AutoscaleEnv
from podgym.envs.actions import ActionDecoder
from podgym.envs.cluster import Quota, ServiceDecision
from podgym.errors import InputError

GIB = 2.0**30


def decoder_of(**action):
    config = short_config(action=action)
    return ActionDecoder(config.action, config.cluster), config.cluster.services[0]


@pytest.fixture(scope="module")
def seen():
    """What a controller sees of the only service of the burst."""
    env = AutoscaleEnv(short_config())
    env.reset(seed=1)
    return env.observe().services[0]


def applied(decoder, action, wanted, cores, memory_bytes):
    """Return replicas, cores and bytes after an action."""
    replicas = np.array([[wanted]])
    quotas = np.array([[[cores, cores, memory_bytes, memory_bytes]]])
    decoder.decode(action, replicas, quotas, np.ones((1, 1, 3)))
    return int(replicas[0, 0]), float(quotas[0, 0, 0]), float(quotas[0, 0, 2])


def at(seen, wanted, cores, memory_bytes):
    """Return the view of a service that wants this now."""
    return replace(seen, replicas_wanted=wanted, quota=Quota(cores, cores, memory_bytes, 1.5 * memory_bytes))


counts = st.integers(1, 28)
cores = st.floats(0.2, 2.5)
memory = st.floats(0.2, 2.5).map(lambda gib: gib * GIB)


@pytest.mark.parametrize("mode", ["delta", "absolute"])
@given(now=counts, target=counts, cores=cores, wanted_cores=cores, memory=memory, wanted_memory=memory)
def test_no_action_comes_closer(seen, mode, now, target, cores, wanted_cores, memory, wanted_memory):
    decoder, _ = decoder_of(mode=mode)
    decision = ServiceDecision(target, wanted_cores, 4.0 * wanted_cores, wanted_memory, 4.0 * wanted_memory)
    action = nearest_action_with_quotas(decoder, [decision], [at(seen, now, cores, memory)])
    assert decoder.space.contains(action)
    replicas, _, _ = applied(decoder, action, now, cores, memory)
    all_replicas = [
        applied(decoder, [choice, *action[1:]], now, cores, memory)[0] for choice in range(decoder.nvec[0])
    ]
    assert abs(replicas - target) == min(abs(each - target) for each in all_replicas)
    for kind, levels, wish, present in ((0, decoder.levels[0, 0], wanted_cores, cores),
                                        (1, decoder.levels[0, 1], wanted_memory, memory)):  # fmt: skip
        goal = int(np.abs(levels - wish).argmin())
        reached = []
        for choice in range(decoder.nvec[1 + kind]):
            other = action.copy()
            other[1 + kind] = choice
            value = applied(decoder, other, now, cores, memory)[1 + kind]
            reached.append(abs(int(np.abs(levels - value).argmin()) - goal))
        assert reached[action[1 + kind]] == min(reached), (kind, wish, present)


@given(now=counts, target=counts, wanted_cores=st.floats(0.25, 2.0))
def test_continuous_actions_hit_it(seen, now, target, wanted_cores):
    decoder, _ = decoder_of(mode="continuous")
    decision = ServiceDecision(target, wanted_cores, wanted_cores)
    action = nearest_action_with_quotas(decoder, [decision], [at(seen, now, 0.5, GIB)])
    assert decoder.space.contains(action)
    replicas, cores, memory_bytes = applied(decoder, action, now, 0.5, GIB)
    assert replicas == target
    assert cores == pytest.approx(wanted_cores, rel=1e-6)
    assert memory_bytes == pytest.approx(GIB, rel=1e-6)


@pytest.mark.parametrize("mode", ["delta", "absolute", "continuous"])
def test_a_decision_for_nothing_changes_nothing(seen, mode):
    decoder, _ = decoder_of(mode=mode)
    action = nearest_action_with_quotas(decoder, [ServiceDecision()], [at(seen, 9, 0.75, GIB)])
    assert applied(decoder, action, 9, 0.75, GIB) == pytest.approx((9, 0.75, GIB), rel=1e-6)


def test_a_request_between_levels_stays_in_steps(seen):
    """A step of nothing keeps 0.6 cores, which is no level; a decision for them is one for nothing."""
    decoder, _ = decoder_of()
    for decision in (ServiceDecision(), ServiceDecision(cpu_request_cores=0.6)):
        action = nearest_action_with_quotas(decoder, [decision], [at(seen, 9, 0.6, GIB)])
        assert action.tolist() == decoder.null_action.tolist()


def test_beyond_the_bounds_is_the_bound(seen):
    for mode, expected in (("absolute", 27), ("delta", 8), ("continuous", 1.0)):
        decoder, _ = decoder_of(mode=mode, quotas=False)
        action = nearest_action_with_quotas(decoder, [ServiceDecision(99)], [at(seen, 27, 0.5, GIB)])
        assert action.tolist() == [expected]


@given(now=counts, target=counts)
def test_replicas_as_in_cloning(seen, now, target):
    decoder, _ = decoder_of()
    decisions = [ServiceDecision(target)]
    both = nearest_action_with_quotas(decoder, decisions, [at(seen, now, 0.5, GIB)])
    assert both.tolist() == nearest_action(decoder, decisions, [now]).tolist()


@pytest.mark.parametrize(
    ("action", "decision", "words"),
    [
        ({"mode": "residual"}, ServiceDecision(3), "action.mode is 'residual'"),
        ({}, ServiceDecision(evict=("web-1",)), "service 'web' admits, evicts or resizes single pods"),
        ({}, ServiceDecision(resize=("web-1",)), "single pods"),
        ({}, ServiceDecision(admission=Quota(1.0, 1.0, GIB, GIB)), "single pods"),
    ],
)
def test_what_no_action_can_say_is_refused(seen, action, decision, words):
    decoder, _ = decoder_of(**action)
    with pytest.raises(InputError, match=words):
        nearest_action_with_quotas(decoder, [decision], [seen])

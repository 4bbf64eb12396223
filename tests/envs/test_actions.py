"""Actions do what they say, never more than they may, and masks hide what has no effect of its own."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from podgym.envs import ServiceDecision
from podgym.envs.actions import ActionDecoder
from podgym.envs.config import ActionConfig
from podgym.envs.simulator.parameters import ClusterConfig, ServiceConfig

MODES = ("delta", "absolute", "residual", "continuous")
MIB = 1024.0**2
STEP = {step: choice for choice, step in enumerate(ActionConfig().replica_steps)}
KEEP = [STEP[0], 1, 1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", range(6))
def test_every_number_of_an_action_steers_its_own_service(make_env, two_services, mode, number):
    def after(action):
        env = make_env(cluster=two_services, action={"mode": mode})
        env.reset(seed=0)
        env.step(action)
        services = env.observe().services
        wanted = [
            (s.replicas_wanted, s.quota.cpu_request_cores, s.quota.memory_request_bytes) for s in services
        ]
        played = [env.step(neutral)[0] for _ in range(10)]
        return np.array(wanted), np.concatenate(played)

    env = make_env(cluster=two_services, action={"mode": mode})
    neutral = env.action_space.sample() * 0
    if mode in ("delta", "residual"):
        neutral = np.array(KEEP * 2)
    elif mode == "absolute":
        neutral = np.array([2, 1, 2, 4, 1, 2])
    changed = neutral.copy()
    changed[number] += 1 if mode != "continuous" else 0.5
    (wanted, shown), (wanted_then, shown_then) = after(neutral), after(changed)
    differs = wanted != wanted_then
    assert np.argwhere(differs).tolist() == [[number // 3, number % 3]]  # this and nothing else
    assert wanted_then[number // 3, number % 3] > wanted[number // 3, number % 3]
    assert not np.array_equal(shown, shown_then)


@pytest.mark.parametrize("mode", ["delta", "absolute", "residual"])
def test_every_choice_does_what_it_says(make_env, mode):
    steps = ActionConfig().replica_steps
    levels = ServiceConfig().cpu_levels_cores
    for choice in range(len(steps) if mode != "absolute" else 28):
        env = make_env(action={"mode": mode}, planned=True)
        env.reset(seed=0)
        env.step([choice, 2, 0])
        service = env.observe().services[0]
        start = 3 if mode == "delta" else 6  # residual: from the plan
        wanted = choice + 1 if mode == "absolute" else min(max(start + steps[choice], 1), 28)
        assert service.replicas_wanted == wanted
        cpu = {"delta": levels[levels.index(0.5) + 1], "absolute": levels[2], "residual": 1.5}[mode]
        assert service.quota.cpu_request_cores == service.quota.cpu_limit_cores == cpu
        memory = {"delta": 384, "absolute": 256, "residual": 512}[mode] * MIB
        assert service.quota.memory_request_bytes == memory
        assert service.quota.memory_limit_bytes == memory * 1.5


@pytest.mark.parametrize(
    ("part", "replicas", "cores"), [(-1.0, 1, 0.25), (1.0, 28, 2.0), (0.0, 15, 0.25 * 8**0.5)]
)
def test_continuous_actions_span_the_allowed_range(make_env, part, replicas, cores):
    env = make_env(action={"mode": "continuous"})
    env.reset(seed=0)
    env.step(np.full(3, part, dtype=np.float32))
    service = env.observe().services[0]
    assert service.replicas_wanted == replicas
    assert service.quota.cpu_request_cores == pytest.approx(cores)
    assert service.quota.memory_request_bytes == pytest.approx(256 * MIB * 8 ** (0.5 * (part + 1)))


def test_what_is_wanted_stays_wanted_and_a_residual_does_not(make_env):
    env = make_env(action={"mode": "delta"})
    env.reset(seed=0)
    wanted = []
    for step in (4, 0, 0, -2, 0):
        env.step([STEP[step], 1, 1])
        wanted.append(env.observe().services[0].replicas_wanted)
    assert wanted == [7, 7, 7, 5, 5]
    env = make_env(action={"mode": "residual"}, planned=True)
    env.reset(seed=0)
    wanted = []
    for step in (4, 0, -2):
        env.step([STEP[step], 1, 1])
        wanted.append(env.observe().services[0].replicas_wanted)
    assert wanted == [10, 6, 4]  # from the plan of 6


def test_the_null_action_keeps_things_as_they_are(make_env):
    env = make_env()
    idle = make_env()
    env.reset(seed=0)
    idle.reset(seed=0)
    null = ActionDecoder(ActionConfig(), ClusterConfig()).null_action
    for _ in range(10):
        assert env.step(null)[0].tobytes() == idle.step_decisions([ServiceDecision()])[0].tobytes()


def test_without_quotas_an_action_is_replicas_only(make_env):
    env = make_env(action={"quotas": False})
    assert env.action_space.nvec.tolist() == [17]
    env.reset(seed=0)
    env.step([16])
    assert env.observe().services[0].replicas_wanted == 15
    assert env.observe().services[0].quota.cpu_request_cores == 0.5


CLUSTERS = (
    ClusterConfig(),
    ClusterConfig(
        services=(ServiceConfig(min_replicas=3, initial_replicas=4, max_replicas=9, cpu_limit_ratio=2.0),)
    ),
)
random_numbers = st.integers(0, 2**32 - 1)


@settings(max_examples=120)
@given(
    mode=st.sampled_from(MODES),
    cluster=st.sampled_from(CLUSTERS),
    rates=st.tuples(st.none() | st.integers(1, 5), st.none() | st.integers(1, 5)),
    seed=random_numbers,
    extreme=st.booleans(),
)
def test_no_action_passes_the_safety_layer(mode, cluster, rates, seed, extreme):
    rng = np.random.default_rng(seed)
    decoder = ActionDecoder(ActionConfig(mode=mode, max_increase=rates[0], max_decrease=rates[1]), cluster)
    (service,) = cluster.services
    num_envs = 40
    wanted = rng.integers(service.min_replicas, service.max_replicas + 1, (num_envs, 1))
    plan = np.stack([
        rng.uniform(-1e6, 1e6, (num_envs, 1)) if extreme else rng.uniform(0, 40, (num_envs, 1)),
        rng.uniform(-1, 1e3, (num_envs, 1)),
        rng.uniform(-1, 1e13, (num_envs, 1)),
    ], axis=-1)  # fmt: skip
    quotas = np.empty((num_envs, 1, 4))
    quotas[..., :2] = service.quota.cpu_request_cores
    quotas[..., 2:] = service.quota.memory_request_bytes
    for _ in range(4):
        decoder.space.seed(int(rng.integers(2**31)))
        actions = np.array([decoder.space.sample() for _ in range(num_envs)])
        before = wanted.copy()
        decoder.decode(actions, wanted, quotas, plan)
        change = wanted - before
        assert (wanted >= service.min_replicas).all()
        assert (wanted <= service.max_replicas).all()
        assert (change <= (rates[0] or 10**9)).all()
        assert (-change <= (rates[1] or 10**9)).all()
        assert (quotas[..., 0] >= service.cpu_levels_cores[0] * (1 - 1e-9)).all()
        assert (quotas[..., 0] <= service.cpu_levels_cores[-1] * (1 + 1e-9)).all()
        assert (quotas[..., 2] >= service.memory_levels_bytes[0] * (1 - 1e-9)).all()
        assert (quotas[..., 2] <= service.memory_levels_bytes[-1] * (1 + 1e-9)).all()
        assert (quotas[..., 1] >= quotas[..., 0]).all()
        assert (quotas[..., 3] >= quotas[..., 2]).all()


def choices_and_masks(mode, cluster, rates, seed):
    """Yield the results of all choices of each number, which are shown, and which always is."""
    rng = np.random.default_rng(seed)
    decoder = ActionDecoder(ActionConfig(mode=mode, max_increase=rates[0], max_decrease=rates[1]), cluster)
    (service,) = cluster.services
    wanted = np.array([[rng.integers(service.min_replicas, service.max_replicas + 1)]])
    cpu, memory = rng.choice(service.cpu_levels_cores), rng.choice(service.memory_levels_bytes)
    quotas = np.array([[[cpu, cpu * service.cpu_limit_ratio, memory, memory * service.memory_limit_ratio]]])
    plan = np.array([[[float(rng.integers(1, 29)), rng.choice(service.cpu_levels_cores), memory]]])
    masks = np.split(decoder.masks(wanted, quotas, plan)[0], np.cumsum(decoder.nvec)[:-1])
    for number, (mask, count) in enumerate(zip(masks, decoder.nvec, strict=True)):
        results = []
        for choice in range(count):
            action = np.array([KEEP]) if mode != "absolute" else np.zeros((1, 3), dtype=np.int64)
            action[0, number] = choice
            then, quotas_then = wanted.copy(), quotas.copy()
            decoder.decode(action, then, quotas_then, plan)
            results.append((int(then[0, 0]), quotas_then[0, 0, 0], quotas_then[0, 0, 2])[number])
        yield results, mask, KEEP[number] if mode != "absolute" else None


masked = given(
    mode=st.sampled_from(MODES[:3]),
    cluster=st.sampled_from(CLUSTERS),
    rates=st.tuples(st.none() | st.integers(1, 5), st.none() | st.integers(1, 5)),
    seed=random_numbers,
)


@settings(max_examples=80)
@masked
def test_every_choice_that_is_shown_has_an_effect_of_its_own(mode, cluster, rates, seed):
    for results, mask, always in choices_and_masks(mode, cluster, rates, seed):
        # Keeping (or following the plan) is always shown.
        own = [result for choice, result in enumerate(results) if mask[choice] and choice != always]
        assert len(own) == len(set(own))
        if mode == "delta":
            assert results[always] not in own
        assert mask.any()
        if always is not None:
            assert mask[always]


@settings(max_examples=80, phases=(Phase.generate,))
@masked
def test_a_hidden_choice_does_what_another_one_does(mode, cluster, rates, seed):
    for results, mask, _ in choices_and_masks(mode, cluster, rates, seed):
        assert set(results) == {result for result, allowed in zip(results, mask, strict=True) if allowed}


def test_masks_of_an_environment_are_those_of_its_next_action(make_env):
    env = make_env(planned=True)
    env.reset(seed=0)
    assert env.action_masks().dtype == np.bool_
    assert env.action_masks().shape == (17 + 3 + 3,)
    steps = np.array(ActionConfig().replica_steps)
    assert env.action_masks()[:17].tolist() == (3 + steps >= 1).tolist()  # 3 wanted, 1 to 28 allowed
    for _ in range(4):
        env.step([16, 2, 0])
    masks = env.action_masks()
    assert masks[:17].tolist() == (steps <= 0).tolist()
    assert masks[17:].tolist() == [True, True, False, False, True, True]
    batch = gym.make_vec("podgym/Burst-v0", num_envs=2)
    batch.reset(seed=0)
    assert batch.unwrapped.action_masks().shape == (2, 23)

"""One engine, two faces: what must be equal is equal bit by bit, and what must differ does."""

import hashlib
import subprocess
import sys
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

import podgym
from podgym.envs.make import scenario_config
from podgym.envs.totals import INFO_KEYS

IDS = tuple(podgym.ENVIRONMENT_IDS)
STEPS = 8  # per episode: long enough for pods to start, short enough to see several episodes
WILD = {
    "cluster": {
        "faults": {"node_failures_per_hour": 30.0, "node_failure_duration_s": 60.0},
        "monitoring": {"sample_loss_probability": 0.2},
        "nodes": {"detection_s": 10.0, "eviction_s": 20.0, "images_cached": False},
    },
    "observation": {"forecast": "noisy_oracle"},
    "reward": {"relative_to_plan": True},
}
"""Everything random at once, and the shadow cluster."""


def scalar(id_, steps=STEPS, **changes):
    scenario = podgym.ENVIRONMENT_IDS[id_]
    interval_s = scenario_config(scenario).cluster.control_interval_s
    return gym.make(id_, episode_s=steps * interval_s, **changes).unwrapped


def vector(id_, num_envs, mode="NextStep", steps=STEPS, **changes):
    interval_s = scenario_config(podgym.ENVIRONMENT_IDS[id_]).cluster.control_interval_s
    return gym.make_vec(id_, num_envs=num_envs, episode_s=steps * interval_s, autoreset_mode=mode, **changes)


def as_bytes(observation, reward, truncated, info):
    numbers = [reward, float(truncated), *info.values()]
    return np.asarray(observation).tobytes() + np.array(numbers, dtype=np.float64).tobytes()


def trajectory(env, actions, seed=None):
    """Reset and play; one entry of bytes per step."""
    observation, info = env.reset(seed=seed)
    played = [as_bytes(observation, 0.0, False, info)]
    for action in actions:
        observation, reward, _, truncated, info = env.step(action)
        played.append(as_bytes(observation, reward, truncated, info))
    return played


def row(infos, index):
    return {key: infos[key][index] for key in INFO_KEYS}


def random_actions(env, count, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("changes", [{}, WILD], ids=["as registered", "wild"])
@pytest.mark.parametrize("id_", IDS)
def test_scalar_and_vector_env_are_equal_step_by_step(id_, changes, mode):
    num_envs, seed = 3, 11
    batch = vector(id_, num_envs, mode, **changes)
    singles = [scalar(id_, **changes) for _ in range(num_envs)]
    observations, infos = batch.reset(seed=seed)
    for index, single in enumerate(singles):
        observation, info = single.reset(seed=seed + index)
        assert as_bytes(observations[index], 0, False, row(infos, index)) == as_bytes(
            observation, 0, False, info
        )
    ended = np.zeros(num_envs, dtype=bool)
    for action in random_actions(batch, 3 * STEPS):
        if mode == "Disabled" and ended.any():
            observations, infos = batch.reset(options={"reset_mask": ended})
            for index in np.flatnonzero(ended):
                observation, info = singles[index].reset()
                assert as_bytes(observations[index], 0, False, row(infos, index)) == as_bytes(
                    observation, 0, False, info
                )
            ended[:] = False
        observations, rewards, terminated, truncated, infos = batch.step(action)
        assert not terminated.any()
        for index, single in enumerate(singles):
            if mode == "NextStep" and ended[index]:  # this step only restarts
                observation, info = single.reset()
                reward, over = 0.0, False
            else:
                observation, reward, _, over, info = single.step(action[index])
            if mode == "SameStep" and over:
                assert infos["_final_obs"][index]
                assert infos["final_obs"][index].tobytes() == observation.tobytes()
                final = {key: infos["final_info"][key][index] for key in INFO_KEYS}
                assert final == info
                observation, info = single.reset()
            assert as_bytes(
                observations[index], rewards[index], truncated[index], row(infos, index)
            ) == as_bytes(observation, reward, over, info)
        ended = truncated
    batch.close()


@pytest.mark.parametrize("id_", IDS)
def test_a_cluster_in_a_batch_equals_the_same_cluster_alone(id_):
    batch, alone = vector(id_, 4, **WILD), vector(id_, 1, **WILD)
    actions = random_actions(batch, 2 * STEPS)
    for index in (0, 3):
        observations, infos = batch.reset(seed=[100, 7, 7, 200])
        ones, one_infos = alone.reset(seed=[[100, 7, 7, 200][index]])
        for action in actions:
            assert observations[index].tobytes() == ones[0].tobytes()
            assert row(infos, index) == row(one_infos, 0)
            observations, rewards, _, _, infos = batch.step(action)
            ones, one_rewards, _, _, one_infos = alone.step(action[index : index + 1])
            assert rewards[index] == one_rewards[0]


def test_equal_neighbours_are_equal_and_others_differ():
    batch = vector("podgym/Burst-v0", 3)
    observations, _ = batch.reset(seed=[5, 5, 6])
    for action in random_actions(batch, STEPS):
        action[1] = action[2] = action[0]
        observations, rewards, _, _, _ = batch.step(action)
        assert observations[0].tobytes() == observations[1].tobytes()
        assert rewards[0] == rewards[1] != rewards[2]


def test_a_neighbour_s_actions_change_nothing():
    def first_of_two(seed):
        batch = vector("podgym/Boutique-v0", 2, **WILD)
        batch.reset(seed=3)
        mine = random_actions(batch, STEPS, seed=0)
        theirs = random_actions(batch, STEPS, seed=seed)
        return [batch.step(np.stack([a[0], b[1]]))[0][0].tobytes() for a, b in zip(mine, theirs, strict=True)]

    assert first_of_two(1) == first_of_two(2)


@pytest.mark.parametrize("id_", IDS)
def test_equal_seeds_give_equal_episodes_and_others_do_not(id_):
    env = scalar(id_, **WILD)
    actions = random_actions(env, STEPS)
    first = trajectory(env, actions, seed=42)
    assert trajectory(scalar(id_, **WILD), actions, seed=42) == first
    other = trajectory(scalar(id_, **WILD), actions, seed=43)
    assert all(a != b for a, b in list(zip(first, other, strict=True))[2:])


@pytest.mark.parametrize("id_", IDS)
def test_a_reset_leaves_nothing_of_the_episode_before(id_):
    used = scalar(id_, steps=60, **WILD)
    used.reset(seed=1)
    for action in random_actions(used, 60, seed=9):
        used.step(action)
    actions = random_actions(used, 60, seed=2)
    fresh = scalar(id_, steps=60, **WILD)
    assert trajectory(used, actions, seed=77) == trajectory(fresh, actions, seed=77)


def test_the_order_of_resets_in_a_batch_does_not_matter():
    once, twice = (vector("podgym/Trace-v0", 3, "Disabled") for _ in range(2))
    once.reset(seed=[1, 2, 3])
    twice.reset(seed=[9, 2, 8])
    for action in random_actions(once, 3):
        twice.step(action)
    twice.reset(seed=[1, 2, 3])
    for action in random_actions(once, STEPS):
        assert once.step(action)[0].tobytes() == twice.step(action)[0].tobytes()


def test_a_masked_reset_leaves_the_others_alone():
    masked, plain = (vector("podgym/Burst-v0", 3, "Disabled") for _ in range(2))
    masked.reset(seed=0)
    plain.reset(seed=0)
    actions = random_actions(plain, 6)
    for action in actions[:3]:
        masked.step(action)
        plain.step(action)
    observations, infos = masked.reset(seed=50, options={"reset_mask": np.array([False, True, False])})
    fresh = scalar("podgym/Burst-v0")
    assert observations[1].tobytes() == fresh.reset(seed=51)[0].tobytes()
    assert infos["time_s"].tolist() == [45.0, 0.0, 45.0]
    for action in actions[3:]:
        ours, theirs = masked.step(action)[0], plain.step(action)[0]
        assert ours[[0, 2]].tobytes() == theirs[[0, 2]].tobytes()
        assert ours[1].tobytes() == fresh.step(action[1])[0].tobytes()


@pytest.mark.parametrize("id_", IDS)
def test_episodes_without_a_seed_go_on_differently_and_reproducibly(id_):
    def three_episodes():
        env = scalar(id_)
        actions = random_actions(env, STEPS)
        return [trajectory(env, actions, seed=seed) for seed in (8, None, None)]

    episodes = three_episodes()
    assert all(first != second for first, second in pairwise(episodes))
    assert three_episodes() == episodes


def digest_of_everything():
    """Hash of an episode of every id, scalar and vector."""
    digest = hashlib.sha256()
    for id_ in IDS:
        env = scalar(id_, **WILD)
        for entry in trajectory(env, random_actions(env, STEPS), seed=5):
            digest.update(entry)
        batch = vector(id_, 2, **WILD)
        observations, _ = batch.reset(seed=5)
        for action in random_actions(batch, STEPS):
            observations, rewards, *_ = batch.step(action)
            digest.update(observations.tobytes() + rewards.tobytes())
    return digest.hexdigest()


def test_equal_seeds_are_equal_across_processes():
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('equality', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.digest_of_everything())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert result.stderr == ""
    assert result.stdout.strip() == digest_of_everything()


def test_environments_do_not_share_state():
    one, two, three = (scalar("podgym/Burst-v0") for _ in range(3))
    one.reset(seed=1)
    two.reset(seed=1)
    actions = random_actions(one, STEPS)
    apart = [one.step(action)[0].tobytes() for action in actions]
    three.reset(seed=1)
    together = []
    for action in actions:
        three.step(one.action_space.sample())
        together.append(two.step(action)[0].tobytes())
    assert apart == together


def test_what_was_handed_out_does_not_change_later():
    env = vector("podgym/Burst-v0", 2)
    observations, infos = env.reset(seed=0)
    kept = [(observations, observations.copy())] + [(values, values.copy()) for values in infos.values()]
    for action in random_actions(env, 4):
        observations, rewards, terminated, truncated, infos = env.step(action)
        for array in (observations, rewards, terminated, truncated, *infos.values()):
            kept.append((array, array.copy()))
    assert all(np.array_equal(array, copy) for array, copy in kept)
    single = scalar("podgym/Burst-v0")
    first, _ = single.reset(seed=0)
    copy = first.copy()
    single.step(single.action_space.sample())
    assert np.array_equal(first, copy)


def test_time_goes_on_in_equal_steps_whatever_the_batch_does():
    env = vector("podgym/Burst-v0", 3)
    env.reset(seed=0)
    times = [env.step(action)[-1]["time_s"].tolist() for action in random_actions(env, STEPS + 2)]
    assert times == [[15.0 * step] * 3 for step in range(1, STEPS + 1)] + [[0.0] * 3, [15.0] * 3]

"""What training needs of the vector environment: plain arrays, and environments out of phase."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from podgym.envs import AutoscaleVectorEnv
from podgym.envs.make import scenario_config
from podgym.envs.totals import INFO_KEYS
from podgym.errors import InputError

STEPS = 8


def make(num_envs, mode="SameStep", scenario="burst", steps=STEPS, **changes):
    config = scenario_config(scenario)
    length_s = steps * config.cluster.control_interval_s
    return AutoscaleVectorEnv(num_envs, config, autoreset_mode=mode, episode_s=length_s, **changes)


def sampled(env, count, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


@pytest.mark.parametrize("changes", [{}, {"reward": {"relative_to_plan": True}}])
@pytest.mark.parametrize("scenario", ["burst", "boutique"])
def test_the_arrays_tell_what_the_step_tells(scenario, changes):
    one, other = (make(5, scenario=scenario, **changes) for _ in range(2))
    for env in (one, other):
        env.reset(seed=1)
        env.stagger(np.random.default_rng(2))
    ends = []
    for actions in sampled(one, 3 * STEPS):
        arrays = one.step_arrays(actions)
        observations, rewards, terminated, truncated, infos = other.step(actions)
        assert arrays.observations.tobytes() == observations.tobytes()
        assert arrays.rewards.tobytes() == rewards.tobytes()
        assert np.array_equal(arrays.truncated, truncated)
        assert not terminated.any()
        assert arrays.totals.shape == (5, len(INFO_KEYS))
        for column, key in enumerate(INFO_KEYS):
            assert arrays.totals[:, column].tobytes() == infos[key].tobytes(), key
        assert arrays.ended.tolist() == np.flatnonzero(truncated).tolist()
        assert arrays.final_observations.shape == (len(arrays.ended), observations.shape[1])
        assert arrays.final_totals.shape == (len(arrays.ended), len(INFO_KEYS))
        assert ("final_obs" in infos) == (len(arrays.ended) > 0)
        for place, index in enumerate(arrays.ended.tolist()):
            ends.append(index)
            assert arrays.final_observations[place].tobytes() == infos["final_obs"][index].tobytes()
            final = [infos["final_info"][key][index] for key in INFO_KEYS]
            assert arrays.final_totals[place].tolist() == final
            assert arrays.final_totals[place][-1] != arrays.totals[index][-1]
    assert min(ends.count(index) for index in range(5)) >= 2
    assert len(ends) > 10


def test_arrays_that_were_handed_out_do_not_change():
    env = make(3)
    env.reset(seed=0)
    kept = []
    for actions in sampled(env, 2 * STEPS + 1):
        arrays = env.step_arrays(actions)
        kept += [(array, array.copy()) for array in arrays]
    assert all(np.array_equal(array, copy) for array, copy in kept)


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_arrays_are_for_one_mode(mode):
    env = make(2, mode)
    env.reset(seed=0)
    with pytest.raises(InputError, match="needs autoreset_mode SameStep"):
        env.step_arrays(np.tile([7, 1, 1], (2, 1)))


def episode_lengths(env, steps):
    """Lengths of the episodes of each environment, in order; a step that only restarts does not count."""
    lengths, done = [[] for _ in range(env.num_envs)], np.zeros(env.num_envs, dtype=int)
    ended = np.zeros(env.num_envs, dtype=bool)
    for actions in sampled(env, steps):
        truncated = env.step(actions)[3]
        done += ~(ended & (env.autoreset_mode == AutoresetMode.NEXT_STEP))
        for index in np.flatnonzero(truncated):
            lengths[index].append(int(done[index]))
            done[index] = 0
        ended = truncated
    return lengths


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_only_the_first_episodes_are_cut(mode, limit):
    env = make(64, mode, max_episode_steps=limit)
    whole = limit or STEPS
    env.reset(seed=0)
    env.stagger(np.random.default_rng(3))
    lengths = episode_lengths(env, 4 * whole)
    assert {each[0] for each in lengths} == set(range(1, whole + 1))
    assert all(later == whole for each in lengths for later in each[1:])
    counts = [sum(each[0] == length for each in lengths) for length in range(1, whole + 1)]
    assert max(counts) < 3 * 64 / whole  # no length is favoured
    env.reset(seed=0)
    assert all(each == [whole] for each in episode_lengths(env, whole))  # in phase again


def test_equal_generators_stagger_equally():
    def lengths(seed):
        env = make(16)
        env.reset(seed=0)
        env.stagger(np.random.default_rng(seed))
        return episode_lengths(env, STEPS)

    assert lengths(1) == lengths(1) != lengths(2)


def test_episodes_are_the_same_but_for_their_ends():
    staggered, plain = make(8), make(8)
    for env in (staggered, plain):
        env.reset(seed=0)
    staggered.stagger(np.random.default_rng(0))
    going = np.ones(8, dtype=bool)
    for actions in sampled(plain, STEPS - 1):
        ours, theirs = staggered.step(actions), plain.step(actions)
        going &= ~ours[3]
        assert ours[0][going].tobytes() == theirs[0][going].tobytes()
        assert ours[1][going].tobytes() == theirs[1][going].tobytes()
    assert not going.all()


def test_a_reset_of_some_gives_them_the_full_length():
    env = make(4, "Disabled")
    env.reset(seed=0)
    env.stagger(np.random.default_rng(0))
    mask = np.array([True, False, True, False])
    env.reset(options={"reset_mask": mask})
    assert (env._limit_steps[mask] == STEPS).all()
    assert (env._limit_steps[~mask] < STEPS).any()


def test_episodes_under_way_are_not_staggered():
    env = make(2)
    with pytest.raises(InputError, match="no episode was started"):
        env.stagger(np.random.default_rng(0))
    env.reset(seed=0)
    env.step(np.tile([7, 1, 1], (2, 1)))
    with pytest.raises(InputError, match="environment 0 is in the middle of an episode"):
        env.stagger(np.random.default_rng(0))

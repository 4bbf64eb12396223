"""The contract of Gymnasium and of those who build on it, for every id."""

import json
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import podgym
from podgym.envs import AutoscaleEnv, AutoscaleVectorEnv
from podgym.envs.totals import INFO_KEYS

IDS = tuple(podgym.ENVIRONMENT_IDS)
GAMMA = 0.9


@pytest.fixture
def make():
    """Return ``gym.make`` for environments that are closed at the end."""
    made = []

    def make_one(*args, **kwargs):
        made.append(gym.make(*args, **kwargs))
        return made[-1]

    yield make_one
    for env in made:
        env.close()


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("mode", ["delta", "absolute", "residual", "continuous"])
def test_gymnasium_s_checker_finds_nothing(make, id_, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(id_, action={"mode": mode}).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("id_", IDS)
def test_gymnasium_s_checker_finds_nothing_in_the_pictures(make, id_):
    pytest.importorskip("podgym.envs.render")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(id_, render_mode="ansi").unwrapped)


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("mode", ["delta", "continuous"])
def test_stable_baselines_checker_finds_nothing(make, id_, mode):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(make(id_, action={"mode": mode}), warn=True)


@pytest.mark.parametrize("id_", IDS)
def test_a_fresh_interpreter_needs_no_import(id_):
    program = (
        "import gymnasium as gym\n"
        f"env = gym.make('podgym:{id_}')\n"
        "observation, info = env.reset(seed=3)\n"
        "print(env.spec.id, observation.shape[0], len(info))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.stderr == ""
    name, size, keys = result.stdout.split()
    assert name == id_
    assert int(size) > 50
    assert int(keys) == len(INFO_KEYS)


@pytest.mark.parametrize("id_", IDS)
def test_a_spec_survives_json(make, id_):
    env = make(id_, action={"mode": "absolute"}, reward={"preset": "paper"}, max_episode_steps=3)
    text = env.spec.to_json()
    assert json.loads(text)["id"] == id_
    again = make(gym.envs.registration.EnvSpec.from_json(text))
    assert again.unwrapped.config == env.unwrapped.config
    assert again.action_space == env.action_space
    first, _ = env.reset(seed=1)
    second, _ = again.reset(seed=1)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("id_", IDS)
def test_make_vec_is_native(id_):
    env = gym.make_vec(id_, num_envs=3)
    assert isinstance(env, AutoscaleVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.spec.id == id_
    assert env.observation_space.shape == (3, *env.single_observation_space.shape)
    assert env.action_space.shape == (3, *env.single_action_space.shape)
    observations, infos = env.reset(seed=5)
    assert observations in env.observation_space
    assert set(infos) == set(INFO_KEYS)
    env.action_space.seed(0)
    observations, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
    assert observations in env.observation_space
    assert (rewards.shape, terminated.shape, truncated.shape) == ((3,), (3,), (3,))
    assert (terminated.dtype, truncated.dtype) == (np.bool_, np.bool_)
    assert {values.shape for values in infos.values()} == {(3,)}
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_declared_autoreset_mode_is_the_one_that_was_asked_for(mode):
    for asked in (mode, mode.value):
        env = gym.make_vec("podgym/Burst-v0", num_envs=2, vector_kwargs=None, autoreset_mode=asked)
        assert env.metadata["autoreset_mode"] is mode
        env.close()


@pytest.mark.parametrize("id_", IDS)
def test_gymnasium_s_own_vector_env_accepts_the_scalar_one(id_):
    env = gym.make_vec(id_, num_envs=2, vectorization_mode="sync")
    env.action_space.seed(1)
    env.reset(seed=1)
    infos = env.step(env.action_space.sample())[-1]
    assert set(INFO_KEYS) <= set(infos)
    env.close()


@pytest.mark.parametrize("id_", IDS)
def test_info_has_the_same_flat_keys_on_every_step(make, id_):
    env = make(id_)
    env.action_space.seed(2)
    _, info = env.reset(seed=2)
    infos = [info]
    while True:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        infos.append(info)
        assert not terminated
        assert type(reward) is float
        assert info["reward"] == reward
        if truncated:
            break
    for info in infos:
        assert list(info) == list(INFO_KEYS)
        assert all(type(value) is float and np.isfinite(value) for value in info.values())
    assert "episode" not in info
    assert len(infos) == env.unwrapped.episode_steps + 1
    assert info["time_s"] == env.unwrapped.episode_steps * 15.0


@pytest.mark.parametrize("id_", IDS)
def test_observations_are_named_and_within_their_bounds(make, id_):
    env = make(id_)
    names = env.unwrapped.observation_names
    assert len(names) == len(set(names)) == env.observation_space.shape[0]
    env.action_space.seed(4)
    observation, _ = env.reset(seed=4)
    for _ in range(env.unwrapped.episode_steps):
        assert observation in env.observation_space
        observation = env.step(env.action_space.sample())[0]
    assert observation in env.observation_space


def steps_until_the_end(env, limit=10_000):
    env.reset(seed=0)
    action = env.unwrapped.action_space.sample() * 0
    for step in range(1, limit):
        _, _, terminated, truncated, _ = env.step(action)
        assert terminated is False
        assert isinstance(truncated, bool)
        if truncated:
            return step
    return limit


@pytest.mark.parametrize("id_", IDS)
def test_episodes_end_by_truncation_exactly_at_their_time_limit(make, id_):
    env = make(id_)
    assert steps_until_the_end(env) == env.unwrapped.episode_steps
    assert steps_until_the_end(env) == env.unwrapped.episode_steps  # and again


@pytest.mark.parametrize("steps", [1, 7])
def test_a_shorter_time_limit_truncates_as_well(make, steps):
    assert steps_until_the_end(make("podgym/Burst-v0", max_episode_steps=steps)) == steps
    env = gym.make_vec("podgym/Burst-v0", num_envs=2, max_episode_steps=steps)
    env.reset(seed=0)
    for step in range(1, steps + 1):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (step == steps)
    env.close()


def test_the_configured_length_counts_whole_intervals(make):
    assert make("podgym/Burst-v0", episode_s=100.0).unwrapped.episode_steps == 6
    env = make("podgym/Burst-v0", episode_s=100.0, cluster={"control_interval_s": 20.0})
    assert steps_until_the_end(env) == 5
    assert make("podgym/HighLoad-v0", episode_s=45.0).unwrapped.episode_steps == 3


def discounted_value(env, bootstrap):
    """Value of the state of a reward of 1 for ever, learned by TD(0) over many truncated episodes."""
    value = 0.0
    for _ in range(60):
        env.reset(seed=0)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.unwrapped.action_space.sample())
            over = terminated or truncated
            ended = terminated if bootstrap else over
            value += 0.1 * (1.0 + GAMMA * value * (not ended) - value)
    return value


def test_an_endless_reward_is_worth_what_it_must_be(make):
    # Whoever trusts ``terminated`` learns 1 / (1 - gamma); whoever takes the time limit for an end does not.
    env = make("podgym/Burst-v0", episode_s=150.0)
    assert discounted_value(env, bootstrap=True) == pytest.approx(1 / (1 - GAMMA), rel=0.01)
    assert discounted_value(env, bootstrap=False) < 0.9 / (1 - GAMMA)


def test_wrappers_of_gymnasium_work(make):
    env = gym.wrappers.RecordEpisodeStatistics(gym.wrappers.TimeLimit(make("podgym/LowLoad-v0"), 5))
    env.action_space.seed(0)
    env.reset(seed=0)
    total = 0.0
    for _ in range(5):
        _, reward, _, truncated, info = env.step(env.action_space.sample())
        total += reward
    assert truncated
    assert info["episode"]["r"] == pytest.approx(total)
    assert info["episode"]["l"] == 5
    normal = gym.wrappers.NormalizeObservation(gym.wrappers.FlattenObservation(make("podgym/LowLoad-v0")))
    assert np.isfinite(normal.reset(seed=0)[0]).all()


def test_wrappers_of_the_vector_env_work():
    env = gym.wrappers.vector.RecordEpisodeStatistics(
        gym.make_vec("podgym/LowLoad-v0", num_envs=2, max_episode_steps=4)
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    total = np.zeros(2)
    for _ in range(4):
        _, rewards, _, truncated, infos = env.step(env.action_space.sample())
        total += rewards
    assert truncated.all()
    assert infos["episode"]["r"] == pytest.approx(total)
    assert infos["episode"]["l"].tolist() == [4, 4]
    env.close()


def test_the_monitor_of_stable_baselines_works(make, tmp_path):
    monitor = pytest.importorskip("stable_baselines3.common.monitor")
    keys = ("slo_violation_ratio", "requested_cores")
    env = monitor.Monitor(
        make("podgym/Burst-v0", max_episode_steps=4), str(tmp_path / "log"), info_keywords=keys
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(4):
        *_, info = env.step(env.action_space.sample())
    assert info["episode"]["l"] == 4
    assert info["episode"]["requested_cores"] == pytest.approx(info["requested_cores"])
    env.close()
    assert (tmp_path / "log.monitor.csv").read_text().count("\n") == 3


def test_stable_baselines_vector_envs_work(make):
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    env = vec_env.VecCheckNan(
        vec_env.DummyVecEnv([lambda: gym.make("podgym/Burst-v0", max_episode_steps=3)] * 2),
        raise_exception=True,
    )
    env.seed(0)
    env.reset()
    for step in range(1, 5):
        _, _, dones, infos = env.step([env.action_space.sample() for _ in range(2)])
        assert dones.all() == (step == 3)
        assert all(info.get("TimeLimit.truncated", False) == (step == 3) for info in infos)
    env.close()


@pytest.mark.parametrize("id_", IDS)
def test_a_line_of_text_tells_of_the_last_step(make, id_):
    pytest.importorskip("podgym.envs.render")
    env = make(id_, render_mode="ansi")
    env.reset(seed=0)
    first = env.render()
    env.action_space.seed(0)
    for _ in range(3):
        env.step(env.action_space.sample())
    text = env.render()
    assert isinstance(text, str)
    assert text != first
    assert len(text.strip().splitlines()) >= 1


@pytest.mark.parametrize("id_", ["podgym/Burst-v0", "podgym/Boutique-v0"])
def test_a_figure_shows_the_episode_so_far(make, id_):
    pytest.importorskip("podgym.envs.render")
    env = make(id_, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = [env.render()]
    env.action_space.seed(0)
    for _ in range(2):
        for _ in range(5):
            env.step(env.action_space.sample())
        pictures.append(env.render())
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3
    assert pictures[0].shape == pictures[1].shape == pictures[2].shape
    assert not np.array_equal(pictures[1], pictures[2])
    env.reset(seed=0)
    assert np.array_equal(env.render(), pictures[0])  # nothing of the last episode


def test_rendering_without_a_mode_warns_and_shows_nothing():
    env = AutoscaleEnv()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_a_time_limit_does_not_change_the_load(make):
    one = make("podgym/Trace-v0", max_episode_steps=20)
    batch = gym.make_vec("podgym/Trace-v0", num_envs=1, max_episode_steps=20)
    whole = make("podgym/Trace-v0")
    for env in (one, batch, whole):
        env.reset(seed=5)
    profiles = [one.unwrapped.profile, batch.unwrapped._core.profiles[0], whole.unwrapped.profile]
    assert len({profile.values.tobytes() for profile in profiles}) == 1
    assert len({(profile.step_s, profile.start_time_s, profile.label) for profile in profiles}) == 1
    actions = np.tile([7, 1, 1], (20, 1, 1))
    ends = [(one.step(action[0])[3], bool(batch.step(action)[3][0])) for action in actions]
    assert ends == [(False, False)] * 19 + [(True, True)]


@pytest.mark.parametrize("id_", IDS)
def test_the_first_info_says_what_is_known_at_the_start(make, id_):
    env = make(id_).unwrapped
    services = env.config.cluster.services
    _, info = env.reset(seed=0)
    pods = sum(service.initial_replicas for service in services)
    expected = {
        "replicas_wanted": pods,
        "replicas_ready": pods,
        "replicas_pending": 0,
        "requested_cores": sum(each.initial_replicas * each.cpu_request_cores for each in services),
        "requested_gib": sum(each.initial_replicas * each.memory_request_bytes for each in services) / 2**30,
        "plan_replicas": pods,  # the default plan is what the services start with
        "plan_step": 0,
    }
    assert {name: info[name] for name in expected} == pytest.approx(expected)
    assert not any(value for name, value in info.items() if name not in expected)

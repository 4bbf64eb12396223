"""Bad actions, decisions, seeds and plans are refused at the border, and nothing has changed."""

import math
import warnings

import gymnasium as gym
import numpy as np
import pytest

from podgym.envs import AutoscaleEnv, ServiceDecision
from podgym.errors import InputError

NAN, INF = math.nan, math.inf
ID = "podgym/Burst-v0"


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


DISCRETE = ("delta", "absolute", "residual")
EVERY_MODE = [
    ([NAN, 0, 0], ("action[0]", "nan")),
    ([0, 0, NAN], ("action[2]", "nan")),
    ([0, 1e300, 0], ("action[1]", "1e+300")),
    ([2**70, 0, 0], ("type object", "must be an array of numbers")),
    ([INF, 0, 0], ("action[0]", "inf")),
    ([0, 0], ("shape (2,)", "(1, 3)")),
    ([0, 0, 0, 0], ("shape (4,)", "(1, 3)")),
    (1, ("shape ()",)),
    ("abc", ("type <U3", "must be an array of numbers")),
    (None, ("type object", "must be an array of numbers")),
    ({}, ("type object", "must be an array of numbers")),
    ([[0, 0], [1]], ("ragged", "must be an array of numbers")),
    ([None, 0, 0], ("type object", "must be an array of numbers")),
]
SPECIAL = {
    "discrete": [
        ([-1, 0, 0], ("action[0]", "-1", "from 0 to 16")),
        ([17, 0, 0], ("action[0]", "17", "from 0 to 16")),
        ([0, 3, 0], ("action[1]", "3", "from 0 to 2")),
        ([1.5, 0, 0], ("action[0]", "1.5", "whole number")),
    ],
    "continuous": [
        ([1.001, 0, 0], ("action[0]", "1.001", "from -1 to 1")),
        ([0, -1.5, 0], ("action[1]", "-1.5", "from -1 to 1")),
    ],
}


@pytest.mark.parametrize("mode", [*DISCRETE, "continuous"])
@pytest.mark.parametrize(("action", "words"), EVERY_MODE)
def test_an_action_that_no_mode_takes_is_refused(mode, action, words):
    env = gym.make(ID, action={"mode": mode}).unwrapped
    env.reset(seed=0)
    with pytest.raises(InputError) as error:
        env.step(action)
    assert_one_line(error, *words)


@pytest.mark.parametrize(
    ("mode", "action", "words"),
    [("delta", *case) for case in SPECIAL["discrete"]]
    + [("residual", *case) for case in SPECIAL["discrete"]]
    + [("continuous", *case) for case in SPECIAL["continuous"]]
    + [
        ("absolute", [28, 0, 0], ("action[0]", "28", "from 0 to 27")),
        ("absolute", [0, 6, 0], ("action[1]", "to 5")),
    ],
)
def test_an_action_outside_the_space_is_refused(mode, action, words):
    env = gym.make(ID, action={"mode": mode}).unwrapped
    env.reset(seed=0)
    with pytest.raises(InputError) as error:
        env.step(action)
    assert_one_line(error, *words)


@pytest.mark.parametrize("mode", ["delta", "continuous"])
@pytest.mark.parametrize(
    "action",
    [["1", "1", "1"], [1 + 2j, 0, 0], np.array([1, 1, 1], dtype="M8[s]")],
)
def test_what_is_not_a_number_is_refused(mode, action):
    env = gym.make(ID, action={"mode": mode}).unwrapped
    env.reset(seed=0)
    with pytest.raises(InputError, match="must be an array of numbers"):
        env.step(action)


@pytest.mark.parametrize(
    "action",
    [[1, 1, 1], (1, 1, 1), np.ones(3, np.uint8), np.ones(3), [1.0, 1.0, 1.0], np.ones(3, np.float32)],
)
def test_equal_actions_of_any_number_type_do_the_same(action):
    one, other = (gym.make(ID).unwrapped for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=0)
    assert one.step(action)[0].tobytes() == other.step(np.array([1, 1, 1]))[0].tobytes()


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((1, 3), int), ("shape (1, 3)", "(2, 3)")),
        (np.zeros((2, 4), int), ("shape (2, 4)", "(2, 3)")),
        (np.zeros((3, 3), int), ("shape (3, 3)",)),
        ([[0, 0, 0], [0, 0, NAN]], ("action[2]", "environment 1", "nan")),
        ([[0, 0, 0], [0, 9, 0]], ("action[1]", "environment 1", "9")),
        (np.full((2, 3), None), ("type object", "must be an array of numbers")),
        (np.zeros((3, 2), int), ("shape (3, 2)", "(2, 3)")),
        (np.zeros(6, int), ("shape (6,)", "(2, 3)")),
        (np.full((2, 3), object()), ("type object", "must be an array of numbers")),
    ],
)  # fmt: skip
def test_a_bad_batch_of_actions_is_refused(actions, words):
    env = gym.make_vec(ID, num_envs=2)
    env.reset(seed=0)
    with pytest.raises(InputError) as error:
        env.step(actions)
    assert_one_line(error, *words)


@pytest.mark.parametrize("mode", [*DISCRETE, "continuous"])
def test_a_refused_action_leaves_everything_as_it_was(mode):
    one, other = (gym.make(ID, action={"mode": mode}).unwrapped for _ in range(2))
    one.action_space.seed(0)
    actions = [one.action_space.sample() for _ in range(6)]
    bad = [action for action, _ in EVERY_MODE]
    bad += [action for action, _ in SPECIAL["continuous" if mode == "continuous" else "discrete"]]
    if mode == "absolute":
        bad = [action for action in bad if action not in ([17, 0, 0], [0, 3, 0])]
    for env in (one, other):
        env.reset(seed=3)
    for action in actions:
        for each in bad:
            with pytest.raises(InputError):
                one.step(each)
        ours, theirs = one.step(action), other.step(action)
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert ours[1:] == theirs[1:]


def test_a_refused_batch_leaves_every_environment_as_it_was():
    one, other = (gym.make_vec(ID, num_envs=3) for _ in range(2))
    one.action_space.seed(0)
    for env in (one, other):
        env.reset(seed=3)
    for _ in range(5):
        actions = one.action_space.sample()
        last_is_bad = actions.astype(float)
        last_is_bad[2, 1] = NAN
        with pytest.raises(InputError):
            one.step(last_is_bad)
        assert one.step(actions)[0].tobytes() == other.step(actions)[0].tobytes()


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        ([], ("0 decisions", "1 services")),
        ([ServiceDecision(), ServiceDecision()], ("2 decisions",)),
        ([ServiceDecision(replicas=NAN)], ("web", "replicas", "nan")),
        ([ServiceDecision(replicas=2.5)], ("web", "replicas", "2.5")),
        ([ServiceDecision(cpu_request_cores=NAN)], ("web", "cpu_request_cores", "nan")),
        ([ServiceDecision(cpu_request_cores=-1.0)], ("cpu_request_cores", "-1")),
        ([ServiceDecision(cpu_request_cores=INF)], ("cpu_request_cores", "inf")),
        ([ServiceDecision(memory_request_bytes=0.0)], ("memory_request_bytes", "0.0")),
        ([ServiceDecision(cpu_request_cores=5.0)], ("limit is below its request",)),
        ([ServiceDecision(memory_limit_bytes=1.0)], ("limit is below its request",)),
        ([ServiceDecision(replicas=INF)], ("replicas", "inf")),
        ([ServiceDecision(cpu_request_cores="a")], ("cpu_request_cores", "'a'")),
        ([None], ("None",)),
    ],
)  # fmt: skip
def test_a_bad_decision_is_refused_and_changes_nothing(decisions, words):
    one, other = (gym.make(ID).unwrapped for _ in range(2))
    for env in (one, other):
        env.reset(seed=0)
        env.step_decisions([ServiceDecision(replicas=9)])
    with pytest.raises(InputError) as error:
        one.step_decisions(decisions)
    assert_one_line(error, *words)
    assert repr(one.observe()) == repr(other.observe())
    following = [ServiceDecision(replicas=7)]
    assert one.step_decisions(following)[0].tobytes() == other.step_decisions(following)[0].tobytes()


@pytest.mark.parametrize("replicas", [-5, 0, 10**30, np.int64(3)])
def test_whole_replicas_are_taken_and_bounded(replicas):
    env = gym.make(ID).unwrapped
    env.reset(seed=0)
    env.step_decisions([ServiceDecision(replicas=replicas)])
    assert env.observe().services[0].replicas_wanted == min(max(int(replicas), 1), 28)


def test_nothing_goes_before_the_first_reset():
    env = gym.make(ID).unwrapped
    for call in (lambda: env.step([7, 1, 1]), env.observe, lambda: env.step_decisions([ServiceDecision()])):
        with pytest.raises(InputError, match=r"call reset\(\) first"):
            call()
    with pytest.raises(gym.error.ResetNeeded):
        gym.make(ID).step([7, 1, 1])
    with pytest.raises(InputError, match=r"call reset\(\) first"):
        gym.make_vec(ID, num_envs=2).step(np.ones((2, 3), int))


@pytest.mark.parametrize("vector", [False, True])
def test_no_masks_before_the_first_reset(vector):
    env = (gym.make_vec(ID, num_envs=2) if vector else gym.make(ID)).unwrapped
    with pytest.raises(InputError, match="reset"):
        env.action_masks()


def test_every_environment_of_a_batch_must_have_been_started():
    env = gym.make_vec(ID, num_envs=2)
    with pytest.raises(InputError, match="first reset must start every environment"):
        env.reset(seed=0, options={"reset_mask": np.array([True, False])})
    with pytest.raises(InputError, match="reset"):
        env.step(np.ones((2, 3), int))


def test_unknown_reset_options_are_refused():
    env = gym.make(ID).unwrapped
    with pytest.raises(InputError, match="unknown reset option 'sede'"):
        env.reset(options={"sede": 1})
    batch = gym.make_vec(ID, num_envs=2)
    with pytest.raises(InputError, match="Did you mean 'reset_mask'"):
        batch.reset(options={"reset_msak": [True, True]})


def test_a_refused_reset_leaves_the_random_numbers_as_they_were():
    one, other = (gym.make(ID).unwrapped for _ in range(2))
    for env in (one, other):
        env.reset(seed=1)
    with pytest.raises(InputError):
        one.reset(seed=2, options={"sede": 1})
    assert one.reset()[0].tobytes() == other.reset()[0].tobytes()
    assert one.step([7, 1, 1])[0].tobytes() == other.step([7, 1, 1])[0].tobytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reset_mask": [True]}, ("reset_mask", "(1,)", "(2,)")),
        ({"reset_mask": True}, ("reset_mask", "()", "(2,)")),
        ({"reset_mask": ["no", "no"]}, ("reset_mask",)),
    ],
)  # fmt: skip
def test_a_bad_reset_mask_is_refused(options, words):
    env = gym.make_vec(ID, num_envs=2)
    env.reset(seed=0)
    with pytest.raises(InputError) as error:
        env.reset(options=options)
    assert_one_line(error, *words)


@pytest.mark.parametrize(
    "seed",
    [
        [1, 2, 3],
        [1],
        1.5,
    ],
)
def test_bad_seeds_of_a_batch_are_refused(seed):
    env = gym.make_vec(ID, num_envs=2)
    with pytest.raises(InputError, match="seed"):
        env.reset(seed=seed)


def test_a_negative_seed_is_refused():
    with pytest.raises(gym.error.Error, match="-1"):  # by Gymnasium itself
        gym.make(ID).reset(seed=-1)
    for seed in (-1, [0, -1]):
        with pytest.raises(InputError, match=r"seed -1 .* 0 or more"):
            gym.make_vec(ID, num_envs=2).reset(seed=seed)


def test_an_ended_environment_must_be_reset_where_nothing_resets_it():
    env = gym.make_vec(ID, num_envs=2, max_episode_steps=1, autoreset_mode="Disabled")
    env.reset(seed=0)
    env.step(np.ones((2, 3), int))
    with pytest.raises(InputError, match=r"environment 0 has ended.*reset_mask"):
        env.step(np.ones((2, 3), int))


class BadPlanner:
    """A planner that returns what it is told to."""

    def __init__(self, plans):
        self.plans = plans

    def plan(self, config, profile, duration_s):
        return np.array(self.plans)


@pytest.mark.parametrize(
    "plans",
    [
        [[[NAN, 0.5, 5e8]]],
        [[[3.0, NAN, 5e8]]],
        [[[3.0, -0.5, 5e8]]],
        [[[3.0, 0.5, INF]]],
        [[3.0, 0.5, 5e8, 1.0]],  # not (plans, services, 3)
        np.zeros((0, 1, 3)),
    ],
)
def test_a_planner_s_bad_plan_is_refused(plans):
    env = AutoscaleEnv(planner=BadPlanner(plans), reward={"relative_to_plan": True})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="plan"):
            env.reset(seed=0)

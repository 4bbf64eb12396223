"""``action.first_action = "plan"``: the plan is where the first action steps from."""

import numpy as np
import pytest

from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.errors import InputError

MIB = 1024.0**2
PLAN = np.array([[[9.0, 0.75, 384 * MIB]]])


class FixedPlanner:
    def plan(self, config, profile, duration_s):
        return PLAN


def first_step(first_action, steps_up=0, **action):
    env = AutoscaleEnv(
        scenario_config("low_load"),
        planner=FixedPlanner(),
        action={"first_action": first_action, **action},
    )
    env.reset(seed=1)
    chosen = env._core.decoder.null_action.copy()
    chosen[0] += steps_up
    *_, info = env.step(chosen)
    return info, env.observe().services[0].quota


def test_the_action_that_changes_nothing_is_the_plan():
    info, quota = first_step("plan")
    assert info["replicas_wanted"] == 9
    assert (quota.cpu_request_cores, quota.memory_request_bytes) == (0.75, 384 * MIB)


def test_other_actions_step_from_the_plan():
    assert first_step("plan", steps_up=2)[0]["replicas_wanted"] == 11
    assert first_step("plan", steps_up=-1)[0]["replicas_wanted"] == 8


def test_without_quotas_only_replicas_are_planned():
    info, quota = first_step("plan", quotas=False)
    assert info["replicas_wanted"] == 9
    assert (quota.cpu_request_cores, quota.memory_request_bytes) == (0.5, 512 * MIB)


def test_by_default_an_episode_begins_with_what_the_service_has():
    info, quota = first_step("own")
    assert info["replicas_wanted"] == 2
    assert quota.cpu_request_cores == 0.5


def test_an_unknown_word_is_refused():
    with pytest.raises(InputError, match="first_action 'paln'; allowed: own, plan"):
        first_step("paln")

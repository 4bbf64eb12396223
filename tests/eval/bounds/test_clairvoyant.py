"""The clairvoyant: its schedule costs what it says when it is played, and few do better."""

import dataclasses

import numpy as np
import pytest

from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.scenarios import boutique
from podgym.errors import InputError
from podgym.eval.bounds import clairvoyant_schedule, lower_bound
from podgym.eval.runner import run_episode


@pytest.mark.parametrize("load", ["family:burst", "low_load"])
@pytest.mark.parametrize("quotas", [False, True])
def test_it_costs_what_it_says_when_it_is_played(make_config, load, quotas):
    config = make_config(load, episode_s=150.0)
    found = clairvoyant_schedule(config, 6, quotas=quotas, rounds=1)
    record = run_episode(AutoscaleEnv(config), found.controller(), 6)
    assert record.metadata.controller == "clairvoyant"
    assert -record.totals["reward"].sum() == pytest.approx(found.cost, rel=1e-12)
    assert found.cost >= lower_bound(config, 6, quotas=quotas).cost
    assert (found.quotas is None) == (not quotas)


def test_the_search_never_loses_and_is_reproducible(make_config):
    config = make_config("family:flash", episode_s=300.0)
    costs = [clairvoyant_schedule(config, 9, rounds=rounds).cost for rounds in (0, 3, 6)]
    assert costs == sorted(costs, reverse=True)
    again = clairvoyant_schedule(config, 9, rounds=6)
    assert again.cost == costs[-1]


def test_choosing_the_quota_never_costs_more(make_config):
    config = make_config("constant", episode_s=300.0, changes={"cpu_request_cores": 1.7})
    fixed = clairvoyant_schedule(config, 2, rounds=0).cost
    assert clairvoyant_schedule(config, 2, rounds=0, quotas=True).cost <= fixed


def test_pods_are_ordered_ahead_of_a_jump(make_config):
    """The users of the paper's burst jump at 300 s, give or take a minute; the pods are there before."""
    config = make_config("burst", episode_s=600.0)
    config = dataclasses.replace(config, workload_options={"offset_s": 0.0})
    replicas = clairvoyant_schedule(config, 0, rounds=0).replicas
    assert config.workload == "burst"
    at_the_jump = int(300.0 // 15.0)
    assert replicas[at_the_jump - 1] > np.median(replicas[: at_the_jump - 4])


def test_it_stays_within_the_bounds_of_the_service(make_config):
    config = make_config("constant", changes={"min_replicas": 3, "max_replicas": 5, "initial_replicas": 4})
    replicas = clairvoyant_schedule(config, 1, rounds=4).replicas
    assert replicas.min() >= 3
    assert replicas.max() <= 5


def test_what_it_cannot_plan_is_refused(make_config):
    with pytest.raises(InputError, match="one service"):
        clairvoyant_schedule(boutique(), 0)
    with pytest.raises(InputError, match="rounds is -1"):
        clairvoyant_schedule(make_config("constant"), 0, rounds=-1)
    paper = override(make_config("constant"), {"reward": {"preset": "paper"}})
    with pytest.raises(InputError, match="weights of 0 or less"):
        clairvoyant_schedule(paper, 0)

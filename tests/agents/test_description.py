"""Descriptions of policies: to JSON and back without loss, and every wrong field named."""

import copy
import json

import numpy as np
import pytest
from oracles.policies import describe, planning, recurrent

from podgym.agents.description import NetworkSpec, PlannerSpec, PolicyDescription, PriorSpec, ServiceSpec
from podgym.agents.interface import check_interface, interface_of
from podgym.envs.config import override
from podgym.envs.make import scenario_config
from podgym.errors import InputError

BOUTIQUE = "podgym/Boutique-v0"


def plain(**fields):
    return json.loads(json.dumps(describe(**fields).as_dict()))


@pytest.mark.parametrize(
    "description",
    [
        describe(),
        planning(),
        recurrent(),
        describe(BOUTIQUE),
        describe(changes={"action": {"quotas": False, "replica_steps": (-1, 0, 1)}}),
        describe(changes={"action.mode": "absolute"}),
        describe(forecaster="shipped", forecaster_sha256="0" * 64, provenance={"steps": np.int64(4)}),
    ],
    ids=["plain", "planning", "recurrent", "boutique", "narrow", "absolute", "provenance"],
)
def test_nothing_is_lost_in_json(description):
    text = json.dumps(description.as_dict(), allow_nan=False)
    back = PolicyDescription.from_dict(json.loads(text))
    assert back == description
    assert back.as_dict() == description.as_dict()
    assert json.loads(text)["format"] == "podgym policy"


def test_what_was_measured_in_vain_is_null():
    """A NaN among the results of a training run must not cost the policy."""
    description = describe(provenance={"score": float("nan"), "seeds": (1, 2), "where": object})
    assert description.provenance["score"] is None
    assert description.provenance["seeds"] == [1, 2]
    json.dumps(description.as_dict(), allow_nan=False)


def test_changes_must_be_json():
    fields = {name: getattr(describe(), name) for name in PolicyDescription.__slots__}
    with pytest.raises(InputError, match=r"changes\.action\.x is nan"):
        PolicyDescription(**{**fields, "changes": {"action": {"x": float("nan")}}})
    with pytest.raises(InputError, match="keys must be strings"):
        PlannerSpec("lstm_ga", {3: 4})


WRONG = {
    "format": ({"format": "podgym forecaster"}, "no policy but 'podgym forecaster'"),
    "version": ({"format_version": 2}, "format version is 2"),
    "version as text": ({"format_version": "1"}, "format version is '1'"),
    "unknown algorithm": ({"algorithm": "pppo"}, "Did you mean 'ppo'"),
    "algorithm as number": ({"algorithm": 3}, "algorithm is 3; it must be a string"),
    "names as text": ({"observation_names": "abc"}, "observation_names is 'abc'; it must be a list"),
    "name as number": ({"observation_names": ["a", 1]}, r"observation_names\[1\] is 1"),
    "name twice": ({"observation_names": ["a", "a"]}, "names a number twice"),
    "fraction of a choice": ({"action_nvec": [3.5]}, r"action_nvec\[0\] is 3.5"),
    "true as a number": ({"action_nvec": [True]}, r"action_nvec\[0\] is True"),
    "no choice": ({"action_nvec": [0], "prior": None}, "a number of action_nvec is 0"),
    "huge choice": ({"action_nvec": [10**400]}, r"action_nvec\[0\] is 1000"),
    "other choices": ({"action_nvec": [2, 3, 3]}, r"must be \(17, 3, 3\)"),
    "services as object": ({"services": {}}, r"services is \{\}; it must be a list"),
    "service as number": ({"services": [3]}, r"services\[0\] is 3; it must be a JSON object"),
    "no service": ({"services": [], "prior": None}, "at least one service"),
    "clip": ({"clip": -1.0}, "clip is -1.0"),
    "clip as null": ({"clip": None}, "clip is None"),
    "clip too large": ({"clip": 10**400}, "clip is 1000"),
    "network as list": ({"network": []}, r"network is \[\]"),
    "changes as list": ({"changes": []}, r"changes is \[\]"),
    "planner as text": ({"planner": "lstm_ga"}, "planner is 'lstm_ga'"),
    "hash as number": ({"forecaster_sha256": 7}, "forecaster_sha256 is 7"),
    "an unknown field": ({"observation_namse": []}, "Did you mean 'observation_names'"),
    "an lstm in ppo": ({"network": {"hidden": [], "activation": "relu", "lstm_size": 4}}, "lstm_size 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_field_is_named(name):
    changes, words = WRONG[name]
    with pytest.raises(InputError, match=words):
        PolicyDescription.from_dict({**plain(), **changes})


@pytest.mark.parametrize("place", ["services.0", "network", "prior", "planner", ""])
def test_every_missing_field_is_named(place):
    content = json.loads(json.dumps(planning().as_dict()))
    parts = [int(part) if part.isdigit() else part for part in place.split(".") if part]
    inner = content
    for part in parts:
        inner = inner[part]
    for field in set(inner) - {"derived"}:  # files of before that field have none
        broken = copy.deepcopy(content)
        target = broken
        for part in parts:
            target = target[part]
        del target[field]
        with pytest.raises(InputError, match=rf"{field} is missing"):
            PolicyDescription.from_dict(broken)


@pytest.mark.parametrize("content", [None, 3, [], "policy", {3: 4}])
def test_no_object_is_no_description(content):
    with pytest.raises(InputError, match="must be a JSON object"):
        PolicyDescription.from_dict(content)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PriorSpec(strength=-1.0), "strength of the prior is -1.0"),
        (lambda: PriorSpec(cap=float("nan")), "cap of the prior is nan"),
        (lambda: NetworkSpec((0,)), "hidden layer is 0"),
        (lambda: NetworkSpec(activation="rleu"), "Did you mean 'relu'"),
        (lambda: NetworkSpec(lstm_size=0), "lstm_size is 0"),
        (lambda: ServiceSpec("web", 1, 0, (1.0,), (1.0,)), "max_replicas"),
        (lambda: ServiceSpec("web", 1, 2, (2.0, 1.0), (1.0,)), "cpu_levels_cores"),
        (lambda: ServiceSpec("web", 1, 2, (1.0,), ()), "memory_levels_bytes"),
        (lambda: describe(prior=PriorSpec(), changes={"action.mode": "residual"}), "leave the prior out"),
        (lambda: describe(observation_names=("web.plan_replicas",)), r"web\.replicas_wanted\[-0\]"),
        (lambda: describe(algorithm="recurrent_ppo"), "belongs to recurrent_ppo"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


BURST = scenario_config("burst")
DIFFERENCES = {
    "fewer lags": ({"observation": {"lags": 4}}, r"position 32 \(of 91 and 59\): 'web.cpu_util.*-4\]' for"),
    "more minutes": ({"observation": {"horizon_minutes": 6}}, r"web.forecast_mean\[\+6min\]"),
    "another scale": ({"cluster": {"services": {"web": {"max_replicas": 20}}}}, "28 replicas .* and 20"),
    "other levels": ({"cluster": {"services": {"web": {"cpu_levels_cores": [0.25, 0.5]}}}}, "cpu_levels"),
    "another mode": ({"action": {"mode": "residual"}}, "action mode.*'delta' for .* and 'residual'"),
    "other steps": ({"action": {"replica_steps": [-12, 0, 1]}}, r"position 1 \(of 17 and 3\): -8 for .* 0"),
    "no quotas": ({"action": {"quotas": False}}, "steps of the quotas, position 0"),
    "continuous": ({"action": {"mode": "continuous"}}, "continuous"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_first_difference_to_an_environment_is_named(name):
    changes, words = DIFFERENCES[name]
    check_interface(describe(), BURST)
    with pytest.raises(InputError, match=words):
        check_interface(describe(), override(BURST, changes))


def test_a_policy_of_steps_acts_within_narrower_bounds():
    web = {"min_replicas": 2, "max_replicas": 8, "scale_replicas": 28}
    check_interface(describe(), override(BURST, {"cluster": {"services": {"web": web}}}))


def test_a_policy_of_absolute_choices_counts_from_the_least():
    absolute = {"action": {"mode": "absolute"}}
    former = {"cluster": {"services": {"web": {"min_replicas": 3}}}}
    shifted = {
        "cluster": {"services": {"web": {"min_replicas": 1, "max_replicas": 26, "scale_replicas": 28}}}
    }
    policy = describe(changes={**absolute, **former})
    check_interface(policy, override(BURST, {**absolute, **former}))
    with pytest.raises(InputError, match="min_replicas 3 for the policy and 1"):
        check_interface(policy, override(BURST, {**absolute, **shifted}))


def test_other_services_are_named():
    with pytest.raises(InputError, match=r"services, position 0 \(of 1 and 11\): 'web' .* 'frontend'"):
        check_interface(describe(), scenario_config("boutique"))


def test_interface_is_that_of_the_spaces():
    """Names and choices as the environment itself gives them, also behind wrappers."""
    import gymnasium as gym

    import podgym  # noqa: F401  (registers the ids)

    for mode in ("delta", "absolute", "residual"):
        env = gym.make("podgym/Burst-v0", action={"mode": mode})
        own = interface_of(env)
        assert own.observation_names == env.unwrapped.observation_names
        assert own.action_nvec == tuple(env.action_space.nvec.tolist())
        assert own.action_mode == mode
    with pytest.raises(InputError, match="neither an environment"):
        interface_of(gym.make("CartPole-v1"))

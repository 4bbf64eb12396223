"""A mixture gives the episodes of its members, each as often as it should."""

import bisect
import math

import numpy as np
import pytest

from podgym.envs import AutoscaleEnv, EnvConfig
from podgym.envs.core import open_workload
from podgym.envs.splits import require_part, tuning_config
from podgym.envs.workloads import FAMILIES, MixtureWorkload, make_workload
from podgym.errors import InputError

ALL_FAMILIES = [f"family:{family}" for family in FAMILIES]
HOUR_S = 3600.0


def labels(workload, count, duration_s=600.0, seed=0):
    rng = np.random.default_rng(seed)
    return [workload.sample(rng, duration_s).label for _ in range(count)]


@pytest.mark.parametrize("weights", [None, [1, 1, 1, 1, 1], [5.0, 0.5, 1.0, 0.0, 2.0]])
def test_members_come_as_often_as_their_weights_say(weights):
    mixture = make_workload("mixture", of=ALL_FAMILIES, weights=weights)
    count = 3000
    found = labels(mixture, count)
    expected = np.ones(5) / 5 if weights is None else np.array(weights) / np.sum(weights)
    assert mixture.weights == pytest.approx(expected)
    for name, share in zip(ALL_FAMILIES, expected, strict=True):
        seen = sum(label.startswith(name) for label in found)
        assert abs(seen - count * share) <= 4.0 * math.sqrt(count * share * (1.0 - share)), name


def test_a_profile_is_what_its_member_gives():
    weights = [0.2, 0.5, 0.3]
    members = [make_workload(name) for name in ("family:burst", "alibaba2018", "family:flash")]
    mixture = MixtureWorkload(members, weights)
    rng, own = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(50):
        profile = mixture.sample(rng, 900.0)
        member = members[bisect.bisect(np.cumsum(weights).tolist(), own.random())]
        expected = member.sample(own, 900.0)
        assert profile.values.tobytes() == expected.values.tobytes()
        assert (profile.label, profile.step_s, profile.trace) == (
            expected.label,
            expected.step_s,
            expected.trace,
        )
    assert rng.bit_generator.state == own.bit_generator.state


def test_equal_generators_give_equal_episodes():
    mixture = make_workload("mixture", of=ALL_FAMILIES)
    assert labels(mixture, 20, seed=1) == labels(mixture, 20, seed=1) != labels(mixture, 20, seed=2)


def test_members_have_options_of_their_own_and_the_part_of_the_mixture():
    mixture = make_workload(
        "mixture",
        of=["family:burst", {"name": "family:flash", "mean_rate_rps": 150.0}, "google2019"],
        part="dev",
    )
    burst, flash, trace = mixture.members
    assert (burst.mean_rate_rps, flash.mean_rate_rps) == (300.0, 150.0)
    assert [member.part for member in (burst, flash, trace, mixture)] == ["dev"] * 4
    assert make_workload("mixture", of=["family:burst"]).part == "train"
    nested = make_workload(
        "mixture", of=["family:burst", {"name": "mixture", "of": ["azure_v2"]}], part="test"
    )
    assert nested.members[1].members[0].part == "test"


def test_a_mixture_says_of_itself_what_holds_for_all_members():
    families = make_workload("mixture", of=ALL_FAMILIES)
    assert (families.name, families.kind, families.step_s) == ("mixture", "open", 5.0)
    assert families.max_duration_s == math.inf
    assert not hasattr(families, "duration_s")
    scenarios = make_workload("mixture", of=["high_load", "burst"])
    assert (scenarios.kind, scenarios.max_duration_s) == ("closed", 900.0)
    assert not hasattr(scenarios, "part")
    assert not hasattr(scenarios, "duration_s")
    assert make_workload("mixture", of=["burst", {"name": "burst", "offset_s": 0.0}]).duration_s == 900.0
    with pytest.raises(InputError, match="lasts at most 900 s"):
        scenarios.sample(np.random.default_rng(0), 901.0)  # also where the longer one would be drawn
    with pytest.raises(InputError, match="duration_s"):
        families.sample(np.random.default_rng(0), 0.0)


def test_tuning_sets_the_part_of_a_mixture():
    config = EnvConfig(workload="mixture", workload_options={"of": ALL_FAMILIES})
    for part in ("train", "dev"):
        opened = open_workload(tuning_config(config, part))
        assert {member.part for member in opened.members} == {part}
        require_part(tuning_config(config, part), part)
    with pytest.raises(InputError, match="opens part 'train'"):
        require_part(config, "dev")
    scenarios = EnvConfig(workload="mixture", workload_options={"of": ["burst", "high_load"]})
    assert tuning_config(scenarios, "dev") is scenarios


def test_an_environment_takes_a_mixture_by_name():
    env = AutoscaleEnv(workload="mixture", workload_options={"of": ALL_FAMILIES})
    seen = set()
    for seed in range(30):
        env.reset(seed=seed)
        seen.add(env.profile.label.split()[0])
    assert seen == set(ALL_FAMILIES)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "'of' of workload 'mixture'.*must be a list"),
        ({"of": []}, "must be a list"),
        ({"of": "family:burst"}, "must be a list"),
        ({"of": {"name": "family:burst"}}, "must be a list"),
        ({"of": ["family:brust"]}, "Did you mean 'family:burst'"),
        ({"of": [3]}, "3 in option 'of'.*needs a name"),
        ({"of": [{"mean_rate_rps": 3}]}, "needs a name"),
        ({"of": [{"name": "family:burst", "mean_rate": 3}]}, "Did you mean 'mean_rate_rps'"),
        ({"of": [{"name": "family:burst", "part": "dev"}]}, "give part to the mixture"),
        ({"of": ["family:burst"], "part": "tset"}, "Did you mean 'test'"),
        ({"of": ["burst"], "part": "dev"}, "no workload of the mixture has parts"),
        ({"of": ["family:burst", "burst"]}, "family:burst is open, burst is closed"),
        ({"of": ["family:burst"], "weights": [1, 2]}, "must be 1 numbers"),
        ({"of": ["family:burst"], "weights": 1.0}, "must be 1 numbers"),
        ({"of": ["family:burst"], "weights": "1"}, "must be 1 numbers"),
        ({"of": ALL_FAMILIES, "weights": [1, 1, 1, 1, -1]}, "weight of the mixture is -1"),
        ({"of": ALL_FAMILIES, "weights": [1, 1, 1, 1, math.nan]}, "weight of the mixture is nan"),
        ({"of": ALL_FAMILIES, "weights": [0] * 5}, "at least one must be above 0"),
        ({"off": ["family:burst"]}, "Did you mean 'of'"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_line(options, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        make_workload("mixture", **options)
    assert "\n" not in str(caught.value)


def test_members_of_two_parts_do_not_mix():
    with pytest.raises(InputError, match="of the parts dev, train"):
        MixtureWorkload([make_workload("family:burst"), make_workload("family:flash", part="dev")])
    with pytest.raises(InputError, match="at least one workload"):
        MixtureWorkload([])


def test_families_are_all_families_each_as_often_and_apart_by_part():
    train, dev = make_workload("families"), make_workload("families", part="dev")
    labels = [train.sample(np.random.default_rng(seed), 3600.0).label.split()[0] for seed in range(200)]
    counts = {family: labels.count(f"family:{family}") for family in FAMILIES}
    assert sum(counts.values()) == 200
    assert min(counts.values()) > 20
    assert (train.part, dev.part, train.name) == ("train", "dev", "families")
    same = [make.sample(np.random.default_rng(1), 3600.0).values for make in (train, dev)]
    assert len(same[0]) != len(same[1]) or not np.array_equal(*same)


def test_families_can_be_weighed():
    weighed = make_workload("families", weights=[0.0, 0.0, 1.0, 3.0, 0.0])
    labels = [weighed.sample(np.random.default_rng(seed), 3600.0).label.split()[0] for seed in range(200)]
    counts = [labels.count(f"family:{family}") for family in FAMILIES]
    assert counts[2] + counts[3] == 200
    assert 120 < counts[3] < 180
    with pytest.raises(InputError, match="weights"):
        make_workload("families", weights=[1.0, 1.0])

"""Numbers derived from the observation, against the same by hand, one by one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.policies import describe, random_policy

from podgym.agents.derived import derived_numbers, num_derived
from podgym.agents.description import NetworkSpec, PolicyDescription
from podgym.errors import InputError

DERIVED = describe(network=NetworkSpec((16, 12), derived=True))
PLACES = {name: index for index, name in enumerate(DERIVED.observation_names)}


def by_hand(seen):
    """All derived numbers of the one service of Burst, from a mapping of its columns."""
    rate, most = seen["request_rate[-0]"], DERIVED.services[0].max_replicas
    need, wanted, ready = rate / 0.7, seen["replicas_wanted[-0]"], seen["replicas_ready[-0]"]

    def highest(part):
        return max(value for name, value in seen.items() if name.startswith(f"{part}["))

    def ratio(above, below):
        return math.log((above + 0.01) / (below + 0.01))

    values = [
        0.5 * ratio(rate, 0.0),
        *(ratio(rate, seen[f"request_rate[-{lag}]"]) for lag in (1, 4, 7)),
        *(ratio(highest(part), rate) for part in ("forecast_mean", "forecast_upper")),
        *(ratio(need, other) for other in (wanted, ready, seen["plan_replicas"])),
        (need - wanted) * most / 4,
        (need - ready) * most / 4,
        *(
            (highest(part) / 0.7 - wanted) * most / 4
            for part in ("request_rate", "forecast_mean", "forecast_upper")
        ),
    ]
    return [min(max(value, -3.0), 3.0) for value in values]


@given(st.integers(0, 2**32 - 1))
def test_by_hand(seed):
    rng = np.random.default_rng(seed)
    observation = (rng.random(len(PLACES)) ** 3).astype(np.float32)
    observation[rng.random(len(PLACES)) < 0.2] = 0.0
    seen = {name.removeprefix("web."): float(observation[index]) for name, index in PLACES.items()}
    derived = derived_numbers(DERIVED)
    assert derived is not None
    np.testing.assert_allclose(derived(observation[None])[0], by_hand(seen), rtol=1e-4, atol=1e-4)


def test_finite_whatever_is_seen():
    derived = derived_numbers(DERIVED)
    for extreme in (0.0, -5.0, 1e30, 3e38):
        with np.errstate(over="ignore"):
            values = derived(np.full((2, len(PLACES)), extreme, dtype=np.float32))
        assert np.isfinite(values).all()


def test_the_policy_sees_them():
    policy = random_policy(DERIVED, seed=1)
    assert policy.arrays["actor.0.weight"].shape == (16, len(PLACES) + num_derived(DERIVED))
    assert num_derived(DERIVED) == 14
    assert num_derived(describe()) == 0
    still = np.full(len(PLACES), 0.3, dtype=np.float32)
    clipped = still.copy()
    clipped[PLACES["web.request_rate[-0]"]] = 0.31
    assert (policy.logits(still)[0] != policy.logits(clipped)[0]).any()


def test_every_service_has_its_own():
    names = ("a", "b")
    columns = [name.removeprefix("web.") for name in DERIVED.observation_names if name.startswith("web.")]
    described = replace(
        DERIVED,
        observation_names=tuple(f"{service}.{column}" for service in names for column in columns),
        services=tuple(replace(DERIVED.services[0], name=name) for name in names),
        action_nvec=DERIVED.action_nvec * 2,
    )
    derived = derived_numbers(described)
    assert len(derived.names) == 28
    rng = np.random.default_rng(3)
    one, other = (rng.random(len(columns)).astype(np.float32) for _ in names)
    both = derived(np.concatenate([one, other])[None])[0]
    swapped = derived(np.concatenate([other, one])[None])[0]
    other_names = [
        f"{'b' if name.startswith('a') else 'a'}{name.removeprefix(name[0])}" for name in derived.names
    ]
    order = [derived.names.index(name) for name in other_names]
    np.testing.assert_array_equal(both, swapped[order])


def test_files_of_before_have_none_and_files_keep_it():
    content = describe().as_dict()
    del content["network"]["derived"]
    assert PolicyDescription.from_dict(content) == describe()
    assert PolicyDescription.from_dict(DERIVED.as_dict()).network.derived
    content["network"]["derived"] = 1
    with pytest.raises(InputError, match=r"network\.derived is 1; it must be true or false"):
        PolicyDescription.from_dict(content)


def test_what_they_are_made_of_must_be_there():
    with pytest.raises(InputError, match=r"unknown number that policies with derived numbers read"):
        derived_numbers(replace(DERIVED, observation_names=("web.request_rate[-0]",), prior=None))

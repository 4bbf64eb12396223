import pickle
from collections.abc import Callable

import numpy as np
import pytest

from podgym.envs.workloads import LoadProfile, ScenarioWorkload, burst, high_load, low_load
from podgym.errors import InputError

SCENARIOS = [high_load, burst, low_load]


def _plain(make: Callable[..., ScenarioWorkload]) -> LoadProfile:
    """Return the scenario without variation."""
    workload = make(offset_s=0.0, user_variation=0.0)
    return workload.sample(np.random.default_rng(0), workload.duration_s)


def _longest_run_s(profile: LoadProfile, users: float) -> float:
    """Return for how long the users stay at a level, first to last sample of the longest run."""
    at_level = np.flatnonzero(np.isclose(profile.values, users))
    runs = np.split(at_level, np.flatnonzero(np.diff(at_level) > 1) + 1)
    return max(len(run) - 1 for run in runs) * profile.step_s


def test_high_load_climbs_in_five_equal_steps_holds_ten_minutes_and_falls() -> None:
    profile = _plain(high_load)
    levels = [200.0, 360.0, 520.0, 680.0, 840.0, 1000.0]
    assert np.unique(profile.values).tolist() == levels
    peak = int(profile.values.argmax())
    assert np.all(np.diff(profile.values[: peak + 1]) >= 0.0)
    assert np.all(np.diff(profile.values[peak:]) <= 0.0)
    assert _longest_run_s(profile, 1000.0) == 600.0
    jumps_s = profile.times_s[1:][np.diff(profile.values) > 0.0]
    assert np.diff(jumps_s).tolist() == [120.0] * 4
    assert profile.duration_s == 1800.0


def test_burst_triples_the_users_within_ten_seconds_for_three_minutes() -> None:
    profile = _plain(burst)
    assert (profile.values.min(), profile.values.max()) == (500.0, 1500.0)
    assert (profile.values[0], profile.values[-1]) == (500.0, 500.0)
    assert _longest_run_s(profile, 1500.0) == 180.0
    between = np.flatnonzero((profile.values > 500.0) & (profile.values < 1500.0))
    assert (
        len(between) == 2
    )  # one sample half-way up and one half-way down: each flank takes two steps of 5 s
    assert profile.duration_s == 900.0


def test_low_load_rises_and_falls_slowly_once_in_twenty_minutes() -> None:
    profile = _plain(low_load)
    assert (profile.values.min(), profile.values.max()) == (75.0, 300.0)
    assert np.allclose(profile.values, profile.values[::-1])
    assert np.abs(np.diff(profile.values)).max() < 5.0
    assert profile.values.argmax() * profile.step_s == 600.0
    assert profile.duration_s == 1200.0


@pytest.mark.parametrize("make", SCENARIOS)
def test_users_are_counted_and_the_workload_is_closed(make: Callable[..., ScenarioWorkload]) -> None:
    workload = make()
    profile = workload.sample(np.random.default_rng(0), 600.0)
    assert (workload.kind, profile.kind, len(profile.values)) == ("closed", "closed", 121)
    assert workload.max_duration_s == workload.duration_s
    assert profile.start_time_s == 0.0


@pytest.mark.parametrize("make", SCENARIOS)
def test_an_episode_is_the_scenario_moved_and_scaled_within_its_bounds(
    make: Callable[..., ScenarioWorkload],
) -> None:
    workload, plain = make(), _plain(make)
    rng = np.random.default_rng(1)
    offsets_s, factors = [], []
    for _ in range(60):
        episode = workload.sample(rng, workload.duration_s).values
        factor = episode[0] / plain.values[0]
        # Oracle: try every whole shift; the scenario is constant outside its course.
        padded = np.pad(plain.values, 12, mode="edge")
        shifts = [
            np.abs(padded[12 - s : 12 - s + len(episode)] * factor - episode).max() for s in range(-12, 13)
        ]
        assert min(shifts) < 1e-9
        offsets_s.append(5.0 * (int(np.argmin(shifts)) - 12))
        factors.append(factor)
    assert min(offsets_s) < -40.0 < 40.0 < max(offsets_s)
    assert 0.98 <= min(factors) < 0.985
    assert 1.015 < max(factors) <= 1.02


@pytest.mark.parametrize("make", SCENARIOS)
def test_without_variation_all_seeds_agree_and_with_it_equal_seeds_do(
    make: Callable[..., ScenarioWorkload],
) -> None:
    fixed, varied = make(offset_s=0.0, user_variation=0.0), pickle.loads(pickle.dumps(make()))
    one, two = (fixed.sample(np.random.default_rng(seed), 900.0).values for seed in (1, 2))
    assert np.array_equal(one, two)
    again = [varied.sample(np.random.default_rng(5), 900.0) for _ in range(2)]
    assert np.array_equal(again[0].values, again[1].values)
    assert again[0].label == again[1].label
    assert not np.array_equal(again[0].values, varied.sample(np.random.default_rng(6), 900.0).values)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"offset_s": 3600.0}, "has room for"),
        ({"offset_s": -1.0}, "offset_s is -1"),
        ({"user_variation": 1.0}, "below 1"),
        ({"user_variation": float("nan")}, "user_variation is nan"),
    ],
)
def test_impossible_variations_are_refused(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        burst(**options)


def test_a_course_needs_ascending_corners() -> None:
    with pytest.raises(InputError, match="3 or more corners"):
        ScenarioWorkload("mine", (0.0, 60.0), (1.0, 2.0), 60.0)
    with pytest.raises(InputError, match="ascend"):
        ScenarioWorkload("mine", (0.0, 60.0, 60.0), (1.0, 2.0, 1.0), 120.0)


def test_an_episode_longer_than_the_scenario_is_refused() -> None:
    with pytest.raises(InputError, match="'burst' lasts at most 900 s"):
        burst().sample(np.random.default_rng(0), 901.0)

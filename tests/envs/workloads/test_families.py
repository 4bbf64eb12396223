import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.workloads import FAMILIES, FamilyGrid, GeneratedWorkload
from podgym.errors import InputError

HOUR_S = 3600.0
PLAIN = FamilyGrid(level=(1.0, 1.0), noise=(0.0, 0.0))
"""No level and no noise: only the shape of a family is left."""


def _values(family: str, grid: FamilyGrid, seed: int = 0, duration_s: float = HOUR_S) -> np.ndarray:
    workload = GeneratedWorkload(family, 100.0, "train", grid)
    return workload.sample(np.random.default_rng(seed), duration_s).values


@pytest.mark.parametrize("family", FAMILIES)
def test_episodes_are_open_non_negative_and_of_the_documented_step(family: str) -> None:
    workload = GeneratedWorkload(family, 100.0)
    assert workload.step_s == (5.0 if family in ("burst", "flash") else 15.0)
    assert workload.max_duration_s == math.inf
    rng = np.random.default_rng(0)
    for _ in range(50):
        profile = workload.sample(rng, HOUR_S)
        assert profile.kind == "open"
        assert len(profile.values) == HOUR_S / workload.step_s + 1
        assert profile.values.min() >= 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_over_episodes_is_the_mean_rate(family: str) -> None:
    grid = replace(PLAIN, noise=(0.05, 0.05))
    means = np.array([_values(family, grid, seed).mean() for seed in range(400)])
    # Five standard errors: a wrong normalisation of burst or flash would be off by tens of them.
    assert abs(means.mean() - 100.0) < 5.0 * means.std() / math.sqrt(len(means)) + 1e-9
    assert means.mean() == pytest.approx(100.0, rel=0.06)


def test_level_spans_its_bounds_and_moves_the_whole_episode() -> None:
    grid = replace(PLAIN, level=(0.5, 1.5))
    levels = [_values("constant", grid, seed) for seed in range(200)]
    assert all(np.ptp(values) == 0.0 for values in levels)
    firsts = [values[0] for values in levels]
    assert 50.0 <= min(firsts) < 55.0
    assert 145.0 < max(firsts) <= 150.0


def test_noise_has_the_deviation_that_the_grid_says() -> None:
    values = _values("constant", replace(PLAIN, noise=(0.1, 0.1)), duration_s=100 * HOUR_S)
    # Lines between independent draws: the variance is 2/3 of that of the draws, on average.
    assert values.std() == pytest.approx(100.0 * 0.1 * math.sqrt(2.0 / 3.0), rel=0.03)


def test_diurnal_is_one_sine_of_the_drawn_amplitude_and_period() -> None:
    grid = replace(PLAIN, amplitude=(0.5, 0.5), period_s=(HOUR_S, HOUR_S))
    spectrum = np.fft.rfft(_values("diurnal", grid)[:-1]) / 240  # one period of 240 samples
    assert abs(spectrum[0]) == pytest.approx(100.0)
    assert abs(spectrum[1]) == pytest.approx(100.0 * 0.5 / 2.0)
    assert np.abs(spectrum[2:]).max() < 1e-9


def test_variable_changes_level_as_often_and_as_much_as_the_grid_says() -> None:
    grid = replace(PLAIN, amplitude=(0.3, 0.3), change_interval_s=(300.0, 300.0))
    values = _values("variable", grid, duration_s=1000 * HOUR_S)
    assert values.std() == pytest.approx(100.0 * 0.3 * math.sqrt(2.0 / 3.0), rel=0.03)
    corners = np.flatnonzero(np.abs(np.diff(values, n=2)) > 1e-9)
    assert len(np.unique(corners // 20)) == pytest.approx(
        1000 * HOUR_S / 300.0, rel=0.01
    )  # 20 samples of 15 s


def test_burst_has_two_levels_and_the_share_of_an_infinite_server_queue() -> None:
    grid = replace(
        PLAIN, burst_height=(4.0, 4.0), burst_length_s=(120.0, 120.0), burst_rate_per_hour=(6.0, 6.0)
    )
    values = _values("burst", grid, duration_s=1000 * HOUR_S)
    low, high = np.unique(values)
    assert high / low == pytest.approx(4.0)
    assert np.mean(values == high) == pytest.approx(1.0 - math.exp(-6.0 * 120.0 / 3600.0), rel=0.05)


def test_an_episode_may_begin_inside_a_burst_as_often_as_any_other_moment() -> None:
    grid = replace(PLAIN, burst_length_s=(300.0, 300.0), burst_rate_per_hour=(6.0, 6.0))
    episodes = np.array([_values("burst", grid, seed, 900.0) for seed in range(1500)])
    bursting = (episodes > 100.0).mean(axis=0)  # share of episodes in a burst, per sample
    share = 1.0 - math.exp(-6.0 * 300.0 / 3600.0)
    assert np.abs(bursting - share).max() < 4.5 * math.sqrt(share * (1.0 - share) / len(episodes))


def test_flash_rises_in_a_line_decays_exponentially_and_comes_once_an_hour() -> None:
    grid = replace(PLAIN, flash_height=(5.0, 5.0), flash_rise_s=(50.0, 50.0), flash_decay_s=(100.0, 100.0))
    values = _values("flash", grid, seed=3, duration_s=50 * HOUR_S)
    base = 100.0 / (1.0 + 4.0 * (25.0 + 100.0) / HOUR_S)
    crowd = (values / base - 1.0) / 4.0  # 0..1
    assert crowd.min() == pytest.approx(0.0, abs=1e-12)
    onsets = np.flatnonzero((crowd[1:] > 1e-3) & (crowd[:-1] < 1e-9))
    assert 40 <= len(onsets) <= 50  # a few of the 50 begin before the crowd before them is over
    lone = next(i for i in onsets if i + 60 < len(crowd) and crowd[i + 60] < 0.2)
    assert np.diff(crowd[lone + 1 : lone + 10]) == pytest.approx(np.full(8, 5.0 / 50.0), rel=1e-6)
    decay = crowd[lone + 13 : lone + 40]
    assert decay[1:] / decay[:-1] == pytest.approx(np.full(26, math.exp(-5.0 / 100.0)), rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1), family=st.sampled_from(FAMILIES))
def test_equal_seeds_in_two_parts_are_two_episodes(seed: int, family: str) -> None:
    episodes = [
        GeneratedWorkload(family, 100.0, part).sample(np.random.default_rng(seed), 600.0).values
        for part in ("train", "dev", "test", "train")
    ]
    assert np.array_equal(episodes[0], episodes[3])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.any(episodes[one] == episodes[other])


def test_one_generator_gives_a_new_episode_each_time_also_after_pickling() -> None:
    workload = pickle.loads(pickle.dumps(GeneratedWorkload("variable", 100.0)))
    rng = np.random.default_rng(0)
    one, two = (workload.sample(rng, HOUR_S).values for _ in range(2))
    assert not np.array_equal(one, two)
    same = GeneratedWorkload("variable", 100.0).sample(np.random.default_rng(0), HOUR_S).values
    assert np.array_equal(one, same)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"family": "diurnall"}, "unknown family .*'diurnal'"),
        ({"part": "tset"}, "unknown part .*'test'"),
        ({"mean_rate_rps": -5.0}, "mean_rate_rps is -5"),
        ({"mean_rate_rps": math.nan}, "mean_rate_rps is nan"),
        ({"grid": {"level": 1}}, "must be a FamilyGrid"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes: dict[str, object], complaint: str) -> None:
    arguments: dict[str, object] = {"family": "constant", "mean_rate_rps": 100.0}
    with pytest.raises(InputError, match=complaint):
        GeneratedWorkload(**(arguments | changes))


@pytest.mark.parametrize(
    ("bounds", "complaint"),
    [
        ({"level": (1.5, 0.5)}, "lowest value comes first"),
        ({"level": 1.0}, "two numbers"),
        ({"noise": (-0.1, 0.1)}, r"grid\.noise is -0.1"),
        ({"amplitude": (0.5, 1.5)}, "must not exceed 1"),
        ({"burst_height": (0.5, 2.0)}, "at least 1"),
        ({"flash_spacing_s": 600.0}, "at least 3600"),
    ],
)
def test_bad_bounds_are_refused_by_name(bounds: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        FamilyGrid(**bounds)

"""Noise floors against counts, noise and autoregressions whose floor is known."""

import math

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.forecasters.evaluation.noise_floor import noise_floor, room

NAN = float("nan")


def test_floor_of_poisson_counts() -> None:
    mean_counts = 200.0 + 100.0 * np.sin(2.0 * np.pi * np.arange(20_000) / 1440.0)
    counts = np.random.default_rng(0).poisson(mean_counts)
    floor = noise_floor(counts / 60.0, "requests/s", 60.0)
    truth = math.sqrt(200.0) / 60.0
    assert floor.poisson == pytest.approx(truth, rel=0.01)
    assert floor.second_differences == pytest.approx(truth, rel=0.05)
    assert floor.interpolation == pytest.approx(truth, rel=0.05)
    assert noise_floor(counts, "requests/step", 60.0).poisson == pytest.approx(math.sqrt(200.0), rel=0.01)
    assert noise_floor(counts, "%", 60.0).poisson is None
    assert noise_floor(counts / 61.3, "requests/s", 60.0).poisson is None


def test_floor_of_a_sine_with_white_noise() -> None:
    values = 50.0 + 20.0 * np.sin(2.0 * np.pi * np.arange(20_000) / 1440.0)
    values = values + np.random.default_rng(1).normal(0.0, 3.0, 20_000)
    values[::97] = NAN
    floor = noise_floor(values, "%", 60.0)
    assert set(floor.by_name) == {"second_differences", "robust", "interpolation"}
    for estimate in floor.by_name.values():
        assert estimate == pytest.approx(3.0, rel=0.05)


def test_the_robust_estimate_is_not_moved_by_jumps() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, 20_000)
    values[::100] += 50.0
    floor = noise_floor(values, "%", 60.0)
    assert floor.robust == pytest.approx(1.0, rel=0.06)
    assert floor.second_differences > 4.0


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_interpolation_of_an_autoregression(coefficient: float) -> None:
    """Shocks of deviation 1: the best forecast errs by 1, the best interpolation by 1 / sqrt(1 + a^2)."""
    from scipy.signal import lfilter

    shocks = np.random.default_rng(3).normal(0.0, 1.0, 40_000)
    values = lfilter([1.0], [1.0, -coefficient], shocks)
    floor = noise_floor(values, "%", 60.0)
    assert floor.interpolation == pytest.approx(1.0 / math.sqrt(1.0 + coefficient**2), rel=0.02)
    assert floor.interpolation < 1.02


def test_a_random_walk_is_estimated_as_documented() -> None:
    values = np.cumsum(np.random.default_rng(4).normal(0.0, 1.0, 40_000))
    assert noise_floor(values, "%", 60.0).second_differences == pytest.approx(math.sqrt(1 / 3), rel=0.02)


def test_floors_of_few_samples() -> None:
    assert noise_floor([1.0, 2.0, 3.0], "%", 60.0).second_differences == 0.0
    assert noise_floor(np.arange(300.0), "%", 60.0).interpolation is None
    with pytest.raises(InputError, match="no three measured in a row"):
        noise_floor([1.0, 2.0, NAN, 3.0, 4.0], "%", 60.0)


def test_room_is_the_improvement_down_to_the_floor() -> None:
    assert room(0.75, 1.0) == 0.25
    assert room(1.5, 1.0) == 0.0
    assert room(0.0, 0.0) == 0.0

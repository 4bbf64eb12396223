"""Decomposition: what is taken apart adds up again, and no window sees another."""

import builtins
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.decomposition import bands, ceemdan, window_bands

Floats = NDArray[np.float64]


def load(seed: int, num_samples: int = 60) -> Floats:
    t = np.arange(num_samples)
    return np.random.default_rng(seed).poisson(200.0 + 80.0 * np.sin(t / 9.0)).astype(float)


def two_sines(num_samples: int = 300) -> tuple[Floats, Floats]:
    t = np.arange(num_samples)
    return np.sin(2.0 * np.pi * t / 8.0), 2.0 * np.sin(2.0 * np.pi * t / 100.0)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("PyEMD"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'podgym\[forecast\]'"):
        ceemdan(load(0))


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.zeros(0), np.array([1.0, np.nan, 2.0, 3.0])])
def test_values_that_cannot_be_decomposed_are_refused(values: Floats) -> None:
    with pytest.raises(InputError, match="cannot be decomposed"):
        ceemdan(values)


def test_unusable_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="trials is 0"):
        ceemdan(load(0), trials=0)
    with pytest.raises(InputError, match="num_bands is 0"):
        bands(load(0), 0)
    with pytest.raises(InputError, match="num_windows"):
        window_bands(load(0))


@pytest.mark.parametrize("constant", [0.0, 0.1, 7e9])
def test_constant_window_is_one_component(constant: float) -> None:
    window = np.full(30, constant)
    np.testing.assert_array_equal(ceemdan(window), window[np.newaxis])
    np.testing.assert_array_equal(bands(window), np.column_stack([np.zeros((30, 2)), window]))


class TestWithPackage:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("PyEMD")

    @pytest.mark.parametrize("max_components", [1, 2, 3, 8])
    def test_components_sum_to_the_values(self, max_components: int) -> None:
        values = load(1, 120)
        components = ceemdan(values, trials=3, max_components=max_components)
        assert 1 <= len(components) <= max_components
        assert components.shape[1] == 120
        np.testing.assert_allclose(components.sum(axis=0), values, rtol=1e-13)

    def test_same_seed_same_components(self) -> None:
        first, again, other = (ceemdan(load(2), trials=3, seed=seed) for seed in (4, 4, 5))
        np.testing.assert_array_equal(first, again)
        assert first.shape != other.shape or (first != other).any()

    def test_global_random_state_is_neither_used_nor_changed(self) -> None:
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        ceemdan(load(2), trials=2)
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    def test_two_sines_are_separated(self) -> None:
        fast, slow = two_sines()
        components = ceemdan(50.0 + fast + slow, trials=10)
        assert np.corrcoef(components[0], fast)[0, 1] > 0.99
        assert np.corrcoef(components[1:].sum(axis=0), slow)[0, 1] > 0.98
        assert abs(np.corrcoef(components[0], slow)[0, 1]) < 0.05

    def test_bands_hold_what_is_fast_and_what_is_slow(self) -> None:
        fast, slow = two_sines()
        result = bands(50.0 + fast + slow)  # bands: up to 10.6 samples, up to 56, above
        assert np.corrcoef(result[:, 0], fast)[0, 1] > 0.9
        assert np.corrcoef(result[:, 2], slow)[0, 1] > 0.95
        assert result[:, 2].mean() == pytest.approx(50.0, abs=0.5)
        assert abs(result[:, 0].mean()) < 0.1

    @pytest.mark.parametrize("num_bands", [1, 2, 3, 5])
    def test_bands_sum_to_the_window(self, num_bands: int) -> None:
        result = bands(load(3), num_bands)
        assert result.shape == (60, num_bands)
        np.testing.assert_allclose(result.sum(axis=1), load(3), rtol=1e-13)

    @pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 10])
    def test_short_windows_of_few_levels(self, length: int) -> None:
        rng = np.random.default_rng(length)
        windows = rng.integers(0, 3, (5, length)) * 1e6
        result = window_bands(windows, trials=2)
        assert result.shape == (5, length, 3)
        np.testing.assert_allclose(result.sum(axis=2), windows, atol=1e-6)

    def test_straight_line_is_slow(self) -> None:
        line = np.arange(60.0)
        assert np.corrcoef(bands(line)[:, 2], line)[0, 1] > 0.999

    def test_window_does_not_see_what_comes_after_it(self) -> None:
        series = load(4, 70)
        changed = series.copy()
        changed[40:] *= 3.0
        windows, windows_changed = (
            np.lib.stride_tricks.sliding_window_view(values, 30)[::10] for values in (series, changed)
        )
        result, result_changed = window_bands(windows, trials=2), window_bands(windows_changed, trials=2)
        np.testing.assert_array_equal(result[:2], result_changed[:2])  # samples 0 to 39
        assert (result[2] != result_changed[2]).any()

    def test_window_does_not_see_other_windows(self) -> None:
        windows = np.stack([load(seed, 30) for seed in range(3)])
        result = window_bands(windows, trials=2)
        np.testing.assert_array_equal(result[1], bands(windows[1], trials=2))

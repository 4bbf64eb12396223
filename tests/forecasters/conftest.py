"""Series that the tests of the forecasters share."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import ArrayLike

from podgym.forecasters.series import Series

DAY_S = 86_400.0
MakeSeries = Callable[..., Series]


def _made(values: ArrayLike, step_s: float = 60.0, start_s: float = 0.0, name: str = "made") -> Series:
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    names = tuple(f"feature_{column}" for column in range(table.shape[1]))
    return Series(name, names, ("1",) * len(names), table, step_s, start_s)


def _load(
    num_samples: int, num_features: int = 1, *, step_s: float = 60.0, start_s: float = 0.0, seed: int = 0
) -> Series:
    """Positive features with a day, a wandering part and noise; the second one is counted in bytes."""
    random = np.random.default_rng(seed)
    clock_s = start_s + step_s * np.arange(num_samples)
    columns = []
    for feature in range(num_features):
        noise = random.normal(0.0, 1.0, num_samples)
        wandering = np.convolve(random.normal(0.0, 1.0, num_samples), 0.9 ** np.arange(40))[:num_samples]
        day = 15.0 * np.sin(2.0 * np.pi * clock_s / DAY_S + feature)
        columns.append((60.0 + day + noise + wandering) * (1.0, 5e7)[feature])
    return _made(np.column_stack(columns), step_s, start_s)


@pytest.fixture(scope="session")
def make_series() -> MakeSeries:
    """Turn values (num_samples,) or (num_samples, num_features) into a series."""
    return _made


@pytest.fixture(scope="session")
def make_load() -> MakeSeries:
    """Make a seeded series that looks like the load of a service."""
    return _load

"""What is forecast: several features, measured on one regular clock."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, unknown_name

_TINY = 1e-12  # smaller changes, relative to the values, are rounding


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Measurements of several features on one regular clock; a gap is nan.

    Raises:
        InputError: shapes that disagree, an infinite value, a feature named twice, or a bad step.
    """

    name: str
    """Where it comes from, for tables and messages."""
    features: tuple[str, ...]
    """Names of the features, such as ``("cpu_percent", "memory_percent")``."""
    units: tuple[str, ...]
    """Unit of each feature."""
    values: NDArray[np.float64]
    """(num_samples, num_features) in the units; nan: not measured; read-only."""
    step_s: float
    """Seconds between two samples; sample i is the mean over [i, i + 1) steps."""
    start_s: float = 0.0
    """Clock of the first sample, seconds since Monday 00:00; 0 when the clock is unknown."""

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        for name, kind in (("features", tuple), ("units", tuple), ("step_s", float), ("start_s", float)):
            object.__setattr__(self, name, kind(getattr(self, name)))  # equal series are equal, and so hashed
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != len(self.features) or not self.features:
            raise InputError(
                f"series {self.name!r} has values of shape {values.shape} for {len(self.features)} features; "
                "it must be (num_samples, num_features) with one feature or more."
            )
        if len(set(self.features)) != len(self.features) or len(self.units) != len(self.features):
            raise InputError(
                f"series {self.name!r} has features {self.features} and units {self.units}; each feature "
                "needs its own name and one unit."
            )
        if np.isinf(values).any():
            row, column = (int(place[0]) for place in np.nonzero(np.isinf(values)))
            raise InputError(
                f"series {self.name!r}, sample {row}, feature {self.features[column]!r} is infinite; "
                "write nan where nothing was measured."
            )
        if not 0.0 < self.step_s < np.inf:
            raise InputError(f"step_s is {self.step_s!r}; it must be a positive number of seconds.")
        if not np.isfinite(self.start_s):
            raise InputError(f"start_s is {self.start_s!r}; it must be a finite number of seconds.")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def num_samples(self) -> int:
        """Number of samples, gaps included."""
        return int(self.values.shape[0])

    @property
    def num_features(self) -> int:
        """Number of features."""
        return len(self.features)

    @property
    def duration_s(self) -> float:
        """Time covered, from the begin of the first sample to the end of the last."""
        return self.num_samples * self.step_s

    @property
    def content_hash(self) -> str:
        """Sha256 of names, clock and values; equal series have equal hashes."""
        digest = hashlib.sha256(repr((self.features, self.units, self.step_s, self.start_s)).encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()

    def clock_s(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the clock at the begin of some samples, seconds since Monday 00:00 of the first week."""
        return np.asarray(self.start_s + index * self.step_s, dtype=np.float64)

    def slice(self, first: int, stop: int | None = None) -> "Series":
        """Return samples ``first`` to ``stop`` (not included), with their clock."""
        first, stop, _ = slice(first, stop).indices(self.num_samples)
        return replace(self, values=self.values[first:stop], start_s=self.start_s + first * self.step_s)

    def select(self, features: Sequence[str]) -> "Series":
        """Return some of the features, in the order given.

        Raises:
            InputError: a feature that the series does not have.
        """
        for feature in features:
            if feature not in self.features:
                raise unknown_name(f"feature of {self.name}", feature, self.features)
        columns = [self.features.index(feature) for feature in features]
        return replace(
            self,
            features=tuple(features),
            units=tuple(self.units[column] for column in columns),
            values=self.values[:, columns],
        )


def hold_missing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill gaps with the last measured value, as a service that knows no future has to.

    A gap at the begin takes the first value measured after it.

    Args:
        values: (num_samples, num_features), nan where nothing was measured.

    Returns:
        (num_samples, num_features) without nan.

    Raises:
        InputError: a feature without any measured value.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    empty = np.flatnonzero(missing.all(axis=0))
    if len(empty):
        raise InputError(f"feature {int(empty[0])} has no measured value at all; leave it out or record it.")
    rows = np.where(missing, 0, np.arange(len(values))[:, None])
    newest = np.maximum.accumulate(rows, axis=0)  # (num_samples, num_features) row of the last measurement
    first = np.argmax(~missing, axis=0)  # (num_features,)
    filled: NDArray[np.float64] = np.take_along_axis(values, np.maximum(newest, first), axis=0)
    return filled


def silence(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for how many samples, up to each row, some feature was not measured, (num_samples,).

    0 where all features of a row are measured; known at that row, whatever comes after.
    """
    rows = np.arange(len(values))
    newest = np.maximum.accumulate(np.where(np.isnan(values), -1, rows[:, None]), axis=0).min(axis=1)
    return np.asarray(rows - newest, dtype=np.int64)


def gap_rows(values: NDArray[np.float64], longest: int) -> NDArray[np.bool_]:
    """Return which rows lie in a gap of more than ``longest`` samples, (num_samples,).

    A row is missing when any of its features is. Windows that touch such a row are neither learned from
    nor judged.
    """
    missing = np.isnan(values).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    result = np.zeros(len(values), dtype=np.bool_)
    for first, stop in edges.reshape(-1, 2):
        result[first:stop] = stop - first > longest
    return result


def first_measured(values: NDArray[np.float64]) -> int:
    """Return the first row by which every feature (each measured at least once) was measured."""
    return int(np.max(np.argmax(~np.isnan(values), axis=0)))


def require_measured_lately(history: Series, longest: int) -> None:
    """Refuse a history that ends with more than ``longest`` samples in which a feature was not measured."""
    for feature, column in zip(history.features, history.values.T, strict=True):
        measured = np.flatnonzero(~np.isnan(column))
        silent = history.num_samples - 1 - int(measured[-1]) if len(measured) else history.num_samples
        if silent > longest:
            raise InputError(
                f"history {history.name!r} ends with {silent} samples in which {feature!r} was not measured; "
                f"a forecast needs a measurement among the newest {longest + 1}. Mend the monitoring, or "
                "fall back to a reactive controller."
            )


def require_variation(series: Series, where: str = "") -> None:
    """Refuse a series without nan in which a feature is constant.

    Args:
        series: what is to be learned from.
        where: which part of what the user gave this is, for the message.
    """
    for feature, column in zip(series.features, series.values.T, strict=True):
        if column.max() - column.min() <= _TINY * max(abs(float(column.max())), 1.0):
            raise InputError(
                f"series {series.name!r}, feature {feature!r} is constant at {column[0]:g}{where}: there is "
                "nothing to learn. Leave the feature out, or record it while the load changes."
            )

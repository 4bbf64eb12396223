"""Forecasting from an exported file, with ONNX Runtime and without torch.

ONNX Runtime cannot be relied on to refuse bad numbers: its LSTM turns nan into plausible ones, so that a
broken monitor would look like a quiet night. What goes in is therefore checked here, before inference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.errors import InputError, require_whole
from podgym.forecasters.base import Fitted, Forecast, Forecaster
from podgym.forecasters.intervals import ConformalIntervals
from podgym.forecasters.onnx.file import (
    MANIFEST_KEY,
    SCORES_KEY,
    manifest_from_json,
    read_bytes,
    scores_from_text,
    verified_hash,
)
from podgym.forecasters.onnx.runtime import open_session
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series
from podgym.forecasters.windows import windows

LATEST_CLOCK_S = 1e9
"""Clocks from here on are refused, s: 30 years after the first Monday, but 2001 in Unix time."""

_OUT_OF_RANGE = (
    "Check its unit. If the load is real, fall back to a reactive controller, or export the forecaster with "
    "a wider range (load_factor or allowed)."
)


class OnnxForecaster(Forecaster):
    """An exported forecaster: same forecasts, no torch. Made by ``load_onnx``.

    ``forecast`` and ``forecast_all`` are those of every forecaster, with intervals that follow the newest
    errors. ``predict`` is for services: arrays in, arrays out, intervals of the held-out scores.
    """

    name = "onnx"

    def __init__(self, content: bytes, origin: str, threads: int = 1) -> None:
        """Verify, read and prepare the bytes of a file; see ``load_onnx``.

        Args:
            content: all bytes of the file.
            origin: name of the file, for messages.
            threads: threads of one inference.
        """
        digest = verified_hash(content, origin)
        session = open_session(content, origin, threads)
        entries: dict[str, str] = session.get_modelmeta().custom_metadata_map
        manifest = manifest_from_json(entries.get(MANIFEST_KEY, ""), digest, origin)
        scores = scores_from_text(entries.get(SCORES_KEY, ""), manifest, origin)
        super().__init__(horizon_minutes=manifest.horizon_minutes)
        self.name = manifest.model
        self.min_context = manifest.min_context
        self.manifest = manifest
        self._source = (content, origin, threads)
        self._session = session
        self._inputs = [each.name for each in session.get_inputs()]
        # (context, num_features): comparing arrays of one shape is ten times as fast as broadcasting a row.
        self._low = np.tile(np.array(manifest.allowed_low), (manifest.context, 1))
        self._high = np.tile(np.array(manifest.allowed_high), (manifest.context, 1))
        floor = np.array(manifest.scale_floor)
        self._horizon = manifest.spec.horizon
        self._fitted = Fitted(manifest.spec, ConformalIntervals(scores, floor))

    def __reduce__(self) -> tuple[type[Self], tuple[bytes, str, int]]:
        """Be copied and sent to other processes as the bytes of the file: a session cannot be."""
        return type(self), self._source

    def predict(self, history: ArrayLike, clock_s: ArrayLike, known: ArrayLike | None = None) -> Forecast:
        """Forecast from arrays, after checking every number.

        Args:
            history: (batch, context, num_features) in the units of ``manifest.spec``, the newest sample last.
                Where fewer than ``manifest.context`` samples are known, the oldest one is repeated.
            clock_s: (batch,) seconds since Monday 00:00 at the begin of the newest sample.
            known: (batch,) measured samples of each history, ``manifest.min_context`` or more; default: all.

        Returns:
            (batch, horizon, num_features) means and intervals, in the units of the features.

        Raises:
            InputError: arrays of another type or shape, nan, infinity, or a value out of the allowed range.
        """
        manifest = self.manifest
        values = _numbers("history", history)
        expected = (manifest.context, len(manifest.spec.features))
        if values.ndim != 3 or values.shape[1:] != expected or not len(values):
            raise InputError(
                f"history has shape {values.shape}; {self.name} takes (batch, context, num_features) = (1 or "
                f"more, {expected[0]}, {expected[1]}). Where less history is known, repeat its oldest sample "
                "and say with known= how much there is."
            )
        clocks = self._checked_clocks(clock_s, len(values))
        counts = self._checked_counts(known, len(values))
        bad = _first_outside(values, self._low, self._high)
        if bad is not None:
            row, sample, column = bad
            raise self._bad_value(
                f"history[{row}, {sample}, {column}]", column, float(values[row, sample, column])
            )
        return Forecast(*self._run(values, clocks, counts))

    def fit(self, series: Series, run: FitRun | None = None) -> Self:
        """Refuse: an exported forecaster cannot learn.

        Raises:
            InputError: always.
        """
        self._refuse("be trained")

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor of the forecaster that was exported."""
        return dict(self.manifest.options)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the file; it is not that of the original, whose last digits differ."""
        return self.manifest.sha256

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        self._refuse("be trained")

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        raise InputError(f"an exported {self.name} is not saved again; copy its file.")

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._refuse("take other weights")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"an exported {self.name} cannot {what}: its file holds a graph for inference only. Train the "
            f"original forecaster ({self.name}) and export that."
        )

    @property
    def _parameters(self) -> int:
        return self.manifest.spec.parameters

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        context = self.manifest.context
        first = max(0, int(origins[0]) - context + 1)
        used = series.values[first : int(origins[-1]) + 1]
        bad = _first_outside(used[None], self._low[:1], self._high[:1])
        if bad is not None:
            sample, column = bad[1:]
            place = f"series {series.name!r}, sample {first + sample}"
            raise self._bad_value(place, column, float(used[sample, column]))
        return np.concatenate([self._run(*window)[0] for window in windows(series, origins, context)])

    def _run(
        self, history: NDArray[np.float64], clock_s: NDArray[np.float64], known: NDArray[np.float64]
    ) -> list[NDArray[np.float64]]:
        """Return mean, lower and upper end of checked inputs."""
        inputs = {"history": history, "clock_s": clock_s, "known": known}
        result: list[NDArray[np.float64]] = self._session.run(
            ["mean", "lower", "upper"], {name: inputs[name] for name in self._inputs}
        )
        return result

    def _bad_value(self, place: str, column: int, value: float) -> InputError:
        spec = self.manifest.spec
        low, high = self.manifest.allowed_low[column], self.manifest.allowed_high[column]
        what = f"{place}, feature {spec.features[column]!r} is {value:g}"
        if np.isnan(value):
            return InputError(
                f"{what}: nothing was measured. Hold the last measured value for a short gap; fall back to a "
                "reactive controller for a long one."
            )
        return InputError(
            f"{what} {spec.units[column]}; allowed: {low:g} to {high:g} {spec.units[column]}. {_OUT_OF_RANGE}"
        )

    def _checked_clocks(self, clock_s: ArrayLike, batch: int) -> NDArray[np.float64]:
        clocks = _numbers("clock_s", clock_s)
        _require_shape("clock_s", clocks, batch)
        good = (clocks >= 0.0) & (clocks < LATEST_CLOCK_S)  # nan compares as False
        if not good.all():
            bad = int(np.argmin(good))
            raise InputError(
                f"clock_s[{bad}] is {clocks[bad]:g}; it must be seconds since Monday 00:00, from 0 to "
                f"{LATEST_CLOCK_S:g}. Unix time t, which began on a Thursday, is (t - 345600) % 604800."
            )
        return clocks

    def _checked_counts(self, known: ArrayLike | None, batch: int) -> NDArray[np.float64]:
        if known is None:
            return np.full(batch, float(self.manifest.context))
        counts = _numbers("known", known)
        _require_shape("known", counts, batch)
        good = (counts >= self.min_context) & (counts < np.inf) & (np.rint(counts) == counts)
        if not good.all():
            bad = int(np.argmin(good))
            raise InputError(
                f"known[{bad}] is {counts[bad]:g}; it must be the whole number of samples that were "
                f"measured, and {self.name} needs {self.min_context} or more to look back on."
            )
        return counts


def load_onnx(path: str | Path, *, features: Sequence[str] | None = None, threads: int = 1) -> OnnxForecaster:
    """Load an exported forecaster, after verifying every byte of its file.

    Args:
        path: file that ``export_onnx`` wrote.
        features: names and order that the caller will send; anything else is refused. Default: not checked.
        threads: threads of one inference. One is best for a single forecast, and keeps a small pod small.

    Raises:
        InputError: a missing, damaged or foreign file, another format version, other features, or ONNX
            Runtime is not installed.
    """
    path = Path(path)
    require_whole("threads", threads, 1, 1024)
    forecaster = OnnxForecaster(read_bytes(path), str(path), threads)
    if features is not None and tuple(features) != forecaster.spec.features:
        raise InputError(
            f"{path} forecasts the features {', '.join(forecaster.spec.features)}; asked for: "
            f"{', '.join(features)}. Give them by these names and in this order, or export a forecaster "
            "trained on yours."
        )
    return forecaster


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return an array as float64, refusing what is not made of numbers."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} is not an array: its rows differ in length.") from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} holds {array.dtype}; it must hold real numbers, best float64.")
    return np.asarray(array, dtype=np.float64, order="C")


def _first_outside(
    values: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[int, int, int] | None:
    """Return the index of the first number of (batch, samples, F) that is nan or out of range."""
    inside = (values >= low) & (values <= high)  # nan compares as False
    if inside.all():
        return None
    row, sample, column = np.unravel_index(int(np.argmin(inside)), inside.shape)
    return int(row), int(sample), int(column)


def _require_shape(name: str, values: NDArray[np.float64], batch: int) -> None:
    if values.shape != (batch,):
        raise InputError(f"{name} has shape {values.shape}; it must be ({batch},), one number per history.")

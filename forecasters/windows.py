"""Windows over a series: which may be learned from, and the arrays that a network is called with."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from podgym.forecasters.series import Series

_CHUNK = 512  # windows that are handled at once: three days of minutes each are 18 MB


class Windows(NamedTuple):
    """A chunk of windows, each ending at its origin."""

    history: NDArray[np.float64]
    """(n, context, num_features) physical units, the newest sample last; before the first sample of the
    series that sample is repeated."""
    clock_s: NDArray[np.float64]
    """(n,) begin of the newest sample, seconds since Monday 00:00 of the first week."""
    known: NDArray[np.float64]
    """(n,) samples that the series has up to the origin."""


def windows(series: Series, origins: NDArray[np.int64], context: int) -> Iterator[Windows]:
    """Yield the windows of some origins in chunks.

    Args:
        series: without nan.
        origins: (num_origins,) sample indices.
        context: samples of a window.
    """
    padded = np.concatenate([np.repeat(series.values[:1], context - 1, axis=0), series.values])
    every = np.lib.stride_tricks.sliding_window_view(padded, context, axis=0)  # (num_samples, F, context)
    for first in range(0, len(origins), _CHUNK):
        chosen = origins[first : first + _CHUNK]
        history = np.ascontiguousarray(every[chosen].transpose(0, 2, 1))
        yield Windows(history, series.clock_s(chosen), (chosen + 1).astype(np.float64))


def usable_origins(
    trusted: NDArray[np.bool_],
    context: int,
    horizon: int,
    first: int,
    stop: int,
    kept: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Return the origins whose window and targets lie in [first, stop) or reach back, free of long gaps.

    Args:
        trusted: (num_samples,) False inside long gaps.
        context: samples of the window.
        horizon: samples of the target.
        first: first sample that may be a target.
        stop: first sample that may not.
        kept: (num_samples,) False where a value was filled in; neither the newest sample of a window nor a
            target may be. Default: all were measured.
    """
    origins = np.arange(max(context - 1, first - 1), stop - horizon)
    broken = np.concatenate([[0], np.cumsum(~trusted)])
    whole = broken[origins + horizon + 1] == broken[origins - context + 1]
    if kept is not None:
        filled = np.concatenate([[0], np.cumsum(~kept)])
        whole &= filled[origins + horizon + 1] == filled[origins]
    result: NDArray[np.int64] = origins[whole]
    return result

"""How low an error can get: the noise of single measurements, which no forecast can know.

A measurement is a load plus noise. The best forecast tells the load; the root mean squared error that is left
is the standard deviation of the noise. What is known of it depends on what is assumed, so there are several
estimates, each with its assumption.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.errors import InputError

Floats = NDArray[np.float64]

NEIGHBOURS = 20
"""Samples on each side that the estimate by interpolation is told."""
ASSUMPTIONS = {
    "poisson": "if requests arrive independently of each other (Poisson)",
    "second_differences": "if the load is a straight line over any three samples and noise is independent",
    "interpolation": (
        f"for a forecast that is linear in past values, even if it were told the {NEIGHBOURS} samples before "
        f"and the {NEIGHBOURS} after"
    ),
}
"""What each estimate rests on, as the end of a sentence."""

_WHOLE = 0.05  # a count may be off by this much after rounding of the rate
_WHOLE_SHARE = 0.95  # of values between counts only a tenth would be so close to one
_FEWEST_PER_WEIGHT = 10  # windows for each weight of the linear estimate
_NORMAL_MAD = 1.482602218505602  # standard deviation of a normal distribution / its median absolute deviation


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Estimates of the smallest root mean squared error, in the unit of the feature."""

    poisson: float | None
    """Root of the mean variance of Poisson counts of this mean; None for what is not a count. Arrivals in
    bursts vary more, so the true floor is often higher, hardly lower."""
    second_differences: float
    """Root of the variance of second differences / 6. Too high where the load itself jumps from sample to
    sample, too low where the noise of neighbours is alike (a random walk with steps s has a floor of s one
    step ahead, and an estimate of 0.58 s)."""
    robust: float
    """The same from the median absolute deviation: the noise of ordinary samples, without jumps and spikes.
    Below the one above also where the noise grows with the load."""
    interpolation: float | None
    """Residual of the best linear estimate of a sample from its neighbours on both sides, fitted to the very
    samples. For a stationary series that is never more than the error of the best linear forecast (Grenander
    and Rosenblatt, "Statistical Analysis of Stationary Time Series", 1957: the harmonic mean of a spectrum is
    at most its geometric mean), so it needs no noise model; a forecast that is not linear, or knows more than
    the series, may get lower. None with too few samples to fit."""

    @property
    def by_name(self) -> dict[str, float]:
        """The floors that apply, by name."""
        floors = {name: getattr(self, name) for name in self.__slots__}
        return {name: floor for name, floor in floors.items() if floor is not None}


def noise_floor(values: ArrayLike, unit: str, step_s: float) -> NoiseFloor:
    """Estimate the noise of a series.

    Args:
        values: (num_samples,) of one feature in time order; nan: not measured.
        unit: its unit. "requests/s" and "requests/step" are counts if (nearly) all are whole numbers of
            requests per step.
        step_s: seconds between two samples.

    Raises:
        InputError: no three measured samples in a row.
    """
    series = np.asarray(values, dtype=np.float64)
    second = series[2:] - 2.0 * series[1:-1] + series[:-2]
    second = second[np.isfinite(second)]
    if not len(second):
        raise InputError(f"the {len(series)} samples hold no three measured in a row; judge a longer part.")
    # A straight line cancels; the variance of e[i+1] - 2 e[i] + e[i-1] is (1 + 4 + 1) times that of e.
    spread = math.sqrt(float((second**2).mean()) / 6.0)
    robust = _NORMAL_MAD * float(np.median(np.abs(second))) / math.sqrt(6.0)
    poisson = _poisson(series[np.isfinite(series)], unit, step_s)
    return NoiseFloor(poisson, spread, robust, _interpolation(series))


def room(floor: float, rmse: float) -> float:
    """Return the largest relative improvement over an error that a floor leaves, 0 when there is none."""
    return max(0.0, 1.0 - floor / rmse) if rmse > 0.0 else 0.0


def _poisson(values: Floats, unit: str, step_s: float) -> float | None:
    per_step = {"requests/s": step_s, "requests/step": 1.0}.get(unit)
    if per_step is None:
        return None
    counts = values * per_step
    whole = np.abs(counts - np.rint(counts)) <= _WHOLE
    if whole.mean() < _WHOLE_SHARE or counts.min() < -_WHOLE:
        return None
    # A Poisson count has its mean as variance; the mean of the variances counts for the mean squared error.
    return math.sqrt(float(counts.mean())) / per_step


def _interpolation(series: Floats) -> float | None:
    width = 2 * NEIGHBOURS + 1
    if len(series) < width:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(series, width)  # (num_windows, width)
    windows = windows[np.isfinite(windows).all(axis=1)]
    if len(windows) < _FEWEST_PER_WEIGHT * width:
        return None
    centred = windows - windows.mean()
    target = centred[:, NEIGHBOURS]
    inputs = np.column_stack([np.ones(len(centred)), np.delete(centred, NEIGHBOURS, axis=1)])
    weights = np.linalg.lstsq(inputs, target, rcond=None)[0]
    residual = target - inputs @ weights
    # One degree of freedom is lost for each weight: without that the fit would flatter itself.
    return math.sqrt(float(residual @ residual) / (len(residual) - width))

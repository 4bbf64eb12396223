"""Decomposition of a window into slow and fast parts, as an input for models.

CEEMDAN: Torres, Colominas, Schlotthauer and Flandrin, "A complete ensemble empirical mode decomposition with
adaptive noise", ICASSP 2011, by the package EMD-signal.

A component at time t depends on the samples after t: an extremum is known only when it is past. Whoever
decomposes a whole series first and cuts it into windows then, as many papers do, lets the model look at what
it is to forecast. Here every window is decomposed by itself, for training and for forecasts alike. The price
is that the last samples of a window, the most telling ones, are decomposed the least well.
"""

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError

Floats = NDArray[np.float64]

WINDOW_TRIALS = 5
"""Noise realisations per window: few, as there are as many windows as samples."""
_MIN_SAMPLES = 4  # shorter windows have no two extrema to draw an envelope through
_SHORTEST_PERIOD = 2.0  # samples; nothing faster can be told from a slower one


def ceemdan(values: Floats, *, trials: int = 50, seed: int = 0, max_components: int = 8) -> Floats:
    """Return the components of one feature, from the fastest to the slowest.

    They sum to the values up to rounding: what is left after the last oscillation, the mean included, is the
    last component. The result is the same for the same values, seed and versions of the packages.

    Args:
        values: (num_samples,) any unit, finite. Fewer than 4 samples, or equal ones, are one component.
        trials: noise realisations that are averaged; time is proportional to it.
        seed: of the noise.
        max_components: most components returned, 1 or more.

    Returns:
        (num_components, num_samples) in the unit of the values.

    Raises:
        InputError: values that are not one-dimensional and finite, no trials or components, or the package
            EMD-signal is not installed.
    """
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise InputError(
            f"values of shape {values.shape} cannot be decomposed; they must be (num_samples,) and finite. "
            "Fill gaps first, with cleaning.interpolate for training or series.hold_missing for forecasts."
        )
    if trials < 1 or max_components < 1:
        raise InputError(f"trials is {trials} and max_components {max_components}; both must be 1 or more.")
    if len(values) < _MIN_SAMPLES or max_components == 1 or values.min() == values.max():
        return values[np.newaxis, :].astype(np.float64)
    oscillations = _oscillations(values, trials, seed, max_components - 1)
    return np.vstack([oscillations, values - oscillations.sum(axis=0)])


def bands(window: Floats, num_bands: int = 3, *, trials: int = WINDOW_TRIALS, seed: int = 0) -> Floats:
    """Return a window as a fixed number of bands, from the fastest to the slowest.

    The number of components differs from window to window and inputs of a network do not, so components are
    added up by their mean period. The bands divide the periods from 2 samples to the window's length into
    equal parts of the logarithm: with 60 samples and 3 bands, up to 6.2, up to 19.3, and above. What does not
    oscillate is in the slowest.

    Args:
        window: (window,) any unit, finite.
        num_bands: number of bands, 1 or more.
        trials: see ``ceemdan``.
        seed: see ``ceemdan``.

    Returns:
        (window, num_bands) in the unit of the window; the bands of a sample sum to it up to rounding.

    Raises:
        InputError: no bands, or what ``ceemdan`` refuses.
    """
    if num_bands < 1:
        raise InputError(f"num_bands is {num_bands}; it must be 1 or more.")
    components = ceemdan(window, trials=trials, seed=seed)
    result = np.zeros((len(window), num_bands))
    for component in components[:-1]:
        result[:, _band_of(component, num_bands)] += component
    result[:, -1] += window - result.sum(axis=1)
    return result


def window_bands(
    windows: Floats, num_bands: int = 3, *, trials: int = WINDOW_TRIALS, seed: int = 0
) -> Floats:
    """Return the bands of many windows, each decomposed from itself alone.

    Row k depends on row k only, so a window never sees what comes after it. The noise is the same in every
    window. Slow, about 0.1 s for a window of 60 samples: a week of minutes takes 17 minutes. Keep the
    result.

    Args:
        windows: (num_windows, window) any unit, finite.
        num_bands: number of bands, 1 or more.
        trials: see ``ceemdan``.
        seed: see ``ceemdan``.

    Returns:
        (num_windows, window, num_bands) in the unit of the windows.

    Raises:
        InputError: not a table of windows, or what ``bands`` refuses.
    """
    if windows.ndim != 2:
        raise InputError(f"windows have the shape {windows.shape}; it must be (num_windows, window).")
    result = np.zeros((*windows.shape, num_bands))
    for row, window in enumerate(windows):
        result[row] = bands(window, num_bands, trials=trials, seed=seed)
    return result


def _oscillations(values: Floats, trials: int, seed: int, max_oscillations: int) -> Floats:
    """Return the intrinsic mode functions of values (num_samples,) that differ, without what is left over."""
    try:
        from PyEMD import CEEMDAN
    except ImportError as error:
        raise InputError(
            "decomposition needs the package EMD-signal; install it with: pip install 'podgym[forecast]'"
        ) from error
    model = CEEMDAN(trials=trials, seed=seed, parallel=False)
    modes: Floats = model.ceemdan(values, max_imf=max_oscillations)[:max_oscillations]
    return modes


def _band_of(component: Floats, num_bands: int) -> int:
    """Return the band that a component (window,) belongs to by its mean period."""
    signs = np.sign(component)
    num_crossings = np.count_nonzero(np.diff(signs[signs != 0.0]))
    if num_crossings == 0:
        return num_bands - 1
    period = 2.0 * len(component) / num_crossings  # samples
    place = np.log(period / _SHORTEST_PERIOD) / np.log(len(component) / _SHORTEST_PERIOD)
    return int(np.clip(place * num_bands, 0, num_bands - 1))

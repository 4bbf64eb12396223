"""What a monitor reports that is not load: gaps, stuck values, counter resets and isolated spikes.

The filter is made to leave real load alone, at the price of missing faults that look like load:

* a spike lasts at most ``spike_s`` (two minutes), so a flash crowd survives, and with a step above
  ``spike_s`` (as in traces of 5 minutes) no spike is ever flagged;
* a spike that recurs at the same time on the day before or after is a scheduled job, and stays;
* a feature in which samples high above their surroundings are common (more than ``spike_share``, as in event
  counts with heavy tails) is bursty by nature, and all its spikes stay;
* where the local median is 0 any activity is load; what a spike is then cannot be said;
* an outage longer than ``reset_samples`` stays, and so does a run of equal values at the lowest or highest
  value of the feature, which is idleness or saturation.

Spikes and resets are measured against median and median absolute deviation of a surrounding window (the
Hampel identifier: Davies and Gather, "The identification of multiple outliers", JASA 88, 1993).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MAD_TO_STD = 1.4826
"""Standard deviation of a normal law over its median absolute deviation."""
_DAY_S = 86_400.0
_MAX_REPEAT_SHARE = 0.05  # equal neighbours outside long runs, beyond which equality is no sign of a fault
_SAME_TIME_SAMPLES = 1  # a daily job may start this many samples earlier or later


@dataclass(frozen=True, slots=True)
class AnomalyConfig:
    """When a sample is taken for a fault of the monitor."""

    window_samples: int = 31
    """Length of the window, centred on a sample, for its local median and spread, samples; odd."""
    stuck_samples: int = 10
    """Shortest run of bit-identical values that counts as stuck, samples; 0: do not look for them."""
    spike_samples: int = 2
    """Longest spike, samples; 0: do not look for them."""
    spike_s: float = 120.0
    """Longest spike, s; whichever of the two limits is shorter holds."""
    spike_threshold: float = 8.0
    """Smallest height of a spike above the local median, local standard deviations."""
    spike_rise: float = 0.5
    """Smallest height of a spike above the local median, share of that median."""
    spike_share: float = 0.005
    """Share of samples at least half as high as a spike must be, beyond which a feature is bursty and none of
    its spikes is flagged."""
    reset_samples: int = 3
    """Longest drop to (almost) nothing with return, samples; 0: do not look for them."""
    reset_level: float = 0.05
    """Highest value of a dropped sample, share of the local median."""
    reset_threshold: float = 4.0
    """Smallest depth of a drop below the local median, local standard deviations."""

    def __post_init__(self) -> None:
        """Refuse settings under which the local median would be that of the fault itself."""
        longest = max(self.spike_samples, self.reset_samples, 1)
        if self.window_samples % 2 == 0 or self.window_samples < 4 * longest + 1:
            raise InputError(
                f"window_samples is {self.window_samples}; it must be odd and at least {4 * longest + 1}, 4"
                " times the longest spike or drop and one, so that these do not move the local median."
            )
        if (
            self.stuck_samples in (1, 2)
            or min(self.stuck_samples, self.spike_samples, self.reset_samples) < 0
        ):
            raise InputError(
                f"stuck_samples is {self.stuck_samples}, spike_samples {self.spike_samples}, reset_samples "
                f"{self.reset_samples}; each must be 0 (off) or more, stuck_samples 0 or at least 3."
            )


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyReport:
    """Which samples are not load, by kind; (num_samples, num_features) each, no sample in two kinds."""

    missing: Flags
    """Not measured (nan)."""
    stuck: Flags
    """Repeats the value before it, in a long run; the first of the run is a measurement and not flagged."""
    resets: Flags
    """A drop to (almost) nothing with return to the former level."""
    spikes: Flags
    """Far above its surroundings for a moment, with return."""

    @property
    def anomalous(self) -> Flags:
        """Measured, but not load: stuck, reset or spike."""
        return self.stuck | self.resets | self.spikes


def find_anomalies(values: Floats, step_s: float, config: AnomalyConfig | None = None) -> AnomalyReport:
    """Return which samples are not load.

    Missing samples are left out first, so that a spike right after a gap is still seen as one.

    Args:
        values: (num_samples, num_features) physical units, 0 or more as load is; nan: missing.
        step_s: s between two samples.
        config: when a sample is a fault; the defaults if None.

    Raises:
        InputError: values that are not two-dimensional or hold an infinity.
    """
    require_table(values)
    chosen = AnomalyConfig() if config is None else config
    missing = np.isnan(values)
    stuck, resets, spikes = (np.zeros(values.shape, dtype=np.bool_) for _ in range(3))
    for column in range(values.shape[1]):
        kept = np.flatnonzero(~missing[:, column])  # (num_kept,) sample numbers
        if len(kept) < 3:
            continue
        measured = values[kept, column]  # (num_kept,) physical units
        stuck[kept, column] = _find_stuck(measured, chosen)
        median, spread = _local_level(measured, chosen.window_samples)
        resets[kept, column] = _find_resets(measured, median, spread, chosen)
        spikes[kept, column] = _find_spikes(measured, median, spread, _longest_spike(step_s, chosen), chosen)
        spikes[:, column] = _without_daily(spikes[:, column], step_s)
    return AnomalyReport(missing, stuck, resets & ~stuck, spikes & ~stuck)


def require_table(values: Floats) -> None:
    """Refuse what is not a table of samples by features, or holds an infinity.

    Raises:
        InputError: see above.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"values have the shape {values.shape}; they must be (num_samples, num_features).")
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0].tolist()
        raise InputError(
            f"sample {row} of feature {column} is infinite; write a measurement that is missing as nan."
        )


def runs_of(flags: Flags) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and stop index of each run of True in ``flags`` (n,)."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def flags_of(firsts: NDArray[np.int64], stops: NDArray[np.int64], num_samples: int) -> Flags:
    """Return (num_samples,) flags that are True inside the runs; the inverse of ``runs_of``."""
    steps = np.zeros(num_samples + 1, dtype=np.int64)
    steps[firsts] += 1
    steps[stops] -= 1
    inside: Flags = np.cumsum(steps)[:-1] > 0
    return inside


def _local_level(measured: Floats, window_samples: int) -> tuple[Floats, Floats]:
    """Return local median and standard deviation (num_kept,), both robust.

    The deviation is never below that of the feature as a whole: between neighbours if they mostly differ,
    else of all samples. So a window of equal values does not make its every change a spike.
    """
    half = min(window_samples, len(measured)) // 2
    windows = _windows(measured, half)  # (num_kept, window) physical units
    median = np.median(windows, axis=1)
    local = MAD_TO_STD * np.median(np.abs(windows - median[:, np.newaxis]), axis=1)
    steps = np.abs(np.diff(measured))
    whole = MAD_TO_STD * float(np.median(steps)) / np.sqrt(2.0)
    if whole == 0.0:
        whole = float(measured.std())
    return median, np.maximum(local, whole)


def _windows(measured: Floats, half: int) -> Floats:
    """Return the centred windows of all samples, (num_kept, 2 * half + 1); the ends are mirrored."""
    padded = np.pad(measured, half, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)


def _find_stuck(measured: Floats, config: AnomalyConfig) -> Flags:
    """Return which samples repeat a value that the monitor no longer updates, (num_kept,)."""
    none = np.zeros(len(measured), dtype=np.bool_)
    if config.stuck_samples == 0 or np.mean(measured == np.rint(measured)) > 0.5:
        return none
    firsts, stops = runs_of(np.concatenate(([False], measured[1:] == measured[:-1])))
    long = stops - firsts + 1 >= config.stuck_samples  # a run also has the sample that its repeats repeat
    num_in_long = int((stops - firsts)[long].sum())
    num_repeats = int((stops - firsts).sum()) - num_in_long
    if num_in_long > 0.5 * len(measured) or num_repeats > _MAX_REPEAT_SHARE * (len(measured) - num_in_long):
        return none
    limits = (measured[firsts] == measured.min()) | (measured[firsts] == measured.max())
    # Before the first and after the last measurement that changes there is nothing to put in its place.
    at_end = (firsts == 1) | (stops == len(measured))
    chosen = long & ~limits & ~at_end
    return flags_of(firsts[chosen], stops[chosen], len(measured))


def _find_resets(measured: Floats, median: Floats, spread: Floats, config: AnomalyConfig) -> Flags:
    """Return which samples are short drops to (almost) nothing, (num_kept,)."""
    low = (measured <= config.reset_level * median) & (median - measured > config.reset_threshold * spread)
    returned = measured >= 0.5 * median
    return _short_runs(low, returned, config.reset_samples)


def _find_spikes(
    measured: Floats, median: Floats, spread: Floats, longest: int, config: AnomalyConfig
) -> Flags:
    """Return which samples are isolated spikes, (num_kept,)."""
    height = np.maximum(config.spike_threshold * spread, config.spike_rise * np.abs(median))
    above = measured - median
    high = (above > height) & (median != 0.0)
    returned = above <= 0.5 * height
    spikes = _short_runs(high, returned, longest)
    # Counted at half the height: a tail that goes on just below the threshold is a tail all the same.
    half_high = np.count_nonzero((above > 0.5 * height) & (above > 0.0))
    bursty = half_high > max(config.spike_share * len(measured), longest)
    return np.zeros_like(spikes) if bursty else spikes


def _short_runs(flags: Flags, returned: Flags, longest: int) -> Flags:
    """Return the runs of at most ``longest`` samples whose neighbours on both sides are ``returned``."""
    firsts, stops = runs_of(flags)
    inside = (firsts > 0) & (stops < len(flags)) & (stops - firsts <= longest)
    firsts, stops = firsts[inside], stops[inside]
    isolated = returned[firsts - 1] & returned[stops]
    return flags_of(firsts[isolated], stops[isolated], len(flags))


def _longest_spike(step_s: float, config: AnomalyConfig) -> int:
    """Longest spike in samples, by both limits."""
    return min(config.spike_samples, int(config.spike_s / step_s + 1e-9))


def _without_daily(spikes: Flags, step_s: float) -> Flags:
    """Return the spikes (num_samples,) that have none at the same time on the day before or after."""
    day = round(_DAY_S / step_s)
    if day <= _SAME_TIME_SAMPLES or day >= len(spikes):
        return spikes
    recurs = np.zeros_like(spikes)
    for shift in range(day - _SAME_TIME_SAMPLES, day + _SAME_TIME_SAMPLES + 1):
        recurs[shift:] |= spikes[:-shift]
        recurs[:-shift] |= spikes[shift:]
    return spikes & ~recurs

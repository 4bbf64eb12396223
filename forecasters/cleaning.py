"""Cleaning of measurements before a model is fitted to them: gaps, outliers, scaling, resampling, splitting.

The rules are those of the LSTM + GA paper: samples with |z| > 3 are outliers, gaps and outliers are filled by
linear interpolation, values are scaled to [0, 1] with the bounds of the training part. Added to them is the
filter of ``podgym.forecasters.anomalies`` for faults of the monitor.

Only training data are cleaned. At forecast time an outlier is not known to be one before its neighbours are,
and forecasts are judged against what was measured.

Why ``clean`` is not the paper's single pass: taking outliers out lowers the standard deviation, and a second
pass finds more. One pass would depend on how often it was run. ``clean`` therefore repeats detection and
interpolation until nothing is found:

* it ends: a sample that was removed never comes back, and every pass removes one more or is the last. No
  filled sample is outside the range of its two kept neighbours, hence none is an outlier unless one of those
  is (|x - mean| is convex); should another rule find filled samples only, their neighbours go as well;
* it is idempotent, exactly: its result has no gap, and nothing in it would be removed.

With a heavy tail the repetition would take away one layer after the other. Where it would replace more than
``max_outlier_share`` of a feature, a z-score does not fit that feature's law; its outliers then all stay, and
the report says so.

And one thing is mended. By the letter the paper's rule takes the peak out of every daily batch job and the
whole of a flash crowd, which are what a forecast is for. So a stretch of high (or low) samples that goes on
for longer than ``longest_outlier_s`` is load, and stays. ``PAPER_CLEANING`` is without this and without the
filter of faults; the paper's single pass is ``interpolate(np.where(zscore_outliers(x), np.nan, x))``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.anomalies import AnomalyConfig, find_anomalies, flags_of, require_table, runs_of
from podgym.forecasters.cleaning_report import CleaningReport as CleaningReport
from podgym.forecasters.cleaning_report import FeatureReport as FeatureReport
from podgym.forecasters.series import Series

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Why a sample is replaced, as numbered in arrays; 0: it is kept.
_KEPT, _MISSING, _STUCK, _RESET, _SPIKE, _OUTLIER = range(6)
Causes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class CleaningConfig:
    """What ``clean`` takes for no measurement of the load."""

    z_threshold: float | None = 3.0
    """Smallest |z| of an outlier; None: no outliers are taken out."""
    longest_outlier_s: float = 300.0
    """Longest time that outliers may last, s, counting the samples around them that are beyond half the
    threshold; what lasts longer is load and stays, but a single sample never does. Infinity: outliers of any
    length are taken out."""
    max_outlier_share: float = 0.02
    """Share of a feature's samples beyond which outliers are its nature and all of them stay; of a normal law
    0.27 % are beyond 3 standard deviations."""
    anomalies: bool = True
    """Whether faults of the monitor are taken out; gaps are filled in any case."""
    anomaly_config: AnomalyConfig = field(default_factory=AnomalyConfig)
    """When a sample is a fault of the monitor."""

    def __post_init__(self) -> None:
        """Refuse thresholds that would take out everything or nothing."""
        if self.z_threshold is not None and not self.z_threshold >= 1.0:
            raise InputError(
                f"z_threshold is {self.z_threshold:g}; allowed: 1 or more, or None for no outliers."
            )
        if not 0.0 <= self.max_outlier_share <= 0.5:
            raise InputError(f"max_outlier_share is {self.max_outlier_share:g}; it must be from 0 to 0.5.")
        if not self.longest_outlier_s > 0.0:
            raise InputError(f"longest_outlier_s is {self.longest_outlier_s:g}; it must be above 0 s.")


PAPER_CLEANING = CleaningConfig(longest_outlier_s=math.inf, max_outlier_share=0.1, anomalies=False)
"""Gaps and outliers as the paper has them, repeated until there are none."""


def interpolate(values: Floats) -> Floats:
    """Return the values with gaps filled linearly between their neighbours.

    Before the first and after the last measurement the nearest one is held. No filled sample is outside the
    range of its two neighbours, not even by rounding.

    Args:
        values: (num_samples, num_features) physical units; nan: missing.

    Raises:
        InputError: a feature without any measurement, an infinity, or not a table.
    """
    require_table(values)
    _require_measured(values, tuple(map(str, range(values.shape[1]))))
    return np.column_stack([_interpolate_feature(feature) for feature in values.T])


def _require_measured(values: Floats, names: tuple[str, ...]) -> None:
    """Refuse a table in which a feature was never measured."""
    for name, feature in zip(names, values.T, strict=True):
        if np.isnan(feature).all():
            raise InputError(
                f"feature {name} has no measurement in {len(values)} samples; leave it out, or take a part "
                "of the series in which it was measured."
            )


def _interpolate_feature(values: Floats) -> Floats:
    """Return the values (num_samples,), at least one of which is measured, with gaps filled."""
    missing = np.isnan(values)
    gaps, kept = np.flatnonzero(missing), np.flatnonzero(~missing)
    after = np.searchsorted(kept, gaps)  # (num_missing,) index into kept
    left = values[kept[np.maximum(after - 1, 0)]]
    right = values[kept[np.minimum(after, len(kept) - 1)]]
    filled = values.copy()
    # Before the first measurement left is already the first, not right of it; likewise at the end.
    inside = np.interp(gaps, kept, values[kept])
    filled[gaps] = np.clip(inside, np.minimum(left, right), np.maximum(left, right))
    return filled


def zscore_outliers(values: Floats, threshold: float = 3.0) -> Flags:
    """Return which samples lie more than ``threshold`` standard deviations from their feature's mean.

    Args:
        values: (num_samples, num_features) physical units; nan is left out of mean and deviation and is no
            outlier.
        threshold: smallest |z| of an outlier; the paper takes 3.

    Returns:
        (num_samples, num_features); nothing is an outlier in a constant feature.
    """
    require_table(values)
    return np.column_stack([_distances(feature) > threshold for feature in values.T])


def _distances(values: Floats) -> Floats:
    """Return the distance of each sample (num_samples,) from the mean, standard deviations; nan stays nan."""
    measured = values[~np.isnan(values)]
    # A constant is told by its range: the mean of equal numbers may differ from them by rounding.
    deviation = 0.0 if len(measured) == 0 or measured.min() == measured.max() else float(measured.std())
    if deviation == 0.0:
        return np.zeros(len(values))
    distances: Floats = np.abs(values - measured.mean()) / deviation
    return distances


def _short_outliers(values: Floats, threshold: float, longest_samples: float) -> Flags:
    """Return the outliers (num_samples,) in stretches of at most ``longest_samples`` beyond half of it."""
    distances = _distances(values)
    kept = np.flatnonzero(~np.isnan(values))  # a gap does not end a stretch
    firsts, stops = runs_of(distances[kept] > 0.5 * threshold)
    short = stops - firsts <= longest_samples
    outliers = np.zeros(len(values), dtype=np.bool_)
    outliers[kept] = flags_of(firsts[short], stops[short], len(kept))
    return outliers & (distances > threshold)


def clean(series: Series, config: CleaningConfig | None = None) -> tuple[Series, CleaningReport]:
    """Return the series without gaps, faults of the monitor and outliers, and what was replaced.

    For training data only; see the module for why, and for why this is a fixed point and not a single pass.
    Each feature is cleaned by itself. Every value of the result lies between the lowest and the highest value
    that was kept of its feature, and a filled one between its two kept neighbours. ``clean`` of a clean
    series is that series.

    Raises:
        InputError: a feature without any measurement.
    """
    chosen = CleaningConfig() if config is None else config
    require_table(series.values)
    _require_measured(series.values, series.features)
    columns, reports = [], []
    for name, values in zip(series.features, series.values.T, strict=True):
        causes, first_pass = _causes(values, series.step_s, chosen)
        columns.append(_fill(values, causes))
        reports.append(_feature_report(name, causes, first_pass))
    report = CleaningReport(series.name, tuple(reports))
    if report.share_replaced == 0.0:
        return series, report
    return replace(series, values=np.column_stack(columns)), report


def _causes(values: Floats, step_s: float, config: CleaningConfig) -> tuple[Causes, int | None]:
    """Return why each sample (num_samples,) is replaced, and the outliers of the first pass.

    The latter is None when there are so many outliers that all are kept.
    """

    def find_faults(now: Floats) -> Causes:
        if not config.anomalies:
            return np.zeros(len(now), dtype=np.int8)
        found = find_anomalies(now[:, np.newaxis], step_s, config.anomaly_config)
        kinds = (found.stuck, _STUCK), (found.resets, _RESET), (found.spikes, _SPIKE)
        return _labelled(*((mask[:, 0], cause) for mask, cause in kinds))

    def find_outliers(now: Floats) -> Causes:
        return _labelled((_short_outliers(now, threshold, longest_samples), _OUTLIER))

    def find_either(now: Floats) -> Causes:
        faults = find_faults(now)
        return faults if faults.any() else find_outliers(now)

    causes = _settle(values, _labelled((np.isnan(values), _MISSING)), find_faults)
    if config.z_threshold is None:
        return causes, 0
    threshold, longest_samples = config.z_threshold, max(1.0, config.longest_outlier_s / step_s + 1e-9)
    first_pass = int(np.count_nonzero(find_outliers(np.where(causes, np.nan, values))))
    # Judged on what would be returned without outliers taken out, so that cleaning that judges the same.
    filled = _fill(values, causes)
    outliers = _settle(filled, np.zeros_like(causes), find_outliers)
    if np.count_nonzero(outliers) > config.max_outlier_share * len(values):
        return causes, None
    return _settle(values, causes, find_either), first_pass


def _labelled(*masks: tuple[Flags, int]) -> Causes:
    """Return the cause (num_samples,) that each of the masks (num_samples,) stands for."""
    causes = np.zeros(len(masks[0][0]), dtype=np.int8)
    for mask, cause in masks:
        causes[mask] = cause
    return causes


def _settle(values: Floats, causes: Causes, find: Callable[[Floats], Causes]) -> Causes:
    """Return the causes (num_samples,) with more added until ``find`` finds nothing in the filled values."""
    causes = _added(causes, find(np.where(causes, np.nan, values)))
    while (found := find(_fill(values, causes))).any():
        causes = _added(causes, found)
    return causes


def _added(causes: Causes, found: Causes) -> Causes:
    """Return the causes with what was found among the kept samples; more than before, if any was found."""
    new = np.where(causes == _KEPT, found, _KEPT)
    if found.any() and not new.any():
        kept, places = np.flatnonzero(causes == _KEPT), np.flatnonzero(found)
        after = np.searchsorted(kept, places)
        new[kept[np.maximum(after - 1, 0)]] = found[places]
        new[kept[np.minimum(after, len(kept) - 1)]] = found[places]
    return np.maximum(causes, new)


def _fill(values: Floats, causes: Causes) -> Floats:
    """Return the values (num_samples,) with the samples that have a cause filled from the others."""
    return _interpolate_feature(np.where(causes, np.nan, values))


def _feature_report(name: str, causes: Causes, first_pass: int | None) -> FeatureReport:
    """Return the counts of one feature."""
    counts = np.bincount(causes, minlength=_OUTLIER + 1).tolist()
    firsts, stops = runs_of(causes == _MISSING)
    return FeatureReport(
        name=name,
        num_samples=len(causes),
        missing=counts[_MISSING],
        gaps=len(firsts),
        longest_gap=int((stops - firsts).max(initial=0)),
        stuck=counts[_STUCK],
        resets=counts[_RESET],
        spikes=counts[_SPIKE],
        outliers=counts[_OUTLIER],
        outliers_first_pass=first_pass or 0,
        outliers_kept=first_pass is None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class MinMaxScaler:
    """Scales each feature so that the values it was fitted on fill [0, 1].

    Fit it on the training part only. Values beyond those are not clipped: they come out below 0 or above 1. A
    feature that was constant has no scale: it comes out as 0 whatever its value, and back as its constant.
    """

    low: Floats
    """(num_features,) lowest value fitted on, physical units; comes out as 0."""
    high: Floats
    """(num_features,) highest value fitted on, physical units; comes out as 1."""

    @classmethod
    def fit(cls, values: Floats) -> "MinMaxScaler":
        """Return the scaler of the values (num_samples, num_features); nan is left out.

        Raises:
            InputError: a feature without any measurement, an infinity, or not a table.
        """
        require_table(values)
        _require_measured(values, tuple(map(str, range(values.shape[1]))))
        return cls(np.nanmin(values, axis=0), np.nanmax(values, axis=0))

    def transform(self, values: Floats) -> Floats:
        """Return values (..., num_features) in physical units as shares of the range; nan stays nan."""
        range_ = self.high - self.low
        scaled = (values - self.low) / np.where(range_ > 0.0, range_, 1.0)
        return np.where((range_ > 0.0) | np.isnan(values), scaled, 0.0)

    def inverse(self, scaled: Floats) -> Floats:
        """Return shares of the range (..., num_features) in physical units; nan stays nan."""
        return self.low + scaled * (self.high - self.low)


def resample(series: Series, step_s: float) -> Series:
    """Return the series on a longer step, each sample the mean of those that it covers.

    Missing samples are left out of the mean; a bin in which nothing was measured is missing. Samples at the
    end that do not fill a bin are dropped. Features must be rates or states (requests/s, %), of which a mean
    over a longer time is of the same kind; a number of events per step is not: divide it by the step first.

    Args:
        series: what to resample.
        step_s: the new step, s: a whole multiple of the old one. With the old step the series itself returns.

    Raises:
        InputError: another step, or one longer than the series.
    """
    ratio = step_s / series.step_s
    nearest = max(1, round(ratio)) if math.isfinite(ratio) else 1
    if not abs(ratio - nearest) <= 1e-9 * nearest:
        raise InputError(
            f"step_s is {step_s:g}; series {series.name!r} has a step of {series.step_s:g} s, so it can be "
            f"resampled to whole multiples of that: the nearest is {nearest * series.step_s:g} s."
        )
    if nearest == 1:
        return series
    num_bins = series.num_samples // nearest
    if num_bins == 0:
        raise InputError(
            f"step_s is {step_s:g}, but series {series.name!r} lasts {series.duration_s:g} s; take a step of "
            "at most that, or a longer series."
        )
    bins = series.values[: num_bins * nearest].reshape(num_bins, nearest, series.num_features)
    measured = np.count_nonzero(~np.isnan(bins), axis=1)  # (num_bins, num_features) samples
    means = np.nansum(bins, axis=1) / np.maximum(measured, 1)
    return replace(series, values=np.where(measured, means, np.nan), step_s=float(step_s))


def split(series: Series, share: float = 0.7) -> tuple[Series, Series]:
    """Return the first and the second part of a series, in time order; they share no sample.

    Args:
        series: what to split.
        share: share of the samples in the first part, above 0 and below 1; the paper takes 7:3.

    Raises:
        InputError: a share that leaves one part without samples.
    """
    num_first = math.floor(share * series.num_samples) if math.isfinite(share) else 0
    if not 0 < num_first < series.num_samples:
        raise InputError(
            f"share is {share:g}; of {series.num_samples} samples that leaves one part of series "
            f"{series.name!r} empty. Take a share between 0 and 1, or a longer series."
        )
    return series.slice(0, num_first), series.slice(num_first)

"""Start-up time from the times between start and readiness, which a probe notices only every few seconds.

A pod that was noticed ready after r seconds had started up some time in (r - probe period, r]. The likelihood
of such intervals under the simulator's log-normal law is maximised over mean and variation on a grid, which
is then laid anew around the best point; the intervals are those of the profile likelihood.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ServiceParameters
from podgym.eval.calibration.constants import FittedConstant, judged, kept
from podgym.eval.calibration.recording import PodStart

Floats = NDArray[np.float64]

LEAST_PODS = 5
_DROP = 1.92  # half the 95 % quantile of chi-squared with one degree of freedom
_MEANS, _CVS, _ROUNDS = 61, 41, 3
_FAR = 5.0
_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True, slots=True)
class _Peak:
    """The best point of a grid and its 95 % interval in one direction."""

    best: float
    lower: float
    upper: float


def fit_start_up(
    pods: tuple[PodStart, ...], service: str, was: ServiceParameters
) -> tuple[FittedConstant, FittedConstant]:
    """Return ``start_up_s`` and ``start_up_cv`` of a service.

    Args:
        pods: when pods started and became ready; those from before the run are left out, since their
            readiness may have changed since.
        service: its name.
        was: constants before; the probe period among them is taken as it is.
    """
    delays_s = np.array([p.ready_s - p.start_s for p in pods if p.service == service and p.start_s >= 0.0])
    delays_s = delays_s[delays_s > 0.0]
    kept_s = _without_outliers(delays_s, was.probe_period_s)
    if len(kept_s) < LEAST_PODS:
        why = (
            "readiness times of pods were not recorded"
            if not pods
            else f"{len(kept_s)} pods started during the run; {LEAST_PODS} are needed, better 50"
        )
        return (
            kept("start_up_s", "s", was.start_up_s, why),
            kept("start_up_cv", "1", was.start_up_cv, why),
        )
    means, cvs = _likeliest(kept_s, was.probe_period_s)
    dropped = len(delays_s) - len(kept_s)
    how = f"{len(kept_s)} pod starts"
    note = f"{dropped} far slower or faster pods (image pulls, restarts) were left out" if dropped else ""
    wide = f"{len(kept_s)} pods and a probe every {was.probe_period_s:g} s are too coarse"
    return (
        judged(
            "start_up_s", "s", was.start_up_s, means.best, means.lower, means.upper,
            how=how, if_wide=wide, note=note,
        ),
        judged("start_up_cv", "1", was.start_up_cv, cvs.best, cvs.lower, cvs.upper, how=how, if_wide=wide),
    )  # fmt: skip


def _without_outliers(delays_s: Floats, probe_s: float) -> Floats:
    """Leave out what lies far from the others: a pull of the image, a crash and its back-off."""
    if len(delays_s) < LEAST_PODS:
        return delays_s
    middle_s = float(np.median(delays_s))
    spread_s = 1.4826 * float(np.median(np.abs(delays_s - middle_s))) + 0.5 * probe_s
    return delays_s[np.abs(delays_s - middle_s) <= _FAR * spread_s]


def _likeliest(delays_s: Floats, probe_s: float) -> tuple[_Peak, _Peak]:
    """Return mean and coefficient of variation of the start-up time."""
    low = max(float(delays_s.mean()) - 1.5 * probe_s, 0.2 * float(delays_s.min()), 1e-3)
    means = np.geomspace(low, 1.2 * float(delays_s.mean()) + 1e-3, _MEANS)
    cvs = np.geomspace(0.01, 2.0, _CVS)
    for _ in range(_ROUNDS):
        likelihood = _log_likelihood(delays_s, probe_s, means, cvs)
        mean, cv = _peak(means, likelihood.max(axis=1)), _peak(cvs, likelihood.max(axis=0))
        means, cvs = np.linspace(mean.lower, mean.upper, _MEANS), np.geomspace(cv.lower, cv.upper, _CVS)
    return mean, cv


def _log_likelihood(delays_s: Floats, probe_s: float, means: Floats, cvs: Floats) -> Floats:
    """Return (num_means, num_cvs) log-likelihoods; equal delays are counted once."""
    values_s, counts = np.unique(np.round(delays_s, 3), return_counts=True)
    sigmas = np.sqrt(np.log1p(cvs**2))
    middles = np.log(means)[:, None] - 0.5 * sigmas**2  # (num_means, num_cvs) of the logarithm
    total = np.zeros(middles.shape)
    for value_s, count in zip(values_s.tolist(), counts.tolist(), strict=True):
        upper = _normal((math.log(value_s) - middles) / sigmas)
        before_s = value_s - probe_s
        lower = _normal((math.log(before_s) - middles) / sigmas) if before_s > 0.0 else 0.0
        total += count * np.log(np.maximum(upper - lower, 1e-12))
    return total


def _normal(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + _erf(values / math.sqrt(2.0))))


def _peak(points: Floats, profile: Floats) -> _Peak:
    """Return where a profile likelihood is highest (the middle of a flat top), and where it falls off."""
    highest = profile.max()
    top = points[profile >= highest - 1e-6]
    inside = np.flatnonzero(profile >= highest - _DROP)
    lower, upper = max(inside[0] - 1, 0), min(inside[-1] + 1, len(points) - 1)
    return _Peak(float(0.5 * (top[0] + top[-1])), float(points[lower]), float(points[upper]))

"""Response time against load: base latency, variation of the work, and how load is balanced.

The mean response time is base latency + time in the pods, and the time in the pods is what the simulator's
queue says under the recorded arrivals and ready replicas (``replay``). The base latency adds; the variation
of the work enters through kappa = (1 + cv^2) / 2, in which the wait is nearly linear. Where hardly anything
waits, the mean says nothing about kappa, and it is left as it was.
"""

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import LoadBalancing, ServiceParameters
from podgym.eval.calibration.constants import LEVEL, WIDEST, FittedConstant, kept, rounded
from podgym.eval.calibration.regression import NUM_RESAMPLES, block_length
from podgym.eval.calibration.replay import QueueReplay
from podgym.eval.calibration.series import LEAST_INTERVALS, ServiceSeries
from podgym.forecasters.evaluation.significance import block_bootstrap_sums

Floats = NDArray[np.float64]

SEEN_WAIT_SHARE = 0.1
"""Queueing was seen where waits make up this share of the mean response time ..."""
SEEN_INTERVALS = 5
"""... in at least this many intervals."""
_KAPPAS: Floats = np.array([0.5, 0.6, 0.75, 1.0, 1.4, 2.0, 3.0, 5.0, 8.0])  # cv 0 to 3.9
_ROUNDS = 2
_FINE = 201
_CLEARLY_BETTER = 0.7
_LEAST_GAIN = 0.02
_STEP = 0.02
_BEND = 3.0
_REST_SPREAD, _WAIT_SPREAD = 0.02, 0.3
"""Relative spread of measured means about the law: of what does not wait, and of waits, which are the sum of
few long queues and depend on every second of the arrivals."""


@dataclass(frozen=True, slots=True, eq=False)
class ResponseFit:
    """What the response times say."""

    constants: tuple[FittedConstant, ...]
    """``base_latency_s``, ``demand_cv``, ``load_balancing``."""
    parameters: ServiceParameters
    """The service with them."""
    held_request_s: Floats
    """(n,) requests whose memory was held, of the replay with these parameters."""
    error: float
    """Mean absolute relative residual of the mean response time; nan where nothing was fitted."""
    cautions: tuple[str, ...] = ()
    """What a user should know."""


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """The best fit under one way of load balancing."""

    parameters: ServiceParameters
    base_latency_s: float
    loss: float
    residuals: Floats
    """(k,) relative to what was measured."""
    spread_s: Floats
    """(k,) standard deviations of the measured means, up to a factor."""

    @property
    def kappa(self) -> float:
        """Variation correction of the wait."""
        return _kappa(self.parameters.demand_cv)


def fit_response(
    series: ServiceSeries, replay: QueueReplay, was: ServiceParameters, demand_spread_core_s: float
) -> ResponseFit:
    """Fit the response times of a service.

    Args:
        series: what was measured.
        replay: the queue under the recorded load.
        was: constants before, with the CPU demand as it was fitted.
        demand_spread_core_s: standard deviation of that demand.
    """
    known = np.isfinite(series.response_s) & (series.response_s > 0.0) & (series.completed > 0.0)
    if int(known.sum()) < LEAST_INTERVALS:
        why = f"response times were measured in {int(known.sum())} intervals only"
        held = replay.run([was]).held_request_s[0]
        return ResponseFit(_all_kept(was, why), was, held, np.nan)
    problem = _Problem(series, replay, known)
    candidates = [problem.best(replace(was, load_balancing=mode)) for mode in _modes(was)]
    chosen = _choose(candidates)
    return problem.judge(chosen, candidates, was, demand_spread_core_s)


def _modes(was: ServiceParameters) -> list[LoadBalancing]:
    """Return the ways of load balancing, the configured one first."""
    others = [mode for mode in get_args(LoadBalancing) if mode != was.load_balancing]
    return [was.load_balancing, *others]


def _choose(candidates: list[_Candidate]) -> _Candidate:
    """Return the configured way of load balancing unless another one is clearly better."""
    first = candidates[0]
    best = min(candidates, key=_mean_error)
    errors = _mean_error(first), _mean_error(best)
    return best if errors[1] < _CLEARLY_BETTER * errors[0] and errors[0] - errors[1] > _LEAST_GAIN else first


def _mean_error(candidate: _Candidate) -> float:
    return float(np.abs(candidate.residuals).mean())


def _all_kept(was: ServiceParameters, why: str) -> tuple[FittedConstant, ...]:
    return (
        kept("base_latency_s", "s", was.base_latency_s, why),
        kept("demand_cv", "1", was.demand_cv, why),
        kept("load_balancing", "-", was.load_balancing, why),
    )


class _Problem:
    """Measured response times and the replay that is to match them."""

    def __init__(self, series: ServiceSeries, replay: QueueReplay, known: NDArray[np.bool_]) -> None:
        self._replay = replay
        self._known = known
        self._measured_s = series.response_s[known]
        completed = series.completed[known]
        self._counts = np.minimum(completed / np.median(completed), 1.0)

    def best(self, start: ServiceParameters) -> _Candidate:
        """Return the best base latency and kappa under one way of load balancing."""
        best = self._fixed(start)
        if start.discipline == "ps":
            return best
        kappas, fine = _KAPPAS, np.geomspace(_KAPPAS[0], _KAPPAS[-1], _FINE)
        for _ in range(_ROUNDS):
            replayed_s = self._pod_times_s([_with_kappa(start, each) for each in kappas.tolist()])
            tried = [
                self._at(_with_kappa(start, each), _interpolated(kappas, replayed_s, each), best.spread_s)
                for each in fine.tolist()
            ]
            best = self._fixed(min(tried, key=lambda each: each.loss).parameters)
            low, high = max(0.8 * best.kappa, _KAPPAS[0]), min(1.25 * best.kappa, _KAPPAS[-1])
            kappas, fine = np.linspace(low, high, 5), np.linspace(low, high, _FINE)
        return best

    def _fixed(self, parameters: ServiceParameters) -> _Candidate:
        """Return the best base latency for given constants of the queue."""
        replayed = self._replay.run([parameters])
        times_s = np.nan_to_num(replayed.pod_time_s[0, self._known])
        waits_s = np.nan_to_num(replayed.wait_s[0, self._known])
        rest_s = times_s - waits_s + max(float(np.median(self._measured_s - times_s)), 0.0)
        spread_s = np.hypot(_REST_SPREAD * rest_s, _WAIT_SPREAD * waits_s) / np.sqrt(self._counts)
        return self._at(parameters, times_s, spread_s)

    def _pod_times_s(self, candidates: list[ServiceParameters]) -> Floats:
        times_s = self._replay.run(candidates).pod_time_s[:, self._known]
        return np.asarray(np.nan_to_num(times_s, nan=0.0))

    def _at(self, parameters: ServiceParameters, times_s: Floats, spread_s: Floats) -> _Candidate:
        """Return the best base latency for given times in the pods (k,), and how good it is."""
        gaps_s = self._measured_s - times_s
        base_s = max(_robust_mean(gaps_s, spread_s), 0.0)
        standardised = np.abs(gaps_s - base_s) / spread_s
        quadratic = standardised <= _BEND
        loss = float(np.where(quadratic, standardised**2, _BEND * (2.0 * standardised - _BEND)).mean())
        return _Candidate(parameters, base_s, loss, (gaps_s - base_s) / self._measured_s, spread_s)

    def judge(
        self, chosen: _Candidate, candidates: list[_Candidate], was: ServiceParameters, demand_spread: float
    ) -> ResponseFit:
        """Decide which constants the data tell, and fit the others once more with the rest as it was."""
        wait_share = self._wait_shares(chosen)
        seen = int((wait_share >= SEEN_WAIT_SHARE).sum())
        cautions: list[str] = []
        interval = self._intervals(chosen, demand_spread, with_kappa=was.discipline == "fcfs")
        cv = self._judged_cv(chosen, was, seen, float(wait_share.max()), interval)
        mode = chosen.parameters.load_balancing if seen >= SEEN_INTERVALS else was.load_balancing
        if cv.changed:
            final = replace(chosen.parameters, demand_cv=float(cv.value))
        else:
            final = replace(was, load_balancing=mode)
            interval = self._intervals(self._fixed(final), demand_spread, with_kappa=False)
        fixed = self._fixed(final)
        base = self._judged_base(fixed, was, interval)
        if fixed.base_latency_s == 0.0:
            cautions.append(
                "response times are shorter than the CPU demand at the CPU limit: below its quota a pod runs "
                "at full speed, which the simulator does not model; limits of whole cores are closer"
            )
        parameters = replace(final, base_latency_s=float(base.value))
        held = self._replay.run([parameters]).held_request_s[0]
        balancing = _judged_balancing(candidates, mode, was, seen)
        return ResponseFit((base, cv, balancing), parameters, held, _mean_error(fixed), tuple(cautions))

    def _wait_shares(self, chosen: _Candidate) -> Floats:
        """Return (k,) waits as shares of the fitted mean response time."""
        replayed = self._replay.run([chosen.parameters])
        waits_s = np.nan_to_num(replayed.wait_s[0, self._known])
        times_s = np.nan_to_num(replayed.pod_time_s[0, self._known])
        return np.asarray(waits_s / np.maximum(times_s + chosen.base_latency_s, 1e-12))

    def _intervals(self, chosen: _Candidate, demand_spread_core_s: float, *, with_kappa: bool) -> Floats:
        """Return (2, 2): lower and upper ends for base latency and kappa, by a block bootstrap.

        One Gauss-Newton step from the best fit per resample; the uncertainty of the demand is carried along.
        """
        demand = chosen.parameters.cpu_demand_core_s
        trials = [chosen.parameters, replace(chosen.parameters, cpu_demand_core_s=demand * (1.0 + _STEP))]
        if with_kappa:
            trials.append(_with_kappa(chosen.parameters, chosen.kappa * (1.0 + _STEP)))
        times_s = self._pod_times_s(trials)
        columns = [np.ones(len(self._measured_s))]
        if with_kappa:
            columns.append((times_s[2] - times_s[0]) / (_STEP * chosen.kappa))
        design = np.stack(columns, axis=1)
        residuals_s = self._measured_s - chosen.base_latency_s - times_s[0]
        weights = _robust_weights(residuals_s, chosen.spread_s)
        replicates = _gauss_newton(
            design, residuals_s, (times_s[1] - times_s[0]) / (_STEP * demand), weights, demand_spread_core_s
        )
        start = np.array([chosen.base_latency_s, chosen.kappa])
        tails = [0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)]
        ends = np.full((2, 2), np.nan)
        ends[:, : design.shape[1]] = np.quantile(start[: design.shape[1]] + replicates, tails, axis=0)
        return ends

    def _judged_base(self, fixed: _Candidate, was: ServiceParameters, interval: Floats) -> FittedConstant:
        lower, upper = max(float(interval[0, 0]), 0.0), float(interval[1, 0])
        estimate = fixed.base_latency_s
        typical_s = float(np.median(self._measured_s))
        if 0.5 * (upper - lower) > WIDEST * typical_s:
            why = "nearly all of the response time is waiting; a run with less load tells"
            return kept("base_latency_s", "s", was.base_latency_s, why, lower, upper)
        how = f"response, {len(self._measured_s)} intervals"
        return FittedConstant(
            "base_latency_s", "s", was.base_latency_s, rounded(estimate), lower, upper, "fitted", how
        )

    def _judged_cv(
        self, chosen: _Candidate, was: ServiceParameters, seen: int, largest_share: float, interval: Floats
    ) -> FittedConstant:
        lower, upper = (_cv(float(end)) for end in interval[:, 1])
        if was.discipline == "ps":
            return kept(
                "demand_cv", "1", was.demand_cv, "the mean of processor sharing does not depend on it"
            )
        if seen < SEEN_INTERVALS:
            why = (
                f"load too low, no queueing seen: waits made up at most {100 * largest_share:.0f} % of the "
                "mean response time; a ramp beyond 90 % utilisation tells"
            )
            return kept("demand_cv", "1", was.demand_cv, why)
        if not 0.5 * (interval[1, 1] - interval[0, 1]) <= WIDEST * chosen.kappa:
            why = f"waits scatter too much, queueing in {seen} intervals"
            return kept("demand_cv", "1", was.demand_cv, why, lower, upper)
        how = f"waits, {seen} intervals"
        return FittedConstant(
            "demand_cv", "1", was.demand_cv, rounded(_cv(chosen.kappa)), lower, upper, "fitted", how
        )


def _judged_balancing(
    candidates: list[_Candidate], mode: LoadBalancing, was: ServiceParameters, seen: int
) -> FittedConstant:
    if seen < SEEN_INTERVALS:
        return kept("load_balancing", "-", was.load_balancing, "load too low, no queueing seen")
    errors = {each.parameters.load_balancing: _mean_error(each) for each in candidates}
    compared = "mean error of an interval: " + ", ".join(
        f"{name} {100 * e:.1f} %" for name, e in errors.items()
    )
    clear = min(errors.values()) < _CLEARLY_BETTER * max(errors.values())
    if mode == was.load_balancing and not (clear and errors[mode] == min(errors.values())):
        return kept("load_balancing", "-", was.load_balancing, f"the alternatives fit alike; {compared}")
    return FittedConstant(
        "load_balancing", "-", was.load_balancing, mode, np.nan, np.nan, "fitted", "response times", compared
    )


def _gauss_newton(
    design: Floats, residuals_s: Floats, by_demand: Floats, weights: Floats, demand_spread_core_s: float
) -> Floats:
    """Return (B, p) steps from the best fit over resampled blocks of intervals.

    Args:
        design: (k, p) derivatives of the fitted response time.
        residuals_s: (k,) measured less fitted.
        by_demand: (k,) derivative by the CPU demand.
        weights: (k,)
        demand_spread_core_s: standard deviation of the demand.
    """
    count = design.shape[1]
    scales = np.sqrt((weights[:, None] * design**2).sum(axis=0))
    scales = np.where(scales > 0.0, scales, 1.0)
    scaled = design / scales
    own = (weights[:, None, None] * scaled[:, :, None] * scaled[:, None, :]).reshape(len(design), -1)
    rest = [weights[:, None] * scaled * each[:, None] for each in (residuals_s, by_demand)]
    length = block_length(residuals_s * np.sqrt(weights))
    sums = block_bootstrap_sums(np.concatenate([own, *rest], axis=1), length, NUM_RESAMPLES, 0)
    squares = sums[:, : count * count].reshape(-1, count, count)
    to_residuals, to_demand = np.split(sums[:, count * count :], 2, axis=1)
    shifts = demand_spread_core_s * np.random.default_rng(1).standard_normal(NUM_RESAMPLES)
    # The best fit minimises another loss than these weighted squares: only deviations from their own best.
    best = np.linalg.lstsq(scaled * np.sqrt(weights)[:, None], residuals_s * np.sqrt(weights), rcond=None)[0]
    target = to_residuals - to_demand * shifts[:, None]
    steps = np.linalg.pinv(squares, rcond=1e-10, hermitian=True) @ target[:, :, None]
    return np.asarray((steps[:, :, 0] - best) / scales)


def _robust_weights(residuals_s: Floats, spread_s: Floats) -> Floats:
    """Return (k,) inverse variances, less where a residual is beyond ``_BEND`` standard deviations."""
    standardised = np.abs(residuals_s) / spread_s
    return np.asarray(np.minimum(1.0, _BEND / np.maximum(standardised, 1e-300)) / spread_s**2)


def _robust_mean(values_s: Floats, spread_s: Floats) -> float:
    mean_s = float(np.average(values_s, weights=1.0 / spread_s**2))
    for _ in range(10):
        mean_s = float(np.average(values_s, weights=_robust_weights(values_s - mean_s, spread_s)))
    return mean_s


def _interpolated(kappas: Floats, rows: Floats, kappa: float) -> Floats:
    """Return (k,) the row at ``kappa``, linear between the rows (num_kappas, k)."""
    at = int(np.clip(np.searchsorted(kappas, kappa) - 1, 0, len(kappas) - 2))
    part = (kappa - kappas[at]) / (kappas[at + 1] - kappas[at])
    return np.asarray(rows[at] * (1.0 - part) + rows[at + 1] * part)


def _with_kappa(parameters: ServiceParameters, kappa: float) -> ServiceParameters:
    return replace(parameters, demand_cv=_cv(kappa))


def _kappa(demand_cv: float) -> float:
    return 0.5 * (1.0 + demand_cv * demand_cv)


def _cv(kappa: float) -> float:
    return float(np.sqrt(max(2.0 * kappa - 1.0, 0.0))) if np.isfinite(kappa) else np.nan

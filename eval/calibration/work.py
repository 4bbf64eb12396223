"""CPU and memory: linear in the requests completed and in the pods that were ready."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ServiceParameters
from podgym.eval.calibration.constants import FittedConstant, judged, kept
from podgym.eval.calibration.regression import Fit, robust_regression
from podgym.eval.calibration.series import LEAST_INTERVALS, ServiceSeries

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CpuFit:
    """Demand and idle use of CPU."""

    constants: tuple[FittedConstant, ...]
    """``cpu_demand_core_s``, ``idle_cpu_cores``, ``start_up_cpu_cores``."""
    demand_core_s: float
    """Demand after the fit."""
    demand_spread_core_s: float
    """Its standard deviation over the resamples; 0 where it was kept."""
    error: float
    """Mean absolute residual over mean use; nan where nothing was fitted."""


def fit_cpu(series: ServiceSeries, was: ServiceParameters) -> CpuFit:
    """Fit CPU used = demand x completed + idle x ready pod-seconds + start-up x pod-seconds not yet ready."""
    known = np.isfinite(series.cpu_core_s) & np.isfinite(series.completed) & np.isfinite(series.ready_s)
    fields = (
        ("cpu_demand_core_s", "core s/request"),
        ("idle_cpu_cores", "cores"),
        ("start_up_cpu_cores", "cores"),
    )
    if int(known.sum()) < LEAST_INTERVALS:
        why = f"CPU was measured in {int(known.sum())} intervals only"
        constants = tuple(kept(name, unit, getattr(was, name), why) for name, unit in fields)
        return CpuFit(constants, was.cpu_demand_core_s, 0.0, np.nan)
    design = np.stack([series.completed, series.ready_s, series.unready_s], axis=1)[known]
    used = series.cpu_core_s[known]
    fit = _fit_additive(design, used, was.idle_cpu_cores)
    per_pod = design[:, 0] / np.maximum(design[:, 1], 1e-9)
    low, high = np.quantile(per_pod, [0.05, 0.95])
    alike = (
        f"requests per ready pod hardly varied ({low:.3g} to {high:.3g}/s); a ramp at fixed replicas tells"
    )
    how = f"CPU, {int(known.sum())} intervals"
    wide = (
        alike,
        alike,
        f"pods were starting for {design[:, 2].sum():.0f} pod-seconds only, or their use varies",
    )
    constants = tuple(
        judged(name, unit, getattr(was, name), *_estimate(fit, i), how=how, if_wide=wide[i])
        for i, (name, unit) in enumerate(fields)
    )
    if series.lag_s > 0.0:  # the window blurs when a pod was starting
        why = "means over a window do not tell the use of pods that are starting"
        starting = kept("start_up_cpu_cores", "cores", was.start_up_cpu_cores, why)
        constants = (*constants[:2], starting)
    fitted = constants[0].changed
    return CpuFit(
        constants,
        float(fit.coefficients[0]) if fitted else was.cpu_demand_core_s,
        float(fit.replicates[:, 0].std()) if fitted else 0.0,
        float(np.abs(fit.residuals).mean() / used.mean()),
    )


def _estimate(fit: Fit, index: int) -> tuple[float, float, float]:
    """Return a coefficient with the ends of its interval; nan where nothing in the data depends on it."""
    if not fit.replicates[:, index].any():
        return np.nan, np.nan, np.nan
    return float(fit.coefficients[index]), float(fit.lower[index]), float(fit.upper[index])


def _fit_additive(design: Floats, used: Floats, idle_was_cores: float) -> Fit:
    """Fit the use of CPU; where the idle part cannot be told, the demand is fitted with it as it was.

    The work of n requests varies as n, and so does the variance of what they use.
    """
    weights = 1.0 / (used + 0.1 * used.mean())
    fit = robust_regression(design, used, weights)
    idle = judged(
        "idle",
        "",
        0.0,
        float(fit.coefficients[1]),
        float(fit.lower[1]),
        float(fit.upper[1]),
        how="",
        if_wide="",
    )
    if idle.changed:
        return fit
    rest = robust_regression(design[:, [0, 2]], used - idle_was_cores * design[:, 1], weights)
    coefficients = np.array([rest.coefficients[0], fit.coefficients[1], rest.coefficients[1]])
    # The intervals stay those of the full fit: that the idle part is not known is part of what is not known.
    spread = fit.replicates - fit.coefficients
    return Fit(coefficients, coefficients + spread, rest.residuals, rest.weights)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryFit:
    """Working set of a pod, and of each request."""

    constants: tuple[FittedConstant, ...]
    """``base_memory_bytes``, ``memory_per_request_bytes``."""
    error: float
    """Mean absolute residual over mean use; nan where nothing was fitted."""


def fit_memory(series: ServiceSeries, held_request_s: Floats, was: ServiceParameters) -> MemoryFit:
    """Fit memory = base x ready pod-seconds + per request x request-seconds held.

    Args:
        series: what was measured.
        held_request_s: (n,) requests whose memory was held times seconds, from the replayed queue.
        was: constants before.
    """
    known = np.isfinite(series.memory_byte_s) & np.isfinite(held_request_s) & (series.ready_s > 0.0)
    fields = (("base_memory_bytes", "bytes"), ("memory_per_request_bytes", "bytes/request"))
    if int(known.sum()) < LEAST_INTERVALS:
        why = f"memory was measured in {int(known.sum())} intervals only"
        return MemoryFit(tuple(kept(name, unit, getattr(was, name), why) for name, unit in fields), np.nan)
    ready_s = series.ready_s[known]
    design = np.stack([ready_s, held_request_s[known]], axis=1)
    used = series.memory_byte_s[known]
    fit = robust_regression(design, used, 1.0 / ready_s**2)
    held = held_request_s[known] / ready_s  # (k,) per pod
    low, high = np.quantile(held, [0.05, 0.95])
    few = f"a pod held {low:.3g} to {high:.3g} requests at once; more of a queue is needed"
    how = f"memory, {int(known.sum())} intervals"
    constants = tuple(
        judged(name, unit, getattr(was, name), *_estimate(fit, i), how=how, if_wide=few)
        for i, (name, unit) in enumerate(fields)
    )
    return MemoryFit(constants, float(np.abs(fit.residuals).mean() / used.mean()))

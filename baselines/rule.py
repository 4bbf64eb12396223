"""A small nonlinear rule on what a learned policy sees: the fairest rival of one.

A demand estimate says how many replicas the present requests need. A network of one hidden layer, small
enough to be tuned by the cross-entropy method, corrects that number and says how far above it replicas may
stay. With weights of zero it corrects nothing, and what is left is a proportional rule.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, exp, inf, isfinite, isnan, log, log1p, nan

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.metrics import (
    KEEP,
    MAX_SAMPLE_AGE_S,
    DemandEstimate,
    checked_number,
    mean_cpu_cores,
    rate_per_replica_rps,
    request_rate_rps,
    requests_in_flight,
    response_time_s,
    serving_pods,
    want,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import InputError

FEATURES = (
    "ln(request rate / rate one sample before)",
    "ln(request rate / rate four samples before)",
    "ln(request rate / rate seven samples before)",
    "ln(highest mean of the forecast / request rate)",
    "ln(highest upper end of the forecast / request rate)",
    "ln(replicas wanted / replicas needed)",
    "ln(replicas ready / replicas needed)",
    "measured CPU / CPU limit - target utilisation",
    "ln(1 + requests in the system per ready replica)",
    "ln(response time / shortest one seen)",
    "error ratio",
    "ln(replicas needed) / 2",
)
"""What the network sees of a service, each cut to between -3 and 3; what is not known reads 0."""
HIDDEN_UNITS = 6
"""Units of the hidden layer, tanh."""
OUTPUTS = ("level", "band")
"""``level``: logarithm of the correction. ``band``: how far above that, as a logarithm, replicas may stay."""
NUM_WEIGHTS = (len(FEATURES) + 1) * HIDDEN_UNITS + (HIDDEN_UNITS + 1) * len(OUTPUTS)
"""Weights in all: hidden layer and its biases, then output layer and its biases."""

_LAGS = (1, 4, 7)  # samples; a policy sees the newest and seven before
_LARGEST_FEATURE = 3.0
_LARGEST_CORRECTION = 1.5  # a factor of 4.5
_LEAST_NEED = 0.1  # replicas; keeps ratios to a need of nothing finite


@dataclass(slots=True)
class _Memory:
    """What is remembered of one service."""

    demand: DemandEstimate
    rates_rps: deque[float] = field(default_factory=lambda: deque(maxlen=max(_LAGS) + 1))
    sample_time_s: float | None = None
    fastest_s: float = inf


@dataclass(frozen=True, slots=True)
class _Signals:
    """What is measured of one service now; nan: missing."""

    rate_rps: float
    cpu_utilisation: float
    in_flight: float
    response_time_s: float
    error_ratio: float

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that a decision to scale down rests on."""
        answered = not isnan(self.response_time_s) or self.rate_rps == 0.0
        return not isnan(self.cpu_utilisation) and not isnan(self.in_flight) and answered


class NonlinearRuleController:
    """Replicas = needed replicas, corrected by a network of one hidden layer that all services share.

    Needed replicas = request rate * CPU per request / (target utilisation * CPU limit of a pod), the CPU per
    request as measured. Fewer replicas than ``need * exp(level)`` are raised to it, more than ``need *
    exp(level + band)`` are lowered to that, and in between nothing changes. The network's outputs are cut at
    1.5, the band at 0.

    Without a fresh request rate nothing is decided. While CPU, requests in the system or, under load, the
    response time are missing, nothing is lowered.
    """

    name = "rule"

    def __init__(
        self,
        *,
        weights: Sequence[float] | None = None,
        target_utilisation: float = 0.7,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Set the rule.

        Args:
            weights: ``NUM_WEIGHTS`` numbers: hidden weights (feature by feature), hidden biases, output
                weights (unit by unit), output biases; None: zeros, the proportional rule.
            target_utilisation: share of the CPU limit that a replica is to use, above 0 to 1.
            max_sample_age_s: age from which the metrics count as missing, seconds.

        Raises:
            InputError: not as many finite weights, or a number that is not of its range.
        """
        flat = _checked_weights(weights)
        self._target = checked_number("target_utilisation", target_utilisation, 0.0, 1.0, above=True)
        self._max_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, inf)
        inputs, outputs = len(FEATURES), len(OUTPUTS)
        cuts = np.cumsum([inputs * HIDDEN_UNITS, HIDDEN_UNITS, HIDDEN_UNITS * outputs])
        hidden, self._hidden_bias, output, self._output_bias = np.split(flat, cuts)
        self._hidden = hidden.reshape(inputs, HIDDEN_UNITS)
        self._output = output.reshape(HIDDEN_UNITS, outputs)
        self._memories: dict[str, _Memory] = {}

    def reset(self) -> None:
        """Forget what requests cost and what the rates were."""
        self._memories.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Correct the need of every service."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        signals = _measure(service, now_s, self._max_age_s)
        if signals is None:
            return KEEP
        memory = self._memories.get(service.name)
        if memory is None:
            memory = _Memory(DemandEstimate(max_sample_age_s=self._max_age_s))
            self._memories[service.name] = memory
        memory.demand.update(service, now_s)
        _remember(memory, service, signals)
        need = _needed(service, signals.rate_rps, memory.demand, self._target)
        if need is None:
            return KEEP
        level, band = self._correction(_features(service, signals, memory, need, self._target))
        replicas = _corrected(service, need, level, band)
        if replicas < service.replicas_wanted and not signals.complete:
            return KEEP
        return want(replicas, service)

    def _correction(self, features: Sequence[float]) -> tuple[float, float]:
        """Return level and band for what is seen."""
        seen = np.array([_cut(feature) for feature in features])  # (features,)
        hidden = np.tanh(seen @ self._hidden + self._hidden_bias)  # (hidden units,)
        level, band = (hidden @ self._output + self._output_bias).tolist()
        most = _LARGEST_CORRECTION
        return min(max(level, -most), most), min(max(band, 0.0), most)


def _checked_weights(weights: Sequence[float] | None) -> NDArray[np.float64]:
    if weights is None:
        return np.zeros(NUM_WEIGHTS)
    try:
        flat = np.array(weights, dtype=np.float64)  # (weights,)
    except (TypeError, ValueError) as error:
        raise InputError(f"rule: weights must be {NUM_WEIGHTS} numbers: {error}.") from error
    if flat.shape != (NUM_WEIGHTS,) or not np.isfinite(flat).all():
        raise InputError(
            f"rule: weights is an array of shape {flat.shape}; {NUM_WEIGHTS} finite numbers are needed."
        )
    return flat


def _measure(service: ServiceView, now_s: float, max_age_s: float) -> _Signals | None:
    """Return what is measured now; None without a request rate."""
    rate_rps = request_rate_rps(service, now_s, max_age_s)
    if rate_rps is None:
        return None
    pods = serving_pods(service, now_s, max_age_s)
    limit_cores = service.quota.cpu_limit_cores
    return _Signals(
        rate_rps,
        mean_cpu_cores(pods) / limit_cores if pods and limit_cores > 0.0 else nan,
        _or_nan(requests_in_flight(service, now_s, max_age_s)),
        _or_nan(response_time_s(service, now_s, max_age_s)),
        service.error_ratio,
    )


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


def _remember(memory: _Memory, service: ServiceView, signals: _Signals) -> None:
    """Take in a sample, once."""
    if memory.sample_time_s == service.sample_time_s:
        return
    memory.sample_time_s = service.sample_time_s
    memory.rates_rps.appendleft(signals.rate_rps)
    if signals.response_time_s > 0.0:
        memory.fastest_s = min(memory.fastest_s, signals.response_time_s)


def _needed(service: ServiceView, rate_rps: float, demand: DemandEstimate, target: float) -> float | None:
    """Return how many replicas the present requests need, a fraction; None: not known."""
    if rate_rps == 0.0:
        return _LEAST_NEED
    if demand.core_s_per_request is None:
        return None
    per_replica_rps = rate_per_replica_rps(service, demand.core_s_per_request, target)
    if per_replica_rps is None:
        return None
    return min(max(rate_rps / per_replica_rps, _LEAST_NEED), float(service.max_replicas))


def _features(
    service: ServiceView, signals: _Signals, memory: _Memory, need: float, target: float
) -> tuple[float, ...]:
    """Return what the network sees, in the order of ``FEATURES``; nan for what is not known."""
    rate_rps = signals.rate_rps
    oldest = len(memory.rates_rps) - 1
    mean_rps = upper_rps = rate_rps
    if service.forecast is not None:
        mean_rps, upper_rps = _highest(service.forecast.mean_rps), _highest(service.forecast.upper_rps)
    return (
        *(_log_ratio(rate_rps, memory.rates_rps[min(lag, oldest)]) for lag in _LAGS),
        _log_ratio(mean_rps, rate_rps),
        _log_ratio(upper_rps, rate_rps),
        _log_ratio(service.replicas_wanted, need),
        _log_ratio(service.replicas_ready, need),
        signals.cpu_utilisation - target,
        log1p(signals.in_flight / max(service.replicas_ready, 1)),
        _log_ratio(signals.response_time_s, memory.fastest_s),
        signals.error_ratio,
        log(need) / 2.0,
    )


def _highest(rates_rps: Sequence[float]) -> float:
    """Return the highest of the finite rates; nan when there is none."""
    return max((rate_rps for rate_rps in rates_rps if isfinite(rate_rps)), default=nan)


def _log_ratio(part: float, whole: float) -> float:
    """Return ln(part / whole), where nothing over nothing is 1; nan for what is not known."""
    if not (isfinite(part) and isfinite(whole)):
        return nan
    return log(max(part, 1e-9) / max(whole, 1e-9))


def _cut(feature: float) -> float:
    """Return a feature within its bounds, 0 for one that is not known."""
    return 0.0 if isnan(feature) else min(max(feature, -_LARGEST_FEATURE), _LARGEST_FEATURE)


def _corrected(service: ServiceView, need: float, level: float, band: float) -> int:
    """Return the replicas to want: at least the corrected need, at most a band above it."""
    least = ceil(need * exp(level) - 1e-9)
    most = ceil(need * exp(level + band) - 1e-9)
    return min(max(service.replicas_wanted, least), most)

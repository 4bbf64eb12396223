"""The arithmetic of the nonlinear rule, for one service or for all services of many clusters.

What is measured of a service goes in as a record of ``SIGNALS``, what is remembered of it is a record of
``MEMORY``, and ``decide_replicas`` is the only code that decides. ``rule`` fills the records from one
observation and ``rule_batch`` from the arrays of a batch, so both decide the same to the last bit.
"""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.metrics import HALF_LIFE_S, SATURATED
from podgym.envs.simulator.compile import MachineCode, kernel
from podgym.envs.simulator.records import Record, Records

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

UNCHANGED = -1
"""What ``decide_replicas`` writes where the replicas are to stay as they are."""

_LAGS = (1, 4, 7)  # samples; a policy sees the newest and seven before
_RATES_KEPT = max(_LAGS) + 1
_LARGEST_FEATURE = 3.0
_LARGEST_CORRECTION = 1.5  # a factor of 4.5
_LEAST_NEED = 0.1  # replicas; keeps ratios to a need of nothing finite
_INPUTS = len(FEATURES)
_HIDDEN_BIAS = _INPUTS * HIDDEN_UNITS  # where each part of the weights begins
_OUTPUT = _HIDDEN_BIAS + HIDDEN_UNITS
_OUTPUT_BIAS = _OUTPUT + HIDDEN_UNITS * len(OUTPUTS)

SIGNALS = np.dtype(
    [
        ("time_s", "f8"),  # now
        ("sample_time_s", "f8"),  # of the metrics; nan: nothing was scraped yet
        ("rate_rps", "f8"),
        ("response_time_s", "f8"),
        ("error_ratio", "f8"),
        ("in_flight", "f8"),
        ("cpu_limit_cores", "f8"),  # of a pod created now
        ("serving_pods", "i8"),  # pods that serve and have a sample, see ``metrics.serving_pods``
        ("serving_usage_cores", "f8"),  # what they use, added pod by pod
        ("serving_limit_cores", "f8"),  # what their limits allow, added pod by pod
        ("replicas_wanted", "i8"),
        ("replicas_ready", "i8"),
        ("min_replicas", "i8"),
        ("max_replicas", "i8"),
        ("forecast_mean_rps", "f8"),  # highest of the coming minutes; the request rate without a forecast
        ("forecast_upper_rps", "f8"),
    ],
    align=True,
)
"""What is measured of one service now; any number may be nan."""
MEMORY = np.dtype(
    [
        ("sample_time_s", "f8"),  # of the newest of the rates; nan: there is none
        ("samples", "i8"),  # of the rates that are there
        ("rates_rps", "f8", (_RATES_KEPT,)),  # newest first
        ("fastest_s", "f8"),  # shortest response time seen
        ("demand_time_s", "f8"),  # of the newest sample in the two sums below; nan: there is none
        ("demand_cores", "f8"),  # see ``metrics.DemandEstimate``, which does the same
        ("demand_rate_rps", "f8"),
        ("demand_at_least", "f8"),  # core-seconds per request while saturated; 0: never
    ],
    align=True,
)
"""What is remembered of one service."""


def blank_memory(shape: tuple[int, ...]) -> Records:
    """Return memories of services that nothing was seen of yet."""
    memory = np.zeros(shape, dtype=MEMORY)
    memory["sample_time_s"] = memory["demand_time_s"] = np.nan
    memory["fastest_s"] = np.inf
    return memory


@kernel
def _cut(value: float, most: float) -> float:
    """Return a number within -most and most; 0 for one that is not known."""
    if math.isnan(value):
        return 0.0
    if value > most:
        return most
    return value if value > -most else -most


@kernel
def _amount(value: float) -> float:
    """Return a measurement, or nan if it is none: not finite, or negative."""
    return value if math.isfinite(value) and value >= 0.0 else math.nan


@kernel
def _log_ratio(part: float, whole: float) -> float:
    """Return ln(part / whole), where nothing over nothing is 1; nan for what is not known."""
    if not (math.isfinite(part) and math.isfinite(whole)):
        return math.nan
    return math.log(max(part, 1e-9) / max(whole, 1e-9))


@kernel
def _learn_demand(memory: Record, signals: Record, estimate: tuple[float, float]) -> None:
    """Learn what a request costs from a sample, once; ``estimate``: when saturated, and half-life."""
    saturated, half_life_s = estimate
    rate_rps = signals.rate_rps
    pods = signals.serving_pods
    if signals.sample_time_s == memory.demand_time_s or rate_rps == 0.0 or pods == 0:
        return
    usage_cores = signals.serving_usage_cores / pods * max(signals.replicas_ready, pods)
    core_s = usage_cores / rate_rps
    if not (math.isfinite(core_s) and core_s > 0.0):
        return
    if not signals.serving_usage_cores < saturated * signals.serving_limit_cores:
        memory.demand_at_least = max(memory.demand_at_least, core_s)
        return
    elapsed_s = 0.0
    if not math.isnan(memory.demand_time_s):
        elapsed_s = max(signals.sample_time_s - memory.demand_time_s, 0.0)
    kept = 0.5 ** (elapsed_s / half_life_s)
    memory.demand_time_s = signals.sample_time_s
    memory.demand_cores = memory.demand_cores * kept + usage_cores
    memory.demand_rate_rps = memory.demand_rate_rps * kept + rate_rps


@kernel
def _remember(memory: Record, signals: Record, response_time_s: float) -> None:
    """Take in a sample, once."""
    if memory.sample_time_s == signals.sample_time_s:
        return
    memory.sample_time_s = signals.sample_time_s
    for place in range(_RATES_KEPT - 1, 0, -1):
        memory.rates_rps[place] = memory.rates_rps[place - 1]
    memory.rates_rps[0] = signals.rate_rps
    memory.samples = min(memory.samples + 1, _RATES_KEPT)
    if response_time_s > 0.0:
        memory.fastest_s = min(memory.fastest_s, response_time_s)


@kernel
def _needed(memory: Record, signals: Record, target: float) -> float:
    """Return how many replicas the present requests need, a fraction; nan: not known."""
    if signals.rate_rps == 0.0:
        return _LEAST_NEED
    core_s = memory.demand_at_least
    if memory.demand_rate_rps > 0.0 and memory.demand_cores > 0.0:
        core_s = memory.demand_cores / memory.demand_rate_rps
    if core_s == 0.0:
        return math.nan
    per_replica_rps = target * signals.cpu_limit_cores / core_s
    if not (math.isfinite(per_replica_rps) and per_replica_rps > 0.0):
        return math.nan
    need: float = min(max(signals.rate_rps / per_replica_rps, _LEAST_NEED), float(signals.max_replicas))
    return need


@kernel
def _write_features(
    memory: Record,
    signals: Record,
    need: float,
    utilisation_gap: float,
    in_flight: float,
    response_time_s: float,
    features: NDArray[np.float64],
) -> None:
    """Write what the network sees, in the order of ``FEATURES``, each within its bounds."""
    rate_rps = signals.rate_rps
    oldest = memory.samples - 1
    for place in range(len(_LAGS)):
        before_rps = memory.rates_rps[min(_LAGS[place], oldest)]
        features[place] = _log_ratio(rate_rps, before_rps)
    features[3] = _log_ratio(signals.forecast_mean_rps, rate_rps)
    features[4] = _log_ratio(signals.forecast_upper_rps, rate_rps)
    features[5] = _log_ratio(float(signals.replicas_wanted), need)
    features[6] = _log_ratio(float(signals.replicas_ready), need)
    features[7] = utilisation_gap
    features[8] = math.log1p(in_flight / max(signals.replicas_ready, 1))
    features[9] = _log_ratio(response_time_s, memory.fastest_s)
    features[10] = signals.error_ratio
    features[11] = math.log(need) / 2.0
    for place in range(_INPUTS):
        features[place] = _cut(features[place], _LARGEST_FEATURE)


@kernel
def _correction(features: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return level and band for what is seen: products are added one by one, in the order of the weights."""
    level = 0.0
    band = 0.0
    for unit in range(HIDDEN_UNITS):
        total = 0.0
        for place in range(_INPUTS):
            total += features[place] * weights[place * HIDDEN_UNITS + unit]
        value = math.tanh(total + weights[_HIDDEN_BIAS + unit])
        level += value * weights[_OUTPUT + 2 * unit]
        band += value * weights[_OUTPUT + 2 * unit + 1]
    level = _cut(level + weights[_OUTPUT_BIAS], _LARGEST_CORRECTION)
    band = _cut(band + weights[_OUTPUT_BIAS + 1], _LARGEST_CORRECTION)
    return level, max(band, 0.0)


@kernel
def _decide_one(
    signals: Record,
    memory: Record,
    weights: NDArray[np.float64],
    target: float,
    max_sample_age_s: float,
    estimate: tuple[float, float],
    features: NDArray[np.float64],
) -> int:
    """Return the replicas to want of one service, or ``UNCHANGED``."""
    rate_rps = _amount(signals.rate_rps)
    age_s = abs(signals.time_s - signals.sample_time_s)
    if not age_s <= max_sample_age_s or math.isnan(rate_rps):
        return UNCHANGED
    response_time_s = _amount(signals.response_time_s)
    in_flight = _amount(signals.in_flight)
    utilisation = math.nan
    if signals.serving_pods > 0 and signals.cpu_limit_cores > 0.0:
        utilisation = signals.serving_usage_cores / signals.serving_pods / signals.cpu_limit_cores
    _learn_demand(memory, signals, estimate)
    _remember(memory, signals, response_time_s)
    need = _needed(memory, signals, target)
    if math.isnan(need):
        return UNCHANGED
    _write_features(memory, signals, need, utilisation - target, in_flight, response_time_s, features)
    level, band = _correction(features, weights)
    least = math.ceil(need * math.exp(level) - 1e-9)
    most = math.ceil(need * math.exp(level + band) - 1e-9)
    wanted = signals.replicas_wanted
    replicas = min(max(wanted, least), most)
    answered = not math.isnan(response_time_s) or rate_rps == 0.0
    complete = answered and not math.isnan(utilisation) and not math.isnan(in_flight)
    if replicas < wanted and not complete:
        return UNCHANGED
    replicas = min(max(replicas, signals.min_replicas), signals.max_replicas)
    return UNCHANGED if replicas == wanted else replicas


@kernel
def _decide_all(
    signals: Records,
    memory: Records,
    weights: NDArray[np.float64],
    targets: NDArray[np.float64],
    max_sample_ages_s: NDArray[np.float64],
    estimate: tuple[float, float],
    features: NDArray[np.float64],
    decided: NDArray[np.int64],
) -> None:
    for b in range(signals.shape[0]):
        for s in range(signals.shape[1]):
            decided[b, s] = _decide_one(
                signals[b, s],
                memory[b, s],
                weights[b],
                targets[b],
                max_sample_ages_s[b],
                estimate,
                features[b, s],
            )


_decide = MachineCode(_decide_all)


def decide_replicas(
    signals: Records,
    memory: Records,
    weights: NDArray[np.float64],
    targets: NDArray[np.float64],
    max_sample_ages_s: NDArray[np.float64],
    features: NDArray[np.float64],
    decided: NDArray[np.int64],
) -> None:
    """Decide for S services of B clusters. All arrays are contiguous and may be written to.

    Args:
        signals: (B, S) records of ``SIGNALS``.
        memory: (B, S) records of ``MEMORY``, which are brought up to date.
        weights: (B, ``NUM_WEIGHTS``) of the network of each cluster.
        targets: (B,) shares of the CPU limit that a replica is to use.
        max_sample_ages_s: (B,) ages from which metrics count as missing, seconds.
        features: (B, S, features), where to write what the network sees.
        decided: (B, S), where to write the replicas to want, or ``UNCHANGED``.
    """
    # Constants of other files are arguments: a kernel cached on disk would not notice that they change.
    estimate = (SATURATED, HALF_LIFE_S)
    _decide(signals, memory, weights, targets, max_sample_ages_s, estimate, features, decided)

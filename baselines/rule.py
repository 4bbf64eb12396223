"""A small nonlinear rule on what a learned policy sees: the fairest rival of one.

A demand estimate says how many replicas the present requests need. A network of one hidden layer, small
enough to be tuned by the cross-entropy method, corrects that number and says how far above it replicas may
stay. With weights of zero it corrects nothing, and what is left is a proportional rule. ``rule_arithmetic``
computes it, for one cluster here and for many at once in ``rule_batch``.
"""

from collections.abc import Sequence
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.metrics import KEEP, MAX_SAMPLE_AGE_S, checked_number, serving_pods
from podgym.baselines.rule_arithmetic import (
    FEATURES,
    HIDDEN_UNITS,
    NUM_WEIGHTS,
    OUTPUTS,
    SIGNALS,
    UNCHANGED,
    blank_memory,
    decide_replicas,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.envs.simulator.records import Records
from podgym.errors import InputError

__all__ = ["FEATURES", "HIDDEN_UNITS", "NUM_WEIGHTS", "OUTPUTS", "NonlinearRuleController"]


class NonlinearRuleController:
    """Replicas = needed replicas, corrected by a network of one hidden layer that all services share.

    Needed replicas = request rate * CPU per request / (target utilisation * CPU limit of a pod), the CPU per
    request as measured. Fewer replicas than ``need * exp(level)`` are raised to it, more than ``need *
    exp(level + band)`` are lowered to that, and in between nothing changes. The network's outputs are cut at
    1.5, the band at 0.

    Without a fresh request rate nothing is decided. While CPU, requests in the system or, under load, the
    response time are missing, nothing is lowered.

    Attributes:
        weights: (``NUM_WEIGHTS``,) of the network.
        target_utilisation: share of the CPU limit that a replica is to use.
        max_sample_age_s: age from which the metrics count as missing, seconds.
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
        self.weights = _checked_weights(weights)
        self.target_utilisation = checked_number(
            "target_utilisation", target_utilisation, 0.0, 1.0, above=True
        )
        self.max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, inf)
        self._options = (
            self.weights[None], np.array([self.target_utilisation]), np.array([self.max_sample_age_s])
        )  # fmt: skip
        self._signals = np.zeros((1, 1), dtype=SIGNALS)
        self._features = np.zeros((1, 1, len(FEATURES)))
        self._decided = np.zeros((1, 1), dtype=np.int64)
        self._memories: dict[str, Records] = {}  # of each service (1, 1)

    def reset(self) -> None:
        """Forget what requests cost and what the rates were."""
        self._memories.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Correct the need of every service."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        memory = self._memories.get(service.name)
        if memory is None:
            memory = self._memories[service.name] = blank_memory((1, 1))
        self._signals[0, 0] = _signals(service, now_s, self.max_sample_age_s)
        decide_replicas(self._signals, memory, *self._options, self._features, self._decided)
        replicas = int(self._decided[0, 0])
        return KEEP if replicas == UNCHANGED else ServiceDecision(replicas=replicas)


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


def _signals(service: ServiceView, now_s: float, max_age_s: float) -> tuple[float, ...]:
    """Return what is measured of a service, in the order of ``SIGNALS``."""
    pods = serving_pods(service, now_s, max_age_s)
    usage_cores = limit_cores = 0.0
    for pod in pods:
        if pod.sample is not None:
            # One by one: ``sum`` rounds differently from one version of Python to the next.
            usage_cores += pod.sample.cpu_usage_cores
            limit_cores += pod.quota.cpu_limit_cores
    mean_rps = upper_rps = service.request_rate_rps
    if service.forecast is not None:
        mean_rps, upper_rps = _highest(service.forecast.mean_rps), _highest(service.forecast.upper_rps)
    return (
        now_s,
        nan if service.sample_time_s is None else service.sample_time_s,
        service.request_rate_rps,
        service.response_time_s,
        service.error_ratio,
        service.in_flight,
        service.quota.cpu_limit_cores,
        len(pods),
        usage_cores,
        limit_cores,
        service.replicas_wanted,
        service.replicas_ready,
        service.min_replicas,
        service.max_replicas,
        mean_rps,
        upper_rps,
    )


def _highest(rates_rps: Sequence[float]) -> float:
    """Return the highest of the finite rates; nan when there is none."""
    return max((rate_rps for rate_rps in rates_rps if isfinite(rate_rps)), default=nan)

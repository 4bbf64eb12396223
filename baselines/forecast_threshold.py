"""Replicas for the forecast rate at a target utilisation, with a safety margin and a hold-down."""

from podgym.baselines.metrics import (
    KEEP,
    MAX_SAMPLE_AGE_S,
    DemandEstimate,
    ForecastQuantile,
    HoldDown,
    checked_choice,
    checked_number,
    forecast_peak_rps,
    rate_per_replica_rps,
    replicas_for,
    request_rate_rps,
    want,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import InputError, require_whole


class ForecastThresholdController:
    """Wants ``ceil(rate * (1 + safety_margin) / rate per replica)`` and scales down only after a while.

    The rate is the highest forecast of the next minutes or, if that is higher or there is no forecast,
    the measured one. What a replica serves at the target utilisation of its CPU limit comes from the
    measured CPU per request. Fewer replicas are wanted only when no more were needed for ``hold_s``.

    Source: the calibrated "forecast with threshold" controller of KubeGym (workday-ai-research/KubeGym,
    ``baselines/BASELINES.md``), the strongest analytic rule of that benchmark.
    """

    name = "forecast_threshold"

    def __init__(
        self,
        *,
        lead_minutes: int = 2,
        quantile: ForecastQuantile = "mean",
        target_utilisation: float = 0.7,
        safety_margin: float = 0.1,
        hold_s: float = 300.0,
        use_measured_rate: bool = True,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike.

        Args:
            lead_minutes: minutes of forecast of which the highest rate counts, 1 to 60; at most as many
                as the forecast has.
            quantile: ``mean`` of the forecast, or ``upper`` end of its 80 % interval.
            target_utilisation: share of the CPU limit that a replica is planned to use, above 0 to 1.
            safety_margin: what is added to the rate, as a share of it; -0.5 to 10.
            hold_s: how long less must be needed before less is wanted, seconds.
            use_measured_rate: whether the measured rate counts beside a lower forecast. Without a forecast
                it always does.
            max_sample_age_s: age from which the metrics count as missing, seconds; then nothing is scaled
                down, and up only by the forecast.

        Raises:
            InputError: an option that is not a number of its range, or an unknown quantile.
        """
        require_whole("lead_minutes", lead_minutes, 1, 60)
        checked_choice("quantile", quantile, ForecastQuantile)
        if not isinstance(use_measured_rate, bool):
            raise InputError(f"use_measured_rate is {use_measured_rate!r}; it must be True or False.")
        self._lead_minutes = lead_minutes
        self._quantile: ForecastQuantile = quantile
        self._utilisation = checked_number("target_utilisation", target_utilisation, 0.0, 1.0, above=True)
        self._factor = 1.0 + checked_number("safety_margin", safety_margin, -0.5, 10.0)
        self._hold_s = checked_number("hold_s", hold_s, 0.0, float("inf"))
        self._use_measured_rate = use_measured_rate
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, float("inf"))
        self._demands: dict[str, DemandEstimate] = {}
        self._holds: dict[str, HoldDown] = {}

    def reset(self) -> None:
        """Forget what was needed and what was learned of the demand."""
        self._demands.clear()
        self._holds.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Scale every service once."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        if service.name not in self._holds:
            self._demands[service.name] = DemandEstimate(max_sample_age_s=self._max_sample_age_s)
            self._holds[service.name] = HoldDown(self._hold_s)
            # Keeps a controller that has just started from scaling down at once.
            self._holds[service.name].apply(service.replicas_wanted, now_s)
        demand, hold = self._demands[service.name], self._holds[service.name]
        demand.update(service, now_s)
        measured_rps = request_rate_rps(service, now_s, self._max_sample_age_s)
        needed = self._needed(service, measured_rps, demand)
        if needed is None:
            hold.apply(service.replicas_wanted, now_s)
            return KEEP
        if measured_rps is None:
            needed = max(needed, service.replicas_wanted)
        return want(hold.apply(needed, now_s), service)

    def _needed(self, service: ServiceView, measured_rps: float | None, demand: DemandEstimate) -> int | None:
        """Replicas needed now, within the bounds; None: not known."""
        rate_rps = forecast_peak_rps(service.forecast, self._lead_minutes, self._quantile)
        if measured_rps is not None and (rate_rps is None or self._use_measured_rate):
            rate_rps = max(measured_rps, rate_rps or 0.0)
        if rate_rps is None:
            return None
        if rate_rps == 0.0:
            return service.min_replicas
        if demand.core_s_per_request is None:
            return None
        per_replica_rps = rate_per_replica_rps(service, demand.core_s_per_request, self._utilisation)
        if per_replica_rps is None:
            return None
        return replicas_for(rate_rps * self._factor, per_replica_rps, service)

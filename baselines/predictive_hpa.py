"""The HPA with a forecast beside its measurements: the larger of the two proposals."""

from podgym.baselines.hpa.types import AverageValue, ControllerSettings, ExternalMetric, Metric
from podgym.baselines.hpa_controller import HpaLoop, checked_percent, milli, resource_metric
from podgym.baselines.metrics import (
    MAX_SAMPLE_AGE_S,
    DemandEstimate,
    ForecastQuantile,
    checked_choice,
    checked_number,
    forecast_peak_rps,
    is_size,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import require_whole


class PredictiveHpaController:
    """Maximum of the reactive HPA's proposal and the same arithmetic on the forecast.

    The reactive part is the HPA on CPU utilisation. The forecast part is the CPU that the highest rate of
    the next minutes will need, from the measured CPU per request, as a second metric of the same HPA, with
    the same target per pod. So the largest proposal wins, and tolerance, stabilisation and the rules for
    missing metrics are the HPA's. Without a forecast the reactive HPA is left.

    Source: Predictive Horizontal Pod Autoscaler (jthomperoo), which does the HPA's calculation and its
    models' and takes the maximum (``decisionType: maximum``, its default).
    """

    name = "predictive_hpa"

    def __init__(
        self,
        *,
        cpu_target_percent: int = 80,
        lead_minutes: int = 3,
        quantile: ForecastQuantile = "mean",
        tolerance: float = 0.1,
        downscale_stabilization_s: float = 300.0,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike.

        Args:
            cpu_target_percent: target utilisation of the CPU requests, measured and forecast.
            lead_minutes: minutes of forecast of which the highest rate counts, 1 to 60; at most as many
                as the forecast has.
            quantile: ``mean`` of the forecast, or ``upper`` end of its 80 % interval.
            tolerance: distance of a ratio from 1 within which nothing is done.
            downscale_stabilization_s: how long a higher recommendation holds back scaling down, seconds.
            max_sample_age_s: age from which a sample counts as missing, seconds.

        Raises:
            InputError: an option that is not a number of its range, or an unknown quantile.
        """
        self._percent = checked_percent("cpu_target_percent", cpu_target_percent)
        require_whole("lead_minutes", lead_minutes, 1, 60)
        checked_choice("quantile", quantile, ForecastQuantile)
        self._lead_minutes = lead_minutes
        self._quantile: ForecastQuantile = quantile
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, float("inf"))
        self._loop = HpaLoop(
            settings=ControllerSettings(
                tolerance=checked_number("tolerance", tolerance, 0.0, 1.0),
                downscale_stabilization_s=checked_number(
                    "downscale_stabilization_s", downscale_stabilization_s, 0.0, float("inf")
                ),
            )
        )
        self._demands: dict[str, DemandEstimate] = {}

    def reset(self) -> None:
        """Forget all recommendations and what was learned of the demand."""
        self._loop.reset()
        self._demands.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Reconcile the HPA of every service once."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        demand = self._demands.get(service.name)
        if demand is None:
            demand = self._demands[service.name] = DemandEstimate(max_sample_age_s=self._max_sample_age_s)
        demand.update(service, now_s)
        metrics: list[Metric] = [
            resource_metric("cpu", self._percent, service, now_s, self._max_sample_age_s)
        ]
        needed_cores = self._forecast_cores(service, demand)
        target_cores = service.quota.cpu_request_cores * self._percent / 100.0
        if needed_cores is not None and is_size(target_cores):
            metrics.append(ExternalMetric(AverageValue(milli(target_cores)), (milli(needed_cores),)))
        return self._loop.decide(service, metrics, now_s)

    def _forecast_cores(self, service: ServiceView, demand: DemandEstimate) -> float | None:
        """CPU that the forecast will need, all pods together; None: not known."""
        peak_rps = forecast_peak_rps(service.forecast, self._lead_minutes, self._quantile)
        if peak_rps is None or demand.core_s_per_request is None:
            return None
        return peak_rps * demand.core_s_per_request

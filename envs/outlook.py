"""What lies ahead, for controllers: the forecast and the plan of an environment's observation."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import ClusterObservation, RateForecast, ServicePlan, ServiceView
from podgym.envs.observation import FORECAST_PARTS, ObservationLayout


class Outlook:
    """Adds forecast and plan to what a cluster shows, read off the numbers that a policy sees.

    So a controller and a policy know the same of the future, to the last bit.
    """

    def __init__(self, layout: ObservationLayout, *, planned: bool) -> None:
        """Find the numbers.

        Args:
            layout: of the observation.
            planned: whether the environment has a planner; without one there is no plan to show.
        """
        self._mode = layout.config.forecast
        self._minutes = layout.config.horizon_minutes
        self._planned = planned
        self._rate_rps = layout.scales.rate_rps  # (num_services,) scale of the forecasts
        first = f".{FORECAST_PARTS[0].name}[+1min]"
        self._first = [index for index, name in enumerate(layout.names) if name.endswith(first)]

    def added_to(
        self, observation: ClusterObservation, row: NDArray[np.float32], plan: NDArray[np.float64]
    ) -> ClusterObservation:
        """Return the observation with forecast and plan.

        Args:
            observation: what the cluster shows.
            row: (size,) the observation of the same moment as a policy sees it.
            plan: (num_services, 3) planned replicas, cores and bytes.
        """
        services = tuple(
            dataclasses.replace(
                service, forecast=self._forecast(service, row, s), plan=self._plan(service, plan[s])
            )
            for s, service in enumerate(observation.services)
        )
        return dataclasses.replace(observation, services=services)

    def _forecast(self, service: ServiceView, row: NDArray[np.float32], s: int) -> RateForecast | None:
        unknown = self._mode == "naive" and not math.isfinite(service.request_rate_rps)
        if self._mode == "none" or unknown:
            return None
        at = self._first[s]
        parts = row[at : at + 3 * self._minutes].reshape(3, self._minutes).astype(np.float64)
        mean, lower, upper = (tuple(part.tolist()) for part in parts * self._rate_rps[s])  # requests/s
        return RateForecast(mean, lower, upper)

    def _plan(self, service: ServiceView, plan: NDArray[np.float64]) -> ServicePlan | None:
        if not self._planned:
            return None
        replicas = min(max(round(float(plan[0])), service.min_replicas), service.max_replicas)
        return ServicePlan(replicas, float(plan[1]), float(plan[2]))

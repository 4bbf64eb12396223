"""What lies ahead, for controllers: the forecast and the plan of an environment's observation."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import RateForecast, ServicePlan
from podgym.envs.observation import FORECAST_PARTS, ObservationLayout
from podgym.envs.simulator.cluster import Ahead
from podgym.envs.simulator.parameters import ServiceConfig


class Outlook:
    """Tells forecast and plan of every service, read off the numbers that a policy sees.

    So a controller and a policy know the same of the future, to the last bit.
    """

    def __init__(
        self, layout: ObservationLayout, services: Sequence[ServiceConfig], *, planned: bool
    ) -> None:
        """Find the numbers.

        Args:
            layout: of the observation.
            services: of the cluster.
            planned: whether the environment has a planner; without one there is no plan to show.
        """
        self._mode = layout.config.forecast
        self._services = services
        self._planned = planned
        self._rate_rps = layout.scales.rate_rps[:, None, None]  # (num_services, 1, 1) scale of the forecasts
        minutes = layout.config.horizon_minutes
        first = f".{FORECAST_PARTS[0].name}[+1min]"
        firsts = [index for index, name in enumerate(layout.names) if name.endswith(first)]
        parts = np.add.outer(firsts, minutes * np.arange(len(FORECAST_PARTS)))
        self._places = np.add.outer(parts, np.arange(minutes))  # (num_services, 3, minutes)

    def ahead(
        self, rates_rps: NDArray[np.float64], row: NDArray[np.float32], plan: NDArray[np.float64]
    ) -> list[Ahead]:
        """Return what is known of the future of each service.

        Args:
            rates_rps: (num_services,) measured requests/s; nan as long as nothing was scraped.
            row: (size,) the observation of the same moment as a policy sees it.
            plan: (num_services, 3) planned replicas, cores and bytes.
        """
        return list(zip(self._forecasts(rates_rps, row), self._plans(plan), strict=True))

    def _forecasts(
        self, rates_rps: NDArray[np.float64], row: NDArray[np.float32]
    ) -> list[RateForecast | None]:
        if self._mode == "none":
            return [None] * len(self._services)
        parts = row[self._places].astype(np.float64) * self._rate_rps  # (num_services, 3, minutes) requests/s
        return [
            None if self._mode == "naive" and not math.isfinite(rate_rps) else RateForecast(*map(tuple, each))
            for rate_rps, each in zip(rates_rps.tolist(), parts.tolist(), strict=True)
        ]

    def _plans(self, plan: NDArray[np.float64]) -> list[ServicePlan | None]:
        if not self._planned:
            return [None] * len(self._services)
        return [
            ServicePlan(min(max(round(replicas), service.min_replicas), service.max_replicas), cores, memory)
            for service, (replicas, cores, memory) in zip(self._services, plan.tolist(), strict=True)
        ]

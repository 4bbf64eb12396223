"""What an environment asks of a planner and of a forecaster.

Both work for a whole episode before it begins, so that a step only looks up what they made.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.workloads.profile import LoadProfile

PLAN_PERIOD_S = 300.0
"""A plan holds for five minutes."""
FORECAST_PERIOD_S = 60.0
"""A forecast is renewed every minute."""


class Planner(Protocol):
    """Makes the plans of an episode, so that a step only looks them up."""

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> NDArray[np.float64]:
        """Return plans (num_plans, num_services, 3): replicas, CPU request in cores, memory request in bytes.

        Plan i holds from ``i * PLAN_PERIOD_S``; the last one to the end.
        """
        ...


class RateForecaster(Protocol):
    """Gives the forecasts of a whole episode before it begins, so that a step only looks them up."""

    def forecast_rates(
        self, profile: LoadProfile, duration_s: float, horizon_minutes: int
    ) -> NDArray[np.float64]:
        """Return the forecasts of one episode, as they would have been made minute by minute.

        Args:
            profile: the load of the episode, with the place in its trace where it was cut from.
            duration_s: length of the episode, seconds.
            horizon_minutes: how many minutes each forecast tells of.

        Returns:
            (num_rows, horizon_minutes, 3) mean, lower and upper end of the 80 % interval, in the unit of
            ``profile.values`` (requests/s, or users of a closed workload). Row i is what is known at
            ``i * FORECAST_PERIOD_S`` and tells the means over the following minutes; it serves until the
            next row, the last one to the end. It is made from the load up to that time only. The array is
            copied, so it may be a view of something larger.
        """
        ...


class DefaultPlanner:
    """The plan that changes nothing: the replicas and quotas that each service starts with."""

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> NDArray[np.float64]:
        """Return one plan for the whole episode."""
        rows = [
            [service.initial_replicas, service.cpu_request_cores, service.memory_request_bytes]
            for service in config.services
        ]
        return np.array([rows], dtype=np.float64)

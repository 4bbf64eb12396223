"""What an environment asks of a planner: plans for a whole episode, made before it begins."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.workloads.profile import LoadProfile

PLAN_PERIOD_S = 300.0
"""A plan holds for five minutes."""


class Planner(Protocol):
    """Makes the plans of an episode, so that a step only looks them up."""

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> NDArray[np.float64]:
        """Return plans (num_plans, num_services, 3): replicas, CPU request in cores, memory request in bytes.

        Plan i holds from ``i * PLAN_PERIOD_S``; the last one to the end.
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

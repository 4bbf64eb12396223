"""How many pods a load needs: the yardstick of over- and under-provisioning."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.simulator.queueing import delay_probability, table_row
from podgym.envs.simulator.records import Records
from podgym.envs.simulator.sojourn import SojournLaw, tail
from podgym.envs.simulator.world import make_world

SLO_SHARE = 0.95
"""A service meets its SLO when this share of its requests is fast enough."""


@kernel
def smallest_count(
    table: NDArray[np.float64],
    rate_rps: float,
    cpu_limit_cores: float,
    demand_core_s: float,
    demand_cv: float,
    kappa: float,
    pooled: bool,
    sharing: bool,
    concurrency: float,
    base_latency_s: float,
    slo_s: float,
    most: int,
) -> int:
    """Smallest number of ready pods that meets the SLO at a steady rate; ``most`` when none does."""
    servers = min(max(cpu_limit_cores, 1.0), concurrency)
    capacity = min(cpu_limit_cores, servers)
    service_s = demand_core_s * servers / capacity
    for pods in range(1, most):
        utilisation = rate_rps * demand_core_s / (pods * capacity)
        if utilisation >= 1.0:
            continue
        total = servers * pods if pooled else servers
        delay = delay_probability(table, table_row(total), utilisation)
        wait_s = kappa * service_s / (total * (1.0 - utilisation))
        law = SojournLaw(base_latency_s, service_s, demand_cv, delay, wait_s, wait_s)
        if sharing:
            mean_s = service_s + delay * wait_s
            squared = (1.0 + demand_cv * demand_cv) * 2.0 / (2.0 - utilisation) - 1.0
            law = SojournLaw(base_latency_s, mean_s, np.sqrt(max(squared, 0.0)), 0.0, 0.0, 0.0)
        if tail(slo_s, law) <= 1.0 - SLO_SHARE + 1e-12:
            return pods
    return most


_Constants = tuple[float, float, float, bool, bool, float, float, float, int]
"""Of one service, in the order of the last arguments of ``smallest_count``."""


class RequiredReplicas:
    """Counts the pods that a load needs, for the services of one configuration."""

    def __init__(self, config: ClusterConfig) -> None:
        """Look the constants of the services up once."""
        self._services = config.services
        world = make_world(config, 1, 2)
        self._table = world.table
        self._constants = self._constants_of(world.service_parameters[0])

    def _constants_of(self, service_parameters: Records) -> list[_Constants]:
        return [
            (
                float(parameters["cpu_demand_core_s"]),
                float(parameters["demand_cv"]),
                float(parameters["kappa"]),
                bool(parameters["pooled"]),
                bool(parameters["processor_sharing"]),
                float(parameters["concurrency_per_pod"]),
                float(parameters["base_latency_s"]),
                service.slo_response_time_s,
                service.max_replicas,
            )
            for parameters, service in zip(service_parameters, self._services, strict=True)
        ]

    def count(
        self, columns: Mapping[str, NDArray[np.float64]], service_parameters: Records | None = None
    ) -> NDArray[np.float64]:
        """Smallest numbers of ready pods for the offered rate of an interval, by the stationary law.

        Args:
            columns: report of an interval, arrays (num_services,).
            service_parameters: (num_services,) parameters of an episode; None: those of the configuration.

        Returns:
            (num_services,) pods, at least the minimum and at most the maximum of each service.
        """
        all_constants = self._constants
        if service_parameters is not None:
            all_constants = self._constants_of(service_parameters)
        counts = np.zeros(len(self._services))
        for s, (service, constants) in enumerate(zip(self._services, all_constants, strict=True)):
            counts[s] = service.min_replicas
            rate_rps = float(columns["offered_rps"][s])
            if rate_rps > 0.0:
                limit_cores = float(columns["cpu_limit_cores"][s])
                count = smallest_count(self._table, rate_rps, limit_cores, *constants)
                counts[s] = max(count, service.min_replicas)
        return counts

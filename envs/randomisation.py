"""Physical parameters that differ from episode to episode, so that no policy learns one cluster by heart.

What is drawn multiplies the configured, nominal parameter and holds for a whole episode. The policy is not
told: observation scales, levels of the actions, planners and controllers stay those of the nominal cluster.
"""

import dataclasses
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.parameters import ClusterConfig, ServiceConfig
from podgym.envs.simulator.validation import is_number
from podgym.errors import InputError

FactorRange = tuple[float, float]
"""Lowest and highest factor that an episode can draw."""

_SERVICE_PARAMETERS = {
    "cpu_demand": "cpu_demand_core_s",
    "start_up": "start_up_s",
    "demand_cv": "demand_cv",
}  # factor -> field of ServiceParameters


@dataclass(frozen=True, slots=True)
class RandomisationConfig:
    """Ranges of the factors that are drawn at the start of each episode, uniformly; (1, 1) everywhere is off.

    Each service draws its own factors, except for the monitoring, which all services share. They come from
    the episode's own generator, after its load, so that nothing that is decided can change them.

    Raises:
        InputError: a range that is not two ascending numbers above 0.
    """

    cpu_demand: FactorRange = (1.0, 1.0)
    """Factor on ``cpu_demand_core_s``, the CPU work of one request."""
    start_up: FactorRange = (1.0, 1.0)
    """Factor on ``start_up_s``, the mean time from the start of a container until the application answers."""
    scrape_delay: FactorRange = (1.0, 1.0)
    """Factor on ``scrape_delay_s``, the time until a scrape can be queried; one factor for all services. It
    is the lag of the pipeline, not the whole age of a sample: that also counts the time since the last scrape
    (up to ``scrape_interval_s``) and the averaging window, which stay. Acts in whole ticks."""
    demand_cv: FactorRange = (1.0, 1.0)
    """Factor on ``demand_cv``, the coefficient of variation of the work of one request; waits of a first come
    first served queue follow."""

    def __post_init__(self) -> None:
        for name in FACTORS:
            bounds = getattr(self, name)
            pair = isinstance(bounds, tuple | list) and len(bounds) == 2 and all(map(is_number, bounds))
            if not pair or not 0.0 < bounds[0] <= bounds[1]:
                raise InputError(
                    f"randomisation.{name} is {bounds!r}; it must be two numbers above 0, the lowest factor "
                    "first, such as [0.8, 1.25]."
                )
            object.__setattr__(self, name, (float(bounds[0]), float(bounds[1])))

    @property
    def active(self) -> bool:
        """Whether anything differs from episode to episode, or from the nominal cluster."""
        return any(getattr(self, name) != (1.0, 1.0) for name in FACTORS)

    def draw(self, rng: np.random.Generator, num_services: int) -> NDArray[np.float64]:
        """Return the factors of one episode, (num_services, len(FACTORS)) in the order of ``FACTORS``.

        Always takes ``num_services * len(FACTORS)`` numbers from ``rng``, so that a changed range of one
        factor leaves the others as they were.
        """
        low, high = np.array([getattr(self, name) for name in FACTORS]).T  # (factors,) each
        factors = low + (high - low) * rng.random((num_services, len(FACTORS)))
        factors = np.minimum(factors, high)  # rounding could pass the end by one bit
        shared = FACTORS.index("scrape_delay")
        factors[:, shared] = factors[0, shared]
        return np.asarray(factors)

    def extremes(self, cluster: ClusterConfig) -> tuple[ClusterConfig, ClusterConfig]:
        """Return a cluster with every factor at its lowest, and one with every factor at its highest.

        Raises:
            InputError: a factor leads to a parameter that the simulator does not take.
        """
        return self._scaled(cluster, 0), self._scaled(cluster, 1)

    def _scaled(self, cluster: ClusterConfig, end: int) -> ClusterConfig:
        try:
            delay_s = cluster.monitoring.scrape_delay_s * self.scrape_delay[end]
            monitoring = dataclasses.replace(cluster.monitoring, scrape_delay_s=delay_s)
            services = tuple(self._scaled_service(service, end) for service in cluster.services)
            return dataclasses.replace(cluster, monitoring=monitoring, services=services)
        except InputError as error:
            raise InputError(f"randomisation goes too far: {error}") from error

    def _scaled_service(self, service: ServiceConfig, end: int) -> ServiceConfig:
        changes = {
            parameter: getattr(service.parameters, parameter) * getattr(self, factor)[end]
            for factor, parameter in _SERVICE_PARAMETERS.items()
        }
        return dataclasses.replace(service, parameters=dataclasses.replace(service.parameters, **changes))


FACTORS: tuple[str, ...] = tuple(entry.name for entry in fields(RandomisationConfig))
"""Names of the factors, in the order of every array of them."""

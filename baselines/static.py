"""The controller that never changes its mind."""

from podgym.baselines.metrics import checked_number, with_limit
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import InputError

_LARGEST_CPU_CORES = 1e6
_LARGEST_MEMORY_BYTES = 1e15


class StaticController:
    """Keeps a fixed number of replicas of every service, or whatever each service began with."""

    name = "static"

    def __init__(
        self,
        replicas: int | None = None,
        *,
        cpu_request_cores: float | None = None,
        memory_request_bytes: float | None = None,
    ) -> None:
        """Fix the number of replicas and, if wanted, the requests.

        Args:
            replicas: wanted of every service; None: as each service began.
            cpu_request_cores: CPU request of every pod; the limit keeps its ratio to the request. None: as
                each service began.
            memory_request_bytes: memory request of every pod, likewise.

        Raises:
            InputError: not a whole number of 1 or more, or a request that is not a positive number.
        """
        self.replicas = None if replicas is None else _checked(replicas)
        self.cpu_request_cores = (
            None
            if cpu_request_cores is None
            else checked_number("cpu_request_cores", cpu_request_cores, 0.0, _LARGEST_CPU_CORES, above=True)
        )
        self.memory_request_bytes = (
            None
            if memory_request_bytes is None
            else checked_number(
                "memory_request_bytes", memory_request_bytes, 0.0, _LARGEST_MEMORY_BYTES, above=True
            )
        )

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Ask for the same again.

        Raises:
            InputError: the number is outside the bounds of a service.
        """
        return tuple(self._decide_one(service) for service in observation.services)

    def _decide_one(self, service: ServiceView) -> ServiceDecision:
        if self.replicas is not None and not service.min_replicas <= self.replicas <= service.max_replicas:
            raise InputError(
                f"replicas of the static controller: got {self.replicas}; service {service.name!r} allows "
                f"{service.min_replicas} to {service.max_replicas}"
            )
        quota = service.quota
        cpu_cores = _pair(self.cpu_request_cores, quota.cpu_request_cores, quota.cpu_limit_cores)
        memory_bytes = _pair(self.memory_request_bytes, quota.memory_request_bytes, quota.memory_limit_bytes)
        return ServiceDecision(self.replicas, *cpu_cores, *memory_bytes)


def _pair(
    request: float | None, present_request: float, present_limit: float
) -> tuple[float | None, float | None]:
    """Return a request with its limit; None: both stay."""
    return (None, None) if request is None else with_limit(request, present_request, present_limit)


def _checked(replicas: object) -> int:
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
        raise InputError(
            f"replicas of the static controller: got {replicas!r}; a whole number >= 1 is needed"
        )
    return replicas

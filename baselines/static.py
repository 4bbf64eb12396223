"""The controller that never changes its mind."""

from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import InputError


class StaticController:
    """Keeps a fixed number of replicas of every service, or whatever each service began with."""

    name = "static"

    def __init__(self, replicas: int | None = None) -> None:
        """Fix the number of replicas.

        Args:
            replicas: wanted of every service; None: as each service began.

        Raises:
            InputError: not a whole number of 1 or more.
        """
        self.replicas = None if replicas is None else _checked(replicas)

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Ask for the same number again.

        Raises:
            InputError: the number is outside the bounds of a service.
        """
        return tuple(self._decide_one(service) for service in observation.services)

    def _decide_one(self, service: ServiceView) -> ServiceDecision:
        if self.replicas is None:
            return ServiceDecision()
        if not service.min_replicas <= self.replicas <= service.max_replicas:
            raise InputError(
                f"replicas of the static controller: got {self.replicas}; service {service.name!r} allows "
                f"{service.min_replicas} to {service.max_replicas}"
            )
        return ServiceDecision(replicas=self.replicas)


def _checked(replicas: object) -> int:
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
        raise InputError(
            f"replicas of the static controller: got {replicas!r}; a whole number >= 1 is needed"
        )
    return replicas

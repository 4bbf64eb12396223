"""What every controller is: something that sees the cluster and says what is wanted of it."""

from typing import Protocol

from podgym.envs.cluster import ClusterObservation, ServiceDecision


class Controller(Protocol):
    """A controller, called once per control interval."""

    name: str
    """Short name, for tables."""

    def reset(self) -> None:
        """Forget everything, as at the start of an episode."""
        ...

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Return one decision per service, in the order of the observation."""
        ...

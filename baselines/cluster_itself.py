"""The controller that leaves all decisions to the cluster."""

from podgym.envs.cluster import ClusterObservation, ServiceDecision


class ClusterItselfController:
    """Decides nothing: what scales is the autoscaler inside the cluster, and here it is only watched.

    It is the rival on a real cluster whose Deployments an HPA, a KEDA ScaledObject or a VPA manages. In the
    simulator, which has no autoscaler of its own, every service keeps what it began with.
    """

    name = "cluster"

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Leave every service as it is."""
        return tuple(ServiceDecision() for _ in observation.services)

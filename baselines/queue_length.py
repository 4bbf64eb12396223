"""A target for the number of requests in the system per replica."""

from podgym.baselines.hpa.types import AverageValue, ControllerSettings, ExternalMetric
from podgym.baselines.hpa_controller import HpaLoop, milli
from podgym.baselines.metrics import MAX_SAMPLE_AGE_S, checked_number, requests_in_flight
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView


class QueueLengthController:
    """Scales each service so that every replica has its share of the requests in the system.

    An HPA on one External metric with an average value, as Kubernetes' documentation has it for a queue
    ("HorizontalPodAutoscaler Walkthrough", autoscaling on metrics not related to Kubernetes objects) and
    KEDA's queue scalers create it: replicas = ceil(requests in the system / target). The queue is felt
    before the CPU is: it also grows when the pods are already saturated. Source of the number:
    ``ServiceView.in_flight``.
    """

    name = "queue_length"

    def __init__(
        self,
        *,
        target_per_replica: float = 1.0,
        downscale_stabilization_s: float = 300.0,
        tolerance: float = 0.1,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike.

        Args:
            target_per_replica: requests in the system, waiting or served, wanted per replica. With n
                replicas of one core or less, n of them mean that all servers are busy or nearly so.
            downscale_stabilization_s: how long a higher recommendation holds back scaling down, seconds.
            tolerance: distance of the ratio from 1 within which nothing is done.
            max_sample_age_s: age from which the metric counts as missing, seconds; then nothing is done.

        Raises:
            InputError: an option that is not a number of its range.
        """
        self._target_milli = milli(checked_number("target_per_replica", target_per_replica, 1e-3, 1e9))
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, float("inf"))
        self._loop = HpaLoop(
            settings=ControllerSettings(
                tolerance=checked_number("tolerance", tolerance, 0.0, 1.0),
                downscale_stabilization_s=checked_number(
                    "downscale_stabilization_s", downscale_stabilization_s, 0.0, float("inf")
                ),
            )
        )

    def reset(self) -> None:
        """Forget all recommendations."""
        self._loop.reset()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Reconcile every service once."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        in_flight = requests_in_flight(service, now_s, self._max_sample_age_s)
        values_milli = None if in_flight is None else (milli(in_flight),)
        metric = ExternalMetric(AverageValue(self._target_milli), values_milli)
        return self._loop.decide(service, (metric,), now_s)

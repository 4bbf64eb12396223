"""What every controller is: something that sees the cluster and says what is wanted of it."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.protocols import Planner, RateForecaster


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


@runtime_checkable
class PlanningController(Controller, Protocol):
    """A controller that acts on plans, and brings the planner that makes them."""

    def planner(self, forecaster: RateForecaster | None) -> Planner:
        """Return the planner to give to the environment; it plans for what the forecaster tells."""
        ...


@runtime_checkable
class ObservationPolicy(Protocol):
    """What decides by the arrays of the Gymnasium environment, as a model from any library does."""

    name: str
    """Short name, for tables."""

    def reset(self) -> None:
        """Forget everything, as at the start of an episode."""
        ...

    def act(self, observation: NDArray[np.float32]) -> ArrayLike:
        """Return the action of the environment for its observation (n,)."""
        ...

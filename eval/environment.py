"""What an episode is run in: the face that a simulated and a real cluster have in common."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.config import EnvConfig
from podgym.envs.simulator.constants import Provenance
from podgym.envs.workloads.profile import LoadProfile

Step = tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]
"""Observation, reward, terminated, truncated and ``info``, as in Gymnasium."""


class EpisodeEnd(Exception):  # noqa: N818  (it is no error: what was recorded until then stands)
    """An episode ends before its time, and the interval that is under way does not count."""


class Environment(Protocol):
    """An environment that controllers and policies are run in; ``AutoscaleEnv`` is one."""

    config: EnvConfig
    """What it was made with."""

    @property
    def service_names(self) -> tuple[str, ...]:
        """Names of the services."""

    @property
    def slo_response_time_s(self) -> NDArray[np.float64]:
        """(num_services,) SLO of each service, seconds."""

    @property
    def entry_share(self) -> NDArray[np.float64]:
        """(num_services,) share of the external requests that enters at each service."""

    @property
    def visits(self) -> NDArray[np.float64]:
        """(num_services,) calls of each service per external request."""

    @property
    def episode_steps(self) -> int:
        """Steps after which an episode is truncated; it may be earlier."""

    @property
    def profile(self) -> LoadProfile | None:
        """Load of the episode; where it is measured, it is known at the end only."""

    def provenance(self) -> list[Provenance]:
        """Return every constant with its value, unit and source."""

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Start an episode."""

    # ``action`` stays loosely typed: array-like for people, an integer array for Gymnasium.
    def step(self, action: Any) -> Step:  # noqa: ANN401
        """Apply an action and let one control interval pass."""

    def step_decisions(self, decisions: Sequence[ServiceDecision]) -> Step:
        """Apply a controller's decisions, one per service, and let one control interval pass."""

    def observe(self) -> ClusterObservation:
        """Return what a controller may know."""

    def report(self) -> NDArray[np.float64]:
        """Return the report of the last interval, (len(REPORT_COLUMNS), num_services)."""

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which choices of the next action have an effect."""

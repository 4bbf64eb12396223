"""The controller that decides by chance: the floor under every comparison."""

from typing import Literal, TypeAlias

import numpy as np

from podgym.baselines.metrics import (
    KEEP,
    MAX_SAMPLE_AGE_S,
    bounded,
    checked_choice,
    checked_number,
    is_fresh,
    want,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import require_whole

RandomKind: TypeAlias = Literal["walk", "uniform"]
"""Steps from what is wanted, or counts anywhere within the bounds."""


class RandomController:
    """Wants a random number of replicas of every service, drawn anew after each period.

    It looks at no metric, but like every controller it does not scale down while they are missing or old.
    """

    name = "random"

    def __init__(
        self,
        *,
        kind: RandomKind = "uniform",
        seed: int = 0,
        period_s: float = 60.0,
        largest_step: int = 2,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike.

        Args:
            kind: ``uniform``: any count within the bounds; ``walk``: a step from what is wanted.
            seed: of the random numbers, 0 or more; every episode draws the same.
            period_s: how long a count is kept, seconds; 0: a new one at every decision.
            largest_step: of a walk, replicas.
            max_sample_age_s: age from which the metrics count as missing, seconds.

        Raises:
            InputError: an option that is not a number of its range, or an unknown kind.
        """
        checked_choice("kind of random controller", kind, RandomKind)
        require_whole("seed", seed, 0, 2**63 - 1)
        require_whole("largest_step", largest_step, 1, 10**6)
        self._kind: RandomKind = kind
        self._seed = seed
        self._period_s = checked_number("period_s", period_s, 0.0, float("inf"))
        self._largest_step = largest_step
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, float("inf"))
        self.reset()

    def reset(self) -> None:
        """Begin the random numbers anew."""
        self._rng = np.random.default_rng(self._seed)
        self._drawn_s: float | None = None

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Draw a count for every service, or keep the last one."""
        now_s = observation.time_s
        if self._drawn_s is not None and now_s - self._drawn_s < self._period_s:
            return (KEEP,) * len(observation.services)
        self._drawn_s = now_s
        return tuple(self._decide_one(service, now_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        replicas = bounded(self._draw(service), service)
        if replicas < service.replicas_wanted and not is_fresh(service, now_s, self._max_sample_age_s):
            return KEEP
        return want(replicas, service)

    def _draw(self, service: ServiceView) -> int:
        if self._kind == "walk":
            step = int(self._rng.integers(-self._largest_step, self._largest_step, endpoint=True))
            return service.replicas_wanted + step
        low, high = service.min_replicas, max(service.min_replicas, service.max_replicas)
        return int(self._rng.integers(low, high, endpoint=True))

"""A fixed set of episodes to train on, so that what is made for an episode is made once.

A plan or a forecast costs far more than the restart of an episode. With loads from an ``EpisodePool``, and
planner and forecaster wrapped by ``remembered`` and ``remembered_rates``, each is made the first time that a
load comes up and looked up from then on.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads.profile import LoadKind, LoadProfile, Workload
from podgym.errors import InputError, require_whole

if TYPE_CHECKING:  # protocols stands on this package
    from podgym.envs.protocols import Planner, RateForecaster
    from podgym.envs.simulator.parameters import ClusterConfig


class EpisodePool:
    """Draws each episode uniformly from a fixed number of loads of another workload.

    The profiles are the very same objects each time. Arrival noise, start-up times and the like still differ
    between two episodes of one load: they come from the episode's own seeds.

    It has ``part`` and ``duration_s`` if the workload has.
    """

    def __init__(self, workload: Workload, size: int, seed: int = 0) -> None:
        """Remember what to sample; nothing is sampled before the first episode.

        Args:
            workload: where the loads come from.
            size: how many loads.
            seed: load i depends on ``seed``, i and the length of the episode alone, so a larger pool begins
                with the loads of a smaller one.

        Raises:
            InputError: a size below 1 or a seed below 0.
        """
        require_whole("size of the pool", size, 1, 10**7)
        require_whole("seed of the pool", seed, 0, 2**63)
        self.workload = workload
        self.size = size
        self.seed = seed
        self.name = workload.name
        self.kind: LoadKind = workload.kind
        self.step_s = workload.step_s
        self.max_duration_s = workload.max_duration_s
        for attribute in ("part", "duration_s"):
            if hasattr(workload, attribute):
                setattr(self, attribute, getattr(workload, attribute))
        self._profiles: dict[float, tuple[LoadProfile, ...]] = {}

    def profiles(self, duration_s: float) -> tuple[LoadProfile, ...]:
        """Return all loads of the pool for episodes of one length, (size,); sampled at the first call.

        Raises:
            InputError: ``duration_s`` is not positive or longer than ``max_duration_s``.
        """
        known = self._profiles.get(duration_s)
        if known is None:
            rngs = (np.random.default_rng([self.seed, index]) for index in range(self.size))
            known = tuple(self.workload.sample(rng, duration_s) for rng in rngs)
            self._profiles[duration_s] = known
        return known

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return one of the loads, each equally likely; takes one draw from ``rng``."""
        return self.profiles(duration_s)[int(rng.integers(self.size))]


def remembered(planner: "Planner") -> "Planner":
    """Return a planner that makes the plans of each profile object once.

    It keeps every profile that it saw, and its plans, for as long as it lives: meant for an ``EpisodePool``.
    The plans are handed out again and again, so they are read-only.
    """
    return _RememberedPlanner(planner)


def remembered_rates(forecaster: "RateForecaster") -> "RateForecaster":
    """Return a forecaster that makes the forecasts of each profile object once; see ``remembered``."""
    return _RememberedForecaster(forecaster)


class _RememberedPlanner:
    def __init__(self, planner: "Planner") -> None:
        if not callable(getattr(planner, "plan", None)):
            raise InputError(f"planner is {planner!r}; it must have a method plan (envs/protocols.py).")
        self.planner = planner
        # A profile is equal only to itself, so these are keyed by the object, which they keep alive.
        self._made: dict[tuple[LoadProfile, float], list[tuple[ClusterConfig, NDArray[np.float64]]]] = {}

    def plan(self, config: "ClusterConfig", profile: LoadProfile, duration_s: float) -> NDArray[np.float64]:
        entries = self._made.setdefault((profile, duration_s), [])
        for known, plans in entries:
            if known is config or known == config:
                return plans
        plans = _read_only(self.planner.plan(config, profile, duration_s))
        entries.append((config, plans))
        return plans


class _RememberedForecaster:
    def __init__(self, forecaster: "RateForecaster") -> None:
        if not callable(getattr(forecaster, "forecast_rates", None)):
            raise InputError(
                f"forecaster is {forecaster!r}; it must have a method forecast_rates (envs/protocols.py)."
            )
        self.forecaster = forecaster
        self._made: dict[tuple[LoadProfile, float, int], NDArray[np.float64]] = {}

    def forecast_rates(
        self, profile: LoadProfile, duration_s: float, horizon_minutes: int
    ) -> NDArray[np.float64]:
        key = (profile, duration_s, horizon_minutes)
        rates = self._made.get(key)
        if rates is None:
            rates = _read_only(self.forecaster.forecast_rates(profile, duration_s, horizon_minutes))
            self._made[key] = rates
        return rates


def _read_only(made: object) -> NDArray[np.float64]:
    """Return a copy that nobody can change; whoever uses it checks it."""
    try:
        copy = np.array(made, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = type(made).__name__
        raise InputError(f"a planner or forecaster returned {kind}, not numbers: {error}.") from error
    copy.setflags(write=False)
    return copy

"""What following the plan earns on each load of a pool: what rewards are counted relative to.

It depends on the load and the moment alone, never on the policy, so the optimal policy is the same; what is
gone is most of the variance between loads.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import REWARD_TERMS, EnvConfig, override
from podgym.envs.core import AutoscaleCore
from podgym.envs.protocols import Planner
from podgym.envs.totals import INFO_KEYS
from podgym.envs.vector_env import AutoscaleVectorEnv
from podgym.envs.workloads.pool import EpisodePool
from podgym.envs.workloads.profile import LoadProfile, Workload

_FIRST_TERM = list(INFO_KEYS).index(f"term_{next(iter(REWARD_TERMS))}")
_BATCH = 256  # episodes at a time


class Reference:
    """Raw reward terms of a cluster that follows the plan, per load of a pool and control interval."""

    def __init__(self, profiles: Sequence[LoadProfile], terms: NDArray[np.float64], num_envs: int) -> None:
        """Keep the table.

        Args:
            profiles: loads of the pool.
            terms: (profiles, steps, terms).
            num_envs: environments that will ask.
        """
        self._rows = {id(profile): row for row, profile in enumerate(profiles)}
        self._profiles = tuple(profiles)  # kept alive, so that no other object takes over an id
        self._terms = terms
        self._row = np.zeros(num_envs, dtype=np.int64)
        self._at = np.zeros(num_envs, dtype=np.int64)

    def begin(self, env: AutoscaleVectorEnv, indices: NDArray[np.int64]) -> None:
        """Take note of episodes that begin.

        Args:
            env: the environments.
            indices: those with a new episode.
        """
        profiles = env.profiles
        for index in indices.tolist():
            self._row[index] = self._rows[id(profiles[index])]
            self._at[index] = 0

    def step(self) -> NDArray[np.float64]:
        """Return the terms of the coming control interval, (num_envs, terms), and move on by one."""
        terms: NDArray[np.float64] = self._terms[self._row, self._at]
        self._at += 1
        return terms


class _Given:
    """Gives chosen loads one after the other."""

    def __init__(self, pool: Workload) -> None:
        self.name, self.kind, self.step_s = pool.name, pool.kind, pool.step_s
        self.max_duration_s = pool.max_duration_s
        if hasattr(pool, "duration_s"):
            self.duration_s = pool.duration_s
        self.next: LoadProfile | None = None

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load that was put in."""
        if self.next is None:
            raise RuntimeError("no load was put in")
        return self.next


def plan_reference(
    config: EnvConfig, pool: EpisodePool, planner: Planner | None, num_envs: int, seed: int
) -> Reference:
    """Let a cluster follow the plan on every load of a pool, once.

    Args:
        config: the environment.
        pool: the loads.
        planner: makes the plans; None: what services begin with stays.
        num_envs: environments that will ask.
        seed: of arrivals, start-up times and the like, which the environments draw anew.
    """
    source = _Given(pool)
    shadowed = override(config, {"reward": {"relative_to_plan": True}, "observation": {"forecast": "none"}})
    batch = min(_BATCH, pool.size)
    core = AutoscaleCore(shadowed, batch, workload=source, planner=planner)
    profiles = pool.profiles(core.duration_s)
    table = np.zeros((len(profiles), core.episode_steps, len(REWARD_TERMS)))
    for first in range(0, len(profiles), batch):
        part = profiles[first : first + batch]
        for index in range(batch):
            source.next = part[index % len(part)]
            core.reset(index, np.random.default_rng([seed, first + index]))
        for step in range(core.episode_steps):
            core.advance()
            terms = core.shadow_totals[:, _FIRST_TERM : _FIRST_TERM + len(REWARD_TERMS)]
            table[first : first + len(part), step] = terms[: len(part)]
    return Reference(profiles, table, num_envs)

"""The clairvoyant: a schedule made with the future known, and what it costs when it is really played.

It bounds the best possible controller from above, as ``lower`` does from below. The dynamic program of the
lower bound gives the first schedule, with the *usual* start of a pod in place of the shortest, so that pods
are ordered ahead. Constant schedules stand beside it, and a local search in the simulator itself improves the
best. With quotas, every level of the service is tried as the quota of the whole episode.
"""

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.schedule import ScheduleController
from podgym.envs.config import EnvConfig
from podgym.envs.simulator.parameters import ServiceConfig
from podgym.envs.workloads.profile import Workload
from podgym.errors import require_whole
from podgym.eval.bounds.episode import (
    EpisodeLoad,
    Floats,
    ScheduleCosts,
    check_config,
    episode_load,
    pod_shape,
    prices_of,
)
from podgym.eval.bounds.program import cheapest_course, places, stage_costs

_BATCH = 32
_LONGEST_CHANGE = 8  # intervals
_STEPS = (-2, -1, 1, 2)
_APART = 4  # intervals after which one change no longer matters to another
_SOME_REQUESTS = 0.125  # of those that a pod can work on


@dataclass(frozen=True, slots=True, eq=False)
class ClairvoyantSchedule:
    """A schedule that can be played, and its cost."""

    replicas: NDArray[np.int64]
    """(num_steps,) wanted from each decision on."""
    quotas: Floats | None
    """(num_steps, 4) CPU request and limit in cores, memory request and limit in bytes; None: as the service
    begins."""
    cost: float
    """Minus the sum of the rewards when it is played in the environment."""

    def controller(self) -> ScheduleController:
        """Return the controller that plays it."""
        quotas = None if self.quotas is None else self.quotas[:, None, :]
        return ScheduleController(self.replicas[:, None], quotas, name="clairvoyant")


def clairvoyant_schedule(
    config: EnvConfig,
    seed: int,
    *,
    quotas: bool = False,
    rounds: int = 12,
    workload: Workload | None = None,
) -> ClairvoyantSchedule:
    """Return a schedule made with the future of one episode known.

    Args:
        config: the environment; one service, no weight of the reward above 0.
        seed: seed of the episode, as for ``AutoscaleEnv.reset``.
        quotas: also choose the quota of the whole episode among the levels of the service.
        rounds: rounds of local search, each of 32 episodes.
        workload: instead of the one that the configuration names.

    Raises:
        InputError: several services, or a reward that is not a cost.
    """
    service = check_config(config)
    require_whole("rounds", rounds, 0, 10_000)
    load = episode_load(config, seed, workload)
    player = ScheduleCosts(config, seed, workload, num_envs=_BATCH)
    starts_s = _usual_starts_s(service)
    candidates = [*_planned(config, service, load, starts_s), *_static(service, len(load.values))]
    for variant in _of_all_levels(service) if quotas else ():
        candidates += _planned(config, variant, load, starts_s[-1:])
    plans = np.stack([plan for plan, _ in candidates])  # (candidates, num_steps)
    chosen = np.stack([np.tile(quota, (len(load.values), 1)) for _, quota in candidates])
    costs = player.of(plans, chosen)
    best = int(costs.argmin())
    search = _Search(service, player, chosen[best], np.random.default_rng(seed))
    replicas, cost = search.improve(plans[best], float(costs[best]), rounds)
    return ClairvoyantSchedule(replicas, chosen[best] if quotas else None, cost)


def _of_all_levels(service: ServiceConfig) -> Iterator[ServiceConfig]:
    """Yield the service with each CPU level, and with the smallest memory levels that hold a pod.

    One holds an idle pod with some requests, the other a pod that works on all that it can take.
    """
    physics = service.parameters
    full_bytes = physics.memory_per_request_bytes * physics.concurrency_per_pod
    memory = set()
    for part in (_SOME_REQUESTS, 1.0):
        needed = (physics.base_memory_bytes + part * full_bytes) / service.memory_limit_ratio
        enough = [level for level in service.memory_levels_bytes if level >= needed]
        memory.update(enough[:1])
    for cores in service.cpu_levels_cores:
        for level in sorted(memory):
            yield replace(service, cpu_request_cores=cores, memory_request_bytes=level)


def _planned(
    config: EnvConfig, service: ServiceConfig, load: EpisodeLoad, starts_s: tuple[float, ...]
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield schedules of the dynamic program with a service's quota, by how long its pods take to start."""
    shape = pod_shape(service)
    if places(config, shape) < 1:
        return
    for start_s in starts_s:
        delays_s = np.full(len(load.values), start_s)
        stages = stage_costs(config, service, load, shape, prices_of(config), delays_s, thorough=False)
        yield cheapest_course(stages, service.initial_replicas).replicas, np.array(astuple(service.quota))


def _static(service: ServiceConfig, num_steps: int) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield every constant number of replicas: the program may misjudge how long pods take to start."""
    for count in range(service.min_replicas, service.max_replicas + 1):
        yield np.full(num_steps, count), np.array(astuple(service.quota))


def _usual_starts_s(service: ServiceConfig) -> tuple[float, ...]:
    """Return times from a pod's creation to its readiness: the least, the mean, and one that few exceed."""
    physics = service.parameters
    mean_s = physics.start_up_s + 0.5 * physics.probe_period_s
    late_s = physics.start_up_s * (1.0 + physics.start_up_cv)
    return physics.probe_period_s, mean_s, math.ceil(late_s / physics.probe_period_s) * physics.probe_period_s


@dataclass(frozen=True, slots=True)
class _Search:
    """A local search over schedules, judged by the simulator."""

    service: ServiceConfig
    player: ScheduleCosts
    quota: Floats
    rng: np.random.Generator

    def improve(
        self, replicas: NDArray[np.int64], cost: float, rounds: int
    ) -> tuple[NDArray[np.int64], float]:
        """Return the best schedule found, and its cost.

        A round plays random changes of the best schedule so far. What it saves in distant places adds up,
        so all of a round's savings together are one of the changes of the next.
        """
        together = replicas
        for _ in range(rounds):
            proposals = np.stack([together, *(self._change(replicas) for _ in range(_BATCH - 1))])
            costs = self.player.of(proposals, np.broadcast_to(self.quota, (_BATCH, *self.quota.shape)))
            together = _together(replicas, proposals[costs < cost], costs[costs < cost])
            best = int(costs.argmin())
            if costs[best] < cost:
                replicas, cost = proposals[best], float(costs[best])
        return replicas, cost

    def _change(self, replicas: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the schedule with a stretch raised, lowered, or made like what comes before or after it."""
        changed = replicas.copy()
        first = int(self.rng.integers(len(replicas)))
        stop = min(first + int(self.rng.integers(1, _LONGEST_CHANGE + 1)), len(replicas))
        kind = int(self.rng.integers(6))
        if kind < len(_STEPS):
            changed[first:stop] += _STEPS[kind]
        else:
            changed[first:stop] = replicas[
                max(first - 1, 0) if kind == len(_STEPS) else min(stop, len(replicas) - 1)
            ]
        return np.clip(changed, self.service.min_replicas, self.service.max_replicas)


def _together(replicas: NDArray[np.int64], better: NDArray[np.int64], costs: Floats) -> NDArray[np.int64]:
    """Return a schedule with all changes that are far enough apart, the largest saving first."""
    result, taken = replicas.copy(), np.zeros(len(replicas), dtype=np.bool_)
    for index in np.argsort(costs):
        changed = np.flatnonzero(better[index] != replicas)
        around = slice(max(changed[0] - _APART, 0), changed[-1] + _APART + 1)
        if not taken[around].any():
            taken[around] = True
            result[changed] = better[index][changed]
    return result

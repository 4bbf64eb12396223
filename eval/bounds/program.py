"""The dynamic program over replicas: the cheapest course of wanted replicas, interval by interval.

The state is what is wanted. The cost of an interval depends on what was wanted before and what is wanted
now, and leaves out everything that could only make it dearer; so the cheapest course is a lower bound on
every controller's cost when pods start as soon as any can (``episode.least_starts_s``), and a good schedule
when they start as usual.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import EnvConfig
from podgym.envs.simulator.parameters import GIB, ServiceConfig
from podgym.errors import InputError
from podgym.eval.bounds.episode import EpisodeLoad, Floats, PodShape, Prices, may_be_killed
from podgym.eval.bounds.relaxation import BACKLOGS_S, RelaxedQueue, Servers

_MOST_PAIRS = 1400  # of numbers of pods; nearer ones first, each number with two others at least
_MOST_REPLICAS = 256
_MOST_STARTS = 5
_EMPTY = (0.0,)
_DIFFERENT = 1e-5  # of a ratio: below that a course is taken for that of the larger number
_FEW_BACKLOGS_S = (0.0, 0.02, 0.1, 0.3)
_LONG = 10.0  # a wait of so many times the slack of the SLO violates it under any law


@dataclass(frozen=True, slots=True, eq=False)
class StageCosts:
    """What each interval costs, by what was wanted before and what is wanted in it."""

    replicas: NDArray[np.int64]
    """(choices,) replicas that can be wanted, ascending."""
    costs: Floats
    """(num_steps, choices, choices) cost of an interval: before, now."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """The cheapest course of wanted replicas."""

    cost: float
    """Sum of the interval costs."""
    replicas: NDArray[np.int64]
    """(num_steps,) wanted in each interval."""
    interval_costs: Floats
    """(num_steps,)"""


def cheapest_course(stages: StageCosts, initial_replicas: int) -> Course:
    """Return the course of least cost that begins at ``initial_replicas``."""
    costs = stages.costs
    steps, choices = costs.shape[0], costs.shape[2]
    following = np.zeros(choices)  # cost from here to the end, by what was wanted before
    best = np.zeros((steps, choices), dtype=np.int64)
    for step in range(steps - 1, -1, -1):
        totals = costs[step] + following  # (before, now)
        best[step] = totals.argmin(axis=1)
        following = totals.min(axis=1)
    at = int(np.flatnonzero(stages.replicas == initial_replicas)[0])
    replicas, interval_costs = np.zeros(steps, dtype=np.int64), np.zeros(steps)
    cost = float(following[at])
    for step in range(steps):
        now = int(best[step, at])
        interval_costs[step] = costs[step, at, now]
        replicas[step] = stages.replicas[now]
        at = now
    return Course(cost, replicas, interval_costs)


def places(config: EnvConfig, shape: PodShape) -> int:
    """Return how many pods of one shape the nodes hold together."""
    nodes = config.cluster.nodes
    cpu_milli = math.floor(nodes.allocatable_cpu_cores * 1000 + 1e-6)
    memory_bytes = math.floor(nodes.allocatable_memory_bytes)
    by_cpu = cpu_milli // round(shape.cpu_cores * 1000)
    by_memory = memory_bytes // round(shape.memory_gib * GIB)
    return nodes.count * int(min(by_cpu, by_memory, nodes.max_pods))


def stage_costs(
    config: EnvConfig,
    service: ServiceConfig,
    load: EpisodeLoad,
    shape: PodShape,
    prices: Prices,
    starts_s: Floats,
    *,
    thorough: bool = True,
) -> StageCosts:
    """Return the cost of every interval for every pair of wanted replicas; ``lower`` says why it is a bound.

    Args:
        config: the environment.
        service: its service.
        load: load of the episode.
        shape: every pod.
        prices: what is charged.
        starts_s: (num_steps,) time for which pods that are new in an interval do not serve.
        thorough: as for ``pair_ratios``: True for a bound, False for a schedule.

    Raises:
        InputError: more replicas than the program has room for.
    """
    _check_size(service)
    wanted = np.arange(service.min_replicas, service.max_replicas + 1)  # (choices,)
    room = places(config, shape)
    placed = np.minimum(wanted, room)
    most = int(placed.max())
    by_pods = pair_ratios(service, load, shape, most, starts_s, thorough=thorough)
    ratios = by_pods[:, placed[:, None], placed[None, :]]  # (num_steps, before, now)
    seconds = load.interval_s
    termination_s = service.parameters.termination_s
    held_s = termination_s if termination_s < seconds else 0.0
    removed = np.maximum(placed[:, None] - wanted[None, :], 0)  # (before, now) pods that terminate
    pods = shape.price_per_s(prices) * (seconds * placed[None, :] + held_s * removed)
    churn = prices.replica * np.abs(wanted[None, :] - wanted[:, None])
    return StageCosts(wanted, pods + churn + prices.violation_per_s * seconds * ratios)


def _check_size(service: ServiceConfig) -> None:
    if service.max_replicas > _MOST_REPLICAS:
        raise InputError(
            f"max_replicas of {service.name!r} is {service.max_replicas}; bounds over replicas are computed "
            f"for at most {_MOST_REPLICAS}."
        )


def pair_ratios(
    service: ServiceConfig,
    load: EpisodeLoad,
    shape: PodShape,
    most: int,
    starts_s: Floats,
    *,
    thorough: bool = True,
) -> Floats:
    """Return violation ratios by how many pods serve at most, before and after new ones have started.

    Args:
        service: the service.
        load: load of the episode.
        shape: every pod.
        most: pods that can serve at once.
        starts_s: (num_steps,) shortest time from a pod's creation to its readiness.
        thorough: take the least over all backlogs at the beginning and over later starts, as a bound must;
            False: intervals begin empty and pods start after the least of these times.

    Returns:
        (num_steps, most + 1, most + 1): pods until new ones start, pods from then on. Never larger than
        that of fewer pods, so that pods which start late, crash or leave cannot undercut it.
    """
    queue = RelaxedQueue(service, load)
    pairs = _Pods(service, shape, queue.ticks)
    pods = np.arange(most + 1)
    alike = queue.least_ratios(queue.steps, pairs.course(pods, pods, 0), BACKLOGS_S if thorough else _EMPTY)
    early = thorough and turns_away_early(service, shape)
    if early:
        alike = np.minimum(alike, _turned_away(service, load, shape, pods))
    late = np.minimum(np.ceil(starts_s / load.tick_s - 1e-9).astype(np.int64), queue.ticks)  # (num_steps,)
    ratios = np.where(pods[:, None] <= pods, alike[:, None, :], np.inf)  # more before than now: they left
    if not thorough:
        first, last = np.triu_indices(most + 1, 1)
        ratios[:, first, last] = queue.least_ratios(
            queue.steps, pairs.course(first, last, int(late.min())), _EMPTY
        )
    elif not early:
        _set_pairs(ratios, queue, pairs, late, _starts(service, load, set(late.tolist())))
    np.minimum.accumulate(ratios, axis=2, out=ratios)
    np.minimum.accumulate(ratios, axis=1, out=ratios)
    return ratios


def _starts(service: ServiceConfig, load: EpisodeLoad, late: set[int]) -> tuple[int, ...]:
    """Return ticks at which pods may begin to serve within an interval: some probes, and the earliest."""
    ticks = load.values.shape[1]
    period = max(round(service.parameters.probe_period_s / load.tick_s), 1)
    probes = np.arange(period, ticks, period)
    if len(probes) > _MOST_STARTS:
        probes = probes[np.linspace(0, len(probes) - 1, _MOST_STARTS).astype(np.int64)]
    return tuple(sorted({*probes.tolist(), *(tick for tick in late if tick < ticks)}))


@dataclass(frozen=True, slots=True)
class _Pods:
    """Courses of ready pods within an interval."""

    service: ServiceConfig
    shape: PodShape
    ticks: int

    @property
    def room_s(self) -> float:
        """Seconds of work that a pod takes in."""
        physics = self.service.parameters
        room = physics.concurrency_per_pod + physics.queue_limit_per_pod
        return room * physics.cpu_demand_core_s / self.shape.capacity_cores

    def servers(self, pods: NDArray[np.int64], *, limited: bool = False) -> Servers:
        """Return the servers of some numbers of ready pods; the array keeps its shape.

        Args:
            pods: ready pods.
            limited: whether queues have an end and clients lose their patience.
        """
        some = np.maximum(pods, 1).astype(np.float64)
        physics = self.service.parameters
        room = some * (physics.concurrency_per_pod + physics.queue_limit_per_pod) if limited else None
        queues = np.ones_like(some) if self.service.parameters.load_balancing == "pooled" else some
        return Servers(some * self.shape.servers, np.asarray(pods * self.shape.capacity_cores), queues, room)

    def course(
        self, before: NDArray[np.int64], after: NDArray[np.int64], start: int, *, limited: bool = False
    ) -> list[Servers]:
        """Return the servers of each tick when more pods serve from tick ``start`` on."""
        servers = self.servers(before, limited=limited), self.servers(after, limited=limited)
        return [servers[tick >= start] for tick in range(self.ticks)]

    def variants(
        self, before: NDArray[np.int64], after: NDArray[np.int64], start: int, first_start: int
    ) -> Iterator[tuple[list[Servers], tuple[float, ...]]]:
        """Yield what can happen before more pods serve, each with the backlogs to try at the beginning.

        Requests wait; or they are turned away early, by full queues or because at first no pod is ready at
        all, and so do not wait when more pods serve at last.
        """
        waiting = self.course(before, after, start)
        yield waiting, _FEW_BACKLOGS_S
        yield self.course(before, after, start, limited=True), (0.0, self.room_s)
        if start > first_start:
            nobody = [self.servers(np.zeros_like(before))] * first_start
            yield nobody + waiting[first_start:], _EMPTY


def _set_pairs(
    ratios: Floats, queue: RelaxedQueue, pods: _Pods, late: NDArray[np.int64], starts: tuple[int, ...]
) -> None:
    """Put into ``ratios`` what intervals violate in which more pods serve from some tick on.

    Fewer pods at first can violate *less*: requests that wait a little in the good ticks thin the tail that
    is fitted to the bad ones. So such courses also lower the ratio of the larger number itself.

    Args:
        ratios: (num_steps, pods, pods) to change; so far those of the larger number throughout.
        queue: the relaxed queue.
        pods: courses of ready pods.
        late: (num_steps,) tick from which pods that are new in the interval may serve.
        starts: ticks at which pods may begin to serve.
    """
    if not any(starts):
        return
    first, last = np.triu_indices(ratios.shape[1], 1)  # (pairs,) pods, first < last
    # The rest: as if all served at once, which is a relaxation.
    near = last - first <= max(_MOST_PAIRS // max(ratios.shape[1], 1), 2)
    first, last = first[near], last[near]
    mixed = queue.least_ratios(queue.steps, pods.course(first, last, max(starts)), _EMPTY)
    alone = queue.least_ratios(queue.steps, pods.course(last, last, 0), _EMPTY)
    step, pair = np.nonzero(np.abs(mixed - alone) > _DIFFERENT)
    before, after = first[pair], last[pair]
    least = np.full(len(step), np.inf)
    own = np.full(len(step), np.inf)
    for start in starts:
        found = np.ones(len(step))
        for course, backlogs_s in pods.variants(before[:, None], after[:, None], start, min(starts)):
            found = np.minimum(found, queue.least_ratios(step, course, backlogs_s)[:, 0])
        least = np.minimum(least, found)
        own = np.where(start >= late[step], np.minimum(own, found), own)
    np.minimum.at(ratios, (step, after, after), least)
    ratios[step, before, after] = own


def turns_away_early(service: ServiceConfig, shape: PodShape) -> bool:
    """Whether requests may be turned away while they wait so briefly that this could help the others.

    By a full queue, by impatience, or by a pod that is killed over its memory limit with all that it holds.
    """
    physics = service.parameters
    slack_s = max(service.slo_response_time_s - physics.base_latency_s, 0.0)
    room = float(physics.concurrency_per_pod + physics.queue_limit_per_pod)
    if may_be_killed(service):
        room = 0.0
    room_s = room * physics.cpu_demand_core_s / shape.capacity_cores
    return min(room_s, physics.timeout_s) < _LONG * slack_s


def _turned_away(
    service: ServiceConfig, load: EpisodeLoad, shape: PodShape, pods: NDArray[np.int64]
) -> Floats:
    """Return the share that cannot be completed in time at all, (num_steps, choices).

    Of the requests that end in an interval, at most what the pods can complete is not a failure; at most
    what the pods have room for does not end.
    """
    if load.closed:  # users who are turned away send again: how many requests end is in nobody's hand
        return np.zeros((len(load.values), len(pods)))
    physics = service.parameters
    arrived = load.values.sum(axis=1, keepdims=True) * load.tick_s
    room = pods * (physics.concurrency_per_pod + physics.queue_limit_per_pod)
    served = pods * shape.capacity_cores * load.interval_s / physics.cpu_demand_core_s
    return np.asarray(np.maximum(1.0 - served / np.maximum(arrived - room, 1e-9), 0.0))

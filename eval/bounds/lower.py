"""A lower bound on the cost of any controller on one episode.

Replicas only (``quotas=False``: every pod keeps the quota that the service begins with). The bound is the
cheapest course of wanted replicas W, by dynamic programming, where an interval costs no more than it must:

1. *The load is the same for everybody*: profile and disturbance do not depend on decisions.
2. *Pods cost their requests while they hold a place.* After a decision there are W pods at every moment, and
   a pod waits for a node only while the nodes are full of pods of the same size; so at least min(W, places)
   hold a place throughout the interval. Crashed, starting and evicted pods hold theirs too.
3. *Pods that leave hold their place for* ``termination_s``. Counted when that is shorter than an interval:
   then no pod still waits for a node when the next decision is made, unless W exceeds the places.
4. *Churn* is what W changes by, exactly as the reward counts it.
5. *Violations*: at most min(W, places) pods serve, and those that W adds serve no earlier than any
   can have started (``episode.least_starts_s``). ``relaxation`` says what that many pods violate at least,
   whatever backlog and variance they find, and ``program.pair_ratios`` takes the least over fewer pods and
   later starts.

Quotas (``quotas=True``: pods of any number and size at any time, without start-up, resize or transition).
Intervals are independent, and in each the cheapest of these courses of ready capacity is taken: cores follow
the work that arrives, tick by tick, plus a constant excess, or are a part of that. The stationary wait
is ``kappa work / excess`` and, by Jensen's inequality, has its least mean when the excess is even; and no
controller can follow the disturbance of the rate tick by tick. Cores are served by servers of speed 1, by
one server when there is less than a core; with more variable work (``demand_cv`` above 1) also by more and
slower ones. Every core is paid as ``1 / cpu_limit_ratio`` requested cores, and no pod is larger than a node.
Excesses are on a grid; between two of them the price of the lower and the violations of the higher count.

Closed workloads: fewer requests arrive while users wait. In the relaxed queue users respond to its own,
shorter waits; its step is monotone in the backlog here too.

What is proved, and what is tested. 1 to 4 and the price of capacity are proved above. Not proved, because the
ratio is a nonlinear function of the moments of an interval: that no backlog, variance or course of pods leads
to a smaller one than those searched in 5; that an even excess cannot be undercut. The tests attack both,
interval by interval and episode by episode: what is left are shortfalls of a ratio by some 1e-4 between the
points of the search, far below what starting a pod costs. ``proved_cost`` needs neither: every request of an
open workload that is completed needs its work in paid capacity, and every one that is not is a violation.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import EnvConfig
from podgym.envs.simulator.parameters import GIB, ServiceConfig
from podgym.envs.workloads.profile import Workload
from podgym.errors import InputError
from podgym.eval.bounds.episode import (
    EpisodeLoad,
    Floats,
    PodShape,
    Prices,
    check_config,
    episode_load,
    least_starts_s,
    pod_shape,
    prices_of,
)
from podgym.eval.bounds.program import cheapest_course, stage_costs, turns_away_early
from podgym.eval.bounds.relaxation import RelaxedQueue, Servers

# In units of ``_excess_unit_cores``, finest where violations fall.
_EXCESSES = np.concatenate(
    [np.arange(-10.0, -2.0, 0.5), np.arange(-2.0, 12.0, 0.1), np.arange(12.0, 30.5, 0.5)]
)
_PARTS = np.array([0.0, 0.25, 0.5, 0.75])  # of the lowest of these courses: what lies below it
_LEAST_CORES = 0.001  # of a pod; it refuses nothing, so it can be better than none
_SLOWER = (
    1.0,
    2.0,
    4.0,
    8.0,
)  # servers for one of speed 1, when the work is more than exponentially variable

_QUOTA_ASSUMPTIONS = (
    "every pod's CPU limit is at most cpu_limit_ratio times its CPU request",
    "every pod's memory limit is at most memory_limit_ratio times its memory request",
    "no pod is used whose memory limit is below the working set of an idle pod: it is killed at once",
)


@dataclass(frozen=True, slots=True, eq=False)
class LowerBound:
    """A lower bound on the cost, minus the sum of the rewards, of every controller on one episode."""

    cost: float
    """The bound, in the unit of the reward."""
    proved_cost: float
    """A weaker bound whose every step is proved; 0 for closed workloads."""
    interval_costs: Floats
    """(num_steps,) the parts of ``cost``; bounds of their sum only, not of what each interval costs."""
    replicas: NDArray[np.int64] | None
    """(num_steps,) pods wanted in the cheapest relaxed course; None when quotas are free."""
    capacity_cores: Floats
    """(num_steps,) mean cores that serve in that course."""
    method: str
    """How it was computed."""
    assumptions: tuple[str, ...]
    """What must be true of a controller for the bound to hold."""


def lower_bound(
    config: EnvConfig, seed: int, *, quotas: bool, workload: Workload | None = None
) -> LowerBound:
    """Bound from below what any controller pays on the episode ``AutoscaleEnv(config).reset(seed=seed)``.

    Args:
        config: the environment; one service, no weight of the reward above 0.
        seed: seed of the episode.
        quotas: whether the controller may change quotas too, or replicas only.
        workload: instead of the one that the configuration names.

    Returns:
        The bound. See the module for what is relaxed, what is proved and what is tested.

    Raises:
        InputError: several services, a reward that is not a cost, or node failures without ``quotas``.
    """
    service = check_config(config)
    load = episode_load(config, seed, workload)
    prices = prices_of(config)
    if quotas:
        return _with_quotas(config, service, load, prices)
    faults = config.cluster.faults
    if faults.node_failures or faults.node_failures_per_hour > 0.0:
        raise InputError(
            "the bound over replicas assumes nodes that do not fail; remove cluster.faults, or use "
            "quotas=True, whose bound is weaker but needs no nodes."
        )
    shape = pod_shape(service)
    starts_s = least_starts_s(config, seed, workload)
    stages = stage_costs(config, service, load, shape, prices, starts_s)
    course = cheapest_course(stages, service.initial_replicas)
    return LowerBound(
        cost=course.cost,
        proved_cost=_work_cost(service, load, prices, _price_per_core_s(shape, prices), service.max_replicas),
        interval_costs=course.interval_costs,
        replicas=course.replicas,
        capacity_cores=np.asarray(course.replicas * shape.capacity_cores),
        method="dynamic program over wanted replicas, relaxed queue in every interval",
        assumptions=("every pod keeps the quota that the service begins with",),
    )


def _price_per_core_s(shape: PodShape, prices: Prices) -> float:
    return shape.price_per_s(prices) / shape.capacity_cores


def _work_cost(
    service: ServiceConfig, load: EpisodeLoad, prices: Prices, core_price: float, most_pods: int
) -> float:
    """Return what the work of the arriving requests costs at least, by counting alone.

    In an interval with N completed and F failed requests capacity costs at least ``alpha N``, as each needs
    its work on paid cores, and violations at least ``beta F / (N + F)``. No more requests can end in it than
    arrive in it and were in the system, which ``room`` bounds; call that M. Then the interval costs at least
    ``min(alpha, beta / M) (N + F)``, and all requests end but those in the system at last.

    Args:
        service: the service.
        load: the episode's load.
        prices: what is charged.
        core_price: cost of a second of one ready core, at least.
        most_pods: pods that can be ready at once.
    """
    if load.closed:
        return 0.0
    physics = service.parameters
    arrived = load.values.sum(axis=1) * load.tick_s  # (num_steps,) requests
    room = most_pods * float(physics.concurrency_per_pod + physics.queue_limit_per_pod)
    violation = prices.violation_per_s * load.interval_s / max(float(arrived.max()) + room, 1e-300)
    each = min(core_price * physics.cpu_demand_core_s, violation)
    return each * max(float(arrived.sum()) - room, 0.0)


@dataclass(frozen=True, slots=True)
class _FreePods:
    """What ready capacity costs at least when pods may have any size."""

    core_s: float
    """A ready core for a second."""
    pod_s: float
    """A ready pod for a second: the memory below which it is killed."""
    largest_cores: float
    """Capacity of the largest pod that fits a node."""
    rounding_cores: float
    """Cores that the rounding to millicores may give to all pods together without a request."""

    def per_second(self, cores: Floats) -> Floats:
        """Return the least cost of a second with so many ready cores."""
        pods = np.ceil(np.maximum(cores - self.rounding_cores, 0.0) / self.largest_cores - 1e-9)
        return self.core_s * np.maximum(cores - self.rounding_cores, 0.0) + self.pod_s * pods


def _free_pods(config: EnvConfig, service: ServiceConfig, prices: Prices) -> _FreePods:
    physics, nodes = service.parameters, config.cluster.nodes
    least_memory_gib = physics.base_memory_bytes / service.memory_limit_ratio / GIB
    # ceil(ratio x) <= ratio ceil(x) + 1 for millicores, with equality of both sides' requests for ratio 1
    rounded = 0.0 if service.cpu_limit_ratio == 1.0 else 0.001 * _most_pods(service)
    return _FreePods(
        core_s=prices.core_s / service.cpu_limit_ratio,
        pod_s=prices.gib_s * least_memory_gib,
        largest_cores=min(
            nodes.allocatable_cpu_cores * service.cpu_limit_ratio + 0.001, float(physics.concurrency_per_pod)
        ),
        rounding_cores=rounded,
    )


def _most_pods(service: ServiceConfig) -> int:
    """Return how many pods can exist without being on their way out: those wanted and a surge."""
    return service.max_replicas + math.ceil(service.parameters.max_surge * service.max_replicas)


def _excess_unit_cores(service: ServiceConfig) -> float:
    """Return the excess that makes the tail of the stationary wait fall by e within the SLO."""
    physics = service.parameters
    slack_s = max(service.slo_response_time_s - physics.base_latency_s, physics.cpu_demand_core_s)
    kappa = 0.5 * (1.0 + physics.demand_cv**2) if physics.discipline == "fcfs" else 1.0
    return kappa * physics.cpu_demand_core_s / slack_s


def _with_quotas(config: EnvConfig, service: ServiceConfig, load: EpisodeLoad, prices: Prices) -> LowerBound:
    pods = _free_pods(config, service, prices)
    cores = [_cores(service, load, tick) for tick in range(load.values.shape[1])]  # (num_steps, courses) each
    paid = load.tick_s * np.sum([pods.per_second(each) for each in cores], axis=0)
    ratios = _least_ratios(service, load, pods.largest_cores, cores)
    full = prices.violation_per_s * load.interval_s
    costs = paid[:, :-1] + full * ratios[:, 1:]  # from each course to the next
    at_best = np.arange(len(costs)), costs.argmin(axis=1)
    per_core = pods.core_s + pods.pod_s / pods.largest_cores
    # Without the rounding: it is free and so cannot be part of what the work costs.
    proved = 0.0
    if pods.rounding_cores == 0.0:
        proved = _work_cost(service, load, prices, per_core, _most_pods(service))
    return LowerBound(
        cost=float(costs[at_best].sum()),
        proved_cost=proved,
        interval_costs=costs[at_best],
        replicas=None,
        capacity_cores=np.mean(cores, axis=0)[at_best],
        method="least cost of each interval over capacity that follows the work with a constant excess",
        assumptions=_QUOTA_ASSUMPTIONS,
    )


def _least_ratios(
    service: ServiceConfig, load: EpisodeLoad, largest_cores: float, cores: list[Floats]
) -> Floats:
    """Return the least violation ratios of courses of capacity, (num_steps, courses), never rising."""
    queue = RelaxedQueue(service, load)
    steps = np.arange(len(load.values))
    slower = _SLOWER if service.parameters.demand_cv > 1.0 else _SLOWER[:1]
    ratios = np.ones_like(cores[0])
    one = np.ones(())
    for factor in slower:
        servers = [Servers(factor * np.maximum(each, 1.0), each, one) for each in cores]
        ratios = np.minimum(ratios, queue.least_ratios(steps, servers))
    if turns_away_early(service, PodShape(0.0, 0.0, largest_cores, largest_cores)):
        ratios = np.zeros_like(ratios) if load.closed else np.minimum(ratios, _unserved(service, load, cores))
    np.minimum.accumulate(ratios, axis=1, out=ratios)
    return ratios


def _unserved(service: ServiceConfig, load: EpisodeLoad, cores: list[Floats]) -> Floats:
    """Return the share that the capacity cannot complete; see ``program`` for queues that turn away early."""
    physics = service.parameters
    arrived = load.values.sum(axis=1, keepdims=True) * load.tick_s
    served = np.sum(cores, axis=0) * load.tick_s / physics.cpu_demand_core_s
    room = _most_pods(service) * (physics.concurrency_per_pod + physics.queue_limit_per_pod)
    return np.asarray(np.maximum(1.0 - served / np.maximum(arrived - room, 1e-9), 0.0))


def _cores(service: ServiceConfig, load: EpisodeLoad, tick: int) -> Floats:
    """Return the cores in one tick of each course, ascending, (num_steps, courses)."""
    physics = service.parameters
    excesses = _excess_unit_cores(service) * _EXCESSES
    rate = load.values[:, tick, None]
    if load.closed:
        slack_s = max(service.slo_response_time_s - physics.base_latency_s, physics.cpu_demand_core_s)
        wait_s = slack_s / np.maximum(_EXCESSES, 1.0)  # of the stationary law at this excess
        cycle_s = load.tick_s / load.think_ratio + physics.cpu_demand_core_s + wait_s
        rate = rate / cycle_s
    following = np.maximum(rate * physics.cpu_demand_core_s + excesses, 0.0)
    cores = np.concatenate([following[:, :1] * _PARTS, following], axis=1)
    return np.where(np.arange(cores.shape[1]) > 0, np.maximum(cores, _LEAST_CORES), 0.0)

"""One episode as a bound sees it: what its load will be, what things cost, and what a schedule would cost.

The load of an episode is known before it begins: its profile is drawn at the reset, and the disturbance of
its rate comes from a random stream of its own, which no decision touches.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from podgym.envs.config import REWARD_TERMS, EnvConfig, ObservationConfig
from podgym.envs.core import AutoscaleCore
from podgym.envs.simulator.parameters import GIB, ServiceConfig
from podgym.envs.simulator.pods import milli
from podgym.envs.simulator.streams import LOAD, PODS, log_normal
from podgym.envs.simulator.world import log_sigma
from podgym.envs.workloads.profile import Workload
from podgym.errors import InputError, require_whole

Floats = NDArray[np.float64]

_COSTS = ("slo_violation", "cpu_cost", "memory_cost", "churn")


@dataclass(frozen=True, slots=True)
class Prices:
    """What an episode is charged for; all 0 or more, in the unit of the reward."""

    violation_per_s: float
    """A second in which every request violates the SLO."""
    core_s: float
    """A requested core-second."""
    gib_s: float
    """A requested GiB-second."""
    replica: float
    """A changed replica."""


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeLoad:
    """The load of one episode, tick by tick, as every controller will meet it."""

    values: Floats
    """(num_steps, ticks) requests/s in each tick when open, users when closed; disturbance included."""
    closed: bool
    """Whether users wait for their answers."""
    tick_s: float
    """Length of a tick."""
    think_ratio: float
    """Tick over think time (network included): the share of thinking users that send within a tick; 0 when
    open."""

    @property
    def interval_s(self) -> float:
        """Length of a control interval."""
        return int(self.values.shape[1]) * self.tick_s


@dataclass(frozen=True, slots=True)
class PodShape:
    """What one pod of a quota asks for and gives."""

    cpu_cores: float
    """CPU request, in whole millicores as Kubernetes rounds it."""
    memory_gib: float
    """Memory request."""
    servers: float
    """Requests that it works on at once at full speed each, or one at a lower speed."""
    capacity_cores: float
    """Cores that it can use."""

    def price_per_s(self, prices: Prices) -> float:
        """Return what a pod costs in a second in which it holds a place."""
        return prices.core_s * self.cpu_cores + prices.gib_s * self.memory_gib


def pod_shape(service: ServiceConfig) -> PodShape:
    """Return the shape of the pods that a service begins with; rounding as in the simulator's pods."""
    quota = service.quota
    limit_cores = 0.001 * milli(quota.cpu_limit_cores)
    servers = min(max(limit_cores, 1.0), float(service.parameters.concurrency_per_pod))
    return PodShape(
        0.001 * int(milli(quota.cpu_request_cores)),
        math.ceil(quota.memory_request_bytes) / GIB,
        servers,
        min(limit_cores, servers),
    )


def check_config(config: EnvConfig) -> ServiceConfig:
    """Return the one service of an environment whose episodes can be bounded.

    Raises:
        InputError: several services, a reward relative to a plan, a weight above 0, or a cluster that
            differs from episode to episode.
    """
    services = config.cluster.services
    if len(services) != 1:
        raise InputError(
            f"bounds are computed for one service; the environment has {len(services)}. Choose one with a "
            "single service, such as podgym/Trace-v0."
        )
    if config.randomisation.active:
        raise InputError(
            "the configuration has a randomisation; bounds are computed for one fixed cluster: leave it out."
        )
    if config.reward.relative_to_plan:
        raise InputError("reward.relative_to_plan is true; bounds need a reward of its own: set it to false.")
    for name, weight in zip(REWARD_TERMS, config.reward.all_weights(), strict=True):
        if weight > 0.0:
            raise InputError(
                f"the weight of {name} is {weight:g}; bounds need a cost, that is, weights of 0 or less, as "
                "in the preset slo_cost."
            )
    return services[0]


def prices_of(config: EnvConfig) -> Prices:
    """Return the prices behind a reward; terms that bounds do not know cost 0 or more and are left out."""
    weights = dict(zip(REWARD_TERMS, config.reward.all_weights(), strict=True))
    return Prices(*(-weights[name] + 0.0 for name in _COSTS))


def _core(config: EnvConfig, workload: Workload | None, num_envs: int) -> AutoscaleCore:
    """Make clusters without forecasts, which no cost depends on."""
    plain = dataclasses.replace(config, observation=ObservationConfig(forecast="none"))
    return AutoscaleCore(plain, num_envs, workload=workload)


def _start(core: AutoscaleCore, seed: int) -> None:
    """Start the very episode of ``AutoscaleEnv.reset(seed=seed)`` everywhere."""
    require_whole("seed", seed, 0, 2**63)
    for index in range(core.clusters.num_clusters):
        core.reset(index, seeding.np_random(seed)[0])


def episode_load(config: EnvConfig, seed: int, workload: Workload | None = None) -> EpisodeLoad:
    """Return the load of the episode that ``AutoscaleEnv(config).reset(seed=seed)`` starts.

    Args:
        config: the environment.
        seed: seed of the episode.
        workload: instead of the one that the configuration names.

    Raises:
        InputError: a bad configuration or seed.
    """
    core = _core(config, workload, 1)
    _start(core, seed)
    profile = core.profiles[0]
    if profile is None:
        raise RuntimeError("the cluster has no load profile after its reset.")
    parameters = core.clusters.world.cluster_parameters[0]
    tick_s, ticks = float(parameters["tick_s"]), int(parameters["ticks"])
    times_s: Floats = np.arange(core.episode_steps * ticks, dtype=np.float64) * tick_s
    undisturbed = np.interp(times_s, profile.times_s, profile.values)
    values: Floats = np.asarray(undisturbed * _disturbance(core, times_s))
    closed = profile.kind == "closed"
    think = float(parameters["think_ratio"]) if closed else 0.0
    return EpisodeLoad(values.reshape(core.episode_steps, ticks), closed, tick_s, think)


def _disturbance(core: AutoscaleCore, times_s: Floats) -> Floats:
    """Draw the factors of the rate as the engine will, from a copy of its stream; (num_ticks,)."""
    world = core.clusters.world
    stream = world.rng[0, LOAD].copy()
    sigma = float(world.cluster_parameters[0]["rate_noise_sigma"])
    period_s = float(world.cluster_parameters[0]["rate_noise_period_s"])
    factors = np.ones(len(times_s))
    due_s, factor = 0.0, 1.0
    for tick, now_s in enumerate(times_s.tolist()):
        if due_s <= now_s:
            factor = log_normal(stream, sigma)
            due_s = now_s + period_s
        factors[tick] = factor
    return factors


def least_starts_s(config: EnvConfig, seed: int, workload: Workload | None = None) -> Floats:
    """Return the shortest time from a pod's creation to its readiness, for pods created up to each interval.

    Start-up times come from a stream of their own, one number per start, whoever causes it. So no start by
    the end of an interval is shorter than the shortest that lies in store for all that can be caused till
    then: a decision creates no more pods than the service may have, and a pod that crashes waits out its
    back-off first. Readiness is noticed by a probe, so a start takes whole probe periods.

    Args:
        config: the environment; its nodes do not fail.
        seed: seed of the episode.
        workload: instead of the one that the configuration names.

    Returns:
        (num_steps,) s, never rising.
    """
    service = check_config(config)
    physics = service.parameters
    core = _core(config, workload, 1)
    steps = core.episode_steps
    if physics.start_up_s <= 0.0:
        return np.zeros(steps)
    _start(core, seed)
    stream = core.clusters.world.rng[0, PODS].copy()
    starts = service.initial_replicas + _starts_per_interval(config) * np.arange(1, steps + 1)
    if physics.start_failure_probability > 0.0:
        starts = 2 * starts  # each start may take a second number, and which is which is unknown
    sigma = log_sigma(physics.start_up_cv)
    factors = np.array([log_normal(stream, sigma) for _ in range(int(starts[-1]))])
    least = np.minimum.accumulate(factors)[starts - 1] * physics.start_up_s
    return np.ceil(least / physics.probe_period_s - 1e-9) * physics.probe_period_s


def _starts_per_interval(config: EnvConfig) -> int:
    """Return how many containers can be started in a control interval: new pods, and crashed ones again."""
    service = check_config(config)
    physics = service.parameters
    crashes = physics.start_failure_probability > 0.0 or may_be_killed(service)
    back_off_s = min(physics.restart_backoff_s, physics.restart_backoff_max_s)
    again = 1 + math.floor(config.cluster.control_interval_s / back_off_s) if crashes else 0
    return service.max_replicas * (1 + again)


def may_be_killed(service: ServiceConfig) -> bool:
    """Whether pods of the quota that a service begins with can come over their memory limit."""
    physics = service.parameters
    most_bytes = physics.base_memory_bytes + physics.memory_per_request_bytes * physics.concurrency_per_pod
    return most_bytes > service.quota.memory_limit_bytes or physics.memory_growth_bytes_per_s > 0.0


class ScheduleCosts:
    """Plays schedules in the real environment, many side by side, and says what each costs."""

    def __init__(
        self, config: EnvConfig, seed: int, workload: Workload | None = None, *, num_envs: int = 32
    ) -> None:
        """Prepare the episode of a seed.

        Raises:
            InputError: an environment whose episodes cannot be bounded, or a bad seed.
        """
        check_config(config)
        require_whole("num_envs", num_envs, 1, 4096)
        self._seed = seed
        self._core = _core(config, workload, num_envs)
        _start(self._core, seed)
        self.num_steps = self._core.episode_steps
        """Control intervals of the episode."""

    def of(self, replicas: NDArray[np.int64], quotas: Floats | None = None) -> Floats:
        """Return the cost of each schedule.

        Args:
            replicas: (n, num_steps) wanted from each decision on, within the bounds of the service.
            quotas: (n, num_steps, 4) CPU request and limit in cores, memory request and limit in bytes; None:
                as the service begins.

        Returns:
            (n,) minus the sum of the rewards.
        """
        batch = self._core.clusters.num_clusters
        costs = np.zeros(len(replicas))
        for first in range(0, len(replicas), batch):
            part = slice(first, first + batch)
            costs[part] = self._play(replicas[part], None if quotas is None else quotas[part])
        return costs

    def _play(self, replicas: NDArray[np.int64], quotas: Floats | None) -> Floats:
        core, count = self._core, len(replicas)
        _start(core, self._seed)
        costs = np.zeros(count)
        for step in range(self.num_steps):
            core.wanted[:count, 0] = replicas[:, step]
            if quotas is not None:
                core.quotas[:count, 0] = quotas[:, step]
            core.advance()
            costs -= core.rewards[:count]
        return costs

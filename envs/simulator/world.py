"""Making the memory of a batch of clusters, filling in its parameters, and starting an episode."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.events import process_events
from podgym.envs.simulator.nodes import next_failure_s
from podgym.envs.simulator.parameters import ClusterConfig, ServiceConfig
from podgym.envs.simulator.pods import milli, revision_of
from podgym.envs.simulator.queueing import delay_table
from podgym.envs.simulator.records import (
    CLUSTER,
    CLUSTER_PARAMETERS,
    EMPTY,
    INTERVAL,
    NEVER,
    NODE,
    PLACEMENT,
    POD,
    READY,
    SCRAPE,
    SCRAPES_KEPT,
    SERVICE,
    SERVICE_PARAMETERS,
    Records,
    World,
)
from podgym.envs.simulator.streams import MONITORING, STATE_WORDS, STREAMS, uniform
from podgym.errors import InputError

DAY_S = 86400.0
WEEK_S = 7 * DAY_S
_STARTED_BEFORE_S = 3600.0
"""Pods of the first moment have been ready for an hour, so nothing treats them as new; a leak begins now."""


@lru_cache(maxsize=1)
def _shared_table() -> NDArray[np.float64]:
    return delay_table()


def visits_per_request(config: ClusterConfig) -> NDArray[np.float64]:
    """Calls of each service per external request, shape (num_services,)."""
    names = [service.name for service in config.services]
    shares = np.array([service.entry_share for service in config.services], dtype=np.float64)
    visits = shares / shares.sum()
    for index in config.call_order():
        for callee, calls in config.services[index].calls.items():
            visits[names.index(callee)] += visits[index] * calls
    return np.asarray(visits)


def make_world(config: ClusterConfig, num_clusters: int, profile_samples: int) -> World:
    """Allocate a batch and fill in the parameters of every cluster.

    Args:
        config: the cluster, the same for all; ``set_parameters`` can change one of them later.
        num_clusters: B, at least 1.
        profile_samples: samples that the longest load profile will have.
    """
    check_monitoring(config)
    names = [service.name for service in config.services]
    edges = [
        (index, names.index(callee), calls)
        for index, service in enumerate(config.services)
        for callee, calls in service.calls.items()
        if calls > 0
    ]
    batch, services, nodes = num_clusters, len(names), config.nodes.count
    slots = max(_pod_slots(service) for service in config.services)
    world = World(
        table=_shared_table(),
        order=np.array(config.call_order(), dtype=np.int64),
        edge_from=np.array([edge[0] for edge in edges], dtype=np.int64),
        edge_to=np.array([edge[1] for edge in edges], dtype=np.int64),
        edge_calls=np.array([edge[2] for edge in edges], dtype=np.float64),
        cluster_parameters=np.zeros(batch, CLUSTER_PARAMETERS),
        service_parameters=np.zeros((batch, services), SERVICE_PARAMETERS),
        profile=np.zeros((batch, profile_samples)),
        rng=np.ones((batch, STREAMS, STATE_WORDS), dtype=np.uint64),
        clusters=np.zeros(batch, CLUSTER),
        services=np.zeros((batch, services), SERVICE),
        phase=np.zeros((batch, services, slots), dtype=np.int8),
        timer_s=np.full((batch, services, slots), NEVER),
        pods=np.zeros((batch, services, slots), POD),
        nodes=np.zeros((batch, nodes), NODE),
        placements=np.zeros((batch, nodes, services), PLACEMENT),
        scrapes=np.zeros((batch, services, SCRAPES_KEPT), SCRAPE),
        interval=np.zeros((batch, services), INTERVAL),
    )
    set_parameters(world, slice(None), config)
    return world


def _pod_slots(service: ServiceConfig) -> int:
    """Slots for the wanted pods, a surge, and as many again that are still terminating."""
    return 2 * service.max_replicas + math.ceil(service.parameters.max_surge * service.max_replicas) + 1


def check_monitoring(config: ClusterConfig) -> None:
    """Refuse windows and delays that reach back further than the scrapes that are kept.

    Raises:
        InputError: window plus delay are too long.
    """
    monitoring = config.monitoring
    kept_s = (SCRAPES_KEPT - 2) * monitoring.scrape_interval_s
    if monitoring.window_s + monitoring.scrape_delay_s > kept_s:
        raise InputError(
            f"monitoring window {monitoring.window_s:g} s plus delay {monitoring.scrape_delay_s:g} s spans "
            f"more than the {SCRAPES_KEPT - 2} scrapes kept ({kept_s:g} s); shorten them."
        )


def set_parameters(world: World, which: slice | int, config: ClusterConfig) -> None:
    """Write the parameters of ``config`` to some clusters of a batch of the same shape."""
    target = world.cluster_parameters[which]
    visits = visits_per_request(config)
    network_s = float(visits @ [service.parameters.base_latency_s for service in config.services])
    values = {
        "tick_s": config.tick_s,
        "think_ratio": config.tick_s / max(config.load.think_time_s + network_s, 1e-3),
        "ticks": config.ticks_per_interval,
        "rate_noise_sigma": log_sigma(config.load.rate_noise_cv),
        "network_s": network_s,
        "most_allocated": config.nodes.scoring == "most_allocated",
    }
    for part in (config.load, config.monitoring, config.nodes, config.faults):
        for name in CLUSTER_PARAMETERS.names or ():
            if hasattr(part, name):
                values.setdefault(name, getattr(part, name))
    for name, value in values.items():
        target[name] = value
    entering = sum(service.entry_share for service in config.services)
    for index, service in enumerate(config.services):
        _set_service(world, which, index, service, entering, config.tick_s)


class NominalParameters(NamedTuple):
    """Parameters as configured, of one cluster; those of a batch begin as copies of them."""

    cluster: Records
    """(1,)"""
    services: Records
    """(S,)"""


def nominal_parameters(world: World) -> NominalParameters:
    """Copy the parameters of a batch that was just made, where all clusters are alike."""
    return NominalParameters(world.cluster_parameters[:1].copy(), world.service_parameters[0].copy())


def scale_parameters(
    world: World,
    b: int,
    nominal: NominalParameters,
    *,
    cpu_demand: NDArray[np.float64],
    start_up: NDArray[np.float64],
    scrape_delay: NDArray[np.float64],
    demand_cv: NDArray[np.float64],
) -> None:
    """Give one cluster nominal parameters times factors, before an episode; what was there before is lost.

    Args:
        world: the batch.
        b: cluster.
        nominal: what the factors multiply.
        cpu_demand: (S,) factors on the work of one request.
        start_up: (S,) factors on the start-up time.
        scrape_delay: (S,) factors on the time until a scrape can be queried, all equal: one pipeline.
        demand_cv: (S,) factors on the variation of the work; the variation correction of waits follows.
    """
    services = world.service_parameters[b]
    services["cpu_demand_core_s"] = nominal.services["cpu_demand_core_s"] * cpu_demand
    services["start_up_s"] = nominal.services["start_up_s"] * start_up
    services["demand_cv"] = nominal.services["demand_cv"] * demand_cv
    variation = 0.5 * (1.0 + services["demand_cv"] ** 2)
    services["kappa"] = np.where(services["processor_sharing"], 1.0, variation)
    world.cluster_parameters["scrape_delay_s"][b] = nominal.cluster["scrape_delay_s"][0] * scrape_delay[0]


def log_sigma(variation: float) -> float:
    """Standard deviation of the logarithm of a log-normal number with this coefficient of variation."""
    return math.sqrt(math.log1p(variation * variation))


def _set_service(
    world: World, which: slice | int, index: int, service: ServiceConfig, entering: float, tick_s: float
) -> None:
    physics = service.parameters
    fcfs = physics.discipline == "fcfs"
    target = world.service_parameters[which, index]
    values: dict[str, float] = {
        "kappa": 0.5 * (1.0 + physics.demand_cv**2) if fcfs else 1.0,
        "processor_sharing": not fcfs,
        "pooled": physics.load_balancing == "pooled",
        "in_place": physics.resize == "in_place",
        "start_up_sigma": log_sigma(physics.start_up_cv),
        "memory_keep": math.exp(-tick_s / physics.memory_release_s),
        "entry_share": service.entry_share / entering,
    }
    for part in (physics, service):
        for name in SERVICE_PARAMETERS.names or ():
            if hasattr(part, name):
                values.setdefault(name, getattr(part, name))
    for name, value in values.items():
        target[name] = value


class FirstMoment(NamedTuple):
    """The state in which every episode of a configuration begins, for one cluster."""

    clusters: Records
    """(1,)"""
    services: Records
    """(S,)"""
    nodes: Records
    """(M,)"""
    placements: Records
    """(M, S)"""
    interval: Records
    """(S,) an empty report"""
    scrapes: Records
    """(1,) empty counters"""


def first_moment(config: ClusterConfig) -> FirstMoment:
    """Prepare what does not depend on chance: empty nodes, planned failures, first wishes, images."""
    count = len(config.services)
    services = np.zeros(count, SERVICE)
    for target, service in zip(services, config.services, strict=True):
        quota = service.quota
        target["wanted"] = service.initial_replicas
        target["cpu_request_cores"] = quota.cpu_request_cores
        target["cpu_limit_cores"] = quota.cpu_limit_cores
        target["memory_request_bytes"] = quota.memory_request_bytes
        target["memory_limit_bytes"] = quota.memory_limit_bytes
        target["revision"] = revision_of(
            milli(quota.cpu_request_cores),
            milli(quota.cpu_limit_cores),
            math.ceil(quota.memory_request_bytes),
            math.ceil(quota.memory_limit_bytes),
        )
        target["speed"], target["dirty"] = 1.0, 1
        target["scrapes"] = 1  # the empty counters of time 0
        for name in SERVICE.names or ():
            if name.startswith("seen_"):
                target[name] = math.nan
    nodes = np.zeros(config.nodes.count, NODE)
    nodes["cpu_cores"] = config.nodes.allocatable_cpu_cores
    nodes["cpu_milli"] = math.floor(config.nodes.allocatable_cpu_cores * 1000 + 1e-6)
    nodes["memory_bytes"] = math.floor(config.nodes.allocatable_memory_bytes)
    nodes["up"] = 1
    nodes["next_change_s"] = math.nan
    nodes["outage_s"] = config.faults.node_failure_duration_s
    for failure in config.faults.node_failures:
        nodes["next_change_s"][failure.node] = failure.time_s
        nodes["outage_s"][failure.node] = failure.duration_s
    placements = np.zeros((config.nodes.count, count), PLACEMENT)
    placements["image"] = config.nodes.images_cached
    clusters = np.zeros(1, CLUSTER)
    clusters["noise"] = 1.0
    return FirstMoment(clusters, services, nodes, placements, np.zeros(count, INTERVAL), np.zeros(1, SCRAPE))


@kernel
def start_episode(
    world: World,
    first: FirstMoment,
    b: int,
    profile: NDArray[np.float64],
    step_s: float,
    closed: bool,
    start_time_s: float,
    words: NDArray[np.uint64],
) -> None:
    """Start an episode in one cluster: nothing of the one before remains.

    Args:
        world: the batch.
        first: how every episode begins.
        b: cluster.
        profile: (n,) users when closed, else external requests/s; n at most the samples allocated.
        step_s: time between the samples of the profile.
        closed: whether the profile counts users.
        start_time_s: time of the week of the first sample.
        words: (STREAMS, 4) seeds of the cluster's random streams, none all zero.
    """
    world.clusters[b] = first.clusters[0]
    for s in range(world.services.shape[1]):
        world.services[b, s] = first.services[s]
        world.interval[b, s] = first.interval[s]
        world.scrapes[b, s, 0] = first.scrapes[0]
        for slot in range(world.phase.shape[2]):
            world.phase[b, s, slot] = EMPTY
            world.timer_s[b, s, slot] = NEVER
    for node in range(world.nodes.shape[1]):
        world.nodes[b, node] = first.nodes[node]
        for s in range(world.services.shape[1]):
            world.placements[b, node, s] = first.placements[node, s]
    for stream in range(words.shape[0]):
        for word in range(words.shape[1]):
            world.rng[b, stream, word] = words[stream, word]
    for sample in range(profile.shape[0]):
        world.profile[b, sample] = profile[sample]
    _set_clock(world, b, profile.shape[0], step_s, closed, start_time_s)
    _first_pods(world, b)


@kernel
def _set_clock(world: World, b: int, samples: int, step_s: float, closed: bool, start_time_s: float) -> None:
    cluster = world.clusters[b]
    cluster.profile_length = samples
    cluster.profile_steps_per_s = 1.0 / step_s
    cluster.closed = closed
    day = 2.0 * math.pi * (start_time_s / DAY_S)
    week = 2.0 * math.pi * (start_time_s / WEEK_S)
    cluster.day_sin = math.sin(day)
    cluster.day_cos = math.cos(day)
    cluster.week_sin = math.sin(week)
    cluster.week_cos = math.cos(week)


@kernel
def _first_pods(world: World, b: int) -> None:
    """Place the first pods and make them ready; draw the scrapes' phase and the nodes' failures."""
    cluster = world.clusters[b]
    parameters = world.cluster_parameters[b]
    for node in range(world.nodes.shape[1]):
        record = world.nodes[b, node]
        if math.isnan(record.next_change_s):
            record.next_change_s = next_failure_s(world, b, 0.0)
    process_events(world, b, 0.0)
    for s in range(world.services.shape[1]):
        world.services[b, s].dirty = 1
        for slot in range(world.services[b, s].slots):
            pod = world.pods[b, s, slot]
            if pod.node < 0:
                continue
            world.placements[b, pod.node, s].image = 1
            world.phase[b, s, slot] = READY
            world.timer_s[b, s, slot] = NEVER
            pod.warm = 1
            pod.start_s = -_STARTED_BEFORE_S
            pod.container_start_s = 0.0
            pod.ready_change_s = -_STARTED_BEFORE_S
    process_events(world, b, 0.0)
    for s in range(world.services.shape[1]):
        world.interval[b, s].pods_created = 0.0
    ticks = math.ceil(parameters.scrape_interval_s / parameters.tick_s)
    cluster.next_scrape_s = math.ceil(uniform(world.rng[b, MONITORING]) * ticks) * parameters.tick_s

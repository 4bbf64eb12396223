"""The engine: a control interval of one cluster, tick by tick, and of a batch, cluster by cluster.

Pure in the sense that matters: everything that a step reads or writes is in ``World``; parameters are
only read; every random number comes from the cluster's own stream. A cluster is finished before the next
one begins, so its state stays in the processor's cache and neighbours cannot influence each other.
"""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.events import integrate_pods, process_events
from podgym.envs.simulator.monitoring import look, scrape
from podgym.envs.simulator.nodes import share_cores
from podgym.envs.simulator.pods import milli, revision_of
from podgym.envs.simulator.records import Graph, Record, Records, World
from podgym.envs.simulator.report import clear_interval, finish_interval
from podgym.envs.simulator.service import tick_service
from podgym.envs.simulator.streams import LOAD, log_normal


@kernel
def profile_value(profile: NDArray[np.float64], cluster: Record, now: float) -> float:
    """Users or requests/s of the load profile at a time, linear between its samples."""
    position = now * cluster.profile_steps_per_s
    index = int(position)
    if index >= cluster.profile_length - 1:
        return profile[cluster.profile_length - 1]
    part = position - index
    return profile[index] * (1.0 - part) + profile[index + 1] * part


@kernel
def _call(graph: Graph, services: Records, s: int, completed: float) -> None:
    """Send the calls of the requests that a service completed to the services it calls."""
    for edge in range(graph.edge_from.shape[0]):
        if graph.edge_from[edge] == s:
            services[graph.edge_to[edge]].inflow_calls += completed * graph.edge_calls[edge]


@kernel
def _renew_downstream(graph: Graph, services: Records, parameters: Records) -> None:
    """Time that a request spends in the services called, callees first; seen by callers next tick."""
    for place in range(graph.order.shape[0] - 1, -1, -1):
        s = graph.order[place]
        total = 0.0
        for edge in range(graph.edge_from.shape[0]):
            if graph.edge_from[edge] == s:
                callee = services[graph.edge_to[edge]]
                base = parameters[graph.edge_to[edge]].base_latency_s
                total += graph.edge_calls[edge] * (callee.response_s + base + callee.downstream_s)
        services[s].downstream_s = total


@kernel
def _users_in_system(services: Records) -> float:
    total = 0.0
    for s in range(services.shape[0]):
        total += services[s].in_system
    return total


@kernel
def decide(cluster: Record, service: Record, replicas: int, quota: NDArray[np.float64]) -> None:
    """Set what is wanted of a service; a changed quota makes a new revision of its template.

    Args:
        cluster: state record of the cluster.
        service: state record of the service.
        replicas: wanted from now on.
        quota: (4,) CPU request and limit in cores, memory request and limit in bytes, per pod.
    """
    service.replica_change += replicas - service.wanted
    changed = (
        quota[0] != service.cpu_request_cores
        or quota[1] != service.cpu_limit_cores
        or quota[2] != service.memory_request_bytes
        or quota[3] != service.memory_limit_bytes
    )
    if changed:
        service.cpu_request_cores = quota[0]
        service.cpu_limit_cores = quota[1]
        service.memory_request_bytes = quota[2]
        service.memory_limit_bytes = quota[3]
        service.revision = revision_of(
            milli(quota[0]), milli(quota[1]), math.ceil(quota[2]), math.ceil(quota[3])
        )
    if changed or replicas != service.wanted:
        service.wanted = replicas
        service.dirty = 1
        cluster.next_event_s = cluster.time_s


@kernel
def decide_all(world: World, replicas: NDArray[np.int64], quotas: NDArray[np.float64]) -> None:
    """Set what is wanted of every service of every cluster: (B, S) replicas and (B, S, 4) quotas."""
    clusters = world.clusters
    services = world.services
    for b in range(replicas.shape[0]):
        for s in range(replicas.shape[1]):
            decide(clusters[b], services[b, s], replicas[b, s], quotas[b, s])


@kernel
def advance_cluster(world: World, b: int) -> None:
    """Let one control interval of one cluster pass; arrays are sliced once, before the tick loop."""
    cluster = world.clusters[b]
    cluster_parameters = world.cluster_parameters[b]
    services = world.services[b]
    parameters = world.service_parameters[b]
    reports = world.interval[b]
    profile = world.profile[b]
    table = world.table
    order = world.order
    graph = Graph(world.order, world.edge_from, world.edge_to, world.edge_calls)
    edges = world.edge_from.shape[0]
    for s in range(services.shape[0]):
        clear_interval(services[s], reports[s])
    for _ in range(cluster_parameters.ticks):
        now = cluster.time_s
        if cluster.next_event_s <= now:
            process_events(world, b, now)
        if cluster.next_noise_s <= now:
            cluster.noise = log_normal(world.rng[b, LOAD], cluster_parameters.rate_noise_sigma)
            cluster.next_noise_s = now + cluster_parameters.rate_noise_period_s
        if cluster.contended:
            share_cores(world, b)
        cluster.load = profile_value(profile, cluster, now) * cluster.noise
        users = 0.0
        if cluster.closed:
            users = _users_in_system(services)
        for place in range(services.shape[0]):
            s = order[place]
            before = services[s].in_system
            completed = tick_service(
                table, cluster, cluster_parameters, services[s], parameters[s], reports[s], users
            )
            users += services[s].in_system - before
            if edges > 0:
                _call(graph, services, s, completed)
        if edges > 0:
            _renew_downstream(graph, services, parameters)
        cluster.tick += 1
        cluster.time_s = cluster.tick * cluster_parameters.tick_s
        if cluster.next_scrape_s <= cluster.time_s + 1e-9:
            scrape(world, b, cluster.time_s)
    for s in range(services.shape[0]):
        integrate_pods(services[s], parameters[s], reports[s], cluster.time_s)
        finish_interval(cluster, cluster_parameters, services[s], parameters[s], reports[s])
    look(world, b, cluster.time_s)


@kernel
def advance(world: World) -> None:
    """Let one control interval of every cluster pass."""
    for b in range(world.clusters.shape[0]):
        advance_cluster(world, b)

"""Events inside the kernels: everything that is due at a moment, and the totals that ticks then use."""

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.deployment import reconcile
from podgym.envs.simulator.nodes import DEAD_ENDPOINT, change_nodes, schedule_pending
from podgym.envs.simulator.pods import fire_timers, kill_over_memory
from podgym.envs.simulator.queueing import table_row
from podgym.envs.simulator.records import (
    EMPTY,
    NEVER,
    PENDING,
    PULLING,
    READY,
    STARTING,
    TERMINATING,
    UNREACHABLE,
    Record,
    World,
)


@kernel
def _add_ready_pod(world: World, b: int, s: int, slot: int) -> None:
    """Add a ready pod's servers and capacity to its service and its node."""
    service = world.services[b, s]
    parameters = world.service_parameters[b, s]
    pod = world.pods[b, s, slot]
    limit = 0.001 * pod.cpu_limit_milli
    servers = min(max(limit, 1.0), parameters.concurrency_per_pod)
    capacity = min(limit, servers)
    if pod.warm == 0:
        capacity *= parameters.warm_up_speed
    service.ready += 1
    service.servers += servers
    service.capacity_cores += capacity
    service.ready_start_sum_s += pod.container_start_s
    service.oldest_start_s = min(service.oldest_start_s, pod.container_start_s)
    service.least_memory_limit_bytes = min(service.least_memory_limit_bytes, pod.memory_limit_bytes)
    placement = world.placements[b, pod.node, s]
    placement.capacity_cores += capacity
    placement.request_cores += 0.001 * pod.cpu_request_milli


@kernel
def integrate_pods(service: Record, parameters: Record, report: Record, now: float) -> None:
    """Bring the integrals over pods up to a moment; their numbers were constant since the last call."""
    elapsed = now - service.integrated_s
    service.integrated_s = now
    report.cpu_requested_core_s += service.placed_cpu_cores * elapsed
    report.memory_requested_byte_s += service.placed_memory_bytes * elapsed
    report.replica_s += service.alive * elapsed
    report.ready_replica_s += service.ready * elapsed
    report.cpu_used_core_s += service.starting * parameters.start_up_cpu_cores * elapsed


@kernel
def _renew_queue(service: Record, parameters: Record) -> None:
    """Derive the constants of the queue from the servers and the capacity of the ready pods."""
    ready = service.ready
    service.queues = 1.0 if parameters.pooled else float(max(ready, 1))
    service.queue_share = 1.0 / service.queues
    service.queue_servers = service.servers * service.queue_share
    service.row = table_row(service.queue_servers)
    service.rate_rps = service.capacity_cores / parameters.cpu_demand_core_s
    service.service_time_s = service.servers / max(service.rate_rps, 1e-12)
    service.wait_unit_s = parameters.kappa * service.service_time_s / max(service.queue_servers, 1e-12)
    service.concurrency = ready * parameters.concurrency_per_pod
    service.room = service.concurrency + ready * parameters.queue_limit_per_pod
    service.base_memory_bytes = ready * parameters.base_memory_bytes
    service.memory_limit_bytes_all = ready * service.least_memory_limit_bytes


@kernel
def renew_totals(world: World, b: int, s: int) -> float:
    """Recount the pods of a service and return the earliest timer among them."""
    service = world.services[b, s]
    served = service.ready
    service.alive = 0
    service.ready = 0
    service.pending = 0
    service.starting = 0
    service.dead_endpoints = 0
    placed_milli = 0
    placed_bytes = 0
    service.servers = 0.0
    service.capacity_cores = 0.0
    service.ready_start_sum_s = 0.0
    service.oldest_start_s = NEVER
    service.least_memory_limit_bytes = NEVER
    for node in range(world.nodes.shape[1]):
        placement = world.placements[b, node, s]
        placement.capacity_cores = 0.0
        placement.request_cores = 0.0
    earliest = NEVER
    last = 0
    for slot in range(service.slots):
        phase = world.phase[b, s, slot]
        if phase == EMPTY:
            continue
        last = slot + 1
        pod = world.pods[b, s, slot]
        earliest = min(earliest, world.timer_s[b, s, slot])
        if phase != TERMINATING:
            service.alive += 1
            if pod.revision != service.revision:
                earliest = min(earliest, pod.resize_s)
        if pod.node >= 0:
            placed_milli += pod.cpu_request_milli
            placed_bytes += pod.memory_request_bytes
        if phase == PENDING:
            service.pending += 1
        elif phase in (STARTING, PULLING):
            service.starting += phase == STARTING
        elif phase == UNREACHABLE:
            service.dead_endpoints += pod.endpoint == DEAD_ENDPOINT
        elif phase == READY:
            _add_ready_pod(world, b, s, slot)
    service.slots = last
    if service.ready < served:  # a pod takes the memory of its requests with it
        service.held_requests *= service.ready / served
    service.placed_cpu_cores = 0.001 * placed_milli
    service.placed_memory_bytes = placed_bytes
    _renew_queue(service, world.service_parameters[b, s])
    return earliest


@kernel
def _earliest_node_change_s(world: World, b: int) -> float:
    earliest = NEVER
    for node in range(world.nodes.shape[1]):
        earliest = min(earliest, world.nodes[b, node].next_change_s)
    return earliest


@kernel
def _find_contention(world: World, b: int) -> None:
    """Note whether the limits of the ready pods on some node exceed its cores."""
    cluster = world.clusters[b]
    cluster.contended = 0
    for node in range(world.nodes.shape[1]):
        limits = 0.0
        for s in range(world.services.shape[1]):
            limits += world.placements[b, node, s].capacity_cores
        if limits > world.nodes[b, node].cpu_cores + 1e-9:
            cluster.contended = 1
    if cluster.contended == 0:
        for s in range(world.services.shape[1]):
            world.services[b, s].speed = 1.0


@kernel
def process_events(world: World, b: int, now: float) -> None:
    """Let everything happen that is due: nodes, timers, kills, reconciliation, scheduling, totals.

    Only services whose pods or wishes changed are looked at again.
    """
    cluster = world.clusters[b]
    if cluster.next_node_change_s <= now:
        change_nodes(world, b, now)
        cluster.next_node_change_s = _earliest_node_change_s(world, b)
    services = world.services.shape[1]
    pending = 0
    for s in range(services):
        service = world.services[b, s]
        if service.next_timer_s <= now:
            fire_timers(world, b, s, now)
            service.dirty = 1
        if service.memory_exceeded:
            kill_over_memory(world, b, s, now)
            service.dirty = 1
        if service.dirty:
            reconcile(world, b, s, now)
        pending += service.pending
    if pending > 0:
        schedule_pending(world, b, now)
    changed = False
    earliest = cluster.next_node_change_s
    for s in range(services):
        service = world.services[b, s]
        if service.dirty:
            integrate_pods(service, world.service_parameters[b, s], world.interval[b, s], now)
            service.next_timer_s = renew_totals(world, b, s)
            service.dirty = service.again
            if service.again:
                service.next_timer_s = now
            service.again = 0
            changed = True
        earliest = min(earliest, service.next_timer_s)
    if changed:
        _find_contention(world, b)
    cluster.next_event_s = earliest

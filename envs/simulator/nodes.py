"""Nodes inside the kernels: placing pods, contention for cores, and failures.

Placement follows the kube-scheduler: filter the nodes on which a pod fits, then take the one with the
highest sum of NodeResourcesFit and NodeResourcesBalancedAllocation, in the integer arithmetic of
``scheduling.py`` (its oracle). Among equals upstream picks at random; here the node with the fewest pods
wins, then the first, so that placement needs no random number.
"""

import math

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.records import (
    EMPTY,
    NEVER,
    PENDING,
    PULLING,
    READY,
    STARTING,
    TERMINATING,
    UNREACHABLE,
    World,
)
from podgym.envs.simulator.streams import FAULTS, PODS, exponential, log_normal

# An unreachable pod: its node's failure was noticed; not yet, and it still receives requests; not yet, but
# it was not ready anyway.
NOTICED, DEAD_ENDPOINT, SILENT = range(3)
_NODES_ALL_SCORED = 100
_UNLIMITED = 2**62


@kernel
def fit_score(used_cpu: int, cpu: int, used_memory: int, memory: int, most: bool) -> int:
    """NodeResourcesFit score, 0 to 100, of a node after placement (millicores, bytes)."""
    if most:
        return (used_cpu * 100 // cpu + used_memory * 100 // memory) // 2
    return ((cpu - used_cpu) * 100 // cpu + (memory - used_memory) * 100 // memory) // 2


@kernel
def balance_score(used_cpu: int, cpu: int, used_memory: int, memory: int) -> int:
    """NodeResourcesBalancedAllocation score, 0 to 100, of a node after placement."""
    difference = min(used_cpu / cpu, 1.0) - min(used_memory / memory, 1.0)
    return int((1.0 - abs(difference) / 2.0) * 100.0)


@kernel
def choose_node(world: World, b: int, cpu_milli: int, memory_bytes: int) -> int:
    """Return the node for a pod with these requests, or -1 when none fits."""
    parameters = world.cluster_parameters[b]
    count = world.nodes.shape[1]
    wanted = count
    if count > _NODES_ALL_SCORED:
        wanted = max(_NODES_ALL_SCORED, int(count * parameters.score_sample))
    best = -1
    best_score = -1
    best_pods = 0
    for node in range(count):
        record = world.nodes[b, node]
        used_cpu = record.used_cpu_milli + cpu_milli
        used_memory = record.used_memory_bytes + memory_bytes
        fits = used_cpu <= record.cpu_milli and used_memory <= record.memory_bytes
        if record.up == 0 or not fits or record.pods >= parameters.max_pods:
            continue
        score = fit_score(
            used_cpu, record.cpu_milli, used_memory, record.memory_bytes, parameters.most_allocated != 0
        ) + balance_score(used_cpu, record.cpu_milli, used_memory, record.memory_bytes)
        if score > best_score or (score == best_score and record.pods < best_pods):
            best = node
            best_score = score
            best_pods = record.pods
        wanted -= 1
        if wanted == 0:
            break
    return best


@kernel
def reserve(world: World, b: int, node: int, cpu_milli: int, memory_bytes: int, pods: int) -> None:
    """Add (or, with negative ``pods``, take back) the requests of one pod on a node."""
    record = world.nodes[b, node]
    sign = 1 if pods >= 0 else -1
    record.used_cpu_milli += sign * cpu_milli
    record.used_memory_bytes += sign * memory_bytes
    record.pods += pods


@kernel
def release(world: World, b: int, s: int, slot: int) -> None:
    """Free the place of a pod and empty its slot."""
    pod = world.pods[b, s, slot]
    if pod.node >= 0:
        reserve(world, b, pod.node, pod.cpu_request_milli, pod.memory_request_bytes, -1)
    pod.node = -1
    world.phase[b, s, slot] = EMPTY
    world.timer_s[b, s, slot] = NEVER


@kernel
def start_delay_s(world: World, b: int, s: int) -> float:
    """Draw the time from container start to readiness: start-up, noticed at the next probe."""
    parameters = world.service_parameters[b, s]
    delay = parameters.start_up_s * log_normal(world.rng[b, PODS], parameters.start_up_sigma)
    return math.ceil(delay / parameters.probe_period_s) * parameters.probe_period_s


@kernel
def place(world: World, b: int, s: int, slot: int, node: int, now: float) -> None:
    """Bind a pending pod to a node; the kubelet pulls the image or starts the container."""
    pod = world.pods[b, s, slot]
    pod.node = node
    reserve(world, b, node, pod.cpu_request_milli, pod.memory_request_bytes, 1)
    pod.start_s = now
    pod.container_start_s = now
    pod.ready_change_s = now
    if world.placements[b, node, s].image == 0:
        world.phase[b, s, slot] = PULLING
        world.timer_s[b, s, slot] = now + world.service_parameters[b, s].image_pull_s
    else:
        world.phase[b, s, slot] = STARTING
        world.timer_s[b, s, slot] = now + start_delay_s(world, b, s)


@kernel
def schedule_pending(world: World, b: int, now: float) -> None:
    """Try to place every pending pod, services and slots in order."""
    for s in range(world.services.shape[1]):
        service = world.services[b, s]
        if service.pending == 0:
            continue
        refused_milli = _UNLIMITED  # what did not fit, so that pods like it need not be tried
        refused_bytes = _UNLIMITED
        for slot in range(service.slots):
            if world.phase[b, s, slot] != PENDING:
                continue
            pod = world.pods[b, s, slot]
            if pod.cpu_request_milli >= refused_milli and pod.memory_request_bytes >= refused_bytes:
                continue
            node = choose_node(world, b, pod.cpu_request_milli, pod.memory_request_bytes)
            if node < 0:
                refused_milli = pod.cpu_request_milli
                refused_bytes = pod.memory_request_bytes
                continue
            place(world, b, s, slot, node, now)
            service.dirty = 1


@kernel
def _lose_node(world: World, b: int, node: int, now: float) -> None:
    """Take the pods of a node away; those that served stay endpoints until the failure is noticed."""
    detection = now + world.cluster_parameters[b].detection_s
    for s in range(world.services.shape[1]):
        service = world.services[b, s]
        service.dirty = 1
        share = service.in_system / max(service.ready, 1)
        ready = service.ready
        for slot in range(service.slots):
            pod = world.pods[b, s, slot]
            phase = world.phase[b, s, slot]
            if phase in (EMPTY, PENDING) or pod.node != node:
                continue
            if phase == TERMINATING:
                release(world, b, s, slot)
                continue
            pod.endpoint = DEAD_ENDPOINT if phase == READY else SILENT
            if phase == READY:
                share = min(share, service.in_system)
                service.in_system -= share
                world.interval[b, s].lost += share
                ready -= 1
            world.phase[b, s, slot] = UNREACHABLE
            world.timer_s[b, s, slot] = detection
        service.held_requests *= ready / max(service.ready, 1)
        service.ready = ready  # so that a second node lost in this tick takes its true share


@kernel
def _restore_node(world: World, b: int, node: int, now: float) -> None:
    """Restart the containers of pods that were not evicted while their node was away."""
    for s in range(world.services.shape[1]):
        world.services[b, s].dirty = 1
        for slot in range(world.services[b, s].slots):
            pod = world.pods[b, s, slot]
            if world.phase[b, s, slot] == UNREACHABLE and pod.node == node:
                pod.endpoint = NOTICED
                pod.container_start_s = now
                pod.restarts += 1
                pod.ready_change_s = now
                world.interval[b, s].restarts += 1.0
                world.phase[b, s, slot] = STARTING
                world.timer_s[b, s, slot] = now + start_delay_s(world, b, s)


@kernel
def change_nodes(world: World, b: int, now: float) -> None:
    """Let nodes fail and come back whose time has come."""
    parameters = world.cluster_parameters[b]
    for node in range(world.nodes.shape[1]):
        record = world.nodes[b, node]
        if record.next_change_s > now:
            continue
        if record.up == 1:
            record.up = 0
            record.next_change_s = now + record.outage_s
            _lose_node(world, b, node, now)
        else:
            record.up = 1
            record.next_change_s = next_failure_s(world, b, now)
            record.outage_s = parameters.node_failure_duration_s
            _restore_node(world, b, node, now)


@kernel
def next_failure_s(world: World, b: int, now: float) -> float:
    """Draw when a node fails next at random; never, when random failures are off."""
    rate = world.cluster_parameters[b].node_failures_per_hour
    if rate <= 0.0:
        return NEVER
    return now + 3600.0 / rate * exponential(world.rng[b, FAULTS])


@kernel
def share_cores(world: World, b: int) -> None:
    """Share the cores of over-committed nodes: requests first, the rest in proportion to what is wanted.

    What the pods of a service want on a node is their limit times how busy they are. The result,
    ``speed``, is the share of its wish that a service gets over all nodes (CFS weights, in the mean).
    """
    count = world.services.shape[1]
    for s in range(count):
        service = world.services[b, s]
        service.speed = 1.0
    for s in range(count):
        service = world.services[b, s]
        wanted = 0.0
        given = 0.0
        for node in range(world.nodes.shape[1]):
            record = world.nodes[b, node]
            want = world.placements[b, node, s].capacity_cores * service.utilisation
            if want <= 0.0:
                continue
            all_wanted = 0.0
            all_guaranteed = 0.0
            for other in range(count):
                placement = world.placements[b, node, other]
                demand = placement.capacity_cores * world.services[b, other].utilisation
                all_wanted += demand
                all_guaranteed += min(demand, placement.request_cores)
            guaranteed = min(want, world.placements[b, node, s].request_cores)
            wanted += want
            if all_wanted <= record.cpu_cores:
                given += want
            else:
                spare = max(record.cpu_cores - all_guaranteed, 0.0)
                excess = max(all_wanted - all_guaranteed, 1e-12)
                given += guaranteed + (want - guaranteed) * spare / excess
        if wanted > 0.0:
            service.speed = min(max(given / wanted, 0.01), 1.0)

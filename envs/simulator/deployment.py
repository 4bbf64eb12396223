"""Deployments inside the kernels: how many pods there should be, and which go first.

The Deployment controller and its ReplicaSets: scaling, rolling updates, and in-place resizes (KEP-1287).
"""

import math

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.nodes import milli, reserve
from podgym.envs.simulator.pods import create_pod, remove_pod
from podgym.envs.simulator.records import EMPTY, NEVER, PENDING, PULLING, READY, TERMINATING, World

_RESIZE_RETRY_S = 5.0


@kernel
def _removal_rank(phase: int) -> int:
    """Which pods a ReplicaSet deletes first: unplaced, then not running, not ready, ready."""
    if phase == PENDING:
        return 0
    if phase == PULLING:
        return 1
    if phase == READY:
        return 3
    return 2


@kernel
def _remove_one(world: World, b: int, s: int, old_only: bool, ready_too: bool, now: float) -> bool:
    """Delete the first pod in ReplicaSet order; among equals the youngest. False when there is none."""
    service = world.services[b, s]
    best = -1
    best_rank = 99
    for slot in range(service.slots):
        phase = world.phase[b, s, slot]
        pod = world.pods[b, s, slot]
        if phase in (EMPTY, TERMINATING) or (old_only and pod.generation == service.generation):
            continue
        rank = _removal_rank(phase)
        if rank == 3 and not ready_too:
            continue
        younger = best >= 0 and rank == best_rank and pod.serial > world.pods[b, s, best].serial
        if rank < best_rank or younger:
            best = slot
            best_rank = rank
    if best < 0:
        return False
    remove_pod(world, b, s, best, now)
    return True


@kernel
def _resize_in_place(world: World, b: int, s: int, now: float) -> None:
    """Bring running pods to the template's quota without a restart, where their node has room."""
    service = world.services[b, s]
    for slot in range(service.slots):
        phase = world.phase[b, s, slot]
        pod = world.pods[b, s, slot]
        if phase in (EMPTY, TERMINATING) or pod.generation == service.generation:
            continue
        if phase == PENDING:
            pod.resize_s = now
        elif pod.resize_s == NEVER:
            pod.resize_s = now + world.service_parameters[b, s].in_place_resize_s
        if pod.resize_s > now:
            continue
        if pod.node >= 0:
            reserve(world, b, pod.node, pod.cpu_request_cores, pod.memory_request_bytes, -1)
            node = world.nodes[b, pod.node]
            cpu = node.used_cpu_milli + milli(service.cpu_request_cores)
            memory = node.used_memory_bytes + math.ceil(service.memory_request_bytes)
            if cpu > node.cpu_milli or memory > node.memory_bytes:
                reserve(world, b, pod.node, pod.cpu_request_cores, pod.memory_request_bytes, 1)
                pod.resize_s = now + _RESIZE_RETRY_S
                continue
            reserve(world, b, pod.node, service.cpu_request_cores, service.memory_request_bytes, 1)
        pod.cpu_request_cores = service.cpu_request_cores
        pod.cpu_limit_cores = service.cpu_limit_cores
        pod.memory_request_bytes = service.memory_request_bytes
        pod.memory_limit_bytes = service.memory_limit_bytes
        pod.generation = service.generation
        pod.resize_s = NEVER


@kernel
def _count(world: World, b: int, s: int) -> tuple[int, int, int, int]:
    """Count pods: all that exist, those of the present template, ready ones, unready of the template."""
    service = world.services[b, s]
    alive = 0
    new = 0
    ready = 0
    new_unready = 0
    service.pending = 0
    for slot in range(service.slots):
        phase = world.phase[b, s, slot]
        if phase in (EMPTY, TERMINATING):
            continue
        alive += 1
        service.pending += phase == PENDING
        ready += phase == READY
        if world.pods[b, s, slot].generation == service.generation:
            new += 1
            new_unready += phase != READY
    return alive, new, ready, new_unready


@kernel
def _roll(world: World, b: int, s: int, now: float) -> None:
    """One round of a rolling update, as the Deployment controller does it."""
    service = world.services[b, s]
    parameters = world.service_parameters[b, s]
    surge = math.ceil(parameters.max_surge * service.wanted - 1e-9)
    unavailable = math.floor(parameters.max_unavailable * service.wanted + 1e-9)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    alive, new, ready, new_unready = _count(world, b, s)
    for _ in range(alive - service.wanted - surge):  # the target itself was lowered
        _remove_one(world, b, s, new < service.wanted, True, now)
    for _ in range(min(service.wanted - new, service.wanted + surge - alive)):
        create_pod(world, b, s, now)
    alive, new, ready, new_unready = _count(world, b, s)
    removable = alive - (service.wanted - unavailable) - new_unready
    while removable > 0 and _remove_one(world, b, s, True, False, now):
        removable -= 1
    removable = min(removable, ready - (service.wanted - unavailable))
    while removable > 0 and _remove_one(world, b, s, True, True, now):
        removable -= 1


@kernel
def reconcile(world: World, b: int, s: int, now: float) -> None:
    """Create and delete pods so that the service comes nearer to what is wanted."""
    service = world.services[b, s]
    if world.service_parameters[b, s].in_place:
        _resize_in_place(world, b, s, now)
    alive, new, _, _ = _count(world, b, s)
    if world.service_parameters[b, s].in_place or new == alive:
        for _ in range(service.wanted - alive):
            create_pod(world, b, s, now)
        for _ in range(alive - service.wanted):
            _remove_one(world, b, s, False, True, now)
    else:
        _roll(world, b, s, now)

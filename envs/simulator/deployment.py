"""Deployments inside the kernels: how many pods there should be, and which go first.

The Deployment controller and its ReplicaSets: scaling, rolling updates, and in-place resizes (KEP-1287).
"""

import math

import numpy as np

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.nodes import reserve
from podgym.envs.simulator.pods import create_pod, milli, remove_pod, take_template
from podgym.envs.simulator.records import EMPTY, NEVER, PENDING, READY, TERMINATING, World

_RESIZE_RETRY_S = 5.0


# Which pods a ReplicaSet deletes first, by phase: unplaced, then not running, not ready, ready. What is
# empty or terminating already is never chosen.
_GONE = 9
_RANK = np.array([_GONE, 0, 1, 2, 3, _GONE, 2, 2], dtype=np.int64)
_RANK_STEP = 2**40
_READY_RANK = 3


@kernel
def _remove_one(world: World, b: int, s: int, old_only: bool, ready_too: bool, now: float) -> bool:
    """Delete the first pod in ReplicaSet order; among equals the youngest. False when there is none.

    Order and age are one number, so that the search needs no branches, which would be unpredictable.
    """
    service = world.services[b, s]
    best = -1
    best_key = (_READY_RANK + 1 if ready_too else _READY_RANK) * _RANK_STEP - _RANK_STEP // 2
    for slot in range(service.slots):
        pod = world.pods[b, s, slot]
        kept = old_only and pod.revision == service.revision
        rank = _GONE if kept else _RANK[world.phase[b, s, slot]]
        key = rank * _RANK_STEP - pod.serial
        best = slot if key < best_key else best
        best_key = min(key, best_key)
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
        if phase in (EMPTY, TERMINATING) or pod.revision == service.revision:
            continue
        if phase == PENDING:
            pod.resize_s = now
        elif pod.resize_s == NEVER:
            pod.resize_s = now + world.service_parameters[b, s].in_place_resize_s
        if pod.resize_s > now:
            continue
        if pod.node >= 0:
            reserve(world, b, pod.node, pod.cpu_request_milli, pod.memory_request_bytes, -1)
            node = world.nodes[b, pod.node]
            cpu_milli = milli(service.cpu_request_cores)
            memory_bytes = math.ceil(service.memory_request_bytes)
            fits = (
                node.used_cpu_milli + cpu_milli <= node.cpu_milli
                and node.used_memory_bytes + memory_bytes <= node.memory_bytes
            )
            if not fits:
                reserve(world, b, pod.node, pod.cpu_request_milli, pod.memory_request_bytes, 1)
                pod.resize_s = now + _RESIZE_RETRY_S
                continue
            reserve(world, b, pod.node, cpu_milli, memory_bytes, 1)
        take_template(service, pod)
        pod.resize_s = NEVER


@kernel
def _count(world: World, b: int, s: int) -> tuple[int, int, int, int]:
    """Count pods: all that exist, those of the present template, ready ones, unready of the template."""
    service = world.services[b, s]
    revision = service.revision
    alive = 0
    new = 0
    ready = 0
    new_unready = 0
    pending = 0
    for slot in range(service.slots):
        phase = world.phase[b, s, slot]
        exists = _RANK[phase] != _GONE
        is_new = exists and world.pods[b, s, slot].revision == revision
        alive += exists
        pending += phase == PENDING
        ready += phase == READY
        new += is_new
        new_unready += is_new and phase != READY
    service.pending = pending
    return alive, new, ready, new_unready


@kernel
def _roll(
    world: World, b: int, s: int, alive: int, new: int, ready: int, new_unready: int, now: float
) -> None:
    """One round of a rolling update, as the Deployment controller does it; counts as of ``_count``."""
    service = world.services[b, s]
    parameters = world.service_parameters[b, s]
    wanted = service.wanted
    surge = math.ceil(parameters.max_surge * wanted - 1e-9)
    unavailable = math.floor(parameters.max_unavailable * wanted + 1e-9)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    if alive > wanted + surge:  # the target itself was lowered
        for _ in range(alive - wanted - surge):
            _remove_one(world, b, s, new < wanted, True, now)
        alive, new, ready, new_unready = _count(world, b, s)
    for _ in range(min(wanted - new, wanted + surge - alive)):
        if create_pod(world, b, s, now):
            alive += 1
            new_unready += 1
            new += 1
    least_available = wanted - unavailable
    removable = alive - least_available - new_unready
    if removable <= 0:
        return
    for _ in range(min(removable, alive - ready - new_unready)):  # old pods that are not ready go first
        _remove_one(world, b, s, True, False, now)
    old_ready = ready - (new - new_unready)
    for _ in range(min(ready - least_available, old_ready)):
        _remove_one(world, b, s, True, True, now)


@kernel
def reconcile(world: World, b: int, s: int, now: float) -> None:
    """Create and delete pods so that the service comes nearer to what is wanted."""
    service = world.services[b, s]
    in_place = world.service_parameters[b, s].in_place != 0
    if in_place:
        _resize_in_place(world, b, s, now)
    alive, new, ready, new_unready = _count(world, b, s)
    if not in_place and new != alive:
        _roll(world, b, s, alive, new, ready, new_unready, now)
        return
    for _ in range(service.wanted - alive):
        create_pod(world, b, s, now)
    for _ in range(alive - service.wanted):
        _remove_one(world, b, s, False, True, now)

"""The life of pods inside the kernels: what a Deployment, its ReplicaSets and the kubelets do.

A pod slot goes pending -> pulling -> starting -> ready -> terminating -> empty; a crash sends it to
back-off and a node failure to unreachable. Nothing here runs per tick: ``process_events`` is called only
when a timer is due or something was decided (see ``events``).
"""

import math

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.nodes import NOTICED, release, start_delay_s
from podgym.envs.simulator.records import (
    BACKOFF,
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
from podgym.envs.simulator.streams import PODS, uniform

_BACKOFF_RESET_S = 600.0


@kernel
def milli(cores: float) -> int:
    """Cores as whole millicores, rounded up like a Kubernetes quantity."""
    return math.ceil(cores * 1000.0 - 1e-6)


@kernel
def revision_of(cpu_request: int, cpu_limit: int, memory_request: int, memory_limit: int) -> int:
    """Number a template by its content, as the pod-template-hash does: equal quotas, equal revision.

    So going back to an earlier quota finds the pods that still have it.
    """
    number = cpu_request
    for part in (cpu_limit, memory_request, memory_limit):
        number = (number * 1_000_003 + part) % 2_147_483_647
    return number


@kernel
def take_template(service: Record, pod: Record) -> None:
    """Give a pod the quota and the revision of its service's template."""
    pod.revision = service.revision
    pod.cpu_request_milli = milli(service.cpu_request_cores)
    pod.cpu_limit_milli = milli(service.cpu_limit_cores)
    pod.memory_request_bytes = math.ceil(service.memory_request_bytes)
    pod.memory_limit_bytes = math.ceil(service.memory_limit_bytes)


@kernel
def create_pod(world: World, b: int, s: int, now: float) -> bool:
    """Make a pending pod from the service's template; False when no slot is free."""
    service = world.services[b, s]
    for slot in range(world.phase.shape[2]):
        if world.phase[b, s, slot] != EMPTY:
            continue
        cluster = world.clusters[b]
        pod = world.pods[b, s, slot]
        cluster.pods_made += 1
        pod.serial = cluster.pods_made
        pod.node = -1
        pod.restarts = 0
        pod.start_s = NEVER
        pod.ready_change_s = now
        pod.resize_s = NEVER
        pod.oom_s = NEVER
        pod.warm = 0
        pod.endpoint = NOTICED
        take_template(service, pod)
        world.phase[b, s, slot] = PENDING
        world.timer_s[b, s, slot] = NEVER
        world.interval[b, s].pods_created += 1.0
        service.pending += 1
        service.slots = max(service.slots, slot + 1)
        return True
    return False


@kernel
def remove_pod(world: World, b: int, s: int, slot: int, now: float) -> None:
    """Delete a pod: at once when nothing runs yet, else after its termination time."""
    phase = world.phase[b, s, slot]
    world.interval[b, s].pods_removed += 1.0
    if phase in (PENDING, UNREACHABLE):
        release(world, b, s, slot)
        world.services[b, s].again = 1
        return
    world.phase[b, s, slot] = TERMINATING
    world.pods[b, s, slot].ready_change_s = now
    world.timer_s[b, s, slot] = now + world.service_parameters[b, s].termination_s


@kernel
def back_off(world: World, b: int, s: int, slot: int, now: float) -> None:
    """Let a crashed container wait: 10 s, doubled per restart up to 5 minutes, as the kubelet does."""
    parameters = world.service_parameters[b, s]
    pod = world.pods[b, s, slot]
    if world.phase[b, s, slot] == READY and now - pod.ready_change_s > _BACKOFF_RESET_S:
        pod.restarts = 0
    delay = parameters.restart_backoff_s * 2.0 ** min(pod.restarts, 30)
    pod.restarts += 1
    pod.warm = 0
    pod.ready_change_s = now
    world.interval[b, s].restarts += 1.0
    world.phase[b, s, slot] = BACKOFF
    world.timer_s[b, s, slot] = now + min(delay, parameters.restart_backoff_max_s)


@kernel
def pod_memory_bytes(world: World, b: int, s: int, slot: int, now: float) -> float:
    """Working set of one ready pod: base, its share of the held requests, its leak."""
    parameters = world.service_parameters[b, s]
    service = world.services[b, s]
    held = service.held_requests / max(service.ready, 1)
    age = now - world.pods[b, s, slot].container_start_s
    return (
        parameters.base_memory_bytes
        + parameters.memory_per_request_bytes * held
        + parameters.memory_growth_bytes_per_s * age
    )


@kernel
def kill_over_memory(world: World, b: int, s: int, now: float) -> None:
    """OOM-kill the ready pod that is furthest over its limit; its requests in flight are lost.

    One pod per tick: pods are alike in the mean, yet in a real cluster they do not die in the same
    second, and the others inherit the load of the first.
    """
    service = world.services[b, s]
    service.memory_exceeded = 0
    worst = -1
    worst_excess = 0.0
    for slot in range(service.slots):
        if world.phase[b, s, slot] != READY:
            continue
        excess = pod_memory_bytes(world, b, s, slot, now) - world.pods[b, s, slot].memory_limit_bytes
        if excess > worst_excess:
            worst = slot
            worst_excess = excess
    if worst < 0:
        return
    share = 1.0 / max(service.ready, 1)
    lost = service.in_system * share
    service.in_system -= lost
    report = world.interval[b, s]
    report.lost += lost
    report.oom_kills += 1.0
    pod = world.pods[b, s, worst]
    pod.oom_s = now
    pod.oom_ran_s = now - pod.container_start_s
    back_off(world, b, s, worst, now)


@kernel
def _become_ready(world: World, b: int, s: int, slot: int, now: float) -> None:
    parameters = world.service_parameters[b, s]
    pod = world.pods[b, s, slot]
    chance = parameters.start_failure_probability
    if chance > 0.0 and uniform(world.rng[b, PODS]) < chance:
        back_off(world, b, s, slot, now)
        return
    world.phase[b, s, slot] = READY
    pod.ready_change_s = now
    pod.warm = 1 if parameters.warm_up_s <= 0.0 else 0
    world.timer_s[b, s, slot] = NEVER if pod.warm else now + parameters.warm_up_s


@kernel
def fire_timers(world: World, b: int, s: int, now: float) -> None:
    """Move every pod of a service whose timer is due to its next phase."""
    for slot in range(world.services[b, s].slots):
        if world.timer_s[b, s, slot] > now:
            continue
        phase = world.phase[b, s, slot]
        pod = world.pods[b, s, slot]
        if phase == PULLING:
            world.placements[b, pod.node, s].image = 1
            pod.container_start_s = now
            world.phase[b, s, slot] = STARTING
            world.timer_s[b, s, slot] = now + start_delay_s(world, b, s)
        elif phase == STARTING:
            _become_ready(world, b, s, slot, now)
        elif phase == READY:
            pod.warm = 1
            world.timer_s[b, s, slot] = NEVER
        elif phase == TERMINATING:
            release(world, b, s, slot)
        elif phase == BACKOFF:
            pod.container_start_s = now
            world.phase[b, s, slot] = STARTING
            world.timer_s[b, s, slot] = now + start_delay_s(world, b, s)
        elif phase == UNREACHABLE and pod.endpoint != NOTICED:
            pod.endpoint = NOTICED
            pod.ready_change_s = now
            world.timer_s[b, s, slot] = now + world.cluster_parameters[b].eviction_s
        elif phase == UNREACHABLE:
            remove_pod(world, b, s, slot, now)

"""What a decision does to pods without a rollout: admission, eviction, and resizing in place.

These are the three ways in which VPA acts. They run outside the kernels' loops: only a controller that
looks at single pods can decide them.
"""

import math
from collections.abc import Iterable, Sequence

from podgym.envs.cluster import Quota, ServiceDecision
from podgym.envs.simulator.nodes import reserve
from podgym.envs.simulator.pods import milli, remove_pod, take_template
from podgym.envs.simulator.records import EMPTY, NEVER, TERMINATING, World


def act_on_pods(world: World, b: int, decisions: Sequence[ServiceDecision]) -> None:
    """Carry out the admissions, resizes and evictions of one cluster's decisions.

    To be called before ``decide``, which then finds the quota of the template as it is wanted. Names of pods
    that are gone are passed over, as an API server answers 404.

    Args:
        world: the batch.
        b: cluster.
        decisions: one per service, checked by ``merge_decisions``.
    """
    for s, decision in enumerate(decisions):
        if decision.admission is not None:
            _admit(world, b, s, decision.admission)
        for slot in _slots(world, b, s, decision.resize):
            _resize(world, b, s, slot)
        now_s = float(world.clusters[b]["time_s"])
        for slot in _slots(world, b, s, decision.evict):
            remove_pod(world, b, s, slot, now_s)
        if decision.resize or decision.evict:
            world.services[b, s]["dirty"] = 1
            world.clusters[b]["next_event_s"] = now_s


def _admit(world: World, b: int, s: int, quota: Quota) -> None:
    """Give pods created from now on another quota; without a new revision nothing rolls out."""
    service = world.services[b, s]
    service["cpu_request_cores"] = quota.cpu_request_cores
    service["cpu_limit_cores"] = quota.cpu_limit_cores
    service["memory_request_bytes"] = quota.memory_request_bytes
    service["memory_limit_bytes"] = quota.memory_limit_bytes


def _slots(world: World, b: int, s: int, names: Iterable[str]) -> list[int]:
    """Return the slots of the pods of these names that exist and are not terminating."""
    serials = {name.rpartition("-")[2] for name in names}
    if not serials:
        return []
    return [
        slot
        for slot in range(int(world.services[b, s]["slots"]))
        if world.phase[b, s, slot] not in (EMPTY, TERMINATING)
        and str(world.pods[b, s, slot]["serial"]) in serials
    ]


def _resize(world: World, b: int, s: int, slot: int) -> None:
    """Bring one pod to the present quota where its node has room, else leave it as it is.

    The kubelet's seconds of actuation are not modelled here; those of a whole Deployment's resize are.
    """
    service, pod = world.services[b, s], world.pods[b, s, slot]
    if pod["node"] >= 0:
        node = world.nodes[b, pod["node"]]
        cpu_milli = milli(service["cpu_request_cores"])
        memory_bytes = math.ceil(service["memory_request_bytes"])
        fits = (
            node["used_cpu_milli"] - pod["cpu_request_milli"] + cpu_milli <= node["cpu_milli"]
            and node["used_memory_bytes"] - pod["memory_request_bytes"] + memory_bytes <= node["memory_bytes"]
        )
        if not fits:
            return
        reserve(world, b, pod["node"], pod["cpu_request_milli"], pod["memory_request_bytes"], -1)
        reserve(world, b, pod["node"], cpu_milli, memory_bytes, 1)
    take_template(service, pod)
    pod["resize_s"] = NEVER

"""A service whose pods always use the same, seen once a minute by a controller."""

import dataclasses

from oracles.observations import MIB, observe, pod, service
from podgym.baselines.metrics import KEEP

MINUTE_S = 60.0
QUICK = {"confidence_interval_s": 60.0}
"""Bounds that narrow within minutes, so that the updater has something to do."""


def busy(now_s, cores=1.0, memory_bytes=800 * MIB, count=4, **fields):
    """Return a service whose pods use more than they request, unless they have other quotas."""
    pods = [pod(index, cores, now_s=now_s, memory_bytes=memory_bytes) for index in range(count)]
    return service(count, now_s=now_s, **{"pods": tuple(pods), **fields})


def follow(controller, minutes, make=busy, first=0):
    """Decide once a minute and return the last decision for the one service."""
    decision = KEEP
    for minute in range(first, minutes):
        now_s = minute * MINUTE_S
        (decision,) = controller.decide(observe(make(now_s), now_s=now_s))
    return decision


def with_quota(view, quota, names=None):
    """Return the service with another quota for new pods, and the pods of these names changed to it."""
    pods = tuple(
        dataclasses.replace(each, quota=quota) if names is None or each.name in names else each
        for each in view.pods
    )
    return dataclasses.replace(view, quota=quota, pods=pods)

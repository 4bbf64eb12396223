"""Observations made by hand: a service with pods, everything settled unless a test says otherwise."""

import math

from podgym.envs.cluster import (
    ClusterObservation,
    PodSample,
    PodView,
    Quota,
    RateForecast,
    ServiceView,
)

MIB = 2.0**20
QUOTA = Quota(0.5, 0.5, 512 * MIB, 768 * MIB)


def pod(index, cores=0.25, *, now_s=0.0, memory_bytes=300 * MIB, **fields):
    """Return a pod that has been ready for long, with a sample five seconds old (None: without)."""
    sample = None if cores is None else PodSample(cores, memory_bytes, now_s - 5.0, 30.0)
    settled = {
        "name": f"web-{index}",
        "phase": "Running",
        "ready": True,
        "start_time_s": -1000.0,
        "ready_transition_time_s": -990.0,
        "deleted": False,
        "quota": QUOTA,
        "sample": sample,
    }
    return PodView(**{**settled, **fields})


def service(replicas=4, cores=0.25, *, now_s=0.0, **fields):
    """Return a service of equal pods; ``cores`` is what each uses."""
    settled = {
        "name": "web",
        "replicas_wanted": replicas,
        "replicas": replicas,
        "replicas_ready": replicas,
        "min_replicas": 1,
        "max_replicas": 50,
        "quota": QUOTA,
        "sample_time_s": now_s - 5.0,
        "request_rate_rps": 100.0,
        "response_time_s": 0.1,
        "error_ratio": 0.0,
        "in_flight": 4.0,
        "pods": tuple(pod(index, cores, now_s=now_s) for index in range(replicas)),
    }
    return ServiceView(**{**settled, **fields})


def blind(replicas=4, **fields):
    """Return a service of which nothing was ever scraped."""
    nothing = dict.fromkeys(("request_rate_rps", "response_time_s", "error_ratio", "in_flight"), math.nan)
    return service(replicas, None, **{"sample_time_s": None, **nothing, **fields})


def observe(*services, now_s=0.0):
    """Return an observation of these services."""
    return ClusterObservation(now_s, services)


def forecast(*mean_rps, spread=0.1):
    """Return a forecast whose interval is wider than the mean by a share on both sides."""
    return RateForecast(
        tuple(mean_rps),
        tuple(rate * (1.0 - spread) for rate in mean_rps),
        tuple(rate * (1.0 + spread) for rate in mean_rps),
    )


def wanted(controller, *services, now_s=0.0):
    """Return the replicas that a controller decides, None where it leaves them."""
    return [decision.replicas for decision in controller.decide(observe(*services, now_s=now_s))]

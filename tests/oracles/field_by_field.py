"""Observations and reports read from the records of a cluster field by field, every pod on its own.

Slow and plain: the second implementation of what ``SimulatedClusters.observe`` and ``AutoscaleEnv.report``
read in bulk. It shares nothing with them but the layout of the records.
"""

import dataclasses
import math

import numpy as np

from podgym.envs import AutoscaleEnv
from podgym.envs.cluster import (
    ClusterObservation,
    PodSample,
    PodView,
    Quota,
    RateForecast,
    ServicePlan,
    ServiceView,
)
from podgym.envs.simulator.cluster import SimulatedClusters
from podgym.envs.simulator.nodes import DEAD_ENDPOINT
from podgym.envs.simulator.records import (
    BACKOFF,
    EMPTY,
    INTERVAL_COLUMNS,
    NEVER,
    PENDING,
    PULLING,
    READY,
    STARTING,
    TERMINATING,
    UNREACHABLE,
)


def observe_env(env: AutoscaleEnv) -> ClusterObservation:
    """Return what an environment shows a controller, forecast and plan laid over what the cluster shows."""
    seen = observe_cluster(env._core.clusters, 0)
    shown = dict(zip(env.observation_names, env._core.observation[0], strict=True))
    services = tuple(
        dataclasses.replace(service, forecast=_forecast(env, service, shown, s), plan=_plan(env, service, s))
        for s, service in enumerate(seen.services)
    )
    return dataclasses.replace(seen, services=services)


def observe_cluster(clusters: SimulatedClusters, index: int) -> ClusterObservation:
    """Return what one cluster of a batch shows."""
    return ClusterObservation(
        time_s=float(clusters.world.clusters[index]["time_s"]),
        services=tuple(_service(clusters, index, s) for s in range(len(clusters.config.services))),
    )


def interval(env: AutoscaleEnv) -> dict[str, np.ndarray]:
    """Return the report of the last interval, column by column."""
    world = env._core.clusters.world
    columns = {
        name: np.array([float(world.interval[0, s][name]) for s in range(len(env.service_names))])
        for name in INTERVAL_COLUMNS
    }
    drawn = world.service_parameters[0] if env.config.randomisation.active else None
    columns["required_replicas"] = env._required.count(columns, drawn)
    return columns


def _forecast(
    env: AutoscaleEnv, service: ServiceView, shown: dict[str, np.float32], s: int
) -> RateForecast | None:
    config = env.config.observation
    unknown = config.forecast == "naive" and not math.isfinite(service.request_rate_rps)
    if config.forecast == "none" or unknown:
        return None
    scale_rps = float(env._core.layout.scales.rate_rps[s])
    return RateForecast(
        *(
            tuple(
                float(shown[f"{service.name}.forecast_{part}[+{minute}min]"]) * scale_rps
                for minute in range(1, config.horizon_minutes + 1)
            )
            for part in ("mean", "lower", "upper")
        )
    )


def _plan(env: AutoscaleEnv, service: ServiceView, s: int) -> ServicePlan | None:
    if not env._outlook._planned:
        return None
    replicas, cores, memory_bytes = (float(number) for number in env._core.plan[0, s])
    bounded = min(max(round(replicas), service.min_replicas), service.max_replicas)
    return ServicePlan(bounded, cores, memory_bytes)


def _service(clusters: SimulatedClusters, index: int, s: int) -> ServiceView:
    service = clusters.config.services[s]
    state = clusters.world.services[index, s]
    time_s = float(state["seen_time_s"])
    pods = (_pod(clusters, index, s, slot) for slot in range(int(state["slots"])))
    return ServiceView(
        name=service.name,
        replicas_wanted=int(state["wanted"]),
        replicas=int(state["alive"]),
        replicas_ready=int(state["ready"]) + int(state["dead_endpoints"]),
        min_replicas=service.min_replicas,
        max_replicas=service.max_replicas,
        quota=Quota(
            float(state["cpu_request_cores"]),
            float(state["cpu_limit_cores"]),
            float(state["memory_request_bytes"]),
            float(state["memory_limit_bytes"]),
        ),
        sample_time_s=None if math.isnan(time_s) else time_s,
        request_rate_rps=float(state["seen_rate_rps"]),
        response_time_s=float(state["seen_response_s"]),
        error_ratio=float(state["seen_error_ratio"]),
        in_flight=float(state["seen_in_flight"]),
        pods=tuple(pod for pod in pods if pod is not None),
    )


def _pod(clusters: SimulatedClusters, index: int, s: int, slot: int) -> PodView | None:
    phase = int(clusters.world.phase[index, s, slot])
    if phase == EMPTY:
        return None
    pod = clusters.world.pods[index, s, slot]
    dead = phase == UNREACHABLE and int(pod["endpoint"]) == DEAD_ENDPOINT
    killed = float(pod["oom_s"]) < NEVER
    return PodView(
        name=f"{clusters.config.services[s].name}-{int(pod['serial'])}",
        phase="Pending" if phase in (PENDING, PULLING) else "Running",
        ready=phase == READY or dead,
        start_time_s=None if phase == PENDING else float(pod["start_s"]),
        ready_transition_time_s=float(pod["ready_change_s"]),
        deleted=phase == TERMINATING,
        quota=Quota(
            int(pod["cpu_request_milli"]) / 1000,
            int(pod["cpu_limit_milli"]) / 1000,
            float(pod["memory_request_bytes"]),
            float(pod["memory_limit_bytes"]),
        ),
        sample=_sample(clusters, index, s, phase, float(pod["start_s"])),
        oom_killed_s=float(pod["oom_s"]) if killed else None,
        oom_ran_s=float(pod["oom_ran_s"]) if killed else None,
    )


def _sample(clusters: SimulatedClusters, index: int, s: int, phase: int, start_s: float) -> PodSample | None:
    """The metrics API's answer for one pod: nothing until it has run for a whole scrape interval."""
    state = clusters.world.services[index, s]
    time_s, window_s = float(state["seen_time_s"]), float(state["seen_window_s"])
    if math.isnan(time_s) or start_s > time_s - clusters.config.monitoring.scrape_interval_s:
        return None
    parameters = clusters.config.services[s].parameters
    if phase == STARTING:
        return PodSample(parameters.start_up_cpu_cores, parameters.base_memory_bytes, time_s, window_s)
    if phase == BACKOFF:
        return PodSample(0.0, parameters.base_memory_bytes, time_s, window_s)
    cpu_cores, memory_bytes = float(state["seen_cpu_cores"]), float(state["seen_memory_bytes"])
    if phase != READY or math.isnan(cpu_cores) or math.isnan(memory_bytes):
        return None
    return PodSample(cpu_cores, memory_bytes, time_s, window_s)

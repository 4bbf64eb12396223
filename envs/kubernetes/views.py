"""A real service as controllers see it: the views of ``podgym.envs.cluster``, with times of the episode."""

import math

from podgym.envs.cluster import PodSample, PodView, ServiceView
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.readings import PodState, PodUsage
from podgym.envs.simulator.cluster import Ahead
from podgym.envs.simulator.parameters import ServiceConfig


def service_view(
    service: ServiceConfig, state: ServiceState, ahead: Ahead, start_epoch_s: float
) -> ServiceView:
    """Return the view of one service.

    Args:
        service: its bounds.
        state: what was seen of it, times since the Unix epoch.
        ahead: what is known of its future.
        start_epoch_s: when the episode began.
    """
    reading = state.reading
    forecast, plan = ahead
    return ServiceView(
        name=service.name,
        replicas_wanted=state.replicas_wanted,
        replicas=len(state.alive),
        replicas_ready=state.replicas_ready,
        min_replicas=service.min_replicas,
        max_replicas=service.max_replicas,
        quota=state.quota,
        sample_time_s=None if math.isnan(reading.time_s) else reading.time_s - start_epoch_s,
        request_rate_rps=reading.request_rate_rps,
        response_time_s=reading.response_time_s,
        error_ratio=reading.error_ratio,
        in_flight=reading.in_flight,
        pods=tuple(_pod_view(pod, reading.pods.get(pod.name), start_epoch_s) for pod in state.pods),
        forecast=forecast,
        plan=plan,
    )


def _pod_view(pod: PodState, usage: PodUsage | None, start_epoch_s: float) -> PodView:
    return PodView(
        name=pod.name,
        phase={"Unknown": "Running", "Succeeded": "Failed"}.get(pod.phase, pod.phase),
        ready=pod.ready,
        start_time_s=None if pod.start_time_s is None else pod.start_time_s - start_epoch_s,
        ready_transition_time_s=pod.ready_transition_time_s - start_epoch_s,
        deleted=pod.deleted,
        quota=pod.quota,
        sample=None if usage is None else _sample(usage, start_epoch_s),
        oom_killed_s=None if pod.oom_killed_s is None else pod.oom_killed_s - start_epoch_s,
        oom_ran_s=pod.oom_ran_s,
    )


def _sample(usage: PodUsage, start_epoch_s: float) -> PodSample:
    return PodSample(
        usage.cpu_usage_cores, usage.memory_usage_bytes, usage.time_s - start_epoch_s, usage.window_s
    )

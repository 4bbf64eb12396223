"""The report of a control interval: cleared before, completed after it."""

import math

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.records import Record
from podgym.envs.simulator.sojourn import SojournLaw, quantile, tail


@kernel
def _finish_law(report: Record, base_latency_s: float) -> SojournLaw:
    """Turn the sums of an interval into the law of its response times."""
    report.service_shift_s = base_latency_s
    completed = max(report.completed, 1e-300)
    waited = max(report.wait_probability, 1e-300)
    wait = report.wait_mean_s / waited
    variance = report.wait_std_s / waited - wait * wait
    mean = report.service_mean_s / completed
    squared = report.service_cv / completed / max(mean * mean, 1e-300) - 1.0
    report.wait_probability = min(report.wait_probability / completed, 1.0)
    report.wait_mean_s = wait
    report.wait_std_s = min(math.sqrt(max(variance, 0.0)), wait)
    report.service_mean_s = mean
    report.service_cv = math.sqrt(max(squared, 0.0))
    return SojournLaw(
        report.service_shift_s, mean, report.service_cv, report.wait_probability, wait, report.wait_std_s
    )


@kernel
def finish_interval(
    cluster: Record, cluster_parameters: Record, service: Record, parameters: Record, report: Record
) -> None:
    """Complete the report of one service at the end of an interval."""
    duration = cluster_parameters.ticks * cluster_parameters.tick_s
    report.time_s = cluster.time_s
    report.duration_s = duration
    report.users = cluster.load if cluster.closed else math.nan
    report.offered_rps = report.arrived / duration
    report.throttled_ratio /= cluster_parameters.ticks
    failed = report.rejected + report.timed_out + report.lost
    report.slo_violations = failed
    report.cpu_used_core_s += (
        report.completed * parameters.cpu_demand_core_s + report.ready_replica_s * parameters.idle_cpu_cores
    )
    service.arrivals += report.arrived
    service.completions += report.completed
    service.failures += failed
    service.ready_s += report.ready_replica_s
    report.response_time_mean_s = math.nan
    report.response_time_p50_s = math.nan
    report.response_time_p95_s = math.nan
    report.response_time_p99_s = math.nan
    law = _finish_law(report, parameters.base_latency_s)
    if report.completed > 1e-9:
        mean = law.shift_s + law.service_mean_s + law.wait_probability * law.wait_mean_s
        report.response_time_mean_s = mean
        report.response_time_p50_s = quantile(0.50, law, law.shift_s + 0.7 * (mean - law.shift_s))
        report.response_time_p95_s = quantile(
            0.95, law, report.response_time_p50_s + 2.3 * (mean - law.shift_s)
        )
        report.response_time_p99_s = quantile(
            0.99, law, report.response_time_p95_s + 1.6 * (mean - law.shift_s)
        )
        report.slo_violations += report.completed * tail(parameters.slo_response_time_s, law)
        service.response_sum_s += report.completed * mean
    report.in_system = service.in_system
    report.replicas_wanted = service.wanted
    report.replicas_ready = service.ready
    report.replicas_pending = service.pending
    report.cpu_request_cores = service.cpu_request_cores
    report.cpu_limit_cores = service.cpu_limit_cores
    report.memory_request_bytes = service.memory_request_bytes


@kernel
def clear_interval(service: Record, report: Record) -> None:
    """Set every sum of the interval to zero; note by how much the decision before it changed the replicas."""
    report.replica_change = service.replica_change
    service.replica_change = 0.0
    report.arrived = 0.0
    report.completed = 0.0
    report.rejected = 0.0
    report.timed_out = 0.0
    report.lost = 0.0
    report.wait_probability = 0.0
    report.wait_mean_s = 0.0
    report.wait_std_s = 0.0
    report.service_mean_s = 0.0
    report.service_cv = 0.0
    report.cpu_used_core_s = 0.0
    report.cpu_requested_core_s = 0.0
    report.memory_used_byte_s = 0.0
    report.memory_requested_byte_s = 0.0
    report.replica_s = 0.0
    report.ready_replica_s = 0.0
    report.throttled_ratio = 0.0
    report.oom_kills = 0.0
    report.restarts = 0.0
    report.pods_created = 0.0
    report.pods_removed = 0.0

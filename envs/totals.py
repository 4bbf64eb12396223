"""Totals of one control interval over all services: reward terms and the numbers of ``info``.

One row per cluster. Requests are counted where they happen; ratios are of sums; the response time is that
of one external request through the call graph.
"""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import REWARD_TERMS
from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.records import World
from podgym.envs.simulator.sojourn import SojournLaw, quantile

INFO_KEYS: dict[str, str] = {
    "time_s": "end of the interval, seconds since the episode began",
    "users": "closed users at the end of the interval; 0 for open workloads",
    "offered_rps": "external requests per second",
    "completed_rps": "external requests that their entry service completed, per second",
    "arrived": "requests arrived at all services",
    "completed": "requests completed",
    "rejected": "requests rejected: queue full, no endpoint, or a dead one",
    "timed_out": "requests that gave up waiting",
    "lost": "requests lost with their pod",
    "in_system": "requests in the system at the end",
    "response_time_mean_s": "mean response time of one external request over all its calls; 0 when none",
    "response_time_p50_s": "median",
    "response_time_p95_s": "95th percentile",
    "response_time_p99_s": "99th percentile",
    "slo_violation_ratio": "share of the requests of all services slower than their SLO or failed",
    "cost": "the same times seconds: the cost signal for constrained RL",
    "cpu_utilisation": "CPU used / requested",
    "memory_utilisation": "memory used / requested",
    "requested_cores": "mean cores requested by placed pods",
    "requested_gib": "mean GiB requested by placed pods",
    "replicas_wanted": "wanted replicas",
    "replicas_ready": "ready replicas",
    "replicas_pending": "pods that wait for a node",
    "throttled_ratio": "share of CFS periods throttled, mean of the services",
    "oom_kills": "pods killed over their memory limit",
    "restarts": "container restarts",
    "plan_replicas": "planned replicas",
    "plan_step": "planned minus wanted replicas",
    "reward": "the reward",
    **{f"term_{name}": unit for name, unit in REWARD_TERMS.items()},
}
"""Keys of ``info`` and their meaning; the same on every step."""

_COLUMN = {name: index for index, name in enumerate(INFO_KEYS)}
_TIME = _COLUMN["time_s"]
_USERS = _COLUMN["users"]
_OFFERED = _COLUMN["offered_rps"]
_COMPLETED_RATE = _COLUMN["completed_rps"]
_ARRIVED = _COLUMN["arrived"]
_COMPLETED = _COLUMN["completed"]
_REJECTED = _COLUMN["rejected"]
_TIMED_OUT = _COLUMN["timed_out"]
_LOST = _COLUMN["lost"]
_IN_SYSTEM = _COLUMN["in_system"]
_MEAN = _COLUMN["response_time_mean_s"]
_P50 = _COLUMN["response_time_p50_s"]
_P95 = _COLUMN["response_time_p95_s"]
_P99 = _COLUMN["response_time_p99_s"]
_SLO_VIOLATION_RATIO = _COLUMN["slo_violation_ratio"]
_COST = _COLUMN["cost"]
_CPU_UTILISATION = _COLUMN["cpu_utilisation"]
_MEMORY_UTILISATION = _COLUMN["memory_utilisation"]
_REQUESTED_CORES = _COLUMN["requested_cores"]
_REQUESTED_GIB = _COLUMN["requested_gib"]
_REPLICAS_WANTED = _COLUMN["replicas_wanted"]
_REPLICAS_READY = _COLUMN["replicas_ready"]
_REPLICAS_PENDING = _COLUMN["replicas_pending"]
_THROTTLED_RATIO = _COLUMN["throttled_ratio"]
_OOM_KILLS = _COLUMN["oom_kills"]
_RESTARTS = _COLUMN["restarts"]
_PLAN_REPLICAS = _COLUMN["plan_replicas"]
_PLAN_STEP = _COLUMN["plan_step"]
_FIRST_TERM = _COLUMN["term_slo_violation"]
_TERM_SLO_VIOLATION = _COLUMN["term_slo_violation"]
_TERM_CPU_COST = _COLUMN["term_cpu_cost"]
_TERM_MEMORY_COST = _COLUMN["term_memory_cost"]
_TERM_CHURN = _COLUMN["term_churn"]
_TERM_CPU_UTILISATION = _COLUMN["term_cpu_utilisation"]
_TERM_MEMORY_UTILISATION = _COLUMN["term_memory_utilisation"]
_TERM_RESPONSE_TIME = _COLUMN["term_response_time"]
_REWARD = _COLUMN["reward"]
_GIB = 1024.0**3


@kernel
def _response(world: World, visits: NDArray[np.float64], row: NDArray[np.float64], b: int) -> None:
    """Mean and percentiles of one external request: the sum over its calls, by its two moments."""
    mean = 0.0
    variance = 0.0
    shift = 0.0
    services = world.services.shape[1]
    for s in range(services):
        report = world.interval[b, s]
        if report.completed <= 1e-9:
            continue
        wait = report.wait_probability * report.wait_mean_s
        waits = report.wait_probability * (report.wait_mean_s**2 + report.wait_std_s**2)
        shift += visits[s] * report.service_shift_s
        mean += visits[s] * (report.service_mean_s + wait)
        variance += visits[s] * ((report.service_mean_s * report.service_cv) ** 2 + waits - wait * wait)
    row[_MEAN] = shift + mean
    if services == 1:
        report = world.interval[b, 0]
        if report.completed > 1e-9:
            row[_P50] = report.response_time_p50_s
            row[_P95] = report.response_time_p95_s
            row[_P99] = report.response_time_p99_s
    elif mean > 0.0:
        law = SojournLaw(shift, mean, math.sqrt(variance) / mean, 0.0, 0.0, 0.0)
        row[_P50] = quantile(0.50, law, row[_MEAN])
        row[_P95] = quantile(0.95, law, row[_P50] + 3.0 * mean)
        row[_P99] = quantile(0.99, law, row[_P95] + 1.6 * mean)


@kernel
def add_up(
    world: World,
    visits: NDArray[np.float64],
    plan: NDArray[np.float64],
    weights: NDArray[np.float64],
    totals: NDArray[np.float64],
    b: int,
) -> None:
    """Write the totals of one cluster into its row of (B, len(INFO_KEYS)).

    Args:
        world: the batch, just advanced.
        visits: (S,) calls of each service per external request.
        plan: (B, S, 3) planned replicas, CPU and memory requests.
        weights: (T,) weight of each reward term.
        totals: where to write.
        b: cluster.
    """
    row = totals[b]
    row[:] = 0.0
    for s in range(world.services.shape[1]):
        _add_requests(world, plan, row, b, s)
    _response(world, visits, row, b)
    _add_terms(world, row, b)
    for term in range(weights.shape[0]):
        row[_REWARD] += weights[term] * row[_FIRST_TERM + term]


@kernel
def _add_requests(world: World, plan: NDArray[np.float64], row: NDArray[np.float64], b: int, s: int) -> None:
    """Add the counts of one service."""
    report = world.interval[b, s]
    count = world.services.shape[1]
    if world.service_parameters[b, s].entry_share > 0.0:
        external = report.arrived if count == 1 else _entered(world, b, s)
        share = min(external / report.arrived, 1.0) if report.arrived > 0.0 else 1.0
        row[_OFFERED] += external / report.duration_s
        row[_COMPLETED_RATE] += share * report.completed / report.duration_s
    row[_ARRIVED] += report.arrived
    row[_COMPLETED] += report.completed
    row[_REJECTED] += report.rejected
    row[_TIMED_OUT] += report.timed_out
    row[_LOST] += report.lost
    row[_IN_SYSTEM] += report.in_system
    row[_REPLICAS_WANTED] += report.replicas_wanted
    row[_REPLICAS_READY] += report.replicas_ready
    row[_REPLICAS_PENDING] += report.replicas_pending
    row[_THROTTLED_RATIO] += report.throttled_ratio / count
    row[_OOM_KILLS] += report.oom_kills
    row[_RESTARTS] += report.restarts
    row[_PLAN_REPLICAS] += plan[b, s, 0]
    row[_PLAN_STEP] += plan[b, s, 0] - report.replicas_wanted


@kernel
def _add_terms(world: World, row: NDArray[np.float64], b: int) -> None:
    """Write ratios over all services and the raw reward terms."""
    cluster = world.clusters[b]
    duration = world.interval[b, 0].duration_s
    violations = 0.0
    used_cpu = 0.0
    requested_cpu = 0.0
    used_memory = 0.0
    requested_memory = 0.0
    churn = 0.0
    for s in range(world.services.shape[1]):
        report = world.interval[b, s]
        violations += report.slo_violations
        used_cpu += report.cpu_used_core_s
        requested_cpu += report.cpu_requested_core_s
        used_memory += report.memory_used_byte_s
        requested_memory += report.memory_requested_byte_s
        churn += abs(report.replica_change)
    ended = row[_COMPLETED] + row[_REJECTED] + row[_TIMED_OUT] + row[_LOST]
    ratio = min(violations / ended, 1.0) if ended > 1e-9 else 0.0
    row[_TIME] = cluster.time_s
    row[_USERS] = cluster.load if cluster.closed else 0.0
    row[_SLO_VIOLATION_RATIO] = ratio
    row[_COST] = ratio * duration
    row[_CPU_UTILISATION] = used_cpu / max(requested_cpu, 1e-12)
    row[_MEMORY_UTILISATION] = used_memory / max(requested_memory, 1e-12)
    row[_REQUESTED_CORES] = requested_cpu / duration
    row[_REQUESTED_GIB] = requested_memory / duration / _GIB
    row[_TERM_SLO_VIOLATION] = ratio * duration
    row[_TERM_CPU_COST] = requested_cpu
    row[_TERM_MEMORY_COST] = requested_memory / _GIB
    row[_TERM_CHURN] = churn
    row[_TERM_CPU_UTILISATION] = row[_CPU_UTILISATION] * duration
    row[_TERM_MEMORY_UTILISATION] = row[_MEMORY_UTILISATION] * duration
    row[_TERM_RESPONSE_TIME] = row[_MEAN] * duration


@kernel
def _entered(world: World, b: int, s: int) -> float:
    """Requests that entered at a service from outside: all that arrived, less the calls of others."""
    arrived = world.interval[b, s].arrived
    for edge in range(world.edge_from.shape[0]):
        if world.edge_to[edge] == s:
            arrived -= world.interval[b, world.edge_from[edge]].completed * world.edge_calls[edge]
    return max(arrived, 0.0)

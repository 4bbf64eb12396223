"""The memory of a batch of clusters: one record type per kind of thing, one array per type.

``World`` holds every array that the kernels read and write. The first axis is always the cluster; record
fields carry their unit in the name. Parameters (``*_parameters``) never change inside a step.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Phases of a pod slot.
EMPTY, PENDING, PULLING, STARTING, READY, TERMINATING, BACKOFF, UNREACHABLE = range(8)

NEVER = 1e300
SCRAPES_KEPT = 16

CLUSTER_PARAMETERS = np.dtype(
    [
        ("tick_s", "f8"),
        ("ticks", "i8"),  # per control interval
        ("think_time_s", "f8"),
        ("think_ratio", "f8"),  # tick / (think time + network)
        ("network_s", "f8"),  # base latency of one external request over all its calls
        ("rate_noise_sigma", "f8"),  # of the logarithm
        ("rate_noise_period_s", "f8"),
        ("scrape_interval_s", "f8"),
        ("scrape_delay_s", "f8"),
        ("window_s", "f8"),
        ("sample_loss_probability", "f8"),
        ("sampling_noise", "u1"),
        ("most_allocated", "u1"),
        ("score_sample", "f8"),
        ("max_pods", "i8"),
        ("detection_s", "f8"),
        ("eviction_s", "f8"),
        ("node_failures_per_hour", "f8"),
        ("node_failure_duration_s", "f8"),
    ],
    align=True,
)

SERVICE_PARAMETERS = np.dtype(
    [
        ("cpu_demand_core_s", "f8"),
        ("demand_cv", "f8"),
        ("kappa", "f8"),  # variation correction of the waiting part, see queueing.py
        ("processor_sharing", "u1"),
        ("pooled", "u1"),
        ("in_place", "u1"),
        ("base_latency_s", "f8"),
        ("concurrency_per_pod", "f8"),
        ("queue_limit_per_pod", "f8"),
        ("timeout_s", "f8"),
        ("idle_cpu_cores", "f8"),
        ("base_memory_bytes", "f8"),
        ("memory_per_request_bytes", "f8"),
        ("memory_keep", "f8"),  # factor by which held memory decays in a tick
        ("memory_growth_bytes_per_s", "f8"),
        ("image_pull_s", "f8"),
        ("start_up_s", "f8"),
        ("start_up_sigma", "f8"),  # of the logarithm
        ("start_up_cpu_cores", "f8"),
        ("probe_period_s", "f8"),
        ("warm_up_s", "f8"),
        ("warm_up_speed", "f8"),
        ("termination_s", "f8"),
        ("start_failure_probability", "f8"),
        ("restart_backoff_s", "f8"),
        ("restart_backoff_max_s", "f8"),
        ("in_place_resize_s", "f8"),
        ("max_surge", "f8"),
        ("max_unavailable", "f8"),
        ("slo_response_time_s", "f8"),
        ("entry_share", "f8"),  # sums to 1 over the services
    ],
    align=True,
)

CLUSTER = np.dtype(
    [
        ("time_s", "f8"),
        ("tick", "i8"),
        ("next_event_s", "f8"),
        ("next_node_change_s", "f8"),
        ("next_scrape_s", "f8"),
        ("next_noise_s", "f8"),
        ("noise", "f8"),
        ("contended", "u1"),  # whether the limits on some node exceed its cores
        ("pods_made", "i8"),
        ("profile_steps_per_s", "f8"),
        ("profile_length", "i8"),
        ("closed", "u1"),
        ("load", "f8"),  # users or external requests/s in the last tick
        ("day_sin", "f8"),
        ("day_cos", "f8"),
        ("week_sin", "f8"),
        ("week_cos", "f8"),
    ],
    align=True,
)

SERVICE = np.dtype(
    [
        # the queue
        ("in_system", "f8"),
        ("variance", "f8"),
        ("utilisation", "f8"),
        ("response_s", "f8"),  # mean time at this service, without what it calls
        ("under_way", "f8"),  # requests that wait for services they called
        ("downstream_s", "f8"),  # mean time that it waits for the services it calls
        ("held_requests", "f8"),  # smoothed requests whose memory is still held
        ("inflow_calls", "f8"),  # calls from other services in this tick
        ("speed", "f8"),  # share of its CPU that node contention leaves to it
        # what is wanted
        ("wanted", "i8"),
        ("revision", "i8"),
        ("replica_change", "f8"),  # by the decision for the coming interval
        ("cpu_request_cores", "f8"),
        ("cpu_limit_cores", "f8"),
        ("memory_request_bytes", "f8"),
        ("memory_limit_bytes", "f8"),
        # totals over the pods, renewed at every event
        ("slots", "i8"),  # all slots from here on are empty
        ("alive", "i8"),  # pods that exist and are not terminating
        ("ready", "i8"),
        ("pending", "i8"),
        ("starting", "i8"),
        ("next_timer_s", "f8"),
        ("dirty", "u1"),  # pods or wishes changed, so the totals must be renewed
        ("again", "u1"),  # pods vanished while reconciling, so the next tick must look again
        ("dead_endpoints", "i8"),  # pods on a failed node that still get traffic
        ("placed_cpu_cores", "f8"),  # requests of all pods that hold a place on a node
        ("placed_memory_bytes", "f8"),
        ("servers", "f8"),
        ("capacity_cores", "f8"),
        ("row", "f8"),  # of the delay table, for one queue
        ("queues", "f8"),  # 1 when pooled, else one per ready pod
        ("queue_share", "f8"),  # 1 / queues
        ("queue_servers", "f8"),
        ("rate_rps", "f8"),  # requests/s that all servers complete when busy
        ("service_time_s", "f8"),  # mean time of a request at a server
        ("wait_unit_s", "f8"),  # mean wait of those that wait is this / (1 - utilisation)
        ("concurrency", "f8"),  # requests that all ready pods work on at once
        ("room", "f8"),  # requests that they take in at most
        ("base_memory_bytes", "f8"),  # of all ready pods
        ("memory_limit_bytes_all", "f8"),  # smallest limit times ready pods
        ("ready_start_sum_s", "f8"),
        ("oldest_start_s", "f8"),
        ("least_memory_limit_bytes", "f8"),
        ("memory_exceeded", "u1"),
        # counters up to the beginning of the interval, as an exporter would count
        ("arrivals", "f8"),
        ("completions", "f8"),
        ("failures", "f8"),
        ("response_sum_s", "f8"),
        ("ready_s", "f8"),
        ("integrated_s", "f8"),  # up to when the integrals over pods are
        ("scraped_arrivals", "f8"),
        ("scraped_completions", "f8"),
        ("scraped_ready_s", "f8"),
        ("noisy_arrivals", "f8"),
        ("noisy_cpu_core_s", "f8"),
        ("memory_bytes", "f8"),
        ("scrapes", "i8"),
        # what the monitoring pipeline shows now
        ("seen_time_s", "f8"),
        ("seen_window_s", "f8"),
        ("seen_rate_rps", "f8"),
        ("seen_response_s", "f8"),
        ("seen_error_ratio", "f8"),
        ("seen_in_flight", "f8"),
        ("seen_cpu_cores", "f8"),  # per ready pod
        ("seen_memory_bytes", "f8"),  # per ready pod
    ],
    align=True,
)

# Kept small: a decision that moves many pods touches them all.
POD = np.dtype(
    [
        ("serial", "i4"),
        ("revision", "i4"),  # of the template, see pods.revision_of
        ("node", "i2"),
        ("restarts", "i2"),
        ("warm", "u1"),
        ("endpoint", "u1"),  # of an unreachable pod: see nodes.py
        ("start_s", "f8"),  # when the kubelet took the pod
        ("container_start_s", "f8"),  # when its container was last started
        ("ready_change_s", "f8"),
        ("resize_s", "f8"),
        ("oom_s", "f8"),  # when its container was last killed over its memory limit
        ("oom_ran_s", "f8"),  # how long that container had run
        ("cpu_request_milli", "i4"),
        ("cpu_limit_milli", "i4"),
        ("memory_request_bytes", "i8"),
        ("memory_limit_bytes", "i8"),
    ],
    align=True,
)

NODE = np.dtype(
    [
        ("cpu_milli", "i8"),
        ("memory_bytes", "i8"),
        ("used_cpu_milli", "i8"),
        ("used_memory_bytes", "i8"),
        ("pods", "i8"),
        ("up", "u1"),
        ("cpu_cores", "f8"),
        ("next_change_s", "f8"),
        ("outage_s", "f8"),
    ],
    align=True,
)

PLACEMENT = np.dtype(
    [
        ("image", "u1"),
        ("capacity_cores", "f8"),  # of the ready pods of one service on one node
        ("request_cores", "f8"),
    ],
    align=True,
)

SCRAPE = np.dtype(
    [
        ("time_s", "f8"),
        ("arrivals", "f8"),
        ("completions", "f8"),
        ("failures", "f8"),
        ("response_sum_s", "f8"),
        ("cpu_core_s", "f8"),
        ("ready_s", "f8"),
        ("ready", "f8"),
        ("memory_bytes", "f8"),
        ("in_flight", "f8"),
    ],
    align=True,
)

INTERVAL_COLUMNS = (
    "time_s", "duration_s", "users", "offered_rps",
    "arrived", "completed", "rejected", "timed_out", "lost", "in_system",
    "wait_probability", "wait_mean_s", "wait_std_s", "service_shift_s", "service_mean_s", "service_cv",
    "response_time_mean_s", "response_time_p50_s", "response_time_p95_s", "response_time_p99_s",
    "slo_violations",
    "cpu_used_core_s", "cpu_requested_core_s", "memory_used_byte_s", "memory_requested_byte_s",
    "replica_s", "ready_replica_s", "replicas_wanted", "replicas_ready", "replicas_pending",
    "throttled_ratio", "oom_kills", "restarts", "cpu_request_cores", "cpu_limit_cores",
    "memory_request_bytes",     "pods_created", "pods_removed", "replica_change",
)  # fmt: skip
"""Columns of the report of one control interval; docs/simulator.md says what each means."""

INTERVAL = np.dtype([(name, "f8") for name in INTERVAL_COLUMNS], align=True)

Records = NDArray[Any]
"""An array of records."""
Record: TypeAlias = Any
"""One record of such an array inside a kernel; its fields are attributes there."""


class Graph(NamedTuple):
    """The call graph: S services, E edges."""

    order: NDArray[np.int64]
    """(S,) services, callers before callees."""
    edge_from: NDArray[np.int64]
    """(E,) calling service."""
    edge_to: NDArray[np.int64]
    """(E,) called service."""
    edge_calls: NDArray[np.float64]
    """(E,) calls per completed request of the caller."""


class World(NamedTuple):
    """Every array of a batch: B clusters, S services, P pod slots, M nodes, E edges of the call graph."""

    table: NDArray[np.float64]
    """Delay table, see ``queueing.delay_table``."""
    order: NDArray[np.int64]
    """(S,) services, callers before callees."""
    edge_from: NDArray[np.int64]
    """(E,) calling service."""
    edge_to: NDArray[np.int64]
    """(E,) called service."""
    edge_calls: NDArray[np.float64]
    """(E,) calls per completed request of the caller."""
    cluster_parameters: Records
    """(B,)"""
    service_parameters: Records
    """(B, S)"""
    profile: NDArray[np.float64]
    """(B, n) users or requests/s at the samples of the load profile."""
    rng: NDArray[np.uint64]
    """(B, STREAMS, 4) random streams, see streams.py."""
    clusters: Records
    """(B,)"""
    services: Records
    """(B, S)"""
    phase: NDArray[np.int8]
    """(B, S, P) phase of each pod slot."""
    timer_s: NDArray[np.float64]
    """(B, S, P) when the pod's phase changes next."""
    pods: Records
    """(B, S, P)"""
    nodes: Records
    """(B, M)"""
    placements: Records
    """(B, M, S)"""
    scrapes: Records
    """(B, S, SCRAPES_KEPT) ring of the latest scrapes."""
    interval: Records
    """(B, S) report of the last control interval."""

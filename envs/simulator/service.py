"""One tick of one service: arrivals, queue, rejections, timeouts, memory.

The hot path of the simulator. It sees single records, never the batch.
"""

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.queueing import relax_variance, solve_utilisation, stationary_variance, table_row
from podgym.envs.simulator.records import Record

_FASTEST_DRAIN = 1e-9
_ENDLESS = 1e300
_QUICK = 20.0
_FEWEST_SERVERS = 1e-6


@kernel
def tick_service(
    table: NDArray[np.float64],
    cluster: Record,
    cluster_parameters: Record,
    service: Record,
    parameters: Record,
    report: Record,
    users_in_system: float,
) -> float:
    """One tick of one service: arrivals, queue, memory, integrals. Returns what it completed.

    Args:
        table: delay table.
        cluster: state record of the cluster.
        cluster_parameters: its parameters.
        service: state record of the service.
        parameters: its parameters.
        report: its report of the interval.
        users_in_system: closed users in the system at the beginning of the tick.
    """
    tick_s = cluster_parameters.tick_s
    share = parameters.entry_share
    arrivals = service.inflow_calls
    service.inflow_calls = 0.0
    think = 0.0
    users = 0.0
    if cluster.closed:
        think = share * cluster_parameters.think_ratio
        users = max(cluster.load - users_in_system + service.in_system, service.in_system)
    else:
        arrivals += share * cluster.load * tick_s
    completed = report.completed
    if service.ready == 0:
        _refuse_all(service, report, arrivals + think * (users - service.in_system))
    else:
        _serve(table, service, parameters, report, cluster.time_s, tick_s, arrivals, think, users)
        if service.memory_exceeded:
            cluster.next_event_s = cluster.time_s
    report.memory_used_byte_s += service.memory_bytes * tick_s
    result: float = report.completed - completed
    return result


@kernel
def _refuse_all(service: Record, report: Record, arrivals: float) -> None:
    """No pod is ready: new requests are rejected, and what was in the system is lost with its pods."""
    report.arrived += arrivals
    report.rejected += arrivals
    report.lost += service.in_system
    service.in_system = 0.0
    service.variance = 0.0
    service.utilisation = 0.0
    service.held_requests = 0.0
    service.under_way = 0.0
    service.response_s = 0.0
    service.memory_bytes = 0.0


@kernel
def _servers_now(service: Record, tick_s: float) -> tuple[float, float, float, float, float]:
    """What the servers can do in this tick.

    A request that waits for a service it called keeps its slot in this one, so slow callees take
    servers away (back-pressure). Counted at the end of the tick, with the calls that end in it.

    Returns:
        Servers of one queue, their row of the delay table, requests/s of all servers, mean time at a
        server, and the unit of the wait (see ``records.SERVICE``).
    """
    rate = service.rate_rps * service.speed
    service_time = service.service_time_s
    wait_unit = service.wait_unit_s
    if service.speed < 1.0:
        service_time /= service.speed
        wait_unit /= service.speed
    if service.downstream_s <= 0.0:
        return service.queue_servers, service.row, rate, service_time, wait_unit
    keep = service.downstream_s / (service.downstream_s + tick_s)
    per_server = rate / service.servers * tick_s
    free = (service.concurrency - service.under_way * keep) / (1.0 + per_server * keep)
    if free >= service.servers:
        return service.queue_servers, service.row, rate, service_time, wait_unit
    part = max(free / service.servers, _FEWEST_SERVERS)
    servers = service.queue_servers * part
    return servers, table_row(servers), rate * part, service_time, wait_unit / part


@kernel
def _serve(
    table: NDArray[np.float64],
    service: Record,
    parameters: Record,
    report: Record,
    now: float,
    tick_s: float,
    arrivals: float,
    think: float,
    users: float,
) -> None:
    """One tick of one service with at least one ready pod.

    Args:
        table: delay table.
        service: state record of the service.
        parameters: its parameters.
        report: its report of the interval.
        now: beginning of the tick.
        tick_s: length of the tick.
        arrivals: requests that arrive in the tick, apart from those of closed users.
        think: tick over think time of closed users who enter here, else 0.
        users: closed users who think or are in this system; only used with ``think``.
    """
    share = service.queue_share
    servers, row, rate, service_time, wait_unit = _servers_now(service, tick_s)
    refused = 0.0
    dead = 0.0  # share of the traffic that is sent to pods that are gone
    if service.dead_endpoints > 0:
        dead = service.dead_endpoints / (service.dead_endpoints + service.ready)
        refused = arrivals * dead
    entering = think * (1.0 - dead)
    inflow = service.in_system + arrivals - refused + entering * users
    capacity = rate * tick_s

    utilisation, delay = solve_utilisation(
        table, row, servers, parameters.kappa, capacity * share, inflow * share, entering,
        service.utilisation,
    )  # fmt: skip
    completed = min(capacity * utilisation, inflow)
    left = inflow - completed
    if think > 0.0:
        left /= 1.0 + entering
        if left > users:  # calls of other services alone fill the place: no user has time to send more
            entering = 0.0
            think = 0.0
            inflow = service.in_system + arrivals - refused
            completed = min(capacity * utilisation, inflow)
            left = inflow - completed
        from_users = think * (users - left)
        arrivals += from_users
        refused += dead * from_users

    free_share = 1.0 / (1.0 - utilisation)
    busy = min(service.queues * servers * utilisation, left)
    left, timed_out, rejected, longest_wait = _turn_away(service, parameters, left, busy, rate, tick_s)
    refused += rejected
    if longest_wait < _ENDLESS:  # a full queue is nearly always full: all wait about equally long
        service.variance = min(service.variance, left * share)
    stationary = stationary_variance(servers, utilisation, delay, free_share)
    spread = _renew_spread(service, stationary, arrivals * share, completed * share)
    if parameters.processor_sharing:
        _note_sharing(service, parameters, report, completed, utilisation, left, rate)
    else:
        wait = min(wait_unit * free_share, longest_wait)
        _note_waiting(service, parameters, report, completed, delay, wait, spread, service_time)

    service.in_system = left
    service.utilisation = utilisation
    report.arrived += arrivals
    report.completed += completed
    report.throttled_ratio += delay
    if refused > 0.0:
        report.rejected += refused
    if timed_out > 0.0:
        report.timed_out += timed_out
    _hold(service, parameters, left, completed, tick_s)
    _use_memory(service, parameters, now)


@kernel
def _renew_spread(service: Record, stationary: float, inflow: float, outflow: float) -> float:
    """Move the variance of the number in system; return its ratio to the stationary one, at most 1."""
    if outflow > _QUICK * stationary:  # many turn-overs of the queue in a tick: at its steady state
        service.variance = stationary
        return 1.0
    service.variance = relax_variance(service.variance, stationary, inflow, outflow)
    if service.variance >= stationary:
        return 1.0
    spread: float = service.variance / stationary
    return spread


@kernel
def _hold(service: Record, parameters: Record, left: float, completed: float, tick_s: float) -> None:
    """Renew the requests that wait for callees, and those whose memory is held."""
    if service.downstream_s > 0.0:
        waiting = service.under_way + completed
        service.under_way = waiting * service.downstream_s / (service.downstream_s + tick_s)
    # Requests beyond the concurrency wait in the socket and cost the pod no memory.
    admitted = min(left + service.under_way, service.concurrency)
    service.held_requests = max(admitted, service.held_requests * parameters.memory_keep)


@kernel
def _turn_away(
    service: Record,
    parameters: Record,
    left: float,
    busy: float,
    rate: float,
    tick_s: float,
) -> tuple[float, float, float, float]:
    """Let requests give up that wait too long, and reject those that find the queue full.

    A queue longer than the servers can work off within the timeout holds requests that will not be served
    in time; they leave at the rate at which their patience runs out.

    Returns:
        Requests left in the system, timed out, rejected, and the longest wait of one that is served.
    """
    timed_out = 0.0
    rejected = 0.0
    longest_wait = _ENDLESS
    doomed = left - busy - rate * parameters.timeout_s
    if doomed > 0.0:
        timed_out = doomed * tick_s / (parameters.timeout_s + tick_s)
        left -= timed_out
        longest_wait = parameters.timeout_s
    room = max(service.room - service.under_way, 0.0)
    if left > room:
        rejected = left - room
        left = room
        longest_wait = min(longest_wait, max(room - busy, 0.0) / rate)
    return left, timed_out, rejected, longest_wait


@kernel
def _note_waiting(
    service: Record,
    parameters: Record,
    report: Record,
    completed: float,
    delay: float,
    wait: float,
    spread: float,
    service_time: float,
) -> None:
    """First come first served: add the waits and service times of a tick to the sums of the interval.

    ``wait`` is the mean of those who wait, ``spread`` the squared variation of their waits.
    """
    waited = completed * delay
    report.wait_probability += waited
    report.wait_mean_s += waited * wait
    report.wait_std_s += waited * wait * wait * (1.0 + spread)
    report.service_mean_s += completed * service_time
    squared = 1.0 + parameters.demand_cv * parameters.demand_cv
    report.service_cv += completed * service_time * service_time * squared
    service.response_s = service_time + delay * wait


@kernel
def _note_sharing(
    service: Record,
    parameters: Record,
    report: Record,
    completed: float,
    utilisation: float,
    left: float,
    rate: float,
) -> None:
    """Processor sharing: all of the time is service.

    The variation is exact for M/M/1-PS and, for any work, at both ends of the utilisation:
    1 + cv_T^2 = (1 + cv^2) 2 / (2 - rho).
    """
    mean = left / max(rate * utilisation, _FASTEST_DRAIN)
    squared = (1.0 + parameters.demand_cv * parameters.demand_cv) * 2.0 / (2.0 - utilisation)
    report.service_mean_s += completed * mean
    report.service_cv += completed * mean * mean * squared
    service.response_s = mean


@kernel
def _use_memory(service: Record, parameters: Record, now: float) -> None:
    """Renew the working set of a service and see whether its worst pod is over its limit."""
    used = service.base_memory_bytes + parameters.memory_per_request_bytes * service.held_requests
    worst = used
    growth = parameters.memory_growth_bytes_per_s
    if growth > 0.0:
        worst += growth * service.ready * (now - service.oldest_start_s)
        used += growth * (service.ready * now - service.ready_start_sum_s)
    service.memory_bytes = used
    if worst > service.memory_limit_bytes_all:
        service.memory_exceeded = 1

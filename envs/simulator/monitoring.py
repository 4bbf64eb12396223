"""The monitoring pipeline inside the kernels: scrapes, their delay, and what can be seen of them.

Exporters count; a scrape copies the counters at a regular time; a query sees the newest scrape that has
arrived and the one a window earlier, and shows the difference. So what a controller knows is old by up
to interval + delay and smoothed over the window, as in a real cluster.
"""

import math

from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.events import integrate_pods
from podgym.envs.simulator.records import SCRAPES_KEPT, Record, World
from podgym.envs.simulator.streams import MONITORING, normal, uniform


@kernel
def _count_noisily(world: World, b: int, s: int) -> None:
    """Add what was counted since the last scrape to the measured counters, with Poisson scatter.

    The variance of a Poisson count is its mean; that of the CPU time of n requests with mean work d and
    variation v is n d^2 (1 + v^2). The scatter exists only in these measured counters.
    """
    service = world.services[b, s]
    parameters = world.service_parameters[b, s]
    report = world.interval[b, s]
    arrivals = service.arrivals + report.arrived - service.scraped_arrivals
    completions = service.completions + report.completed - service.scraped_completions
    ready_s = service.ready_s + report.ready_replica_s - service.scraped_ready_s
    service.scraped_arrivals += arrivals
    service.scraped_completions += completions
    service.scraped_ready_s += ready_s
    work = parameters.cpu_demand_core_s
    cpu = completions * work + ready_s * parameters.idle_cpu_cores
    if world.cluster_parameters[b].sampling_noise:
        spread = work * math.sqrt(completions * (1.0 + parameters.demand_cv * parameters.demand_cv))
        arrivals = max(arrivals + math.sqrt(arrivals) * normal(world.rng[b, MONITORING]), 0.0)
        cpu = max(cpu + spread * normal(world.rng[b, MONITORING]), 0.0)
    service.noisy_arrivals += arrivals
    service.noisy_cpu_core_s += cpu


@kernel
def _response_sum_s(service: Record, report: Record, base_latency_s: float) -> float:
    """Sum of the response times of all requests completed so far."""
    so_far = report.completed * base_latency_s + report.service_mean_s + report.wait_mean_s
    result: float = service.response_sum_s + so_far
    return result


@kernel
def scrape(world: World, b: int, now: float) -> None:
    """Scrape every service, except where the scrape is lost."""
    parameters = world.cluster_parameters[b]
    for s in range(world.services.shape[1]):
        chance = parameters.sample_loss_probability
        if chance > 0.0 and uniform(world.rng[b, MONITORING]) < chance:
            continue
        service = world.services[b, s]
        report = world.interval[b, s]
        physics = world.service_parameters[b, s]
        integrate_pods(service, physics, report, now)
        _count_noisily(world, b, s)
        sample = world.scrapes[b, s, service.scrapes % SCRAPES_KEPT]
        sample.time_s = now
        sample.arrivals = service.noisy_arrivals
        sample.completions = service.completions + report.completed
        sample.failures = service.failures + report.rejected + report.timed_out + report.lost
        sample.response_sum_s = _response_sum_s(service, report, physics.base_latency_s)
        sample.cpu_core_s = service.noisy_cpu_core_s
        sample.ready_s = service.ready_s + report.ready_replica_s
        sample.ready = service.ready
        sample.memory_bytes = service.memory_bytes
        sample.in_flight = service.in_system
        service.scrapes += 1
    world.clusters[b].next_scrape_s += parameters.scrape_interval_s


@kernel
def look(world: World, b: int, now: float) -> None:
    """Renew what can be seen of every service at this moment; without a new scrape it stays as it is."""
    parameters = world.cluster_parameters[b]
    for s in range(world.services.shape[1]):
        service = world.services[b, s]
        oldest = max(service.scrapes - SCRAPES_KEPT, 0)
        newest = service.scrapes - 1
        while newest >= oldest and (
            world.scrapes[b, s, newest % SCRAPES_KEPT].time_s + parameters.scrape_delay_s > now + 1e-9
        ):
            newest -= 1
        if newest <= oldest:
            continue
        last = world.scrapes[b, s, newest % SCRAPES_KEPT]
        before = newest - 1
        while before > oldest and (
            last.time_s - world.scrapes[b, s, before % SCRAPES_KEPT].time_s < parameters.window_s - 1e-9
        ):
            before -= 1
        first = world.scrapes[b, s, before % SCRAPES_KEPT]
        completions = last.completions - first.completions
        failures = last.failures - first.failures
        ready_s = last.ready_s - first.ready_s
        service.seen_time_s = last.time_s
        service.seen_window_s = last.time_s - first.time_s
        service.seen_rate_rps = (last.arrivals - first.arrivals) / service.seen_window_s
        service.seen_in_flight = last.in_flight
        service.seen_error_ratio = failures / max(completions + failures, 1e-12)
        service.seen_response_s = math.nan
        if completions > 0.0:
            service.seen_response_s = (last.response_sum_s - first.response_sum_s) / completions
        service.seen_cpu_cores = math.nan
        if ready_s > 0.0:
            service.seen_cpu_cores = (last.cpu_core_s - first.cpu_core_s) / ready_s
        service.seen_memory_bytes = math.nan
        if last.ready > 0.0:
            service.seen_memory_bytes = last.memory_bytes / last.ready

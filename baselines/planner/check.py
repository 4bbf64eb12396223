"""An independent check of plans: pod by pod and minute by minute, with the simulator's own kernels.

It shares no code with the search beyond the description of the problem, and is slow.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.performance import MINUTE_S, PEAK_DEVIATIONS
from podgym.baselines.planner.problem import Plan, PlanningProblem
from podgym.envs.simulator.parameters import MIB, ServiceConfig
from podgym.envs.simulator.pods import milli
from podgym.envs.simulator.queueing import delay_probability, delay_table, solve_utilisation, table_row
from podgym.envs.simulator.world import log_sigma, visits_per_request

_TOLERANCE = 0.005  # relative, of memory: closed users are solved for on a grid
_BISECTIONS = 80


@lru_cache(maxsize=1)
def _delays() -> NDArray[np.float64]:
    return delay_table()


class _Queue(NamedTuple):
    """One service with the pods of a plan."""

    queues: float
    servers: float
    rate_rps: float
    kappa: float

    def number(self, utilisation: float) -> float:
        """Mean requests in the queue and at the servers."""
        delay = delay_probability(_delays(), table_row(self.servers), utilisation)
        waiting = self.kappa * delay * utilisation / (1.0 - utilisation)
        return self.queues * (self.servers * utilisation + waiting)

    def after(self, inflow: float, step_s: float) -> float:
        """Utilisation after one implicit step."""
        share = 1.0 / self.queues
        capacity = self.rate_rps * step_s * share
        solved = solve_utilisation(
            _delays(), table_row(self.servers), self.servers, self.kappa, capacity, inflow * share, 0.0, 0.5
        )
        return float(solved[0])


def violations(problem: PlanningProblem, plan: Plan) -> tuple[str, ...]:
    """Return what is wrong with a plan, one sentence each; nothing for a feasible plan.

    Args:
        problem: what the plan is for.
        plan: the plan.
    """
    services = problem.model.config.services
    found = []
    if (
        not len(plan.replicas)
        == len(plan.cpu_request_cores)
        == len(plan.memory_request_bytes)
        == len(services)
    ):
        return (f"the plan has {len(plan.replicas)} services, the cluster {len(services)}.",)
    for s, service in enumerate(services):
        count = plan.replicas[s]
        if count != int(count) or not service.min_replicas <= count <= service.max_replicas:
            found.append(f"{service.name}: {count!r} replicas are not within its bounds.")
        if plan.cpu_request_cores[s] not in service.cpu_levels_cores:
            found.append(f"{service.name}: {plan.cpu_request_cores[s]!r} cores is none of its levels.")
        if plan.memory_request_bytes[s] not in service.memory_levels_bytes:
            found.append(f"{service.name}: {plan.memory_request_bytes[s]!r} bytes is none of its levels.")
    if not found and not _fits(problem, plan):
        found.append("the pods do not fit the nodes.")
    return tuple(found) if found else _memory_violations(problem, plan)


def _fits(problem: PlanningProblem, plan: Plan) -> bool:
    """Whether first fit finds a place for every pod, in any of a few orders."""
    pods = [
        (milli(plan.cpu_request_cores[s]), math.ceil(plan.memory_request_bytes[s]))
        for s, count in enumerate(plan.replicas)
        for _ in range(count)
    ]
    nodes = problem.model.config.nodes
    cores, memory = nodes.allocatable_cpu_cores * 1000 + 1e-6, nodes.allocatable_memory_bytes
    orders = (
        sorted(pods, key=lambda pod: -max(pod[0] / cores, pod[1] / memory)),
        sorted(pods, key=lambda pod: (-pod[0], -pod[1])),
        sorted(pods, key=lambda pod: (-pod[1], -pod[0])),
        sorted(pods, key=lambda pod: -(pod[0] / cores + pod[1] / memory)),
    )
    return any(_first_fit(order, cores, memory, nodes.count, nodes.max_pods) for order in orders)


def _first_fit(
    pods: Sequence[tuple[int, int]], cores_milli: float, memory_bytes: float, count: int, most: int
) -> bool:
    used = [[0, 0, 0] for _ in range(count)]
    for cpu, memory in pods:
        for node in used:
            if node[0] + cpu <= cores_milli and node[1] + memory <= memory_bytes and node[2] < most:
                node[0] += cpu
                node[1] += memory
                node[2] += 1
                break
        else:
            return False
    return True


def _memory_violations(problem: PlanningProblem, plan: Plan) -> tuple[str, ...]:
    found = []
    needs = pod_memory_bytes(problem, plan)
    for s, service in enumerate(problem.model.config.services):
        ratio = service.memory_limit_ratio if problem.model.memory_bound == "limit" else 1.0
        room = plan.memory_request_bytes[s] * ratio
        if needs[s] > room * (1.0 + _TOLERANCE):
            found.append(
                f"{service.name}: a pod needs {needs[s] / MIB:.0f} MiB, its {problem.model.memory_bound} is "
                f"{room / MIB:.0f} MiB."
            )
    return tuple(found)


def pod_memory_bytes(problem: PlanningProblem, plan: Plan) -> tuple[float, ...]:
    """Return the most memory that a pod of each service will use, (S,) bytes."""
    config = problem.model.config
    worst = [0.0] * len(config.services)
    for numbers, arrivals, response_s in _peaks(problem, plan):
        downstream_s = [0.0] * len(config.services)
        names = [service.name for service in config.services]
        for s in reversed(config.call_order()):
            for callee, calls in config.services[s].calls.items():
                k = names.index(callee)
                downstream_s[s] += calls * (response_s[k] + downstream_s[k])
        for s, service in enumerate(config.services):
            held = (numbers[s] + arrivals[s] * downstream_s[s]) / plan.replicas[s]
            worst[s] = max(worst[s], min(held, service.parameters.concurrency_per_pod))
    return tuple(
        service.parameters.base_memory_bytes + service.parameters.memory_per_request_bytes * worst[s]
        for s, service in enumerate(config.services)
    )


def _queue(service: ServiceConfig, replicas: int, cpu_request_cores: float) -> _Queue:
    physics = service.parameters
    limit = 0.001 * milli(cpu_request_cores * service.cpu_limit_ratio)
    servers = min(max(limit, 1.0), physics.concurrency_per_pod)
    pooled = physics.load_balancing == "pooled"
    return _Queue(
        queues=1.0 if pooled else float(replicas),
        servers=servers * replicas if pooled else servers,
        rate_rps=replicas * min(limit, servers) / physics.cpu_demand_core_s,
        kappa=0.5 * (1.0 + physics.demand_cv**2) if physics.discipline == "fcfs" else 1.0,
    )


def _peaks(problem: PlanningProblem, plan: Plan) -> Iterator[tuple[list[float], list[float], list[float]]]:
    """Yield per minute, at the highest disturbance: requests in each queue, requests/s, response times."""
    config = problem.model.config
    queues = [
        _queue(service, plan.replicas[s], plan.cpu_request_cores[s])
        for s, service in enumerate(config.services)
    ]
    sigma = log_sigma(config.load.rate_noise_cv)
    peak = math.exp(PEAK_DEVIATIONS * sigma - 0.5 * sigma * sigma)
    visits = visits_per_request(config).tolist()
    base_s = [service.parameters.base_latency_s for service in config.services]
    think_s = max(config.load.think_time_s + float(np.dot(visits, base_s)), 1e-3)
    period_s = min(config.load.rate_noise_period_s, MINUTE_S)
    backlogs = [0.0] * len(queues)
    for rate in problem.rates.tolist():
        if problem.kind == "closed":
            throughput = _throughput(queues, visits, think_s, rate * peak)
            arrivals = served = [throughput * each for each in visits]
            numbers = [queue.number(served[s] / queue.rate_rps) for s, queue in enumerate(queues)]
        else:
            arrivals = [rate * peak * each for each in visits]
            numbers, served = [0.0] * len(queues), [0.0] * len(queues)
            for s, queue in enumerate(queues):
                inflow = backlogs[s] + rate * visits[s] * MINUTE_S
                backlogs[s] = queue.number(queue.after(inflow, MINUTE_S))
                utilisation = queue.after(backlogs[s] + arrivals[s] * period_s, period_s)
                numbers[s], served[s] = queue.number(utilisation), queue.rate_rps * utilisation
        times_s = [numbers[s] / served[s] if served[s] > 0.0 else 0.0 for s in range(len(queues))]
        yield numbers, arrivals, [base + time for base, time in zip(base_s, times_s, strict=True)]


def _throughput(queues: list[_Queue], visits: list[float], think_s: float, users: float) -> float:
    """Solve ``users = throughput * think + requests in all queues`` by bisection."""
    low = 0.0
    high = min(queue.rate_rps / each for queue, each in zip(queues, visits, strict=True) if each > 0.0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        waiting = sum(
            queue.number(min(middle * each / queue.rate_rps, 1.0 - 1e-12))
            for queue, each in zip(queues, visits, strict=True)
        )
        if middle * think_s + waiting > users:
            high = middle
        else:
            low = middle
    return low

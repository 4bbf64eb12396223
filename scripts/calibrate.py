"""Fit the simulator's constants to the paper's testbed under Kubernetes' default scaling.

Usage: ``python scripts/calibrate.py [--json]``; ``--shipped`` only compares the constants that podgym ships.
A run takes a minute or two on one core and gives the same numbers every time.

The paper's default is an HPA on CPU with a VPA on memory; here it is the HPA on CPU (80 %, Kubernetes'
default) alone, with fixed quotas. Targets are three scenarios times four measures. The search is staged,
because most constants enter linearly once the course of an episode is known:

1. The course depends on the CPU demand and on the delay outside the pods (think time + base latency). Both
   are searched on a grid; the objective is the sum of squares of the relative errors.
2. The base latency adds to the response time, so it is a linear least squares problem with one unknown; the
   think time is the rest of the delay.
3. Memory used = base x ready pod-seconds + memory per request x request-seconds: linear, two unknowns.

``docs/calibration.md`` has the result, what it rests on, and what cannot be matched.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from podgym.baselines import make_controller
from podgym.envs import scenarios
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.simulator.parameters import MIB, LoadParameters, ServiceConfig, ServiceParameters
from podgym.envs.workloads import make_workload
from podgym.envs.workloads.scenarios import ScenarioWorkload
from podgym.eval.episode import EpisodeRecord
from podgym.eval.measures import BUSIEST_SHARE, busiest, mean_and_spread, measure
from podgym.eval.runner import run_episode

Floats = NDArray[np.float64]

SCENARIOS = {"higher": scenarios.high_load, "burst": scenarios.burst, "lower": scenarios.low_load}
"""The paper's scenarios: our environments."""
MEASURES = {
    "response_time_mean_s": ("response time, ms", 1000.0),
    "cpu_utilisation": ("CPU utilisation, %", 100.0),
    "memory_utilisation": ("memory utilisation, %", 100.0),
    "throughput_busiest_rps": ("throughput, requests/s", 1.0),
}
"""The four measures, by their names in ``podgym.eval.measures``: title in the paper's unit, and factor."""
PAPER: Mapping[str, tuple[float, ...]] = {
    "higher": (180.76, 73.81, 66.45, 526.38),
    "burst": (279.43, 73.34, 70.16, 578.24),
    "lower": (134.78, 68.32, 62.57, 172.54),
}
"""The paper's rows of Kubernetes' default scaling, in the order and units of ``MEASURES``."""
TARGETS: Floats = np.array(list(PAPER.values())) / [factor for _, factor in MEASURES.values()]
"""(scenarios, measures) The same in the units of ``podgym.eval.measures``."""

CPU_TARGET_PERCENT = 80
"""Kubernetes' default target of the HPA."""
BURST_RATE_RPS, LEAST_RATE_RPS = 1000.0, 50.0
"""Highest and lowest request rate that the paper names: the burst, and the start of the lower load."""
USER_CYCLES_S = (1.5, 1.55, 1.6, 1000.0 / 600.0)
"""Response plus think time of a user who is served at once: from 1500 users making 1000 requests/s to 1000
users making 600, both in the paper."""
DEMAND_STEP_S = 0.0002
"""Grid of the CPU demand."""
SMOOTHING_S = 0.0008
"""Half width of the window over which the objective is averaged: whole pods make it jump by as much as it
differs across the grid, and a lucky number of pods is no evidence."""
FIT_SEED, CHECK_SEED = 0, 1000
"""First seeds of the episodes fitted to and of those that the result is judged by."""


@dataclass(frozen=True, slots=True)
class Constants:
    """What is fitted, and the replicas that follow from it."""

    cpu_demand_core_s: float
    base_latency_s: float
    think_time_s: float
    base_memory_bytes: float
    memory_per_request_bytes: float
    initial_replicas: tuple[int, ...]
    """One per scenario: what the HPA wants at the scenario's first load."""


CONTINUOUS = tuple(item.name for item in fields(Constants) if item.name != "initial_replicas")


@dataclass(frozen=True, slots=True)
class Fit:
    """One point of the grid with the best of everything that enters linearly."""

    constants: Constants
    user_cycle_s: float
    objective: float
    """Sum of squares of the twelve relative errors."""


def shipped() -> Constants:
    """Return the constants that podgym ships."""
    physics, load = ServiceParameters(), LoadParameters()
    return Constants(
        physics.cpu_demand_core_s,
        physics.base_latency_s,
        load.think_time_s,
        physics.base_memory_bytes,
        physics.memory_per_request_bytes,
        tuple(make().cluster.services[0].initial_replicas for make in SCENARIOS.values()),
    )


def configuration(scenario: str, constants: Constants) -> EnvConfig:
    """Return the environment of a scenario with these constants."""
    values = asdict(constants)
    replicas = values.pop("initial_replicas")[list(SCENARIOS).index(scenario)]
    load = {"think_time_s": values.pop("think_time_s")}
    service = {"initial_replicas": replicas, "parameters": values}
    return override(SCENARIOS[scenario](), {"cluster": {"load": load, "services": {"web": service}}})


def run(scenario: str, constants: Constants, seeds: Sequence[int]) -> list[EpisodeRecord]:
    """Run the HPA through some episodes of a scenario."""
    env = AutoscaleEnv(configuration(scenario, constants))
    controller = make_controller("hpa", cpu_target_percent=CPU_TARGET_PERCENT)
    return [run_episode(env, controller, seed, environment=scenario) for seed in seeds]


def relative_errors(constants: Constants, seeds: Sequence[int]) -> Floats:
    """Return simulator / paper - 1, means over the seeds, (scenarios, measures)."""
    episodes = [[measure(record) for record in run(scenario, constants, seeds)] for scenario in SCENARIOS]
    means = [[np.mean([each[name] for each in measured]) for name in MEASURES] for measured in episodes]
    return np.asarray(np.array(means) / TARGETS - 1.0)


def demand_bounds_s(service: ServiceConfig) -> tuple[float, float]:
    """Return the least and greatest CPU demand that the paper's account of its experiment allows.

    Above: the pods that the testbed holds, used as the HPA wants them, must be able to serve the burst.
    Below: the least load must use a single pod as much as the paper says of the lower scenario.
    """
    most_cores = service.max_replicas * service.cpu_request_cores * CPU_TARGET_PERCENT / 100.0
    least_cores = service.cpu_request_cores * float(TARGETS[-1, 1])
    return least_cores / LEAST_RATE_RPS, most_cores / BURST_RATE_RPS


def workload_of(scenario: str) -> ScenarioWorkload:
    """Return the course of users of a scenario."""
    return cast(ScenarioWorkload, make_workload(SCENARIOS[scenario]().workload))


def first_replicas(demand_s: float, user_cycle_s: float) -> tuple[int, ...]:
    """Return the replicas that the HPA wants at the first load of each scenario."""
    pod_cores = ServiceConfig().cpu_request_cores * CPU_TARGET_PERCENT / 100.0
    rates_rps = [workload_of(scenario).knot_users[0] / user_cycle_s for scenario in SCENARIOS]
    return tuple(max(math.ceil(rate * demand_s / pod_cores), 1) for rate in rates_rps)


def fit_at(demand_s: float, user_cycle_s: float, seeds: Sequence[int]) -> Fit:
    """Return the best constants for one CPU demand and one cycle of an unhindered user.

    The episodes are run with no base latency and one byte of memory per request, so that their response
    time is that of the pods alone and their memory counts request-seconds.
    """
    pod_s = demand_s / min(ServiceConfig().quota.cpu_limit_cores, 1.0)  # of an unhindered request
    delay_s = user_cycle_s - pod_s
    bare = Constants(demand_s, 0.0, delay_s, 0.0, 1.0, first_replicas(demand_s, user_cycle_s))
    rows = [_row(run(scenario, bare, seeds)) for scenario in SCENARIOS]
    in_pods_s, cpu, throughput_rps, ready, requests = np.array(rows).T  # each (scenarios,)
    targets = TARGETS.T
    latency = lsq_linear(1.0 / targets[:1].T, 1.0 - in_pods_s / targets[0], bounds=(0.0, delay_s))
    base_latency_s = float(latency.x[0])
    matrix = MIB * np.stack([ready, requests], axis=1)  # utilisation per MiB: numbers near 1 for the solver
    base, per_request = MIB * lsq_linear(matrix / targets[2][:, None], np.ones(3), bounds=(0.0, np.inf)).x
    memory = base * ready + per_request * requests
    errors = np.array([base_latency_s + in_pods_s, cpu, memory, throughput_rps]) / targets - 1.0
    constants = replace(
        bare,
        base_latency_s=base_latency_s,
        think_time_s=delay_s - base_latency_s,
        base_memory_bytes=float(base),
        memory_per_request_bytes=float(per_request),
    )
    return Fit(constants, user_cycle_s, float((errors**2).sum()))


def _row(records: Sequence[EpisodeRecord]) -> Floats:
    """Time in pods (s), CPU utilisation, throughput, and memory utilisation per byte of base and request."""
    rows = []
    for record in records:
        values = measure(record)
        requested = record.columns["memory_requested_byte_s"].sum()
        ready = record.columns["ready_replica_s"].sum() / requested
        pods = [values[name] for name in MEASURES if name != "memory_utilisation"]
        rows.append([*pods, ready, values["memory_utilisation"]])
    return np.asarray(np.mean(rows, axis=0))


def search(seeds: Sequence[int]) -> list[Fit]:
    """Return the fits of the whole grid, demands ascending within each user cycle."""
    low_s, high_s = demand_bounds_s(ServiceConfig())
    first, last = math.ceil(low_s / DEMAND_STEP_S), math.floor(high_s / DEMAND_STEP_S + 1e-9)
    demands_s = DEMAND_STEP_S * np.arange(first, last + 1)
    points = [(cycle_s, demand_s) for cycle_s in USER_CYCLES_S for demand_s in demands_s]
    fits = []
    for done, (cycle_s, demand_s) in enumerate(points):
        _tell(f"fitting {done}/{len(points)}")
        fits.append(fit_at(float(demand_s), cycle_s, seeds))
    return fits


def smoothed(fits: Sequence[Fit]) -> Floats:
    """Return the objective of each fit, averaged over fits of the same cycle and nearly the same demand."""
    demands_s = np.array([fit.constants.cpu_demand_core_s for fit in fits])
    cycles_s = np.array([fit.user_cycle_s for fit in fits])
    objectives = np.array([fit.objective for fit in fits])
    near = (cycles_s[:, None] == cycles_s) & (np.abs(demands_s[:, None] - demands_s) <= SMOOTHING_S + 1e-9)
    return np.asarray((near * objectives).sum(axis=1) / near.sum(axis=1))


def rounded(constants: Constants, user_cycle_s: float) -> Constants:
    """Round to two digits, think time and base memory to three, and renew the replicas."""

    def digits(value: float, count: int = 2) -> float:
        return float(f"{value:.{count}g}")

    demand_s = digits(constants.cpu_demand_core_s)
    return Constants(
        demand_s,
        digits(constants.base_latency_s),
        digits(constants.think_time_s, 3),
        digits(constants.base_memory_bytes / MIB, 3) * MIB,
        digits(constants.memory_per_request_bytes / MIB) * MIB,
        first_replicas(demand_s, user_cycle_s),
    )


def compare(constants: Constants, seeds: Sequence[int]) -> dict[str, Any]:
    """Return, by scenario, the four measures beside the paper's, and what other definitions would give."""
    report: dict[str, Any] = {}
    for scenario, targets in PAPER.items():
        _tell(f"checking {scenario}")
        records = run(scenario, constants, seeds)
        measured = [measure(record) for record in records]
        rows = {}
        for (name, (_, factor)), paper in zip(MEASURES.items(), targets, strict=True):
            mean, spread = (factor * x for x in mean_and_spread(each[name] for each in measured))
            error = mean / paper - 1.0
            rows[name] = {"paper": paper, "mean": mean, "spread": spread, "relative_error": error}
        others = [_other_definitions(*pair) for pair in zip(records, measured, strict=True)]
        report[scenario] = {
            "targets": rows,
            "other_definitions": {key: float(np.mean([each[key] for each in others])) for key in others[0]},
            "users": _users(scenario, constants),
        }
    return report


def _other_definitions(record: EpisodeRecord, measured: Mapping[str, float]) -> dict[str, float]:
    """The same measures over the busiest phase, over time instead of requests, and what went wrong."""
    columns = {name: values[:, 0] for name, values in record.columns.items()}
    busy = {name: values[busiest(record)] for name, values in columns.items()}
    response_s = busy["response_time_mean_s"] @ busy["completed"] / busy["completed"].sum()
    cpu = busy["cpu_used_core_s"].sum() / busy["cpu_requested_core_s"].sum()
    memory = busy["memory_used_byte_s"].sum() / busy["memory_requested_byte_s"].sum()
    return {
        "response_time_over_time_s": float(np.nanmean(columns["response_time_mean_s"])),
        "response_time_busiest_s": float(response_s),
        "cpu_utilisation_busiest": float(cpu),
        "memory_utilisation_busiest": float(memory),
        "throughput_whole_rps": measured["throughput_rps"],
        "error_ratio": measured["error_ratio"],
        "oom_kills": measured["oom_kills"],
        "most_replicas": float(columns["replicas_wanted"].max()),
    }


def _users(scenario: str, constants: Constants) -> dict[str, float]:
    """Users that the paper's throughput and response time imply by N = X (R + Z), and the scenario's."""
    workload = workload_of(scenario)
    users = np.interp(np.arange(0.0, workload.duration_s, 1.0), workload.knot_times_s, workload.knot_users)
    response_s, _, _, throughput_rps = TARGETS[list(SCENARIOS).index(scenario)]
    return {
        "users_implied": float(throughput_rps * (response_s + constants.think_time_s)),
        "users_whole": float(users.mean()),
        "users_busiest": float(users[users >= BUSIEST_SHARE * users.max()].mean()),
    }


def sensitivity(constants: Constants, seeds: Sequence[int], change: float = 0.1) -> dict[str, list[float]]:
    """Return the elasticity of the twelve measures to each constant: per cent of change per per cent.

    Central differences over 10 %, which bridges most of the jumps that whole pods make.
    """
    result = {}
    for name in CONTINUOUS:
        value = getattr(constants, name)
        _tell(f"sensitivity to {name}")
        low, high = (
            np.log1p(relative_errors(replace(constants, **{name: value * factor}), seeds).ravel())
            for factor in (1.0 - change, 1.0 + change)
        )
        result[name] = ((high - low) / math.log((1.0 + change) / (1.0 - change))).tolist()
    return result


def _tell(message: str) -> None:
    """Show what is being done, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{message}", end="", file=sys.stderr, flush=True)


def _write_text(document: Mapping[str, Any]) -> None:
    for cycle_s in USER_CYCLES_S if "fitted" in document else ():
        points = [each for each in document["user_cycle_s_demand_s_objective"] if each[0] == cycle_s]
        print(f"objective at {cycle_s:.3f} s: " + " ".join(f"{1e3 * d:.1f}ms:{x:.3f}" for _, d, x in points))
    print(f"best fit: {document.get('fitted', 'not searched')}\nconstants: {document['constants']}\n")
    print("| scenario | measure | paper | simulator | error |\n|---|---|---:|---:|---:|")
    for scenario, report in document["comparison"].items():
        for name, row in report["targets"].items():
            text = f"{row['mean']:.2f} ± {row['spread']:.2f} | {100.0 * row['relative_error']:+.1f} %"
            print(f"| {scenario} | {MEASURES[name][0]} | {row['paper']} | {text} |")
    for scenario, report in document["comparison"].items():
        print(f"\n{scenario}, other definitions:")
        for name, value in {**report["other_definitions"], **report["users"]}.items():
            print(f"  {name:28} {value:.4g}")
    for name, values in document.get("sensitivity", {}).items():
        print(f"\nelasticity to {name}: {', '.join(f'{value:+.2f}' for value in values)}")
    if "singular_values" in document:
        print(f"\nsingular values: {', '.join(f'{value:.2f}' for value in document['singular_values'])}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Fit the simulator's constants to the paper's rows of Kubernetes' default scaling.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--episodes", type=int, default=4, help="episodes to fit to, per scenario")
    parser.add_argument("--check", type=int, default=20, help="other episodes, to judge the result by")
    parser.add_argument("--shipped", action="store_true", help="fit nothing; compare the shipped constants")
    parser.add_argument("--json", action="store_true", help="write everything as JSON to standard output")
    arguments = parser.parse_args(argv)
    if min(arguments.episodes, arguments.check) < 1:
        parser.error("--episodes and --check must be 1 or more")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, round, compare and write the report."""
    arguments = _arguments(argv)
    document: dict[str, Any] = {}
    constants = shipped()
    if not arguments.shipped:
        fits = search(range(FIT_SEED, FIT_SEED + arguments.episodes))
        objectives = smoothed(fits)
        best = fits[int(np.argmin(objectives))]
        grid = [(fit.user_cycle_s, fit.constants.cpu_demand_core_s) for fit in fits]
        profile = [(*at, value) for at, value in zip(grid, objectives.tolist(), strict=True)]
        document = {"fitted": asdict(best), "user_cycle_s_demand_s_objective": profile}
        constants = rounded(best.constants, best.user_cycle_s)
    seeds = range(CHECK_SEED, CHECK_SEED + arguments.check)
    document["constants"] = asdict(constants)
    document["comparison"] = compare(constants, seeds)
    if not arguments.shipped:
        document["sensitivity"] = sensitivity(constants, seeds)
        matrix = np.array(list(document["sensitivity"].values()))
        document["singular_values"] = np.linalg.svd(matrix, compute_uv=False).tolist()
    _tell("")
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        _write_text(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``podgym plan``: one run of the genetic algorithm, or the plans of a whole load."""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podgym.baselines.planner import GaPlanner, Objective, PlanningRun
    from podgym.cli.settings import Target
    from podgym.envs.workloads.profile import LoadProfile

NAME = "plan"
HELP = "plan replicas and quotas with the genetic algorithm, and show how it got there"

_FRONT_ROWS = 12

_EPILOG = """\
examples:
  the plan for the minutes from 10:00 into an episode of the higher load, in the form of the paper's Table 2:
    podgym plan --env podgym/HighLoad-v0 --minute 10

  with a figure of the convergence, and plans that trade SLO violations against cost:
    podgym plan --env podgym/Burst-v0 --minute 5 --pareto --output results/plan

  all plans of the week, one per five minutes, kept on disk for whoever needs them:
    podgym plan --workload alibaba2018 --all --processes 2

The forecast is that of the LSTM that comes with the package for the load; --forecaster names another. A plan
is always feasible: bounds, node capacity and memory hold, or it is an error. Exit status: 0, or 2 for bad
input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    where = parser.add_argument_group("what to plan for (one of the first two)")
    where.add_argument("--env", metavar="ID", help="an environment; `podgym envs` lists them")
    where.add_argument("--workload", metavar="NAME|FILE", help="a workload on the cluster of podgym/Trace-v0")
    where.add_argument("--part", metavar="PART", help="part of the trace: train, dev, test or all")
    where.add_argument("--seed", metavar="S", type=int, default=0, help="seed of the episode (default: 0)")
    where.add_argument(
        "--minute", metavar="M", type=int, default=0, help="when to plan, minutes into it (default: 0)"
    )
    where.add_argument(
        "--all", action="store_true", help="make all plans of the episode instead, one per five minutes"
    )
    where.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change the configuration, for example cluster.nodes.count=2; may be repeated",
    )  # fmt: skip
    how = parser.add_argument_group("how to plan")
    how.add_argument(
        "--objective", metavar="NAME", default="paper",
        help="paper: alpha U_cpu + beta U_mem - gamma R (default); slo_cost: SLO violations, cost and churn",
    )  # fmt: skip
    how.add_argument("--gamma", metavar="G", type=float, help="weight of the response time, 1/s (default: 1)")
    how.add_argument(
        "--forecaster", metavar="FILE",
        help="shipped (default), naive: the last load, oracle: the true future, or a file of "
        "`podgym forecast train`",
    )  # fmt: skip
    how.add_argument(
        "--rate", choices=("mean", "upper"), default="mean", help="end of the forecast to plan for"
    )
    how.add_argument("--headroom", metavar="H", type=float, default=0.0, help="share of load beyond it")
    how.add_argument("--ga-seed", metavar="S", type=int, default=0, help="seed of the algorithm (default: 0)")
    how.add_argument("--pareto", action="store_true", help="also show the Pareto front that NSGA-II finds")
    how.add_argument(
        "--processes", metavar="P", type=int, default=os.cpu_count() or 1,
        help="plans to make at a time; the plans do not depend on it (default: one per core)",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument("--output", metavar="DIR", help="write plan.json and a figure of the convergence")
    out.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Plan and show it.

    Raises:
        InputError: bad arguments, or no feasible plan.
    """
    from podgym.cli.settings import make_target
    from podgym.files import to_json, usable_folder, write_json

    folder = None if args.output is None else usable_folder(args.output)
    target = make_target(environment=args.env, workload=args.workload, part=args.part, changes=args.changes)
    target.env.reset(seed=args.seed)
    profile = target.env.profile
    if profile is None:
        raise RuntimeError("the environment has no load after its reset.")
    show = _all_plans if args.all else _one_plan
    document, lines = show(args, target, profile, folder)
    print(to_json(document) if args.json else "\n".join(lines))
    if folder is not None:
        written = write_json(folder / "plan.json", document)
        if not args.json:
            print(f"wrote {written}")
    return 0


def _planner(
    args: argparse.Namespace, target: "Target", on_done: Callable[[int, int], None] | None = None
) -> "GaPlanner":
    from podgym.baselines.planner import GaPlanner, GaSettings, objective
    from podgym.eval.forecast_choice import SHIPPED, forecaster_file, open_forecaster

    changes = {} if args.gamma is None else {"gamma": args.gamma}
    file = forecaster_file(args.forecaster or SHIPPED, target.config.workload)
    return GaPlanner(
        objective=objective(args.objective, **changes),
        settings=GaSettings(seed=args.ga_seed),
        forecaster=None if file is None else open_forecaster(file),
        rate=args.rate,
        headroom=args.headroom,
        processes=args.processes,
        on_done=on_done,
    )


def _one_plan(
    args: argparse.Namespace, target: "Target", profile: "LoadProfile", folder: Path | None
) -> tuple[dict[str, Any], list[str]]:
    from podgym.baselines.planner import convergence_figure, table_2
    from podgym.envs.protocols import PLAN_PERIOD_S

    planner = _planner(args, target)
    known = planner.known_rates(profile, target.duration_s)  # (num_plans, minutes) users or requests/s
    period_min = PLAN_PERIOD_S / 60.0
    if not 0 <= args.minute < period_min * len(known):
        raise InputError(f"--minute is {args.minute}; it must be 0 to {period_min * len(known) - 1:g}.")
    rates = known[int(args.minute // period_min)]
    run = planner.plan_once(target.config.cluster, rates, profile.kind)
    table = table_2(run)
    unit = "users" if profile.kind == "closed" else "requests/s"
    minute = args.minute // period_min * period_min
    load = ", ".join(f"{rate:.0f}" for rate in rates)
    lines = [
        f"{target.name}, seed {args.seed}, minute {minute:g}: {profile.label}",
        f"load planned for, the next {len(rates)} minutes: {load} {unit}",
        "",
        *_plan_lines(target, run),
        "",
        f"{table.last_generation} generations, {run.evaluations} plans judged in {1e3 * run.seconds:.0f} ms",
        "generation   mean fitness   best fitness",
        *(
            f"{row.generation:>10}   {row.mean_fitness:>12.4f}   {row.best_fitness:>12.4f}"
            + ("" if row.reached else f"   (stopped at {table.last_generation})")
            for row in table.rows
        ),
        f"mean utilisation of the population: {100 * table.utilisation_before:.2f} % at first, "
        f"{100 * table.utilisation_after:.2f} % at last",
    ]
    document = _document(args, target, profile, rates, run, planner.objective)
    if args.pareto:
        front = _front(planner, target, profile, rates)
        document["pareto"] = front
        lines += ["", *_front_lines(front)]
    if folder is not None:
        lines.append(f"wrote {convergence_figure(run, folder / 'convergence.png')}")
    return document, lines


def _plan_lines(target: "Target", run: "PlanningRun") -> list[str]:
    lines = [f"{'service':<16} {'replicas':>8} {'CPU each':>10} {'memory each':>12}"]
    for service, (replicas, cores, memory_bytes) in zip(
        target.config.cluster.services, run.plan.as_array().tolist(), strict=True
    ):
        lines.append(
            f"{service.name:<16} {replicas:>8.0f} {cores:>5g} cores {memory_bytes / 2**20:>8.0f} MiB"
        )
    return [*lines, f"fitness {run.plan.fitness:.4f}"]


def _front(
    planner: "GaPlanner", target: "Target", profile: "LoadProfile", rates: "NDArray[np.float64]"
) -> list[dict[str, Any]]:
    from podgym.baselines.planner import pareto_front, planning_problem

    problem = planning_problem(target.config.cluster, rates, kind=profile.kind)
    return [
        {
            "slo_violation_ratio": each.slo_violation_ratio,
            "cost_cores": each.cost_cores,
            "response_time_s": each.response_time_s,
            "plan": each.plan.as_array().tolist(),
        }
        for each in pareto_front(problem, planner.settings)
    ]


def _front_lines(front: list[dict[str, Any]]) -> list[str]:
    lines = ["Pareto front (NSGA-II):  SLO violations, %   cost, cores   response, ms   replicas"]
    for each in front[:: max(len(front) // _FRONT_ROWS, 1)]:
        replicas = sum(row[0] for row in each["plan"])
        lines.append(
            f"{100 * each['slo_violation_ratio']:>43.2f} {each['cost_cores']:>13.2f} "
            f"{1e3 * each['response_time_s']:>14.1f} {replicas:>10.0f}"
        )
    return lines


def _document(
    args: argparse.Namespace,
    target: "Target",
    profile: "LoadProfile",
    rates: "NDArray[np.float64]",
    run: "PlanningRun",
    objective: "Objective",
) -> dict[str, Any]:
    return {
        "format": "podgym.plan/1",
        "environment": target.name,
        "seed": args.seed,
        "minute": args.minute,
        "load": profile.label,
        "kind": profile.kind,
        "rates": rates.tolist(),
        "objective": asdict(objective),
        "services": [service.name for service in target.config.cluster.services],
        "plan": run.plan.as_array().tolist(),
        "fitness": run.plan.fitness,
        "evaluations": run.evaluations,
        "seconds": run.seconds,
        "history": [asdict(each) for each in run.history],
    }


def _all_plans(
    args: argparse.Namespace, target: "Target", profile: "LoadProfile", folder: Path | None
) -> tuple[dict[str, Any], list[str]]:
    from podgym.cli.progress import counting

    del folder
    began = time.perf_counter()
    with counting(f"plans of {target.name}") as report:
        planner = _planner(args, target, lambda done, total: report(done, total, ""))
        plans = planner.plan(target.config.cluster, profile, target.duration_s)
    seconds = time.perf_counter() - began
    lines = [
        f"{target.name}, seed {args.seed}: {profile.label}",
        f"{len(plans)} plans, one per five minutes, in {seconds:.1f} s (forecasts included)",
    ]
    for s, service in enumerate(target.config.cluster.services):
        low, high = plans[:, s].min(axis=0), plans[:, s].max(axis=0)
        lines.append(
            f"{service.name}: {low[0]:.0f} to {high[0]:.0f} replicas of {low[1]:g} to {high[1]:g} cores and "
            f"{low[2] / 2**20:.0f} to {high[2] / 2**20:.0f} MiB"
        )
    document = {
        "format": "podgym.plans/1", "environment": target.name, "seed": args.seed, "load": profile.label,
        "objective": args.objective, "seconds": seconds, "plans": plans.tolist(),
    }  # fmt: skip
    return document, lines

"""``podgym bench``: the speed of the environments beside CartPole, their memory, and how cost grows."""

import argparse
import datetime
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podgym.eval.bench import Measurement
    from podgym.eval.bench_machine import Machine, MemoryUse
    from podgym.eval.bench_scaling import Series

NAME = "bench"
HELP = "measure steps per second beside CartPole, memory, and how the cost of a step grows"

_EPILOG = """\
examples:
  podgym bench
  podgym bench --env podgym/Burst-v0 --num-envs 256 --seconds 1
  podgym bench --scaling --json > bench.json
  podgym bench --train                            # frames per second of PPO, with SB3 on CartPole beside it

One thread, CPU time, best round; restarts of episodes are part of what is measured. Absolute rates move with
the machine: compare the ratios of one run. docs/performance.md says how to read the tables."""

_SHARE_OF_POINT = 0.25  # of --seconds, for each point of --scaling
_MIB = 1024.0**2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--env", metavar="ID", help="measure this environment (default: three of them)")
    parser.add_argument(
        "--num-envs", metavar="B", type=int, default=1024, help="environments in a batch (default: 1024)"
    )
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=2.0,
        help="CPU time for each row over all rounds; a round is at least one episode (default: 2)",
    )  # fmt: skip
    parser.add_argument("--repeats", metavar="N", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument(
        "--memory-envs", metavar="B", type=int, default=8192,
        help="environments in the batch whose memory is measured (default: 8192)",
    )  # fmt: skip
    parser.add_argument(
        "--scaling", action="store_true", help="also measure cost against services, pods and ticks per step"
    )
    parser.add_argument(
        "--train", action="store_true",
        help="measure training instead: PPO with the shipped settings, and SB3's PPO on CartPole beside it",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object with every round")


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        InputError: an unknown id, or a number that cannot be used; nothing is measured then.
    """
    if args.train:
        from podgym.cli.bench_train import run_training_bench

        return run_training_bench(args, _progress)
    from podgym.errors import require_whole
    from podgym.eval.bench import bench, bench_cases, bench_environments, check_effort
    from podgym.eval.bench_machine import measure_memory, this_machine
    from podgym.eval.bench_scaling import SERIES, bench_scaling

    environments = bench_environments(args.env)
    cases = bench_cases(environments, args.num_envs)
    check_effort(args.seconds, args.repeats)
    require_whole("--memory-envs", args.memory_envs, 1, 10**7)
    machine, date = this_machine(), datetime.date.today().isoformat()
    step = _progress(len(cases) * args.repeats + (len(SERIES) if args.scaling else 0))
    measurements = bench(cases, seconds=args.seconds, repeats=args.repeats, on_round=step)
    memory = [measure_memory(name, args.memory_envs) for name in environments]
    series: list[Series] = []
    if args.scaling:
        seconds = _SHARE_OF_POINT * args.seconds
        series = bench_scaling(args.num_envs, seconds=seconds, repeats=args.repeats, on_series=step)
    if args.json:
        _print_json(args, date, machine, measurements, memory, series)
    else:
        print(f"{date}, {_machine_line(machine)}\n")
        print(_speed_table(measurements))
        print(f"\n{_memory_table(memory)}")
        for variable in dict.fromkeys(each.variable for each in series):
            print(f"\n{scaling_table([each for each in series if each.variable == variable])}")
    return 0


def _progress(total: int) -> Callable[[], None]:
    """Return what to call after each part: it writes to a terminal only, and never from another thread."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            end = "\r" + " " * 30 + "\r" if done == total else ""
            print(f"\rmeasuring, {done} of {total}{end}", end="", file=sys.stderr, flush=True)

    return step


def _print_json(
    args: argparse.Namespace,
    date: str,
    machine: "Machine",
    measurements: Sequence["Measurement"],
    memory: Sequence["MemoryUse"],
    series: Sequence["Series"],
) -> None:
    from podgym.eval.bench import as_rows
    from podgym.files import to_json

    content: dict[str, Any] = {
        "date": date,
        "machine": asdict(machine),
        "settings": {"num_envs": args.num_envs, "seconds": args.seconds, "repeats": args.repeats},
        "speed": as_rows(measurements),
        "memory": [asdict(each) for each in memory],
    }
    if series:
        content["scaling"] = [each.as_dict() for each in series]
    print(to_json(content))


def _machine_line(machine: "Machine") -> str:
    return (
        f"{machine.cpu}, 1 of {machine.cores} cores used, load average {machine.load_average:.1f}\n"
        f"{machine.system}, Python {machine.python}, NumPy {machine.numpy}, numba {machine.numba}, "
        f"Gymnasium {machine.gymnasium}, podgym {machine.podgym}"
    )


def _speed_table(measurements: Sequence["Measurement"]) -> str:
    from podgym.eval.bench import ACTIONS, times_cartpole

    headings = (
        "environment", "envs", "actions", "steps/s", "ns/step", "x CartPole", "slowest", "bad", "+sample",
        "reset",
    )  # fmt: skip
    rows = [
        (
            each.case.environment,
            "make" if each.case.num_envs is None else str(each.case.num_envs),
            each.case.actions,
            f"{1e9 / each.ns_per_step:,.0f}",
            f"{each.ns_per_step:,.0f}",
            f"{times_cartpole(each, measurements):.1f}",
            f"+{100 * each.spread:.0f} %",
            _percent(each.slo_violation_ratio),
            f"{each.sample_ns:,.0f}",
            f"{each.restart_ns:,.0f}",
        )
        for each in measurements
    ]
    lines = [
        _table(headings, rows, left=3),
        "",
        "envs: how many, behind gym.make_vec; make: one, behind gym.make. ns/step: CPU time of a step of",
        "one environment in the best round, restarts of episodes included. slowest: the slowest round",
        "against it. bad: requests that failed or missed their SLO. +sample: ns that drawing the action",
        "would add. reset: ns of starting one episode.",
        *(f"{name}: {meaning}." for name, meaning in ACTIONS.items()),
    ]
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "-"


def _memory_table(memory: Sequence["MemoryUse"]) -> str:
    headings = ("memory", "envs", "MiB", "batch only", "KiB/env", "whole process")
    rows = [
        (
            each.environment,
            f"{each.num_envs:,}",
            f"{each.growth_bytes / _MIB:,.0f}",
            f"{each.batch_bytes / _MIB:,.0f}",
            f"{each.batch_bytes / 1024.0 / each.num_envs:,.1f}",
            f"{each.resident_bytes / _MIB:,.0f}",
        )
        for each in memory
    ]
    return (
        f"{_table(headings, rows, left=1)}\n\n"
        "Peak of the resident set in a fresh process. MiB: above what the imports took; batch only: above a\n"
        "process that has run one environment; whole process: with interpreter and libraries."
    )


def scaling_table(series: Sequence["Series"]) -> str:
    """Return one table of the series that vary the same number."""
    headings = (series[0].variable, *(str(value) for value in series[0].values), "fit", "off by")
    rows = []
    for each in series:
        intercept, slope = each.line
        sign = "-" if slope < 0 else "+"
        cells = (f"{ns:,.0f}" for ns in each.ns_per_step)
        fit = f"{intercept:,.0f} {sign} {abs(slope):,.0f} n"
        rows.append((each.name, *cells, fit, f"{100 * each.deviation:.0f} %"))
    return (
        f"{_table(headings, rows, left=1)}\n(ns per environment step; off by: largest residual over the mean)"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return aligned text; the first ``left`` columns to the left, the others to the right."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )

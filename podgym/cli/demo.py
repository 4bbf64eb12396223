"""``podgym demo``: HPA against fixed replicas on a week of the Alibaba trace and the paper's scenarios."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.cli.settings import Target
    from podgym.eval.episode import EpisodeRecord
    from podgym.eval.runner import Job
    from podgym.eval.summary import Summary

NAME = "demo"
HELP = "compare HPA with fixed replicas on a week of a real trace and on the paper's scenarios"

DEFAULT_OUTPUT = "results/demo"
EPISODES, QUICK_EPISODES = 10, 2
"""Episodes of each scenario; of the week there is one."""
QUICK_TRACE_HOURS = 6.0
SEED = 0
_STAGES = 4

_EPILOG = """\
Both controllers face the same load with the same seeds. The fixed number of replicas is the smallest that
meets the SLO at the peak of the load by the stationary queueing law: what somebody would choose who knew the
peak in advance."""


@dataclass(frozen=True, slots=True)
class Case:
    """One load of the demonstration."""

    label: str
    """Heading in the table; short."""
    target: "Target"
    episodes: int
    static_replicas: int
    """Replicas of the static controller: enough for the peak of every episode."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--quick", action="store_true",
        help=f"{QUICK_TRACE_HOURS:g} hours of the trace and {QUICK_EPISODES} episodes of each scenario",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", default=DEFAULT_OUTPUT,
        help=f"where figures and data go (default: {DEFAULT_OUTPUT})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the demonstration.

    Raises:
        InputError: the output folder cannot be used.
    """
    from podgym.cli.evaluate import print_paths
    from podgym.files import usable_folder

    folder = usable_folder(args.output)
    began = time.perf_counter()
    with _stage(1, "preparing the simulator (the first run on a machine compiles it)"):
        cases = _cases(quick=args.quick)
    with _stage(
        2, f"running {sum(2 * case.episodes for case in cases)} episodes on {_processes()} processes"
    ):
        groups = _run(cases)
    with _stage(3, "measuring"):
        summaries = _summaries(cases, groups)
    with _stage(4, f"writing figures and data to {folder}"):
        written = _write(folder, cases, groups, summaries)
    print()
    _print_results(cases, groups, summaries)
    print_paths(written)
    print(f"done in {time.perf_counter() - began:.0f} s")
    return 0


@contextmanager
def _stage(number: int, what: str) -> Iterator[None]:
    """Announce a stage before it begins and its time after it; a bar may be drawn in between."""
    print(f"[{number}/{_STAGES}] {what}", flush=True)
    began = time.perf_counter()
    yield
    print(f"      {time.perf_counter() - began:.1f} s", flush=True)


def _processes() -> int:
    return min(os.cpu_count() or 1, 8)


def _cases(*, quick: bool) -> list[Case]:
    """Build the four loads; one step of each is run, so that every kernel is compiled or loaded."""
    from podgym.cli.settings import make_target

    hours = QUICK_TRACE_HOURS if quick else None
    episodes = QUICK_EPISODES if quick else EPISODES
    week = make_target(workload="alibaba2018", part="all", episode_hours=hours)
    cases = [_case("6 h" if quick else "week", week, 1)]
    for label, environment in (("high", "podgym/HighLoad-v0"), ("burst", "podgym/Burst-v0"),
                               ("low", "podgym/LowLoad-v0")):  # fmt: skip
        cases.append(_case(label, make_target(environment=environment), episodes))
    return cases


def _case(label: str, target: "Target", episodes: int) -> Case:
    from podgym.envs.cluster import ServiceDecision
    from podgym.eval.provisioning import peak_replicas

    env = target.env
    static_replicas = 1
    for seed in range(SEED, SEED + episodes):
        env.reset(seed=seed)
        if env.profile is not None:
            static_replicas = max(static_replicas, *peak_replicas(target.config.cluster, env.profile))
    env.step_decisions([ServiceDecision() for _ in env.service_names])
    return Case(label, target, episodes, static_replicas)


def _controllers(case: Case) -> dict[str, dict[str, int]]:
    return {"hpa": {}, "static": {"replicas": case.static_replicas}}


def _jobs(cases: Sequence[Case]) -> list["Job"]:
    from podgym.eval.runner import make_jobs

    return [
        job
        for case in cases
        for controller, options in _controllers(case).items()
        for job in make_jobs(
            case.target.name, case.target.config, controller, options, seed=SEED, episodes=case.episodes
        )
    ]


def _run(cases: Sequence[Case]) -> list[list[list["EpisodeRecord"]]]:
    """Return the records by case and controller."""
    from podgym.cli.progress import progress
    from podgym.eval.runner import run_jobs

    jobs = _jobs(cases)
    steps = [case.target.env.episode_steps for case in cases for _ in range(2 * case.episodes)]
    with progress("episodes", steps) as reports:
        records = run_jobs(jobs, processes=_processes(), on_step=reports.on_step, on_done=reports.on_done)
    waiting = iter(records)
    return [[[next(waiting) for _ in range(case.episodes)] for _ in range(2)] for case in cases]


def _summaries(
    cases: Sequence[Case], groups: Sequence[Sequence[Sequence["EpisodeRecord"]]]
) -> list["Summary"]:
    from podgym.eval.summary import summarise

    return [
        summarise(records, case.label, heading)
        for case, controllers in zip(cases, groups, strict=True)
        for records, heading in zip(controllers, ("hpa\n", f"static\n{case.static_replicas}"), strict=True)
    ]


def _write(
    folder: Path,
    cases: Sequence[Case],
    groups: Sequence[Sequence[Sequence["EpisodeRecord"]]],
    summaries: Sequence["Summary"],
) -> list[Path]:
    from podgym.cli.evaluate import write_episodes
    from podgym.eval.summary import result_document
    from podgym.files import write_json

    written = [path for case, records in zip(cases, groups, strict=True)
               for path in write_episodes(folder, records, case.label.replace(" ", "-"))]  # fmt: skip
    firsts = [records[0] for controllers in groups for records in controllers]
    configs = {case.label: case.target.config for case in cases}
    document = result_document(summaries, firsts, configs)
    document["remarks"] = {case.label: list(case.target.remarks) for case in cases}
    return [*written, write_json(folder / "results.json", document)]


def _print_results(
    cases: Sequence[Case],
    groups: Sequence[Sequence[Sequence["EpisodeRecord"]]],
    summaries: Sequence["Summary"],
) -> None:
    from rich.console import Console

    from podgym.cli.evaluate import duration_text
    from podgym.eval.tables import comparison_table

    console = Console(file=sys.stdout, highlight=False)
    console.print(comparison_table(summaries))
    for case, controllers in zip(cases, groups, strict=True):
        first = controllers[0][0]
        count = f"mean of {case.episodes} episodes" if case.episodes > 1 else "1 episode"
        console.print(
            f"{case.label}: {case.target.name}, {duration_text(first.duration_s)}, {count}", markup=False
        )
        for remark in case.target.remarks:
            console.print(f"  {remark}", markup=False)
    slo_ms = 1000.0 * groups[0][0][0].metadata.slo_response_time_s[0]
    console.print(
        f"SLO: {slo_ms:g} ms. hpa: Kubernetes' HPA, target 80 % CPU. static N: N replicas, the fewest that "
        "meet the SLO at the peak of the load by the stationary queueing law, as if it were known in advance."
    )

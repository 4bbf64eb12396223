"""``podgym demo``: the whole way once, from a load to a report: forecast, plan, training, comparison."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.eval.protocol import Protocol, ProtocolResult
    from podgym.train.results import Progress

NAME = "demo"
HELP = "forecast, plan, train a policy and compare it with everything else, in a few minutes"

DEFAULT_OUTPUT = "results/demo"
TRAINED_ON = "podgym/Burst-v0"
FRAMES, QUICK_FRAMES = 400_000, 32_768
"""Frames that the policy is trained for."""
QUICK_EPISODES, QUICK_EPISODE_S = 2, 600.0
"""Episodes of each environment and their length in the short form."""
_TRAINING, _COMPARISON = "training", "comparison"
_SMALL_POOL = 64  # loads to train on: their plans are made in seconds
_MINUTE = 5
_STAGES = 5

_EPILOG = f"""\
Trains a policy on the paper's burst for {FRAMES:,} frames, then runs the protocol `demo`: the paper's three
scenarios and held-out hours of a real trace, where the policy, on its own scenario, and the longer trained
ones that come with the package meet LSTM+GA and Kubernetes' HPA as they are and tuned, a tuned rule,
Kubernetes' default of HPA and VPA, and a lower bound. The report shows the paper's tables beside ours. All
face the same episodes. The parts by themselves: podgym plan, podgym train, podgym evaluate --protocol, podgym
report. Folders `{_TRAINING}` and `{_COMPARISON}` of an earlier demonstration in the output folder are
replaced."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--quick", action="store_true",
        help=f"{QUICK_FRAMES:,} frames of training, {QUICK_EPISODES} short episodes of each environment",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", default=DEFAULT_OUTPUT,
        help=f"where everything goes (default: {DEFAULT_OUTPUT})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the demonstration.

    Raises:
        InputError: the output folder cannot be used, or the libraries of training are not installed.
    """
    from podgym.cli.train import require_libraries
    from podgym.files import usable_folder

    require_libraries()
    folder = usable_folder(args.output)
    for name in (_TRAINING, _COMPARISON):
        shutil.rmtree(folder / name, ignore_errors=True)
    began = time.perf_counter()
    with _stage(1, "preparing the simulator (the first run on a machine compiles it)"):
        _prepare()
    with _stage(2, "the paper's burst: what its LSTM expects, and what its genetic algorithm plans for that"):
        _plan()
    frames = QUICK_FRAMES if args.quick else FRAMES
    with _stage(3, f"training a policy that starts from such plans, {frames:,} frames"):
        _train(folder, frames)
    protocol = _protocol(folder, quick=args.quick)
    with _stage(4, f"comparing on {protocol.episodes} episodes of {len(protocol.ids)} environments each"):
        result = _compare(protocol, folder)
    with _stage(5, "writing the report"):
        sentences, page = _report(folder)
    _print_results(result, sentences)
    print(f"done in {time.perf_counter() - began:.0f} s; everything of it on one page: {page}")
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


def _prepare() -> None:
    """Run a step, so that every kernel is compiled or loaded."""
    import gymnasium as gym

    env = gym.make(TRAINED_ON)
    env.reset(seed=0)
    env.step(env.action_space.sample())


def _plan() -> None:
    """Show one forecast and the plan for it."""
    from podgym.baselines.planner import GaPlanner
    from podgym.cli.settings import make_target
    from podgym.envs.protocols import PLAN_PERIOD_S
    from podgym.eval.forecast_choice import SHIPPED, forecaster_file, open_forecaster

    target = make_target(environment=TRAINED_ON)
    target.env.reset(seed=0)
    profile = target.env.profile
    file = forecaster_file(SHIPPED, target.config.workload)
    if profile is None or file is None:
        raise RuntimeError(f"{TRAINED_ON} has no load or no forecaster.")
    planner = GaPlanner(forecaster=open_forecaster(file))
    rates = planner.known_rates(profile, target.duration_s)[int(60 * _MINUTE // PLAN_PERIOD_S)]
    made = planner.plan_once(target.config.cluster, rates, profile.kind)
    replicas, cores, memory_bytes = made.plan.as_array()[0].tolist()
    load = ", ".join(f"{rate:.0f}" for rate in rates)
    pods = f"{replicas:.0f} pods of {cores:g} cores and {memory_bytes / 2**20:.0f} MiB"
    effort = f"{made.evaluations} plans judged in {1e3 * made.seconds:.0f} ms"
    print(f"      minute {_MINUTE}: {load} users in the next {len(rates)} minutes; {pods} ({effort})")


def _train(folder: Path, frames: int) -> None:
    """Train a policy and say what it came to on dev."""
    from podgym.cli.progress import counting
    from podgym.train.folder import run_folder
    from podgym.train.run import train
    from podgym.train.settings_file import settings_for

    changes = {"n_timesteps": frames, "episode_pool": _SMALL_POOL, "eval_episodes": 32, "figure_every": 0}
    settings = settings_for("ppo", TRAINED_ON, changes=changes)
    run = run_folder(folder / _TRAINING, TRAINED_ON, "ppo", settings.seed)
    with counting("training") as report:

        def show(done: "Progress") -> None:
            report(done.frames, done.total_frames, f"{done.frames_per_s:,.0f} frames/s")

        result = train(settings, run, environment=TRAINED_ON, algorithm="ppo", on_progress=show)
    print(
        f"      cost of an episode on dev: {result.untrained.cost:,.0f} untrained, which is to follow the "
        f"plans; {result.best.cost:,.0f} after {result.best.frames:,} frames"
    )


def _protocol(folder: Path, *, quick: bool) -> "Protocol":
    """Return what is compared: the declared protocol, and the policy that was trained just now."""
    from podgym.eval.protocol import BoundMethod, RunsMethod, read_protocol

    declared = read_protocol(NAME)
    own = RunsMethod(str(folder / _TRAINING), label="ppo of this demo", ids=(TRAINED_ON,))
    if not quick:
        return replace(declared, methods=(own, *declared.methods))
    methods = [each for each in declared.methods if not isinstance(each, BoundMethod)]
    return replace(
        declared,
        methods=(own, *methods),
        episodes=QUICK_EPISODES,
        changes={**declared.changes, "episode_s": QUICK_EPISODE_S},
    )


def _compare(protocol: "Protocol", folder: Path) -> "ProtocolResult":
    from podgym.cli.progress import counting
    from podgym.eval.protocol import run_protocol

    with counting("episodes") as report:
        return run_protocol(protocol, folder / _COMPARISON, processes=_processes(), on_progress=report)


def _report(folder: Path) -> tuple[tuple[str, ...], Path]:
    """Return the verdict and where the page is."""
    from podgym.cli.progress import counting
    from podgym.eval.report import write_report

    with counting("report") as report:
        written = write_report(folder / _COMPARISON, folder, on_progress=report)
    return written.verdict.sentences, written.paths[0]


def _print_results(result: "ProtocolResult", sentences: tuple[str, ...]) -> None:
    from rich.console import Console

    from podgym.eval.protocol.tables import environment_table, legend

    console = Console(file=sys.stdout, highlight=False)
    for environment in result.document["environments"]:
        console.print(environment_table(result.document, environment))
        console.print(legend(environment), markup=False)
    console.print()
    console.print(" ".join(sentences), markup=False)

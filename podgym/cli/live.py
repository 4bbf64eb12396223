"""The side of ``podgym evaluate`` that runs on a real cluster: ``--cluster FILE.yml``."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.envs.kubernetes.settings import KubernetesSettings, Mode
    from podgym.eval.charges import PriceTable
    from podgym.eval.contenders import Contender
    from podgym.eval.live.plan import LivePlan
    from podgym.eval.live.run import LiveResult
    from podgym.eval.live.tables import Agreements

ITSELF = "cluster"
"""The controller that leaves the decisions to the autoscaler in the cluster."""
DEFAULT_MINUTES = 30.0
DEFAULT_PAUSE_S = 60.0
_FAILED = 1

_ONLY_SIMULATED = {
    "env": "--env", "workload": "--workload", "part": "--part", "peak_rps": "--peak-rps",
    "episode_hours": "--episode-hours", "changes": "--set", "processes": "--processes",
    "protocol": "--protocol", "resume": "--resume",
}  # fmt: skip
_ONLY_LIVE = {
    "episode_minutes": "--episode-minutes", "load": "--load", "mode": "--mode", "pause_s": "--pause-s",
    "tensorboard": "--tensorboard",
}  # fmt: skip
"""Options that go with the other kind of cluster, by the name of their value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that belong to real clusters."""
    group = parser.add_argument_group("or a real cluster")
    group.add_argument(
        "--cluster", metavar="FILE.yml",
        help="settings of a Kubernetes cluster; controllers and policies run on it one after another, each "
        "episode is recorded, and the simulator runs beside on the recorded load. --controller cluster only "
        "watches the autoscaler that is in the cluster",
    )  # fmt: skip
    group.add_argument(
        "--episode-minutes", metavar="MINUTES", type=float,
        help=f"length of an episode on the cluster (default: {DEFAULT_MINUTES:g})",
    )  # fmt: skip
    group.add_argument(
        "--load", metavar="COMMAND",
        help="started with each episode and stopped at its end, without a shell; {output}, {seed} and "
        "{duration_s} are filled in (default: the load that the cluster has)",
    )  # fmt: skip
    group.add_argument(
        "--mode", choices=("act", "dry_run", "shadow"),
        help="act: decisions change the cluster; dry_run: the API server checks them and keeps nothing; "
        "shadow: nothing is written (default: as the settings say)",
    )  # fmt: skip
    group.add_argument(
        "--pause-s", metavar="SECONDS", type=float,
        help=f"time to settle between two episodes (default: {DEFAULT_PAUSE_S:g})",
    )  # fmt: skip
    group.add_argument(
        "--tensorboard", action="store_true", help="write the numbers of every interval as curves, too"
    )


def refuse_live_options(args: argparse.Namespace, nothing: argparse.Namespace) -> None:
    """Refuse, without ``--cluster``, what only goes with it.

    Args:
        args: the arguments.
        nothing: those of a command line without any.

    Raises:
        InputError: such an option was given.
    """
    for name, option in _ONLY_LIVE.items():
        if getattr(args, name) != getattr(nothing, name):
            raise InputError(f"{option} goes with --cluster FILE.yml, a real cluster.")
    if any(text.partition(":")[0] == ITSELF for text in args.controller or ()):
        raise InputError(
            f"controller {ITSELF!r} is the autoscaler inside a real cluster; give --cluster FILE.yml."
        )


def run(
    args: argparse.Namespace,
    nothing: argparse.Namespace,
    contenders_of: Callable[[str], tuple["Contender", ...]],
) -> int:
    """Run the episodes on the cluster, print the measures and name the files.

    Args:
        args: the arguments.
        nothing: those of a command line without any, to see what was given.
        contenders_of: who takes part, given the id of the simulated environment.

    Returns:
        0; 1 if the cluster failed; 128 plus its number after a signal.

    Raises:
        InputError: options or settings that cannot be used; nothing was changed then.
    """
    from podgym.cli.progress import counting
    from podgym.envs.kubernetes.errors import ClusterError
    from podgym.eval.charges import LIST_PRICES, parse_prices
    from podgym.eval.live.run import LiveRun
    from podgym.eval.live.stopping import exit_status, signal_name

    for name, option in _ONLY_SIMULATED.items():
        if getattr(args, name) != getattr(nothing, name):
            raise InputError(
                f"{option} does not go with --cluster; the settings in {args.cluster} name the simulated "
                "environment and its changes, and --load sends the load."
            )
    prices = parse_prices(args.prices) if args.prices else LIST_PRICES
    plan = _plan(args, contenders_of)
    try:
        with counting(plan.environment) as report:
            result = LiveRun(plan, on_interval=_telling(plan, report)).run()
    except ClusterError as error:
        print(f"podgym: error: {' '.join(str(error).split())}{_kept(plan)}", file=sys.stderr)
        return _FAILED
    except InputError as error:
        raise InputError(f"{error}{_kept(plan)}") from error
    if result.stopped is not None:
        print(
            f"podgym: stopped by {signal_name(result.stopped)}; {len(result.episodes)} episodes are recorded "
            f"in {plan.folder}; the cluster was given back.{_next_words(plan) if result.episodes else ''}",
            file=sys.stderr,
        )
        return exit_status(result.stopped)
    _show_and_write(plan, result, prices, as_json=args.json)
    return 0


def _plan(args: argparse.Namespace, contenders_of: Callable[[str], tuple["Contender", ...]]) -> "LivePlan":
    from podgym.envs.kubernetes.settings import read_settings
    from podgym.eval.forecast_choice import default_forecaster, forecaster_file
    from podgym.eval.live.load_command import parse_load
    from podgym.eval.live.plan import LivePlan, base_config
    from podgym.files import usable_folder

    settings = _with_mode(read_settings(args.cluster), args.mode)
    config = base_config(settings)
    contenders = contenders_of(settings.environment)
    named = [each.controller for each in contenders if each.policy is None]
    chosen = args.forecaster or default_forecaster(named, config.workload)
    minutes = DEFAULT_MINUTES if args.episode_minutes is None else args.episode_minutes
    return LivePlan(
        environment=f"cluster {Path(args.cluster).stem}",
        settings=settings,
        contenders=contenders,
        folder=usable_folder(args.output or _default_folder()),
        episode_s=60.0 * minutes,
        seed=args.seed,
        episodes=args.episodes,
        load=None if args.load is None else parse_load(args.load),
        pause_s=DEFAULT_PAUSE_S if args.pause_s is None else args.pause_s,
        tensorboard=args.tensorboard,
        forecaster=forecaster_file(chosen, config.workload),
        policy_forecaster=args.forecaster,
    )


def _with_mode(settings: "KubernetesSettings", mode: str | None) -> "KubernetesSettings":
    return settings if mode is None else dataclasses.replace(settings, mode=cast("Mode", mode))


def _default_folder() -> str:
    """Return a new folder: what was measured on a real cluster cannot be had again."""
    return f"results/live-{datetime.now().strftime('%Y%m%d-%H%M%S')}"


def _telling(plan: "LivePlan", report: Callable[[int, int, str], None]) -> Callable[[int, int], None]:
    """Return what tells a report of steps how far the evaluation is."""
    episodes = len(plan.contenders) * plan.episodes

    def tell(episode: int, interval: int) -> None:
        done = episode * plan.episode_steps + interval
        report(done, episodes * plan.episode_steps, f"episode {episode + 1} of {episodes}")

    return tell


def _show_and_write(plan: "LivePlan", result: "LiveResult", prices: "PriceTable", *, as_json: bool) -> None:
    from podgym.cli.evaluate import print_paths, print_report, write_episodes
    from podgym.eval.live.tables import all_agreements, live_document, live_groups, live_remarks
    from podgym.eval.summary import result_document, summarise
    from podgym.files import to_json, write_json

    groups = live_groups(result, plan.contenders)
    summaries = [summarise(group, prices=prices) for group in groups]
    agreements = all_agreements(result, plan.contenders)
    config = result.episodes[0].recording.config
    document = result_document(summaries, [group[0] for group in groups], {plan.environment: config}, prices)
    remarks = [_mode_words(plan.settings.mode), *live_remarks(result)]
    document["remarks"] = remarks
    document["live"] = live_document(result, agreements)
    written = write_episodes(plan.folder, groups)
    written.append(write_json(plan.folder / "results.json", document))
    if as_json:
        print(to_json(document))
        return
    print_report(plan.environment, remarks, summaries, groups)
    _print_agreements(agreements)
    print_paths(written)
    for episode in result.episodes:
        print(f"wrote {episode.folder}")
    print(f"next: {_report_command(plan)}")


def _report_command(plan: "LivePlan") -> str:
    return f"podgym report {shlex.quote(str(plan.folder))}"


def _kept(plan: "LivePlan") -> str:
    """Return where the recordings of an evaluation that failed are; empty: there is none."""
    from podgym.eval.live.plan import RUN_FILE

    folders = [plan.episode_folder(who, seed) for who in plan.contenders for seed in plan.seeds]
    recorded = sum((folder / RUN_FILE).is_file() for folder in folders)
    if not recorded:
        return ""
    return f" Recorded until then: {recorded} episodes in {plan.folder}.{_next_words(plan)}"


def _next_words(plan: "LivePlan") -> str:
    """Return what can be done with the episodes of an evaluation that did not come to its end."""
    return f" A page of them: {_report_command(plan)}"


def _mode_words(mode: str) -> str:
    return {
        "act": "Rows without 'replayed' or 'simulated' were measured on the cluster.",
        "dry_run": "Dry run: decisions were checked by the API server, and nothing was kept.",
        "shadow": "Shadow mode: decisions were logged, and nothing was written.",
    }[mode]


def _print_agreements(agreements: "Agreements") -> None:
    from rich.console import Console

    from podgym.eval.live.tables import agreement_table

    if agreements:
        Console(file=sys.stdout, highlight=False).print(agreement_table(agreements))

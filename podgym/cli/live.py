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
    from podgym.eval.live.result import LiveResult
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
        0; 1 if anything failed after the start; 128 plus its number after a signal.

    Raises:
        InputError: options or settings that cannot be used; nothing was changed then.
    """
    from podgym.eval.charges import LIST_PRICES, parse_prices

    for name, option in _ONLY_SIMULATED.items():
        if getattr(args, name) != getattr(nothing, name):
            raise InputError(
                f"{option} does not go with --cluster; the settings in {args.cluster} name the simulated "
                "environment and its changes, and --load sends the load."
            )
    prices = parse_prices(args.prices) if args.prices else LIST_PRICES
    plan = _plan(args, contenders_of)
    result = _result(plan)
    if result is None:
        return _FAILED
    _tell_failures(plan, result)
    if result.finished.episodes:
        _show_and_write(plan, result, prices, as_json=args.json)
    if result.stopped is not None:
        return _tell_stopped(plan, result, result.stopped, args.cluster)
    return _FAILED if result.failures or result.aborted is not None else 0


def _result(plan: "LivePlan") -> "LiveResult | None":
    """Run the episodes; None: that failed, and it was said why.

    Raises:
        InputError: what was typed or set cannot be used; nothing was begun.
    """
    from podgym.cli.progress import counting
    from podgym.envs.kubernetes.errors import ClusterError
    from podgym.eval.live.run import LiveRun

    live = None
    try:
        with counting(plan.environment) as report:
            live = LiveRun(plan, on_interval=_telling(plan, report))
            return live.run()
    except (ClusterError, InputError) as error:
        if isinstance(error, InputError) and (live is None or not live.started):
            raise
        _tell_error(f"{error}{_kept(plan)}")
        return None


def _tell_stopped(plan: "LivePlan", result: "LiveResult", number: int, file: str) -> int:
    """Say that a signal ended the evaluation, and what became of the cluster; return the exit status."""
    from podgym.eval.live.stopping import exit_status, signal_name

    given_back = "" if result.aborted is not None else f"; {_given_back(plan.settings, file)}"
    print(
        f"podgym: stopped by {signal_name(number)}; {len(result.episodes)} episodes are recorded "
        f"in {plan.folder}{given_back}.{_next_words(plan) if result.episodes else ''}",
        file=sys.stderr,
    )
    return exit_status(number) if result.aborted is None else _FAILED


def _tell_error(text: str) -> None:
    print(f"podgym: error: {' '.join(text.split())}", file=sys.stderr)


def _tell_failures(plan: "LivePlan", result: "LiveResult") -> None:
    """Say what failed, and what it means for the rest."""
    aborted = result.aborted or ""
    texts = [each.reason for each in result.failures if each.reason not in aborted]
    for text in dict.fromkeys(texts):
        _tell_error(text)
    if aborted:
        rest = len(plan.jobs()) - len(result.episodes) - sum(not each.recorded for each in result.failures)
        not_run = f" Episodes that were not run: {rest}." if rest > 0 else ""
        _tell_error(f"{aborted.rstrip('.')}.{not_run}{_kept(plan)}")


def _given_back(settings: "KubernetesSettings", file: str) -> str:
    """Return what became of the cluster when a signal ended the evaluation in good order."""
    if settings.mode != "act":
        return "nothing was changed in the cluster"
    if settings.restore:
        return "the cluster was given back"
    return (
        "replicas and quotas were left as they are (restore: false); podgym restore --cluster "
        f"{shlex.quote(str(file))} gives it back"
    )


def _plan(args: argparse.Namespace, contenders_of: Callable[[str], tuple["Contender", ...]]) -> "LivePlan":
    from podgym.envs.kubernetes.settings import read_settings
    from podgym.eval.forecast_choice import default_forecaster, forecaster_file
    from podgym.eval.live.load_command import parse_load
    from podgym.eval.live.plan import LivePlan, base_config, named_by_mode
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
        contenders=named_by_mode(contenders, settings.mode),
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

    finished = result.finished  # the means of an episode that a signal cut short are none of a whole one
    groups = live_groups(finished, plan.contenders)
    summaries = [summarise(group, prices=prices) for group in groups]
    agreements = all_agreements(finished, plan.contenders)
    config = finished.episodes[0].recording.config
    document = result_document(summaries, [group[0] for group in groups], {plan.environment: config}, prices)
    remarks = [*_mode_words(plan), *live_remarks(result)]
    document["remarks"] = remarks
    document["live"] = live_document(result, agreements)
    results = write_json(plan.folder / "results.json", document)  # first: after a signal there is little time
    written = [*write_episodes(plan.folder, groups), results]
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


def _mode_words(plan: "LivePlan") -> list[str]:
    mode = plan.settings.mode
    words = {
        "act": "Rows without 'replayed' or 'simulated' were measured on the cluster.",
        "dry_run": "Dry run: decisions were checked by the API server, and nothing was kept.",
        "shadow": "Shadow mode: decisions were logged, and nothing was written.",
    }[mode]
    silent = [each.label for each in plan.contenders if each.controller != ITSELF]
    if mode == "act" or not silent:
        return [words]
    rows = f"{'The row of' if len(silent) == 1 else 'The rows of'} {', '.join(silent)}"
    verb = "is" if len(silent) == 1 else "are"
    return [words, f"{rows} {verb} of whoever scaled the cluster meanwhile, not of a method."]


def _print_agreements(agreements: "Agreements") -> None:
    from rich.console import Console

    from podgym.eval.live.tables import agreement_table

    if agreements:
        Console(file=sys.stdout, highlight=False).print(agreement_table(agreements))

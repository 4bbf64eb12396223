"""``podgym train``: train a policy on an environment, show how it learns, keep the best."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.train.results import DevResult, Progress, TrainingResult
    from podgym.train.settings import TrainingSettings

NAME = "train"
HELP = "train a policy that starts from the plan, keep the best on dev, go on after a kill"

_FAILED = 1

_EPILOG = """\
examples:
  a policy for the paper's burst, with the settings that ship for it:
    podgym train --env podgym/Burst-v0 --algo ppo

  the same with a quarter of the frames, for another seed:
    podgym train --env podgym/Burst-v0 --algo ppo --total-steps 500000 --seed 1

  go on after Ctrl-C, a kill or a power cut; the policy is the same to the last bit:
    podgym train --env podgym/Burst-v0 --algo ppo --resume

  replicas and quotas together, a larger network, an exact forecast:
    podgym train --env podgym/FamilyBurst-v0 --algo ppo --logdir runs/quotas \\
        --set env_kwargs.action.quotas=true --set policy_kwargs.net_arch=[128,128] --set forecaster=oracle

  from scratch, without plan and prior:
    podgym train --env podgym/Burst-v0 --algo ppo --logdir runs/scratch \\
        --set planner=null --set prior=null --set reference=none

  at most 1 % of the requests above the SLO, as a constraint:
    podgym train --env podgym/Trace-v0 --algo ppo --set constraint.max_violation_ratio=0.01

  the exact settings of an earlier run once more, in another folder:
    podgym train --env podgym/Burst-v0 --algo ppo --config runs/Burst-v0/ppo-seed0/config.yml --logdir again

  watch it learn:
    tensorboard --logdir runs

Settings come from a YAML file per algorithm in RL Zoo's layout (train/ppo.yml and its neighbours), keyed by
environment id; --config takes its place, --set changes single settings. A schedule is a number, lin_NUMBER
(linear down to 0) or FROM and TO: --set learning_rate.from=1e-3 --set learning_rate.to=2e-5.

The folder of a run, LOGDIR/ID/ALGO-seedS, gets config.yml (every setting), checkpoints/, best.policy (best on
dev), final.policy, progress.csv, TensorBoard events and result.json. Evaluations during training use dev
episodes; test episodes are never opened. Judge a policy on test episodes with `podgym evaluate`.
Exit status: 0, 1 when a number is no longer finite, 2 for bad input, or 130 when interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    what = parser.add_argument_group("what to train")
    what.add_argument("--env", metavar="ID", required=True, help="an environment; `podgym envs` lists them")
    what.add_argument(
        "--algo", metavar="NAME", required=True,
        help="ppo, maskable_ppo (actions that the safety layer would cut are masked) or recurrent_ppo (with "
        "an LSTM)",
    )  # fmt: skip
    how = parser.add_argument_group("how")
    how.add_argument("--config", metavar="FILE", help="settings (YAML) instead of those that ship")
    how.add_argument(
        "--total-steps", metavar="N", type=_steps,
        help="frames (steps of one environment) to train for, such as 2e6; n_timesteps of the settings",
    )  # fmt: skip
    how.add_argument("--seed", metavar="S", type=int, help="seed of the run (default: of the settings, 0)")
    how.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change a setting, for example n_envs=256 or prior=null; may be repeated",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument("--logdir", metavar="DIR", default="runs", help="folder of all runs (default: runs)")
    out.add_argument(
        "--resume", action="store_true", help="go on with the run in its folder, if there is one"
    )
    out.add_argument(
        "--json", action="store_true", help="print the content of result.json instead of a table"
    )


def run(args: argparse.Namespace) -> int:
    """Train, write the folder of the run, and print what was reached.

    Raises:
        InputError: anything about the arguments or the settings, a run that is there already, or libraries
            that are not installed.
    """
    from podgym.cli import INTERRUPTED, OK
    from podgym.files import to_json

    require_libraries()
    from podgym.train.folder import check_run, finish_run, result_document, run_folder

    settings = asked_settings(args)
    folder = run_folder(args.logdir, args.env, args.algo, settings.seed)
    settings = _resumed_settings(args, settings, folder)
    check_run(folder, settings, environment=args.env, algorithm=args.algo, resume=args.resume)
    doing = "going on" if args.resume else "training"
    print(f"podgym: {doing} in {folder}; watch with tensorboard --logdir {args.logdir}", file=sys.stderr)
    try:
        result = _train(args, settings, folder)
    except KeyboardInterrupt:
        print(f"podgym: interrupted; go on with\n  {resume_command(args)}", file=sys.stderr)
        return INTERRUPTED
    except FloatingPointError as error:
        print(f"podgym: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _FAILED
    document = result_document(result, args.env, args.algo)
    finish_run(folder, document)
    if args.json:
        print(to_json(document))
    else:
        print_result(result, f"{args.algo} on {args.env}, seed {settings.seed}", folder)
    return OK


def asked_settings(args: argparse.Namespace) -> "TrainingSettings":
    """Return the settings that the arguments ask for.

    Raises:
        InputError: an unknown name, a bad value, or a setting that is given twice.
    """
    from podgym.cli.settings import parse_changes
    from podgym.train.settings_file import settings_for

    changes = parse_changes(args.changes)
    for option, name, value in (
        ("--total-steps", "n_timesteps", args.total_steps),
        ("--seed", "seed", args.seed),
    ):
        if value is not None and name in changes:
            raise InputError(f"{option} {value} and --set {name}={changes[name]}: give one of the two.")
        if value is not None:
            changes[name] = value
    return settings_for(args.algo, args.env, file=args.config, changes=changes)


def resume_command(args: argparse.Namespace) -> str:
    """Return the command line that goes on with the run of these arguments."""
    words = ["podgym", NAME, "--env", args.env, "--algo", args.algo]
    for option, value in (
        ("--config", args.config), ("--total-steps", args.total_steps), ("--seed", args.seed)
    ):  # fmt: skip
        words += [] if value is None else [option, str(value)]
    for change in args.changes:
        words += ["--set", change]
    words += ["--logdir", args.logdir] if args.logdir != "runs" else []
    return shlex.join([*words, "--resume", *(["--json"] if args.json else [])])


def print_result(result: "TrainingResult", heading: str, folder: Path) -> None:
    """Print the untrained and the best policy side by side, and the files written."""
    from rich.console import Console
    from rich.table import Table

    from podgym.train.folder import files_of_run

    table = Table()
    table.add_column("policy, on dev")
    for name in ("cost", "SLO violated", "core hours", "churn"):
        table.add_column(name, justify="right")
    table.add_row("untrained (the plan)", *_cells(result.untrained))
    table.add_row(f"best, after {result.best.frames:,} frames", *_cells(result.best))
    minutes, seconds = divmod(round(result.seconds), 60)
    print(f"{heading}: {result.frames:,} frames in {minutes} min {seconds} s.")
    Console(file=sys.stdout, highlight=False).print(table)
    print(f"Cost, lower is better: {_change(result)}.")
    for path in files_of_run(folder):
        print(f"wrote {path}")


def _train(args: argparse.Namespace, settings: "TrainingSettings", folder: Path) -> "TrainingResult":
    """Run the training with a bar that tells frames per second and the best policy so far."""
    from podgym.cli.progress import counting
    from podgym.train.run import train

    with counting(f"{args.algo} on {args.env}") as report:
        on_progress, on_evaluation = _reporters(report)
        return train(
            settings,
            folder,
            environment=args.env,
            algorithm=args.algo,
            resume=args.resume,
            on_progress=on_progress,
            on_evaluation=on_evaluation,
            on_remark=lambda remark: print(f"podgym: {remark}", file=sys.stderr),
        )


def _reporters(
    report: Callable[[int, int, str], None],
) -> "tuple[Callable[[Progress], None], Callable[[DevResult], None]]":
    """Return what is called with progress and with evaluations; the bar shows the latest of both."""
    best = ""

    def on_progress(progress: "Progress") -> None:
        report(progress.frames, progress.total_frames, f"{progress.frames_per_s:,.0f} frames/s{best}")

    def on_evaluation(result: "DevResult") -> None:
        nonlocal best
        if result.best:
            best = f", dev cost {_cost(result.cost)}"
        print(evaluation_line(result), file=sys.stderr)

    return on_progress, on_evaluation


def evaluation_line(result: "DevResult") -> str:
    """Return what is told of an evaluation on dev."""
    cost, violated, core_hours, churn = _cells(result)
    line = (
        f"{result.frames:>12,} frames: cost {cost:>9}, SLO violated {violated:>7}, "
        f"{core_hours:>7} core hours, churn {churn:>6}"
    )
    return f"{line}  best so far" if result.best else line


def _cells(result: "DevResult") -> tuple[str, str, str, str]:
    return (
        _cost(result.cost),
        f"{100 * result.slo_violation_ratio:.2f} %",
        f"{result.requested_core_hours:.4g}",
        f"{result.churn:.4g}",
    )


def _cost(cost: float) -> str:
    return f"{cost:,.1f}" if abs(cost) >= 100.0 else f"{cost:,.3f}"


def _change(result: "TrainingResult") -> str:
    before, after = result.untrained.cost, result.best.cost
    if result.best.frames == 0:
        return "no trained policy was better than the untrained one, which is kept"
    if not before > 0.0:
        return f"{_cost(before)} untrained, {_cost(after)} trained"
    share = 100.0 * (after / before - 1.0)
    return f"{share:+.1f} % by training, on the episodes that chose it"


def _resumed_settings(
    args: argparse.Namespace, asked: "TrainingSettings", folder: Path
) -> "TrainingSettings":
    """Return the settings of the run in the folder when it goes on and none were named."""
    from podgym.train.folder import CONFIG_FILE, settings_of_run

    named: tuple[Any, ...] = (args.config, args.total_steps, *args.changes)
    if args.resume and (folder / CONFIG_FILE).is_file() and not any(each is not None for each in named):
        return settings_of_run(folder, args.env, args.algo)
    return asked


def require_libraries() -> None:
    """Refuse to begin where the libraries of training are missing.

    Raises:
        InputError: one is.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "stable_baselines3", "sb3_contrib", "yaml") if not find_spec(name)]
    if missing:
        raise InputError(f"training needs {', '.join(missing)}; install with pip install 'podgym[rl]'.")


def _steps(text: str) -> int:
    """Return a number of steps, also in the form 2e6."""
    from podgym.train.values import as_number

    number = as_number(text)
    if number is None or number != int(number) or number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(number)

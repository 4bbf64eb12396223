"""``podgym calibrate``: fit the simulator's constants to a recorded run."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from podgym.eval.calibration import Calibration, FittedConstant, Recording, Validation

NAME = "calibrate"
HELP = "fit the simulator's constants to a recorded run, and say how well they are known"

_MIB = 1024.0**2
_EPILOG = """\
examples:
  from a run on a cluster to the constants of a simulator like it:
    podgym evaluate --cluster deploy/podgym.yml --controller hpa --output results/live
    podgym calibrate results/live/hpa-seed0
  judged by another episode than the one that was fitted:
    podgym calibrate results/live/hpa-seed0 --validate results/live/hpa-seed1 --output shop.yml
  one service of several:
    podgym calibrate results/live/hpa-seed0 --service frontend
  an episode of the simulator (no pods.csv and scrapes.csv, so no start-up time and scrape lag):
    podgym calibrate results/high/HighLoad-v0-hpa-seed0.parquet

RUN is the folder of one episode on a cluster (live.parquet, run.json, pods.csv, scrapes.csv), a folder that
holds just one of them, or the parquet file of an episode. A good run climbs slowly to more than the pods can
serve at a fixed number of replicas, then scales up and down some times: the ramp tells CPU demand, base
latency and variation of the work, the scaling tells the start-up time. A constant that the run does not tell
stays as it was, and the table says why; where the run at least gives bounds, and they leave the old value
out, it is moved into them.

The file holds what changed, as a mapping for gym.make(ID, **changes) and for `changes:` in the settings of a
cluster. Errors are simulated / recorded - 1, of one simulated run on the recorded load with the recorded
replicas. Exit status: 0, or 2 for bad input, in which case nothing is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "run", metavar="RUN", help="folder of an episode on a cluster, or parquet file of any episode"
    )
    parser.add_argument(
        "--service", metavar="NAME", nargs="+", default=[], help="services to fit (default: all)"
    )
    parser.add_argument(
        "--env", metavar="ID",
        help="environment whose constants are the ones before the fit (default: that of the run, with the "
        "constants stamped on it)",
    )  # fmt: skip
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change it, for example cluster.services.web.parameters.probe_period_s=1; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--validate", metavar="RUN", help="judge the fit by this run (default: by the one that was fitted)"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="YAML file of the changes (default: calibration.yml beside the data)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    """Fit, validate, write the changes and print what was found.

    Raises:
        InputError: no such run or service, or a recording that cannot be fitted; nothing is written then.
    """
    from podgym.cli.settings import parse_changes
    from podgym.eval.calibration import calibrate, read_recording, recorded_configuration, validate
    from podgym.files import to_json

    recording = read_recording(args.run)
    judge = read_recording(args.validate) if args.validate else recording
    config = recorded_configuration(recording, args.env, parse_changes(args.changes))
    calibration = calibrate(recording, config, tuple(args.service))
    before, after = validate(judge, config), validate(judge, calibration.fitted_config)
    path = write_changes(Path(args.output) if args.output else default_file(args.run), calibration)
    if args.json:
        print(to_json(_document(calibration, judge, before, after, path)))
    else:
        _print(calibration, recording, judge, before, after)
        print(f"wrote {path}")
    return 0


def default_file(run: str | Path) -> Path:
    """Return where the changes go unless a file is named."""
    path = Path(run)
    return path / "calibration.yml" if path.is_dir() else path.with_name(f"{path.stem}-calibration.yml")


def write_changes(path: Path, calibration: "Calibration") -> Path:
    """Write what changed as YAML.

    Raises:
        InputError: the file cannot be written.
    """
    import yaml

    from podgym.files import write_text

    head = (
        f"# Fitted by podgym calibrate to {calibration.recording}.\n"
        "# For gym.make(ID, **changes), and for `changes:` in the settings of a cluster.\n"
    )
    return write_text(path, head + yaml.safe_dump(calibration.changes, sort_keys=False))


def _document(
    calibration: "Calibration", judge: "Recording", before: "Validation", after: "Validation", path: Path
) -> dict[str, Any]:
    from dataclasses import asdict

    from podgym.eval.calibration import as_document

    validation = {
        "recording": judge.label,
        "in_sample": judge.label == calibration.recording,
        "before": [asdict(each) for each in before.comparisons],
        "after": [asdict(each) for each in after.comparisons],
    }
    return {**as_document(calibration), "validation": validation, "output": str(path)}


def _print(
    calibration: "Calibration",
    recording: "Recording",
    judge: "Recording",
    before: "Validation",
    after: "Validation",
) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    record = recording.record
    console.print(
        f"{recording.label}: {record.num_steps} intervals of {record.metadata.control_interval_s:g} s, "
        f"{len(recording.pods)} pod starts, {len(recording.scrapes)} sample times",
        markup=False,
    )
    for service in calibration.services:
        _print_constants(console, f"service {service.name}", service.constants)
        errors = (service.response_error, service.cpu_error, service.memory_error)
        console.print(
            "Mean error of an interval: response time {}, CPU {}, memory {}.".format(*map(_percent, errors))
        )
        for caution in service.cautions:
            console.print(f"- {caution}", markup=False)
    _print_constants(console, "monitoring", calibration.monitoring)
    if not calibration.changes:
        console.print("This run tells no constant at all; nothing changes.")
    _print_validation(console, calibration, judge, before, after)


def _print_constants(console: "Console", title: str, constants: Sequence["FittedConstant"]) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("constant", no_wrap=True)
    for heading in ("was", "fitted"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("how")
    for each in constants:
        table.add_row(
            each.name, number(each.was, each.unit), number(each.value, each.unit) if each.changed else "kept",
            interval(each), each.how,
        )  # fmt: skip
    console.print(table)
    for each in constants:
        if each.note:
            console.print(f"- {each.name}: {each.note}.", markup=False)


def _print_validation(
    console: "Console",
    calibration: "Calibration",
    judge: "Recording",
    before: "Validation",
    after: "Validation",
) -> None:
    from rich.table import Table

    same = judge.label == calibration.recording
    which = "the run that was fitted" if same else judge.label
    for service in calibration.services:
        title = f"{service.name}: the simulator on load and replicas of {which}"
        table = Table(title=title, title_justify="left")
        table.add_column("measure")
        for heading in ("recorded", "before", "error", "fitted", "error", "per interval"):
            table.add_column(heading, justify="right")
        for was, now in zip(before.comparisons, after.comparisons, strict=True):
            if now.service == service.name:
                table.add_row(
                    _MEASURES[now.measure], f"{now.recorded:.4g}", f"{was.simulated:.4g}", _signed(was.error),
                    f"{now.simulated:.4g}", _signed(now.error), _percent(now.interval_error),
                )  # fmt: skip
        console.print(table)
    if same:
        console.print("Judged by the data that it was fitted to; --validate names another run.")


_MEASURES = {
    "response_time_mean_s": "response, s",
    "cpu_cores": "CPU, cores",
    "replicas_ready": "ready pods",
}


def number(value: float | str, unit: str) -> str:
    """Return a constant for people: bytes in MiB, other numbers with three digits."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "?"
    return f"{value / _MIB:.3g} MiB" if unit.startswith("bytes") else f"{value:.3g}"


def interval(constant: "FittedConstant") -> str:
    """Return the interval of a constant for people; empty where nothing is known."""
    if math.isnan(constant.lower) and math.isnan(constant.upper):
        return ""
    ends = [number(each, constant.unit).removesuffix(" MiB") for each in (constant.lower, constant.upper)]
    return f"{ends[0]} to {ends[1]}"


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f} %" if math.isfinite(share) else "-"


def _signed(share: float) -> str:
    return f"{100.0 * share:+.1f} %" if math.isfinite(share) else "-"

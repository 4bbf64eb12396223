"""``podgym forecast train``: fit one forecaster to the train part of a trace."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podgym.cli.forecast_settings import (
    add_model_arguments,
    add_series_arguments,
    horizon_minutes,
    model_options,
    open_trace_series,
)
from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.forecasters.base import Forecaster
    from podgym.forecasters.sources import TraceSeries

HELP = "fit a forecaster to the first 70 % of a trace and save it"

_EPILOG = """\
examples:
  a forecaster for podgym/Trace-v0, with curves for TensorBoard:
    podgym forecast train --trace alibaba2018 --features rate_rps --model lstm \\
        --output alibaba.forecaster --logdir runs/alibaba

  the paper's LSTM on CPU and memory, 15 minutes ahead:
    podgym forecast train --trace alibaba2018 --model paper_lstm --horizon 15 --output paper.forecaster

A training run that is interrupted goes on where it stopped when the same command is typed again, to the same
result as if it had not been. The checkpoint lies beside the output and is removed at the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the subcommand."""
    from podgym.forecasters.factory import MODELS

    parser.epilog = _EPILOG
    parser.add_argument("--trace", metavar="NAME|FILE", required=True, help="what to learn from")
    parser.add_argument(
        "--model", metavar="NAME", default="lstm", help=f"one of {', '.join(MODELS)} (default: lstm)"
    )
    parser.add_argument("--output", metavar="FILE", help="file to write (default: TRACE-MODEL.forecaster)")
    parser.add_argument("--logdir", metavar="DIR", help="folder for TensorBoard curves, networks only")
    add_series_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Fit, save and report.

    Raises:
        InputError: anything about the arguments or the trace; no forecaster is written then.
    """
    from podgym.cli.evaluate import file_stem
    from podgym.cli.progress import counting
    from podgym.files import usable_folder
    from podgym.forecasters.factory import NETWORK_MODELS, make_forecaster
    from podgym.forecasters.store import SUFFIX, checkpoint_of, fit_and_save

    path = Path(args.output or f"{file_stem(args.trace)}-{args.model}{SUFFIX}")
    if path.is_dir():
        raise InputError(f"--output {path} is a folder; name a file in it.")
    path = path if path.suffix else path.with_suffix(SUFFIX)
    if path.suffix == ".onnx":
        raise InputError(f"--output {path}: train to a {SUFFIX} file, then podgym forecast export it.")
    usable_folder(path.parent)
    data = open_trace_series(args.trace, args)
    forecaster = make_forecaster(
        args.model, **model_options(args.model, horizon_minutes(data, args.horizon), args)
    )
    if args.logdir is not None and args.model not in NETWORK_MODELS:
        raise InputError(
            f"--logdir {args.logdir}: {args.model} is no network and has no curves; leave it out."
        )
    if checkpoint_of(path).exists():
        print(f"podgym: going on from {checkpoint_of(path)}", file=sys.stderr)
    with counting(f"{args.model} on {data.series.name}") as report:
        logdir = None if args.logdir is None else Path(args.logdir)
        fit_and_save(forecaster, data.part("train"), path, progress=report, logdir=logdir)
    _report(forecaster, data, path, as_json=args.json)
    return 0


def _report(forecaster: "Forecaster", data: "TraceSeries", path: Path, *, as_json: bool) -> None:
    from podgym.files import to_json

    spec = forecaster.spec
    ahead_min = spec.horizon * spec.step_s / 60.0
    scores = _dev_scores(forecaster, data)
    if as_json:
        from dataclasses import asdict

        content = {"file": str(path), "model": forecaster.name, "spec": asdict(spec), "dev": scores}
        print(to_json(content))
        return
    report = forecaster.cleaning_report
    print(f"{forecaster.name}: {spec.parameters:,} parameters, fitted in {spec.fit_s:.1f} s to")
    print(f"  {spec.trained_on}, {spec.training_samples:,} samples of {spec.step_s:g} s (first 70 %)")
    if report is not None:
        print("\n".join(f"  {line}" for line in report.describe().splitlines()))
    for feature, unit in zip(spec.features, spec.units, strict=True):
        own = scores[feature]
        print(
            f"  {feature}: RMSE {own['rmse']:.4g} {unit} {ahead_min:g} minutes ahead on the next 15 % (dev); "
            f"last value {own['rmse_last_value']:.4g}; {100 * own['coverage']:.0f} % within the 80 % interval"
        )
    print(f"wrote {path}")


def _dev_scores(forecaster: "Forecaster", data: "TraceSeries") -> dict[str, dict[str, Any]]:
    """Return how good the last step is on the dev part, beside the last value."""
    from podgym.forecasters.evaluation.rolling import evaluate_forecaster
    from podgym.forecasters.factory import make_forecaster

    naive = make_forecaster("last_value", horizon_minutes=forecaster.horizon_minutes)
    own, last = (
        evaluate_forecaster(each, data, "dev") for each in (forecaster, naive.fit(data.part("train")))
    )
    step = forecaster.spec.horizon
    return {
        feature: {
            "rmse": own.measure("rmse", feature, step),
            "rmse_last_value": last.measure("rmse", feature, step),
            "coverage": own.measure("interval_coverage", feature, step),
        }
        for feature in forecaster.spec.features
    }

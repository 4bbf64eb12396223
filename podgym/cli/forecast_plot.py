"""``podgym forecast plot``: forecasts of one model against what was measured."""

import argparse
from pathlib import Path

from podgym.cli.forecast_settings import add_series_arguments, open_trace_series
from podgym.errors import InputError

HELP = "draw the forecasts of a trained forecaster against the actual load"

_EPILOG = """\
examples:
  podgym forecast plot alibaba.forecaster --trace alibaba2018 --output forecasts.png
  podgym forecast plot web.forecaster --trace web.csv --part dev --fan

The stretch shown is the one with the steepest rise of the part; the best naive model is drawn beside it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the subcommand."""
    parser.epilog = _EPILOG
    parser.add_argument("model", metavar="FILE", help="a file written by podgym forecast train or export")
    parser.add_argument(
        "--trace", metavar="NAME|FILE", help="the trace (default: the packaged one it was trained on)"
    )
    parser.add_argument("--part", metavar="PART", default="test", help="dev, test (default) or holdout")
    parser.add_argument(
        "--fan",
        action="store_true",
        help="draw whole trajectories from every few minutes instead of one step",
    )
    parser.add_argument("--output", metavar="PNG", help="file to write (default: FILE-FEATURE.png)")
    add_series_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Draw one figure per feature.

    Raises:
        InputError: a file or trace that cannot be used; nothing is written then.
    """
    from podgym.envs.workloads import PACKAGED_TRACES
    from podgym.forecasters.evaluation.comparison import compare
    from podgym.forecasters.evaluation.drawing import save_figure
    from podgym.forecasters.evaluation.plots import fan_figure, forecast_figure
    from podgym.forecasters.evaluation.rolling import evaluate_forecaster
    from podgym.forecasters.factory import NAIVE_MODELS, make_forecaster
    from podgym.forecasters.store import load_forecaster

    if args.part not in ("dev", "test", "holdout"):
        raise InputError(f"--part {args.part}: allowed are dev, test and holdout.")
    if args.output and (Path(args.output).suffix != ".png" or Path(args.output).is_dir()):
        raise InputError(f"--output {args.output}: name a file that ends in .png.")
    forecaster = load_forecaster(args.model)
    spec = forecaster.spec
    trace = args.trace or spec.trained_on.partition(":")[0]
    if args.trace is None and trace not in PACKAGED_TRACES:
        raise InputError(f"{args.model} was trained on {spec.trained_on!r}; name its file with --trace.")
    args.features = args.features or list(spec.features)
    args.step_s = args.step_s or spec.step_s
    data = open_trace_series(trace, args)
    train = data.part("train")
    models = [make_forecaster(name, horizon_minutes=forecaster.horizon_minutes) for name in NAIVE_MODELS]
    results = [
        evaluate_forecaster(model, data, args.part, timed=False)
        for model in (forecaster, *(model.fit(train) for model in models))
    ]
    comparison = compare(results)
    draw = fan_figure if args.fan else forecast_figure
    for feature in spec.features:
        suffix = f"-{feature}" if len(spec.features) > 1 or not args.output else ""
        stem = Path(args.output or args.model).with_suffix("")
        path = save_figure(stem.with_name(f"{stem.name}{suffix}.png"), draw(comparison, feature))
        print(f"wrote {path}")
    return 0

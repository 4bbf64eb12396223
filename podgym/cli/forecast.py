"""``podgym forecast``: train, judge, export and look at forecasters; one subcommand per module."""

import argparse
from importlib import import_module

NAME = "forecast"
HELP = "train forecasters of load, compare them with naive ones, export and plot them"

_SUBCOMMANDS = ("train", "evaluate", "export", "plot")

_EPILOG = """\
examples:
  podgym forecast train --trace alibaba2018 --features rate_rps --model lstm --output alibaba.forecaster
  podgym forecast evaluate --trace alibaba2018 --trace requests.csv --output results/forecasts
  podgym forecast export alibaba.forecaster alibaba.onnx
  podgym forecast plot alibaba.forecaster --output forecasts.png

In Python a trained forecaster goes straight into an environment:
  gym.make("podgym/Trace-v0", forecaster=podgym.forecasters.load_forecaster("alibaba.forecaster"))

A trace is alibaba2018, google2019, azure_v2, a downloaded public trace, a CSV or parquet file, or a generated
load such as family:diurnal. Its first 70 % are for training, the next 15 % (dev) for choosing settings, the
last 15 % (test) for judging."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    parser.epilog = _EPILOG
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for name in _SUBCOMMANDS:
        module = import_module(f"podgym.cli.forecast_{name}")
        subparser = subparsers.add_parser(
            name,
            help=module.HELP.replace("%", "%%"),
            description=f"{module.HELP[0].upper()}{module.HELP[1:]}.".replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run_subcommand=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    status: int = args.run_subcommand(args)
    return status

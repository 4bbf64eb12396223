"""What the subcommands of ``podgym forecast`` share: the trace, the models and their options."""

import argparse
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError, unknown_name

if TYPE_CHECKING:
    from podgym.forecasters.sources import TraceSeries


def add_series_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what chooses the columns and the step of a trace."""
    parser.add_argument(
        "--features", metavar="NAME", nargs="+",
        help="columns to forecast together, or rate_rps, the request rate that environments use (default: "
        "CPU and memory of a packaged trace, the request rate of a file that has one)",
    )  # fmt: skip
    parser.add_argument(
        "--step-s", metavar="S", type=float,
        help="seconds between two samples (default: 60, or the trace's own when that is longer)",
    )  # fmt: skip


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what changes how models are made and trained."""
    parser.add_argument(
        "--horizon",
        metavar="MINUTES",
        type=int,
        help="minutes ahead, 1 to 60 (default: 5; one step if longer)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="seed of everything random (default: 0)"
    )
    parser.add_argument(
        "--epochs", metavar="N", type=int, help="passes over the data, networks only (default: the model's)"
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="another option of the model, such as window=30, training.patience=5 or cleaning.z_threshold=4; "
        "may be repeated",
    )  # fmt: skip


def open_trace_series(source: str, args: argparse.Namespace) -> "TraceSeries":
    """Open a trace as the options say."""
    from podgym.forecasters.sources import open_series

    return open_series(source, features=args.features, step_s=args.step_s)


def horizon_minutes(data: "TraceSeries", given: int | None) -> int:
    """Return the horizon asked for; by default five minutes, or one step of a coarser trace."""
    from podgym.forecasters.base import HORIZON_MINUTES

    if given is not None:
        return given
    return max(HORIZON_MINUTES, round(data.series.step_s / 60.0))


def model_options(
    model: str, horizon: int, args: argparse.Namespace, *, strict: bool = True
) -> dict[str, Any]:
    """Return the constructor's arguments of a model from the options of the command line.

    Args:
        model: name of the model.
        horizon: minutes ahead.
        args: options declared by ``add_model_arguments``.
        strict: refuse an option that the model does not have; else leave it out.

    Raises:
        InputError: an unknown model or option, or a bad value.
    """
    from podgym.cli.settings import parse_changes
    from podgym.forecasters.factory import forecaster_class

    allowed = list(inspect.signature(forecaster_class(model)).parameters)
    options: dict[str, Any] = {"horizon_minutes": horizon}
    changes = parse_changes(args.changes)
    if args.epochs is not None and strict and "training" not in allowed:
        raise InputError(f"--epochs {args.epochs}: {model} is not trained in epochs; leave it out.")
    if args.epochs is not None:
        changes.setdefault("training", {})["epochs"] = args.epochs
    for key, value in changes.items():
        if key in allowed:
            options[key] = _cleaning(value) if key == "cleaning" else value
        elif strict:
            raise unknown_name(f"option of forecaster {model!r}", key, allowed)
    if "seed" in allowed:
        options["seed"] = args.seed
    return options


def _cleaning(changes: object) -> Any:  # noqa: ANN401  (a CleaningConfig; imported when needed)
    from podgym.envs.config import override
    from podgym.forecasters.cleaning import CleaningConfig

    if not isinstance(changes, dict):
        raise InputError(f"--set cleaning={changes!r}: name a field, as in --set cleaning.z_threshold=4.")
    return override(CleaningConfig(), changes, "cleaning.")


def checked_models(names: Sequence[str]) -> list[str]:
    """Return names of models; ``all`` and ``naive`` stand for several.

    Raises:
        InputError: an unknown name, or a model named twice.
    """
    from podgym.forecasters.factory import MODELS, NAIVE_MODELS

    groups = {"all": MODELS, "naive": NAIVE_MODELS}
    chosen: list[str] = []
    for name in names:
        if name not in groups and name not in MODELS:
            raise unknown_name("forecaster", name, (*MODELS, *groups))
        for each in groups.get(name, (name,)):
            if each in chosen and name not in groups:
                raise InputError(f"forecaster {each!r} is named twice.")
            chosen += [] if each in chosen else [each]
    return chosen

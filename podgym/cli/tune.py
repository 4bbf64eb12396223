"""``podgym tune``: find good options of a controller under a declared budget."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from podgym.errors import InputError, unknown_name

if TYPE_CHECKING:
    from podgym.envs.config import EnvConfig
    from podgym.eval.tuning.run import Request

NAME = "tune"
HELP = "search the best options of a controller under a budget of environment steps, with a ledger"
FORECASTS = ("naive", "noisy_oracle", "oracle", "none")
"""Forecasts in the observation that need no file."""

_EPILOG = """\
examples:
  Kubernetes' HPA on the paper's burst, for 200 000 control intervals, two episodes at a time:
    podgym tune hpa --env podgym/Burst-v0 --budget 200000 --processes 2

  continue after a kill; the result is the same to the last bit:
    podgym tune hpa --env podgym/Burst-v0 --budget 200000 --processes 2 --resume

  the nonlinear rule, whose weights are tuned by the cross-entropy method, in batches of episodes:
    podgym tune rule --env podgym/Burst-v0 --budget 4000000 --output tuning/rule

  a predictive controller that knows the true future, which bounds what a forecast can be worth:
    podgym tune forecast_threshold --env podgym/Trace-v0 --budget 500000 --forecast oracle

  the environment's own reward, and another workload:
    podgym tune keda --env podgym/Trace-v0 --budget 100000 --objective reward \\
        --set workload=family:burst --set reward.preset=paper

A step is one control interval; every step of every episode is charged, those of the final choice too. The
search sees training episodes; the best candidates and the default options are compared on dev episodes. Test
episodes (part test of a trace, or seeds from 200000) are never opened. A best value at the edge of its range
widens the range and searches again within the further budget. The folder gets ledger.jsonl (every evaluation)
and result.json. The scores printed are on dev and so a little flattering to the best; publish those of
`podgym evaluate` on test episodes. Exit status: 0, or 2 for bad input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("controller", metavar="CONTROLLER", help="name of the controller, such as hpa")
    where = parser.add_argument_group("what to tune on")
    where.add_argument("--env", metavar="ID", required=True, help="an environment; `podgym envs` lists them")
    where.add_argument(
        "--forecast", metavar="NAME",
        help=f"forecast that the controller sees: {', '.join(FORECASTS)} (default: the environment's, naive)",
    )  # fmt: skip
    where.add_argument(
        "--forecaster", metavar="FILE",
        help="forecaster behind the observation and the plans: a file of `podgym forecast train`, `shipped`: "
        "the one that comes with the package (default if the controller looks at forecasts), `naive` or "
        "`oracle`",
    )  # fmt: skip
    where.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change the configuration, for example episode_s=1800; may be repeated",
    )  # fmt: skip
    how = parser.add_argument_group("how long and for what")
    how.add_argument(
        "--budget",
        metavar="N",
        type=int,
        required=True,
        help="environment steps (control intervals) to spend; the rule makes use of millions",
    )
    how.add_argument(
        "--further-budget", metavar="N", type=int,
        help="further steps for searches in wider ranges, should a best value sit at an edge (default: half "
        "of --budget; 0: never)",
    )  # fmt: skip
    how.add_argument(
        "--objective", metavar="NAME", default="slo_cost",
        help="slo_cost: cost of SLO violations, cores, memory and churn, lower is better (default); reward: "
        "the environment's own, higher is better",
    )  # fmt: skip
    how.add_argument(
        "--seed", metavar="S", type=int, default=0,
        help="seed of the search; the episodes are the same for all (default: 0)",
    )  # fmt: skip
    how.add_argument(
        "--processes", metavar="P", type=int, default=1,
        help="processes to run episodes in; the result does not depend on it (default: 1; the rule needs no "
        "more, as its episodes run in batches)",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument(
        "--output", metavar="DIR", help="folder of ledger and result (default: tuning/ENV-CONTROLLER)"
    )
    out.add_argument(
        "--resume", action="store_true", help="continue the ledger in the folder, if there is one"
    )
    out.add_argument(
        "--json", action="store_true", help="print the content of result.json instead of a table"
    )


def run(args: argparse.Namespace) -> int:
    """Tune, write ledger and result, and print what was found.

    Raises:
        InputError: anything about the arguments; nothing is written then.
    """
    from podgym.cli.progress import counting
    from podgym.eval.tuning.run import tune
    from podgym.files import to_json

    request = make_request(args)
    folder = Path(args.output) if args.output else default_folder(args.env, args.controller)
    with counting(f"tuning {args.controller} on {args.env}") as report:
        document = tune(
            request,
            folder,
            processes=args.processes,
            resume=args.resume,
            on_spent=lambda spent: report(spent, max(request.budget_steps, spent), f"{spent} steps"),
        )
    if args.json:
        print(to_json(document))
    else:
        print_result(document, folder)
    return 0


def make_request(args: argparse.Namespace) -> "Request":
    """Return what the arguments ask for.

    Raises:
        InputError: an unknown name, a bad number, or options that contradict each other.
    """
    from podgym.cli.settings import environment_config, parse_changes
    from podgym.envs.config import override
    from podgym.eval.tuning.episodes import Objective
    from podgym.eval.tuning.proposers import method_of
    from podgym.eval.tuning.run import Request

    method_of(args.controller)
    config = environment_config(args.env)
    changes = parse_changes(args.changes)
    if args.objective not in get_args(Objective):
        raise unknown_name("objective", args.objective, get_args(Objective))
    if args.forecast is not None and args.forecast not in FORECASTS:
        raise unknown_name("forecast", args.forecast, FORECASTS)
    config = override(config, _own_options(config.workload_options, changes))
    forecaster = _forecaster(args, config)
    if args.forecast is not None:
        config = override(config, {"observation.forecast": args.forecast})
    further = args.budget // 2 if args.further_budget is None else args.further_budget
    return Request(
        controller=args.controller,
        environment=args.env,
        config=config,
        budget_steps=args.budget,
        further_budget_steps=further,
        seed=args.seed,
        objective=args.objective,
        forecaster=forecaster,
        changes=tuple(args.changes),
    )


def _own_options(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes, with the options of a new workload afresh and those of the old one kept."""
    options = dict(changes.get("workload_options", {}))
    if "workload" in changes:
        return {**changes, "workload_options": options}
    return {**changes, "workload_options": {**present, **options}}


def _forecaster(args: argparse.Namespace, config: "EnvConfig") -> str | None:
    """Return the forecaster of a request; None: the observation's own forecast."""
    from podgym.eval.forecast_choice import NAIVE, default_forecaster

    if args.forecast is not None:
        if args.forecaster not in (None, NAIVE):
            raise InputError("give --forecast or --forecaster, not both.")
        return None
    chosen = args.forecaster or default_forecaster([args.controller], config.workload)
    return None if chosen == NAIVE else chosen


def default_folder(environment: str, controller: str) -> Path:
    """Return where ledger and result go unless a folder is named."""
    from podgym.cli.evaluate import file_stem

    return Path("tuning") / f"{file_stem(environment)}-{controller}"


def print_result(document: Mapping[str, Any], folder: Path) -> None:
    """Print default and best options with their scores, and what became of the budget."""
    from rich.console import Console
    from rich.table import Table

    from podgym.eval.tuning.run import LEDGER_FILE, RESULT_FILE

    objective = document["objective"]
    episodes = len(document["dev_seeds"])
    table = Table()
    table.add_column("options")
    table.add_column(f"mean {objective['name']}, {objective['better']} is better", justify="right")
    for row, name in (("default", "default"), ("best", "tuned")):
        score = document[row]
        value = f"{score['dev_mean']:.6g}" if not score["refusal"] else "refused"
        table.add_row(f"{name}: {_options_text(score['options'])}", value)
    print(
        f"{document['controller']} on {document['environment']}: {document['candidates']} candidates, "
        f"{document['spent_steps']} of {document['budget_steps']} steps."
    )
    print(f"Compared on {episodes} dev episode{'s' if episodes > 1 else ''}:")
    Console(file=sys.stdout, highlight=False).print(table)
    for line in _edge_lines(document):
        print(line)
    for file in (RESULT_FILE, LEDGER_FILE):
        print(f"wrote {folder / file}")


def _options_text(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value_text(value)}" for name, value in options.items()) or "as they are"


def _value_text(value: object) -> str:
    if isinstance(value, list | tuple) and len(value) > 6:
        return f"({len(value)} numbers)"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _edge_lines(document: Mapping[str, Any]) -> list[str]:
    """Return what to say of ranges: those widened, and values still at an edge."""
    *before, last = document["searches"]
    lines = [
        f"{_place(edge)}; searched again in {edge['after'][0]:g} to {edge['after'][1]:g}."
        for search in before
        for edge in search["edges"]
        if edge["widens"]
    ]
    for edge in last["edges"]:
        why = "the budget allows no wider search" if edge["widens"] else "a hard bound"
        lines.append(f"{_place(edge)}: {why}.")
    if before:
        spent, budget = document["further_spent_steps"], document["further_budget_steps"]
        lines.append(f"Further searches: {spent} of {budget} further steps.")
    return lines


def _place(edge: Mapping[str, Any]) -> str:
    low, high = edge["before"]
    return f"{edge['parameter']}={_value_text(edge['value'])} sits at the edge of {low:g} to {high:g}"

"""The side of ``podgym evaluate`` that runs a declared protocol: ``--protocol NAME|FILE``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.eval.protocol import ProtocolResult

_DECLARED = {
    "env": "--env", "workload": "--workload", "part": "--part", "peak_rps": "--peak-rps",
    "episode_hours": "--episode-hours", "changes": "--set", "controller": "--controller", "agent": "--agent",
    "forecaster": "--forecaster", "replicas": "--replicas", "target_cpu": "--target-cpu", "seed": "--seed",
    "episodes": "--episodes", "tuned": "--tuned", "prices": "--prices",
}  # fmt: skip
"""Options whose place is the protocol, by the name of their value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that belong to protocols."""
    group = parser.add_argument_group("or a declared protocol")
    group.add_argument(
        "--protocol", metavar="NAME|FILE",
        help="run a declared evaluation: quick (two minutes), families, traces, paper, shift, ablation, or "
        "your own .yml; with --output (default: results/NAME), --processes, --resume and --json",
    )  # fmt: skip
    group.add_argument(
        "--resume", action="store_true",
        help="with --protocol: take up what is finished in the folder, after a kill or with further methods",
    )  # fmt: skip


def run(args: argparse.Namespace, parsed_without: argparse.Namespace) -> int:
    """Run a protocol, print a table per environment and name the files.

    Args:
        args: the arguments.
        parsed_without: those of a command line without any, to see what was given.

    Raises:
        InputError: an option whose place is the protocol, a bad protocol, or a folder that cannot be used.
    """
    from podgym.cli.progress import counting
    from podgym.eval.protocol import read_protocol, run_protocol
    from podgym.files import to_json

    for name, option in _DECLARED.items():
        if getattr(args, name) != getattr(parsed_without, name):
            raise InputError(
                f"{option} does not go with --protocol, which declares it; write it into a .yml file of your "
                "own, and name that."
            )
    protocol = read_protocol(args.protocol)
    folder = Path(args.output) if args.output else Path("results") / protocol.name
    processes = None if args.processes == parsed_without.processes else args.processes
    with counting(f"protocol {protocol.name}") as report:
        result = run_protocol(protocol, folder, processes=processes, resume=args.resume, on_progress=report)
    if args.json:
        print(to_json(result.document))
    else:
        _print(result)
    return 0


def _print(result: "ProtocolResult") -> None:
    from rich.console import Console

    from podgym.eval.protocol.tables import environment_table, legend

    console = Console(file=sys.stdout, highlight=False)
    document = result.document
    first, last = document["seeds"]
    console.print(f"Protocol {document['protocol']}: part {document['part']}, seeds {first} to {last}.")
    for remark in document["remarks"]:
        console.print(remark, markup=False)
    for environment in document["environments"]:
        console.print(environment_table(document, environment))
        console.print(legend(environment), markup=False)
    for path in result.paths:
        print(f"wrote {path}")

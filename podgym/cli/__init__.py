"""The command ``podgym``: one subcommand per module, imported when it is called.

A subcommand's module has ``NAME``, ``HELP``, ``add_arguments(parser)`` and ``run(args) -> exit status``. Bad
input is one line on stderr and exit status 2; a failed check is status 1.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from podgym import __version__
from podgym.errors import InputError, unknown_name

COMMANDS = (
    "demo", "train", "evaluate", "report", "paper", "plan", "tune", "forecast", "export", "dataset", "envs",
    "restore", "calibrate", "bench", "conformance",
)  # fmt: skip
"""Subcommands, each a module of this package, in the order of the help."""

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit statuses; a command that ran and found a failure returns 1."""

_DESCRIPTION = "Kubernetes autoscaling, simulated: environments to learn in, controllers to compare."
_EPILOG = """examples:
  podgym demo --quick
  podgym envs podgym/Burst-v0
  podgym evaluate --env podgym/HighLoad-v0 --controller hpa --episodes 10
  podgym train --env podgym/Burst-v0 --algo ppo
  podgym evaluate --protocol quick
  podgym report results/quick
  podgym evaluate --cluster deploy/podgym.yml --controller cluster hpa
  podgym restore --cluster deploy/podgym.yml
  podgym calibrate results/live/hpa-seed0
  podgym paper
  podgym plan --env podgym/Burst-v0 --minute 5
  podgym tune hpa --env podgym/HighLoad-v0 --budget 50000
  podgym forecast evaluate --trace alibaba2018 --models ewma lstm
  podgym dataset --env podgym/FamilyBurst-v0 --controller hpa --tuned --episodes 100
  podgym evaluate --workload requests.csv --peak-rps 800 --controller static --replicas 16
  podgym COMMAND --help"""


class Command(Protocol):
    """What a subcommand's module offers."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments; a description and an epilog may be set too."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit status."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ``InputError``, with the closest match for an unknown option."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.rstrip('.')}; see {self.prog} --help.")

    def parse_strictly(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments or raise ``InputError``."""
        args, unknown = self.parse_known_args(arguments)
        if unknown:
            self._chosen(arguments)._refuse(unknown[0])
        return args

    def _chosen(self, arguments: Sequence[str]) -> "_Parser":
        """Return the parser of the subcommand that the arguments begin with, else this one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and arguments:
                return cast(_Parser, action.choices.get(arguments[0], self))
        return self

    def _refuse(self, unknown: str) -> NoReturn:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        if unknown.startswith("-"):
            raise unknown_name(f"option of {self.prog}", unknown.partition("=")[0], known)
        self.error(f"unexpected argument {unknown!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        argv: arguments without the program's name; default: those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except InputError as error:
        print(f"podgym: error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("podgym: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `podgym envs | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except SystemExit as leaving:  # argparse after --help and --version
        return int(leaving.code or 0)


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name.startswith("-"):
        _top_parser().parse_strictly([name, *arguments[1:]])
        raise InputError(f"no command after {name!r}; commands: {', '.join(COMMANDS)}.")
    command = load_command(name)
    parser = _Parser(
        prog=f"podgym {command.NAME}",
        description=f"{command.HELP[0].upper()}{command.HELP[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return command.run(parser.parse_strictly(arguments[1:]))


def load_command(name: str) -> Command:
    """Import the module of a subcommand.

    Raises:
        InputError: there is no such subcommand.
    """
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    return cast(Command, import_module(f"podgym.cli.{name}"))


def _top_parser() -> _Parser:
    lines = "\n".join(f"  {name:<12} {load_command(name).HELP}" for name in COMMANDS)
    parser = _Parser(
        prog="podgym",
        usage="podgym COMMAND [options]",
        description=f"{_DESCRIPTION}\n\ncommands:\n{lines}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"podgym {__version__}")
    return parser

"""``podgym report``: the page of the results of a protocol, or of a real cluster."""

import argparse
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.eval.report import Written

NAME = "report"
HELP = "write one page of results: verdict, tables, figures, provenance"

_WIDTH = 80
_EPILOG = """\
examples:
  podgym evaluate --protocol quick
  podgym report results/quick
  two methods of your choice, in one episode, side by side:
    podgym report results/quick --methods ppo "hpa tuned" --episode-seed 160003
  without running anything again:
    podgym report results/quick --no-episodes --output page
  of a real cluster:
    podgym evaluate --cluster testbed.yml --output results/live
    podgym report results/live

RUN gets report.html, which is complete in itself (no scripts, nothing loaded; it prints, and reads on a
phone), and report.md with its figures in report_files/. The verdict says lower or higher only where the
paired interval excludes zero and Holm's correction agrees. Every constant, version, seed, command and hash
is there.

One episode of each environment is run again to be drawn, for the learned method of the lowest mean cost
(where nothing was learned: the controller of the lowest) and the rival: the episode in which their difference
is the median of all. It must repeat load and cost of the results, else the page says that it does not. A
folder that you did not make yourself may name controllers in files of your machine: --no-episodes runs none
of them. Of a real cluster the first whole episode of each method is drawn as it was recorded, with the
simulator beside, and nothing is run again. Exit status: 0, or 2 for bad input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a folder that podgym evaluate --protocol, or podgym evaluate --cluster, wrote",
    )
    parser.add_argument("--output", metavar="DIR", help="where to write (default: RUN)")
    parser.add_argument(
        "--episode-seed", metavar="S", type=int,
        help="seed of the episode that is drawn (default: of each environment that of the median difference)",
    )  # fmt: skip
    parser.add_argument(
        "--methods", metavar=("A", "B"), nargs=2,
        help="labels of the two methods that are drawn side by side, as the tables call them",
    )  # fmt: skip
    parser.add_argument(
        "--no-episodes", action="store_true",
        help="run nothing again: no single episodes, and not the paper's tables",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the report, print the verdict and the paths.

    Raises:
        InputError: options that do not go together, no such results, or a folder that cannot be written to.
    """
    from podgym.eval.live.report_files import is_live

    written = _of_live(args) if is_live(args.run) else _of_protocol(args)
    print(textwrap.fill(" ".join(written.verdict.sentences), _WIDTH, break_on_hyphens=False))
    for caution in written.verdict.cautions:
        print(textwrap.fill(f"- {caution}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    for path in written.paths:
        print(f"wrote {path}")
    if written.num_figures:
        print(f"wrote {written.num_figures} figures to {written.paths[0].parent / 'report_files'}")
    return 0


def _of_protocol(args: argparse.Namespace) -> "Written":
    from podgym.cli.progress import counting
    from podgym.errors import InputError
    from podgym.eval.report import Drawn, write_report

    if args.no_episodes and (args.methods or args.episode_seed is not None):
        raise InputError("--no-episodes draws no episode; leave out --methods and --episode-seed, or it.")
    drawn = Drawn(not args.no_episodes, tuple(args.methods or ()), args.episode_seed)
    with counting("report") as report:
        return write_report(args.run, args.output, drawn, report)


def _of_live(args: argparse.Namespace) -> "Written":
    from podgym.cli.progress import counting
    from podgym.errors import InputError
    from podgym.eval.live.report import write_live_report

    if args.methods or args.no_episodes:
        option = "--methods" if args.methods else "--no-episodes"
        raise InputError(
            f"{option} goes with the results of a protocol; {args.run} is of a real cluster, where every "
            "method is drawn as it was recorded and nothing is run again."
        )
    with counting("report") as report:
        return write_live_report(args.run, args.output, args.episode_seed, report)

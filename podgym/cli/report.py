"""``podgym report``: the page of a protocol's results."""

import argparse
import textwrap

NAME = "report"
HELP = "write one page of a protocol's results: verdict, tables, figures, provenance"

_WIDTH = 80
_EPILOG = """\
examples:
  podgym evaluate --protocol quick
  podgym report results/quick
  two methods of your choice, in one episode, side by side:
    podgym report results/quick --methods ppo "hpa tuned" --episode-seed 160003
  without running anything again:
    podgym report results/quick --no-episodes --output page

RUN gets report.html, which is complete in itself (no scripts, nothing loaded; it prints, and reads on a
phone), and report.md with its figures in report_files/. The verdict says lower or higher only where the
paired interval excludes zero and Holm's correction agrees. Every constant, version, seed, command and hash
is there.

One episode of each environment is run again to be drawn, for the learned method of the lowest mean cost
(where nothing was learned: the controller of the lowest) and the rival: the episode in which their difference
is the median of all. It must repeat load and cost of the results, else the page says that it does not. A
folder that you did not make yourself may name controllers in files of your machine: --no-episodes runs none
of them. Exit status: 0, or 2 for bad input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("run", metavar="RUN", help="a folder that podgym evaluate --protocol wrote")
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
    from podgym.cli.progress import counting
    from podgym.errors import InputError
    from podgym.eval.report import Drawn, write_report

    if args.no_episodes and (args.methods or args.episode_seed is not None):
        raise InputError("--no-episodes draws no episode; leave out --methods and --episode-seed, or it.")
    drawn = Drawn(not args.no_episodes, tuple(args.methods or ()), args.episode_seed)
    with counting("report") as report:
        written = write_report(args.run, args.output, drawn, report)
    print(textwrap.fill(" ".join(written.verdict.sentences), _WIDTH, break_on_hyphens=False))
    for caution in written.verdict.cautions:
        print(textwrap.fill(f"- {caution}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    for path in written.paths:
        print(f"wrote {path}")
    if written.num_figures:
        print(f"wrote {written.num_figures} figures to {written.paths[0].parent / 'report_files'}")
    return 0

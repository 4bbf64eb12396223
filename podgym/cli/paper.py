"""``podgym paper``: the paper's Tables 3 to 5, its figures beside ours."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.eval.episode import EpisodeRecord
    from podgym.eval.paper import PaperRow, PaperTable

NAME = "paper"
HELP = "compare LSTM+GA with Kubernetes' default on the paper's scenarios, its figures beside ours"

DEFAULT_EPISODES = 10

_EPILOG = """\
Both schemes face the same episodes. LSTM+GA forecasts with the paper's LSTM, which comes with the package,
and applies the plan of the genetic algorithm every five minutes; the default is the HPA on CPU at 80 %, with
VPA on memory. Changes are paired, their intervals bootstrapped over episodes. "holds": the interval excludes
no change and reaches the paper's; "holds in part": the change is there, but smaller.

examples:
  podgym paper
  podgym paper --episodes 30 --output results/paper
  what a forecaster without error would give:
    podgym paper --forecaster oracle"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--episodes", metavar="N", type=int, default=DEFAULT_EPISODES,
        help=f"episodes of each scenario (default: {DEFAULT_EPISODES})",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of the first (default: 0)")
    parser.add_argument(
        "--scheme", metavar="NAME[:OPTION=VALUE,...]", default="lstm_ga",
        help="what to set against the default (default: lstm_ga)",
    )  # fmt: skip
    parser.add_argument(
        "--forecaster", choices=("shipped", "naive", "oracle"), default="shipped",
        help="what the plans rest on: the LSTM that comes with the package (default), the last load, or the "
        "true future",
    )  # fmt: skip
    parser.add_argument(
        "--processes", metavar="P", type=int, default=os.cpu_count() or 1,
        help="episodes to run at a time; the results do not depend on it (default: one per core)",
    )  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="write tables.md, results.json and a figure of each")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Run the episodes and print the tables.

    Raises:
        InputError: fewer than two episodes, a bad scheme, or an output folder that cannot be used.
    """
    from podgym.eval.paper import PAPER_TABLES, markdown, paper_rows
    from podgym.eval.summary import summarise
    from podgym.files import to_json, usable_folder, write_json, write_text

    if args.episodes < 2:
        raise InputError(f"--episodes is {args.episodes}; an interval needs 2 or more.")
    folder = None if args.output is None else usable_folder(args.output)
    records = _run(args)
    tables = {}
    for table, (scheme, default) in zip(PAPER_TABLES, records, strict=True):
        tables[table.number] = paper_rows(table, summarise(scheme), summarise(default))
    document = _document(args, tables, [record for pair in records for group in pair for record in group[:1]])
    if args.json:
        print(to_json(document))
    else:
        _print(args, tables)
    if folder is not None:
        write_text(folder / "tables.md", markdown(tables))
        write_json(folder / "results.json", document)
        _write_figures(folder, PAPER_TABLES, records)
        if not args.json:
            print(f"wrote {folder / 'tables.md'}, results.json and {len(records)} figures beside it")
    return 0


def _run(args: argparse.Namespace) -> list[tuple[list["EpisodeRecord"], list["EpisodeRecord"]]]:
    """Return the episodes of the scheme and of the default, by table."""
    from podgym.cli.progress import progress
    from podgym.cli.settings import environment_config
    from podgym.envs.env import AutoscaleEnv
    from podgym.eval.contenders import parse_contenders
    from podgym.eval.forecast_choice import forecaster_file
    from podgym.eval.paper import DEFAULT, PAPER_TABLES
    from podgym.eval.runner import make_jobs, run_jobs

    (scheme,) = parse_contenders([args.scheme])
    jobs, steps = [], []
    for table in PAPER_TABLES:
        config = environment_config(table.environment)
        forecaster = forecaster_file(args.forecaster, config.workload)
        for name, options, used in ((scheme.controller, scheme.options, forecaster), (DEFAULT, {}, None)):
            made = make_jobs(
                table.environment, config, name, options, seed=args.seed, episodes=args.episodes,
                forecaster=used,
            )  # fmt: skip
            jobs += made
            steps += [AutoscaleEnv(config).episode_steps] * len(made)
    with progress("episodes", steps) as reports:
        records = run_jobs(jobs, processes=args.processes, on_step=reports.on_step, on_done=reports.on_done)
    n = args.episodes
    return [(records[i : i + n], records[i + n : i + 2 * n]) for i in range(0, len(records), 2 * n)]


def _print(args: argparse.Namespace, tables: Mapping[int, Sequence["PaperRow"]]) -> None:
    from podgym.eval.paper import PAPER_TABLES, row_cells

    for number, rows in tables.items():
        title = next(table.title for table in PAPER_TABLES if table.number == number)
        print(f"{f'Table {number}, {title}':<31} {args.scheme:>8} {'default':>8}   change")
        for row in rows:
            heading, paper_scheme, paper_default, paper_change, scheme, default, change, verdict = row_cells(
                row
            )
            print(f"{heading:<25} paper {paper_scheme:>8} {paper_default:>8}  {paper_change:>8}")
            value, _, interval = change.partition(" [")
            print(f"{'':<25} here  {scheme:>8} {default:>8}  {value:>8} [{interval}  {verdict}")
        print()
    print(
        f"{args.episodes} episodes of each, seeds {args.seed} to {args.seed + args.episodes - 1}; forecasts: "
        f"{args.forecaster}. [95 % interval]"
    )
    print("Throughput is that of the busiest phase, the rest of the whole episode: docs/calibration.md.")


def _document(
    args: argparse.Namespace, tables: Mapping[int, Sequence["PaperRow"]], records: Sequence["EpisodeRecord"]
) -> dict[str, Any]:
    return {
        "format": "podgym.paper/1",
        "scheme": args.scheme,
        "forecaster": args.forecaster,
        "seeds": [args.seed + i for i in range(args.episodes)],
        "versions": dict(records[0].metadata.versions),
        "tables": {
            str(number): [
                {**asdict(row), "paper_change": row.paper_change, "verdict": row.verdict} for row in rows
            ]
            for number, rows in tables.items()
        },
    }


def _write_figures(
    folder: Path,
    tables: Sequence["PaperTable"],
    records: Sequence[tuple[Sequence["EpisodeRecord"], Sequence["EpisodeRecord"]]],
) -> None:
    from podgym.eval.plots import save_figure

    for table, pair in zip(tables, records, strict=True):
        name = f"table-{table.number}-{table.title.replace(' ', '-')}.png"
        save_figure(folder / name, *(group[0] for group in pair))

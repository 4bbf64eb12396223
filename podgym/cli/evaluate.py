"""``podgym evaluate``: run controllers and policies on an environment and measure what they did."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podgym.cli import live, protocol
from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.cli.settings import Target
    from podgym.eval.charges import PriceTable
    from podgym.eval.contenders import Contender
    from podgym.eval.episode import EpisodeRecord
    from podgym.eval.runner import Job
    from podgym.eval.summary import Summary

NAME = "evaluate"
HELP = "run controllers or policies on an environment or a trace and measure response time, use and scaling"

_EPILOG = """\
examples:
  the paper's burst under Kubernetes' HPA, ten episodes (seeds 0 to 9), mean ± standard deviation:
    podgym evaluate --env podgym/Burst-v0 --controller hpa --episodes 10

  HPA and 16 fixed replicas on the same load, with figures and data of every interval:
    podgym evaluate --env podgym/HighLoad-v0 --controller hpa static --replicas 16 --output results/high

  your own trace, a CSV with a time column and a column of requests/s, scaled to a peak of 800 requests/s:
    podgym evaluate --workload requests.csv --peak-rps 800 --controller hpa

  the last 15 % of the Alibaba trace, which nothing is trained on, with a lower target:
    podgym evaluate --workload alibaba2018 --part test --controller hpa --target-cpu 60

  the paper's LSTM+GA against Kubernetes' default, and against HPA with a target of its own:
    podgym evaluate --env podgym/Burst-v0 --controller lstm_ga kubernetes_default hpa:cpu_target_percent=50

  a controller of your own, class Mine in mine.py, with its option gain, against HPA as it is and tuned:
    podgym evaluate --env podgym/Burst-v0 --controller mine.py:Mine:gain=2 hpa

  a policy that you trained and the one that comes with the package, against HPA:
    podgym evaluate --env podgym/Burst-v0 --agent my.policy pretrained --controller hpa --episodes 10

  another cluster; `podgym envs ID` lists every key:
    podgym evaluate --env podgym/Burst-v0 --controller hpa --set cluster.nodes.count=8 \\
        --set cluster.services.web.max_replicas=50

  a declared evaluation from start to end: methods compared pairwise, with intervals; after a kill, the rest:
    podgym evaluate --protocol quick
    podgym evaluate --protocol families --processes 2 --output results/families --resume

  a real cluster: its own HPA, then ours (take_over: true) under the same load; `podgym restore` undoes:
    podgym evaluate --cluster deploy/podgym.yml --controller cluster hpa --episode-minutes 15 \\
        --load "python deploy/load/run.py --scenario burst --scale 0.1 --latency-s 0.097 \\
        --url http://localhost:8080 --duration-s {duration_s} --seed {seed} --output {output}"

Response times, percentiles too, are of all requests completed in the episode. Exit status: 0, or 2 for bad
input, in which case nothing is written; with --cluster also 1, and 129, 130 or 143 after a signal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    protocol.add_arguments(parser)
    live.add_arguments(parser)
    where = parser.add_argument_group("what to run on (one of the first two)")
    where.add_argument("--env", metavar="ID", help="an environment; `podgym envs` lists them")
    where.add_argument(
        "--workload", metavar="NAME|FILE",
        help="a workload by name, or a CSV or parquet trace, on the cluster of podgym/Trace-v0",
    )  # fmt: skip
    where.add_argument(
        "--part", metavar="PART", help="part of the trace: train, dev, test or all (default with --workload)"
    )
    where.add_argument(
        "--peak-rps", metavar="RATE", type=float,
        help="scale the trace to this peak in requests/s (packaged traces: 1000 unless given)",
    )  # fmt: skip
    where.add_argument(
        "--episode-hours", metavar="HOURS", type=float,
        help="length of an episode (default: the scenario, all of a trace, else an hour)",
    )  # fmt: skip
    where.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change the configuration, for example cluster.control_interval_s=30; may be repeated",
    )  # fmt: skip
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--controller", metavar="NAME[:OPTION=VALUE,...]", nargs="+",
        help="controllers with their options, such as hpa:cpu_target_percent=60 (default: hpa, or none with "
        "--agent); `podgym evaluate --list` shows what there is, `all` takes them all; FILE.py:CLASS is a "
        "class of your own with decide(observation), as in podgym.baselines, or act(observation), which gets "
        "the array of the Gymnasium environment",
    )  # fmt: skip
    what.add_argument(
        "--agent", metavar="FILE|pretrained", nargs="+", action="extend", default=[],
        help="policies: files of `podgym train` or `podgym export`, or `pretrained`, the one that comes with "
        "the package for this environment; each brings its own forecaster and planner",
    )  # fmt: skip
    what.add_argument("--list", action="store_true", help="list the controllers with their options, and stop")
    what.add_argument(
        "--tuned", choices=("both", "no"), default="both",
        help="both (default): a controller without options is shown as it is and, where tuned options come "
        "with the package, tuned; no: as it is",
    )  # fmt: skip
    what.add_argument(
        "--forecaster", metavar="FILE",
        help="forecaster behind the observation and the plans: a file of `podgym forecast train`, `shipped`: "
        "the LSTM that comes with the package for this load (default if a controller looks at forecasts), "
        "`naive`: the last load, or `oracle`: the true future; policies have their own unless it is given",
    )  # fmt: skip
    what.add_argument("--replicas", metavar="N", type=int, help="short for the option replicas, of static")
    what.add_argument(
        "--target-cpu", metavar="PERCENT", type=int,
        help="short for the option cpu_target_percent, of hpa (default: 80)",
    )  # fmt: skip
    what.add_argument(
        "--seed", metavar="S", type=int, default=0, help="seed of the first episode (default: 0)"
    )
    what.add_argument(
        "--episodes", metavar="N", type=int, default=1, help="episodes, with seeds S, S+1, ... (default: 1)"
    )
    what.add_argument(
        "--processes", metavar="P", type=int, default=1,
        help="episodes to run at a time; the results do not depend on it (default: 1)",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument(
        "--prices", metavar="CORE,GIB[,CURRENCY]",
        help="price of a core and of a GiB of memory for an hour, for the measure money (default: "
        "0.04048,0.004445,USD, the list price of AWS Fargate)",
    )  # fmt: skip
    out.add_argument("--output", metavar="DIR", help="write figures, data of every interval and results.json")
    out.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Run the episodes, print the measures and, if asked, write files.

    Raises:
        InputError: anything about the arguments or the trace; nothing is written then.
    """
    from podgym.cli.settings import make_target
    from podgym.eval.charges import LIST_PRICES, parse_prices
    from podgym.eval.contenders import with_tuned
    from podgym.eval.forecast_choice import default_forecaster, forecaster_file
    from podgym.eval.runner import make_jobs
    from podgym.files import usable_folder

    if args.list:
        _list_controllers()
        return 0
    nothing = _nothing_given()
    if args.cluster is not None:
        return live.run(args, nothing, lambda environment: _live_contenders(args, environment))
    live.refuse_live_options(args, nothing)
    if args.protocol is not None:
        return protocol.run(args, nothing)
    if args.resume:
        raise InputError("--resume goes with --protocol; other evaluations are not taken up again.")
    prices = parse_prices(args.prices) if args.prices else LIST_PRICES
    folder = None if args.output is None else usable_folder(args.output)
    contenders = _contenders(args)
    target = make_target(
        environment=args.env,
        workload=args.workload,
        part=args.part,
        peak_rps=args.peak_rps,
        episode_hours=args.episode_hours,
        changes=args.changes,
    )
    if args.tuned == "both":
        contenders = with_tuned(contenders, target.name)
    contenders += _agents(args, target.name, contenders)
    target = _with_remark(target, contenders, args.seed)
    workload = target.config.workload
    chosen = args.forecaster or default_forecaster((each.controller for each in contenders), workload)
    forecaster = forecaster_file(chosen, workload)
    jobs = [
        job
        for each in contenders
        for job in make_jobs(
            target.name, target.config, each.controller, each.options, seed=args.seed,
            episodes=args.episodes, label=each.label, policy=each.policy,
            forecaster=forecaster if each.policy is None else args.forecaster,
        )
    ]  # fmt: skip
    records = _run(target, jobs, args.processes)
    _show_and_write(target, contenders, records, folder, prices=prices, as_json=args.json)
    return 0


def _with_remark(target: "Target", contenders: Sequence["Contender"], seed: int) -> "Target":
    """Say of tuned and trained rows what a reader must know: whether these episodes were seen before."""
    from podgym.envs.core import open_workload
    from podgym.envs.splits import TEST_SEEDS
    from podgym.eval.contenders import TUNED

    tuned = any(each.label.endswith(TUNED) for each in contenders)
    trained = any(each.policy is not None for each in contenders)
    if not tuned and not trained:
        return target
    unseen_part = getattr(open_workload(target.config), "part", "test") == "test"
    if seed in TEST_SEEDS and unseen_part:
        return target
    whose = " and ".join(["tuned options"] * tuned + ["policies"] * trained)
    remark = (
        f"{whose.capitalize()} were chosen on episodes like these; for results to publish, take --seed "
        f"{TEST_SEEDS.start}, and --part test where the load is a trace."
    )
    return dataclasses.replace(target, remarks=(*target.remarks, remark))


def _nothing_given() -> argparse.Namespace:
    """Return the arguments of a command line that has none."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([])


def _list_controllers() -> None:
    from podgym.baselines import CONTROLLERS, controller_options

    for name in CONTROLLERS:
        print(f"{name:<20} {', '.join(controller_options(name)) or '(no options)'}")


def _contenders(args: argparse.Namespace) -> tuple["Contender", ...]:
    from podgym.baselines import CONTROLLERS
    from podgym.eval.contenders import parse_contenders

    short = {"replicas": args.replicas, "cpu_target_percent": args.target_cpu}
    extra = {name: value for name, value in short.items() if value is not None}
    given = args.controller or ([] if args.agent else ["hpa"])
    names = [name for name in CONTROLLERS if name != live.ITSELF] if given == ["all"] else given
    return parse_contenders(names, extra)


def _live_contenders(args: argparse.Namespace, environment: str) -> tuple["Contender", ...]:
    contenders = _contenders(args)
    return contenders + _agents(args, environment, contenders)


def _agents(
    args: argparse.Namespace, environment: str, contenders: Sequence["Contender"]
) -> tuple["Contender", ...]:
    """Return the policies, among them the one that comes with the package if `all` is asked for."""
    from podgym.agents.shipped import PRETRAINED, shipped_environments
    from podgym.eval.contenders import agent_contenders

    agents = list(args.agent)
    if args.controller == ["all"] and PRETRAINED not in agents and environment in shipped_environments():
        agents.append(PRETRAINED)
    return agent_contenders(agents, environment, [each.label for each in contenders])


def _run(target: "Target", jobs: list["Job"], processes: int) -> list["EpisodeRecord"]:
    from podgym.cli.progress import progress
    from podgym.eval.runner import run_jobs

    with progress(target.name, [target.env.episode_steps] * len(jobs)) as reports:
        return run_jobs(jobs, processes=processes, on_step=reports.on_step, on_done=reports.on_done)


def _show_and_write(
    target: "Target",
    contenders: Sequence["Contender"],
    records: Sequence["EpisodeRecord"],
    folder: Path | None,
    *,
    prices: "PriceTable",
    as_json: bool,
) -> None:
    from podgym.eval.summary import result_document, summarise
    from podgym.files import to_json, write_json

    count = len(records) // len(contenders)
    groups = [records[count * i : count * (i + 1)] for i in range(len(contenders))]
    summaries = [summarise(group, prices=prices) for group in groups]
    firsts = [group[0] for group in groups]
    document = result_document(summaries, firsts, {target.name: target.config}, prices)
    document["remarks"] = list(target.remarks)
    written: list[Path] = []
    if folder is not None:
        written = write_episodes(folder, groups)
        written.append(write_json(folder / "results.json", document))
    if as_json:
        print(to_json(document))
    else:
        print_report(target.name, target.remarks, summaries, groups)
        print_paths(written)


def write_episodes(folder: Path, groups: Sequence[Sequence["EpisodeRecord"]], prefix: str = "") -> list[Path]:
    """Write every episode as parquet, and a figure of the first episode of all controllers side by side.

    Where they are too many for one figure, each gets its own.

    Args:
        folder: where to.
        groups: episodes of each controller, the same seeds in the same order.
        prefix: start of every file name.
    """
    from podgym.eval.plots import save_figure
    from podgym.eval.tables import MOST_COLUMNS

    stem = prefix or file_stem(groups[0][0].metadata.environment)
    seed = groups[0][0].metadata.seed
    written = []
    for shown in [groups] if len(groups) <= MOST_COLUMNS else [[group] for group in groups]:
        controllers = "-".join(file_stem(group[0].metadata.controller) for group in shown)
        path = folder / f"{stem}-{controllers}-seed{seed}.png"
        written.append(save_figure(path, *(group[0] for group in shown)))
    for group in groups:
        for record in group:
            name = f"{stem}-{file_stem(record.metadata.controller)}-seed{record.metadata.seed}.parquet"
            written.append(record.write(folder / name))
    return written


def file_stem(name: str) -> str:
    """Return a name for files: ``podgym/Burst-v0`` becomes ``Burst-v0``, a path its last part bare."""
    last = re.split(r"[/\\]", name)[-1].removeprefix("workload ")
    last = re.sub(r"\.(csv|csv\.gz|parquet|pq)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "episode"


def print_report(
    name: str,
    remarks: Sequence[str],
    summaries: Sequence["Summary"],
    groups: Sequence[Sequence["EpisodeRecord"]],
) -> None:
    """Print the tables of episodes on ``name`` and what must be known to read them."""
    from rich.console import Console

    from podgym.eval.tables import MOST_COLUMNS, comparison_table, ranking_table, service_table

    console = Console(file=sys.stdout, highlight=False)
    first = groups[0][0]
    count = len(groups[0])
    seed = first.metadata.seed
    episodes = (
        f"{count} episodes (seeds {seed} to {seed + count - 1})" if count > 1 else f"1 episode (seed {seed})"
    )
    console.print(
        f"{name}: {episodes} of {duration_text(first.duration_s)}, "
        f"a decision every {first.metadata.control_interval_s:g} s"
    )
    console.print(f"Load: {first.metadata.profile_label}{' and others' if count > 1 else ''}", markup=False)
    for remark in remarks:
        console.print(remark, markup=False)
    many = len(summaries) > MOST_COLUMNS
    console.print(ranking_table(summaries) if many else comparison_table(summaries))
    if first.num_services > 1 and not many:
        for summary in summaries:
            console.print(service_table(summary))
    guessed = sum(not entry["measured"] for entry in first.metadata.provenance)
    console.print(
        f"SLO {_slo_text(first)}. The model rests on {len(first.metadata.provenance)} constants, "
        f"{guessed} of them not measured: podgym envs ID lists them."
    )


def _slo_text(record: "EpisodeRecord") -> str:
    slos = sorted(set(record.metadata.slo_response_time_s))
    text = " to ".join(f"{1000 * slo:g}" for slo in dict.fromkeys((slos[0], slos[-1])))
    return f"{text} ms" + (" per service" if record.num_services > 1 else "")


def print_paths(paths: Sequence[Path]) -> None:
    """Print what was written: each figure and document, and the number of data files."""
    if not paths:
        return
    data = [path for path in paths if path.suffix == ".parquet"]
    for path in paths:
        if path not in data or len(data) <= 2:
            print(f"wrote {path}")
    if len(data) > 2:
        print(f"wrote {data[0]} and {len(data) - 1} more .parquet files")


def duration_text(seconds: float) -> str:
    """Return a length of time for people: ``15 min``, ``6.1 days``."""
    for unit_s, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit_s or (name == "min" and seconds >= unit_s):
            return f"{seconds / unit_s:.3g} {name}"
    return f"{seconds:g} s"

"""``podgym evaluate``: run controllers on an environment and measure what they did."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.cli.settings import Target
    from podgym.eval.episode import EpisodeRecord
    from podgym.eval.runner import Job
    from podgym.eval.summary import Summary

NAME = "evaluate"
HELP = "run controllers on an environment or a trace and measure response time, use and scaling"

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

  another cluster; `podgym envs ID` lists every key:
    podgym evaluate --env podgym/Burst-v0 --controller hpa --set cluster.nodes.count=8 \\
        --set cluster.services.web.max_replicas=50

Response times, percentiles too, are of all requests completed in the episode. Exit status: 0, or 2 for bad
input, in which case nothing is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
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
        "--controller", metavar="NAME", nargs="+", default=["hpa"], help="hpa, static, or both (default: hpa)"
    )
    what.add_argument("--replicas", metavar="N", type=int, help="static: replicas of every service")
    what.add_argument(
        "--target-cpu", metavar="PERCENT", type=int, help="hpa: target of CPU use (default: 80)"
    )
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
    out.add_argument("--output", metavar="DIR", help="write figures, data of every interval and results.json")
    out.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Run the episodes, print the measures and, if asked, write files.

    Raises:
        InputError: anything about the arguments or the trace; nothing is written then.
    """
    from podgym.cli.settings import make_target
    from podgym.files import usable_folder

    folder = None if args.output is None else usable_folder(args.output)
    options = controller_options(args.controller, replicas=args.replicas, target_cpu=args.target_cpu)
    target = make_target(
        environment=args.env,
        workload=args.workload,
        part=args.part,
        peak_rps=args.peak_rps,
        episode_hours=args.episode_hours,
        changes=args.changes,
    )
    jobs = _jobs(target, options, args.seed, args.episodes)
    records = _run(target, jobs, args.processes)
    _show_and_write(target, list(options), records, folder, as_json=args.json)
    return 0


def controller_options(
    names: Sequence[str], *, replicas: int | None = None, target_cpu: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return the options of each controller, after checking that it can be made with them.

    Raises:
        InputError: an unknown controller or one named twice, a bad value, or an option that no named
            controller has.
    """
    from podgym.baselines import controller_options as known_options
    from podgym.baselines import make_controller

    given = {"replicas": ("--replicas", replicas), "cpu_target_percent": ("--target-cpu", target_cpu)}
    result: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    for name in names:
        if name in result:
            raise InputError(f"controller {name!r} is named twice.")
        own = [key for key in known_options(name) if key in given and given[key][1] is not None]
        result[name] = {key: given[key][1] for key in own}
        used.update(own)
        make_controller(name, **result[name])
    for key, (option, value) in given.items():
        if value is not None and key not in used:
            raise InputError(f"{option} {value} is of no use to controller {', '.join(names)}; leave it out.")
    return result


def _jobs(
    target: "Target", options: Mapping[str, Mapping[str, Any]], seed: int, episodes: int
) -> list["Job"]:
    from podgym.eval.runner import make_jobs

    return [
        job
        for name, own in options.items()
        for job in make_jobs(target.name, target.config, name, own, seed=seed, episodes=episodes)
    ]


def _run(target: "Target", jobs: list["Job"], processes: int) -> list["EpisodeRecord"]:
    from podgym.cli.progress import progress
    from podgym.eval.runner import run_jobs

    with progress(target.name, [target.env.episode_steps] * len(jobs)) as reports:
        return run_jobs(jobs, processes=processes, on_step=reports.on_step, on_done=reports.on_done)


def _show_and_write(
    target: "Target",
    controllers: Sequence[str],
    records: Sequence["EpisodeRecord"],
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    from podgym.eval.summary import result_document, summarise
    from podgym.files import to_json, write_json

    count = len(records) // len(controllers)
    groups = [records[count * i : count * (i + 1)] for i in range(len(controllers))]
    summaries = [summarise(group) for group in groups]
    document = result_document(summaries, [group[0] for group in groups], {target.name: target.config})
    document["remarks"] = list(target.remarks)
    written: list[Path] = []
    if folder is not None:
        written = write_episodes(folder, groups)
        written.append(write_json(folder / "results.json", document))
    if as_json:
        print(to_json(document))
    else:
        print_report(target, summaries, groups)
        print_paths(written)


def write_episodes(folder: Path, groups: Sequence[Sequence["EpisodeRecord"]], prefix: str = "") -> list[Path]:
    """Write every episode as parquet, and a figure of the first episode of all controllers side by side.

    Args:
        folder: where to.
        groups: episodes of each controller, the same seeds in the same order.
        prefix: start of every file name.
    """
    from podgym.eval.plots import save_figure

    stem = prefix or file_stem(groups[0][0].metadata.environment)
    controllers = "-".join(group[0].metadata.controller for group in groups)
    seed = groups[0][0].metadata.seed
    written = [save_figure(folder / f"{stem}-{controllers}-seed{seed}.png", *(group[0] for group in groups))]
    for group in groups:
        for record in group:
            name = f"{stem}-{record.metadata.controller}-seed{record.metadata.seed}.parquet"
            written.append(record.write(folder / name))
    return written


def file_stem(name: str) -> str:
    """Return a name for files: ``podgym/Burst-v0`` becomes ``Burst-v0``, a path its last part bare."""
    last = re.split(r"[/\\]", name)[-1].removeprefix("workload ")
    last = re.sub(r"\.(csv|csv\.gz|parquet|pq)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "episode"


def print_report(
    target: "Target", summaries: Sequence["Summary"], groups: Sequence[Sequence["EpisodeRecord"]]
) -> None:
    """Print the tables and what must be known to read them."""
    from rich.console import Console

    from podgym.eval.tables import comparison_table, service_table

    console = Console(file=sys.stdout, highlight=False)
    first = groups[0][0]
    count = len(groups[0])
    seed = first.metadata.seed
    episodes = (
        f"{count} episodes (seeds {seed} to {seed + count - 1})" if count > 1 else f"1 episode (seed {seed})"
    )
    console.print(
        f"{target.name}: {episodes} of {duration_text(first.duration_s)}, "
        f"a decision every {first.metadata.control_interval_s:g} s"
    )
    console.print(f"Load: {first.metadata.profile_label}{' and others' if count > 1 else ''}", markup=False)
    for remark in target.remarks:
        console.print(remark, markup=False)
    console.print(comparison_table(summaries))
    if first.num_services > 1:
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

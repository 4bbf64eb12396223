"""``podgym forecast evaluate``: which forecaster helps, on which trace, how far ahead, by how much."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from podgym.cli.forecast_settings import (
    add_model_arguments,
    add_series_arguments,
    checked_models,
    horizon_minutes,
    model_options,
    open_trace_series,
)
from podgym.errors import InputError, require_whole

if TYPE_CHECKING:
    from podgym.forecasters.evaluation.comparison import Comparison
    from podgym.forecasters.evaluation.rolling import ModelResult
    from podgym.forecasters.sources import ForecastPart, TraceSeries

HELP = "compare forecasters on the part of a trace that none of them has seen"

_EPILOG = """\
examples:
  every model on the Alibaba week, five minutes ahead (about five minutes of work on one core):
    podgym forecast evaluate --trace alibaba2018 --output results/forecasts

  two traces, half an hour ahead, on two cores:
    podgym forecast evaluate --trace alibaba2018 --trace requests.csv --horizon 30 --processes 2

  the naive models beside one that was trained before:
    podgym forecast evaluate --trace alibaba2018 --models naive alibaba.forecaster

Every model is fitted to the first 70 % of the trace and asked at every minute of the judged part, from what
was known by then. The folder keeps the fitted models, so a command that was interrupted goes on where it
stopped, and one that is repeated fits nothing again. Beside the tables it gets forecasts.csv (every measure,
tidy), forecasts.md, results.json and figures."""


class _Job(NamedTuple):
    """One model on one trace; plain values, so that another process can take it."""

    trace: str
    model: str
    options: dict[str, Any]
    data: "TraceSeries"
    path: Path
    part: "ForecastPart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the subcommand."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--trace",
        metavar="NAME|FILE",
        action="append",
        required=True,
        help="what to judge on; may be repeated",
    )
    parser.add_argument(
        "--models", metavar="NAME|FILE", nargs="+", default=["all"],
        help="names, all, naive, or files written by podgym forecast train or export (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--part", metavar="PART", default="test",
        help="what is judged: dev, test (default), or holdout, the last 30 %% of the paper's 7:3 split",
    )  # fmt: skip
    add_series_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument(
        "--processes", metavar="P", type=int, default=1, help="models to fit at a time (default: 1)"
    )
    parser.add_argument(
        "--output", metavar="DIR", default="results/forecasts",
        help="folder of models, tables and figures (default: results/forecasts)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Fit, judge, print and write.

    Raises:
        InputError: anything about the arguments or the traces; no result is written then.
    """
    from podgym.files import usable_folder
    from podgym.forecasters.evaluation.comparison import compare

    require_whole("--processes", args.processes, 1, 256)
    folder = usable_folder(args.output)
    if args.part not in ("dev", "test", "holdout"):
        raise InputError(f"--part {args.part}: allowed are dev, test and holdout; train is learned from.")
    if len(set(args.trace)) < len(args.trace):
        raise InputError(f"a trace is named twice: {', '.join(args.trace)}.")
    jobs = [job for trace in args.trace for job in _jobs(trace, folder, args)]
    results = _run(jobs, args.processes)
    comparisons = [
        compare([result for job, result in zip(jobs, results, strict=True) if job.trace == trace])
        for trace in args.trace
    ]
    _show_and_write(comparisons, folder, as_json=args.json)
    return 0


def _jobs(trace: str, folder: Path, args: argparse.Namespace) -> list[_Job]:
    from podgym.cli.evaluate import file_stem
    from podgym.forecasters.factory import NAIVE_MODELS, make_forecaster
    from podgym.forecasters.store import SUFFIX, load_forecaster

    data = open_trace_series(trace, args)
    horizon = horizon_minutes(data, args.horizon)
    files = [name for name in args.models if name.endswith((SUFFIX, ".onnx"))]
    names = checked_models([name for name in args.models if name not in files])
    if not set(names) & set(NAIVE_MODELS):
        raise InputError(
            f"--models {' '.join(args.models)}: a comparison needs a naive model to beat; add naive, or one "
            f"of {', '.join(NAIVE_MODELS)}."
        )
    jobs = []
    for name in names:
        options = model_options(name, horizon, args, strict=False)
        make_forecaster(name, **options)  # refuse a bad option before an hour of work
        path = folder / "models" / file_stem(trace) / f"{name}-{horizon}min{SUFFIX}"
        jobs.append(_Job(trace, name, options, data, path, args.part))
    _refuse_unused(args, names)
    for name in files:
        given = load_forecaster(name).horizon_minutes
        if given != horizon:
            raise InputError(f"{name} forecasts {given} minutes, not {horizon}; say --horizon {given}.")
    return jobs + [_Job(trace, "", {}, data, Path(name), args.part) for name in files]


def _refuse_unused(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse a --set that no model has, rather than leave it out everywhere."""
    from podgym.cli.settings import parse_changes

    used = {key for name in names for key in model_options(name, 5, args, strict=False)}
    for key in parse_changes(args.changes):
        if key not in used:
            raise InputError(f"--set {key}=...: no model among {', '.join(names)} has this option.")


def _run(jobs: list[_Job], processes: int) -> list["ModelResult"]:
    """Run all jobs, some at a time; the results are in the order of the jobs."""
    from podgym.cli.progress import counting

    with counting("forecasters") as report:
        if processes == 1:
            results = []
            for index, job in enumerate(jobs):
                report(index, len(jobs), f"{job.model or job.path.name} on {job.data.series.name}")
                results.append(_judged(job))
            return results
        from concurrent.futures import as_completed

        from podgym.processes import worker_pool

        with worker_pool(processes) as pool:
            futures = [pool.submit(_judged, job) for job in jobs]
            for done, _ in enumerate(as_completed(futures), start=1):
                report(done, len(jobs), "")
            return [future.result() for future in futures]


def _judged(job: _Job) -> "ModelResult":
    """Fit a model, or take it from its file, and judge it."""
    from podgym.forecasters.evaluation.rolling import evaluate_forecaster
    from podgym.forecasters.factory import make_forecaster
    from podgym.forecasters.store import fit_and_save, load_forecaster

    if not job.model:
        return evaluate_forecaster(load_forecaster(job.path), job.data, job.part, label=job.path.name)
    forecaster = make_forecaster(job.model, **job.options)
    forecaster = fit_and_save(forecaster, job.data.part("train"), job.path, reuse=True)
    return evaluate_forecaster(forecaster, job.data, job.part)


def _show_and_write(comparisons: Sequence["Comparison"], folder: Path, *, as_json: bool) -> None:
    from podgym.cli.evaluate import file_stem, print_paths
    from podgym.files import to_json, write_json
    from podgym.forecasters.evaluation.files import comparison_document, write_csv
    from podgym.forecasters.evaluation.plots import save_figures

    document = {"comparisons": [comparison_document(comparison) for comparison in comparisons]}
    written: list[Path] = []
    for comparison in comparisons:
        written += save_figures(comparison, folder, file_stem(comparison.trace))
    written.append(write_csv(folder / "forecasts.csv", comparisons))
    written.append(_write_markdown(folder / "forecasts.md", comparisons))
    written.append(write_json(folder / "results.json", document))
    if as_json:
        print(to_json(document))
        return
    _print(comparisons)
    print_paths(written)


def _print(comparisons: Sequence["Comparison"]) -> None:
    from rich.console import Console

    from podgym.forecasters.evaluation.findings import findings
    from podgym.forecasters.evaluation.tables import model_table, step_table

    console = Console(file=sys.stdout, highlight=False)
    for comparison in comparisons:
        for found in comparison.by_feature:
            console.print(step_table(comparison, found.feature).rich())
            last = comparison.horizon
            for group in ("accuracy", "intervals"):
                console.print(model_table(comparison, found.feature, last, group).rich())
            for paragraph in findings(comparison, found.feature):
                console.print(paragraph, markup=False)
            console.print()


def _write_markdown(path: Path, comparisons: Sequence["Comparison"]) -> Path:
    """Write every table and finding, with the paper's Table 1 form beside them."""
    from podgym.files import write_atomically
    from podgym.forecasters.evaluation.findings import findings
    from podgym.forecasters.evaluation.rolling import sample_forecast
    from podgym.forecasters.evaluation.tables import claim_table, model_table, sample_table, step_table

    parts: list[str] = []
    for comparison in comparisons:
        parts.append(f"# {comparison.trace}, {comparison.part} part\n")
        for found in comparison.by_feature:
            name = found.feature
            parts += [f"## {name}\n", *(f"{text}\n" for text in findings(comparison, name))]
            parts.append(step_table(comparison, name).markdown())
            parts.append(model_table(comparison, name, comparison.horizon).markdown())
            parts.append(model_table(comparison, name).markdown())
            parts.append(claim_table(comparison, name).markdown())
        best = comparison.best_learned() or comparison.ranked()[0]
        parts.append("## Single forecasts, in the form of the paper's Table 1\n")
        for moment in ("typical", "steepest"):
            parts.append(sample_table(sample_forecast(best, moment)).markdown())
    text = "\n".join(parts)
    return write_atomically(path, lambda draft: _write_text(draft, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

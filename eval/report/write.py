"""The files of a report: one page of HTML, one of Markdown, and the figures of the latter."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from podgym.eval.report.content import Drawn, report_of
from podgym.eval.report.drawing import for_file
from podgym.eval.report.html import page
from podgym.eval.report.markdown import figure_file, figures_of, markdown
from podgym.eval.report.run_files import read_run
from podgym.eval.report.verdict import Verdict
from podgym.files import usable_folder, write_text

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    verdict: Verdict
    """What the report says first."""
    paths: tuple[Path, ...]
    """The two pages."""
    num_figures: int
    """Figures, inside the page and as files beside the Markdown."""


def write_report(
    run_folder: str | Path,
    output: str | Path | None = None,
    drawn: Drawn | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Written:
    """Write the report of a protocol's results.

    Args:
        run_folder: what ``podgym evaluate --protocol`` wrote.
        output: where to; None: into the same folder.
        drawn: what is drawn of single episodes; None: the default.
        on_progress: told how far it is.

    Raises:
        InputError: no such results, or a folder that cannot be written to.
    """
    folder = usable_folder(run_folder if output is None else output)
    run = read_run(run_folder)
    report = report_of(run, drawn, on_progress)
    text, marked = page(report), markdown(report)  # all of it, before anything is written
    figures = figures_of(report)
    for figure in figures:
        write_text(folder / figure_file(figure), for_file(figure.svg))
    paths = (write_text(folder / HTML_FILE, text), write_text(folder / MARKDOWN_FILE, marked))
    return Written(report.verdict, paths, len(figures))

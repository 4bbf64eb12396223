"""The files of a report: one page of HTML, one of Markdown, and the figures of the latter."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError
from podgym.eval.protocol.entrants import short_id
from podgym.eval.report.blocks import Figure
from podgym.eval.report.content import Drawn, Report, report_of
from podgym.eval.report.drawing import for_file
from podgym.eval.report.html import page
from podgym.eval.report.markdown import FIGURES_FOLDER, figure_file, figures_of, markdown
from podgym.eval.report.run_files import read_run
from podgym.eval.report.verdict import Verdict
from podgym.files import usable_folder, write_text

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"
_IDS = "|".join(re.escape(short_id(each)) for each in ENVIRONMENT_IDS)
_FIGURE_FILE = re.compile(rf"(?:profiles|(?:cost|difference|episode|front)-(?:{_IDS}))\.svg")
"""What figures of reports are called, and nothing else."""


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
    """Write the report of a protocol's results; figures of an earlier one that are not in it are removed.

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
    return write_pages(report_of(run, drawn, on_progress), folder, _FIGURE_FILE)


def write_pages(report: Report, folder: Path, figure_names: re.Pattern[str]) -> Written:
    """Write the pages of a report and its figures.

    Args:
        report: what they say.
        folder: where to.
        figure_names: what files of figures of such reports are called, and nothing else; those of an earlier
            one that are not in this are removed.

    Raises:
        InputError: a folder that cannot be written to.
    """
    text, marked = page(report), markdown(report)  # all of it, before anything is written
    figures = figures_of(report)
    for figure in figures:
        write_text(folder / figure_file(figure), for_file(figure.svg))
    paths = (write_text(folder / HTML_FILE, text), write_text(folder / MARKDOWN_FILE, marked))
    _remove_others(folder, figures, figure_names)
    return Written(report.verdict, paths, len(figures))


def _remove_others(folder: Path, figures: Sequence[Figure], figure_names: re.Pattern[str]) -> None:
    """Remove the figures of earlier reports that no page names any more; what has another name stays."""
    named = {folder / figure_file(each) for each in figures}
    for path in (folder / FIGURES_FOLDER).glob("*.svg"):
        if path not in named and figure_names.fullmatch(path.name) and path.is_file():
            try:
                path.unlink()
            except OSError as error:
                raise InputError(f"{path} cannot be removed: {error.strerror or error}.") from error

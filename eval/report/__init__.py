"""The report of a protocol's results: one page that can be read, printed, checked and repeated.

In reading order: ``run_files`` (the results, read and checked), ``verdict`` (the paragraph); the parts, which
are ``result_tables``, ``figures``, ``fronts``, ``episodes`` with ``episode_figure``, ``paper_section``,
``what_ran`` and ``provenance``; ``content`` (all of them in order), ``html`` and ``markdown`` (how
``blocks`` are shown) and ``write``.
"""

from podgym.eval.report.content import Drawn, Report, report_of
from podgym.eval.report.html import page
from podgym.eval.report.markdown import markdown
from podgym.eval.report.run_files import Run, read_run
from podgym.eval.report.verdict import Verdict, verdict
from podgym.eval.report.write import Written, write_report

__all__ = [
    "Drawn",
    "Report",
    "Run",
    "Verdict",
    "Written",
    "markdown",
    "page",
    "read_run",
    "report_of",
    "verdict",
    "write_report",
]

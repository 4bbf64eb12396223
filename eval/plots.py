"""Figures of evaluated episodes: one controller, or several side by side on the same scales."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podgym.envs.render import draw_panels, panel_figure
from podgym.errors import InputError
from podgym.eval.episode import EpisodeRecord
from podgym.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT_INCHES = 8.5
_COLUMN_INCHES = 6.0
_LEGEND_INCHES = 1.2
_DPI = 130
_TITLE_LINE = 78  # characters that fit above one column
_HEADING = 52  # the same in the larger type of its heading


def panel_series(record: EpisodeRecord) -> dict[str, NDArray[np.float64]]:
    """Return what the panels show of a record: its totals and the required replicas, each (num_steps,)."""
    series = {**record.totals, "replicas_required": record.columns["required_replicas"].sum(axis=1)}
    if record.metadata.profile_kind == "closed":
        series["users"] = record.load
    return series


def episode_figure(*records: EpisodeRecord) -> "Figure":
    """Return one figure with a column of panels for each record, on shared scales.

    Raises:
        InputError: no record.
    """
    if not records:
        raise InputError("a figure needs one episode or more; got none.")
    num_columns = len(records)
    size_inches = (_COLUMN_INCHES * num_columns + _LEGEND_INCHES, _HEIGHT_INCHES)
    figure, axes = panel_figure(num_columns, size_inches, _DPI)
    for column, record in enumerate(records):
        slo_s = max(record.metadata.slo_response_time_s)
        draw_panels(
            axes[:, column],
            panel_series(record),
            slo_s,
            slo_label="SLO" if record.num_services == 1 else "SLO per\nservice",
            legend=column == num_columns - 1,
        )
        axes[0, column].set_title(_controller(record), fontsize=11, loc="left", fontweight="bold")
        if column:
            for panel in axes[:, column]:
                panel.set_ylabel("")
    figure.align_ylabels(axes[:, 0])
    figure.suptitle(_title(records), fontsize=10, x=0.01, ha="left")
    return figure


def save_figure(path: str | Path, *records: EpisodeRecord) -> Path:
    """Write the figure of one record, or of several side by side, as a PNG; see ``episode_figure``.

    Raises:
        InputError: no record, or the file cannot be written.
    """
    figure = episode_figure(*records)

    def write(draft: Path) -> None:
        # No version in the file: the same episode gives the same bytes.
        figure.savefig(draft, format="png", dpi=_DPI, metadata={"Software": None})

    return write_atomically(Path(path), write)


def _controller(record: EpisodeRecord) -> str:
    """Name the controller with its options, as far as they fit above a column."""
    name = record.metadata.controller
    options = ", ".join(f"{key} {_short(value)}" for key, value in record.metadata.controller_options.items())
    full = f"{name} ({options})" if options else name
    return full if len(full) <= _HEADING else name


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _title(records: Sequence[EpisodeRecord]) -> str:
    """Name environment, load and seed; what differs between the records is named for the first only."""
    first = records[0].metadata
    line = f"{first.environment}, seed {first.seed}: {first.profile_label}"
    most = _TITLE_LINE * len(records)
    return line if len(line) <= most else f"{first.environment}, seed {first.seed}\n{first.profile_label}"

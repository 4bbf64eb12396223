"""Pictures of an episode: a line of text, and a figure of load, replicas, response time and utilisation.

The figure is drawn without matplotlib's global state, so it works beside a user's own plots and in threads.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

PANELS = ("load", "replicas", "response time", "utilisation")
"""The four panels, top to bottom."""
MOST_POINTS = 400
"""A longer series is drawn as means over this many stretches, with a band from lowest to highest."""

_GREY, _PALE, _GREEN = "#666666", "#B0B0B0", "#009E73"
_BLUE, _SKY, _ORANGE, _RED = "#0072B2", "#56B4E9", "#E69F00", "#C4342B"
_UNITS = ((4 * 86400.0, 86400.0, "days"), (3 * 3600.0, 3600.0, "hours"), (0.0, 60.0, "minutes"))
_LOG_ABOVE = 20.0  # a response time that spans more than this factor gets a logarithmic axis
_SIZE_INCHES = (8.0, 7.0)
_DPI = 100


def draw_text(info: Mapping[str, float]) -> str:
    """Return one step as two short lines.

    Args:
        info: the ``info`` of the step.
    """
    hours, rest = divmod(round(info["time_s"]), 3600)
    users = f" from {info['users']:.0f} users" if info["users"] > 0 else ""
    served = info["response_time_mean_s"] > 0
    response = (
        f"{1e3 * info['response_time_mean_s']:.0f} ms, p95 {1e3 * info['response_time_p95_s']:.0f} ms"
        if served
        else "none completed"
    )
    return (
        f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}  load {info['offered_rps']:.0f} req/s{users}  "
        f"replicas {info['replicas_ready']:.0f} ready of {info['replicas_wanted']:.0f} wanted, "
        f"{info['replicas_pending']:.0f} pending\n"
        f"          response {response}  SLO violated {info['slo_violation_ratio']:.1%}  "
        f"CPU {info['cpu_utilisation']:.0%}  memory {info['memory_utilisation']:.0%}  "
        f"reward {info['reward']:.1f}"
    )


def figure_pixels(rows: Sequence[Mapping[str, float]], slo_s: float) -> NDArray[np.uint8]:
    """Return the figure of an episode so far as pixels (height, width, 3).

    Args:
        rows: the ``info`` of each step; may be empty.
        slo_s: service level objective of the response time, seconds.
    """
    names = rows[0].keys() if rows else ()
    series = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in names}
    figure, axes = panel_figure(1, _SIZE_INCHES, _DPI)
    draw_panels(axes[:, 0], series, slo_s)
    figure.align_ylabels(axes[:, 0])
    raw = BytesIO()
    figure.savefig(raw, format="rgba", dpi=_DPI)
    width, height = (round(inches * _DPI) for inches in _SIZE_INCHES)
    pixels = np.frombuffer(raw.getbuffer(), dtype=np.uint8).reshape(height, width, 4)
    return pixels[:, :, :3].copy()


def panel_figure(
    num_columns: int, size_inches: tuple[float, float], dpi: float
) -> tuple["Figure", NDArray[Any]]:
    """Return a figure and its axes (4, num_columns): time is shared by all, the scale by each row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, dpi=dpi, layout="constrained")
    axes = figure.subplots(len(PANELS), num_columns, sharex=True, sharey="row", squeeze=False)
    return figure, axes


def draw_panels(
    axes: Sequence["Axes"] | NDArray[Any],
    series: Mapping[str, Floats],
    slo_s: float,
    *,
    slo_label: str = "SLO",
    legend: bool = True,
) -> None:
    """Draw the four panels of one episode.

    Args:
        axes: four axes, in the order of ``PANELS``.
        series: keys of ``info``, each (num_steps,); ``replicas_required`` is drawn if it is
            there. May be empty.
        slo_s: service level objective of the response time, seconds.
        slo_label: what to call it in the legend.
        legend: whether to put a legend beside each panel.
    """
    from matplotlib.ticker import MaxNLocator

    times_s = series.get("time_s", np.zeros(0))
    unit_s, unit = _time_unit(float(times_s[-1]) if len(times_s) else 0.0)
    time = times_s / unit_s
    _draw_load(axes[0], time, series)
    _draw_replicas(axes[1], time, series)
    _draw_response_time(axes[2], time, series, slo_s, slo_label)
    _draw_utilisation(axes[3], time, series)
    axes[-1].set_xlabel(f"time, {unit}")
    steps = [1, 2, 3, 6, 10] if unit == "hours" else [1, 2, 5, 10]
    axes[-1].xaxis.set_major_locator(MaxNLocator(nbins=9, steps=steps))
    for panel in axes:
        panel.grid(True, color="#DDDDDD", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.0)
        if len(time):
            panel.set_xlim(0.0, time[-1])
        if legend and panel.get_legend_handles_labels()[1]:
            panel.legend(
                loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, handlelength=1.6
            )


def _time_unit(length_s: float) -> tuple[float, str]:
    return next((unit_s, name) for above_s, unit_s, name in _UNITS if length_s >= above_s)


def _line(
    axes: "Axes",
    time: Floats,
    values: Floats,
    color: str,
    label: str,
    *,
    dash: str = "-",
    width: float = 1.2,
    steps: bool = False,
) -> None:
    """Draw a series; a long one as means of stretches over a band from lowest to highest."""
    style = "steps-pre" if steps else "default"
    if len(values) > MOST_POINTS:
        style = "default"
        edges = np.linspace(0, len(values), MOST_POINTS + 1).astype(np.int64)[:-1]
        low, high = np.fmin.reduceat(values, edges), np.fmax.reduceat(values, edges)
        axes.fill_between(time[edges], low, high, color=color, alpha=0.2, linewidth=0.0)
        known = np.isfinite(values)
        counts = np.maximum(np.add.reduceat(known.astype(np.float64), edges), 1e-300)
        time, values = time[edges], np.add.reduceat(np.where(known, values, 0.0), edges) / counts
    axes.plot(time, values, color=color, label=label, linestyle=dash, drawstyle=style, linewidth=width)


def _from_zero(axes: "Axes") -> None:
    """Let the scale begin at 0 and still grow with whatever is drawn later in the same row."""
    line = axes.get_lines()[0]
    line.sticky_edges.y.append(0.0)
    axes.update_datalim([(np.asarray(line.get_xdata())[0], 0.0)])
    axes.autoscale_view()


def _draw_load(axes: "Axes", time: Floats, series: Mapping[str, Floats]) -> None:
    closed = len(time) > 0 and bool((series["users"] > 0.0).any())
    axes.set_ylabel("load, req/s and users" if closed else "load, req/s")
    if not len(time):
        return
    if closed:
        _line(axes, time, series["users"], _ORANGE, "users", steps=True)
    _line(axes, time, series["offered_rps"], _PALE, "offered", width=2.8)  # seen beside the line on top of it
    _line(axes, time, series["completed_rps"], _GREEN, "completed")
    _from_zero(axes)


def _draw_replicas(axes: "Axes", time: Floats, series: Mapping[str, Floats]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_ylabel("replicas")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if not len(time):
        return
    if "replicas_required" in series:
        _line(axes, time, series["replicas_required"], _ORANGE, "required", steps=True)
    _line(axes, time, series["replicas_ready"], _BLUE, "ready", steps=True)
    _line(axes, time, series["replicas_wanted"], _GREY, "wanted", dash=":", steps=True)
    _from_zero(axes)


def _draw_response_time(
    axes: "Axes", time: Floats, series: Mapping[str, Floats], slo_s: float, slo_label: str
) -> None:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    axes.set_ylabel("response time, ms")
    if not len(time):
        return
    mean_ms, p95_ms = (
        np.where(series[name] > 0.0, 1e3 * series[name], np.nan)
        for name in ("response_time_mean_s", "response_time_p95_s")
    )
    _line(axes, time, p95_ms, _SKY, "p95")
    _line(axes, time, mean_ms, _BLUE, "mean")
    axes.axhline(1e3 * slo_s, color=_RED, linestyle="--", linewidth=1.0, label=slo_label)
    if np.isfinite(mean_ms).any() and np.nanmax(p95_ms) > _LOG_ABOVE * np.nanmin(mean_ms):
        axes.set_yscale("log")  # goes for every panel of the row
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif axes.get_yscale() == "linear":
        _from_zero(axes)


def _draw_utilisation(axes: "Axes", time: Floats, series: Mapping[str, Floats]) -> None:
    axes.set_ylabel("utilisation, %")
    if not len(time):
        return
    _line(axes, time, 100.0 * series["memory_utilisation"], _ORANGE, "memory")
    _line(axes, time, 100.0 * series["cpu_utilisation"], _BLUE, "CPU")
    _from_zero(axes)

"""The figure of one episode: what came, what was forecast, planned, wanted, ready, and what users felt."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.eval.protocol.entrants import short_id
from podgym.eval.report.blocks import Figure
from podgym.eval.report.drawing import INK, PALE, Look, picture, plain_axes, shortened
from podgym.eval.report.episodes import Shown, ShownEpisode, facts
from podgym.eval.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Floats = NDArray[np.float64]

_SIZE = (960.0, 640.0)
_HEIGHTS = (1.25, 1.35, 1.15, 0.8)
_MOST_POINTS = 480
_BLUE, _ORANGE, _GREEN, _RED = "#3E9BD1", "#D08E00", "#009E73", "#D55E00"
_MOST_ABOVE = 1.6  # times the highest load: what a forecast may add to the axis
_LOG_ABOVE = 20.0  # response times that span more than this factor get a logarithmic axis


def episode_figure(episode: ShownEpisode, looks: Mapping[str, Look]) -> Figure:
    """Return the figure of an episode, a column for each method, on shared axes.

    Args:
        episode: one that could be repeated.
        looks: of the methods.
    """
    name = f"episode-{short_id(episode.choice.environment)}"
    methods = " and ".join(each.entrant.method for each in episode.shown)
    words = "; ".join(_in_words(each) for each in episode.shown)
    return Figure(
        name,
        f"{short_id(episode.choice.environment)}, episode {episode.choice.seed}: {methods} on the same load. "
        f"{_forecast_words(episode.shown)} {words}.",
        f"Load, replicas, response time and SLO violations over one episode of {episode.choice.environment}, "
        f"{methods} side by side. {words}.",
        picture(name, *_SIZE, lambda figure: _draw(figure, episode.shown, looks)),
        wide=True,
    )


def _draw(figure: "Canvas", shown: Sequence[Shown], looks: Mapping[str, Look]) -> None:
    axes = figure.subplots(
        len(_HEIGHTS), len(shown), sharex=True, sharey="row", squeeze=False,
        gridspec_kw={"height_ratios": _HEIGHTS},
    )  # fmt: skip
    for column, each in enumerate(shown):
        own = axes[:, column]
        look = looks[each.entrant.method]
        own[0].set_title(_title(each), loc="left", fontweight="bold", color=look.colour)
        for panel, draw in zip(own, (_load, _replicas, _response, _violation), strict=True):
            plain_axes(panel, grid="both")
            panel.margins(x=0.0)
            draw(panel, each)
        own[-1].set_xlabel("time, minutes")
    for row, label in zip(axes, _labels(shown[0]), strict=True):
        row[0].set_ylabel(label)
    _scales(axes, shown)
    for row in axes:
        handles: dict[str, Any] = {}
        for panel in row:
            handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
        row[-1].legend(
            handles.values(), handles.keys(), loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=1.6
        )
    figure.align_ylabels(axes[:, 0])


def _labels(shown: Shown) -> tuple[str, ...]:
    unit = "users" if shown.record.metadata.profile_kind == "closed" else "requests/s"
    return f"load, {unit}", "replicas", "response, ms", "violated, %"


def _title(shown: Shown) -> str:
    seed = shown.entrant.training_seed
    return shortened(shown.entrant.method, 40) + ("" if seed is None else f" (training seed {seed})")


def _load(axes: "Axes", shown: Shown) -> None:
    minutes, load = thinned(_minutes(shown), shown.record.load)
    axes.plot(minutes, load, color=INK, linewidth=1.3, label="load")
    forecast = shown.forecast
    if forecast is None:
        axes.text(
            0.995, 0.97, "no forecast but the last load", transform=axes.transAxes, ha="right", va="top",
            color=PALE, fontsize=9,
        )  # fmt: skip
        return
    at = forecast.time_s / 60.0
    axes.fill_between(at, forecast.lower, forecast.upper, color=_BLUE, alpha=0.25, linewidth=0.0,
                      label="its 80 % interval")  # fmt: skip
    axes.plot(at, forecast.mean, color=_BLUE, linewidth=1.3, linestyle=(0, (4, 1.5)),
              label=f"forecast {forecast.minutes_ahead} min\nearlier")  # fmt: skip


def _replicas(axes: "Axes", shown: Shown) -> None:
    totals = shown.record.totals
    minutes = _minutes(shown)
    required = shown.record.columns["required_replicas"].sum(axis=1)
    axes.fill_between(*thinned(minutes, required), step="pre", color=PALE, alpha=0.18, linewidth=0.0,
                      label="needed for the SLO")  # fmt: skip
    if shown.planned:
        axes.plot(*thinned(minutes, totals["plan_replicas"]), drawstyle="steps-pre", color=_ORANGE,
                  linewidth=1.3, linestyle=(0, (4, 1.5)), label="plan")  # fmt: skip
    axes.plot(*thinned(minutes, totals["replicas_wanted"]), drawstyle="steps-pre", color=INK, linewidth=1.0,
              linestyle=(0, (1.2, 1.2)), label="wanted")  # fmt: skip
    axes.plot(*thinned(minutes, totals["replicas_ready"]), drawstyle="steps-pre", color=_GREEN,
              linewidth=1.7, label="ready")  # fmt: skip


def _response(axes: "Axes", shown: Shown) -> None:
    minutes = _minutes(shown)
    for name, label, colour, width in (
        ("response_time_p95_s", "95th percentile", _BLUE, 1.0), ("response_time_mean_s", "mean", INK, 1.3),
    ):  # fmt: skip
        values = shown.record.totals[name]
        known = np.where(values > 0.0, 1e3 * values, np.nan)
        axes.plot(*thinned(minutes, known), color=colour, linewidth=width, label=label)
    slo_ms = 1e3 * max(shown.record.metadata.slo_response_time_s)
    label = "SLO" if shown.record.num_services == 1 else "SLO of a service"
    axes.axhline(slo_ms, color=_RED, linewidth=1.1, linestyle=(0, (5, 1.6)), label=label)


def _violation(axes: "Axes", shown: Shown) -> None:
    minutes, share = thinned(_minutes(shown), 100.0 * shown.record.totals["slo_violation_ratio"])
    axes.fill_between(minutes, share, step="pre", color=_RED, alpha=0.55, linewidth=0.0, label="miss the SLO")


def _scales(axes: NDArray[Any], shown: Sequence[Shown]) -> None:
    """Begin at zero, but where response times span too much, which get a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    for place in (1, 3):
        axes[place, 0].set_ylim(bottom=0.0)
    axes[0, 0].set_ylim(0.0, _load_limit(shown))
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes[3, 0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 3, 5, 6, 10]))
    means = np.concatenate([each.record.totals["response_time_mean_s"] for each in shown])
    tails = np.concatenate([each.record.totals["response_time_p95_s"] for each in shown])
    served = means > 0.0
    if served.any() and tails[served].max() > _LOG_ABOVE * means[served].min():
        axes[2, 0].set_yscale("log")
        axes[2, 0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes[2, 0].yaxis.set_minor_formatter(NullFormatter())
    else:
        axes[2, 0].set_ylim(bottom=0.0)


def _load_limit(shown: Sequence[Shown]) -> float:
    """Return the top of the load's axis: an interval without bounds must not make the load a flat line."""
    load = float(max(each.record.load.max() for each in shown)) or 1.0
    return 1.06 * min(max(load, _highest_forecast(shown)), _MOST_ABOVE * load)


def _highest_forecast(shown: Sequence[Shown]) -> float:
    forecasts = [each.forecast for each in shown if each.forecast is not None and len(each.forecast.upper)]
    return max((float(max(each.upper.max(), each.mean.max())) for each in forecasts), default=0.0)


def _minutes(shown: Shown) -> Floats:
    minutes: Floats = shown.record.totals["time_s"] / 60.0
    return minutes


def thinned(time: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return a long series as means over stretches; nan where a stretch has no value."""
    if len(values) <= _MOST_POINTS:
        return time, values
    parts = np.array_split(np.arange(len(values)), _MOST_POINTS)
    known = [values[part][np.isfinite(values[part])] for part in parts]
    means = np.array([each.mean() if len(each) else np.nan for each in known])
    return np.array([time[part[-1]] for part in parts]), means


def _forecast_words(shown: Sequence[Shown]) -> str:
    ahead = sorted({each.forecast.minutes_ahead for each in shown if each.forecast is not None})
    if not ahead:
        return ""
    text = " or ".join(str(each) for each in ahead)
    beyond = 1.06 * _highest_forecast(shown) > _load_limit(shown)
    rest = ", which goes on beyond the frame" if beyond else ""
    return f"The forecast of a minute is the one made {text} minutes before, with its 80 % interval{rest}."


def _in_words(shown: Shown) -> str:
    own = facts(shown)
    return (
        f"{shown.entrant.method}: cost {number(own['cost'], 0)}, {number(100.0 * own['violation'], 1)} % "
        f"violated (mean over time), {number(own['core_hours'], 2)} core-hours"
    )

"""The figure of a live episode: what was observed, solid, and what the simulator made of it, dashed."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.report_files import HOWS, RecordedEpisode
from podgym.eval.live.simulated import ALONE, REPLAYED
from podgym.eval.report.blocks import Figure
from podgym.eval.report.drawing import INK, PALE, Look, picture, plain_axes, shortened
from podgym.eval.report.episode_figure import thinned
from podgym.eval.report.numbers import number
from podgym.eval.report.verdict import NO_BREAK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Floats = NDArray[np.float64]

HOW_WORDS = {REPLAYED: "decisions replayed", ALONE: "deciding by itself"}
"""What the simulator did, in words."""

_SIZE = (960.0, 640.0)
_HEIGHTS = (1.0, 1.35, 1.25, 1.0)
_LABELS = ("load, requests/s", "replicas", "response, ms", "CPU use, %")
_BLUE, _ORANGE, _GREEN, _RED = "#3E9BD1", "#D08E00", "#009E73", "#D55E00"
_DASHED = (0, (4, 1.5))
_LOG_ABOVE = 20.0  # response times that span more than this factor get a logarithmic axis


def episode_figure(episode: RecordedEpisode, look: Look, place: int) -> Figure:
    """Return the figure of an episode, a column for each way in which the simulator ran beside.

    Args:
        episode: what was recorded.
        look: of the method.
        place: number of the figure on the page, from 1.
    """
    name = f"live-episode-{place}"
    hows = [how for how in HOWS if how in episode.simulated]
    columns = " and ".join(HOW_WORDS[how] for how in hows)
    beside = (
        f"dashed the simulator on the same load ({columns})" if hows else "the simulator was not run beside"
    )
    who = f"{episode.method}, seed {episode.seed}"
    words = _in_words(episode)
    return Figure(
        name,
        f"{who}. Solid what was observed on the cluster, {beside}. {words}",
        f"Load, replicas, response time and CPU use over the episode of {who}; {beside}. {words}",
        picture(name, *_SIZE, lambda figure: _draw(figure, episode, look, hows)),
        wide=True,
    )


def asked_and_held(episode: RecordedEpisode) -> Floats:
    """Return the replicas that were asked for, (num_steps,), where the guard set others; else nan.

    Of several services those asked for are summed, with what was set for the others.
    """
    found = np.full(episode.record.num_steps, np.nan)
    for place, entry in enumerate(episode.decisions[: len(found)]):
        steps = [
            (each.get("replicas_asked"), each.get("replicas_set")) for each in entry.get("carried_out", ())
        ]
        if any(asked is not None and asked != done for asked, done in steps):
            found[place] = sum(done or 0.0 if asked is None else asked for asked, done in steps)
    return found


def _draw(figure: "Canvas", episode: RecordedEpisode, look: Look, hows: Sequence[str]) -> None:
    shown: list[EpisodeRecord | None] = [episode.simulated[how] for how in hows] or [None]
    axes = figure.subplots(
        len(_HEIGHTS), len(shown), sharex=True, sharey="row", squeeze=False,
        gridspec_kw={"height_ratios": _HEIGHTS},
    )  # fmt: skip
    for column, simulated in enumerate(shown):
        own = axes[:, column]
        beside = f" and simulated, {HOW_WORDS[hows[column]]}" if hows else ""
        own[0].set_title(f"{shortened(episode.method, 30)}: observed{beside}", loc="left", fontweight="bold",
                         color=look.colour)  # fmt: skip
        for panel in own:
            plain_axes(panel, grid="both")
            panel.margins(x=0.0)
        _load(own[0], episode)
        _replicas(own[1], episode, simulated)
        _response(own[2], episode.record, simulated)
        _utilisation(own[3], episode.record, simulated)
        own[-1].set_xlabel("time, minutes")
    for row, label in zip(axes, _LABELS, strict=True):
        row[0].set_ylabel(label)
        row[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.2)
    _scales(axes, [episode.record, *(each for each in shown if each is not None)])
    figure.align_ylabels(axes[:, 0])


def _load(axes: "Axes", episode: RecordedEpisode) -> None:
    axes.plot(*thinned(_minutes(episode.record), episode.record.load), color=INK, linewidth=1.3,
              label="observed load")  # fmt: skip


def _replicas(axes: "Axes", episode: RecordedEpisode, simulated: EpisodeRecord | None) -> None:
    for record, dashes, words in _observed_and(episode.record, simulated):
        for name, label, colour, width in (
            ("replicas_wanted", "wanted", PALE, 1.0), ("replicas_ready", "ready", _GREEN, 1.6),
        ):  # fmt: skip
            axes.plot(*thinned(_minutes(record), record.totals[name]), drawstyle="steps-pre", color=colour,
                      linewidth=width, linestyle=dashes, label=f"{label}{words}")  # fmt: skip
    held = asked_and_held(episode)
    if np.isfinite(held).any():
        axes.plot(_minutes(episode.record), held, color=_ORANGE, marker=".", markersize=4.0, linestyle="none",
                  label="asked for, and\nheld by the guard")  # fmt: skip


def _response(axes: "Axes", live: EpisodeRecord, simulated: EpisodeRecord | None) -> None:
    for record, dashes, words in _observed_and(live, simulated):
        for name, label, colour, width in (
            ("response_time_p95_s", "95th percentile", _BLUE, 1.0),
            ("response_time_mean_s", "mean", INK, 1.4),
        ):
            axes.plot(*thinned(_minutes(record), _milliseconds(record, name)), color=colour,
                      linewidth=width, linestyle=dashes, label=f"{label}{words}")  # fmt: skip
    label = "SLO" if live.num_services == 1 else "SLO of a service"
    axes.axhline(_slo_ms(live), color=_RED, linewidth=1.1, linestyle=(0, (1.2, 1.2)), label=label)


def _utilisation(axes: "Axes", live: EpisodeRecord, simulated: EpisodeRecord | None) -> None:
    for record, dashes, words in _observed_and(live, simulated):
        axes.plot(*thinned(_minutes(record), 100.0 * record.totals["cpu_utilisation"]), color=_ORANGE,
                  linewidth=1.4, linestyle=dashes, label=f"used / requested{words}")  # fmt: skip


def _observed_and(
    live: EpisodeRecord, simulated: EpisodeRecord | None
) -> tuple[tuple[EpisodeRecord, Any, str], ...]:
    """Return what is drawn, its lines, and the end of its labels."""
    observed: tuple[EpisodeRecord, Any, str] = (live, "-", "")
    return (observed,) if simulated is None else (observed, (simulated, _DASHED, ", simulated"))


def _scales(axes: NDArray[Any], shown: Sequence[EpisodeRecord]) -> None:
    """Begin at zero, but where response times span too much, which get a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    for place in (0, 1, 3):
        axes[place, 0].set_ylim(0.0, 1.05 * max(axes[place, 0].get_ylim()[1], 1e-9))
    axes[1, 0].yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes[3, 0].xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 3, 5, 6, 10]))
    times = np.concatenate(
        [_milliseconds(each, f"response_time_{name}_s") for each in shown for name in ("mean", "p95")]
    )
    known = times[np.isfinite(times)]
    if known.size and known.max() > _LOG_ABOVE * known.min():
        axes[2, 0].set_yscale("log")
        axes[2, 0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes[2, 0].yaxis.set_minor_formatter(NullFormatter())
    else:
        axes[2, 0].set_ylim(bottom=0.0)


def _milliseconds(record: EpisodeRecord, name: str) -> Floats:
    """Return response times of every interval, (num_steps,) ms; nan where nothing was answered."""
    values = record.totals[name]
    return np.where(values > 0.0, 1e3 * values, np.nan)


def _slo_ms(record: EpisodeRecord) -> float:
    return 1e3 * max(record.metadata.slo_response_time_s)


def _minutes(record: EpisodeRecord) -> Floats:
    minutes: Floats = record.totals["time_s"] / 60.0
    return minutes


def _in_words(episode: RecordedEpisode) -> str:
    record = episode.record
    mean_ms = _milliseconds(record, "response_time_mean_s")
    known_ms = mean_ms[np.isfinite(mean_ms)]
    above = float((known_ms > _slo_ms(record)).mean()) if known_ms.size else math.nan
    ready = record.totals["replicas_ready"]
    held = int(np.isfinite(asked_and_held(episode)).sum())
    counts = dict.fromkeys(number(float(each), 0) for each in (ready.min(), ready.max()))
    words = (
        f"{' to '.join(counts)} ready replicas; the mean response time was above the SLO in "
        f"{number(100.0 * above, 0)}{NO_BREAK}% of {record.num_steps} intervals"
    )
    return f"{words}; the guard set other replicas than were asked for in {held}." if held else f"{words}."

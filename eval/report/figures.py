"""Figures of a run: costs with intervals, differences from the rival, performance profiles."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.eval.protocol.comparisons import RIVAL
from podgym.eval.protocol.entrants import short_id
from podgym.eval.protocol.scores import Field, Scores
from podgym.eval.protocol.tables import marks
from podgym.eval.report.blocks import Figure
from podgym.eval.report.drawing import INK, PALE, PAPER, Look, picture, plain_axes, shortened
from podgym.eval.report.numbers import MINUS, number
from podgym.eval.report.run_files import Run
from podgym.eval.statistics import Bootstrap, Profile, performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas

BOUNDS = ("lower_bound", "clairvoyant")
"""Kinds of what is no method."""

Row = Mapping[str, Any]
Looks = Mapping[str, Look]

WIDTH = 340.0
"""Of a small figure, points."""
_HEAD, _PER_ROW = 74.0, 21.0  # points: what axes and title take, and a row
_PROFILE_SIZE = (680.0, 330.0)
_THRESHOLDS = 81
_PROFILE_RESAMPLES = 2000
_MOST_PROFILES = 8


def cost_figures(run: Run, looks: Looks) -> tuple[Figure, ...]:
    """Return, per environment, the mean cost of every method with its interval, the lowest above.

    Variants are left out; of what failed the name stands there and no point.
    """
    return tuple(_cost_figure(field.environment, run, looks) for field in run.fields)


def difference_figures(run: Run, looks: Looks) -> tuple[Figure, ...]:
    """Return, per environment with a rival, the paired differences from it in percent."""
    found = []
    for field in run.fields:
        wanted = (RIVAL, field.environment)
        rows = [row for row in run.document["comparisons"] if (row["table"], row["environment"]) == wanted]
        if rows:
            found.append(_difference_figure(field.environment, rows, looks))
    return tuple(found)


def _cost_figure(environment: str, run: Run, looks: Looks) -> Figure:
    rows = [
        row for row in run.document["summary"] if row["environment"] == environment and not row["variant_of"]
    ]
    rows.sort(key=lambda row: (bool(row["failure"]), row["cost"]))
    said = run.environment(environment)

    def draw(figure: "Canvas") -> None:
        axes = _rows_axes(figure, short_id(environment), [_label(row, said) for row in rows])
        for place, row in enumerate(rows):
            if row["failure"]:
                axes.text(
                    0.02, place, "failed", transform=axes.get_yaxis_transform(), color=PALE, va="center"
                )
            else:
                hollow = row["kind"] in BOUNDS
                _point(axes, place, row, "cost", 1.0, looks[row["method"]], hollow=hollow)
        axes.set_xlabel("cost of an episode (lower is better)")
        axes.set_xlim(*_cost_limits(rows))
        thousands(axes.xaxis)

    name = f"cost-{short_id(environment)}"
    known = "; ".join(f"{row['method']} {_in_words(row, 'cost', 1.0, 0)}" for row in rows)
    return Figure(
        name,
        f"{short_id(environment)}: mean cost and its interval.{_bound_words(rows)}",
        f"Mean cost of an episode on {environment}, lowest first: {known}.",
        picture(name, WIDTH, _HEAD + _PER_ROW * len(rows), draw),
    )


def _bound_words(rows: Sequence[Row]) -> str:
    kinds = {row["kind"] for row in rows}
    words = " Hollow: the lower bound, below which no controller gets." if "lower_bound" in kinds else ""
    both = " Hollow: what a schedule made with the future known pays." if "clairvoyant" in kinds else ""
    return words + both


def _cost_limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return limits that hold all means and all intervals of methods; those of bounds may go beyond."""
    values = [row[f"cost{end}"] for row in rows for end in ("", "_lower", "_upper")
              if end == "" or row["kind"] not in BOUNDS]  # fmt: skip
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    margin = 0.06 * (max(known) - min(known)) or 1.0
    return min(known) - margin, max(known) + margin


def _difference_figure(environment: str, rows: Sequence[Row], looks: Looks) -> Figure:
    ordered = sorted(rows, key=lambda row: row["relative_difference"])
    rival = ordered[0]["against"]

    def draw(figure: "Canvas") -> None:
        axes = _rows_axes(figure, short_id(environment), [shortened(row["method"]) for row in ordered])
        axes.axvline(0.0, color=INK, linewidth=1.0)
        for place, row in enumerate(ordered):
            open_ = row["verdict"] not in ("lower cost", "higher cost")
            _point(axes, place, row, "relative_difference", 100.0, looks[row["method"]], hollow=open_)
        axes.set_xlabel(f"cost against {shortened(rival)}, %")

    name = f"difference-{short_id(environment)}"
    known = "; ".join(
        f"{row['method']} {_in_words(row, 'relative_difference', 100.0, 1)} %, {row['verdict']}"
        for row in ordered
    )
    return Figure(
        name,
        f"{short_id(environment)}: difference from {rival}, the rival. Filled: shown after Holm's "
        "correction; hollow: not shown.",
        f"Paired relative differences of cost from {rival} on {environment}: {known}.",
        picture(name, WIDTH, _HEAD + _PER_ROW * len(ordered), draw),
    )


def profile_figure(run: Run, looks: Looks) -> Figure | None:
    """Return the performance profiles of the methods that have results everywhere; None: there is no scale.

    Costs are brought to one scale by the mean cost of each environment's rival; where one has none, by that
    of the best controller in hindsight.
    """
    references = [field.rival or field.hindsight for field in run.fields]
    if any(each is None for each in references):
        return None
    scales = [float(each.cost().mean()) for each in references if each is not None]
    methods = _everywhere(run.fields)
    kept = _chosen(run, methods, scales)
    chosen = [name for name in looks if name in kept]
    if not chosen:
        return None
    profiles = _profiles(chosen, scales, run)
    all_rivals = all(field.rival is not None for field in run.fields)
    reference = "the rival" if all_rivals else "the best controller in hindsight"
    banded = {name for name in chosen if _comes_first(run, methods[name])}

    def draw(figure: "Canvas") -> None:
        axes = figure.subplots()
        plain_axes(axes, grid="both")
        for method, profile in profiles.items():
            look = looks[method]
            if method in banded:
                axes.fill_between(
                    profile.thresholds,
                    profile.lower,
                    profile.upper,
                    color=look.colour,
                    alpha=0.15,
                    linewidth=0.0,
                )
            axes.plot(
                profile.thresholds, profile.share, color=look.colour, linestyle=look.dashes, linewidth=1.7,
                label=shortened(method, 34),
            )  # fmt: skip
        axes.axvline(1.0, color=PALE, linewidth=0.8)
        axes.set_xlabel(f"cost of an episode / mean cost of {reference}")
        axes.set_ylabel("share of episodes at or below")
        axes.set_ylim(0.0, 1.0)
        axes.margins(x=0.0)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.6)

    left_out = [name for name in methods if name not in chosen]
    rest = f" Left out for legibility: {', '.join(left_out)}." if left_out else ""
    return Figure(
        "profiles",
        "Performance profiles: in what share of the episodes a method costs at most so many times the mean "
        f"of {reference}, every environment counted alike; bands, of learned methods and rivals, are "
        f"pointwise intervals. Higher and further left is better.{rest}",
        f"Performance profiles. At the mean cost of {reference}: "
        + "; ".join(f"{name} {100.0 * _share_at(each, 1.0):.0f} %" for name, each in profiles.items())
        + ".",
        picture("profiles", *_PROFILE_SIZE, draw),
        wide=True,
    )  # fmt: skip


def _everywhere(fields: Sequence[Field]) -> dict[str, list[Scores]]:
    """Return the scores of the methods with results on all environments, bounds and variants left out."""
    by_method = [{each.method: each for each in field.scores if each.compared} for field in fields]
    names = [name for name in by_method[0] if all(name in each for each in by_method)]
    return {name: [each[name] for each in by_method] for name in names}


def _chosen(run: Run, methods: Mapping[str, list[Scores]], scales: Sequence[float]) -> set[str]:
    """Return what is drawn: learned methods and rivals first, then those of the least cost."""

    def rank(name: str) -> tuple[bool, float]:
        relative = [
            float(each.cost().mean()) / scale for each, scale in zip(methods[name], scales, strict=True)
        ]
        return (not _comes_first(run, methods[name]), float(np.mean(relative)))

    return set(sorted(methods, key=rank)[:_MOST_PROFILES])


def _comes_first(run: Run, scores: Sequence[Scores]) -> bool:
    """Whether a method is learned, or the rival of an environment."""
    rivals = {row["rival"] for row in run.document["environments"]}
    return scores[0].kind == "policy" or scores[0].method in rivals


def _profiles(chosen: Sequence[str], scales: Sequence[float], run: Run) -> dict[str, Profile]:
    methods = _everywhere(run.fields)
    strata = {
        name: [each.cost() / scale for each, scale in zip(methods[name], scales, strict=True)]
        for name in chosen
    }
    thresholds = _thresholds(list(strata.values()))
    bootstrap = Bootstrap(min(run.protocol.resamples, _PROFILE_RESAMPLES), run.document["level"])
    return {
        name: performance_profile(
            list(values), thresholds, bootstrap,
            shared_seeds=len({each.policies for each in methods[name]}) == 1 < len(values),
        )
        for name, values in strata.items()
    }  # fmt: skip


def _thresholds(strata: Sequence[Sequence[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Return where the profiles are drawn: from the least cost to where most have arrived."""
    everything = [np.concatenate([each.ravel() for each in values]) for values in strata]
    low = min(float(values.min()) for values in everything)
    high = float(np.quantile([np.quantile(values, 0.97) for values in everything], 0.75))
    return np.linspace(low, max(high, low * 1.01, low + 1e-6), _THRESHOLDS)


def _share_at(profile: Profile, threshold: float) -> float:
    return float(np.interp(threshold, profile.thresholds, profile.share))


def _rows_axes(figure: "Canvas", title: str, labels: Sequence[str]) -> "Axes":
    """Return axes with a row per label, the first above."""
    axes: Axes = figure.subplots()
    plain_axes(axes, grid="x")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    return axes


def _point(axes: "Axes", place: int, row: Row, name: str, factor: float, look: Look, *, hollow: bool) -> None:
    value, lower, upper = (factor * float(row[f"{name}{end}"]) for end in ("", "_lower", "_upper"))
    if math.isfinite(lower) and math.isfinite(upper):
        axes.plot([lower, upper], [place, place], color=look.colour, linewidth=2.0, solid_capstyle="butt")
    axes.plot(
        [value], [place], marker=look.marker, color=look.colour, markersize=6.5, linestyle="none",
        markerfacecolor=PAPER if hollow else look.colour, markeredgewidth=1.6,
    )  # fmt: skip


def thousands(axis: "Axis") -> None:
    """Write the numbers of an axis with grouped thousands."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}".replace("-", MINUS)))


def _label(row: Row, said: Row) -> str:
    return f"{shortened(row['method'])}{marks(row, said)}"


def _in_words(row: Row, name: str, factor: float, decimals: int) -> str:
    if row.get("failure"):
        return "failed"
    value, lower, upper = (factor * float(row[f"{name}{end}"]) for end in ("", "_lower", "_upper"))
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return number(value, decimals)
    return f"{number(value, decimals)}, {number(lower, decimals)} to {number(upper, decimals)}"

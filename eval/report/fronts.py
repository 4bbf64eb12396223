"""Cost against SLO violation: every method a point, and what its variants, or all of them, can reach."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.eval.protocol.entrants import short_id
from podgym.eval.protocol.scores import Field
from podgym.eval.report.blocks import Figure
from podgym.eval.report.drawing import PALE, Look, picture, plain_axes, shortened
from podgym.eval.report.figures import WIDTH, thousands
from podgym.eval.report.numbers import number
from podgym.eval.report.run_files import Run
from podgym.eval.statistics import cost_at_violation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Row = Mapping[str, Any]

VIOLATION = "slo_violation_time_ratio"
"""The violation that the cost charges, and fronts are made of."""
_HEIGHT, _PER_LEGEND_ROW = 300.0, 14.0
_FINE = 200


def front_figures(run: Run, looks: Mapping[str, Look]) -> tuple[Figure, ...]:
    """Return, per environment, violations and costs of all methods, with fronts."""
    return tuple(_front_figure(field, run, looks) for field in run.fields if _points(field.environment, run))


def pareto(violations: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Return the places of the points that no other is as good as in both and better in one."""
    order = sorted(range(len(costs)), key=lambda place: (violations[place], costs[place]))
    best, found = np.inf, []
    for place in order:
        if costs[place] < best:
            best = costs[place]
            found.append(place)
    return found


def has_front(field: Field) -> bool:
    """Whether a method of the environment has variants with results."""
    return any(each.variant_of is not None and not each.failure for each in field.scores)


def _points(environment: str, run: Run) -> list[Row]:
    """Return the rows of what has a violation and a cost: bounds have none."""
    return [
        row
        for row in run.document["summary"]
        if row["environment"] == environment and not row["failure"] and np.isfinite(row[VIOLATION])
    ]


def _front_figure(field: Field, run: Run, looks: Mapping[str, Look]) -> Figure:
    rows = _points(field.environment, run)
    places = {method: place for place, method in enumerate(looks)}
    rows.sort(key=lambda row: places[row["variant_of"] or row["method"]])
    own = [row for row in rows if not row["variant_of"]]
    order = pareto([row[VIOLATION] for row in rows], [row["cost"] for row in rows])
    best = [rows[place] for place in order]

    def draw(figure: "Canvas") -> None:
        axes: Axes = figure.subplots()
        plain_axes(axes, grid="both")
        axes.set_title(short_id(field.environment), loc="left", fontweight="bold")
        _draw_pareto(axes, best)
        for row in rows:
            look = looks[row["variant_of"] or row["method"]]
            _draw_point(axes, row, look, label=not row["variant_of"])
        for row in own:
            _draw_front(
                axes,
                [each for each in rows if row["method"] in (each["method"], each["variant_of"])],
                looks[row["method"]],
            )
        axes.set_xlabel("SLO violation, % (mean over time)")
        axes.set_ylabel("cost of an episode")
        axes.locator_params(nbins=5)
        thousands(axes.yaxis)
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
            fontsize=8.5,
            handlelength=1.2,
            columnspacing=1.0,
        )

    name = f"front-{short_id(field.environment)}"
    named = ", ".join(row["method"] for row in best)
    text = "; ".join(
        f"{row['method']} {number(100.0 * row[VIOLATION], 2)} % at {number(row['cost'], 0)}" for row in rows
    )
    fronts = " Coloured lines: what mixtures of a method's variants reach." if has_front(field) else ""
    return Figure(
        name,
        f"{short_id(field.environment)}: cost against SLO violation, with intervals. Grey steps: the Pareto "
        f"front of the means ({named}).{fronts}",
        f"SLO violation and cost on {field.environment}: {text}.",
        picture(name, WIDTH, _HEIGHT + _PER_LEGEND_ROW * ((len(own) + 1) // 2), draw),
    )  # fmt: skip


def _draw_pareto(axes: "Axes", best: Sequence[Row]) -> None:
    at = [100.0 * row[VIOLATION] for row in best]
    axes.step(
        at, [row["cost"] for row in best], where="post", color=PALE, linewidth=1.0, linestyle=(0, (3, 2))
    )


def _draw_point(axes: "Axes", row: Row, look: Look, *, label: bool) -> None:
    x, y = 100.0 * row[VIOLATION], row["cost"]
    for name, along_x, factor in ((VIOLATION, True, 100.0), ("cost", False, 1.0)):
        ends = [factor * row[f"{name}_{end}"] for end in ("lower", "upper")]
        if np.isfinite(ends).all():
            line = (ends, [y, y]) if along_x else ([x, x], ends)
            axes.plot(*line, color=look.colour, linewidth=1.0, alpha=0.55)
    axes.plot(
        [x], [y], marker=look.marker, color=look.colour, markersize=6.5 if label else 4.0, linestyle="none",
        label=shortened(row["method"], 24) if label else None,
    )  # fmt: skip


def _draw_front(axes: "Axes", rows: Sequence[Row], look: Look) -> None:
    """Draw the lower convex envelope of a method and its variants, where there are any."""
    if len(rows) < 2:
        return
    violations = np.array([row[VIOLATION] for row in rows])
    costs = np.array([row["cost"] for row in rows])
    at: NDArray[np.float64] = np.linspace(violations.min(), violations.max(), _FINE)
    shape = (_FINE, len(rows))
    reached = cost_at_violation(np.broadcast_to(violations, shape), np.broadcast_to(costs, shape), at)
    axes.plot(100.0 * at, reached, color=look.colour, linewidth=1.4)

"""The paper's tables: its figures, and what our intervals say of its claims."""

import math

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.eval.paper import (
    PAPER_MEASURES,
    PAPER_TABLES,
    Interval,
    PaperRow,
    markdown,
    paper_rows,
)
from podgym.eval.summary import Summary


def summary(values: dict[str, list[float]], hashes: tuple[str, ...] | None = None) -> Summary:
    count = len(next(iter(values.values())))
    episodes = tuple({name: column[i] for name, column in values.items()} for i in range(count))
    return Summary(
        "env",
        "controller",
        tuple(range(count)),
        hashes or tuple(map(str, range(count))),
        episodes,
        {},
        {},
        {},
    )


def constant(factor: float, count: int = 10) -> dict[str, list[float]]:
    return {each.measure: [factor * (1.0 + 0.1 * i) for i in range(count)] for each in PAPER_MEASURES}


def test_the_papers_figures_amount_to_what_it_claims() -> None:
    """About a third less response time, 8 to 11 points more mean utilisation, 7 to 10 % more throughput."""
    for table in PAPER_TABLES:
        rows = paper_rows(table, summary(constant(1.0)), summary(constant(1.0)))
        changes = {row.measure.measure: row.paper_change for row in rows}
        assert -35.0 < changes["response_time_mean_s"] < -32.0
        assert 8.0 < changes["mean_utilisation"] < 11.5
        assert 7.0 < changes["throughput_busiest_rps"] < 10.5
        mean = 0.5 * (table.scheme[1] + table.scheme[2])
        assert mean == pytest.approx(table.scheme[3], abs=0.06)


def test_changes_are_paired() -> None:
    """Each episode is 20 % lower than its twin however episodes differ: the interval has no width."""
    rows = paper_rows(PAPER_TABLES[0], summary(constant(0.8)), summary(constant(1.0)))
    response = rows[0]
    assert response.change.mean == pytest.approx(-20.0)
    assert response.change.low == pytest.approx(-20.0)
    assert response.change.high == pytest.approx(-20.0)
    assert response.default.high > response.default.low
    points = rows[1]
    assert points.change.mean == pytest.approx(100.0 * (0.8 - 1.0) * 1.45)


def test_the_interval_is_that_of_the_mean() -> None:
    """Against the textbook: 200 normal values have a mean within 1.96 s / sqrt(n)."""
    rng = np.random.default_rng(5)
    drawn = rng.normal(0.5, 0.05, size=200)
    values = {each.measure: drawn.tolist() for each in PAPER_MEASURES}
    row = paper_rows(PAPER_TABLES[1], summary(values), summary(constant(1.0, 200)))[1]
    half = 1.96 * 100.0 * drawn.std(ddof=1) / math.sqrt(200)
    assert row.scheme.mean == pytest.approx(100.0 * drawn.mean())
    assert row.scheme.high - row.scheme.mean == pytest.approx(half, rel=0.1)
    assert row.scheme.mean - row.scheme.low == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-40.0, -35.0, "holds, and more"),
        (-40.0, -20.0, "holds"),
        (-20.0, -10.0, "holds in part"),
        (-10.0, 10.0, "undecided"),
        (5.0, 10.0, "does not hold"),
    ],
)
def test_the_verdict(low: float, high: float, verdict: str) -> None:
    """The paper's change is -33 %."""
    own = Interval(0.0, 0.0, 0.0)
    row = PaperRow(PAPER_MEASURES[0], 67.0, 100.0, own, own, Interval((low + high) / 2, low, high))
    assert row.paper_change == pytest.approx(-33.0)
    assert row.verdict == verdict


def test_other_episodes_are_refused() -> None:
    ours, other = summary(constant(1.0)), summary(constant(1.0), tuple("abcdefghij"))
    with pytest.raises(InputError, match="same episodes"):
        paper_rows(PAPER_TABLES[0], ours, other)
    with pytest.raises(InputError, match="two or more"):
        paper_rows(PAPER_TABLES[0], summary(constant(1.0, 1)), summary(constant(1.0, 1)))


def test_markdown_has_a_row_for_every_measure() -> None:
    rows = paper_rows(PAPER_TABLES[2], summary(constant(0.9)), summary(constant(1.0)))
    text = markdown({5: rows})
    assert text.startswith("**Table 5, lower load**")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(PAPER_MEASURES)
    assert len({line.count("|") for line in lines}) == 1
    assert "| response time, ms | 90.2 | 134.8 | -33.1 % |" in text

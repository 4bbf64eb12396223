"""Methods against methods, on the same episodes: as they are, and at equal SLO violation.

Three tables, each corrected by Holm over all of its comparisons, all environments together:

- ``rival``: every method against the rival of its environment, chosen on dev or named in the protocol.
- ``every``: every learned method against every controller that took part.
- ``hindsight``: every method against the controller with the lowest mean on these very episodes. Nobody could
  have known which that would be, so it is the strictest rival of all; its choice is no part of the p-values.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from podgym.eval.protocol.scores import Field, Scores
from podgym.eval.protocol.summary import Row, with_interval
from podgym.eval.statistics import (
    Bootstrap,
    EqualViolation,
    Interval,
    equal_violation_difference,
    holm,
    paired_difference,
    probability_of_improvement,
)

RIVAL, EVERY, HINDSIGHT = "rival", "every", "hindsight"
TABLES = (RIVAL, EVERY, HINDSIGHT)
"""Names of the tables, the column ``table``."""
ALPHA = 0.05
"""Level of the verdicts, of a whole table."""
NO_FRONT = "neither has variants, so there is no front"
"""Note of a comparison that nothing can be said of at equal violation."""

_UNKNOWN = Interval(math.nan, math.nan, math.nan)


def comparison_rows(fields: Sequence[Field], strata: Sequence[Bootstrap]) -> list[Row]:
    """Return the comparisons of all environments, one flat row each, of the same columns for all.

    Args:
        fields: the environments.
        strata: bootstrap of each.
    """
    known: dict[tuple[str, str, str], Row] = {}
    rows = []
    for table in TABLES:
        own_rows = []
        for field, bootstrap in zip(fields, strata, strict=True):
            for own, other in _pairs(table, field):
                key = (field.environment, own.method, other.method)
                if key not in known:
                    known[key] = _row(own, other, field, bootstrap)
                own_rows.append({"table": table, **known[key]})
        rows += [_with_verdict(row) for row in _with_holm(own_rows)]
    return rows


def _pairs(table: str, field: Field) -> Iterator[tuple[Scores, Scores]]:
    if table == EVERY:
        yield from ((own, other) for own in field.learned for other in field.rules)
        return
    other = field.rival if table == RIVAL else field.hindsight
    if other is not None:
        yield from ((own, other) for own in field.scores if own.compared and own is not other)


def _row(own: Scores, other: Scores, field: Field, bootstrap: Bootstrap) -> Row:
    count = min(len(own.seeds), len(other.seeds))
    costs = own.cost(count), other.cost(count)
    pair = paired_difference(*costs, bootstrap)
    row: Row = {
        "environment": field.environment,
        "method": own.method,
        "against": other.method,
        "episodes": count,
        "training_seeds": len(own.training_seeds),
        **with_interval("difference", pair.difference),
        **with_interval("relative_difference", pair.relative),
        "p_value": pair.p_value,
        "p_value_holm": math.nan,
        "p_value_sign_flip": pair.p_value_sign_flip,
        "verdict": "",
        **with_interval("probability_of_improvement", probability_of_improvement(*costs, bootstrap)),
    }
    return row | _at_equal_violation(own, other, field, bootstrap)


def _at_equal_violation(own: Scores, other: Scores, field: Field, bootstrap: Bootstrap) -> Row:
    """Return the comparison at equal violation: with the other's front, or else turned round with the own."""
    notes: list[str] = []
    difference, p_value = _UNKNOWN, math.nan
    for method, opposite, sign in ((own, other, 1.0), (other, own, -1.0)):
        front = field.front_of(opposite.method)
        if len(front) < 2:
            continue
        found = _against_front(method, front, bootstrap)
        notes.append(_note(found, method, opposite))
        if found.comparable:
            difference, p_value = _signed(found.difference, sign), found.p_value
            notes = notes[-1:]
            break
    return {
        **with_interval("equal_violation_difference", difference),
        "equal_violation_p_value": p_value,
        "equal_violation_p_value_holm": math.nan,
        "equal_violation_note": "; ".join(notes) or NO_FRONT,
    }


def _against_front(method: Scores, front: Sequence[Scores], bootstrap: Bootstrap) -> EqualViolation:
    count = min(len(each.seeds) for each in (method, *front))
    points = [(each.violation(count), each.cost(count)) for each in front]
    return equal_violation_difference((method.violation(count), method.cost(count)), points, bootstrap)


def _note(found: EqualViolation, method: Scores, opposite: Scores) -> str:
    at = f"at the violation of {method.method}, {100.0 * found.violation:.3g} %"
    if found.comparable:
        return at
    low, high = (100.0 * end for end in found.front_range)
    inside = math.isfinite(found.difference.estimate)
    where = "is too close to an end of" if inside else "is outside"
    return f"not comparable: {at[3:]}, {where} the front of {opposite.method}, {low:.3g} to {high:.3g} %"


def _signed(interval: Interval, sign: float) -> Interval:
    if sign > 0.0:
        return interval
    return Interval(-interval.estimate, -interval.upper, -interval.lower)


def _with_holm(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a table with p-values adjusted for their number."""
    result: list[dict[str, Any]] = [dict(row) for row in rows]
    for name in ("p_value", "equal_violation_p_value"):
        tested = [row for row in result if math.isfinite(row[name])]
        for row, adjusted in zip(tested, holm([row[name] for row in tested]), strict=True):
            row[f"{name}_holm"] = float(adjusted)
    return result


def _with_verdict(row: Row) -> Row:
    """Return the row with what may be said of the costs: nothing unless interval and test agree."""
    lower, upper = row["difference_lower"], row["difference_upper"]
    verdict = "no difference shown"
    if row["p_value_holm"] <= ALPHA and (upper < 0.0 or lower > 0.0):
        verdict = "lower cost" if upper < 0.0 else "higher cost"
    return {**row, "verdict": verdict}

"""What each method comes to on each environment, and over all of them: means with intervals, regret, gap."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.eval.protocol.scores import Field, Scores
from podgym.eval.protocol.units import MEASURES, SHARES
from podgym.eval.statistics import (
    Bootstrap,
    Interval,
    interval_of,
    iqm_interval,
    mean_estimate,
    mean_replicates,
    paired_difference,
)

Row = dict[str, Any]

_UNKNOWN = Interval(math.nan, math.nan, math.nan)
_OWN, _RIVAL, _BOUND = 1, 2, 3  # sides, whose training seeds are drawn independently


def summary_rows(field: Field, bootstrap: Bootstrap) -> list[Row]:
    """Return one row per method of an environment: flat, of the same columns for all."""
    return [_summary_row(each, field, bootstrap) for each in field.scores]


def with_interval(name: str, interval: Interval) -> Row:
    """Return an interval as three columns."""
    return {name: interval.estimate, f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}


def overall_rows(fields: Sequence[Field], strata: Sequence[Bootstrap]) -> list[Row]:
    """Return one row per method that has results everywhere: against the rival, mean over the environments.

    Args:
        fields: the environments, each with a rival; empty: no row.
        strata: bootstrap of each.
    """
    if not fields or any(field.rival is None for field in fields):
        return []
    by_method = [{each.method: each for each in field.scores if each.compared} for field in fields]
    methods = [name for name in by_method[0] if all(name in each for each in by_method)]
    return [_overall_row([each[name] for each in by_method], fields, strata) for name in methods]


def _summary_row(scores: Scores, field: Field, bootstrap: Bootstrap) -> Row:
    row: Row = {
        "environment": scores.environment,
        "method": scores.method,
        "kind": scores.kind,
        "variant_of": scores.variant_of or "",
        "episodes": len(scores.seeds),
        "training_seeds": len(scores.training_seeds),
        "failure": scores.failure,
    }
    spread = (math.nan, math.nan)
    for name in MEASURES:
        interval = _UNKNOWN
        if not scores.failure and np.isfinite(scores.values[name]).all():
            estimate = mean_estimate(scores.values[name], bootstrap)
            interval = estimate.mean.within(0.0, 1.0 if name in SHARES else math.inf)
            spread = (estimate.between_seeds, estimate.between_episodes) if name == "cost" else spread
        row |= with_interval(name, interval)
    row |= {"cost_between_training_seeds": spread[0], "cost_between_episodes": spread[1]}
    iqm = _UNKNOWN if scores.failure else iqm_interval([scores.cost()], bootstrap)
    row |= with_interval("cost_iqm", iqm.within(0.0, math.inf))
    judged = not scores.failure and scores is not field.bound
    bound = field.bound if judged else None
    row["regret_against"] = bound.method if bound else ""
    row |= with_interval("regret", _regret(scores, bound, bootstrap) if bound else _UNKNOWN)
    row |= with_interval("gap_closed", _gap_closed(scores, field, bound, bootstrap))
    of_replicas = field.replicas_bound if _decide_replicas(scores, field) and judged else None
    return row | with_interval("replicas_gap_closed", _gap_closed(scores, field, of_replicas, bootstrap))


def _regret(scores: Scores, bound: Scores, bootstrap: Bootstrap) -> Interval:
    count = min(len(scores.seeds), len(bound.seeds))
    return paired_difference(scores.cost(count), bound.cost(count), bootstrap).difference


def _decide_replicas(scores: Scores, field: Field) -> bool:
    """Return whether a method and the rival both decide replicas alone."""
    return scores.replicas_only and field.rival is not None and field.rival.replicas_only


def _gap_closed(scores: Scores, field: Field, bound: Scores | None, bootstrap: Bootstrap) -> Interval:
    """Return the share of the gap between rival and bound that a method closes, a ratio of means."""
    if bound is None or bound is scores or field.rival is None or field.rival is scores:
        return _UNKNOWN
    estimate, replicates = _gap_replicates(scores, field, bound, bootstrap, shared_seeds=False)
    return interval_of(estimate, replicates, bootstrap.level)


def _gap_replicates(
    scores: Scores, field: Field, bound: Scores | None, bootstrap: Bootstrap, *, shared_seeds: bool
) -> tuple[float, NDArray[np.float64]]:
    """Return the share of the gap, and its replicates (B,); nan where there is no gap."""
    if field.rival is None or bound is None:
        raise RuntimeError("a gap is between a rival and a bound.")
    three = (scores, field.rival, bound)
    count = min(len(each.seeds) for each in three)
    costs = [each.cost(count) for each in three]
    means = np.array([[each.mean() for each in costs]])  # (1, 3)
    drawn = np.stack(
        [
            mean_replicates(each, bootstrap, side=side, shared_seeds=shared_seeds and side == _OWN)
            for each, side in zip(costs, (_OWN, _RIVAL, _BOUND), strict=True)
        ],
        axis=1,
    )  # (B, 3)
    return float(_share(means)[0]), _share(drawn)


def _share(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the gap closed; means (B, 3) of method, rival and bound."""
    gap = means[:, 1] - means[:, 2]
    result: NDArray[np.float64] = (means[:, 1] - means[:, 0]) / np.where(gap > 0.0, gap, np.nan)
    return result


def _overall_row(scores: Sequence[Scores], fields: Sequence[Field], strata: Sequence[Bootstrap]) -> Row:
    """Return means over environments, each counted alike; episodes of each are drawn on their own."""
    shared = len(fields) > 1 and all(each.policies == scores[0].policies for each in scores)
    relative = [
        _relative(own, field, bootstrap, shared_seeds=shared)
        for own, field, bootstrap in zip(scores, fields, strata, strict=True)
    ]
    level = strata[0].level
    row: Row = {"method": scores[0].method, "kind": scores[0].kind, "environments": len(fields)}
    row |= with_interval("relative_difference", _mean_interval(relative, level))
    one_by_one = list(zip(scores, fields, strata, strict=True))
    others = any(own is not field.rival for own, field, _ in one_by_one)
    decide_replicas = all(_decide_replicas(own, field) for own, field, _ in one_by_one)
    for name, bounds, wanted in (
        ("gap_closed", [field.bound for field in fields], others),
        ("replicas_gap_closed", [field.replicas_bound for field in fields], others and decide_replicas),
    ):
        interval = _UNKNOWN
        if wanted and all(bound is not None for bound in bounds):
            gaps = [
                _gap_replicates(own, field, bound, bootstrap, shared_seeds=shared)
                for (own, field, bootstrap), bound in zip(one_by_one, bounds, strict=True)
            ]
            interval = _mean_interval(gaps, level)
        row |= with_interval(name, interval)
    return row


def _relative(
    own: Scores, field: Field, bootstrap: Bootstrap, *, shared_seeds: bool
) -> tuple[float, NDArray[np.float64]]:
    """Return (own mean cost - the rival's) / the rival's, and its replicates (B,)."""
    if field.rival is None:
        raise RuntimeError("there is no rival to be compared with.")
    count = min(len(own.seeds), len(field.rival.seeds))
    first, second = own.cost(count), field.rival.cost(count)
    rival = mean_replicates(second, bootstrap, side=_RIVAL)
    same = own is field.rival
    mine = rival if same else mean_replicates(first, bootstrap, side=_OWN, shared_seeds=shared_seeds)
    return float(first.mean() / second.mean() - 1.0), mine / rival - 1.0


def _mean_interval(parts: Sequence[tuple[float, NDArray[np.float64]]], level: float) -> Interval:
    estimate = float(np.mean([value for value, _ in parts]))
    return interval_of(estimate, np.mean([replicates for _, replicates in parts], axis=0), level)

"""What a comparison of forecasters found, in sentences that a person would sign."""

from podgym.forecasters.evaluation.comparison import Comparison, FeatureComparison
from podgym.forecasters.evaluation.noise_floor import ASSUMPTIONS, room
from podgym.forecasters.evaluation.rolling import paper_claim
from podgym.forecasters.evaluation.tables import ahead_text, where_text
from podgym.forecasters.evaluation.text import share_percent


def findings(comparison: Comparison, feature: str | None = None) -> list[str]:
    """Return a paragraph per feature: who beats the naive models, the noise, and the paper's claim.

    Args:
        comparison: from ``compare``.
        feature: which feature; all of them unless given.
    """
    chosen = comparison.by_feature if feature is None else (comparison.feature(feature),)
    return [
        f"{where_text(comparison, found)}: "
        + " ".join((winner_sentence(comparison, found), _noise(comparison, found), _claim(comparison, found)))
        for found in chosen
    ]


def winner_sentence(comparison: Comparison, found: FeatureComparison) -> str:
    """Tell how the best learned model does against the best naive one, at the last step and over all."""
    places = (comparison.horizon, None) if comparison.horizon > 1 else (comparison.horizon,)
    told = "; ".join(_against(comparison, found, step) for step in places) + "."
    best = [comparison.best_learned(found.feature, step) for step in places]
    won = [
        found.models[each.label].at(step).verdict == "better"
        for each, step in zip(best, places, strict=True)
        if each is not None
    ]
    if won and not any(won):
        told += " No learned model is shown to beat the naive ones."
    return told


def _against(comparison: Comparison, found: FeatureComparison, step: int | None) -> str:
    ahead, naive = ahead_text(comparison, step), found.reference(step)
    best = comparison.best_learned(found.feature, step)
    error = comparison.result(naive).measure("rmse", found.feature, step)
    reference = f"{naive} (RMSE {error:.3g} {found.unit})"
    if best is None:
        return f"{ahead}, {reference} is the best naive model; no learned one was judged"
    against = found.models[best.label].at(step)
    gain = against.improvement
    ends = [100.0 * value for value in (gain.estimate, gain.lower, gain.upper)]
    side = "below"
    if gain.estimate < 0.0:
        side, ends = "above", [-ends[0], -ends[2], -ends[1]]
    verdict = "not tested" if against.verdict is None else against.verdict
    told = f"{best.label} is {ends[0]:.1f} % [{ends[1]:.1f}, {ends[2]:.1f}] {side} {reference}"
    return f"{ahead}, {told}: {verdict}"


def _noise(comparison: Comparison, found: FeatureComparison) -> str:
    """Tell how much less error is possible at all, and on which assumption."""
    error = comparison.result(found.best_naive).measure("rmse", found.feature)
    told = [
        f"{floor:.3g} {found.unit} ({100.0 * room(floor, error):.1f} % below {found.best_naive}) "
        f"{ASSUMPTIONS[name]}{_doubt(comparison, found, floor)}"
        for name, floor in found.noise.by_name.items()
        if name in ASSUMPTIONS
    ]
    return f"How low the RMSE can get, estimated: {'; '.join(told)}."


def _doubt(comparison: Comparison, found: FeatureComparison, floor: float) -> str:
    """Say so when some model makes smaller errors than it could if the assumption held."""
    for step in (*comparison.steps, None):
        best = comparison.ranked(found.feature, step)[0]
        if best.measure("rmse", found.feature, step) < floor:
            return f" (refuted: {best.label} is lower {ahead_text(comparison, step)})"
    return ""


def _claim(comparison: Comparison, found: FeatureComparison) -> str:
    best = comparison.ranked(found.feature)[0]
    share = share_percent(paper_claim(best, found.feature).share)
    whole = [each.label for each in comparison.results if paper_claim(each, found.feature).holds]
    return (
        f"{share} % of the forecasts of {best.label} are within 5 % of the value; that all are, as the paper "
        f"states, holds for {', '.join(whole) if whole else 'no model'}."
    )

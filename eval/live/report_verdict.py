"""The verdict on a live evaluation in sentences: what differed, by how much, and what that does not show.

One episode carries no interval, so nothing is called lower or higher than anything: numbers are put side by
side, with the loads under which they came about.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.agreement import QUANTITIES
from podgym.eval.live.plan import ITSELF
from podgym.eval.live.report_files import HOWS, LiveResults, RecordedEpisode
from podgym.eval.live.report_tables import agreements, mean_rate_rps, relative_bias
from podgym.eval.live.simulated import REPLAYED
from podgym.eval.measures import MEASURES, mean_and_spread
from podgym.eval.report.numbers import UNKNOWN, number, signed
from podgym.eval.report.verdict import NO_BREAK, Verdict

_IN_FULL = 6  # methods of which all is said; the rest is in the tables
_ALIKE = 0.01  # relative: loads that differ by less are called alike
_WRONG_PERCENT = 25.0
_QUANTITIES = {
    "replicas_ready": "ready replicas", "response_time_s": "mean response time", "cpu_utilisation": "CPU use",
}  # fmt: skip
_SKEWED = "response_time_s"
"""Where few intervals with an overload make the mean, so that its error is another than theirs."""
_COMPUTE = {each.name: each.compute for each in MEASURES}


def verdict(results: LiveResults) -> Verdict:
    """Return what a live evaluation amounts to."""
    methods = results.methods
    first = ITSELF if ITSELF in methods else methods[0]
    others = [each for each in methods if each != first] if _had_effect(first, results) else []
    others = [each for each in others if _had_effect(each, results)]
    sentences = [_what_ran(results), *(_of_method(each, results) for each in methods[:_IN_FULL])]
    sentences += [_difference(each, first, results) for each in others[: _IN_FULL - 1]]
    if len(methods) > _IN_FULL:
        sentences.append(f"The other {len(methods) - _IN_FULL} methods are in the tables.")
    sentences += [
        *_what_it_shows(results, several=bool(others)),
        _load_words(results),
        *_simulator_words(results),
    ]
    return Verdict(tuple(each for each in sentences if each), tuple(_cautions(results)))


def _what_ran(results: LiveResults) -> str:
    methods, environment = results.methods, results.episodes[0].record.metadata.environment
    minutes = sorted({round(each.record.duration_s / 60.0, 1) for each in results.episodes})
    length = " to ".join(f"{each:g}" for each in dict.fromkeys((minutes[0], minutes[-1])))
    count = len(results.episodes)
    episodes = "one episode" if count == 1 else f"{count} episodes"
    ran = f"{_listed(methods)} ran on {environment}, one after another: {episodes} of {length} minutes."
    return f"{ran}{_order_words(results)}"


def _order_words(results: LiveResults) -> str:
    """Return in what order the methods ran, which forecasts from the load before may depend on."""
    if len(results.methods) == 1:
        return ""
    orders: dict[tuple[str, ...], list[int]] = {}
    for seed in sorted({each.seed for each in results.episodes}):
        own = [each for each in results.episodes if each.seed == seed]
        by_time = sorted(own, key=lambda each: str(each.document["started"]))
        orders.setdefault(tuple(each.method for each in by_time), []).append(seed)
    told = "; ".join(
        f"{', '.join(order)} (seed {', '.join(map(str, seeds))})" for order, seeds in orders.items()
    )
    seen = any(_history_s(each) > 0.0 for each in results.episodes)
    after = " Who ran later had the load of those before in the history of its forecasts." if seen else ""
    return f" Their order: {told}.{after}"


def _history_s(episode: RecordedEpisode) -> float:
    metrics = episode.document["settings"].get("metrics") or {}
    return float(metrics.get("history_s") or 0.0)


def _of_method(method: str, results: LiveResults) -> str:
    missed = _mean(results, method, "slo_violation_ratio")
    tail_s = _mean(results, method, "response_time_p95_s")
    return (
        f"{method}: {_percent(100.0 * missed)} of the requests missed the SLO, 95th percentile of the "
        f"response time {number(1e3 * tail_s, 0)} ms, {number(_cores(results, method), 2)} cores requested "
        "on average."
    )


def _difference(method: str, first: str, results: LiveResults) -> str:
    """Return by how much one method's numbers differ from another's, without saying that they would again."""
    missed = 100.0 * (
        _mean(results, method, "slo_violation_ratio") - _mean(results, first, "slo_violation_ratio")
    )
    tails_s = [_mean(results, each, "response_time_p95_s") for each in (method, first)]
    cores = [_cores(results, each) for each in (method, first)]
    return (
        f"{method} against {first}: {signed(missed, 2)} percentage points of requests that missed the SLO, "
        f"{signed(1e3 * (tails_s[0] - tails_s[1]), 0)} ms at the 95th percentile, "
        f"{signed(cores[0] - cores[1], 2)} cores ({_relative(*cores)})."
    )


def _had_effect(method: str, results: LiveResults) -> bool:
    """Whether the measures of a method are its own: it acted, or it is the autoscaler in the cluster."""
    return method == ITSELF or all(each.acted for each in results.of(method))


def _what_it_shows(results: LiveResults, *, several: bool) -> list[str]:
    counts = {len(results.of(each)) for each in results.methods}
    if max(counts) == 1:
        about = "these differences" if several else "these numbers"
        return [
            f"One episode per method carries no interval: {about} are what happened, and whether they would "
            "come again is not shown."
        ]
    number_of = " to ".join(str(each) for each in sorted({min(counts), max(counts)}))
    return [
        f"These are means of {number_of} episodes under loads that were not the same, so no interval is "
        "given; the tables have the least and the most of them."
    ]


def _load_words(results: LiveResults) -> str:
    rates = {each: mean_rate_rps(results.of(each)) for each in results.methods}
    if len(rates) == 1:
        return f"The load was {number(next(iter(rates.values())), 1)} requests/s on average."
    each = ", ".join(f"{number(rate, 1)} for {method}" for method, rate in rates.items())
    apart = (max(rates.values()) - min(rates.values())) / max(*rates.values(), 1e-12)
    alike = (
        "alike"
        if apart < _ALIKE
        else f"up to {_percent(100.0 * apart, 1)} apart, which is part of the differences"
    )
    return f"The loads were measured, not given: in requests/s on average {each}; {alike}."


def _simulator_words(results: LiveResults) -> list[str]:
    """Return how far the simulator was off, over all methods, one sentence per way in which it was run."""
    found = agreements(results)
    sentences = []
    for how in HOWS:
        known = [each for (_, run), every in found.items() if run == how for each in every]
        parts = []
        for quantity in QUANTITIES:
            own = [each for each in known if each.quantity == quantity]
            errors = [each.mean_absolute_percentage_error for each in own]
            biases = [relative_bias(each) for each in own]
            if np.isfinite(errors).any():
                mean = f" (on average {_from_to(biases, signed)})" if quantity == _SKEWED else ""
                parts.append(f"{_from_to(errors, number)} for {_QUANTITIES[quantity]}{mean}")
        if parts:
            given = (
                "The simulator, given the recorded load and decisions," if how == REPLAYED
                else "With each method deciding by itself in the simulator, that"
            )  # fmt: skip
            sentences.append(f"{given} was off in an interval by {_listed(parts)}.")
    return sentences


def _from_to(values: Sequence[float], write: Callable[[float, int], str]) -> str:
    known = [each for each in values if math.isfinite(each)]
    ends = dict.fromkeys(write(each, 1) for each in (min(known), max(known))) if known else [UNKNOWN]
    return f"{' to '.join(ends)}{NO_BREAK}%"


def _cautions(results: LiveResults) -> list[str]:
    """Return what limits the verdict, most serious first."""
    found = [f"{_who(each)}: {_end(each)}" for each in results.episodes if not each.whole]
    if results.unfinished:
        found.append(
            f"Begun and without a recording, killed or failed before the first interval was over: "
            f"{', '.join(results.unfinished)}."
        )
    if results.document is None:
        found.append(
            "The evaluation did not come to its end (no results.json): methods or episodes may be missing."
        )
    else:
        found += _failures(results.document["live"])
    found += _mode_cautions(results)
    found += _cautions_of_episodes(results)
    return list(dict.fromkeys(found))


def _failures(live: Mapping[str, Any]) -> list[str]:
    """Return what failed while the rest went on, and what ended all; older results say nothing of it."""
    texts = [str(each["reason"]) for each in live.get("failures") or ()]
    aborted, stopped = live.get("aborted"), live.get("stopped")
    found = [f"Failed: {text.rstrip('.')}." for text in texts if text not in str(aborted or "")]
    if stopped:
        found.insert(0, f"The evaluation was stopped by {stopped}: methods or episodes may be missing.")
    return found if not aborted else [f"The evaluation was ended: {str(aborted).rstrip('.')}.", *found]


def _mode_cautions(results: LiveResults) -> list[str]:
    silent = {
        "shadow": "decided and wrote nothing (shadow mode)",
        "dry_run": "had its decisions checked, and none was kept (dry run)",
    }
    return [
        f"{method} {silent[mode]}: its measures are those of whoever scaled the cluster meanwhile."
        for method in results.methods
        for mode in dict.fromkeys(str(each.document["mode"]) for each in results.of(method))
        if mode in silent and method != ITSELF
    ]


def _cautions_of_episodes(results: LiveResults) -> list[str]:
    found = []
    counts = {method: len(results.of(method)) for method in results.methods}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"{method} {count}" for method, count in counts.items())
        found.append(f"The methods have different numbers of episodes: {words}.")
    for each in results.episodes:
        document, steps = each.document, each.record.num_steps
        late, parts = document["lateness"], []
        if late["late_intervals"]:
            largest_s = number(float(late["largest_s"]), 1)
            parts.append(
                f"{late['late_intervals']} of {steps} intervals ended late, by {largest_s} s at most"
            )
        if document["intervals_with_problems"]:
            parts.append(f"problems in {document['intervals_with_problems']} of {steps} intervals")
        found += [f"{_who(each)}: {'; '.join(parts)}."] if parts else []
        if REPLAYED not in each.simulated:
            found.append(f"{_who(each)}: the simulator was not run beside.")
        found += [f"{_who(each)}: {text.rstrip('.')}." for text in document["remarks"]]
    return [*found, *_wrong(results)]


def _wrong(results: LiveResults) -> list[str]:
    """Return where the simulator, given load and decisions, is too far off to stand for the cluster."""
    return [
        f"{method}: given load and decisions, the simulator missed the {_QUANTITIES[each.quantity]} of "
        f"{each.service} by {_percent(each.mean_absolute_percentage_error, 0)} in an interval and by "
        f"{signed(relative_bias(each), 0)}{NO_BREAK}% on average; podgym calibrate fits it to the recording."
        for (method, how), found in agreements(results).items()
        for each in found
        if how == REPLAYED
        and max(each.mean_absolute_percentage_error, abs(relative_bias(each))) > _WRONG_PERCENT
    ]


def _end(episode: RecordedEpisode) -> str:
    document = episode.document
    return (
        f"ended after {document['intervals']} of {document['intervals_planned']} intervals: "
        f"{str(document['ended_because']).rstrip('.')}."
    )


def _who(episode: RecordedEpisode) -> str:
    return f"{episode.method}, seed {episode.seed}"


def _mean(results: LiveResults, method: str, name: str) -> float:
    return mean_and_spread(_COMPUTE[name](each.record) for each in results.of(method))[0]


def _cores(results: LiveResults, method: str) -> float:
    """Return the cores requested on average, which episodes of unequal length can be compared by."""
    return mean_and_spread(_requested_cores(each.record) for each in results.of(method))[0]


def _requested_cores(record: EpisodeRecord) -> float:
    return float(record.columns["cpu_requested_core_s"].sum()) / record.duration_s


def _relative(value: float, against: float) -> str:
    if not (against > 0.0 and math.isfinite(value)):
        return UNKNOWN
    return f"{signed(100.0 * (value - against) / against, 1)}{NO_BREAK}%"


def _percent(value: float, decimals: int = 2) -> str:
    return f"{number(value, decimals)}{NO_BREAK}%"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

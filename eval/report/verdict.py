"""The verdict in sentences: what the comparisons show, what they do not, and what to keep in mind.

Nothing is called lower or higher unless interval and corrected test agree, which the comparisons' own
``verdict`` says; and the methods are not picked by their results, so all that were learned are named.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podgym.eval.protocol.comparisons import ALPHA, HINDSIGHT, RIVAL
from podgym.eval.protocol.entrants import short_id
from podgym.eval.report.numbers import interval, number, signed

Row = Mapping[str, Any]

LOWER, HIGHER, OPEN = "lower cost", "higher cost", "no difference shown"
"""Verdicts of a comparison."""
FEW_EPISODES = 30
"""With fewer, what rests on the bootstrap is rough."""
NO_BREAK = "\u00a0"
"""A space at which no line ends."""
_IN_FULL = 2  # methods of which all is said; of more there is a sentence each


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run amounts to."""

    sentences: tuple[str, ...]
    """The paragraph."""
    cautions: tuple[str, ...]
    """What limits it, most serious first; empty: nothing special."""


def verdict(document: Mapping[str, Any]) -> Verdict:
    """Return what ``summary.json`` amounts to.

    Args:
        document: its content, unknown numbers as nan.
    """
    learned = _learned(document)
    if learned:
        sentences = [each for method in learned for each in _of_learned(method, document, len(learned))]
    else:
        sentences = [each for row in document["environments"] for each in _of_controllers(row, document)]
    said_once = dict.fromkeys([*sentences, *_explanation(document)])
    return Verdict(tuple(said_once), tuple(_cautions(document, learned)))


def _learned(document: Mapping[str, Any]) -> list[str]:
    rows = (row for row in document["summary"] if row["kind"] == "policy" and not row["variant_of"])
    return list(dict.fromkeys(row["method"] for row in rows if not row["failure"]))


def _of_learned(method: str, document: Mapping[str, Any], count: int) -> list[str]:
    """Return the sentences about one learned method."""
    rows = _compared(document, RIVAL, method)
    if not rows:
        rows = _compared(document, HINDSIGHT, method)
        if not rows:
            return [f"{method} took part, but there was no controller with results to compare it with."]
        opponent = "the best controller in hindsight"
        return [_counted(method, opponent, rows), f"{_opponents(opponent, rows)}."]
    sentences = [_counted(method, "its rival", rows), f"{_opponents('its rival', rows)}{_choice(document)}."]
    if count > _IN_FULL:
        return sentences
    return [
        *sentences,
        *_overall(method, document),
        *_hindsight(method, document),
        *_violations(method, rows, document),
        _at_equal_violation(method, rows),
        *_gap(method, document),
    ]


def _choice(document: Mapping[str, Any]) -> str:
    choices = dict.fromkeys(row["rival_choice"] for row in document["environments"])
    return f" ({', '.join(choices)})"


def _counted(method: str, opponent: str, rows: Sequence[Row]) -> str:
    """Return on how many environments a method costs less, more, or neither is shown."""
    by_verdict = {word: [row for row in rows if row["verdict"] == word] for word in (LOWER, HIGHER, OPEN)}
    total = len(rows)
    parts = []
    if by_verdict[LOWER]:
        parts.append(f"costs less than {opponent} on {_of(by_verdict[LOWER], total)}")
    if by_verdict[HIGHER]:
        parts.append(f"costs more than {opponent} on {_of(by_verdict[HIGHER], total)}")
    if by_verdict[OPEN]:
        parts.append(
            f"is not shown to differ from {opponent} on {_of(by_verdict[OPEN], total, 'any of the')}"
        )
    return f"{method} {_listed(parts)}."


def _of(rows: Sequence[Row], total: int, every: str = "all") -> str:
    named = "; ".join(f"{short_id(row['environment'])} {_relative(row)}" for row in rows)
    if total == 1:
        return named
    if len(rows) == total:
        return f"{every} {total} environments ({named})"
    return f"{len(rows)} of {total} environments ({named})"


def _opponents(opponent: str, rows: Sequence[Row]) -> str:
    """Return who that is, or was on each environment."""
    names = list(dict.fromkeys(row["against"] for row in rows))
    where = {name: [short_id(row["environment"]) for row in rows if row["against"] == name] for name in names}
    each = names if len(names) == 1 else [f"{name} on {_listed(where[name])}" for name in names]
    return f"{opponent[0].upper()}{opponent[1:]} is {_listed(each)}"


def _relative(row: Row) -> str:
    return _percent(row, "relative_difference")


def _percent(row: Row, name: str) -> str:
    value, lower, upper = (100.0 * float(row[f"{name}{end}"]) for end in ("", "_lower", "_upper"))
    return f"{signed(value, 1)} % {interval(lower, upper, 1, signs=True)}".replace(
        " %", f"{NO_BREAK}%"
    ).rstrip()


def _overall(method: str, document: Mapping[str, Any]) -> list[str]:
    row = next((each for each in document["overall"] if each["method"] == method), None)
    if row is None or row["environments"] < 2:
        return []
    return [
        f"The mean difference of {method} over all environments, each counted alike, is {_relative(row)}."
    ]


def _hindsight(method: str, document: Mapping[str, Any]) -> list[str]:
    rows = _compared(document, HINDSIGHT, method)
    rivals = {row["environment"]: row["against"] for row in _compared(document, RIVAL, method)}
    if not rows or all(row["against"] == rivals.get(row["environment"]) for row in rows):
        return ["No other controller had a lower mean than the rival on these episodes."] if rows else []
    counts = ", ".join(
        f"{words} on {sum(row['verdict'] == word for row in rows)}"
        for word, words in ((LOWER, "less"), (HIGHER, "more"), (OPEN, "no difference shown"))
    )
    return [
        f"Against the controller with the lowest mean on these very episodes, which nobody could have known, "
        f"the count of {len(rows)} for {method} is: {counts}."
    ]


def _violations(method: str, rows: Sequence[Row], document: Mapping[str, Any]) -> list[str]:
    """Return where the lower cost comes with more violations, by the means."""
    shares = {(row["environment"], row["method"]): row["slo_violation_ratio"] for row in document["summary"]}
    known = [
        (row["environment"], shares[row["environment"], method], shares[row["environment"], row["against"]])
        for row in rows
    ]
    more = [
        f"{short_id(environment)}, {number(100.0 * own, 2)} % against {number(100.0 * other, 2)} %"
        for environment, own, other in known
        if own > other
    ]
    if more:
        where = "; ".join(more)
        return [f"By the mean, more requests miss the SLO under {method} than under its rival on {where}."]
    if all(math.isfinite(own) and math.isfinite(other) for _, own, other in known):
        return [f"By the means, nowhere do more requests miss the SLO under {method} than under its rival."]
    return []


def _at_equal_violation(method: str, rows: Sequence[Row]) -> str:
    known = [row for row in rows if _is_known(row, "equal_violation_difference")]
    if not known:
        return (
            f"At equal SLO violation {method} is not compared with its rival: neither has variants whose "
            "violations reach the other's."
        )
    counts: dict[str, list[str]] = {LOWER: [], HIGHER: [], OPEN: []}
    for row in known:
        counts[_verdict_at_equal_violation(row)].append(short_id(row["environment"]))
    words = ((LOWER, "costs less"), (HIGHER, "costs more"), (OPEN, "is not shown to differ"))
    parts = [f"{word} on {_listed(counts[name])}" for name, word in words if counts[name]]
    missing = [short_id(row["environment"]) for row in rows if row not in known]
    rest = f"; on {_listed(missing)} the two cannot be compared so" if missing else ""
    return f"At equal SLO violation {method} {_listed(parts)}{rest}."


def _verdict_at_equal_violation(row: Row) -> str:
    lower, upper = (row[f"equal_violation_difference_{end}"] for end in ("lower", "upper"))
    if not row["equal_violation_p_value_holm"] <= ALPHA or lower <= 0.0 <= upper:
        return OPEN
    return LOWER if upper < 0.0 else HIGHER


def _gap(method: str, document: Mapping[str, Any]) -> list[str]:
    gaps = {
        "gap_closed": "the gap between rival and lower bound",
        "replicas_gap_closed": "the gap to the bound of methods that decide replicas alone",
    }
    return [text for name, gap in gaps.items() for text in _one_gap(method, document, name, gap)]


def _one_gap(method: str, document: Mapping[str, Any], name: str, gap: str) -> list[str]:
    overall = next((row for row in document["overall"] if row["method"] == method), None)
    if overall is not None and _is_known(overall, name):
        return [f"Of {gap} {_closed(method, overall, name)}, on average."]
    rows = [row for row in document["summary"] if row["method"] == method and _is_known(row, name)]
    each = [f"{_closed(method, row, name)} on {short_id(row['environment'])}" for row in rows]
    return [f"Of {gap} {_listed(each)}."] if each else []


def _closed(method: str, row: Row, name: str) -> str:
    text = _percent(row, name).replace("+", "")
    if row[f"{name}_lower"] > 0.0:
        return f"{method} closes {text}"
    if row[f"{name}_upper"] < 0.0:
        return f"{method} closes nothing ({text})"
    return f"it is open whether {method} closes anything ({text})"


def _of_controllers(environment: Row, document: Mapping[str, Any]) -> list[str]:
    """Return what is known of the controllers of an environment where nothing was learned."""
    name = environment["environment"]
    chosen = environment["rival"] or environment["best_controller_in_hindsight"]
    if chosen is None:
        return [f"On {short_id(name)} no controller has results."]
    table = RIVAL if environment["rival"] else HINDSIGHT
    rows = [row for row in document["comparisons"] if (row["table"], row["environment"]) == (table, name)]
    what = "the rival" if environment["rival"] else "the controller with the lowest mean"
    start = f"On {short_id(name)} {what} is {chosen}"
    if not rows:
        return [f"{start}, and there is nobody to compare it with."]
    groups = ((LOWER, "less"), (HIGHER, "more"))
    parts = [
        _group([row for row in rows if row["verdict"] == word], words)
        for word, words in groups
        if any(row["verdict"] == word for row in rows)
    ]
    undecided = [f"{row['method']} ({_relative(row)})" for row in rows if row["verdict"] == OPEN]
    if undecided:
        parts.append(f"of {_listed(undecided)} no difference is shown")
    return [f"{start}. Against it, {'; '.join(parts)}."]


def _group(rows: Sequence[Row], words: str) -> str:
    """Return who costs less or more: everybody, or of many the two ends."""
    cost = "costs" if len(rows) == 1 else "cost"
    if len(rows) <= _IN_FULL:
        names = [f"{row['method']} ({_relative(row)})" for row in rows]
        return f"{_listed(names)} {cost} {words}"
    ordered = sorted(rows, key=lambda row: abs(row["relative_difference"]))
    near, far = (f"{row['method']} ({_relative(row)})" for row in (ordered[0], ordered[-1]))
    return f"{len(rows)} methods cost {words}, from {near} to {far}"


def _explanation(document: Mapping[str, Any]) -> list[str]:
    count = sum(row["table"] == RIVAL for row in document["comparisons"])
    if not document["comparisons"]:
        return []
    level = f"{100.0 * document['level']:.3g} %"
    table = f"the {count} comparisons with a rival" if count > 1 else "all comparisons of their table"
    text = (
        f"Differences are paired by episode, with {level} intervals in brackets; less and more are said only "
        f"where the interval excludes zero and the test does so after Holm's correction over {table}."
    )
    chosen_here = (
        "" if count else " That the controller was chosen on these very episodes is no part of the test."
    )
    return [text + chosen_here]


def _cautions(document: Mapping[str, Any], learned: Sequence[str]) -> list[str]:
    found: list[str] = []
    own: list[Callable[[Mapping[str, Any], Sequence[str]], str]] = [
        _part_caution, _failure_caution, _few_caution, _seed_caution, _rival_caution,
    ]  # fmt: skip
    found += [text for each in own if (text := each(document, learned))]
    return found


def _part_caution(document: Mapping[str, Any], learned: Sequence[str]) -> str:
    if document["part"] == "test":
        return ""
    return (
        f"These are {document['part']} episodes, on which options and policies may have been chosen: a "
        "trial, no result to publish."
    )


def _failure_caution(document: Mapping[str, Any], learned: Sequence[str]) -> str:
    failed = [
        f"{row['method']} on {short_id(row['environment'])}" for row in document["summary"] if row["failure"]
    ]
    return f"Without results: {_listed(failed)}; why is said in the tables." if failed else ""


def _few_caution(document: Mapping[str, Any], learned: Sequence[str]) -> str:
    fewest = min((row["episodes"] for row in document["environments"]), default=FEW_EPISODES)
    if fewest >= FEW_EPISODES:
        return ""
    return f"{fewest} episodes of an environment are few: intervals are wide, and only roughly right."


def _seed_caution(document: Mapping[str, Any], learned: Sequence[str]) -> str:
    rows = (row for row in document["summary"] if row["method"] in learned and row["training_seeds"] < 2)
    single = list(dict.fromkeys(row["method"] for row in rows))
    if not single:
        return ""
    return (
        f"There is one training seed only of {_listed(single)}: how much a second training would differ is "
        "not in the intervals."
    )


def _rival_caution(document: Mapping[str, Any], learned: Sequence[str]) -> str:
    without = [short_id(row["environment"]) for row in document["environments"] if row["rival"] is None]
    return (
        f"There is no rival on {_listed(without)}: no tuned controller with results took part."
        if without
        else ""
    )


def _compared(document: Mapping[str, Any], table: str, method: str) -> list[Row]:
    return [row for row in document["comparisons"] if (row["table"], row["method"]) == (table, method)]


def _is_known(row: Row, name: str) -> bool:
    return all(math.isfinite(row[f"{name}{end}"]) for end in ("", "_lower", "_upper"))


def _listed(items: Sequence[str]) -> str:
    """Return items as a list in a sentence."""
    if len(items) < 2:
        return "".join(items)
    separator = "; " if any(mark in each for each in items for mark in (",", ";")) else ", "
    return f"{separator.join(items[:-1])} and {items[-1]}"

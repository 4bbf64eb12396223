"""The verdict on made-up comparisons: what is said, and what must not be."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.eval.report.verdict import HIGHER, LOWER, NO_BREAK, OPEN, verdict

NAMES = ("A-v0", "B-v0", "C-v0")


def comparison(environment, method="ppo", against="rule", said=LOWER, *, table="rival", middle=None, **more):
    """One row of comparisons whose numbers go with what is said of them."""
    middle = {LOWER: -0.05, HIGHER: 0.05, OPEN: 0.001}[said] if middle is None else middle
    row = {
        "table": table, "environment": environment, "method": method, "against": against, "verdict": said,
        "relative_difference": middle, "relative_difference_lower": middle - 0.01,
        "relative_difference_upper": middle + 0.01, "equal_violation_p_value_holm": math.nan,
        **dict.fromkeys(
            (f"equal_violation_difference{end}" for end in ("", "_lower", "_upper")), math.nan
        ),
    }  # fmt: skip
    return row | more


def summary(environment, method, kind="controller", **more):
    """One row of the summary."""
    row = {
        "environment": environment, "method": method, "kind": kind, "variant_of": "", "failure": "",
        "episodes": 500, "training_seeds": 5 if kind == "policy" else 1, "slo_violation_ratio": 0.02,
        **dict.fromkeys((f"gap_closed{end}" for end in ("", "_lower", "_upper")), math.nan),
        **dict.fromkeys((f"replicas_gap_closed{end}" for end in ("", "_lower", "_upper")), math.nan),
    }  # fmt: skip
    return row | more


def document(comparisons, rows=None, names=NAMES, rival="rule", overall=(), **more):
    """What ``summary.json`` holds, as far as the verdict looks at it."""
    rows = rows or [summary(name, *who) for name in names for who in (("rule",), ("ppo", "policy"))]
    content = {
        "part": "test", "level": 0.95, "comparisons": comparisons, "summary": rows, "overall": list(overall),
        "environments": [
            {
                "environment": name, "episodes": 500, "rival": rival, "rival_choice": "best on dev",
                "best_controller_in_hindsight": "rule",
            }
            for name in names
        ],
    }  # fmt: skip
    return content | more


def test_no_line_ends_before_a_percent_sign():
    sentences = verdict(document([comparison(name) for name in NAMES])).sentences
    assert " %" not in sentences[0]
    assert sentences[0].count(f"5.0{NO_BREAK}%") == 3


def said(content):
    return " ".join(verdict(content).sentences).replace(NO_BREAK, " ")


def test_lower_everywhere():
    text = said(document([comparison(name) for name in NAMES]))
    assert text.startswith(
        "ppo costs less than its rival on all 3 environments (A-v0 \u22125.0 % [\u22126.0 to \u22124.0]; "
    )
    assert "Its rival is rule (best on dev)." in text
    assert "costs more" not in text
    assert "not shown to differ" not in text
    assert "after Holm's correction over the 3 comparisons with a rival" in text


def test_each_environment_stands_where_it_belongs():
    rows = [comparison("A-v0"), comparison("B-v0", said=HIGHER), comparison("C-v0", said=OPEN)]
    text = said(document(rows))
    assert "costs less than its rival on 1 of 3 environments (A-v0 \u22125.0 %" in text
    assert "costs more than its rival on 1 of 3 environments (B-v0 +5.0 % [+4.0 to +6.0])" in text
    assert "is not shown to differ from its rival on 1 of 3 environments (C-v0 +0.1 %" in text


@given(st.lists(st.sampled_from([LOWER, HIGHER, OPEN]), min_size=1, max_size=6))
def test_nothing_is_called_lower_that_the_comparison_does_not(words):
    names = [f"E{place}-v0" for place in range(len(words))]
    rows = [comparison(name, said=word) for name, word in zip(names, words, strict=True)]
    first = verdict(document(rows, names=names)).sentences[0]
    phrases = {"less than": LOWER, "more than": HIGHER, "not shown to differ from": OPEN}
    _, *parts = re.split(f"({'|'.join(phrases)}) its rival on", first)
    found = {
        phrases[phrase]: re.findall(r"E\d+-v0", text)
        for phrase, text in zip(parts[::2], parts[1::2], strict=True)
    }
    expected = {
        word: [name for name, own in zip(names, words, strict=True) if own == word] for word in set(words)
    }
    assert found == expected


def test_a_lower_mean_without_a_verdict_is_no_lower_cost():
    text = said(document([comparison("A-v0", said=OPEN, middle=-0.2)], names=NAMES[:1]))
    assert text.startswith("ppo is not shown to differ from its rival on A-v0 \u221220.0 %")
    assert "costs less" not in text


def test_rivals_that_differ_are_named_by_environment():
    rows = [comparison("A-v0"), comparison("B-v0", against="keda"), comparison("C-v0", against="keda")]
    methods = (("rule",), ("keda",), ("ppo", "policy"))
    text = said(document(rows, [summary(name, *who) for name in NAMES for who in methods]))
    assert "Its rival is rule on A-v0 and keda on B-v0 and C-v0 (best on dev)." in text


def test_the_controller_that_was_best_in_hindsight_is_counted():
    rows = [comparison(name) for name in NAMES]
    hindsight = [
        comparison(name, against="lucky", said=word, table="hindsight")
        for name, word in zip(NAMES, (LOWER, OPEN, OPEN), strict=True)
    ]
    text = said(document(rows + hindsight))
    assert "nobody could have known, the count of 3 for ppo is: less on 1, more on 0, no difference" in text
    same = [comparison(name, table="hindsight") for name in NAMES]
    assert "No other controller had a lower mean than the rival" in said(document(rows + same))


@pytest.mark.parametrize(
    ("ends", "p", "words"),
    [
        ((-9.0, -1.0), 0.01, "At equal SLO violation ppo costs less on A-v0"),
        ((1.0, 9.0), 0.01, "At equal SLO violation ppo costs more on A-v0"),
        ((-9.0, 1.0), 0.01, "At equal SLO violation ppo is not shown to differ on A-v0"),
        ((-9.0, -1.0), 0.06, "At equal SLO violation ppo is not shown to differ on A-v0"),
        ((-9.0, math.nan), 1.0, "At equal SLO violation ppo is not compared with its rival"),
    ],
)
def test_equal_violation_needs_interval_and_corrected_test(ends, p, words):
    own = {
        "equal_violation_difference": -5.0, "equal_violation_difference_lower": ends[0],
        "equal_violation_difference_upper": ends[1], "equal_violation_p_value_holm": p,
    }  # fmt: skip
    assert words in said(document([comparison("A-v0", **own)], names=NAMES[:1]))


def test_where_equal_violation_cannot_be_compared_is_said():
    own = {
        "equal_violation_difference": -5.0, "equal_violation_difference_lower": -6.0,
        "equal_violation_difference_upper": -4.0, "equal_violation_p_value_holm": 0.001,
    }  # fmt: skip
    text = said(document([comparison("A-v0", **own), comparison("B-v0"), comparison("C-v0")]))
    assert "ppo costs less on A-v0; on B-v0 and C-v0 the two cannot be compared so." in text


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.2, 0.4), "ppo closes 30.0 % [20.0 to 40.0], on average"),
        ((-0.4, -0.2), "ppo closes nothing (\u221230.0 %"),
        ((-0.1, 0.2), "it is open whether ppo closes anything"),
    ],
)
def test_the_gap_to_the_bound(ends, words):
    middle = {(0.2, 0.4): 0.3, (-0.4, -0.2): -0.3, (-0.1, 0.2): 0.05}[ends]
    overall = {
        "method": "ppo", "environments": 3, "relative_difference": -0.05, "relative_difference_lower": -0.06,
        "relative_difference_upper": -0.04, "gap_closed": middle, "gap_closed_lower": ends[0],
        "gap_closed_upper": ends[1],
        **dict.fromkeys((f"replicas_gap_closed{end}" for end in ("", "_lower", "_upper")), math.nan),
    }  # fmt: skip
    text = said(document([comparison(name) for name in NAMES], overall=[overall]))
    assert f"Of the gap between rival and lower bound {words}" in text
    assert "replicas alone" not in text
    overall |= {f"replicas_{name}": value for name, value in overall.items() if name.startswith("gap_closed")}
    text = said(document([comparison(name) for name in NAMES], overall=[overall]))
    assert f"Of the gap to the bound of methods that decide replicas alone {words}" in text
    assert "over all environments, each counted alike, is \u22125.0 % [\u22126.0 to \u22124.0]" in text


def test_more_violations_than_the_rival_are_not_passed_over():
    rows = [summary(name, *who) for name in NAMES for who in (("rule",), ("ppo", "policy"))]
    comparisons = [comparison(name) for name in NAMES]
    assert "nowhere do more requests miss the SLO under ppo than under its rival" in said(
        document(comparisons, rows)
    )
    rows[3] |= {"slo_violation_ratio": 0.051}
    text = said(document(comparisons, rows))
    assert "more requests miss the SLO under ppo than under its rival on B-v0, 5.10 % against 2.00 %." in text
    assert "nowhere" not in text


def test_of_many_learned_methods_each_is_named():
    """Else the best would be picked by these very results."""
    methods = ("ppo", "maskable_ppo", "recurrent_ppo")
    comparisons = [
        comparison("A-v0", each, said=word) for each, word in zip(methods, (LOWER, HIGHER, OPEN), strict=True)
    ]
    rows = [summary("A-v0", "rule"), *(summary("A-v0", each, "policy") for each in methods)]
    text = said(document(comparisons, rows, names=NAMES[:1]))
    for sentence in ("ppo costs less", "maskable_ppo costs more", "recurrent_ppo is not shown to differ"):
        assert sentence in text


def test_two_learned_methods_are_told_apart_and_nothing_is_said_twice():
    comparisons = [comparison("A-v0", each) for each in ("ppo", "other")]
    rows = [summary("A-v0", "rule"), *(summary("A-v0", each, "policy") for each in ("ppo", "other"))]
    found = verdict(document(comparisons, rows, names=NAMES[:1])).sentences
    assert len(found) == len(set(found))
    for each in ("ppo", "other"):
        assert sum(f"under {each} than under its rival" in sentence for sentence in found) == 1
        assert sum(f"At equal SLO violation {each} is not" in sentence for sentence in found) == 1
    assert sum("Its rival is rule" in sentence for sentence in found) == 1


def test_without_a_learned_method_controllers_are_compared():
    names = ("a", "b", "c", "d")
    comparisons = [
        comparison("A-v0", each, said=HIGHER, middle=middle)
        for each, middle in zip(names, (0.3, 0.1, 0.2, 0.4), strict=True)
    ]
    comparisons.append(comparison("A-v0", "e", said=OPEN))
    comparisons.append(comparison("A-v0", "f", said=LOWER))
    rows = [summary("A-v0", each) for each in ("rule", *names, "e", "f")]
    text = said(document(comparisons, rows, names=NAMES[:1]))
    assert text.startswith(
        "On A-v0 the rival is rule. Against it, f (\u22125.0 % [\u22126.0 to \u22124.0]) costs less; "
    )
    assert "4 methods cost more, from b (+10.0 % [+9.0 to +11.0]) to d (+40.0 %" in text
    assert "of e (+0.1 %" in text
    assert "no difference is shown" in text


def test_without_a_rival_the_least_mean_is_called_that():
    rows = [summary("A-v0", "rule"), summary("A-v0", "hpa")]
    comparisons = [comparison("A-v0", "hpa", said=OPEN, table="hindsight")]
    content = document(comparisons, rows, names=NAMES[:1], rival=None)
    text = said(content)
    assert text.startswith("On A-v0 the controller with the lowest mean is rule.")
    assert "chosen on these very episodes is no part of the test" in text
    assert any("no rival on A-v0" in each for each in verdict(content).cautions)


def test_a_single_method_is_no_comparison():
    content = document([], [summary("A-v0", "rule")], names=NAMES[:1])
    assert said(content) == "On A-v0 the rival is rule, and there is nobody to compare it with."


def test_cautions():
    rows = [
        summary("A-v0", "rule"),
        summary("A-v0", "ppo", "policy", training_seeds=1),
        summary("A-v0", "bad", failure="why"),
    ]
    content = document([comparison("A-v0")], rows, names=NAMES[:1], part="dev")
    content["environments"][0]["episodes"] = 8
    cautions = verdict(content).cautions
    assert len(cautions) == 4
    for words, caution in zip(
        ("no result to publish", "bad on A-v0", "8 episodes", "one training seed only of ppo"),
        cautions,
        strict=True,
    ):
        assert words in caution
    assert verdict(document([comparison(name) for name in NAMES])).cautions == ()

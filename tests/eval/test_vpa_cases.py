"""Cases by hand: the runner of each kind computes what they expect, and sees whatever is wrong in them."""

import copy
import json

import pytest
from oracles.vpa_cases import CASES

from podgym.eval.conformance import KINDS, Case, CaseResult, run_case
from podgym.eval.vpa_answers import Answer, answer_pairs, answer_within
from podgym.eval.vpa_cases import VPA_KINDS


def run(name, **changes) -> CaseResult:
    kind, given, expected = CASES[name]
    return run_case(Case(name, kind, given, {**expected, **changes}))


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    result = run(name)
    assert result.outcome == "passed", result.describe()


def test_every_kind_has_a_case():
    assert {kind for kind, _, _ in CASES.values()} == set(VPA_KINDS)
    assert VPA_KINDS.items() <= KINDS.items()


def nudged(value):
    """Return values near an expected one, each of which is wrong."""
    if isinstance(value, bool):
        return [not value, None]
    if isinstance(value, int | float):
        return [value * 1.1 + 1, None]
    if isinstance(value, str):
        return [value + "x", None]
    if isinstance(value, list):
        inner = [
            [*value[:index], wrong, *value[index + 1 :]]
            for index in range(len(value))
            for wrong in nudged(value[index])
        ]
        return inner or [["something"]]
    return [{**value, key: wrong} for key in value for wrong in nudged(value[key])] or [{"something": 1}]


def unread(kind, key):
    """Arguments of pairs and operations are questions: some other question has the same answer."""
    return (kind, key) in {
        ("histogram_options", "find_bucket"),
        ("histogram_options", "bucket_starts"),
        ("histogram", "percentiles"),
        ("histogram", "equals_operations"),
        ("checkpoint_load", "percentiles"),
        ("aggregate_by_name", "memory_histogram_samples"),
        ("aggregate_by_name", "cpu_histogram_samples"),
    }


@pytest.mark.parametrize("name", CASES)
def test_whatever_is_wrong_is_seen(name):
    kind, _, expected = CASES[name]
    for key, value in expected.items():
        for spoilt in (["spoilt", value], "spoilt", {"spoilt": value}):
            assert run(name, **{key: spoilt}).outcome == "failed", (key, spoilt)
        if not unread(kind, key):
            for spoilt in nudged(value):
                assert run(name, **{key: spoilt}).outcome == "failed", (key, spoilt)


@pytest.mark.parametrize(
    ("name", "key", "spoilt"),
    [
        ("linear buckets", "bucket_starts", [[5, 5.000001]]),
        ("linear buckets", "bucket_starts", [[6, 6.0]]),
        ("linear buckets", "find_bucket", [[4.5, 5]]),
        ("percentiles", "percentiles", [[0.76, 2.0]]),
        ("percentiles", "equals_operations", [["add", 3.5, 1, 0], ["add", 1.5, 4, 0]]),
        ("percentiles", "equals_operations", [["multiply", 3.5, 1, 0]]),
        ("by name", "memory_histogram_samples", {"a": [[3e9, 1.0]]}),
        ("by name", "memory_histogram_samples", {"c": []}),
        ("by name", "cpu_histogram_samples", {"b": [[2.0, 1.0]]}),
        ("low CPU in cores", "value", 1.1),
        ("factor", "factor", 4.03),
        ("factor", "absolute_tolerance", 0.5),
    ],
)
def test_wrong_answers_are_seen(name, key, spoilt):
    result = run(name, **{key: spoilt})
    assert result.outcome == "failed"
    json.dumps([each.got for each in result.differences])  # so that a report can be written
    assert result.describe()


@pytest.mark.parametrize("name", CASES)
def test_a_missing_input_is_a_failure_that_names_it(name):
    kind, given, expected = CASES[name]
    unused = {
        "container_usage": {"request"},
        "expiry": {"total_samples"},
        "confidence": {"sample_step_s"} if given.get("sample_count") == 0 else set(),
    }.get(kind, set())
    for key in given.keys() - unused:
        broken = copy.deepcopy(given)
        del broken[key]
        result = run_case(Case(name, kind, broken, expected))
        assert result.outcome == "failed", key
        assert repr(key) in result.reason


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("linear buckets", {"type": "round"}, "failed"),
        ("percentiles", {"operations": [["divide", 1, 1, 0]]}, "unknown operation on a histogram 'divide'"),
        ("amount", {"function": "cpu_amount"}, "Did you mean 'cpu_amount_from_cores'"),
        ("median of memory", {"resource": "gpu"}, "unknown resource 'gpu'"),
        ("usage", {"events": [{"type": "sample", "resource": "gpu"}]}, "an event is a sample"),
        ("policy", {"policy": {"colour": "red"}}, "colour"),
    ],
)
def test_an_input_that_means_nothing_fails(name, changes, reason):
    kind, given, expected = CASES[name]
    result = run_case(Case(name, kind, {**given, **changes}, expected))
    assert result.outcome == "failed"
    assert reason in result.reason or reason == "failed"


def test_answers():
    squares = answer_pairs("squares", lambda number: number * number)
    assert squares == [[2, 4], [3.0, 9.0]]
    assert squares == []
    assert squares != [[2, 5]]
    assert squares != [[2, 4], [3]]
    assert squares != {2: 4}
    assert squares != "squares"
    near = answer_within(2.0, 2000.0, relative=0.1, absolute=0.5)
    assert near == 2.6
    assert near == 1900
    assert near != 3.0
    assert near != "2"
    assert near != [2.0]
    assert str(near) == "2.0 or 2000.0"
    assert Answer("x", lambda _: [][1]) != 1
    assert len({squares, near}) == 2

import argparse
import copy
import json
import os
from pathlib import Path

import pytest

from podgym.cli import conformance as command
from podgym.errors import InputError
from podgym.eval.conformance import KINDS, Case, load_cases, run_case, run_conformance

SHARED = Path(os.environ.get("PODGYM_SHARED", Path(__file__).resolve().parents[2] / ".." / "shared"))
VECTORS = SHARED / "vectors"
FILES = [VECTORS / name for name in ("hpa.json", "scheduler.json", "vpa.json")]
UPSTREAM = [case for path in FILES if path.is_file() for case in load_cases(path)]

needs_vectors = pytest.mark.skipif(not UPSTREAM, reason="the folder of upstream's cases is not here")


@pytest.mark.parametrize("case", UPSTREAM, ids=lambda case: case.id)
def test_upstream_case(case):
    result = run_case(case)
    assert result.outcome == "passed", result.describe()


@needs_vectors
def test_every_kind_is_there():
    assert {case.kind for case in UPSTREAM} == set(KINDS)


@needs_vectors
@pytest.mark.parametrize("case", UPSTREAM, ids=lambda case: case.id)
def test_no_case_passes_whatever_it_expects(case):
    """Spoil each expected value in turn: the runner must see every one of them."""
    for key, value in case.expected.items():
        if key != "error_contains":
            spoilt = Case(case.id, case.kind, case.input, {**case.expected, key: ["spoilt", value]})
            assert run_case(spoilt).outcome == "failed", key


@needs_vectors
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_missing_input_is_a_failure_of_its_case_alone(kind):
    case = next(case for case in UPSTREAM if case.kind == kind)
    failed = 0
    for key in case.input:
        broken = copy.deepcopy(case.input)
        del broken[key]
        result = run_case(Case(case.id, kind, broken, case.expected))
        if result.outcome == "failed" and repr(key) in result.reason:
            failed += 1
    assert failed >= len(case.input) - 2  # overhead, init_containers and run_prescore may be left out


LEGACY = {
    "current_replicas": 5,
    "desired_replicas": 7,
    "min_replicas": 1,
    "max_replicas": 6,
    "legacy_scale_up_factor": 2,
    "legacy_scale_up_minimum": 4,
}
GOOD = {
    "id": "good",
    "kind": "convert_legacy",
    "input": LEGACY,
    "expected": {"replicas": 6, "reason": "TooManyReplicas"},
}
BAD = {**GOOD, "id": "bad", "expected": {"replicas": 7, "reason": "TooManyReplicas"}}
STRANGE = {**GOOD, "id": "strange", "kind": "horoscope"}


def write(folder, *cases):
    path = folder / "cases.json"
    path.write_text(json.dumps({"cases": cases}))
    return path


def run_command(capsys, *arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    status = command.run(parser.parse_args([str(each) for each in arguments]))
    return status, capsys.readouterr().out


def test_report(tmp_path):
    report = run_conformance(write(tmp_path, GOOD, BAD, STRANGE))
    assert report.kinds == ("convert_legacy", "horoscope")
    total = report.count()
    assert (total.passed, total.failed, total.not_run) == (1, 1, 1)
    assert (report.count("horoscope").not_run, report.count("convert_legacy").failed) == (1, 1)
    assert [each.describe() for each in report.failures] == ["replicas: expected 7, got 6"]
    assert not report.conforms


@pytest.mark.parametrize(("cases", "status"), [([GOOD], 0), ([GOOD, BAD], 1), ([GOOD, STRANGE], 1)])
def test_status_of_the_command(tmp_path, capsys, cases, status):
    path = write(tmp_path, *cases)
    assert run_command(capsys, path)[0] == status
    assert run_command(capsys, path, "--json")[0] == status


def test_table_of_the_command(tmp_path, capsys):
    _, shown = run_command(capsys, write(tmp_path, GOOD, BAD, STRANGE))
    lines = shown.splitlines()
    assert lines[0].split() == ["kind", "passed", "failed", "not", "run"]
    assert lines[1].split() == ["convert_legacy", "1", "1", "0"]
    assert lines[2].split() == ["horoscope", "0", "0", "1"]
    assert lines[3].split() == ["total", "1", "1", "1"]
    assert "FAILED bad (convert_legacy)" in lines
    assert "  replicas: expected 7, got 6" in lines
    assert lines[-1].endswith("horoscope")


def test_json_of_the_command(tmp_path, capsys):
    path = write(tmp_path, GOOD, BAD, STRANGE)
    content = json.loads(run_command(capsys, path, "--json")[1])
    assert content == {
        "file": str(path),
        "conforms": False,
        "passed": 1,
        "failed": 1,
        "not_run": 1,
        "kinds": {
            "convert_legacy": {"passed": 1, "failed": 1, "not_run": 0},
            "horoscope": {"passed": 0, "failed": 0, "not_run": 1},
        },
        "failures": [
            {
                "id": "bad",
                "kind": "convert_legacy",
                "reason": "",
                "differences": [{"key": "replicas", "expected": 7, "got": 6}],
            }
        ],
        "not_run_ids": ["strange"],
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input": {}}, "the input lacks the key 'current_replicas'"),
        ({"input": {**LEGACY, "desired_replicas": "many"}}, "the input cannot be used: TypeError"),
        ({"expected": {}}, "nothing to compare"),
        ({"expected": {"error_contains": "x"}}, "nothing to compare"),
    ],
)
def test_a_malformed_case_fails_and_the_others_go_on(tmp_path, changes, reason):
    report = run_conformance(write(tmp_path, {**GOOD, **changes}, GOOD))
    assert [each.outcome for each in report.results] == ["failed", "passed"]
    assert reason in report.results[0].reason


@pytest.mark.parametrize(
    ("expected", "got", "agree"),
    [
        (1.26, 63 / 50, True),
        (1.26, 1.2600001, False),
        (1, 1.0, True),
        (True, 1, False),
        (None, 0, False),
        ({"a": 1, "b": None}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
    ],
)
def test_what_agrees(monkeypatch, expected, got, agree):
    monkeypatch.setitem(KINDS, "echo", lambda _: {"value": got})
    assert (run_case(Case("x", "echo", {}, {"value": expected})).outcome == "passed") == agree


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "an object with a list 'cases' is needed; got a list"),
        ("{}", "got an object"),
        ('{"case": []}', "got an object with keys 'case'"),
        ('{"cases": []}', "is empty"),
        ('{"cases": [3]}', r"cases\[0\]: an object is needed; got a number"),
        ('{"cases": [{"id": "x"}]}', r"cases\[0\]: no key 'kind'; needed: id, kind, input, expected"),
        ('{"cases": [{"id": 1}]}', "'id' must be a string; got a number"),
        ('{"cases": [{"id": "x", "kind": "y", "input": []}]}', "'input' must be an object; got a list"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "cases.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        run_conformance(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    path = write(tmp_path, GOOD)
    with pytest.raises(InputError, match=f"no such file. Did you mean '{path}'"):
        run_conformance(tmp_path / "case.json")
    with pytest.raises(InputError, match="there is no folder"):
        run_conformance(tmp_path / "nowhere" / "cases.json")
    with pytest.raises(InputError, match="cannot be read"):
        run_conformance(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        run_conformance(path)

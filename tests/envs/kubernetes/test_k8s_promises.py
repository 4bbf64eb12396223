"""The table of promises is in step with the code: every promise, test and fault of it is there.

``python scripts/prove_promises.py`` plants the faults and takes minutes; this takes none.
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[3]
TABLE = Path(__file__).with_name("promises.toml")
IDS = [f"P{number:02}" for number in (*range(1, 26), 36, *range(45, 56))]
PROMISES = {each["id"]: each for each in tomllib.loads(TABLE.read_text(encoding="utf-8"))["promise"]}
FAULTS = [
    pytest.param(promise, fault, id=f"{promise['id']}-{fault['what'].replace(' ', '_')}")
    for promise in PROMISES.values()
    for fault in promise.get("faults", ())
]


def test_every_promise_is_there_once_and_in_order():
    ids = re.findall(r'^id = "(.*)"$', TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert ids == IDS


@pytest.mark.parametrize("number", IDS)
def test_every_promise_has_tests_and_faults_or_says_why_not(number):
    promise = PROMISES[number]
    assert promise["promise"].endswith(".")
    if "not_applicable" in promise:
        assert len(promise["not_applicable"]) > 20
        return
    assert promise["tests"]
    assert promise["faults"]
    assert set(promise) == {"id", "promise", "tests", "faults"}
    assert len({fault["what"] for fault in promise["faults"]}) == len(promise["faults"])
    assert len(set(promise["tests"])) == len(promise["tests"])


@cache
def functions_of(file):
    """Return the tests of a file, and whether each of them has parameters."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name: any("parametrize" in ast.unparse(each) for each in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize(
    "node", sorted({test for each in PROMISES.values() for test in each.get("tests", ())})
)
def test_every_test_exists(node):
    file, _, rest = node.partition("::")
    name, _, case = rest.partition("[")
    assert name in functions_of(file)
    assert functions_of(file)[name] or not case


@pytest.mark.parametrize(("promise", "fault"), FAULTS)
def test_every_fault_can_be_planted(promise, fault):
    assert set(fault) - {"by"} == {"what", "file", "find", "replace"}
    assert fault["file"].startswith(("envs/", "eval/", "baselines/"))
    source = (ROOT / fault["file"]).read_text(encoding="utf-8")
    assert source.count(fault["find"]) == 1
    broken = source.replace(fault["find"], fault["replace"])
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))
    # Every test that is meant by "by" is one of the promise.
    assert all(any(part in test for test in promise["tests"]) for part in fault.get("by", ()))

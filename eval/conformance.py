"""Run cases taken from upstream's test suites against our own HPA, VPA and scheduler.

A file holds cases as plain JSON: ``{"cases": [{"id", "kind", "input", "expected"}, ...]}``. A case
passes when every key of ``expected`` is met; keys that are not there are not looked at. A kind that
nothing here can run is counted as not run, so that no file passes by being ignored.
"""

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from podgym.errors import InputError
from podgym.eval.hpa_cases import HPA_KINDS
from podgym.eval.scheduler_cases import SCHEDULER_KINDS
from podgym.eval.vpa_cases import VPA_KINDS

Json: TypeAlias = Any
Outcome: TypeAlias = Literal["passed", "failed", "not run"]

KINDS: Mapping[str, Callable[[Json], Mapping[str, Json]]] = {**HPA_KINDS, **SCHEDULER_KINDS, **VPA_KINDS}
"""Kind of case -> function from its input to what we compute of it."""

HINTS = frozenset({"error_contains"})
"""Keys of ``expected`` that only hint at the wording of upstream's message."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a file."""

    id: str
    kind: str
    input: Json
    expected: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Difference:
    """One expected value that was not met."""

    key: str
    expected: Json
    got: Json


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of one case."""

    id: str
    kind: str
    outcome: Outcome
    differences: tuple[Difference, ...] = ()
    reason: str = ""
    """Why the case could not be run to its end; empty otherwise."""

    def describe(self) -> str:
        """Return on one line what was wrong."""
        parts = [f"{each.key}: expected {each.expected!r}, got {each.got!r}" for each in self.differences]
        return "; ".join([self.reason, *parts] if self.reason else parts)


@dataclass(frozen=True, slots=True)
class KindCount:
    """How the cases of one kind fared."""

    passed: int
    failed: int
    not_run: int


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What came of a file."""

    path: str
    results: tuple[CaseResult, ...]

    def count(self, kind: str | None = None) -> KindCount:
        """Count the outcomes of one kind; None: of all kinds."""
        outcomes = [result.outcome for result in self.results if kind in (None, result.kind)]
        return KindCount(outcomes.count("passed"), outcomes.count("failed"), outcomes.count("not run"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the file, in the order of their first case."""
        return tuple(dict.fromkeys(result.kind for result in self.results))

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """Results of the cases that failed."""
        return tuple(result for result in self.results if result.outcome == "failed")

    @property
    def conforms(self) -> bool:
        """Whether all cases passed and none was left out."""
        return all(result.outcome == "passed" for result in self.results)


def run_conformance(path: str | Path) -> ConformanceReport:
    """Run all cases of a file.

    Args:
        path: a JSON file of cases.

    Raises:
        InputError: the file is missing, is not JSON, or is not a file of cases.
    """
    return ConformanceReport(str(path), tuple(run_case(case) for case in load_cases(path)))


def load_cases(path: str | Path) -> tuple[Case, ...]:
    """Read a file of cases.

    Raises:
        InputError: the file is missing, is not JSON, or is not a file of cases.
    """
    content = _read_json(Path(path))
    cases = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(cases, list):
        keys = ", ".join(map(repr, content)) if isinstance(content, dict) else ""
        got = f"{_name(content)} with keys {keys}" if keys else _name(content)
        raise InputError(f"{path}: an object with a list 'cases' is needed; got {got}")
    if not cases:
        raise InputError(f"{path}: the list 'cases' is empty; there is nothing to run")
    return tuple(_case(raw, f"{path}: cases[{index}]") for index, raw in enumerate(cases))


def _read_json(path: Path) -> Json:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing_file(path) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; a JSON file of cases is needed") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None


def _missing_file(path: Path) -> InputError:
    folder = path.parent
    if not folder.is_dir():
        return InputError(f"{path}: no such file; there is no folder {str(folder)!r}")
    near = difflib.get_close_matches(path.name, [each.name for each in folder.iterdir()], n=1)
    hint = f" Did you mean {str(folder / near[0])!r}?" if near else ""
    return InputError(f"{path}: no such file.{hint}")


def _case(raw: Json, where: str) -> Case:
    if not isinstance(raw, dict):
        raise InputError(f"{where}: an object is needed; got {_name(raw)}")
    needed: dict[str, type] = {"id": str, "kind": str, "input": dict, "expected": dict}
    for key, kind in needed.items():
        if key not in raw:
            raise InputError(f"{where}: no key {key!r}; needed: {', '.join(needed)}")
        if not isinstance(raw[key], kind):
            allowed = "a string" if kind is str else "an object"
            raise InputError(f"{where}: {key!r} must be {allowed}; got {_name(raw[key])}")
    return Case(raw["id"], raw["kind"], raw["input"], raw["expected"])


def _name(value: Json) -> str:
    """Name the JSON type of a value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def run_case(case: Case) -> CaseResult:
    """Run one case; whatever goes wrong with it is its own failure, never the caller's."""
    runner = KINDS.get(case.kind)
    if runner is None:
        return CaseResult(case.id, case.kind, "not run", reason=f"unknown kind {case.kind!r}")
    keys = [key for key in case.expected if key not in HINTS]
    if not keys:
        return CaseResult(case.id, case.kind, "failed", reason="'expected' holds nothing to compare")
    try:
        got = runner(case.input)
    except Exception as error:  # a malformed case may break anything, and must not stop the others
        return CaseResult(case.id, case.kind, "failed", reason=_reason(error))
    differences = tuple(
        Difference(key, case.expected[key], got.get(key))
        for key in keys
        if not _agree(case.expected[key], got.get(key))
    )
    return CaseResult(case.id, case.kind, "failed" if differences else "passed", differences)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the input lacks the key {error}"
    return f"the input cannot be used: {type(error).__name__}: {error}"


def _agree(expected: Json, got: Json) -> bool:
    """Whether two JSON values are the same; null and absent are, and so are floats of equal value."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return all(_agree(expected.get(key), got.get(key)) for key in {**expected, **got})
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(_agree, expected, got))
    if isinstance(expected, bool) or isinstance(got, bool) or expected is None or got is None:
        return expected is got
    if isinstance(expected, float) and isinstance(got, int | float):
        # The last digits of a ratio written in a test are upstream's decimal notation, not a difference.
        return math.isclose(expected, got, rel_tol=1e-12, abs_tol=0.0)
    return bool(expected == got)

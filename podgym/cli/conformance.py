"""``podgym conformance FILE``: run upstream's test cases against our HPA, VPA and scheduler."""

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.eval.conformance import ConformanceReport

NAME = "conformance"
HELP = "run a file of conformance cases against the HPA, the VPA and the scheduler"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("file", metavar="FILE", help="JSON file of cases")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run the cases and print what came of them.

    Returns:
        0: all passed and none was left out; 1: some failed or were not run.

    Raises:
        InputError: the file cannot be used.
    """
    from podgym.eval.conformance import run_conformance

    report = run_conformance(args.file)
    print(_as_json(report) if args.json else _as_table(report))
    return 0 if report.conforms else 1


def _as_table(report: "ConformanceReport") -> str:
    rows = [(kind, report.count(kind)) for kind in report.kinds]
    rows.append(("total", report.count()))
    width = max(len("kind"), *(len(name) for name, _ in rows))
    lines = [f"{'kind':<{width}}  {'passed':>6}  {'failed':>6}  {'not run':>7}"]
    lines += [f"{name:<{width}}  {n.passed:>6}  {n.failed:>6}  {n.not_run:>7}" for name, n in rows]
    for result in report.failures:
        lines.append(f"\nFAILED {result.id} ({result.kind})")
        if result.reason:
            lines.append(f"  {result.reason}")
        lines += [
            f"  {each.key}: expected {each.expected!r}, got {each.got!r}" for each in result.differences
        ]
    unknown = [kind for kind in report.kinds if report.count(kind).not_run]
    if unknown:
        lines.append(f"\nnot run, of a kind that is not known here: {', '.join(unknown)}")
    return "\n".join(lines)


def _as_json(report: "ConformanceReport") -> str:
    counts = {kind: report.count(kind) for kind in report.kinds}
    total = report.count()
    failures = [
        {
            "id": result.id,
            "kind": result.kind,
            "reason": result.reason,
            "differences": [
                {"key": each.key, "expected": each.expected, "got": each.got} for each in result.differences
            ],
        }
        for result in report.failures
    ]
    content = {
        "file": report.path,
        "conforms": report.conforms,
        "passed": total.passed,
        "failed": total.failed,
        "not_run": total.not_run,
        "kinds": {
            kind: {"passed": n.passed, "failed": n.failed, "not_run": n.not_run} for kind, n in counts.items()
        },
        "failures": failures,
        "not_run_ids": [result.id for result in report.results if result.outcome == "not run"],
    }
    return json.dumps(content, indent=2)

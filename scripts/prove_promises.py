"""A test that cannot fail holds no promise: break the code on purpose, and demand that the tests notice.

Usage: ``python scripts/prove_promises.py [--only P45 P46] [--processes 2]``.

``tests/envs/kubernetes/promises.toml`` says what a run on a real cluster promises, which tests hold it, and
how the code could break it. First every named test must pass. Then each fault is planted in a temporary copy
of the repository, alone, and the tests of its promise must fail there. In the end every named test must have
failed under at least one fault. Exit status 1 when a fault is not found, a test never fails, or a fault
cannot be planted because its text does not stand in its file exactly once.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = "tests/envs/kubernetes/promises.toml"
LEFT_OUT = {".venv", ".git", ".hypothesis", "results", "node_modules", "build", "dist"}
LONGEST_TEST_S = 60
LONGEST_RUN_S = 600
# What a mistake in the table causes. Such a failure proves nothing about the promise.
_OWN_MISTAKE = re.compile(r"\b(NameError|ImportError|ModuleNotFoundError|SyntaxError|UnboundLocalError)\b")


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a promise."""

    promise: str
    """Id of the promise."""
    what: str
    """What the broken code does, in words."""
    file: str
    """Where it is planted, relative to the repository."""
    find: str
    """Text that stands there once."""
    replace: str
    """Text in its place."""
    tests: tuple[str, ...]
    """Node ids of the tests that must notice; of several, one is enough."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one fault."""

    fault: Fault
    failed: frozenset[str]
    """Named tests that failed."""
    weakness: str | None
    """Why it proves nothing; None: the tests found the fault."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest."""

    status: int
    output: str

    def failed(self, tests: Iterable[str]) -> frozenset[str]:
        """Return which of these failed; a test without parameters stands for all of its cases."""
        lines = [line for line in self.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return frozenset(test for test in tests if any(_names(line, test) for line in lines))


def _names(line: str, test: str) -> bool:
    rest = line.partition(" ")[2]
    return rest.startswith(test) and rest[len(test) :][:1] in ("", " ", "[")


def read_table(path: Path, only: Iterable[str] = ()) -> list[Fault]:
    """Return the faults of the table, in its order; with ``only`` those of some promises.

    Raises:
        KeyError: a promise of ``only`` is not in the table.
    """
    promises = tomllib.loads(path.read_text(encoding="utf-8"))["promise"]
    wanted, known = set(only), {promise["id"] for promise in promises}
    if wanted - known:
        raise KeyError(
            f"no promise {', '.join(sorted(wanted - known))}; there are {', '.join(sorted(known))}"
        )
    chosen = [each for each in promises if each["id"] in (wanted or known) and "not_applicable" not in each]
    return [_fault(promise, fault) for promise in chosen for fault in promise["faults"]]


def _fault(promise: dict[str, object], fault: dict[str, object]) -> Fault:
    """Read one fault; ``by`` narrows the tests to those whose node id holds one of these texts."""
    tests, parts = promise["tests"], fault.get("by", [""])
    if not isinstance(tests, list) or not isinstance(parts, list):
        raise TypeError(f"{promise['id']}: tests and by are lists")
    narrowed = tuple(test for test in tests if any(part in test for part in parts))
    what, file, find, replace = (str(fault[name]) for name in ("what", "file", "find", "replace"))
    return Fault(str(promise["id"]), what, file, find, replace, narrowed)


def copy_tree(source: Path, target: Path) -> Path:
    """Copy a repository with its compiled kernels, which are found by the times of their sources."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name in LEFT_OUT or name.endswith("_cache")}

    shutil.copytree(source, target, symlinks=True, ignore=left_out)
    return target


def run_tests(copy: Path, tests: Iterable[str], *, keep_bytecode: bool = False) -> Run:
    """Run tests of a copy; its modules win over the installed ones.

    Args:
        copy: of the repository.
        tests: node ids.
        keep_bytecode: whether compiled modules are kept for later runs; those of a fault must not be.
    """
    command = [
        sys.executable, "-m", "pytest", "-q", "--tb=line", "-rfEs", "-p", "no:cacheprovider",
        f"--timeout={LONGEST_TEST_S}", *tests,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
    environment["PYTHONDONTWRITEBYTECODE"] = "" if keep_bytecode else "1"
    done = subprocess.run(
        command, cwd=copy, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=LONGEST_RUN_S,
    )  # fmt: skip
    return Run(done.returncode, done.stdout)


@contextmanager
def planted(copy: Path, fault: Fault) -> Iterator[None]:
    """Plant a fault, and take it out again.

    Raises:
        ValueError: its text does not stand in the file exactly once, or what comes of it is not Python.
    """
    path = copy / fault.file
    before, times = path.read_text(encoding="utf-8"), path.stat()
    count = before.count(fault.find)
    if count != 1:
        raise ValueError(f"the text stands in {fault.file} {count} times, not once")
    broken = before.replace(fault.find, fault.replace)
    try:
        compile(broken, fault.file, "exec")
    except SyntaxError as error:
        raise ValueError(f"the replacement is not Python: {error}") from error
    try:
        path.write_text(broken, encoding="utf-8")
        yield
    finally:
        path.write_text(before, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def prove(copy: Path, fault: Fault) -> Outcome:
    """Plant a fault and run the tests that must find it."""
    began_s = time.monotonic()
    try:
        with planted(copy, fault):
            run = run_tests(copy, fault.tests)
    except (ValueError, OSError, subprocess.TimeoutExpired) as error:
        return Outcome(fault, frozenset(), str(error), time.monotonic() - began_s)
    failed = run.failed(fault.tests)
    return Outcome(fault, failed, _weakness(run, failed), time.monotonic() - began_s)


def _weakness(run: Run, failed: frozenset[str]) -> str | None:
    if run.status == 0:
        return "SURVIVED: every test passes"
    if run.status != 1 or not failed:
        return f"pytest ended with status {run.status}:\n{run.output[-1500:]}"
    mistake = _OWN_MISTAKE.search(run.output)
    return f"the fault itself is wrong: {mistake[0]}\n{run.output[-1500:]}" if mistake else None


def passes(copy: Path, faults: Iterable[Fault]) -> bool:
    """Run every named test without a fault, and say what came of it."""
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    run = run_tests(copy, tests, keep_bytecode=True)
    last = run.output.strip().splitlines()[-1]
    print(f"without a fault, {len(tests)} named tests: {last}", flush=True)
    if run.status != 0 or "skipped" in last:  # a test that is skipped fails under no fault
        print(run.output, file=sys.stderr)
    return run.status == 0


def prove_all(faults: list[Fault], copies: list[Path]) -> list[Outcome]:
    """Prove every fault, one per copy at a time, and print one line for each."""
    free: queue.Queue[Path] = queue.Queue()
    for copy in copies:
        free.put(copy)

    def work(fault: Fault) -> Outcome:
        copy = free.get()
        try:
            return prove(copy, fault)
        finally:
            free.put(copy)

    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(len(copies)) as pool:
        for future in as_completed([pool.submit(work, fault) for fault in faults]):
            outcomes.append(future.result())
            print(_line(outcomes[-1], len(outcomes), len(faults)), flush=True)
    return outcomes


def _line(outcome: Outcome, number: int, count: int) -> str:
    word = f"{len(outcome.failed)} of {len(outcome.fault.tests)} fail" if outcome.weakness is None else "WEAK"
    fault, seconds = outcome.fault, outcome.seconds
    text = f"[{number:3}/{count}] {fault.promise} {word:12} {seconds:5.1f} s  {fault.what}"
    return text if outcome.weakness is None else f"{text}\n    {fault.file}: {outcome.weakness}"


def idle_tests(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the named tests that failed under no fault of their promise."""
    named: set[tuple[str, str]] = set()
    failed: set[tuple[str, str]] = set()
    for outcome in outcomes:
        named.update((outcome.fault.promise, test) for test in outcome.fault.tests)
        failed.update((outcome.fault.promise, test) for test in outcome.failed)
    return [f"{promise} {test}" for promise, test in sorted(named - failed)]


def main(arguments: list[str] | None = None) -> int:
    """Prove the promises named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="only these promises")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="faults at a time (default 1)")
    options = parser.parse_args(arguments)
    began_s = time.monotonic()
    try:
        faults = read_table(ROOT / TABLE, options.only)
    except KeyError as error:
        parser.error(str(error.args[0]))
    if options.processes < 1:
        parser.error(f"--processes is {options.processes}; it must be at least 1")
    with tempfile.TemporaryDirectory(prefix="podgym-promises.") as folder:
        first = copy_tree(ROOT, Path(folder) / "0" / "podgym")
        if not passes(first, faults):
            return 1
        count = min(options.processes, len(faults))
        others = [copy_tree(first, Path(folder) / str(n) / "podgym") for n in range(1, count)]
        outcomes = prove_all(faults, [first, *others])
    return _concluded(outcomes, time.monotonic() - began_s)


def _concluded(outcomes: list[Outcome], seconds: float) -> int:
    weak = sum(outcome.weakness is not None for outcome in outcomes)
    idle = idle_tests(outcomes)
    for test in idle:
        print(f"NEVER FAILS: {test}")
    promises = len({outcome.fault.promise for outcome in outcomes})
    print(
        f"{promises} promises, {len(outcomes)} faults, {len(outcomes) - weak} found, {len(idle)} tests that "
        f"never fail; {seconds:.0f} s"
    )
    return 1 if weak or idle else 0


if __name__ == "__main__":
    sys.exit(main())

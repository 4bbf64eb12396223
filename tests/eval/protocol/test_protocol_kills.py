"""Evaluations that are killed with no chance to tidy up, and run twice: the same bytes every time."""

import os
import signal
import subprocess
import sys

import pytest

from podgym.baselines.hpa_controller import HpaController
from podgym.eval.protocol import ControllerMethod, run_protocol

FILES = (
    "results.csv", "summary.csv", "summary.json", "comparisons.csv", "overall.csv", "results.md",
    "protocol.json",
)  # fmt: skip
TEXT = """
name: twice
ids: [podgym/FamilyBurst-v0, podgym/Burst-v0]
part: dev
first_seed: 160000
episodes: 3
episodes_per_unit: 2
changes: {episode_s: 60}
resamples: 200
methods:
  - {controller: hpa, options: tuned, vary: {cpu_target_percent: [35, 85]}}
  - {controller: random}
  - {controller: rule, options: tuned, forecaster: naive}
  - {bound: lower_bound, quotas: true, episodes: 1}
"""


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def run_in_child(protocol, folder, prepare, *arguments):
    """Run in a process of its own, which ``prepare`` arranges to be killed; whether it was."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            prepare(*arguments)
            run_protocol(protocol, folder, resume=True)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_file(number, written):
    """Prepare to die when the n-th file gets its name: just before, or just after."""
    replace, count = os.replace, 0

    def dying(source, target):
        nonlocal count
        count += 1
        if count == number and not written:
            die()
        replace(source, target)
        if count == number:
            die()

    os.replace = dying


def killed_at_decision(number):
    """Prepare to die in the middle of an episode, at the n-th decision of the HPA."""
    decide, count = HpaController.decide, 0

    def dying(self, observation):
        nonlocal count
        count += 1
        if count == number:
            die()
        return decide(self, observation)

    HpaController.decide = dying


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("written", [False, True], ids=["before a file has its name", "after"])
def test_a_kill_at_any_file_changes_nothing(make_protocol, tmp_path, written):
    """Two files of units and seven of the whole: it dies at each in turn, and is resumed."""
    protocol = make_protocol(ControllerMethod("hpa"))
    run_protocol(protocol, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        killed = run_in_child(protocol, folder, killed_at_file, number, written)
        for name in FILES[:-1]:  # what is there is whole
            assert not (folder / name).exists() or (folder / name).read_bytes() == expected[name]
        run_protocol(protocol, folder, resume=True)
        assert contents(folder) == expected
        if not killed:
            break
    assert number == 1 + 2 + len(FILES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_in_the_middle_of_episodes_change_nothing(make_protocol, tmp_path):
    """Four decisions an episode, units of two episodes and of one: what is not finished begins anew."""
    protocol = make_protocol(ControllerMethod("hpa"), ControllerMethod("hpa", "tuned"))
    run_protocol(protocol, tmp_path / "whole")
    folder = tmp_path / "killed"
    finished = []
    for number in (2, 3, 10, 2, 6):
        assert run_in_child(protocol, folder, killed_at_decision, number)
        finished.append(len(list(folder.glob("units/*.csv"))))
    assert finished == [0, 0, 1, 1, 2]
    run_protocol(protocol, folder, resume=True)
    assert contents(folder) == contents(tmp_path / "whole")


def test_the_same_protocol_twice_gives_the_same_bytes(tmp_path):
    """In two processes that hash strings differently."""
    pytest.importorskip("torch")
    (tmp_path / "twice.yml").write_text(TEXT, encoding="utf-8")
    for seed in ("1", "2"):
        argv = [sys.executable, "-m", "podgym", "evaluate", "--protocol", "twice.yml", "--output", seed]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    units = {path.name: path.read_bytes() for path in (tmp_path / "1" / "units").iterdir()}
    assert units == {path.name: path.read_bytes() for path in (tmp_path / "2" / "units").iterdir()}
    assert len(units) == 2 * (5 * 2 + 1)

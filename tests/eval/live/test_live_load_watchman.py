"""A load ends with its run, its children with it, also when the run is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from podgym.eval.live.load_command import GROUP_FILE, LOG_FILE, parse_load

RUNS = """
import os, sys, time
from pathlib import Path
from podgym.eval.live import load_watchman
from podgym.eval.live.load_command import parse_load

load_watchman.GRACE_S = float(sys.argv[4])
parse_load(f"{sys.executable} {sys.argv[2]}").start(Path(sys.argv[1]), 0, 60.0)
copied = sys.argv[3] == "copied"
copy = os.fork() if copied else None
if copy != 0:
    print(copy, flush=True)
time.sleep(99)
"""
"""What ``podgym evaluate`` does with a load, and nothing else; then it prints the number of its copy."""

LOAD = """
import os, signal, subprocess, sys, time

if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited, as by nohup
if "leaf" not in sys.argv:
    more = ["leaf"] if "child" in sys.argv else ["child"]
    again = subprocess.Popen([sys.executable, *sys.argv, *more])
os.write(1, f"{os.getpid()}\\n".encode())  # at once, as the others do the same
if "brief" not in sys.argv or "child" in sys.argv:
    time.sleep(99)
"""
"""A load that starts a child, which starts one in turn; each prints its number."""


def wait_for(condition):
    limit_s = time.monotonic() + 120.0
    while not condition():
        assert time.monotonic() < limit_s, "it did not happen"
        time.sleep(0.01)


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def numbers(folder):
    """The processes of the load, once all three have begun."""
    log = folder / LOG_FILE
    wait_for(lambda: log.exists() and log.read_text().count("\n") == 3)
    return [int(line) for line in log.read_text().split()]


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "load.py"
    path.write_text(LOAD)
    return path


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.mark.parametrize("manner", ["", "stubborn", "copied"])
def test_p55_a_run_that_is_killed_takes_the_children_of_its_load_along(tmp_path, script, manner):
    command = [sys.executable, "-c", RUNS, str(tmp_path), f"{script} {manner}", manner, "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        said = run.stdout.readline().strip()
        copy = int(said) if manner == "copied" else None
        try:
            pids = numbers(tmp_path)
            assert not any(map(gone, pids))
            run.kill()
            run.wait()
            wait_for(lambda: all(map(gone, pids)))
            assert copy is None or not gone(copy)  # it holds the pipe, and is not the run
        finally:
            run.kill()
            if copy is not None:
                os.kill(copy, signal.SIGKILL)


COUNTS = """
import signal, sys, time

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append("asked"))
print("up", flush=True)
while not asked:
    time.sleep(0.01)
time.sleep(1.0)  # for more of them to come
print(*asked, flush=True)
"""
"""A load that says how often it was asked to end, and then ends by itself."""


def test_it_is_asked_once_and_has_time_to_end(tmp_path):
    """A generator takes a second signal for an order not to write down what it sent."""
    script, log = tmp_path / "counts.py", tmp_path / LOG_FILE
    script.write_text(COUNTS)
    command = [sys.executable, "-c", RUNS, str(tmp_path), str(script), "", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        run.stdout.readline()
        load = int((tmp_path / GROUP_FILE).read_text())
        wait_for(lambda: log.read_text() == "up\n")
        run.kill()
    wait_for(lambda: gone(load))
    assert log.read_text() == "up\nasked\n"


def start(tmp_path, script, *words):
    return parse_load(" ".join([sys.executable, str(script), *words])).start(tmp_path, 0, 60.0)


def children_of_this_process():
    with open(f"/proc/self/task/{os.getpid()}/children") as listed:
        return listed.read().split()


def test_one_that_is_stopped_leaves_no_process_behind(tmp_path, script):
    before = children_of_this_process()
    running = start(tmp_path, script)
    pids = numbers(tmp_path)
    assert len(children_of_this_process()) == len(before) + 2  # the load and the watchman
    assert running.stop(0.0) is None
    wait_for(lambda: all(map(gone, pids)))
    assert children_of_this_process() == before


def test_children_of_one_that_ended_by_itself_end_with_the_episode(tmp_path, script):
    before = children_of_this_process()
    running = start(tmp_path, script, "brief")
    pids = numbers(tmp_path)
    wait_for(lambda: gone(pids[0]) or gone(min(pids)))
    wait_for(lambda: running.failure() is None and running._ended_s is not None)
    assert sum(map(gone, pids)) == 1
    assert "ended by itself after" in running.stop(0.0)
    wait_for(lambda: all(map(gone, pids)))
    assert children_of_this_process() == before


def test_a_group_that_has_gone_is_not_watched_any_more(tmp_path):
    """Its number may soon be that of strangers."""
    before = children_of_this_process()
    running = parse_load(f"{sys.executable} -c pass").start(tmp_path, 0, 60.0)
    wait_for(lambda: running.failure() is None and running._ended_s is not None)
    assert children_of_this_process() == before
    running.stop(0.0)


def test_without_a_watchman_there_is_no_load(tmp_path, script, monkeypatch):
    def none(group):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("podgym.eval.live.load_command.Watchman", none)
    before = children_of_this_process()
    with pytest.raises(ValueError, match="cannot be watched: Resource temporarily unavailable"):
        start(tmp_path, script)
    assert children_of_this_process() == before
    assert not (tmp_path / GROUP_FILE).exists()

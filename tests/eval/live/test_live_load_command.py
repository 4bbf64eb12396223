"""The load command: a real process, started and stopped with the episode."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from oracles.simulated_live import Opener, live_settings

from podgym.errors import InputError
from podgym.eval.contenders import Contender
from podgym.eval.episode import read_episode
from podgym.eval.live.load_command import GROUP_FILE, LOG_FILE, parse_load
from podgym.eval.live.plan import LivePlan
from podgym.eval.live.run import LiveRun


def python(code, *words):
    quoted = code.replace("'", "'\"'\"'")
    return parse_load(" ".join([sys.executable, "-c", f"'{quoted}'", *words]))


def wait_for(condition):
    limit_s = time.monotonic() + 120.0
    while not condition():
        assert time.monotonic() < limit_s, "it did not happen"
        time.sleep(0.01)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:  # a child that nobody waited for is gone as well
        return stat.read().rsplit(")", 1)[1].split()[0] == "Z"


def any_child():
    """Whether a child of this process is alive (one that waits to be waited for is not)."""
    status = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return status is None


def test_placeholders_are_filled_in_word_by_word(tmp_path):
    load = parse_load(
        f"{sys.executable} " + "-u --out={output}/x --seed {seed} '{duration_s} s' '{\"a\": 1}'"
    )
    assert load.filled(tmp_path / "a b", 7, 900.0) == [
        sys.executable, "-u", f"--out={tmp_path}/a b/x", "--seed", "7", "900 s", '{"a": 1}'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("'", "No closing quotation"), (f"{sys.executable} {{sed}}", "Did you mean 'seed'"),
     ("no-such-program-anywhere", "there is no program")],
)  # fmt: skip
def test_bad_commands(text, words):
    with pytest.raises(InputError, match=words):
        parse_load(text)


def test_what_it_prints_and_its_folder(tmp_path):
    code = "import sys, pathlib; pathlib.Path(sys.argv[1], 'made').write_text(sys.argv[2]); print('hello')"
    running = python(code, "{output}", "{seed}").start(tmp_path, 5, 60.0)
    wait_for(lambda: (tmp_path / "load" / "made").exists())
    wait_for(lambda: (tmp_path / LOG_FILE).read_text() == "hello\n")
    wait_for(lambda: not any_child())
    assert (tmp_path / "load" / "made").read_text() == "5"
    assert running.failure() is None
    assert "ended by itself after" in running.stop(0.0)


def test_a_command_that_fails_says_its_status_and_its_last_words(tmp_path):
    running = python("import sys; print('no route to host'); sys.exit(3)").start(tmp_path, 0, 60.0)
    wait_for(lambda: running.failure() is not None)
    assert running.failure().startswith("the load command ended with status 3 within")
    assert running.failure().endswith("no route to host")
    assert running.stop() == running.failure()


CHILDREN = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
    "print(child.pid, flush=True); time.sleep(99)"
)


def test_it_is_stopped_with_its_children(tmp_path):
    running = python(CHILDREN).start(tmp_path, 0, 60.0)
    wait_for(lambda: (tmp_path / LOG_FILE).read_text().endswith("\n"))
    child = int((tmp_path / LOG_FILE).read_text())
    assert running.failure() is None
    assert running.stop(0.0) is None
    wait_for(lambda: gone(child))


def test_one_that_ends_by_itself_in_time_is_left_to_do_so(tmp_path):
    code = (
        "import sys, time, signal; signal.signal(15, lambda *a: sys.exit(9));"
        "print('up', flush=True); time.sleep(0.2)"
    )
    running = python(code).start(tmp_path, 0, 60.0)
    wait_for(lambda: (tmp_path / LOG_FILE).read_text() == "up\n")
    assert running.stop(20.0) is None


def test_one_that_will_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("podgym.eval.live.load_command._STOP_S", 0.2)
    code = "import time, signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    running = python(code).start(tmp_path, 0, 60.0)
    wait_for(lambda: (tmp_path / LOG_FILE).read_text() == "up\n")
    assert "did not stop within 0.2 s and was killed" in running.stop(0.0)


STARTS = """
import sys, time
from pathlib import Path
from podgym.eval.live.load_command import parse_load

parse_load(f"{sys.executable} -c 'import time; time.sleep(99)'").start(Path(sys.argv[1]), 0, 60.0)
print("started", flush=True)
time.sleep(99)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_run_that_is_killed_takes_its_load_along(tmp_path):
    command = [sys.executable, "-c", STARTS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        load = int((tmp_path / GROUP_FILE).read_text())
        assert not gone(load)
        assert os.getpgid(load) == load
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(load))


def test_the_number_of_the_group_is_there_as_long_as_the_load_is(tmp_path):
    running = python("import time; time.sleep(99)").start(tmp_path, 0, 60.0)
    assert not gone(int((tmp_path / GROUP_FILE).read_text()))
    running.stop(0.0)
    assert not (tmp_path / GROUP_FILE).exists()


def test_last_words_hold_no_secret(tmp_path):
    code = "import sys; print('401 for', sys.argv[2], 'by hunter2 at http://a:b@h/?k=v'); sys.exit(3)"
    running = python(code, "--auth", "tom:hunter2").start(tmp_path, 0, 60.0)
    wait_for(lambda: running.failure() is not None)
    assert running.failure().endswith("401 for *** by *** at http://h/")


def live(folder, load, opener):
    plan = LivePlan(
        "cluster x", live_settings(), (Contender("hpa", "hpa"),), folder, 300.0, load=load, pause_s=0.0
    )
    return LiveRun(plan, open_environment=opener).run()


def test_it_runs_while_the_episode_does(tmp_path, monkeypatch):
    """It starts after the cluster was opened and before the first decision, and is gone at the end."""
    seen = []
    load = python("import os, time; print(os.getpid(), flush=True); time.sleep(99)")
    log = tmp_path / "hpa-seed0" / LOG_FILE

    def look():
        wait_for(lambda: log.read_text().endswith("\n"))
        seen.append(int(log.read_text()))
        assert not gone(seen[0])

    class Watching(Opener):
        def __call__(self, *args, **fields):
            assert not log.exists()
            return super().__call__(*args, **fields)

    monkeypatch.setattr("podgym.eval.live.companions.FINISH_S", 0.0)
    live(tmp_path, load, Watching(raises=(1, look)))
    assert gone(seen[0])


def test_a_load_that_fails_ends_the_episode_and_what_was_measured_stays(tmp_path):
    """It ends in the third interval, when the file that it waits for is made."""
    go = tmp_path / "go"
    code = f"import os, sys, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nsys.exit(4)"

    def until_it_failed():
        go.touch()
        wait_for(lambda: not any_child())

    opener = Opener(raises=(3, until_it_failed))
    (failure,) = live(tmp_path, python(code), opener).failures
    assert failure.reason.startswith("hpa, seed 0: the load command ended with status 4")
    assert failure.recorded
    assert opener.opened[0].closed == 1
    assert read_episode(tmp_path / "hpa-seed0" / "live.parquet").num_steps == 2
    document = json.loads((tmp_path / "hpa-seed0" / "run.json").read_text())
    assert "status 4" in document["ended_because"]


def test_a_program_that_cannot_be_started_leaves_the_cluster_as_it_was(tmp_path):
    script = tmp_path / "load.sh"
    script.write_text("no shebang")
    script.chmod(0o755)
    opener = Opener()
    with pytest.raises(InputError, match="cannot be started"):
        live(tmp_path / "out", parse_load(str(script)), opener)
    assert opener.opened[0].closed == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

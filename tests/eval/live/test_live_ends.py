"""A live evaluation in a process of its own that ends before its time: by a signal, an exception, kill -9."""

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml

pytest.importorskip("kubernetes")
pytest.importorskip("kmock")

from oracles.kmock_server import KmockServer
from oracles.prometheus_servers import NAMED_QUERIES, FakePrometheus

from podgym.cli import main
from podgym.envs.kubernetes.snapshot import ANNOTATION

FOUND, LET_PASS = 2, 6  # one step may add four pods; the controller wants forty
INTERVAL_S = 0.25
SETTINGS = {
    "environment": "podgym/Trace-v0",
    "services": {"web": {"namespace": "demo", "max_replicas": LET_PASS}},
    "safety": {"timeout_s": 2.0, "rate_period_s": 3600.0},
    "changes": {"cluster": {"control_interval_s": INTERVAL_S, "tick_s": INTERVAL_S}},
}
CONTROLLER = """
class Greedy:
    name = "greedy"

    def reset(self):
        self.decisions = 0

    def decide(self, observation):
        from podgym.envs.cluster import ServiceDecision

        self.decisions += 1
        if self.decisions == {fails_at}:
            raise ZeroDivisionError("mine")
        return [ServiceDecision(replicas=40)]
"""


@pytest.fixture
def server(tmp_path):
    with KmockServer(tmp_path) as started:
        started.add_deployment("web", replicas=FOUND)
        yield started


@pytest.fixture
def start(server, tmp_path):
    """Starts an evaluation in a process of its own; it is killed at the end of the test."""
    fake, begun = FakePrometheus(), []
    metrics = {"url": fake.url, "queries": NAMED_QUERIES, "history_s": 0.0, "timeout_s": 2.0}
    content = {**SETTINGS, "kubeconfig": str(server.kubeconfig), "metrics": metrics}
    (tmp_path / "cluster.yml").write_text(yaml.safe_dump(content))

    def evaluate(fails_at=0, minutes=2.0):
        (tmp_path / "own.py").write_text(CONTROLLER.format(fails_at=fails_at))
        command = [
            sys.executable, "-m", "podgym", "evaluate", "--cluster", str(tmp_path / "cluster.yml"),
            "--controller", f"{tmp_path / 'own.py'}:Greedy", "--episode-minutes", str(minutes),
            "--output", str(tmp_path / "live"),
        ]  # fmt: skip
        begun.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield evaluate
    for process in begun:
        process.kill()
        process.communicate()
    fake.close()


def spec(server):
    found = server.deployment()
    return found["spec"], found["metadata"].get("annotations") or {}


def scaled(server, process):
    """Wait until the first decision was carried out, and a few more were made."""
    deadline_s = time.monotonic() + 240.0
    while server.lines("GET").count("GET /apis/apps/v1/namespaces/demo/deployments/web") < 8:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert spec(server)[0]["replicas"] == LET_PASS


def recorded(folder):
    (document,) = folder.glob("live/*/run.json")
    return json.loads(document.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_p55_a_signal_gives_the_target_back_and_keeps_the_record(start, server, tmp_path, number):
    before = spec(server)
    process = start()
    scaled(server, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 128 + number, errors
    assert spec(server) == before
    assert recorded(tmp_path)["ended_because"] == number.name


def test_p55_an_exception_gives_the_target_back_and_keeps_the_record(start, server, tmp_path):
    before = spec(server)
    process = start(fails_at=6)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert any(write.body.get("spec") == {"replicas": LET_PASS} for write in server.writes)
    assert spec(server) == before
    assert "ZeroDivisionError: mine" in recorded(tmp_path)["ended_because"]


def test_p55_after_kill_9_the_last_safe_value_stays_until_it_is_restored(start, server, tmp_path, capsys):
    before = spec(server)
    process = start()
    scaled(server, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=240)
    wanted, notes = spec(server)
    assert wanted["replicas"] == LET_PASS
    assert json.loads(notes[ANNOTATION])["replicas"] == FOUND
    assert main(["restore", "--cluster", str(tmp_path / "cluster.yml")]) == 0
    assert spec(server) == before
    assert f"replicas {LET_PASS} to {FOUND}" in capsys.readouterr().out
